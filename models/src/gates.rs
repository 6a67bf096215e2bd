//! What a model must show before it may become champion.

use serde::{Deserialize, Serialize};

use crate::metrics::{Comparison, Evaluation, Interval, TOPS};

/// The gates of a spec; those not given are not asked for. Metrics count by their value, not by
/// their interval.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// Least area under the precision-recall curve.
    pub min_auc_pr: Option<f64>,
    /// Least area under the ROC curve.
    pub min_auroc: Option<f64>,
    /// Greatest expected calibration error.
    pub max_ece: Option<f64>,
    /// Least lift in the best 10 % of rows.
    pub min_lift_10: Option<f64>,
    /// AUC-PR must exceed the champion's on the same rows: the paired interval lies above 0.
    pub better_than_champion: bool,
    /// Greatest PSI of the scores against those in training.
    pub max_psi: Option<f64>,
}

/// One gate and how the model stood before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// As in the spec.
    pub name: String,
    /// What was measured; `None` if nothing was.
    pub value: Option<f64>,
    /// What the spec asks for.
    pub limit: f64,
    /// Whether the model may pass.
    pub passed: bool,
    /// In words, as `0.181 ≥ 0.150`.
    pub note: String,
}

/// All gates of a spec.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// In the spec's order.
    pub gates: Vec<Gate>,
}

impl Verdict {
    /// Whether no gate is shut; true without gates.
    pub fn passed(&self) -> bool {
        self.gates.iter().all(|gate| gate.passed)
    }

    /// The gates that are shut, as `max_ece: 0.031 > 0.020`.
    pub fn failures(&self) -> Vec<String> {
        let shut = self.gates.iter().filter(|gate| !gate.passed);
        shut.map(|gate| format!("{}: {}", gate.name, gate.note)).collect()
    }
}

impl Gates {
    /// Holds an evaluation against the gates. `against` compares the model with the champion (`None`
    /// if there is no champion: that gate is open then), `psi` is that of the scores (`None` if not
    /// measured: that gate is shut then).
    pub fn check(&self, evaluation: &Evaluation, against: Option<&Comparison>, psi: Option<f64>) -> Verdict {
        let headline = &evaluation.headline;
        let lift = headline.lift.iter().find(|lift| lift.top == TOPS[2]).map(|lift| lift.lift);
        let value = |interval: Interval| Some(interval.value);
        let asked = [
            ("min_auc_pr", self.min_auc_pr, value(headline.auc_pr), true),
            ("min_auroc", self.min_auroc, value(headline.auroc), true),
            ("max_ece", self.max_ece, value(headline.ece), false),
            ("min_lift_10", self.min_lift_10, lift.and_then(value), true),
            ("max_psi", self.max_psi, psi, false),
        ];
        let mut gates: Vec<Gate> = asked
            .into_iter()
            .filter_map(|(name, limit, value, at_least)| Some(bound(name, limit?, value, at_least)))
            .collect();
        if self.better_than_champion {
            let (passed, note) = match against {
                None => (true, "there is no champion yet".to_owned()),
                Some(c) => (
                    c.low > 0.0,
                    format!("AUC-PR {:+.4}, interval {:+.4} to {:+.4}", c.difference, c.low, c.high),
                ),
            };
            let value = against.map(|comparison| comparison.low);
            gates.push(Gate { name: "better_than_champion".to_owned(), value, limit: 0.0, passed, note });
        }
        Verdict { gates }
    }
}

fn bound(name: &str, limit: f64, value: Option<f64>, at_least: bool) -> Gate {
    let (passed, note) = match value {
        None => (false, "was not measured".to_owned()),
        Some(value) => {
            let passed = if at_least { value >= limit } else { value <= limit };
            let sign = match (at_least, passed) {
                (true, true) => "≥",
                (true, false) => "<",
                (false, true) => "≤",
                (false, false) => ">",
            };
            (passed, format!("{value:.4} {sign} {limit:.4}"))
        }
    };
    Gate { name: name.to_owned(), value, limit, passed, note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Options, Profit, Sample, evaluate};

    fn evaluation() -> Evaluation {
        let sample = Sample {
            probability: &[0.9, 0.8, 0.3, 0.2],
            label: &[true, true, false, false],
            entity: &[0, 1, 2, 3],
            event_in_ms: &[None; 4],
            groups: &[],
        };
        let profit = Profit { hit_minor: 1, contact_minor: 1 };
        evaluate(&sample, &Options { bootstrap: 0, seed: 0, profit, lead_ms: 0 }).unwrap()
    }

    #[test]
    fn every_gate_is_listed_with_value_and_limit() {
        let gates: Gates = toml::from_str(
            "min_auc_pr = 0.9\nmin_auroc = 0.9\nmax_ece = 0.1\nmin_lift_10 = 3.0\nbetter_than_champion = true\nmax_psi = 0.2",
        )
        .unwrap();
        let better = Comparison { difference: 0.02, mean: 0.02, low: 0.01, high: 0.03 };
        let verdict = gates.check(&evaluation(), Some(&better), None);
        assert!(!verdict.passed());
        let passed: Vec<(&str, bool)> =
            verdict.gates.iter().map(|gate| (gate.name.as_str(), gate.passed)).collect();
        assert_eq!(
            passed,
            [
                ("min_auc_pr", true),
                ("min_auroc", true),
                ("max_ece", false),
                ("min_lift_10", false),
                ("max_psi", false),
                ("better_than_champion", true)
            ]
        );
        assert_eq!(
            verdict.failures(),
            ["max_ece: 0.2000 > 0.1000", "min_lift_10: 2.0000 < 3.0000", "max_psi: was not measured"]
        );
    }

    #[test]
    fn better_means_that_the_interval_lies_above_nothing() {
        let gates = Gates { better_than_champion: true, ..Gates::default() };
        let check = |low| {
            let comparison = Comparison { difference: 0.1, mean: 0.1, low, high: 0.2 };
            gates.check(&evaluation(), Some(&comparison), None).passed()
        };
        assert!(check(0.001) && !check(0.0) && !check(-0.01));
        assert!(gates.check(&evaluation(), None, None).passed());
        assert!(Gates::default().check(&evaluation(), None, None).gates.is_empty());
        assert!(toml::from_str::<Gates>("min_acu_pr = 0.9").is_err());
    }
}
