//! What a model has to beat: the base rate, a recency rule, logistic regression.

use serde::{Deserialize, Serialize};

/// Share of positives: the constant probability. NaN without rows.
pub fn base_rate(label: &[bool]) -> f64 {
    label.iter().filter(|&&label| label).count() as f64 / label.len() as f64
}

/// The recency rule as a score: 1 / (1 + days since the last event), 0 if there was none (NaN).
///
/// It ranks those seen last highest and is no probability. `Logistic` fitted on this one column
/// makes it one, and finds out whether recent or long gone is the risk.
pub fn recency(days_since: &[f64]) -> Vec<f64> {
    let score = |days: &f64| if days.is_nan() { 0.0 } else { 1.0 / (1.0 + days.max(0.0)) };
    days_since.iter().map(score).collect()
}

/// How to fit a [`Logistic`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticOptions {
    /// Strength λ of the penalty λ/2 · Σβ² beside the sum of the log-losses; scikit-learn's 1/C.
    pub l2: f64,
    /// A 0/1 column for each column with missing values, so that missing itself can speak.
    pub missing_indicator: bool,
    /// Columns with a skewness beyond ±2 become sign(x) · ln(1 + |x|).
    pub signed_log: bool,
    /// Steps of L-BFGS at most; it has usually converged far sooner.
    pub steps: usize,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self { l2: 1.0, missing_indicator: true, signed_log: true, steps: 500 }
    }
}

/// Logistic regression: medians for what is missing, standardised columns, L2, fitted by L-BFGS
/// (Nocedal and Wright, Numerical Optimization, algorithm 7.4). Deterministic, on one thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    intercept: f64,
    terms: Vec<Term>,
    columns: usize,
}

/// A standardised column and its coefficient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Term {
    column: usize,
    of: Of,
    mean: f64,
    scale: f64,
    beta: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Of {
    /// The value, or this if missing.
    Value { otherwise: f64 },
    /// The same in signed logarithm.
    Log { otherwise: f64 },
    /// Whether it is missing.
    Missing,
}

/// Why there is no logistic regression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing to tell apart.
    #[error(
        "all {rows} training rows have the same label: there is nothing to fit; widen the training slice"
    )]
    OneClass {
        /// How many; 0 is possible.
        rows: usize,
    },
    /// Columns, rows and labels do not fit together.
    #[error(
        "{what} has {found} rows, at least {expected} are needed; pass columns and labels of the whole frame"
    )]
    Length {
        /// `column 3`, `label`.
        what: String,
        /// Its length.
        found: usize,
        /// Length needed.
        expected: usize,
    },
    /// Another number of columns than in training.
    #[error(
        "{found} columns to predict from, {expected} were fitted; pass the same columns in the same order"
    )]
    Columns {
        /// Found.
        found: usize,
        /// Fitted.
        expected: usize,
    },
}

impl Logistic {
    /// Fits `label[row]` by `columns[..][row]` for each of `rows`; NaN is missing. Columns and labels
    /// are of the whole frame, `rows` says which of it to train on. A constant column has no part.
    ///
    /// # Errors
    /// A column or the labels too short for a row; one class only.
    pub fn fit(
        columns: &[Vec<f64>],
        rows: &[u32],
        label: &[bool],
        options: &LogisticOptions,
    ) -> Result<Self, Error> {
        check(columns, rows, Some(label))?;
        let y: Vec<f64> = rows.iter().map(|&row| f64::from(u8::from(label[row as usize]))).collect();
        let positives: f64 = y.iter().sum();
        if positives == 0.0 || positives == y.len() as f64 {
            return Err(Error::OneClass { rows: rows.len() });
        }
        let mut terms = Vec::new();
        for (number, column) in columns.iter().enumerate() {
            let mut present: Vec<f64> =
                rows.iter().map(|&row| column[row as usize]).filter(|value| value.is_finite()).collect();
            if present.is_empty() {
                continue;
            }
            let middle = present.len() / 2;
            let otherwise = *present.select_nth_unstable_by(middle, f64::total_cmp).1;
            let missing = present.len() < rows.len();
            let of = match options.signed_log && skewness(&present).abs() > 2.0 {
                true => Of::Log { otherwise },
                false => Of::Value { otherwise },
            };
            terms.extend(Term::new(number, of, column, rows));
            if missing && options.missing_indicator {
                terms.extend(Term::new(number, Of::Missing, column, rows));
            }
        }
        let design = Design::new(&terms, columns, rows);
        let mut at = vec![0.0; terms.len() + 1];
        at[terms.len()] = libm::log(positives / (y.len() as f64 - positives));
        let best = minimise(at, options.steps, |at, slope| design.loss(at, &y, options.l2, slope));
        for (term, &beta) in terms.iter_mut().zip(&best) {
            term.beta = beta;
        }
        Ok(Self { intercept: best[terms.len()], terms, columns: columns.len() })
    }

    /// The probability for each of `rows`.
    ///
    /// # Errors
    /// Another number of columns than was fitted, or a column too short for a row.
    pub fn predict(&self, columns: &[Vec<f64>], rows: &[u32]) -> Result<Vec<f64>, Error> {
        if columns.len() != self.columns {
            return Err(Error::Columns { found: columns.len(), expected: self.columns });
        }
        check(columns, rows, None)?;
        let mut margins = vec![self.intercept; rows.len()];
        for term in &self.terms {
            let column = &columns[term.column];
            for (margin, &row) in margins.iter_mut().zip(rows) {
                *margin += term.beta * term.at(column[row as usize]);
            }
        }
        Ok(margins.into_iter().map(sigmoid).collect())
    }
}

fn check(columns: &[Vec<f64>], rows: &[u32], label: Option<&[bool]>) -> Result<(), Error> {
    let expected = rows.iter().max().map_or(0, |&row| row as usize + 1);
    let columns =
        columns.iter().enumerate().map(|(number, column)| (format!("column {number}"), column.len()));
    let mut slices = columns.chain(label.map(|label| ("label".to_owned(), label.len())));
    match slices.find(|(_, found)| *found < expected) {
        Some((what, found)) => Err(Error::Length { what, found, expected }),
        None => Ok(()),
    }
}

impl Term {
    /// `None` if it is constant.
    fn new(column: usize, of: Of, values: &[f64], rows: &[u32]) -> Option<Self> {
        let mut term = Self { column, of, mean: 0.0, scale: 1.0, beta: 0.0 };
        let count = rows.len() as f64;
        term.mean = rows.iter().map(|&row| term.at(values[row as usize])).sum::<f64>() / count;
        let square = |row: &u32| {
            let off = term.at(values[*row as usize]);
            off * off
        };
        let scale = f64::sqrt(rows.iter().map(square).sum::<f64>() / count);
        term.scale = scale;
        (scale > 1e-12 * term.mean.abs() && scale.is_finite()).then_some(term)
    }

    fn at(&self, value: f64) -> f64 {
        let present = |otherwise| if value.is_finite() { value } else { otherwise };
        let raw = match self.of {
            Of::Value { otherwise } => present(otherwise),
            Of::Log { otherwise } => signed_log(present(otherwise)),
            Of::Missing => f64::from(u8::from(!value.is_finite())),
        };
        (raw - self.mean) / self.scale
    }
}

fn signed_log(value: f64) -> f64 {
    f64::copysign(libm::log1p(value.abs()), value)
}

fn skewness(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let moment = |power: i32| values.iter().map(|value| (value - mean).powi(power)).sum::<f64>() / count;
    moment(3) / moment(2).powf(1.5).max(f64::MIN_POSITIVE)
}

fn sigmoid(margin: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-margin))
}

/// The standardised columns, row by row, so that loss and gradient take one pass over memory.
struct Design {
    width: usize,
    values: Vec<f32>,
}

impl Design {
    fn new(terms: &[Term], columns: &[Vec<f64>], rows: &[u32]) -> Self {
        let width = terms.len();
        let mut values = vec![0.0; width * rows.len()];
        for (place, term) in terms.iter().enumerate() {
            let column = &columns[term.column];
            for (number, &row) in rows.iter().enumerate() {
                values[number * width + place] = term.at(column[row as usize]) as f32;
            }
        }
        Self { width, values }
    }

    /// The penalised mean log-loss at `at` (coefficients, then intercept), and its gradient.
    fn loss(&self, at: &[f64], y: &[f64], l2: f64, slope: &mut [f64]) -> f64 {
        let (betas, intercept) = (&at[..self.width], at[self.width]);
        slope.fill(0.0);
        let mut loss = 0.0;
        for (row, &y) in y.iter().enumerate() {
            let values = &self.values[row * self.width..(row + 1) * self.width];
            let margin = intercept + dot(values, betas);
            // ln(1 + e^m) − y·m, without overflow.
            let small = libm::exp(-margin.abs());
            loss += margin.max(0.0) + libm::log1p(small) - y * margin;
            let p = if margin >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
            let off = p - y;
            for (slope, &value) in slope.iter_mut().zip(values) {
                *slope += off * f64::from(value);
            }
            slope[self.width] += off;
        }
        let count = y.len() as f64;
        for (slope, &beta) in slope.iter_mut().zip(betas) {
            *slope += l2 * beta;
        }
        slope.iter_mut().for_each(|slope| *slope /= count);
        (loss + l2 / 2.0 * betas.iter().map(|beta| beta * beta).sum::<f64>()) / count
    }
}

/// Eight sums side by side, which the compiler can keep in vectors.
fn dot(values: &[f32], betas: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (values, rest) = values.as_chunks::<8>();
    let (betas, rest_betas) = betas.as_chunks::<8>();
    for (values, betas) in values.iter().zip(betas) {
        for lane in 0..8 {
            sums[lane] += f64::from(values[lane]) * betas[lane];
        }
    }
    let rest: f64 = rest.iter().zip(rest_betas).map(|(&value, &beta)| f64::from(value) * beta).sum();
    sums.iter().sum::<f64>() + rest
}

/// L-BFGS with ten corrections and a backtracking line search; `value(at, slope)` gives the value and
/// writes the gradient. For convex functions.
fn minimise(mut at: Vec<f64>, steps: usize, value: impl Fn(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut slope = vec![0.0; at.len()];
    let mut here = value(&at, &mut slope);
    // Steps, changes of the gradient, and 1 over their inner product; the latest last.
    let mut corrections: Vec<(Vec<f64>, Vec<f64>, f64)> = Vec::new();
    for _ in 0..steps {
        if slope.iter().all(|slope| slope.abs() < 1e-7) {
            break;
        }
        let mut direction = slope.clone();
        let mut alphas = Vec::with_capacity(corrections.len());
        for (moved, bent, rho) in corrections.iter().rev() {
            let alpha = rho * inner(moved, &direction);
            direction.iter_mut().zip(bent).for_each(|(direction, bent)| *direction -= alpha * bent);
            alphas.push(alpha);
        }
        if let Some((_, bent, rho)) = corrections.last() {
            let scale = 1.0 / (rho * inner(bent, bent));
            direction.iter_mut().for_each(|direction| *direction *= scale);
        }
        for ((moved, bent, rho), alpha) in corrections.iter().zip(alphas.into_iter().rev()) {
            let beta = rho * inner(bent, &direction);
            direction
                .iter_mut()
                .zip(moved)
                .for_each(|(direction, moved)| *direction += (alpha - beta) * moved);
        }
        let descent = inner(&slope, &direction);
        let mut next_slope = vec![0.0; at.len()];
        let mut length = 1.0;
        let found = loop {
            let next: Vec<f64> = at.iter().zip(&direction).map(|(at, by)| at - length * by).collect();
            let there = value(&next, &mut next_slope);
            if there <= here - 1e-4 * length * descent {
                break Some((next, there));
            }
            length /= 2.0;
            if length < 1e-10 {
                break None;
            }
        };
        // No step leads further down: as good as doubles can tell.
        let Some((next, there)) = found else { break };
        let moved: Vec<f64> = next.iter().zip(&at).map(|(next, at)| next - at).collect();
        let bent: Vec<f64> = next_slope.iter().zip(&slope).map(|(next, slope)| next - slope).collect();
        let curvature = inner(&moved, &bent);
        if curvature > 0.0 {
            if corrections.len() == 10 {
                corrections.remove(0);
            }
            corrections.push((moved, bent, 1.0 / curvature));
        }
        let gained = here - there;
        (at, slope, here) = (next, next_slope, there);
        if gained <= 1e-12 * here.abs() {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knuth's MMIX generator; uniform in 0..1 from the upper 53 bits.
    struct Uniform(u64);

    impl Uniform {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// Uniform a, 10·b, c, where c is missing if below 0.2; the label is true with σ(3a − b − 2).
    fn generate(rows: usize) -> (Vec<Vec<f64>>, Vec<u32>, Vec<bool>) {
        let mut uniform = Uniform(11);
        let (mut columns, mut label) = (vec![Vec::new(); 3], Vec::new());
        for _ in 0..rows {
            let (a, b, c) = (uniform.next(), uniform.next(), uniform.next());
            label.push(uniform.next() < 1.0 / (1.0 + (2.0 - 3.0 * a + b).exp()));
            columns[0].push(a);
            columns[1].push(10.0 * b);
            columns[2].push(if c < 0.2 { f64::NAN } else { c });
        }
        (columns, (0..rows as u32).collect(), label)
    }

    /// By scikit-learn's `LogisticRegression(C=1/λ, tol=1e-10)` on the generator's 500 rows in Python, with
    /// medians, a missing indicator, and columns standardised there too.
    #[test]
    fn as_scikit_learn_has_it() {
        let (columns, rows, label) = generate(500);
        for (l2, expected) in [
            (1.0, [0.6398177738012634, 0.4806744921129593, 0.17130355691306853, 0.5685787296190815]),
            (50.0, [0.5254323038329713, 0.4292364456866253, 0.22761789810019167, 0.4805967991861683]),
        ] {
            let fitted =
                Logistic::fit(&columns, &rows, &label, &LogisticOptions { l2, ..LogisticOptions::default() })
                    .unwrap();
            let found = fitted.predict(&columns, &[0, 1, 2, 499]).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{found} is not {expected}");
            }
            let json = serde_json::to_string(&fitted).unwrap();
            assert_eq!(serde_json::from_str::<Logistic>(&json).unwrap(), fitted);
        }
    }

    #[test]
    fn constant_empty_and_infinite_columns_do_no_harm() {
        let (mut columns, rows, label) = generate(500);
        let options = LogisticOptions::default();
        let without =
            Logistic::fit(&columns, &rows, &label, &options).unwrap().predict(&columns, &rows).unwrap();
        columns.push(vec![3.0; 500]);
        columns.push(vec![f64::NAN; 500]);
        let with = Logistic::fit(&columns, &rows, &label, &options).unwrap();
        assert_eq!(with.predict(&columns, &rows).unwrap(), without);
        columns[0][7] = f64::INFINITY;
        assert!(with.predict(&columns, &rows).unwrap().iter().all(|p| (0.0..=1.0).contains(p)));
        assert!(Logistic::fit(&columns, &rows, &label, &options).is_ok());
    }

    /// exp(20 u) has a skewness near 4; the label depends on u.
    #[test]
    fn heavy_tails_are_tamed() {
        let mut uniform = Uniform(5);
        let (column, label): (Vec<f64>, Vec<bool>) =
            (0..2000).map(|_| uniform.next()).map(|u| ((20.0 * u).exp(), uniform_label(u))).unzip();
        let rows: Vec<u32> = (0..2000).collect();
        let loss = |signed_log| {
            let options = LogisticOptions { signed_log, ..LogisticOptions::default() };
            let columns = [column.clone()];
            let fitted = Logistic::fit(&columns, &rows, &label, &options).unwrap();
            crate::metrics::log_loss(&fitted.predict(&columns, &rows).unwrap(), &label)
        };
        assert!(loss(true) < 0.8 * loss(false));
    }

    fn uniform_label(u: f64) -> bool {
        u > 0.3
    }

    #[test]
    fn mistakes_are_named() {
        let (columns, rows, label) = generate(10);
        let options = LogisticOptions::default();
        let one = Logistic::fit(&columns, &rows, &[true; 10], &options).unwrap_err().to_string();
        assert!(one.starts_with("all 10 training rows have the same label: "), "{one}");
        let short = Logistic::fit(&columns, &[10], &label, &options).unwrap_err().to_string();
        assert!(short.starts_with("column 0 has 10 rows, at least 11 are needed; "), "{short}");
        let (columns, rows, label) = generate(100);
        let fitted = Logistic::fit(&columns, &rows, &label, &options).unwrap();
        let fewer = fitted.predict(&columns[..2], &rows).unwrap_err().to_string();
        assert!(fewer.starts_with("2 columns to predict from, 3 were fitted; "), "{fewer}");
    }

    #[test]
    fn the_simple_rules() {
        assert_eq!(base_rate(&[true, false, false, false]), 0.25);
        assert_eq!(recency(&[0.0, 1.0, f64::NAN, -5.0]), [1.0, 0.5, 0.0, 1.0]);
        assert_eq!(recency(&[9.0])[0], 0.1);
    }

    #[test]
    fn a_hundred_thousand_rows_take_seconds() {
        let mut uniform = Uniform(3);
        let rows: Vec<u32> = (0..100_000).collect();
        // In tens that nearly say the same, as windows of different length do.
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for number in 0..140 {
            let column = (0..100_000).map(|row| match number % 10 {
                0 => uniform.next(),
                _ => columns[number - 1][row] + 0.1 * uniform.next(),
            });
            columns.push(column.collect());
        }
        let label: Vec<bool> = rows
            .iter()
            .map(|&row| uniform.next() < 1.0 / (1.0 + (3.0 - 2.0 * columns[0][row as usize]).exp()))
            .collect();
        let start = std::time::Instant::now();
        let fitted = Logistic::fit(&columns, &rows, &label, &LogisticOptions::default()).unwrap();
        let took = start.elapsed();
        eprintln!("140 columns of 100,000 rows: {took:?}");
        assert!(took.as_secs() < 10, "{took:?}");
        let p = fitted.predict(&columns, &rows).unwrap();
        let mean = p.iter().sum::<f64>() / 1e5;
        assert!((mean - base_rate(&label)).abs() < 1e-5, "{mean}");
    }
}
