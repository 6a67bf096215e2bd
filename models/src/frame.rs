//! Rows to train on, from the Parquet file that `headsup features` writes.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use polars::prelude::*;

/// Features and labels of customers at times, sorted by time and customer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    /// Names of the columns.
    pub features: Vec<String>,
    /// A column for each feature; a missing value is NaN.
    pub columns: Vec<Vec<f64>>,
    /// Names of the customers that `customer` numbers.
    pub customers: Vec<String>,
    /// Whose row it is.
    pub customer: Vec<u32>,
    /// The time of each row, in µs since the Unix epoch.
    pub as_of_us: Vec<i64>,
    /// Nothing for rows that are left out or not mature yet.
    pub label: Vec<Option<bool>>,
    /// After `as_of`, in ms.
    pub event_in_ms: Vec<Option<i64>>,
    /// What a feature is, as its view says.
    pub described: HashMap<String, String>,
    /// Other columns that are text: name, and value of each row.
    pub groups: Vec<(String, Vec<String>)>,
}

/// What is wrong with a file of rows.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The file cannot be read.
    #[error("cannot read {file}: {error}")]
    Io {
        /// Which.
        file: String,
        /// Why.
        error: String,
    },
    /// A column that must be there.
    #[error("{file} has no column {column}; it was to be written by headsup features{hint}")]
    NoColumn {
        /// Which.
        file: String,
        /// What is missing.
        column: String,
        /// What else to do.
        hint: &'static str,
    },
    /// A column of another type.
    #[error("{file}: {column} is {found}; expected {expected}")]
    Type {
        /// Which.
        file: String,
        /// Which.
        column: String,
        /// As it is.
        found: String,
        /// As it should be.
        expected: &'static str,
    },
    /// Values that must be there.
    #[error("{file}: {missing} rows have no {column}")]
    Missing {
        /// Which.
        file: String,
        /// Which.
        column: &'static str,
        /// How many.
        missing: usize,
    },
    /// The same customer at the same time.
    #[error(
        "{file}: {count} rows are of a customer and a time that came before, such as {customer} at {at}; \
         a row would count more than once and could be on both sides of a split; write each once"
    )]
    Duplicates {
        /// Which.
        file: String,
        /// How many.
        count: usize,
        /// The first.
        customer: String,
        /// Its time.
        at: String,
    },
    /// No rows.
    #[error("{file} has no rows; is the population too narrow?")]
    Empty {
        /// Which.
        file: String,
    },
    /// An infinite number.
    #[error("{file}: {column} is infinite in {count} rows; let the view give NULL there")]
    Infinite {
        /// Which.
        file: String,
        /// Which.
        column: String,
        /// How many.
        count: usize,
    },
}

impl Frame {
    /// Reads a file.
    ///
    /// # Errors
    /// It is no Parquet, a column is missing or of another type, rows come twice, or there are none.
    pub fn read(path: &Path) -> Result<Self, FrameError> {
        let file = path.display().to_string();
        let io = |error: String| FrameError::Io { file: file.clone(), error };
        let opened = File::open(path).map_err(|error| io(error.to_string()))?;
        let mut reader = ParquetReader::new(opened);
        let metadata = reader.get_metadata().map_err(|error| io(error.to_string()))?;
        let pairs = metadata.key_value_metadata().iter().flatten();
        let features =
            pairs.filter(|pair| pair.key == "headsup.features").find_map(|pair| pair.value.clone());
        let rows = reader.finish().map_err(|error| io(error.to_string()))?;
        let described: Vec<Described> =
            features.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let described = described.into_iter().map(|feature| (feature.name, feature.en)).collect();
        Ok(Self { described, ..Self::of(&file, rows)? })
    }

    fn of(file: &str, rows: DataFrame) -> Result<Self, FrameError> {
        let no_column = |column: &str, hint| FrameError::NoColumn {
            file: file.to_owned(),
            column: column.to_owned(),
            hint,
        };
        for (column, hint) in
            [("customer_id", ""), ("as_of", ""), ("label", " --label"), ("event_in_ms", " --label")]
        {
            rows.column(column).map_err(|_| no_column(column, hint))?;
        }
        if rows.height() == 0 {
            return Err(FrameError::Empty { file: file.to_owned() });
        }
        let typed = |column: &str, kind: &DataType, expected| {
            let found = rows.column(column).map_err(|_| no_column(column, ""))?;
            let wrong = || FrameError::Type {
                file: file.to_owned(),
                column: column.to_owned(),
                found: found.dtype().to_string(),
                expected,
            };
            let fits = match kind {
                DataType::Int64 if column == "as_of" => {
                    matches!(found.dtype(), DataType::Datetime(TimeUnit::Microseconds, _))
                }
                DataType::Int64 => found.dtype().is_integer(),
                kind => found.dtype() == kind,
            };
            if !fits {
                return Err(wrong());
            }
            found.cast(kind).map_err(|_| wrong())
        };
        let columns = vec![
            typed("customer_id", &DataType::String, "a text")?,
            typed("as_of", &DataType::Int64, "a time in microseconds")?,
            typed("label", &DataType::Boolean, "a truth value")?,
            typed("event_in_ms", &DataType::Int64, "a whole number")?,
        ];
        for (column, name) in columns.iter().zip(["customer_id", "as_of"]) {
            if column.null_count() > 0 {
                return Err(FrameError::Missing {
                    file: file.to_owned(),
                    column: name,
                    missing: column.null_count(),
                });
            }
        }
        let mut rows = rows;
        for column in columns {
            rows.with_column(column)
                .map_err(|error| FrameError::Io { file: file.to_owned(), error: error.to_string() })?;
        }
        // A file's order of rows has no meaning, and the same rows give the same model.
        let rows = rows
            .sort(["as_of", "customer_id"], SortMultipleOptions::default())
            .map_err(|error| FrameError::Io { file: file.to_owned(), error: error.to_string() })?;
        Self::sorted(file, &rows).map_err(|error| match error {
            Problem::Frame(error) => error,
            Problem::Polars(error) => FrameError::Io { file: file.to_owned(), error: error.to_string() },
        })
    }

    fn sorted(file: &str, rows: &DataFrame) -> Result<Self, Problem> {
        let mut frame = Self {
            as_of_us: rows.column("as_of")?.i64()?.into_no_null_iter().collect(),
            label: rows.column("label")?.bool()?.iter().collect(),
            event_in_ms: rows.column("event_in_ms")?.i64()?.iter().collect(),
            ..Self::default()
        };
        let mut known: HashMap<&str, u32> = HashMap::new();
        for name in rows.column("customer_id")?.str()?.iter().flatten() {
            let next = known.len() as u32;
            let number = *known.entry(name).or_insert_with(|| {
                frame.customers.push(name.to_owned());
                next
            });
            frame.customer.push(number);
        }
        let twice: Vec<usize> = (1..frame.customer.len())
            .filter(|row| {
                frame.as_of_us[*row] == frame.as_of_us[row - 1]
                    && frame.customer[*row] == frame.customer[row - 1]
            })
            .collect();
        if let Some(row) = twice.first() {
            return Err(Problem::Frame(FrameError::Duplicates {
                file: file.to_owned(),
                count: twice.len(),
                customer: frame.customers[frame.customer[*row] as usize].clone(),
                at: show_time(frame.as_of_us[*row]),
            }));
        }
        for column in rows.columns() {
            let name = column.name().as_str();
            if ["customer_id", "as_of", "label", "event_in_ms"].contains(&name) {
                continue;
            }
            if column.dtype() == &DataType::String {
                let values = column.str()?.iter().map(|value| value.unwrap_or("").to_owned()).collect();
                frame.groups.push((name.to_owned(), values));
                continue;
            }
            if !(column.dtype().is_primitive_numeric() || column.dtype().is_bool()) {
                return Err(Problem::Frame(FrameError::Type {
                    file: file.to_owned(),
                    column: name.to_owned(),
                    found: column.dtype().to_string(),
                    expected: "a number or a truth value for a feature, a text for a group",
                }));
            }
            let numbers = column.cast(&DataType::Float64)?;
            let values: Vec<f64> = numbers.f64()?.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
            let count = values.iter().filter(|value| value.is_infinite()).count();
            if count > 0 {
                return Err(Problem::Frame(FrameError::Infinite {
                    file: file.to_owned(),
                    column: name.to_owned(),
                    count,
                }));
            }
            frame.features.push(name.to_owned());
            frame.columns.push(values);
        }
        Ok(frame)
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.as_of_us.len()
    }

    /// The place of a feature.
    pub fn place(&self, feature: &str) -> Option<usize> {
        self.features.iter().position(|name| name == feature)
    }

    /// Rows of some features, one after another, as models take them.
    pub fn matrix(&self, rows: &[u32], features: &[usize]) -> Vec<f32> {
        let mut matrix = Vec::with_capacity(rows.len() * features.len());
        for row in rows {
            matrix.extend(features.iter().map(|place| self.columns[*place][*row as usize] as f32));
        }
        matrix
    }

    /// Labels of rows that have one.
    pub fn labels(&self, rows: &[u32]) -> Vec<bool> {
        rows.iter().map(|row| self.label[*row as usize].unwrap_or(false)).collect()
    }
}

/// As `headsup features` describes it.
#[derive(serde::Deserialize)]
struct Described {
    name: String,
    en: String,
}

enum Problem {
    Frame(FrameError),
    Polars(PolarsError),
}

impl From<PolarsError> for Problem {
    fn from(error: PolarsError) -> Self {
        Self::Polars(error)
    }
}

/// A day in UTC from µs since the Unix epoch: Howard Hinnant's `civil_from_days`.
pub fn show_time(us: i64) -> String {
    let days = us.div_euclid(86_400_000_000) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
