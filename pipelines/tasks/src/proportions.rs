//! Shares, their differences and ratios, with intervals that behave where nothing happened.

use serde::{Deserialize, Serialize};

use crate::power::{cdf, quantile};

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Times it happened, at most `of`.
    pub hits: u64,
    /// Times it could have.
    pub of: u64,
}

/// A value and its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// As seen.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A ratio of two shares and its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// As seen; `None` if it never happened in the second arm.
    pub value: Option<f64>,
    /// Lower end, 0 or more.
    pub low: f64,
    /// Upper end; `None` if there is no bound.
    pub high: Option<f64>,
}

impl Count {
    /// Share, 0 to 1; NaN of none.
    pub fn rate(self) -> f64 {
        self.hits as f64 / self.of as f64
    }

    fn misses(self) -> u64 {
        self.of.saturating_sub(self.hits)
    }
}

/// Score interval of a share (Wilson, JASA 22 (1927)), within 0 and 1; NaN of none.
pub fn wilson(count: Count, alpha: f64) -> Estimate {
    let (n, p) = (count.of as f64, count.rate());
    let z = -quantile(alpha / 2.0);
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // Rounding must not move the ends past what is certain.
    let low = if count.hits == 0 { 0.0 } else { ((centre - half) / scale).max(0.0) };
    let high = if count.misses() == 0 { 1.0 } else { ((centre + half) / scale).min(1.0) };
    Estimate { value: p, low, high }
}

/// Difference of two shares, first less second, −1 to 1, with the hybrid score interval (method 10
/// of Newcombe, Statistics in Medicine 17 (1998) 873–890). NaN if there is none of one.
pub fn difference(a: Count, b: Count, alpha: f64) -> Estimate {
    let (first, second) = (wilson(a, alpha), wilson(b, alpha));
    let value = first.value - second.value;
    let low = value - libm::hypot(first.value - first.low, second.high - second.value);
    let high = value + libm::hypot(first.high - first.value, second.value - second.low);
    Estimate { value, low: low.max(-1.0), high: high.min(1.0) }
}

/// Ratio of two shares, first over second, with the score interval of Koopman, Biometrics 40 (1984)
/// 513–517. It needs no correction where something never happened, as the logarithm of Katz does,
/// and leaves out 1 exactly where the z-test of [`p_value`] is below alpha. From 0 without bound if
/// it never happened, or there is none of one.
pub fn ratio(a: Count, b: Count, alpha: f64) -> Ratio {
    if a.of == 0 || b.of == 0 || a.hits + b.hits == 0 {
        return Ratio { value: None, low: 0.0, high: None };
    }
    let z = -quantile(alpha / 2.0);
    // The score falls as the ratio rises.
    let cross = |target: f64| {
        let (mut low, mut high) = (-60.0, 60.0);
        for _ in 0..70 {
            let middle = 0.5 * (low + high);
            if score(a, b, libm::exp(middle)) > target { low = middle } else { high = middle }
        }
        libm::exp(0.5 * (low + high))
    };
    Ratio {
        value: (b.hits > 0).then(|| a.rate() / b.rate()),
        low: if a.hits == 0 { 0.0 } else { cross(z) },
        high: (b.hits > 0).then(|| cross(-z)),
    }
}

/// How many standard errors the first share is above `ratio` times the second, under the most likely
/// shares that have this ratio.
fn score(a: Count, b: Count, ratio: f64) -> f64 {
    let [m, x, n, y] = [a.of, a.hits, b.of, b.hits].map(|count| count as f64);
    let (square, linear) = ((m + n) * ratio, m * ratio + x + n + y * ratio);
    let root = (linear * linear - 4.0 * square * (x + y)).max(0.0).sqrt();
    let second = (2.0 * (x + y) / (linear + root)).min(1.0).min(1.0 / ratio);
    let first = (ratio * second).min(1.0);
    let variance = first * (1.0 - first) / m + ratio * ratio * second * (1.0 - second) / n;
    let off = x / m - ratio * y / n;
    if off == 0.0 { 0.0 } else { off / variance.sqrt() }
}

/// How likely chance alone makes two shares differ at least so much, both sides, and whether that is
/// exact: the pooled z-test, which is Pearson's chi-square without correction, or where it expects
/// fewer than 5 in a cell of the table, Fisher's exact test. 1 if nothing differs or there is none.
pub fn p_value(a: Count, b: Count) -> (f64, bool) {
    let (hits, all) = (a.hits + b.hits, a.of + b.of);
    let misses = all - hits;
    if hits == 0 || misses == 0 || a.of == 0 || b.of == 0 {
        return (1.0, true);
    }
    let least = a.of.min(b.of) as f64 * hits.min(misses) as f64 / all as f64;
    if least >= 5.0 {
        let p = hits as f64 / all as f64;
        let variance = p * (1.0 - p) * (1.0 / a.of as f64 + 1.0 / b.of as f64);
        return ((2.0 * cdf(-(a.rate() - b.rate()).abs() / variance.sqrt())).min(1.0), false);
    }
    let whole = log_choose(all, hits);
    let log = |x: u64| log_choose(a.of, x) + log_choose(b.of, hits - x) - whole;
    (as_unlikely(hits.saturating_sub(b.of)..=hits.min(a.of), a.hits, log), true)
}

/// Size from which [`share_p_value`] takes the chi-square test.
pub const EXACT_BELOW: u64 = 1000;

/// How likely a share that is `planned` (above 0, below 1) comes out at least so unusual, and whether
/// that is exact: the binomial test below [`EXACT_BELOW`], else Pearson's chi-square with one degree
/// of freedom. 1 of none.
pub fn share_p_value(count: Count, planned: f64) -> (f64, bool) {
    let n = count.of;
    if n < EXACT_BELOW {
        let log = |x: u64| {
            log_choose(n, x) + x as f64 * libm::log(planned) + (n - x) as f64 * libm::log1p(-planned)
        };
        return (as_unlikely(0..=n, count.hits, log), true);
    }
    let off = count.hits as f64 - n as f64 * planned;
    let sd = (n as f64 * planned * (1.0 - planned)).sqrt();
    ((2.0 * cdf(-off.abs() / sd)).min(1.0), false)
}

/// Sum of the probabilities that are not above that of what was seen.
fn as_unlikely(all: std::ops::RangeInclusive<u64>, seen: u64, log: impl Fn(u64) -> f64) -> f64 {
    // As in R: rounding must not part what is equally likely.
    let limit = log(seen) + 1e-7;
    all.map(&log).filter(|&log| log <= limit).map(libm::exp).sum::<f64>().min(1.0)
}

fn log_choose(n: u64, k: u64) -> f64 {
    let log = |n: u64| libm::lgamma(n as f64 + 1.0);
    log(n) - log(k) - log(n - k)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(hits: u64, of: u64) -> Count {
        Count { hits, of }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1e-3), "{found} for {expected}");
    }

    /// `confint_proportions_2indep` of statsmodels 0.15.0: `newcomb` for the difference, `score`
    /// without correction for the ratio; the first pair is example (a) of Newcombe (1998), whose
    /// method 10 gives 0.0524 to 0.3339.
    #[test]
    fn intervals_are_those_of_statsmodels() {
        let all = [
            (count(56, 70), count(48, 80), [0.05243147240236498, 0.33387265403690614]),
            (count(9, 10), count(3, 10), [0.1705227239345029, 0.809017973535488]),
            (count(0, 20), count(5, 20), [-0.4687008776187441, -0.03776544556663031]),
            (count(10, 10), count(0, 20), [0.6790860371419145, 1.0]),
            (count(0, 10), count(0, 20), [-0.1611251580528194, 0.27753279986288926]),
            (count(10, 10), count(20, 20), [-0.27753279986288937, 0.16112515805281957]),
            (count(738, 9000), count(100, 1000), [-0.038886817692355705, 6.348002684493717e-05]),
        ];
        for (a, b, [low, high]) in all {
            let found = difference(a, b, 0.05);
            assert!((found.low - low).abs() < 1e-12 && (found.high - high).abs() < 1e-12, "{found:?}");
        }
        let all = [
            (count(56, 70), count(48, 80), 1.0798215063618604, Some(1.6708055780191224)),
            (count(9, 10), count(3, 10), 1.3532371938667245, Some(8.46766868670978)),
            (count(0, 20), count(5, 20), 0.0, Some(0.6882700273174336)),
            (count(5, 20), count(0, 20), 1.4529181285106199, None),
            (count(10, 10), count(0, 20), 6.206355432540111, None),
            (count(738, 9000), count(100, 1000), 0.6738575066306363, Some(1.001137565980198)),
        ];
        for (a, b, low, high) in all {
            let found = ratio(a, b, 0.05);
            near(found.low, low);
            assert_eq!(found.high.is_some(), high.is_some());
            near(found.high.unwrap_or_default(), high.unwrap_or_default());
        }
        // By hand: with all of both, n₁ (1 − φ) / φ = z² below and n₂ (φ − 1) = z² above.
        let (found, square) = (ratio(count(10, 10), count(20, 20), 0.05), 3.841458820694124);
        near(found.low, 10.0 / (10.0 + square));
        near(found.high.unwrap(), 1.0 + square / 20.0);
        let nothing = Ratio { value: None, low: 0.0, high: None };
        assert_eq!(ratio(count(0, 10), count(0, 20), 0.05), nothing);
        assert_eq!(ratio(count(0, 0), count(2, 20), 0.05), nothing);
    }

    /// `proportion_confint(…, method='wilson')` of statsmodels; the first is in Newcombe (1998) 857.
    #[test]
    fn wilson_is_that_of_statsmodels() {
        let found = wilson(count(15, 148), 0.05);
        near(found.low, 0.06238639953073628);
        near(found.high, 0.16048724172330803);
        let found = wilson(count(0, 20), 0.05);
        assert_eq!(found.low, 0.0);
        near(found.high, 0.1611251580528194);
    }

    /// `chi2_contingency(correction=False)` and `fisher_exact` of scipy 1.17.1.
    #[test]
    fn chance_is_that_of_scipy() {
        let check = |a, b, expected, exact| {
            let found = p_value(a, b);
            near(found.0, expected);
            assert_eq!(found.1, exact);
        };
        check(count(56, 70), count(48, 80), 0.008045081368196585, false);
        check(count(738, 9000), count(100, 1000), 0.05131430909175242, false);
        check(count(9, 10), count(3, 10), 0.019766611097880443, true);
        check(count(0, 20), count(5, 20), 0.04712404712404713, true);
        check(count(10, 10), count(0, 20), 3.328339160423118e-08, true);
        check(count(0, 10), count(0, 20), 1.0, true);
        check(count(0, 0), count(3, 20), 1.0, true);
    }

    /// `chisquare` and `binomtest` of scipy 1.17.1.
    #[test]
    fn unusual_shares_are_those_of_scipy() {
        let check = |count, planned, expected, exact| {
            let found = share_p_value(count, planned);
            near(found.0, expected);
            assert_eq!(found.1, exact);
        };
        check(count(1100, 10_100), 0.1, 0.002834749080259389, false);
        check(count(140, 1040), 0.1, 0.0001984024045859719, false);
        check(count(20, 50), 0.1, 2.3685993581841912e-08, true);
        check(count(3, 40), 0.1, 0.7941129565588019, true);
        check(count(0, 10), 0.5, 0.001953125, true);
        check(count(70, 500), 0.1, 0.0044725776786051965, true);
        check(count(0, 0), 0.1, 1.0, true);
    }

    /// Probabilities of each count of hits, but for those beyond 7 standard deviations.
    fn binomial(of: u64, rate: f64) -> Vec<(Count, f64)> {
        let (mean, wide) = (of as f64 * rate, 7.0 * (of as f64 * rate * (1.0 - rate)).sqrt());
        let hits = (mean - wide) as u64..=(mean + wide) as u64;
        let log =
            |x: u64| log_choose(of, x) + x as f64 * libm::log(rate) + (of - x) as f64 * libm::log1p(-rate);
        hits.map(|x| (count(x, of), libm::exp(log(x)))).collect()
    }

    /// No replays: each pair of counts with its probability. The same sums with numpy and scipy's
    /// `binom.pmf`, from formulas written anew, are the figures below.
    #[test]
    fn coverage_and_power_are_exact() {
        let all = [
            (4_004, 4_004, 0.082, [0.9501447804102647, 0.8000349051985373]),
            (4_004, 4_004, 0.1, [0.9500495418837026, 0.04995045809738971]),
            (21_446, 2_383, 0.082, [0.9501165551366857, 0.8356697446059993]),
            (21_446, 2_383, 0.1, [0.9500512603642803, 0.049743535544029716]),
        ];
        for (treated, control, rate, [covered, verdicts]) in all {
            let mut found = [0.0; 2];
            let controls = binomial(control, 0.1);
            for (a, p) in binomial(treated, rate) {
                for &(b, q) in &controls {
                    let seen = difference(a, b, 0.05);
                    let truth = rate - 0.1;
                    found[0] += if seen.low <= truth && truth <= seen.high { p * q } else { 0.0 };
                    let shown = (seen.low > 0.0 || seen.high < 0.0) && p_value(a, b).0 < 0.05;
                    found[1] += if shown { p * q } else { 0.0 };
                }
            }
            eprintln!("{treated} and {control}, rate {rate}: covered {}, verdicts {}", found[0], found[1]);
            assert!((found[0] - covered).abs() < 1e-6, "{found:?}");
            assert!((found[1] - verdicts).abs() < 1e-6, "{found:?}");
        }
    }

    fn counts() -> impl Strategy<Value = Count> {
        (1_u64..5000).prop_flat_map(|of| (0..=of).prop_map(move |hits| Count { hits, of }))
    }

    proptest! {
        #[test]
        fn intervals_hold_what_was_seen(a in counts(), b in counts(), alpha in 0.001..0.5) {
            let one = wilson(a, alpha);
            prop_assert!(0.0 <= one.low && one.low <= one.value && one.value <= one.high && one.high <= 1.0);
            let found = difference(a, b, alpha);
            prop_assert!(-1.0 <= found.low && found.low <= found.value);
            prop_assert!(found.value <= found.high && found.high <= 1.0);
            let found = ratio(a, b, alpha);
            let high = found.high.unwrap_or(f64::INFINITY);
            prop_assert!(0.0 <= found.low && found.low <= high);
            if let Some(value) = found.value {
                prop_assert!(found.low <= value * (1.0 + 1e-9) && value <= high * (1.0 + 1e-9));
            }
        }

        #[test]
        fn arms_can_be_swapped(a in counts(), b in counts(), alpha in 0.001..0.5) {
            let (there, back) = (difference(a, b, alpha), difference(b, a, alpha));
            prop_assert!((there.low + back.high).abs() < 1e-12 && (there.high + back.low).abs() < 1e-12);
            let (there, back) = (ratio(a, b, alpha), ratio(b, a, alpha));
            if let (Some(high), true) = (there.high, back.low > 0.0) {
                prop_assert!((high * back.low - 1.0).abs() < 1e-7, "{there:?} {back:?}");
            }
            let (there, back) = (p_value(a, b), p_value(b, a));
            prop_assert!((there.0 - back.0).abs() < 1e-9 && there.1 == back.1);
            prop_assert!(0.0 <= there.0 && there.0 <= 1.0);
        }

        #[test]
        fn ratio_and_z_test_agree(a in counts(), b in counts(), alpha in 0.001..0.5) {
            let ((p, exact), found) = (p_value(a, b), ratio(a, b, alpha));
            if !exact && (p - alpha).abs() > 1e-6 {
                let one = found.low <= 1.0 && found.high.is_none_or(|high| high >= 1.0);
                prop_assert_eq!(one, p > alpha);
            }
        }
    }
}
