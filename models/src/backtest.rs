//! Rolling origin: how the model would have done, had it been trained again and again.

use serde::{Deserialize, Serialize};

use crate::frame::{Frame, show_time};
use crate::job::{JobError, Step, fit, fold_of};
use crate::metrics::Options;
use crate::report::Fold;
use crate::spec::Spec;
use crate::split::Split;

/// All origins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    /// The model.
    pub model: String,
    /// In the order of time.
    pub folds: Vec<Fold>,
    /// Origins at which nothing could be trained or tested, and why.
    pub left_out: Vec<String>,
}

/// Divides the second half of the times with a label into `origins` spans. Before each, everything is
/// done as [`crate::job::run`] does it, with the rows whose labels were known by then, and the span is foretold.
///
/// # Errors
/// What is wrong with the rows or the specification.
pub fn run(
    spec: &Spec,
    frame: &Frame,
    origins: usize,
    step: &mut dyn FnMut(usize, Step),
) -> Result<Backtest, JobError> {
    let labelled = (0..frame.rows()).filter(|row| frame.label[*row].is_some());
    let mut times: Vec<i64> = labelled.map(|row| frame.as_of_us[row]).collect();
    times.dedup();
    let options =
        Options { bootstrap: 100, seed: spec.training.seed, profit: spec.profit, lead_ms: spec.lead_ms() };
    let begin = times.len() / 2;
    let mut backtest = Backtest { model: spec.name.clone(), folds: Vec::new(), left_out: Vec::new() };
    for origin in 0..origins {
        let [from, to] = [origin, origin + 1].map(|origin| begin + (times.len() - begin) * origin / origins);
        let (Some(from_us), true) = (times.get(from), from < to) else { continue };
        let to_us = times.get(to).copied().unwrap_or(i64::MAX);
        let split =
            Split::new(frame, *from_us, spec.mature_us(), spec.training.folds, spec.training.fold_share);
        let split = match split {
            Ok(mut split) => {
                split.test.retain(|row| frame.as_of_us[*row as usize] < to_us);
                split
            }
            Err(error) => {
                backtest.left_out.push(format!("{}: {error}", show_time(*from_us)));
                continue;
            }
        };
        let fitted = fit(spec, frame, &split, &mut |of_it| step(origin, of_it))?;
        let probability = fitted.probabilities(frame, &split.test)?;
        match fold_of(frame, &split.test, &probability, &options) {
            Ok(fold) => backtest.folds.push(fold),
            Err(error) => backtest.left_out.push(format!("{}: {error}", show_time(*from_us))),
        }
    }
    Ok(backtest)
}

impl Backtest {
    /// As a table.
    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<12}{:<12}{:>9}{:>8}{:>9}{:>9}{:>9}{:>9}\n",
            "from", "to", "rows", "base", "AUROC", "AUC-PR", "ECE", "Brier"
        );
        for fold in &self.folds {
            let of = &fold.headline;
            table += &format!(
                "{:<12}{:<12}{:>9}{:>8.4}{:>9.4}{:>9.4}{:>9.4}{:>9.4}\n",
                fold.from,
                fold.to,
                fold.rows,
                fold.positives as f64 / fold.rows as f64,
                of.auroc.value,
                of.auc_pr.value,
                of.ece.value,
                of.brier.value
            );
        }
        for left_out in &self.left_out {
            table += &format!("left out: {left_out}\n");
        }
        table
    }
}
