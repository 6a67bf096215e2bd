//! From margins to probabilities that hold: Platt's sigmoid, or isotonic regression.

use serde::{Deserialize, Serialize};

/// How a margin becomes a probability.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// The sigmoid of the margin.
    #[default]
    None,
    /// The sigmoid of `a · margin + b`.
    Platt {
        /// The slope.
        a: f64,
        /// The intercept.
        b: f64,
    },
    /// Linear between knots, constant outside.
    Isotonic {
        /// The knots, strictly increasing.
        margin: Vec<f32>,
        /// Their probabilities, not decreasing.
        probability: Vec<f64>,
    },
}

/// Why nothing was fitted.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Not one value of each for every row.
    #[error(
        "calibration of {margins} margins got {labels} labels and {weights} weights: give one of each for a row"
    )]
    Lengths {
        /// Margins.
        margins: usize,
        /// Labels.
        labels: usize,
        /// Weights.
        weights: usize,
    },
    /// A class is missing.
    #[error(
        "calibration needs rows of both classes, and these are all {0}: hold out more rows, or use `none`"
    )]
    OneClass(bool),
    /// A margin or a weight that is none.
    #[error(
        "calibration met a margin or weight that is not finite, or a negative weight, in row {0}: leave it out"
    )]
    NotFinite(usize),
}

const LOWEST: f64 = 1e-6;

/// 1 / (1 + e⁻ˣ).
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

impl Calibration {
    /// The probability of a margin.
    pub fn apply(&self, m: f32) -> f64 {
        match self {
            Self::None => sigmoid(m.into()),
            Self::Platt { a, b } => sigmoid(a * f64::from(m) + b),
            Self::Isotonic { margin, probability } => {
                let after = margin.partition_point(|&knot| knot <= m);
                if after == 0 || after == margin.len() {
                    return probability.get(after.saturating_sub(1)).copied().unwrap_or(f64::NAN);
                }
                let (from, to) = (f64::from(margin[after - 1]), f64::from(margin[after]));
                let (low, high) = (probability[after - 1], probability[after]);
                low + (high - low) * (f64::from(m) - from) / (to - from)
            }
        }
    }
}

/// Weights of rows that can be fitted, and the sums of the negative and the positive ones.
fn checked(margins: &[f32], labels: &[bool], weights: Option<&[f64]>) -> Result<(Vec<f64>, [f64; 2]), Error> {
    let weights = weights.map_or_else(|| vec![1.0; margins.len()], <[f64]>::to_vec);
    if labels.len() != margins.len() || weights.len() != margins.len() {
        return Err(Error::Lengths { margins: margins.len(), labels: labels.len(), weights: weights.len() });
    }
    let mut sums = [0.0; 2];
    for (row, (m, (&label, &weight))) in margins.iter().zip(labels.iter().zip(&weights)).enumerate() {
        if !m.is_finite() || !weight.is_finite() || weight < 0.0 {
            return Err(Error::NotFinite(row));
        }
        sums[usize::from(label)] += weight;
    }
    match sums.iter().position(|&sum| sum <= 0.0) {
        Some(missing) => Err(Error::OneClass(missing == 0)),
        None => Ok((weights, sums)),
    }
}

/// Platt's sigmoid with his smoothed targets, by Newton's method with halved steps (Lin, Lin and
/// Weng 2007).
///
/// # Errors
/// Lengths differ, a class is missing, or a value is not finite.
pub fn fit_platt(margins: &[f32], labels: &[bool], weights: Option<&[f64]>) -> Result<Calibration, Error> {
    let (weights, [negative, positive]) = checked(margins, labels, weights)?;
    let targets = [1.0 / (negative + 2.0), (positive + 1.0) / (positive + 2.0)];
    let rows = || {
        let rows = margins.iter().zip(labels).zip(&weights);
        rows.map(|((&m, &label), &w)| (f64::from(m), targets[usize::from(label)], w))
    };
    // Of log(1 + e^z) − t·z.
    let loss = |a: f64, b: f64| -> f64 {
        rows()
            .map(|(m, t, w)| (a * m + b, t, w))
            .map(|(z, t, w)| w * (z.max(0.0) - t * z + libm::log1p(libm::exp(-z.abs()))))
            .sum()
    };
    let (mut a, mut b) = (0.0, libm::log((positive + 1.0) / (negative + 1.0)));
    let mut best = loss(a, b);
    for _ in 0..100 {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-12, 0.0, 1e-12);
        for (m, t, w) in rows() {
            let p = sigmoid(a * m + b);
            let (g, h) = (w * (p - t), w * p * (1.0 - p));
            ga += g * m;
            gb += g;
            haa += h * m * m;
            hab += h * m;
            hbb += h;
        }
        if ga.abs().max(gb.abs()) < 1e-9 * (negative + positive) {
            break;
        }
        let det = haa * hbb - hab * hab;
        let (da, db) = ((hbb * ga - hab * gb) / det, (haa * gb - hab * ga) / det);
        let steps = std::iter::successors(Some(1.0), |step| Some(step / 2.0)).take(40);
        let Some((next, step)) =
            steps.map(|step| (loss(a - step * da, b - step * db), step)).find(|(l, _)| *l < best)
        else {
            break;
        };
        (a, b, best) = (a - step * da, b - step * db, next);
    }
    Ok(Calibration::Platt { a, b })
}

/// Isotonic regression by pooling adjacent violators; a block's mean margin becomes a knot.
///
/// # Errors
/// Lengths differ, a class is missing, or a value is not finite.
pub fn fit_isotonic(margins: &[f32], labels: &[bool], weights: Option<&[f64]>) -> Result<Calibration, Error> {
    let (weights, _) = checked(margins, labels, weights)?;
    let mut order: Vec<usize> = (0..margins.len()).filter(|&i| weights[i] > 0.0).collect();
    order.sort_by(|&i, &j| margins[i].total_cmp(&margins[j]));
    /// Sums of weights, margins and labels, and the last margin.
    struct Block(f64, f64, f64, f32);
    let mut blocks: Vec<Block> = Vec::new();
    for i in order {
        let (m, w) = (margins[i], weights[i]);
        let mut new = Block(w, w * f64::from(m), if labels[i] { w } else { 0.0 }, m);
        // Equal margins are one block whatever their labels.
        while let Some(last) = blocks.pop_if(|last| last.3 == new.3 || last.2 * new.0 >= new.2 * last.0) {
            new = Block(last.0 + new.0, last.1 + new.1, last.2 + new.2, new.3);
        }
        blocks.push(new);
    }
    let (mut margin, mut probability) = (Vec::<f32>::new(), Vec::new());
    for Block(weight, sum, positive, _) in blocks {
        let knot = (sum / weight) as f32;
        // Means that are one in float32: the lower knot stays.
        if margin.last().is_none_or(|&last| last < knot) {
            margin.push(knot);
            probability.push((positive / weight).clamp(LOWEST, 1.0 - LOWEST));
        }
    }
    Ok(Calibration::Isotonic { margin, probability })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]
    use super::*;

    #[test]
    fn platt_has_the_derivative_zero_and_weights_are_copies() {
        let margins = [-2.0, -1.0, -0.5, 0.3, 1.0, 2.5];
        let labels = [false, false, true, false, true, true];
        let Calibration::Platt { a, b } = fit_platt(&margins, &labels, None).unwrap() else { panic!() };
        let residual =
            |m: &f32, label: &bool| sigmoid(a * f64::from(*m) + b) - if *label { 0.8 } else { 0.2 };
        let each: Vec<f64> = margins.iter().zip(&labels).map(|(m, l)| residual(m, l)).collect();
        assert!(each.iter().sum::<f64>().abs() < 1e-7);
        assert!(each.iter().zip(margins).map(|(r, m)| r * f64::from(m)).sum::<f64>().abs() < 1e-7);
        let twice: Vec<f32> = margins.iter().chain(&margins).copied().collect();
        let labels2: Vec<bool> = labels.iter().chain(&labels).copied().collect();
        let Calibration::Platt { a: a2, b: b2 } = fit_platt(&twice, &labels2, None).unwrap() else {
            panic!()
        };
        let Calibration::Platt { a, b } = fit_platt(&margins, &labels, Some(&[2.0; 6])).unwrap() else {
            panic!()
        };
        assert!((a - a2).abs() < 1e-7 && (b - b2).abs() < 1e-7);
    }

    /// scikit-learn's `_SigmoidCalibration`.
    #[test]
    fn platt_is_that_of_scikit_learn() {
        let margins = [-2.0, -1.0, -0.5, 0.3, 1.0, 2.5];
        let labels = [false, false, true, false, true, true];
        let weights = [1.0, 2.0, 0.5, 3.0, 1.0, 2.0];
        let of = [(None, 0.616_894_98, -0.014_946_90), (Some(&weights[..]), 0.890_593_67, -0.874_909_64)];
        for (weights, expected_a, expected_b) in of {
            let Calibration::Platt { a, b } = fit_platt(&margins, &labels, weights).unwrap() else {
                panic!()
            };
            assert!((a - expected_a).abs() < 1e-5 && (b - expected_b).abs() < 1e-5, "{a} {b}");
        }
    }

    /// scikit-learn's `IsotonicRegression` has the same levels.
    #[test]
    fn isotonic_levels_are_those_of_scikit_learn() {
        let margins = [-1.5, -1.0, -0.4, -0.4, 0.2, 0.7, 0.9, 1.6];
        let labels = [false, true, false, true, false, true, false, true];
        let fitted =
            fit_isotonic(&margins, &labels, Some(&[1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 2.0, 1.0])).unwrap();
        let Calibration::Isotonic { margin, probability } = fitted else { panic!() };
        assert!(margin.len() == 3 && (margin[1] - 0.03).abs() < 1e-6, "{margin:?}");
        assert!((probability[1] - 0.4).abs() < 1e-12);
    }

    #[test]
    fn isotonic_pools_violators() {
        let fitted =
            fit_isotonic(&[0.0, 1.0, 2.0, 3.0, 4.0], &[false, true, false, true, true], None).unwrap();
        let knots =
            Calibration::Isotonic { margin: vec![0.0, 1.5, 3.5], probability: vec![1e-6, 0.5, 1.0 - 1e-6] };
        assert_eq!(fitted, knots);
        assert_eq!((fitted.apply(-9.0), fitted.apply(1.5), fitted.apply(9.0)), (1e-6, 0.5, 1.0 - 1e-6));
        assert!((fitted.apply(2.5) - (0.5 + 1.0 - 1e-6) / 2.0).abs() < 1e-12);
        // Ties are one block in either order.
        let one = |labels: &[bool]| fit_isotonic(&[1.0, 1.0], labels, None).unwrap();
        assert_eq!(one(&[false, true]), one(&[true, false]));
        assert_eq!(one(&[false, true]).apply(0.0), 0.5);
    }

    #[test]
    fn what_cannot_be_fitted_says_why() {
        assert_eq!(fit_platt(&[1.0], &[true], None), Err(Error::OneClass(true)));
        assert_eq!(fit_isotonic(&[f32::NAN, 1.0], &[true, false], None), Err(Error::NotFinite(0)));
        assert!(matches!(fit_platt(&[1.0], &[], None), Err(Error::Lengths { .. })));
    }
}
