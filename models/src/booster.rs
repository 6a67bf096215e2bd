//! XGBoost: training with early stopping, margins, contributions, bytes.

use std::collections::BTreeMap;

use xgb::parameters::BoosterParameters;
use xgb::{Booster, DMatrix, XGBError};

use crate::spec::Metric;

/// What XGBoost refuses.
#[derive(Debug, thiserror::Error)]
#[error("XGBoost: {0}")]
pub struct BoosterError(String);

impl From<XGBError> for BoosterError {
    fn from(error: XGBError) -> Self {
        Self(error.to_string())
    }
}

impl BoosterError {
    /// No trial.
    pub(crate) fn nothing() -> Self {
        Self("nothing was tried; training.trials must be 1 or more".to_owned())
    }
}

/// Rows as XGBoost takes them: one after another, missing values NaN.
pub struct Rows {
    matrix: DMatrix,
}

impl Rows {
    /// `labels` is empty, or one for each row.
    ///
    /// # Errors
    /// The lengths do not fit.
    pub fn new(values: &[f32], rows: usize, labels: &[bool]) -> Result<Self, BoosterError> {
        let mut matrix = DMatrix::from_dense_with_missing(values, rows, f32::NAN)?;
        if !labels.is_empty() {
            let labels: Vec<f32> = labels.iter().map(|label| f32::from(u8::from(*label))).collect();
            matrix.set_labels(&labels)?;
        }
        Ok(Self { matrix })
    }
}

/// Parameters of one booster.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// By XGBoost's names.
    pub values: BTreeMap<String, f64>,
    /// 1, 0 or -1 for each feature.
    pub monotone: Vec<i8>,
    /// Of its sampling.
    pub seed: u64,
}

/// A trained booster.
pub struct Trained {
    booster: Booster,
}

/// A booster of a fold, and how good it was after each round.
pub struct Tried {
    /// The best of its rounds.
    pub trained: Trained,
    /// How many.
    pub rounds: usize,
    /// What the metric was after them.
    pub score: f64,
}

fn start(parameters: &Parameters, metric: Metric, sets: &[&DMatrix]) -> Result<Booster, BoosterError> {
    let mut booster = Booster::new_with_cached_dmats(&BoosterParameters::default(), sets)?;
    let metric = match metric {
        Metric::AucPr => "aucpr",
        Metric::LogLoss => "logloss",
    };
    for (name, value) in [
        ("objective", "binary:logistic"),
        ("tree_method", "hist"),
        ("nthread", "2"),
        ("eval_metric", metric),
        ("verbosity", "0"),
    ] {
        booster.set_param(name, value)?;
    }
    booster.set_param("seed", &(parameters.seed % (1 << 31)).to_string())?;
    for (name, value) in &parameters.values {
        booster.set_param(name, &value.to_string())?;
    }
    if parameters.monotone.iter().any(|way| *way != 0) {
        let ways: Vec<String> = parameters.monotone.iter().map(i8::to_string).collect();
        booster.set_param("monotone_constraints", &format!("({})", ways.join(",")))?;
    }
    Ok(booster)
}

/// Boosts for so many rounds.
///
/// # Errors
/// A parameter that XGBoost does not know or take.
pub fn train(parameters: &Parameters, rows: &Rows, rounds: usize) -> Result<Trained, BoosterError> {
    let mut booster = start(parameters, Metric::LogLoss, &[&rows.matrix])?;
    for round in 0..rounds {
        booster.update(&rows.matrix, round as i32)?;
    }
    Ok(Trained { booster })
}

/// Boosts until `validate` has not become better for `patience` rounds.
///
/// # Errors
/// A parameter that XGBoost does not know or take.
pub fn early_stopped(
    parameters: &Parameters,
    metric: Metric,
    rows: &Rows,
    validate: &Rows,
    max_rounds: usize,
    patience: usize,
) -> Result<Tried, BoosterError> {
    let mut booster = start(parameters, metric, &[&rows.matrix, &validate.matrix])?;
    let (mut best, mut best_rounds) = (f64::NEG_INFINITY, 0);
    for round in 0..max_rounds {
        booster.update(&rows.matrix, round as i32)?;
        let value = booster.evaluate(&validate.matrix)?.into_values().next().map_or(f64::NAN, f64::from);
        let value = if metric == Metric::LogLoss { -value } else { value };
        if value > best {
            (best, best_rounds) = (value, round + 1);
        } else if round + 1 >= best_rounds + patience {
            break;
        }
    }
    if best_rounds == 0 {
        return Err(BoosterError("the metric of the first round is no number".to_owned()));
    }
    let trained = Trained { booster: booster.slice(0, best_rounds as i32)? };
    Ok(Tried { trained, rounds: best_rounds, score: best })
}

impl Trained {
    /// The margin of each row.
    ///
    /// # Errors
    /// The rows have another number of features.
    pub fn margins(&self, rows: &Rows) -> Result<Vec<f32>, BoosterError> {
        Ok(self.booster.predict_margin(&rows.matrix)?)
    }

    /// SHAP values: for each row one for each feature, and the bias.
    ///
    /// # Errors
    /// The rows have another number of features.
    pub fn contributions(&self, rows: &Rows) -> Result<Vec<f32>, BoosterError> {
        Ok(self.booster.predict_contributions(&rows.matrix)?.0)
    }

    /// The model in XGBoost's JSON.
    ///
    /// # Errors
    /// XGBoost's.
    pub fn json(&self) -> Result<Vec<u8>, BoosterError> {
        Ok(self.booster.save_buffer(false)?)
    }

    /// The model in XGBoost's UBJSON, with the features' names.
    ///
    /// # Errors
    /// XGBoost's.
    pub fn ubj(&self, features: &[String]) -> Result<Vec<u8>, BoosterError> {
        let names: Vec<&str> = features.iter().map(String::as_str).collect();
        self.booster.set_feature_names(&names)?;
        Ok(self.booster.save_buffer(true)?)
    }
}
