//! What is trained on, and what it is held against: by time, with an embargo.

use crate::frame::{Frame, show_time};

/// Places of rows, by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows whose label was known before the first row of `test`.
    pub train: Vec<u32>,
    /// Rows from the given time on.
    pub test: Vec<u32>,
    /// Spans at the end of `train`, each foretold from what was known before it.
    pub folds: Vec<Fold>,
}

/// A span and what was known before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Rows whose label was known before the span.
    pub train: Vec<u32>,
    /// The span's rows.
    pub validate: Vec<u32>,
}

/// A split that cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SplitError {
    /// No rows on one side.
    #[error(
        "there are no rows to {what}: the rows with a label are of {from} to {to}, their labels are known {mature_days} \
         days later, and the test begins at {test}; {remedy}"
    )]
    NoRows {
        /// What for.
        what: &'static str,
        /// Of the first row with a label.
        from: String,
        /// Of the last.
        to: String,
        /// Lead and horizon.
        mature_days: i64,
        /// From when on is tested.
        test: String,
        /// What to do.
        remedy: &'static str,
    },
    /// No label at all.
    #[error(
        "no row has a label: either they were written without one (headsup features --label), or lead and horizon end \
         after the last fact for each of them (take earlier times)"
    )]
    NoLabels,
    /// Only yes, or only no.
    #[error(
        "all {rows} rows to {what} have the label {label}; a model needs both; is the population too narrow?"
    )]
    OneClass {
        /// How many.
        rows: usize,
        /// What for.
        what: &'static str,
        /// Which.
        label: bool,
    },
}

impl Split {
    /// Rows with a label, divided at `test_from_us`. A label is known `mature_us` after its row, and
    /// nothing is trained on what was not known before the rows that it is held against.
    ///
    /// # Errors
    /// A side has no rows, or one class only.
    pub fn new(
        frame: &Frame,
        test_from_us: i64,
        mature_us: i64,
        folds: usize,
        share: f64,
    ) -> Result<Self, SplitError> {
        let labelled: Vec<u32> =
            (0..frame.rows() as u32).filter(|row| frame.label[*row as usize].is_some()).collect();
        let at = |row: &u32| frame.as_of_us[*row as usize];
        let (Some(first), Some(last)) = (labelled.first().map(at), labelled.last().map(at)) else {
            return Err(SplitError::NoLabels);
        };
        let known_before = |us: i64| -> Vec<u32> {
            labelled.iter().copied().filter(|row| at(row) + mature_us <= us).collect()
        };
        let train = known_before(test_from_us);
        let test: Vec<u32> = labelled.iter().copied().filter(|row| at(row) >= test_from_us).collect();
        let none = |what, remedy| SplitError::NoRows {
            what,
            from: show_time(first),
            to: show_time(last),
            mature_days: mature_us / 86_400_000_000,
            test: show_time(test_from_us),
            remedy,
        };
        if train.is_empty() {
            return Err(none("train on", "let the test begin later"));
        }
        if test.is_empty() {
            return Err(none("test on", "let the test begin earlier"));
        }
        let mut times: Vec<i64> = train.iter().map(at).collect();
        times.dedup();
        let span = ((times.len() as f64 * share).ceil() as usize).clamp(folds.min(times.len()), times.len());
        let begin = times.len() - span;
        let mut made = Vec::new();
        for fold in 0..folds {
            let [from, to] = [fold, fold + 1].map(|fold| begin + span * fold / folds);
            if from == to {
                continue;
            }
            let (from_us, to_us) = (times[from], times.get(to).copied().unwrap_or(i64::MAX));
            made.push(Fold {
                train: known_before(from_us),
                validate: train.iter().copied().filter(|row| (from_us..to_us).contains(&at(row))).collect(),
            });
        }
        let split = Self { train, test, folds: made };
        for fold in &split.folds {
            if fold.train.is_empty() {
                return Err(none(
                    "train the first fold on",
                    "take more history, fewer folds or a smaller fold_share",
                ));
            }
            one_class(frame, &fold.train, "train a fold on")?;
            one_class(frame, &fold.validate, "try a fold on")?;
        }
        one_class(frame, &split.train, "train on")?;
        one_class(frame, &split.test, "test on")?;
        Ok(split)
    }
}

fn one_class(frame: &Frame, rows: &[u32], what: &'static str) -> Result<(), SplitError> {
    let labels = frame.labels(rows);
    match labels.first() {
        Some(first) if labels.iter().all(|label| label == first) => {
            Err(SplitError::OneClass { rows: rows.len(), what, label: *first })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Split, SplitError};
    use crate::frame::Frame;

    const DAY: i64 = 86_400_000_000;

    fn daily(days: i64, label: impl Fn(usize) -> Option<bool>) -> Frame {
        let rows = days as usize * 2;
        Frame {
            as_of_us: (0..days).flat_map(|day| [day * DAY; 2]).collect(),
            label: (0..rows).map(label).collect(),
            customer: (0..rows as u32).map(|row| row % 2).collect(),
            ..Frame::default()
        }
    }

    #[test]
    fn nothing_is_trained_on_what_was_not_known() {
        let frame = daily(100, |row| Some(row % 2 == 0));
        let split = Split::new(&frame, 80 * DAY, 10 * DAY, 4, 0.4).expect("a split");
        let days = |rows: &[u32]| {
            let days = rows.iter().map(|row| frame.as_of_us[*row as usize] / DAY);
            (days.clone().min().expect("rows"), days.max().expect("rows"))
        };
        assert_eq!(days(&split.train), (0, 70));
        assert_eq!(days(&split.test), (80, 99));
        assert_eq!(split.folds.len(), 4);
        for fold in &split.folds {
            assert_eq!(days(&fold.train).1 + 10, days(&fold.validate).0);
        }
        assert_eq!(days(&split.folds[0].validate).0, 42);
        assert_eq!(days(&split.folds[3].validate).1, 70);
    }

    #[test]
    fn sides_without_rows_are_told() {
        let frame = daily(100, |row| Some(row % 2 == 0));
        let error = Split::new(&frame, 5 * DAY, 10 * DAY, 4, 0.4).expect_err("nothing is known by then");
        assert!(error.to_string().contains("there are no rows to train on"), "{error}");
        let error = Split::new(&frame, 500 * DAY, 10 * DAY, 4, 0.4).expect_err("nothing is that late");
        assert!(error.to_string().contains("1970-01-01 to 1970-04-10"), "{error}");
        let error = Split::new(&daily(100, |_| None), 50 * DAY, 0, 4, 0.4).expect_err("no labels");
        assert_eq!(error, SplitError::NoLabels);
        let error = Split::new(&daily(100, |_| Some(false)), 50 * DAY, 0, 4, 0.4).expect_err("one class");
        assert!(matches!(error, SplitError::OneClass { label: false, .. }));
    }
}
