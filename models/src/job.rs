//! From rows with labels to a version in the registry.
//!
//! Time decides everything: the test is the latest rows, and is looked at once, when all is chosen.
//! Before it, the parameters and the calibration are chosen on spans at the end of the training rows,
//! each foretold from those before it. Then the boosters are trained on all of them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use crate::baselines::{self, Logistic, LogisticOptions};
use crate::booster::{BoosterError, Parameters, Rows, Trained, train};
use crate::calibrate::{self, Calibration};
use crate::card;
use crate::drift::{Drift, Profile};
use crate::frame::{Frame, FrameError, show_time};
use crate::gates::Verdict;
use crate::metrics::{self, Comparison, Evaluation, Options, Sample};
use crate::onnx;
use crate::registry::{self, By, Files, Registry};
use crate::report::{self, Currency, Importance, Report, Slice};
use crate::score::{self, Scorer};
use crate::search::{FoldRows, Found, search};
use crate::spec::{Method, Spec};
use crate::split::{Split, SplitError};
use crate::trees::{self, Forest};

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Rows were read.
    Read,
    /// Parameter sets tried, of so many.
    Search(usize, usize),
    /// Boosters trained, of so many.
    Train(usize, usize),
    /// The test is being looked at.
    Evaluate,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// In the registry.
    pub version: String,
    /// On the test.
    pub evaluation: Evaluation,
    /// On the test: name and evaluation.
    pub baselines: Vec<(String, Evaluation)>,
    /// How it stands before its gates.
    pub verdict: Verdict,
    /// What somebody should know.
    pub warnings: Vec<String>,
    /// The largest difference of a probability from XGBoost's, over the test.
    pub parity: f64,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says what it is in its message")]
pub enum JobError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error(transparent)]
    Booster(#[from] BoosterError),
    #[error(transparent)]
    Trees(#[from] trees::Error),
    #[error(transparent)]
    Calibrate(#[from] calibrate::Error),
    #[error(transparent)]
    Score(#[from] score::Error),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    #[error(transparent)]
    Baseline(#[from] baselines::Error),
    #[error(transparent)]
    Drift(#[from] crate::drift::Error),
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error("cannot write the model's files: {0}")]
    Json(#[from] serde_json::Error),
    /// A feature that the specification names.
    #[error(
        "the specification names {name} as {what}, and the rows have no such feature; was a view changed?"
    )]
    NoFeature { name: String, what: &'static str },
    /// Nothing left to learn from.
    #[error("no feature has two different values; is the population one customer, or have the facts gone?")]
    AllConstant,
    /// The exported model is another.
    #[error(
        "the ONNX model gives probabilities up to {0:e} from XGBoost's, more than {PARITY:e}; it is not stored. \
         This is a mistake in headsup: keep the rows and tell us"
    )]
    Parity(f64),
}

/// How far ONNX may be from XGBoost.
pub const PARITY: f64 = 1e-5;

/// Resamples of customers behind each interval.
const BOOTSTRAP: usize = 200;

/// The newest champion, as a new model was held against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// Its version.
    pub version: String,
    /// The new model's AUC-PR minus the champion's, on the same rows.
    pub comparison: Comparison,
}

/// A chosen and fitted model, before it has seen the test.
pub struct Fitted {
    /// Places in the frame of the features it uses.
    pub places: Vec<usize>,
    /// Their names.
    pub features: Vec<String>,
    /// The boosters of which it is the mean.
    pub boosters: Vec<Trained>,
    /// The same as one.
    pub forest: Forest,
    /// From margin to probability.
    pub calibration: Calibration,
    /// What was tried.
    pub found: Found,
    /// Features that were left out because they have one value only.
    pub constant: Vec<String>,
}

/// Trains a model on the rows of a file, holds it against the rows from `test_from_us` on, and stores it.
///
/// # Errors
/// What is wrong with the rows or the specification, or what cannot be stored.
pub fn run(
    spec: &Spec,
    path: &Path,
    test_from_us: i64,
    registry: &Registry,
    by: &By,
    step: &mut dyn FnMut(Step),
) -> Result<Outcome, JobError> {
    let frame = Frame::read(path)?;
    step(Step::Read);
    let split =
        Split::new(&frame, test_from_us, spec.mature_us(), spec.training.folds, spec.training.fold_share)?;
    let fitted = fit(spec, &frame, &split, step)?;
    step(Step::Evaluate);
    let known = registry.models()?.contains(&spec.name);
    let champion = if known { registry.aliases(&spec.name)?.champion } else { None };
    let champion = champion.map(|version| registry.load(&spec.name, &version)).transpose()?;
    let files = files(spec, &frame, &split, &fitted, champion.as_ref())?;
    let version = registry.store(&spec.name, &files.files, by)?;
    Ok(Outcome { version, ..files.outcome })
}

/// Chooses the parameters on the folds and trains on all training rows.
///
/// # Errors
/// A feature that the specification names is not there, or none has two values.
pub fn fit(
    spec: &Spec,
    frame: &Frame,
    split: &Split,
    step: &mut dyn FnMut(Step),
) -> Result<Fitted, JobError> {
    let named = spec.monotone.keys().map(|name| (name, "monotone")).chain([(&spec.recency, "recency")]);
    for (name, what) in named.chain(spec.leave_out.iter().map(|name| (name, "left out"))) {
        if frame.place(name).is_none() {
            return Err(JobError::NoFeature { name: name.clone(), what });
        }
    }
    let used = (0..frame.features.len()).filter(|place| !spec.leave_out.contains(&frame.features[*place]));
    let (constant, places): (Vec<usize>, Vec<usize>) =
        used.partition(|place| is_constant(&frame.columns[*place], &split.train));
    if places.is_empty() {
        return Err(JobError::AllConstant);
    }
    let features: Vec<String> = places.iter().map(|place| frame.features[*place].clone()).collect();
    let monotone: Vec<i8> =
        features.iter().map(|name| spec.monotone.get(name).copied().unwrap_or(0)).collect();
    let rows = |rows: &[u32]| Rows::new(&frame.matrix(rows, &places), rows.len(), &frame.labels(rows));
    let mut folds = Vec::new();
    for fold in &split.folds {
        let labels = frame.labels(&fold.validate);
        folds.push(FoldRows { train: rows(&fold.train)?, validate: rows(&fold.validate)?, labels });
    }
    let trials = spec.training.trials;
    let found = search(spec, &monotone, &folds, &mut |tried| step(Step::Search(tried, trials)))?;
    drop(folds);
    let margins: Vec<f32> = found.margins.concat();
    let labels: Vec<bool> = split.folds.iter().flat_map(|fold| frame.labels(&fold.validate)).collect();
    let calibration = match spec.training.calibration {
        Method::None => Calibration::None,
        Method::Platt => calibrate::fit_platt(&margins, &labels, None)?,
        Method::Isotonic => calibrate::fit_isotonic(&margins, &labels, None)?,
    };
    let best = &found.trials[found.best];
    let all = rows(&split.train)?;
    let (mut boosters, mut forests) = (Vec::new(), Vec::new());
    for bag in 0..spec.training.bags {
        let seed = spec.training.seed.wrapping_add(bag as u64);
        let parameters = Parameters { values: best.values.clone(), monotone: monotone.clone(), seed };
        let booster = train(&parameters, &all, best.final_rounds())?;
        forests.push(Forest::from_xgboost(&booster.json()?)?);
        boosters.push(booster);
        step(Step::Train(bag + 1, spec.training.bags));
    }
    let mut forest = Forest::concat(&forests)?;
    forest.features.clone_from(&features);
    let constant = constant.iter().map(|place| frame.features[*place].clone()).collect();
    Ok(Fitted { places, features, boosters, forest, calibration, found, constant })
}

fn is_constant(column: &[f64], rows: &[u32]) -> bool {
    let mut values = rows.iter().map(|row| column[*row as usize]);
    let first = values.next().unwrap_or(f64::NAN);
    values.all(|value| value == first || (value.is_nan() && first.is_nan()))
}

impl Fitted {
    /// Margins by XGBoost: the mean of the boosters'.
    ///
    /// # Errors
    /// XGBoost's.
    pub fn margins(&self, frame: &Frame, rows: &[u32]) -> Result<Vec<f64>, BoosterError> {
        let values = Rows::new(&frame.matrix(rows, &self.places), rows.len(), &[])?;
        let mut sums = vec![0.0; rows.len()];
        for booster in &self.boosters {
            for (sum, margin) in sums.iter_mut().zip(booster.margins(&values)?) {
                *sum += f64::from(margin);
            }
        }
        Ok(sums.into_iter().map(|sum| sum / self.boosters.len() as f64).collect())
    }

    /// Probabilities by XGBoost and the calibration.
    ///
    /// # Errors
    /// XGBoost's.
    pub fn probabilities(&self, frame: &Frame, rows: &[u32]) -> Result<Vec<f64>, BoosterError> {
        let margins = self.margins(frame, rows)?;
        Ok(margins.into_iter().map(|margin| self.calibration.apply(margin as f32)).collect())
    }
}

struct Made {
    files: Files,
    outcome: Outcome,
}

fn files(
    spec: &Spec,
    frame: &Frame,
    split: &Split,
    fitted: &Fitted,
    champion: Option<&registry::Version>,
) -> Result<Made, JobError> {
    let options = Options {
        bootstrap: BOOTSTRAP,
        seed: spec.training.seed,
        profit: spec.profit,
        lead_ms: spec.lead_ms(),
    };
    let probability = fitted.probabilities(frame, &split.test)?;
    let label = frame.labels(&split.test);
    let entity: Vec<u32> = split.test.iter().map(|row| frame.customer[*row as usize]).collect();
    let event_in_ms: Vec<Option<i64>> =
        split.test.iter().map(|row| frame.event_in_ms[*row as usize]).collect();
    let groups: Vec<(String, Vec<String>)> = frame
        .groups
        .iter()
        .map(|(name, values)| {
            (name.clone(), split.test.iter().map(|row| values[*row as usize].clone()).collect())
        })
        .collect();
    let sample = |probability| Sample {
        probability,
        label: &label,
        entity: &entity,
        event_in_ms: &event_in_ms,
        groups: &groups,
    };
    let evaluation = metrics::evaluate(&sample(&probability), &options)?;

    let schema = schema_hash(&fitted.features);
    let meta = [
        ("model", spec.name.clone()),
        ("features", serde_json::to_string(&fitted.features)?),
        ("schema", schema.clone()),
        ("label", spec.label.clone()),
        ("lead_ms", spec.lead_ms().to_string()),
        ("horizon_ms", spec.horizon_ms().to_string()),
    ];
    let meta: Vec<(String, String)> = meta.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let onnx = onnx::export(&fitted.forest, &fitted.calibration, &meta);
    let scorer = Scorer::from_bytes(&onnx)?;
    let parity = scores(&scorer, frame, &split.test, &fitted.places)?
        .iter()
        .zip(&probability)
        .map(|(ours, xgboost)| (ours - xgboost).abs())
        .fold(0.0, f64::max);
    if parity.is_nan() || parity > PARITY {
        return Err(JobError::Parity(parity));
    }

    let mut warnings = Vec::new();
    if !fitted.constant.is_empty() {
        let count = fitted.constant.len();
        let all = fitted.constant.join(", ");
        warnings.push(format!(
            "{count} of {} features have one value in all training rows and are not used: {all}",
            frame.features.len()
        ));
    }
    let against = match champion {
        None => None,
        Some(champion) => match against(champion, frame, &split.test)? {
            Ok(other) => {
                let comparison = metrics::compare(&probability, &other, &sample(&probability), &options)?;
                Some(Against { version: champion.version.clone(), comparison })
            }
            Err(missing) => {
                warnings.push(format!(
                    "the champion {} cannot be compared: the rows have no {missing}",
                    champion.version
                ));
                None
            }
        },
    };
    let names: Vec<String> = fitted.features.clone();
    let columns = |rows: &[u32]| -> Vec<Vec<f64>> {
        let column = |place: &usize| rows.iter().map(|row| frame.columns[*place][*row as usize]).collect();
        fitted.places.iter().map(column).collect()
    };
    let profile = Profile::new(&names, &columns(&split.train), &fitted.probabilities(frame, &split.train)?)?;
    let drift = profile.drift(&names, &columns(&split.test), Some(&probability))?;
    let psi = drift.score.as_ref().map(|score| score.psi);
    let verdict = spec.gates.check(&evaluation, against.as_ref().map(|against| &against.comparison), psi);

    let (baselines, comparisons) = baselines(spec, frame, split, &probability, &sample, &options)?;
    let importances = importances(frame, split, fitted)?;
    let data = vec![
        slice("training", frame, &split.train),
        slice("folds", frame, &split.folds.iter().flat_map(|fold| fold.validate.clone()).collect::<Vec<_>>()),
        slice("test", frame, &split.test),
    ];
    let left_out = frame.label.iter().filter(|label| label.is_none()).count();
    let mut limits = vec![format!(
        "Of {} rows, {left_out} have no label: what is foretold happened within the lead and not after, or the time to \
         wait was not over. They are in no figure here.",
        frame.rows()
    )];
    if spec.training.calibration == Method::None {
        limits.push(
            "Probabilities are the booster's own: they are as good as the past is like the future."
                .to_owned(),
        );
    }
    let report = Report {
        title: spec.title.split('|').next().unwrap_or(&spec.title).trim().to_owned(),
        model: spec.name.clone(),
        purpose: spec.description.clone(),
        label: format!(
            "{}: more than {} and at most {} later",
            spec.label,
            spec.lead,
            show_days(spec.lead_ms() + spec.horizon_ms())
        ),
        spec: described(spec),
        data,
        baselines: baselines.clone(),
        comparisons,
        importances,
        trials: fitted.found.for_report(),
        calibration: calibrated(spec, frame, split, fitted, &evaluation, &sample, &options)?,
        folds: folds(frame, split, fitted, &options)?,
        parity_error: Some(parity),
        gates: Some(verdict.clone()),
        currency: Currency { code: String::new(), digits: 2 },
        warnings: warnings.clone(),
        limits,
        reproduce: vec![format!(
            "headsup train {} --test-from {}",
            spec.name,
            show_time(first_time(frame, &split.test))
        )],
        evaluation: evaluation.clone(),
    };
    let mut extra = vec![
        ("forest.json".to_owned(), fitted.forest.to_bytes()?),
        ("calibration.json".to_owned(), serde_json::to_vec(&fitted.calibration)?),
        ("profile.json".to_owned(), serde_json::to_vec(&profile)?),
        ("drift.json".to_owned(), serde_json::to_vec(&drift)?),
    ];
    for (bag, booster) in fitted.boosters.iter().enumerate().skip(1) {
        extra.push((format!("model.{bag}.ubj"), booster.ubj(&fitted.features)?));
    }
    let headline = &evaluation.headline;
    let manifest = json!({
        "model": spec.name,
        "headsup": env!("CARGO_PKG_VERSION"),
        "xgboost": "3.2.0",
        "spec": spec,
        "features": fitted.features,
        "schema": schema,
        "data": { "hash": data_hash(frame), "rows": frame.rows(), "train": report.data[0], "test": report.data[2] },
        "parameters": fitted.found.trials[fitted.found.best].values,
        "rounds": fitted.found.trials[fitted.found.best].final_rounds(),
        "metrics": {
            "auroc": headline.auroc.value, "auc_pr": headline.auc_pr.value, "brier": headline.brier.value,
            "ece": headline.ece.value, "log_loss": headline.log_loss.value, "base_rate": evaluation.base_rate,
        },
        "scores": quantiles(&probability),
        "parity": parity,
        "gates": verdict,
        "against": against,
    });
    let files = Files {
        onnx,
        ubj: fitted.boosters[0].ubj(&fitted.features)?,
        report_html: report::html(&report),
        report_json: report::json(&report)?,
        card: card::card(&report),
        manifest,
        extra,
    };
    let outcome = Outcome { version: String::new(), evaluation, baselines, verdict, warnings, parity };
    Ok(Made { files, outcome })
}

/// Probabilities of rows by a stored model.
fn scores(scorer: &Scorer, frame: &Frame, rows: &[u32], places: &[usize]) -> Result<Vec<f64>, score::Error> {
    let mut scores = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(4_096) {
        let scored = scorer.score(&frame.matrix(chunk, places), places.len())?;
        scores.extend(scored.iter().map(|score| f64::from(score.probability)));
    }
    Ok(scores)
}

/// The champion's probabilities, or the feature that is not there.
fn against(
    champion: &registry::Version,
    frame: &Frame,
    rows: &[u32],
) -> Result<Result<Vec<f64>, String>, JobError> {
    let scorer = Scorer::from_bytes(champion.files.get("model.onnx").map_or(&[][..], Vec::as_slice))?;
    let names: Vec<String> = serde_json::from_value(champion.manifest["features"].clone())?;
    let mut places = Vec::new();
    for name in names {
        match frame.place(&name) {
            Some(place) => places.push(place),
            None => return Ok(Err(name)),
        }
    }
    Ok(Ok(scores(&scorer, frame, rows, &places)?))
}

/// How far rows have moved from those that a stored version was trained on.
///
/// # Errors
/// A feature that is not there any more, or a version that cannot be read.
pub fn drift(
    profile: &Profile,
    scorer: &Scorer,
    version: &registry::Version,
    frame: &Frame,
) -> Result<Drift, JobError> {
    let names: Vec<String> = serde_json::from_value(version.manifest["features"].clone())?;
    let places: Option<Vec<usize>> = names.iter().map(|name| frame.place(name)).collect();
    let rows: Vec<u32> = (0..frame.rows() as u32).collect();
    let scored = match places {
        Some(places) => Some(scores(scorer, frame, &rows, &places)?),
        // The profile says which.
        None => None,
    };
    Ok(profile.drift(&frame.features, &frame.columns, scored.as_deref())?)
}

type Named<T> = Vec<(String, T)>;

/// The base rate, recency and logistic regression on the same test; and how far the model is ahead.
fn baselines<'a>(
    spec: &Spec,
    frame: &Frame,
    split: &Split,
    probability: &'a [f64],
    sample: &dyn Fn(&'a [f64]) -> Sample<'a>,
    options: &Options,
) -> Result<(Named<Evaluation>, Named<Comparison>), JobError> {
    let label: Vec<bool> = frame.label.iter().map(|label| label.unwrap_or(false)).collect();
    let recency = match frame.place(&spec.recency) {
        Some(place) => std::slice::from_ref(&frame.columns[place]),
        None => &[],
    };
    let fit = |columns: &[Vec<f64>]| -> Result<Vec<f64>, JobError> {
        let logistic = Logistic::fit(columns, &split.train, &label, &LogisticOptions::default())?;
        Ok(logistic.predict(columns, &split.test)?)
    };
    let rate = baselines::base_rate(&frame.labels(&split.train));
    let all = [
        ("base rate", vec![rate; split.test.len()]),
        ("recency", fit(recency)?),
        ("logistic regression", fit(&frame.columns)?),
    ];
    let (mut evaluations, mut comparisons) = (Vec::new(), Vec::new());
    for (name, other) in all {
        let of_model = sample(probability);
        let other = Sample { probability: &other, ..of_model };
        evaluations.push((name.to_owned(), metrics::evaluate(&other, options)?));
        let comparison = metrics::compare(probability, other.probability, &other, options)?;
        comparisons.push((name.to_owned(), comparison));
    }
    Ok((evaluations, comparisons))
}

/// Mean absolute SHAP values over at most 5,000 rows of the test, evenly drawn.
fn importances(frame: &Frame, split: &Split, fitted: &Fitted) -> Result<Vec<Importance>, JobError> {
    let stride = split.test.len().div_ceil(5_000);
    let rows: Vec<u32> = split.test.iter().copied().step_by(stride).collect();
    let values = Rows::new(&frame.matrix(&rows, &fitted.places), rows.len(), &[])?;
    let width = fitted.places.len() + 1;
    let mut sums = vec![0.0; rows.len() * width];
    for booster in &fitted.boosters {
        for (sum, value) in sums.iter_mut().zip(booster.contributions(&values)?) {
            *sum += f64::from(value);
        }
    }
    let count = (rows.len() * fitted.boosters.len()) as f64;
    let mut importances: Vec<Importance> = fitted
        .features
        .iter()
        .enumerate()
        .map(|(place, feature)| Importance {
            feature: feature.clone(),
            mean_abs_shap: sums.chunks(width).map(|row| row[place].abs()).sum::<f64>() / count,
            description: frame.described.get(feature).cloned().unwrap_or_default(),
        })
        .collect();
    importances
        .sort_by(|a, b| b.mean_abs_shap.total_cmp(&a.mean_abs_shap).then_with(|| a.feature.cmp(&b.feature)));
    Ok(importances)
}

fn calibrated<'a>(
    spec: &Spec,
    frame: &Frame,
    split: &Split,
    fitted: &Fitted,
    evaluation: &Evaluation,
    sample: &dyn Fn(&'a [f64]) -> Sample<'a>,
    options: &Options,
) -> Result<Option<report::Calibration>, JobError> {
    let method = match spec.training.calibration {
        Method::None => return Ok(None),
        Method::Platt => "platt",
        Method::Isotonic => "isotonic",
    };
    let before: Vec<f64> = fitted
        .margins(frame, &split.test)?
        .into_iter()
        .map(|margin| Calibration::None.apply(margin as f32))
        .collect();
    let of_model = sample(&[]);
    let before = metrics::evaluate(
        &Sample { probability: &before, ..of_model },
        &Options { bootstrap: 0, ..*options },
    )?;
    Ok(Some(report::Calibration {
        method: method.to_owned(),
        before: (&before).into(),
        after: evaluation.into(),
    }))
}

/// The folds' spans, each by the booster of what was before it, calibrated as the model is.
fn folds(
    frame: &Frame,
    split: &Split,
    fitted: &Fitted,
    options: &Options,
) -> Result<Vec<report::Fold>, JobError> {
    let mut folds = Vec::new();
    for (fold, margins) in split.folds.iter().zip(&fitted.found.margins) {
        let probability: Vec<f64> = margins.iter().map(|margin| fitted.calibration.apply(*margin)).collect();
        folds.push(fold_of(frame, &fold.validate, &probability, options)?);
    }
    Ok(folds)
}

/// How well rows were foretold.
///
/// # Errors
/// One class only.
pub fn fold_of(
    frame: &Frame,
    rows: &[u32],
    probability: &[f64],
    options: &Options,
) -> Result<report::Fold, metrics::Error> {
    let label = frame.labels(rows);
    let entity: Vec<u32> = rows.iter().map(|row| frame.customer[*row as usize]).collect();
    let event_in_ms: Vec<Option<i64>> = rows.iter().map(|row| frame.event_in_ms[*row as usize]).collect();
    let sample =
        Sample { probability, label: &label, entity: &entity, event_in_ms: &event_in_ms, groups: &[] };
    let of_it = slice("", frame, rows);
    Ok(report::Fold {
        from: of_it.from,
        to: of_it.to,
        rows: of_it.rows,
        positives: of_it.positives,
        headline: metrics::evaluate(&sample, options)?.headline,
    })
}

fn slice(name: &str, frame: &Frame, rows: &[u32]) -> Slice {
    let mut entities: Vec<u32> = rows.iter().map(|row| frame.customer[*row as usize]).collect();
    entities.sort_unstable();
    entities.dedup();
    Slice {
        name: name.to_owned(),
        from: show_time(first_time(frame, rows)),
        to: show_time(rows.iter().map(|row| frame.as_of_us[*row as usize]).max().unwrap_or(0)),
        rows: rows.len() as u64,
        entities: entities.len() as u64,
        positives: frame.labels(rows).iter().filter(|label| **label).count() as u64,
    }
}

fn first_time(frame: &Frame, rows: &[u32]) -> i64 {
    rows.iter().map(|row| frame.as_of_us[*row as usize]).min().unwrap_or(0)
}

fn show_days(ms: i64) -> String {
    format!("{}d", ms as f64 / 86_400_000.0)
}

fn described(spec: &Spec) -> Vec<(String, String)> {
    let training = &spec.training;
    let list: [(&str, String); 9] = [
        ("population", spec.population.clone()),
        ("label", spec.label.clone()),
        ("lead", spec.lead.clone()),
        ("horizon", spec.horizon.clone()),
        ("rows of a customer", format!("every {}", spec.every)),
        ("folds", training.folds.to_string()),
        ("boosters", training.bags.to_string()),
        ("calibration", format!("{:?}", training.calibration).to_lowercase()),
        ("seed", training.seed.to_string()),
    ];
    list.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// 101 quantiles of the scores, by which a live score gets its percentile.
fn quantiles(scores: &[f64]) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (0..=100).map(|percent| sorted[(sorted.len() - 1) * percent / 100]).collect()
}

/// Of the features' names in order: two models with the same take the same rows.
pub fn schema_hash(features: &[String]) -> String {
    let mut hash = Xxh3::new();
    for name in features {
        hash.update(name.as_bytes());
        hash.update(&[0]);
    }
    format!("{:032x}", hash.digest128())
}

/// Of every value, in the order of time and customer.
fn data_hash(frame: &Frame) -> String {
    let mut hash = Xxh3::new();
    let mut add = |bytes: &[u8]| hash.update(bytes);
    for name in frame.features.iter().chain(&frame.customers) {
        add(name.as_bytes());
        add(&[0]);
    }
    for row in 0..frame.rows() {
        add(&frame.customer[row].to_le_bytes());
        add(&frame.as_of_us[row].to_le_bytes());
        add(&[frame.label[row].map_or(2, u8::from)]);
    }
    for column in &frame.columns {
        for value in column {
            add(&value.to_bits().to_le_bytes());
        }
    }
    format!("{:032x}", hash.digest128())
}
