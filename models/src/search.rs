//! The parameters: chosen at random, seeded and bounded, by how well each span at the end of the
//! training rows is foretold from those before it.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::booster::{BoosterError, Parameters, Rows, early_stopped};
use crate::metrics;
use crate::report;
use crate::spec::{Metric, Spec};

/// One set of parameters and how good it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What was chosen.
    pub values: BTreeMap<String, f64>,
    /// The metric of each fold; log loss is negative.
    pub scores: Vec<f64>,
    /// AUC-PR of each fold.
    pub auc_pr: Vec<f64>,
    /// Rounds of each fold.
    pub rounds: Vec<usize>,
}

impl Trial {
    /// Over the folds.
    pub fn mean(&self) -> f64 {
        self.scores.iter().sum::<f64>() / self.scores.len() as f64
    }

    /// The rounds for all rows: the folds' median, more for the more rows there are.
    pub fn final_rounds(&self) -> usize {
        let mut rounds = self.rounds.clone();
        rounds.sort_unstable();
        rounds[rounds.len() / 2].max(1)
    }
}

/// A fold as XGBoost takes it.
pub struct FoldRows {
    /// What was known before.
    pub train: Rows,
    /// The span.
    pub validate: Rows,
    /// Of the span.
    pub labels: Vec<bool>,
}

/// The best trial, its margins of the folds' spans in order, and all trials.
pub struct Found {
    /// The place of the best in `trials`.
    pub best: usize,
    /// All.
    pub trials: Vec<Trial>,
    /// By fold and row, of the best.
    pub margins: Vec<Vec<f32>>,
}

impl Found {
    /// As the report has them.
    pub fn for_report(&self) -> Vec<report::Trial> {
        let each = self.trials.iter().enumerate().map(|(number, trial)| report::Trial {
            params: trial.values.clone(),
            rounds: trial.final_rounds() as u32,
            auc_pr: trial.auc_pr.iter().sum::<f64>() / trial.auc_pr.len() as f64,
            chosen: number == self.best,
        });
        each.collect()
    }
}

/// Tries `spec.training.trials` sets of parameters; the first has the middle of every list.
///
/// # Errors
/// A parameter that XGBoost does not know or take.
pub fn search(
    spec: &Spec,
    monotone: &[i8],
    folds: &[FoldRows],
    tried: &mut dyn FnMut(usize),
) -> Result<Found, BoosterError> {
    let training = &spec.training;
    let mut random = ChaCha8Rng::seed_from_u64(training.seed);
    let mut seen = BTreeSet::new();
    let mut found: Option<Found> = None;
    let mut trials = Vec::new();
    for number in 0..training.trials {
        let mut chosen: Vec<usize> = training.search.values().map(|values| values.len() / 2).collect();
        for _ in 0..100 {
            if seen.insert(chosen.clone()) {
                break;
            }
            chosen = training.search.values().map(|values| random.random_range(0..values.len())).collect();
        }
        let mut values = training.fixed.clone();
        values.extend(
            training.search.iter().zip(&chosen).map(|((name, values), place)| (name.clone(), values[*place])),
        );
        let parameters =
            Parameters { values: values.clone(), monotone: monotone.to_vec(), seed: training.seed };
        let (mut trial, mut margins) = (Trial { values, ..Trial::default() }, Vec::new());
        for fold in folds {
            let metric: Metric = training.metric;
            let fitted = early_stopped(
                &parameters,
                metric,
                &fold.train,
                &fold.validate,
                training.max_rounds,
                training.early_stopping,
            )?;
            let of_span = fitted.trained.margins(&fold.validate)?;
            let ranks: Vec<f64> = of_span.iter().map(|margin| f64::from(*margin)).collect();
            trial.auc_pr.push(metrics::auc_pr(&ranks, &fold.labels));
            margins.push(of_span);
            trial.scores.push(fitted.score);
            trial.rounds.push(fitted.rounds);
        }
        let better = found.as_ref().is_none_or(|found: &Found| {
            let best: &Trial = &trials[found.best];
            trial.mean() > best.mean()
        });
        trials.push(trial);
        if better {
            found = Some(Found { best: number, trials: Vec::new(), margins });
        }
        tried(number + 1);
    }
    match found {
        Some(found) => Ok(Found { trials, ..found }),
        None => Err(BoosterError::nothing()),
    }
}
