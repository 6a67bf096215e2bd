//! Whether the score finds those whom a contact helps.
//!
//! The curve of Radcliffe, "Using Control Groups to Target on Predicted Lift", Direct Marketing
//! Analytics Journal (2007): among the customers with the best scores, outcomes averted are
//! R_c N_t / N_c − R_t, where R are outcomes and N customers of each arm.

use serde::{Deserialize, Serialize};

use crate::lift::Unit;

/// Least customers of an arm for a curve.
pub const MIN_UNITS: u64 = 100;
/// Least outcomes of an arm for a curve: with fewer, single customers draw it.
pub const MIN_OUTCOMES: u64 = 20;
/// Points of the curve, about.
const POINTS: f64 = 100.0;

/// Qini curve and its coefficients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Qini {
    /// (share of customers, highest score first; outcomes averted among them, per customer treated in
    /// all), thinned to some 100 points. The straight line to its end is what chance would do.
    pub curve: Vec<[f64; 2]>,
    /// Area between the curve and the straight line; above 0 if high scores gain more from a contact.
    pub area: f64,
    /// `area` over that of the best curve without harm (Radcliffe's q₀): it rises by one outcome per
    /// customer until all that is averted is reached. `None` if nothing is averted in all.
    pub coefficient: Option<f64>,
}

/// Why there is no curve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Missing {
    /// Too few.
    #[error(
        "{arm} has {units} customers with {outcomes} outcomes; a curve takes {MIN_UNITS} with {MIN_OUTCOMES} in each arm"
    )]
    Few {
        /// Which arm.
        arm: &'static str,
        /// Customers.
        units: u64,
        /// Outcomes.
        outcomes: u64,
    },
    /// NaN or infinite.
    #[error("customer {row} (counted from 0) has the score {score}; give every customer a finite one")]
    Score {
        /// Which.
        row: usize,
        /// What is there.
        score: f64,
    },
}

#[derive(Default, Clone, Copy)]
struct Sums {
    units: [u64; 2],
    outcomes: [u64; 2],
}

impl Sums {
    fn add(&mut self, unit: &Unit) {
        self.units[usize::from(unit.treated)] += 1;
        self.outcomes[usize::from(unit.treated)] += u64::from(unit.outcome);
    }

    /// Outcomes averted; `None` without controls to compare with.
    fn averted(self) -> Option<f64> {
        let [[controls, treated], [r_c, r_t]] =
            [self.units, self.outcomes].map(|arms| arms.map(|count| count as f64));
        (controls > 0.0).then(|| r_c * treated / controls - r_t)
    }
}

/// Draws the curve. Customers of equal score are one step; where the best have no control among them
/// the curve runs straight to the first step that has.
///
/// # Errors
/// Scores that are not finite, or an arm with fewer than [`MIN_UNITS`] or [`MIN_OUTCOMES`].
pub fn qini(units: &[Unit]) -> Result<Qini, Missing> {
    let mut all = Sums::default();
    units.iter().for_each(|unit| all.add(unit));
    for (place, arm) in [(1, "the treated arm"), (0, "the control arm")] {
        let (units, outcomes) = (all.units[place], all.outcomes[place]);
        if units < MIN_UNITS || outcomes < MIN_OUTCOMES {
            return Err(Missing::Few { arm, units, outcomes });
        }
    }
    if let Some((row, unit)) = units.iter().enumerate().find(|(_, unit)| !unit.score.is_finite()) {
        return Err(Missing::Score { row, score: unit.score });
    }
    // Adding 0 makes −0 a 0, so that the two are a tie.
    let score = |unit: &Unit| unit.score + 0.0;
    let mut ranked: Vec<&Unit> = units.iter().collect();
    ranked.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let (count, treated) = (units.len() as f64, all.units[1] as f64);
    let (mut sums, mut seen, mut area) = (Sums::default(), 0, 0.0);
    let mut last = [0.0; 2];
    let mut curve = vec![last];
    for step in ranked.chunk_by(|a, b| score(a) == score(b)) {
        step.iter().for_each(|unit| sums.add(unit));
        seen += step.len();
        let Some(averted) = sums.averted() else { continue };
        let point = [seen as f64 / count, averted / treated];
        area += (point[0] - last[0]) * (point[1] + last[1]) / 2.0;
        if seen == units.len() || point[0] - curve[curve.len() - 1][0] >= 1.0 / POINTS {
            curve.push(point);
        }
        last = point;
    }
    let end = last[1];
    area -= end / 2.0;
    let best = end * (1.0 - end) / 2.0;
    Ok(Qini { curve, area, coefficient: (best > 0.0).then(|| area / best) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(treated: bool, outcome: bool, score: f64) -> Unit {
        Unit { treated, contacted: treated, outcome, score, cost_minor: 0, gain_minor: 0 }
    }

    /// Half have the score 1: the contact averts all of their outcomes (of 40 %), and none of the
    /// others' (of 20 %).
    fn half(high: f64, low: f64) -> Vec<Unit> {
        let mut units = Vec::new();
        for k in 0..100 {
            units.push(unit(true, false, high));
            units.push(unit(false, k < 40, high));
            units.push(unit(true, k < 20, low));
            units.push(unit(false, k < 20, low));
        }
        units
    }

    #[test]
    fn curve_is_that_by_hand() {
        // 40 of 200 treated averted at half, 40 at the end: area 0.05 + 0.1 − 0.1 = 0.05; the best
        // curve has 0.2 × 0.8 / 2 = 0.08.
        let found = qini(&half(1.0, 0.0)).unwrap();
        assert_eq!(found.curve, [[0.0, 0.0], [0.5, 0.2], [1.0, 0.2]]);
        assert!((found.area - 0.05).abs() < 1e-12, "{found:?}");
        assert!((found.coefficient.unwrap() - 0.625).abs() < 1e-12);
        let wrong = qini(&half(0.0, 1.0)).unwrap();
        assert!((wrong.area + 0.05).abs() < 1e-12, "{wrong:?}");
        let tied = qini(&half(0.0, -0.0)).unwrap();
        assert_eq!((tied.curve.len(), tied.area), (2, 0.0));
    }

    #[test]
    fn order_of_rows_does_not_matter() {
        let (units, mut back) = (half(1.0, 0.0), half(1.0, 0.0));
        back.reverse();
        assert_eq!(qini(&units), qini(&back));
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut units = half(1.0, 0.0);
        units[7].score = f64::NAN;
        assert_eq!(
            qini(&units).unwrap_err().to_string(),
            "customer 7 (counted from 0) has the score NaN; give every customer a finite one"
        );
        assert_eq!(
            qini(&units[..40]).unwrap_err().to_string(),
            "the treated arm has 20 customers with 10 outcomes; a curve takes 100 with 20 in each arm"
        );
        assert!(qini(&[]).is_err());
        let harmed: Vec<Unit> =
            half(1.0, 0.0).into_iter().map(|unit| Unit { treated: !unit.treated, ..unit }).collect();
        assert_eq!(qini(&harmed).unwrap().coefficient, None);
    }
}
