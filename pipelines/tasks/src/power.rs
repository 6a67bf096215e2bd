//! How many customers a verdict takes, and how long that lasts.
//!
//! Two shares are compared by a two-sided z-test whose variance is not pooled: Chow, Shao and Wang,
//! "Sample Size Calculations in Clinical Research" (2nd ed. 2008), section 4.2. With base rate p,
//! rate q = p (1 − cut) under treatment and k treated per control,
//!
//! controls = (z₁₋α⸝₂ + z₁₋β)² (p (1 − p) + q (1 − q) / k) / (p − q)², treated = k × controls.
//!
//! Sizes are rounded to the nearest whole customer, as in most tables: at most half a customer is
//! missing from an arm, which costs less than the formula's own error.
//!
//! With arms of one size the power of the test in [`crate::lift`] is as planned. With a control share
//! of 10 % it is higher: its pooled variance is mostly that of the treated, who have fewer outcomes.
//! For a base rate of 10 % and a cut of 18 %, 83.6 % where 80 % was planned.

use serde::{Deserialize, Serialize};

/// What a campaign shall be able to show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// Share of controls with the outcome, above 0 and below 1.
    pub base_rate: f64,
    /// How much smaller the share is among the treated: 0.18 is 18 % less. Above 0, at most 1.
    pub relative_cut: f64,
    /// How often chance may pass for an effect, both sides together; above 0 and below 1.
    pub alpha: f64,
    /// How often the effect shall be found; above alpha and below 1.
    pub power: f64,
    /// Treated customers per control; above 0. 9 for a control share of 10 %.
    pub treated_per_control: f64,
}

/// Customers by arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Assigned to be contacted.
    pub treated: u64,
    /// Assigned to be left alone.
    pub control: u64,
}

impl Sizes {
    /// Both arms.
    pub fn total(self) -> u64 {
        self.treated.saturating_add(self.control)
    }
}

/// What no size can be computed from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Out of range, or NaN.
    #[error("{what} is {value}; it must be {range}")]
    Range {
        /// Which figure.
        what: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
}

/// Checks a share that is strictly within 0 and 1.
pub(crate) fn share(what: &'static str, value: f64) -> Result<(), Error> {
    within(what, value, value > 0.0 && value < 1.0, "above 0 and below 1")
}

fn within(what: &'static str, value: f64, holds: bool, range: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Range { what, value, range }) }
}

fn check(base_rate: f64, relative_cut: f64, alpha: f64) -> Result<(), Error> {
    share("base_rate", base_rate)?;
    within("relative_cut", relative_cut, relative_cut > 0.0 && relative_cut <= 1.0, "above 0 and at most 1")?;
    share("alpha", alpha)
}

/// Checks the power asked for.
pub(crate) fn check_power(power: f64, alpha: f64) -> Result<(), Error> {
    within("power", power, power > alpha && power < 1.0, "above alpha and below 1")
}

/// Customers that the design takes, to the nearest, at least 1 in each arm.
///
/// # Errors
/// Figures out of range.
pub fn sample_size(design: &Design) -> Result<Sizes, Error> {
    let &Design { base_rate: p, relative_cut, alpha, power, treated_per_control: k } = design;
    check(p, relative_cut, alpha)?;
    check_power(power, alpha)?;
    within("treated_per_control", k, k > 0.0 && k.is_finite(), "above 0 and finite")?;
    let q = p * (1.0 - relative_cut);
    let z = -quantile(alpha / 2.0) - quantile(1.0 - power);
    let controls = z * z * (p * (1.0 - p) + q * (1.0 - q) / k) / ((p - q) * (p - q));
    let whole = |n: f64| n.round().max(1.0) as u64;
    Ok(Sizes { treated: whole(k * controls), control: whole(controls) })
}

/// How often the cut is found with arms of these sizes, 0 to 1: Φ(δ − z) + Φ(−δ − z), where δ is the
/// difference in its standard errors. 0 if an arm is empty.
///
/// # Errors
/// Figures out of range.
pub fn power(base_rate: f64, relative_cut: f64, alpha: f64, sizes: Sizes) -> Result<f64, Error> {
    check(base_rate, relative_cut, alpha)?;
    Ok(found(base_rate, relative_cut, alpha, sizes))
}

fn found(p: f64, cut: f64, alpha: f64, sizes: Sizes) -> f64 {
    if sizes.treated == 0 || sizes.control == 0 {
        return 0.0;
    }
    let q = p * (1.0 - cut);
    let variance = p * (1.0 - p) / sizes.control as f64 + q * (1.0 - q) / sizes.treated as f64;
    let (delta, z) = ((p - q) / variance.sqrt(), -quantile(alpha / 2.0));
    cdf(delta - z) + cdf(-delta - z)
}

/// Least relative cut that is found with the power asked for; `None` if not even the end of all
/// outcomes would be.
///
/// # Errors
/// Figures out of range.
pub fn detectable_cut(base_rate: f64, alpha: f64, power: f64, sizes: Sizes) -> Result<Option<f64>, Error> {
    check(base_rate, 1.0, alpha)?;
    check_power(power, alpha)?;
    if found(base_rate, 1.0, alpha, sizes) < power {
        return Ok(None);
    }
    // Power rises with the cut. Halved until the ends are neighbours.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if found(base_rate, middle, alpha, sizes) < power { low = middle } else { high = middle }
    }
    Ok(Some(high))
}

/// Whole days until all outcomes are known: those to assign the customers that are missing, and the
/// horizon of the last. Only the horizon if none is missing.
///
/// # Errors
/// Assignments a day that are not above 0, or a negative horizon.
pub fn days_until(needed: u64, assigned: u64, per_day: f64, horizon_days: f64) -> Result<u64, Error> {
    within("assignments a day", per_day, per_day > 0.0 && per_day.is_finite(), "above 0 and finite")?;
    within(
        "horizon in days",
        horizon_days,
        horizon_days >= 0.0 && horizon_days.is_finite(),
        "0 or more and finite",
    )?;
    let missing = needed.saturating_sub(assigned) as f64;
    Ok(((missing / per_day).ceil() + horizon_days.ceil()) as u64)
}

/// Φ: share of a standard normal distribution below `x`.
pub fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Inverse of [`cdf`] to some 1e-16, relative: PPND16 of Wichura, "Algorithm AS 241", Applied
/// Statistics 37 (1988). −∞ for 0, ∞ for 1, NaN outside.
pub fn quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(0.180625 - q * q, &CENTRE);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail == 0.0 {
        return f64::INFINITY.copysign(q);
    }
    let r = (-libm::log(tail)).sqrt();
    let x = if r <= 5.0 { ratio(r - 1.6, &MIDDLE) } else { ratio(r - 5.0, &TAIL) };
    x.copysign(q)
}

/// Quotient of two polynomials, highest power first.
fn ratio(r: f64, [above, below]: &[[f64; 8]; 2]) -> f64 {
    let at = |of: &[f64; 8]| of.iter().fold(0.0, |sum, c| sum * r + c);
    at(above) / at(below)
}

#[allow(clippy::excessive_precision, reason = "as published")]
const CENTRE: [[f64; 8]; 2] = [
    [
        2509.0809287301226727,
        33430.575583588128105,
        67265.770927008700853,
        45921.953931549871457,
        13731.693765509461125,
        1971.5909503065514427,
        133.14166789178437745,
        3.387132872796366608,
    ],
    [
        5226.495278852545925,
        28729.085735721942674,
        39307.89580009271061,
        21213.794301586595867,
        5394.1960214247511077,
        687.1870074920579083,
        42.313330701600911252,
        1.0,
    ],
];
#[allow(clippy::excessive_precision, reason = "as published")]
const MIDDLE: [[f64; 8]; 2] = [
    [
        7.7454501427834140764e-4,
        0.0227238449892691845833,
        0.24178072517745061177,
        1.27045825245236838258,
        3.64784832476320460504,
        5.7694972214606914055,
        4.6303378461565452959,
        1.42343711074968357734,
    ],
    [
        1.05075007164441684324e-9,
        5.475938084995344946e-4,
        0.0151986665636164571966,
        0.14810397642748007459,
        0.68976733498510000455,
        1.6763848301838038494,
        2.05319162663775882187,
        1.0,
    ],
];
#[allow(clippy::excessive_precision, reason = "as published")]
const TAIL: [[f64; 8]; 2] = [
    [
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        0.0012426609473880784386,
        0.026532189526576123093,
        0.29656057182850489123,
        1.7848265399172913358,
        5.4637849111641143699,
        6.6579046435011037772,
    ],
    [
        2.04426310338993978564e-15,
        1.4215117583164458887e-7,
        1.8463183175100546818e-5,
        7.868691311456132591e-4,
        0.0148753612908506148525,
        0.13692988092273580531,
        0.59983220655588793769,
        1.0,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    const DESIGN: Design =
        Design { base_rate: 0.1, relative_cut: 0.18, alpha: 0.05, power: 0.8, treated_per_control: 1.0 };

    /// `scipy.stats.norm.ppf` (1.17.1).
    #[test]
    fn quantile_is_that_of_scipy() {
        for (p, x) in QUANTILES {
            let found = quantile(p);
            assert!((found - x).abs() <= 4e-15 * x.abs(), "{p}: {found} for {x}");
            if p > 1e-300 {
                assert!((cdf(found) / p - 1.0).abs() < 1e-12, "{p}: {}", cdf(found));
            }
        }
        assert_eq!((quantile(0.0), quantile(1.0), quantile(0.5)), (f64::NEG_INFINITY, f64::INFINITY, 0.0));
        assert!(quantile(-0.1).is_nan() && quantile(1.1).is_nan() && quantile(f64::NAN).is_nan());
    }

    #[test]
    fn sizes_of_the_table_come_out() {
        for (base_rate, n) in [(0.03, 14_291), (0.05, 8_413), (0.10, 4_004), (0.20, 1_799)] {
            let found = sample_size(&Design { base_rate, ..DESIGN }).unwrap();
            assert_eq!(found, Sizes { treated: n, control: n }, "{base_rate}");
            let power = power(base_rate, 0.18, 0.05, found).unwrap();
            assert!((power - 0.8).abs() < 1e-4, "{power}");
        }
    }

    #[test]
    fn a_tenth_of_controls_takes_more_customers_but_fewer_controls() {
        let found = sample_size(&Design { treated_per_control: 9.0, ..DESIGN }).unwrap();
        // By the formula: 7.848880 × (0.09 + 0.082 × 0.918 / 9) / 0.018² = 2382.87.
        assert_eq!(found, Sizes { treated: 21_446, control: 2_383 });
        assert!((power(0.1, 0.18, 0.05, found).unwrap() - 0.8).abs() < 1e-4);
    }

    #[test]
    fn what_can_be_detected_is_the_inverse_of_the_size() {
        let sizes = Sizes { treated: 4_004, control: 4_004 };
        let cut = detectable_cut(0.1, 0.05, 0.8, sizes).unwrap().unwrap();
        assert!((cut - 0.18).abs() < 1e-4, "{cut}");
        assert_eq!(detectable_cut(0.1, 0.05, 0.8, Sizes { treated: 10, control: 10 }), Ok(None));
        assert_eq!(detectable_cut(0.1, 0.05, 0.8, Sizes { treated: 0, control: 10 }), Ok(None));
        assert_eq!(power(0.1, 0.18, 0.05, Sizes { treated: 0, control: 10 }), Ok(0.0));
    }

    #[test]
    fn time_is_that_of_assignments_and_horizon() {
        assert_eq!(days_until(8_008, 0, 400.0, 14.0), Ok(21 + 14));
        assert_eq!(days_until(8_008, 8_008, 400.0, 14.0), Ok(14));
        assert_eq!(days_until(10, 20, 400.0, 0.0), Ok(0));
        assert!(days_until(10, 0, 0.0, 14.0).is_err() && days_until(10, 0, 1.0, f64::NAN).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_said() {
        let said = |design: Design| sample_size(&design).unwrap_err().to_string();
        assert_eq!(
            said(Design { base_rate: 0.0, ..DESIGN }),
            "base_rate is 0; it must be above 0 and below 1"
        );
        assert_eq!(
            said(Design { relative_cut: f64::NAN, ..DESIGN }),
            "relative_cut is NaN; it must be above 0 and at most 1"
        );
        assert_eq!(
            said(Design { power: 0.01, ..DESIGN }),
            "power is 0.01; it must be above alpha and below 1"
        );
        assert_eq!(said(Design { alpha: 1.0, ..DESIGN }), "alpha is 1; it must be above 0 and below 1");
        assert!(sample_size(&Design { treated_per_control: -1.0, ..DESIGN }).is_err());
    }

    const QUANTILES: [(f64, f64); 10] = [
        (0.025, -1.9599639845400545),
        (0.2, -0.8416212335729142),
        (0.4, -0.2533471031357997),
        (0.6, 0.2533471031357997),
        (0.8, 0.8416212335729143),
        (0.975, 1.959963984540054),
        (0.001, -3.090232306167813),
        (1e-10, -6.361340902404056),
        (1e-100, -21.273453560965322),
        (1e-300, -37.0470962993612),
    ];
}
