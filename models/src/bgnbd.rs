//! BG/NBD: who is still a customer, and how often they will buy, from repeat purchases alone.
//!
//! Fader, Hardie, Lee, "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD
//! Model, Marketing Science 24 (2005). While alive, a customer buys at a rate drawn from a gamma
//! distribution (r, α), and leaves after each purchase with a probability drawn from a beta
//! distribution (a, b). Times are in any one unit; α has the same.

use serde::{Deserialize, Serialize};

/// The four parameters, as `[r, α, a, b]` for [`alive`] and [`expected_purchases`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// Shape of the purchase rates.
    pub r: f64,
    /// Scale of the purchase rates, in the unit of time.
    pub alpha: f64,
    /// First parameter of the probability to leave.
    pub a: f64,
    /// Second parameter of the probability to leave.
    pub b: f64,
    /// Of the customers at these parameters, nats.
    pub log_likelihood: f64,
}

impl Params {
    /// `[r, α, a, b]`
    pub fn array(&self) -> [f64; 4] {
        [self.r, self.alpha, self.a, self.b]
    }
}

/// Why there is no fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Slices of different lengths.
    #[error("{frequency} frequencies, {recency} recencies and {age} ages; pass one of each per customer")]
    Length {
        /// Frequencies.
        frequency: usize,
        /// Recencies.
        recency: usize,
        /// Ages.
        age: usize,
    },
    /// Not a customer's history.
    #[error(
        "customer {customer} has frequency {frequency}, recency {recency}, age {age}; a frequency is a whole \
         number of repeat purchases, and 0 <= recency <= age, with recency 0 exactly if there was none"
    )]
    Customer {
        /// Counted from 0.
        customer: usize,
        /// Found.
        frequency: f64,
        /// Found.
        recency: f64,
        /// Found.
        age: f64,
    },
    /// Nobody bought twice.
    #[error(
        "none of {customers} customers bought again, so that nothing says how often; take a longer period"
    )]
    NoRepeats {
        /// How many.
        customers: usize,
    },
    /// The likelihood has no maximum within reach.
    #[error(
        "the likelihood still rises at r {}, alpha {}, a {}, b {}: these customers do not follow the model; take \
         more of them or a longer period",
        at[0], at[1], at[2], at[3]
    )]
    NoMaximum {
        /// r, α, a, b at the edge.
        at: [f64; 4],
    },
}

/// The probability that a customer is alive: `[x, t_x, T]` are repeat purchases, time of the last and of
/// now, both after the first; `[r, α, a, b]` the fitted parameters.
pub fn alive([x, t, age]: [f64; 3], [r, alpha, a, b]: [f64; 4]) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    1.0 / (1.0 + a / (b + x - 1.0) * libm::pow((alpha + age) / (alpha + t), r + x))
}

/// Purchases to expect within `horizon`: equation (10). The other arguments as in [`alive`].
pub fn expected_purchases(horizon: f64, [x, t, age]: [f64; 3], [r, alpha, a, b]: [f64; 4]) -> f64 {
    let shrinks = libm::pow((alpha + age) / (alpha + age + horizon), r + x);
    let series = gauss_2f1(r + x, b + x, a + b + x - 1.0, horizon / (alpha + age + horizon));
    (a + b + x - 1.0) / (a - 1.0) * (1.0 - shrinks * series) * alive([x, t, age], [r, alpha, a, b])
}

/// The hypergeometric function ₂F₁(a, b; c; z), 0 ≤ z < 1, by its series.
fn gauss_2f1(a: f64, b: f64, c: f64, z: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 0..10_000 {
        let n = f64::from(n);
        term *= (a + n) * (b + n) / ((c + n) * (n + 1.0)) * z;
        sum += term;
        if term.abs() <= 1e-15 * sum.abs() {
            break;
        }
    }
    sum
}

/// Fits the parameters by maximum likelihood: per customer the number of repeat purchases, the time of
/// the last and the time now, both since the first purchase. Deterministic.
///
/// # Errors
/// Slices of different lengths, impossible values, no repeat purchase, or no maximum.
pub fn fit(frequency: &[f64], recency: &[f64], age: &[f64]) -> Result<Params, Error> {
    let customers = Customers::new(frequency, recency, age)?;
    let loss = |at: &[f64; 4]| match at.iter().all(|at| at.abs() < EDGE) {
        true => -customers.log_likelihood(at.map(libm::exp)),
        false => f64::INFINITY,
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut at = [0.0, libm::log(mean(age) / mean(frequency)), 0.0, 0.0];
    let mut best = f64::INFINITY;
    // A simplex may shrink before its time; a new one around its best point tells.
    loop {
        let (found, value) = nelder_mead(at, loss);
        let gained = best - value;
        (at, best) = (found, value);
        if gained < 1e-9 * value.abs() {
            break;
        }
    }
    let params = at.map(libm::exp);
    if at.iter().any(|at| at.abs() > EDGE - 1.0) {
        return Err(Error::NoMaximum { at: params });
    }
    let [r, alpha, a, b] = params;
    Ok(Params { r, alpha, a, b, log_likelihood: -best })
}

/// Logarithms of parameters stay within this.
const EDGE: f64 = 15.0;

/// What the likelihood is of. Its gamma functions depend on the frequency alone, so they are computed
/// once for each that occurs.
struct Customers {
    /// Place in `frequencies`, recency, age.
    each: Vec<(usize, f64, f64)>,
    frequencies: Vec<f64>,
}

impl Customers {
    fn new(frequency: &[f64], recency: &[f64], age: &[f64]) -> Result<Self, Error> {
        if frequency.len() != recency.len() || frequency.len() != age.len() {
            return Err(Error::Length { frequency: frequency.len(), recency: recency.len(), age: age.len() });
        }
        let mut frequencies = frequency.to_vec();
        frequencies.sort_unstable_by(f64::total_cmp);
        frequencies.dedup();
        let mut each = Vec::with_capacity(frequency.len());
        for (customer, ((&frequency, &recency), &age)) in frequency.iter().zip(recency).zip(age).enumerate() {
            let whole = frequency >= 0.0 && frequency.fract() == 0.0;
            let within = 0.0 <= recency && recency <= age && age.is_finite();
            if !whole || !within || (frequency == 0.0) != (recency == 0.0) {
                return Err(Error::Customer { customer, frequency, recency, age });
            }
            each.push((frequencies.partition_point(|&other| other < frequency), recency, age));
        }
        match frequencies.last() {
            Some(&most) if most > 0.0 => Ok(Self { each, frequencies }),
            _ => Err(Error::NoRepeats { customers: frequency.len() }),
        }
    }

    /// Equation (6), summed over the customers, in logarithms.
    fn log_likelihood(&self, [r, alpha, a, b]: [f64; 4]) -> f64 {
        use libm::{exp, lgamma, log, log1p};
        let always = r * log(alpha) - lgamma(r) + lgamma(a + b) - lgamma(b);
        let by_frequency: Vec<[f64; 2]> = self
            .frequencies
            .iter()
            .map(|x| [always + lgamma(r + x) + lgamma(b + x) - lgamma(a + b + x), log(a / (b + x - 1.0))])
            .collect();
        let each = self.each.iter().map(|&(place, recency, age)| {
            let (x, [known, leaves]) = (self.frequencies[place], by_frequency[place]);
            let stayed = -(r + x) * log(alpha + age);
            if x == 0.0 {
                return known + stayed;
            }
            let left = leaves - (r + x) * log(alpha + recency);
            known + stayed.max(left) + log1p(exp(-(stayed - left).abs()))
        });
        each.sum()
    }
}

/// Minimises by the simplex of Nelder and Mead, Computer Journal 7 (1965), with their coefficients.
fn nelder_mead(start: [f64; 4], value: impl Fn(&[f64; 4]) -> f64) -> ([f64; 4], f64) {
    let mut simplex = vec![(start, value(&start))];
    for axis in 0..4 {
        let mut at = start;
        at[axis] += 0.5;
        simplex.push((at, value(&at)));
    }
    for _ in 0..2000 {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (best, worst) = (simplex[0], simplex[4]);
        if (worst.1 - best.1).abs() <= 1e-12 * best.1.abs() {
            break;
        }
        let centre: [f64; 4] =
            std::array::from_fn(|axis| simplex[..4].iter().map(|(at, _)| at[axis]).sum::<f64>() / 4.0);
        let along = |factor: f64| {
            let at: [f64; 4] =
                std::array::from_fn(|axis| centre[axis] + factor * (worst.0[axis] - centre[axis]));
            (at, value(&at))
        };
        let reflected = along(-1.0);
        simplex[4] = if reflected.1 < best.1 {
            let expanded = along(-2.0);
            if expanded.1 < reflected.1 { expanded } else { reflected }
        } else if reflected.1 < simplex[3].1 {
            reflected
        } else {
            let contracted = if reflected.1 < worst.1 { along(-0.5) } else { along(0.5) };
            if contracted.1 < reflected.1.min(worst.1) {
                contracted
            } else {
                for (at, there) in &mut simplex[1..] {
                    *at = std::array::from_fn(|axis| (at[axis] + best.0[axis]) / 2.0);
                    *there = value(at);
                }
                continue;
            }
        };
    }
    simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
    simplex[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::path::Path;

    const PUBLISHED: [f64; 4] = [0.243, 4.414, 0.793, 2.426];

    /// By an independent implementation with SciPy's `hyp2f1` and `gammaln`.
    #[test]
    fn as_scipy_has_it() {
        for (customer, is_alive, expected, log_likelihood) in [
            ([2.0, 30.43, 38.86], 0.726578570080673, 1.226028174767135, -9.458606307066272),
            ([0.0, 0.0, 38.86], 1.0, 0.19509805201125396, -0.5547132764381584),
            ([26.0, 37.0, 38.0], 0.9486939925457053, 17.641188845864527, -42.43897155785777),
            ([1.0, 1.71, 38.86], 0.2121009853773791, 0.20318698707975108, -4.469093275032588),
        ] {
            let near = |found: f64, expected: f64| {
                assert!(
                    (found - expected).abs() < 1e-9 * expected.abs(),
                    "{customer:?}: {found} is not {expected}"
                );
            };
            near(alive(customer, PUBLISHED), is_alive);
            near(expected_purchases(39.0, customer, PUBLISHED), expected);
            let [x, t, age] = customer;
            let customers = Customers::new(&[x, 1.0], &[t, 1.0], &[age, 2.0]).unwrap();
            let other = Customers::new(&[1.0], &[1.0], &[2.0]).unwrap();
            near(customers.log_likelihood(PUBLISHED) - other.log_likelihood(PUBLISHED), log_likelihood);
        }
    }

    /// The 1/10 sample of CDNOW's customers, 39 weeks of calibration: table 2 of the paper.
    #[test]
    fn cdnow_as_published() {
        let Some(data) = std::env::var_os("HEADSUP_TEST_DATA") else {
            eprintln!("skipped: HEADSUP_TEST_DATA does not name the data folder");
            return;
        };
        let file = std::fs::File::open(Path::new(&data).join("cdnow/CDNOW_sample.txt.gz")).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let mut days_by_customer: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (year, month, day) = (&fields[2][..4], &fields[2][4..6], &fields[2][6..]);
            const BEFORE: [f64; 12] = [0., 31., 59., 90., 120., 151., 181., 212., 243., 273., 304., 334.];
            let day = BEFORE[month.parse::<usize>().unwrap() - 1] + day.parse::<f64>().unwrap();
            let days = days_by_customer.entry(fields[1]).or_default();
            // Up to 30 September 1997. Two purchases on a day are one.
            if year == "1997" && day <= 273.0 && days.last() != Some(&day) {
                days.push(day);
            }
        }
        assert_eq!(days_by_customer.len(), 2357);
        let column =
            |of: fn(&[f64]) -> f64| days_by_customer.values().map(|days| of(days)).collect::<Vec<f64>>();
        let start = std::time::Instant::now();
        let found = fit(
            &column(|days| days.len() as f64 - 1.0),
            &column(|days| (days[days.len() - 1] - days[0]) / 7.0),
            &column(|days| (273.0 - days[0]) / 7.0),
        )
        .unwrap();
        eprintln!("{found:?} in {:?}", start.elapsed());
        for (found, published) in found.array().into_iter().zip(PUBLISHED) {
            assert!((found - published).abs() < 1e-3, "{found} is not {published}");
        }
        assert!((found.log_likelihood + 9582.43).abs() < 0.005, "{}", found.log_likelihood);
    }

    #[test]
    fn what_cannot_be_fitted_says_so() {
        let message = |x: &[f64], t: &[f64], age: &[f64]| fit(x, t, age).unwrap_err().to_string();
        assert!(message(&[1.0], &[], &[2.0]).starts_with("1 frequencies, 0 recencies and 1 ages; "));
        assert!(message(&[], &[], &[]).starts_with("none of 0 customers bought again"));
        assert!(message(&[0.0; 3], &[0.0; 3], &[5.0; 3]).starts_with("none of 3 customers bought again"));
        for (x, t, age) in
            [(1.0, 3.0, 2.0), (0.5, 1.0, 2.0), (-1.0, 0.0, 2.0), (0.0, 1.0, 2.0), (f64::NAN, 1.0, 2.0)]
        {
            assert!(message(&[1.0, x], &[1.0, t], &[2.0, age]).starts_with("customer 1 has frequency "));
        }
        // All alike, and none leaves: there is no spread to fit.
        assert!(message(&[9.0; 50], &[9.0; 50], &[9.5; 50]).starts_with("the likelihood still rises at r "));
    }
}
