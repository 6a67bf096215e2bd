//! Whether what is scored still looks like what was trained on.
//!
//! PSI, the population stability index (Siddiqi, Credit Risk Scorecards, 2006), is the sum over bins
//! of (now − then) · ln(now / then), each a share of the rows. The bins are the tenths of training,
//! what is below and above all of training, and missing. Counts are raised by one (Laplace), so that
//! an empty bin gives no infinity; a bin that is empty in both is left out.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// What columns were like in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Rows of training.
    pub rows: u64,
    /// In the model's order.
    pub features: Vec<Column>,
    /// The model's probabilities.
    pub score: Column,
}

/// What one column was like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name; `score` for the probabilities.
    pub name: String,
    /// Upper ends of bins but the last, which has none; ascending, the end itself within the bin.
    pub edges: Vec<f64>,
    /// Rows in each bin: one more than edges.
    pub counts: Vec<u64>,
    /// Rows without a value.
    pub missing: u64,
}

/// Columns held against a [`Profile`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Rows that were looked at.
    pub rows: u64,
    /// In the profile's order.
    pub features: Vec<Shift>,
    /// Of the probabilities, if there were any.
    pub score: Option<Shift>,
}

/// How far one column has moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The column.
    pub name: String,
    /// Population stability index; 0 is no change.
    pub psi: f64,
    /// What that means.
    pub level: Level,
    /// Share of rows without a value in training.
    pub missing_then: f64,
    /// Share of rows without a value now.
    pub missing_now: f64,
}

/// Siddiqi's rule of thumb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// PSI below 0.1.
    Stable,
    /// PSI below 0.25: look into it.
    Moderate,
    /// Train again, or mend the input.
    Significant,
}

impl Level {
    /// The level of a PSI.
    pub fn of(psi: f64) -> Self {
        match psi {
            ..0.1 => Self::Stable,
            ..0.25 => Self::Moderate,
            _ => Self::Significant,
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Moderate => "moderate",
            Self::Significant => "significant",
        }
    }
}

/// Why columns cannot be profiled or compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing there.
    #[error("no rows to profile; widen the period")]
    Empty,
    /// Slices of different lengths.
    #[error("{what}: {found} where there should be {expected}; pass a name per column and a value per row")]
    Length {
        /// `names`, `column age`.
        what: String,
        /// Found.
        found: usize,
        /// Needed.
        expected: usize,
    },
    /// The model's columns are not all there.
    #[error("the model was trained on {}, which the data no longer has; restore the columns, or train again", absent.join(", "))]
    Vanished {
        /// Which are not.
        absent: Vec<String>,
    },
}

impl Profile {
    /// The profile of training's columns (NaN is missing) and of the probabilities given to their rows.
    ///
    /// # Errors
    /// No rows, or slices of different lengths.
    pub fn new(names: &[String], columns: &[Vec<f64>], score: &[f64]) -> Result<Self, Error> {
        check(names, columns, score)?;
        let features = names.iter().zip(columns).map(|(name, values)| Column::new(name, values)).collect();
        Ok(Self { rows: score.len() as u64, features, score: Column::new("score", score) })
    }

    /// Holds other rows against the profile. Columns are found by name; others are not looked at.
    ///
    /// # Errors
    /// No rows, slices of different lengths, or a column of the profile that is not there.
    pub fn drift(
        &self,
        names: &[String],
        columns: &[Vec<f64>],
        score: Option<&[f64]>,
    ) -> Result<Drift, Error> {
        let rows = score.map(<[f64]>::len).or(columns.first().map(Vec::len)).unwrap_or_default();
        check(names, columns, score.unwrap_or(&vec![0.0; rows]))?;
        let place = |name: &String| names.iter().position(|other| other == name);
        let absent: Vec<String> = self
            .features
            .iter()
            .map(|column| &column.name)
            .filter(|name| place(name).is_none())
            .cloned()
            .collect();
        if !absent.is_empty() {
            return Err(Error::Vanished { absent });
        }
        let features = self
            .features
            .iter()
            .filter_map(|column| Some(column.shift(&columns[place(&column.name)?])))
            .collect();
        Ok(Drift { rows: rows as u64, features, score: score.map(|score| self.score.shift(score)) })
    }
}

fn check(names: &[String], columns: &[Vec<f64>], score: &[f64]) -> Result<(), Error> {
    let expected = score.len();
    if names.len() != columns.len() {
        return Err(Error::Length { what: "names".to_owned(), found: names.len(), expected: columns.len() });
    }
    if let Some((name, values)) = names.iter().zip(columns).find(|(_, values)| values.len() != expected) {
        return Err(Error::Length { what: format!("column {name}"), found: values.len(), expected });
    }
    if expected == 0 { Err(Error::Empty) } else { Ok(()) }
}

impl Column {
    fn new(name: &str, values: &[f64]) -> Self {
        let mut present: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        present.sort_unstable_by(f64::total_cmp);
        let tenths =
            (1..=10).filter_map(|tenth| present.get((tenth * present.len()).div_ceil(10).wrapping_sub(1)));
        let mut edges: Vec<f64> = present.first().map(|least| least.next_down()).into_iter().collect();
        edges.extend(tenths);
        edges.dedup();
        let mut column = Self { name: name.to_owned(), edges, counts: Vec::new(), missing: 0 };
        (column.counts, column.missing) = column.count(values);
        column
    }

    fn count(&self, values: &[f64]) -> (Vec<u64>, u64) {
        let (mut counts, mut missing) = (vec![0; self.edges.len() + 1], 0);
        for &value in values {
            match value.is_nan() {
                true => missing += 1,
                false => counts[self.edges.partition_point(|&edge| edge < value)] += 1,
            }
        }
        (counts, missing)
    }

    fn shift(&self, values: &[f64]) -> Shift {
        let (now, missing) = self.count(values);
        let then = self.counts.iter().copied().chain([self.missing]);
        let bins: Vec<(u64, u64)> =
            then.zip(now.into_iter().chain([missing])).filter(|&(then, now)| then + now > 0).collect();
        let rows_then = self.counts.iter().sum::<u64>() + self.missing;
        let share = |count: u64, of: u64| (count + 1) as f64 / (of + bins.len() as u64) as f64;
        let psi = bins
            .iter()
            .map(|&(then, now)| (share(then, rows_then), share(now, values.len() as u64)))
            .map(|(then, now)| (now - then) * libm::log(now / then))
            .sum();
        Shift {
            name: self.name.clone(),
            psi,
            level: Level::of(psi),
            missing_then: self.missing as f64 / rows_then as f64,
            missing_now: missing as f64 / values.len() as f64,
        }
    }
}

impl Drift {
    /// For a terminal: the score first, then features, those that moved most first.
    pub fn table(&self) -> String {
        let mut shifts: Vec<&Shift> = self.features.iter().collect();
        shifts.sort_by(|a, b| b.psi.total_cmp(&a.psi));
        let shifts: Vec<&Shift> = self.score.iter().chain(shifts).collect();
        let width =
            shifts.iter().map(|shift| shift.name.chars().count()).max().unwrap_or(0).max("feature".len());
        let mut text = format!("{:width$}     PSI  level        missing then     now\n", "feature");
        for shift in shifts {
            let (name, level) = (&shift.name, shift.level.name());
            let (psi, then, now) = (shift.psi, 100.0 * shift.missing_then, 100.0 * shift.missing_now);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:width$}  {psi:6.4}  {level:<11}  {then:11.2}%  {now:5.2}%");
        }
        text
    }

    /// In Prometheus' text format, as gauges.
    pub fn prometheus(&self, model: &str) -> String {
        let mut text = String::new();
        let model = escape(model);
        let mut gauge = |name: &str, help: &str, lines: Vec<(String, f64)>| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (labels, value) in lines {
                let _ = writeln!(text, "{name}{{model=\"{model}\"{labels}}} {value}");
            }
        };
        let features = |of: fn(&Shift) -> f64| {
            let line = |shift: &Shift| (format!(",feature=\"{}\"", escape(&shift.name)), of(shift));
            self.features.iter().map(line).collect()
        };
        let help = "Population stability index of a feature against training.";
        gauge("headsup_model_feature_psi", help, features(|shift| shift.psi));
        let help = "Share of rows in which a feature is missing.";
        gauge("headsup_model_feature_missing_ratio", help, features(|shift| shift.missing_now));
        let help = "Share of rows in which a feature was missing in training.";
        gauge("headsup_model_feature_missing_ratio_training", help, features(|shift| shift.missing_then));
        if let Some(score) = &self.score {
            let help = "Population stability index of the probabilities against training.";
            gauge("headsup_model_score_psi", help, vec![(String::new(), score.psi)]);
        }
        gauge(
            "headsup_model_drift_rows",
            "Rows that drift was computed of.",
            vec![(String::new(), self.rows as f64)],
        );
        text
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn ramp(rows: u32) -> Vec<f64> {
        (0..rows).map(f64::from).collect()
    }

    /// By NumPy, of the halved ramp's counts 199, 200, 200, 200, 200, 1, 0, 0, 0, 0 in the tenths of training:
    /// `e = 101 / 1010`, `a = (counts + 1) / 1010`, `((a - e) * np.log(a / e)).sum()`.
    #[test]
    fn psi_as_numpy_has_it() {
        let training = ramp(1000);
        let profile = Profile::new(&names(&["a"]), std::slice::from_ref(&training), &training).unwrap();
        assert_eq!(profile.features[0].counts, [0, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 0]);
        let same = profile.drift(&names(&["a"]), std::slice::from_ref(&training), Some(&training)).unwrap();
        assert_eq!((same.features[0].psi, same.features[0].level), (0.0, Level::Stable));
        let lower: Vec<f64> = training.iter().map(|value| value / 2.0).collect();
        let moved = profile.drift(&names(&["a"]), &[lower], None).unwrap();
        assert!((moved.features[0].psi - 2.5517166451846056).abs() < 1e-12, "{}", moved.features[0].psi);
        assert_eq!(moved.features[0].level, Level::Significant);
        assert_eq!(moved.score, None);
    }

    #[test]
    fn missing_constant_and_unseen_values() {
        let names = names(&["constant", "sparse", "empty"]);
        let sparse: Vec<f64> =
            (0..1000).map(|row| if row % 4 == 0 { f64::NAN } else { f64::from(row % 3) }).collect();
        let columns = [vec![5.0; 1000], sparse.clone(), vec![f64::NAN; 1000]];
        let profile = Profile::new(&names, &columns, &[0.5; 1000]).unwrap();
        let json = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
        let psi = |columns: &[Vec<f64>]| -> Vec<f64> {
            let drift = profile.drift(&names, columns, None).unwrap();
            drift.features.iter().map(|shift| shift.psi).collect()
        };
        assert_eq!(psi(&columns), [0.0; 3]);
        let moved = psi(&[vec![4.0; 1000], vec![f64::NAN; 1000], vec![f64::INFINITY; 1000]]);
        assert!(moved.iter().all(|&psi| psi > 1.0), "{moved:?}");
        let drift =
            profile.drift(&names, &[vec![5.0; 10], sparse[..10].to_vec(), vec![0.0; 10]], None).unwrap();
        assert_eq!((drift.features[1].missing_then, drift.features[1].missing_now), (0.25, 0.3));
    }

    /// A fresh sample of the same distribution is not taken for drift.
    #[test]
    fn chance_is_stable() {
        use rand_chacha::rand_core::{Rng, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut draw = |rows: usize| (0..rows).map(|_| f64::from(random.next_u32())).collect::<Vec<f64>>();
        let profile = Profile::new(&names(&["a"]), &[draw(20_000)], &vec![0.0; 20_000]).unwrap();
        let psi: Vec<f64> = (0..100)
            .map(|_| profile.drift(&names(&["a"]), &[draw(1000)], None).unwrap().features[0].psi)
            .collect();
        // Its expectation is (bins − 1) · (1/1000 + 1/20000) ≈ 0.0095: Yurdakul and Naranjo, 2020.
        let mean = psi.iter().sum::<f64>() / 100.0;
        assert!((0.007..0.012).contains(&mean), "{mean}");
        assert!(psi.iter().all(|&psi| Level::of(psi) == Level::Stable));
    }

    #[test]
    fn table_and_metrics() {
        let profile = Profile::new(&names(&["a", "b\"\\"]), &[ramp(100), ramp(100)], &[0.5; 100]).unwrap();
        let drift = profile.drift(
            &names(&["b\"\\", "other", "a"]),
            &[vec![99.0; 100], ramp(100), ramp(100)],
            Some(&[0.5; 100]),
        );
        let drift = drift.unwrap();
        let table = drift.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "feature     PSI  level        missing then     now");
        assert_eq!(lines[1], "score    0.0000  stable              0.00%   0.00%");
        assert!(lines[2].starts_with("b\"\\") && lines[2].contains("significant"), "{table}");
        let metrics = drift.prometheus("churn");
        assert!(metrics.contains("# TYPE headsup_model_feature_psi gauge\n"));
        assert!(
            metrics.contains("headsup_model_feature_psi{model=\"churn\",feature=\"a\"} 0\n"),
            "{metrics}"
        );
        assert!(metrics.contains("headsup_model_feature_psi{model=\"churn\",feature=\"b\\\"\\\\\"} "));
        assert!(metrics.contains("headsup_model_score_psi{model=\"churn\"} 0\n"));
    }

    #[test]
    fn mistakes_are_named() {
        let profile = Profile::new(&names(&["a", "b"]), &[ramp(9), ramp(9)], &ramp(9)).unwrap();
        let vanished = profile.drift(&names(&["a"]), &[ramp(9)], None).unwrap_err().to_string();
        assert!(
            vanished.starts_with("the model was trained on b, which the data no longer has; "),
            "{vanished}"
        );
        assert_eq!(profile.drift(&names(&["a", "b"]), &[vec![], vec![]], None), Err(Error::Empty));
        let short = Profile::new(&names(&["a"]), &[ramp(8)], &ramp(9)).unwrap_err().to_string();
        assert!(short.starts_with("column a: 8 where there should be 9; "), "{short}");
    }
}
