//! What a model is of: `models/<name>.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::gates::Gates;
use crate::metrics::Profit;

/// A model's specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The file's name without `.toml`.
    #[serde(skip_deserializing)]
    pub name: String,
    /// English and Chinese, separated by `|`.
    pub title: String,
    /// What it is for and how it may be used.
    pub description: String,
    /// The label, a file in `sql/labels/` or a path.
    pub label: String,
    /// What happens sooner than this after `as_of` is not foretold: a duration such as `3d`, or `0d`.
    pub lead: String,
    /// How far ahead it looks, after the lead.
    pub horizon: String,
    /// How far the rows of a customer are apart.
    pub every: String,
    /// A condition on features and the customer: who is scored.
    pub population: String,
    /// Features that are not used.
    #[serde(default)]
    pub leave_out: Vec<String>,
    /// The feature that the baseline "recency" goes by: days since something.
    pub recency: String,
    /// How it is trained.
    pub training: Training,
    /// 1 for features that may only raise the risk, -1 for those that may only lower it.
    #[serde(default)]
    pub monotone: BTreeMap<String, i8>,
    /// What a new version must reach before it is promoted.
    #[serde(default)]
    pub gates: Gates,
    /// What contacting a customer costs, and what it brings if the model was right.
    pub profit: Profit,
    /// When customers are scored in the stream; without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<Scoring>,
}

/// When customers are scored in the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
    /// After these facts of theirs ([`Scoring::TRIGGERS`]).
    pub on: Vec<String>,
    /// And once a day, each at a minute of its own.
    pub sweep: bool,
    /// From this probability on, a score comes with reasons.
    pub explain_from: f64,
}

impl Scoring {
    /// What a customer can be scored after.
    pub const TRIGGERS: [&str; 11] = [
        "order.placed",
        "order.paid",
        "order.shipped",
        "order.delivered",
        "order.cancelled",
        "order.return_requested",
        "order.returned",
        "order.refunded",
        "order.reviewed",
        "contact.ended",
        "contact.rated",
    ];
}

/// Folds, search, calibration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Of the search and of every booster.
    pub seed: u64,
    /// Spans in time order that are foretold from those before them.
    pub folds: usize,
    /// The share of the training span, its end, that the folds divide among them.
    pub fold_share: f64,
    /// Parameter sets that are tried.
    pub trials: usize,
    /// Boosters with seeds of their own, of which the model is the mean.
    pub bags: usize,
    /// The most rounds of boosting.
    pub max_rounds: usize,
    /// Rounds without improvement after which a fold's boosting ends.
    pub early_stopping: usize,
    /// What the search goes by.
    pub metric: Metric,
    /// What becomes of the margins.
    pub calibration: Method,
    /// Parameters of XGBoost that are not searched.
    #[serde(default)]
    pub fixed: BTreeMap<String, f64>,
    /// Values to choose from, by parameter of XGBoost.
    pub search: BTreeMap<String, Vec<f64>>,
}

/// What the search goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The higher the better.
    AucPr,
    /// The lower the better.
    LogLoss,
}

/// How margins become probabilities. Fitted to the folds' rows, none of which their booster has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The sigmoid of the margin, as XGBoost has it.
    None,
    /// Platt 1999: the sigmoid of a line.
    Platt,
    /// A rising curve through the means of blocks of rows.
    Isotonic,
}

/// What is wrong with a specification.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("cannot read the model's specification {file}: {error}")]
    Io {
        /// Which.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is no such file.
    #[error("{file}: {error}")]
    Toml {
        /// Which.
        file: String,
        /// Line and mistake.
        error: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("{file}: {what}")]
    Value {
        /// Which.
        file: String,
        /// What is wrong and what would be right.
        what: String,
    },
}

const DAY_MS: i64 = 86_400_000;

impl Spec {
    /// Reads a file; its name is the model's.
    ///
    /// # Errors
    /// What is wrong with it, and the line.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| SpecError::Io { file: file.clone(), error })?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("model");
        Self::parse(&file, name, &text)
    }

    /// Reads a text; messages call it `file`.
    ///
    /// # Errors
    /// What is wrong with it, and the line.
    pub fn parse(file: &str, name: &str, text: &str) -> Result<Self, SpecError> {
        let toml = |error| SpecError::Toml { file: file.to_owned(), error: Box::new(error) };
        let mut spec: Self = toml::from_str(text).map_err(toml)?;
        spec.name = name.to_owned();
        match spec.mistake() {
            Some(what) => Err(SpecError::Value { file: file.to_owned(), what }),
            None => Ok(spec),
        }
    }

    /// As a version's manifest has it.
    ///
    /// # Errors
    /// It is none, or of another version of headsup.
    pub fn of_manifest(name: &str, manifest: &serde_json::Value) -> Result<Self, SpecError> {
        let mut spec = manifest.get("spec").cloned().unwrap_or_default();
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("name");
        }
        let spec: Result<Self, _> = serde_json::from_value(spec);
        spec.map(|spec| Self { name: name.to_owned(), ..spec })
            .map_err(|error| SpecError::Value { file: "manifest.json".to_owned(), what: error.to_string() })
    }

    fn mistake(&self) -> Option<String> {
        let training = &self.training;
        if let Some(scoring) = &self.scoring {
            if let Some(on) = scoring.on.iter().find(|on| !Scoring::TRIGGERS.contains(&on.as_str())) {
                return Some(format!(
                    "scoring.on: \"{on}\": expected some of {}",
                    Scoring::TRIGGERS.join(", ")
                ));
            }
            if !(0.0..=1.0).contains(&scoring.explain_from) {
                return Some(format!("scoring.explain_from = {}: expected 0 to 1", scoring.explain_from));
            }
        }
        for (key, text) in [("lead", &self.lead), ("horizon", &self.horizon), ("every", &self.every)] {
            if duration_ms(text).is_none_or(|ms| ms < 0 || (ms == 0 && key != "lead")) {
                return Some(format!("{key} = \"{text}\": expected a duration such as 7d or 12h"));
            }
        }
        for (key, value, least, most) in [
            ("folds", training.folds, 1, 50),
            ("trials", training.trials, 1, 1_000),
            ("bags", training.bags, 1, 50),
            ("max_rounds", training.max_rounds, 1, 20_000),
            ("early_stopping", training.early_stopping, 1, 1_000),
        ] {
            if !(least..=most).contains(&value) {
                return Some(format!("training.{key} = {value}: expected {least} to {most}"));
            }
        }
        if !(0.05..=0.9).contains(&training.fold_share) {
            return Some(format!("training.fold_share = {}: expected 0.05 to 0.9", training.fold_share));
        }
        for (name, values) in &training.search {
            if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
                return Some(format!("training.search.{name}: expected a list of numbers"));
            }
            if training.fixed.contains_key(name) {
                return Some(format!("{name} is in training.fixed and in training.search"));
            }
        }
        let owned = ["objective", "seed", "nthread", "base_score", "monotone_constraints", "eval_metric"];
        if let Some(name) =
            training.fixed.keys().chain(training.search.keys()).find(|name| owned.contains(&name.as_str()))
        {
            return Some(format!("{name} is not to be set here; {} are the job's", owned.join(", ")));
        }
        let monotone = self.monotone.iter().find(|(_, way)| !matches!(way, -1 | 1));
        monotone.map(|(name, way)| format!("monotone.{name} = {way}: expected 1 or -1"))
    }

    /// In ms.
    pub fn lead_ms(&self) -> i64 {
        duration_ms(&self.lead).unwrap_or(0)
    }

    /// In ms.
    pub fn horizon_ms(&self) -> i64 {
        duration_ms(&self.horizon).unwrap_or(0)
    }

    /// In ms.
    pub fn every_ms(&self) -> i64 {
        duration_ms(&self.every).unwrap_or(DAY_MS)
    }

    /// How long after `as_of` a label is known, in µs.
    pub fn mature_us(&self) -> i64 {
        (self.lead_ms() + self.horizon_ms()) * 1_000
    }
}

/// `90d`, `12h`, `30m`, `45s`, in ms.
fn duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "d" => DAY_MS,
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        _ => return None,
    };
    number.parse::<u32>().ok().and_then(|number| i64::from(number).checked_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::Spec;

    #[test]
    fn mistakes_are_told_with_their_place() {
        let good = include_str!("../order_return.toml");
        assert_eq!(Spec::parse("m.toml", "m", good).map(|spec| spec.lead_ms()).ok(), Some(3 * 86_400_000));
        for (from, to, expected) in [
            ("lead = \"3d\"", "lead = \"3 days\"", "m.toml: lead = \"3 days\": expected a duration"),
            ("horizon = \"7d\"", "horizon = \"0d\"", "m.toml: horizon = \"0d\": expected a duration"),
            ("lead = \"3d\"", "leed = \"3d\"", "unknown field `leed`"),
            ("folds = ", "folds = 10", "training.folds = 10"),
            ("calibration = \"", "calibration = \"x", "line "),
        ] {
            let error =
                Spec::parse("m.toml", "m", &good.replacen(from, to, 1)).map_err(|error| error.to_string());
            let error = error.err().unwrap_or_default();
            assert!(error.contains(expected), "{error}");
        }
    }
}
