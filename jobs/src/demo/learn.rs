//! The model of the demo: `models/order_return.toml`, with less searching, on the weeks before.

use headsup_models::frame::Frame;
use headsup_models::job;
use headsup_models::registry::Registry;

use crate::features::{Asked, Job, Label};
use crate::models::{by, spec};
use crate::output::thousands;
use crate::train::last_fifth;
use crate::{Failure, Place};

/// The model.
pub const MODEL: &str = "order_return";
/// The first rows are of this long after the first event: there has to be something to go by.
const AFTER_MS: i64 = 10 * 86_400_000;

/// Trains a version on what is stored of before `until_ms`, and lets it score; says what came of it.
///
/// # Errors
/// There is too little to learn from, or something that cannot be written.
pub fn learn(place: &Place, from_ms: i64, until_ms: i64) -> Result<String, Failure> {
    let mut spec = spec(MODEL)?;
    spec.every = "3d".to_owned();
    spec.training.max_rounds = 400;
    if let Some(scoring) = &mut spec.scoring {
        scoring.on = vec!["order.delivered".to_owned()];
    }
    spec.training.trials = 1;
    spec.training.bags = 1;
    spec.training.folds = 1;
    spec.training.fold_share = 0.35;
    let file = place.data.join(format!("{MODEL}.rows.parquet"));
    let label = Label { name: &spec.label, lead_ms: spec.lead_ms(), horizon_ms: spec.horizon_ms() };
    let rows = Job { views: None, population: Some(&spec.population), label: Some(label), parts: None };
    let asked =
        Asked::Every { every_ms: spec.every_ms(), from_ms: Some(from_ms + AFTER_MS), to_ms: Some(until_ms) };
    rows.write(&place.data, &asked, &file)?;
    let frame = Frame::read(&file).map_err(Failure::from_error)?;
    let (count, test_from_us) = (frame.rows(), last_fifth(&frame));
    let registry = Registry::open(place.data.join("models")).map_err(Failure::from_error)?;
    let outcome =
        job::run(&spec, &file, test_from_us, &registry, &by(), &mut |_| {}).map_err(Failure::from_error)?;
    let failures = outcome.verdict.failures();
    let force = (!failures.is_empty()).then_some("the demo shows what a model does, good or not");
    registry.promote(MODEL, &outcome.version, &outcome.verdict, force, &by()).map_err(Failure::from_error)?;
    let passes = match failures.is_empty() {
        true => "it passes its gates".to_owned(),
        false => format!("it would not pass its gates: {}", failures.join("; ")),
    };
    Ok(format!(
        "a model of returns, learnt from {} rows and tested on the latest {}: AUROC {:.3}; {passes}",
        thousands(count as u64),
        thousands(outcome.evaluation.rows),
        outcome.evaluation.headline.auroc.value
    ))
}
