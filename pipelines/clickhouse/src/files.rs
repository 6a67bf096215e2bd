//! The files of the offline store, in the order of their numbers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Tables that have a folder of their own.
const SINGLE: [&str; 4] = ["quarantine", "alerts", "scores", "tasks"];
/// Folders with a folder for each table.
const GROUPS: [&str; 2] = ["facts", "kpi_history"];

/// The last day of a `Date`.
const DAY_MAX: i64 = u16::MAX as i64;

/// A complete file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFile {
    /// Its number; no two files of a store have the same.
    pub number: u64,
    /// The folder below the data folder, such as `facts/contacts`.
    pub table: String,
    /// The date of its rows, in days since the Unix epoch; of dates that ClickHouse's `Date`
    /// does not have, the nearest that it has.
    pub day: i64,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl StoreFile {
    /// The calendar month, counted from the year 0.
    pub(crate) fn month(&self) -> i64 {
        let (year, month, _) = civil(self.day);
        year * 12 + month - 1
    }
}

/// Files numbered from `from` and below `until`, in order. `tag` is that of the store, where
/// several stores are in one folder.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(root: &Path, tag: Option<&str>, from: u64, until: u64) -> Result<Vec<StoreFile>, Error> {
    let mut tables: Vec<String> = SINGLE.map(str::to_owned).to_vec();
    for group in GROUPS {
        tables.extend(names(&root.join(group))?.into_iter().map(|name| format!("{group}/{name}")));
    }
    let prefix = tag.map_or("part-".to_owned(), |tag| format!("part-{tag}-"));
    let mut files = Vec::new();
    for table in tables {
        let folder = root.join(&table);
        for dated in names(&folder)? {
            let Some(date) = dated.strip_prefix("dt=") else {
                continue;
            };
            let day = days(date).unwrap_or(0).clamp(0, DAY_MAX);
            let dated = folder.join(dated);
            for name in names(&dated)? {
                let number = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".parquet"));
                let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else {
                    continue;
                };
                if (from..until).contains(&number) {
                    let path = dated.join(&name);
                    let bytes = fs::metadata(&path).map_err(io("look at", &path))?.len();
                    files.push(StoreFile { number, table: table.clone(), day, path, bytes });
                }
            }
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

/// Names in a folder; none if it is not there.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io("read", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(io("read", folder))?.file_name().into_string().ok());
    }
    Ok(names)
}

pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Days since the Unix epoch of `YYYY-MM-DD`, by the proleptic Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn days(text: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let mut parts = text.trim_start_matches('-').split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let year = if negative { -year } else { year };
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Year, month and day; the way back.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_there_and_back() {
        for (text, day) in
            [("1970-01-01", 0), ("2026-02-28", 20_512), ("2024-02-29", 19_782), ("1969-12-31", -1)]
        {
            assert_eq!(days(text), Some(day), "{text}");
        }
        for day in (-800_000..800_000).step_by(17) {
            let (year, month, date) = civil(day);
            if year >= 0 {
                assert_eq!(days(&format!("{year:04}-{month:02}-{date:02}")), Some(day));
            }
        }
        assert_eq!(days("2026-13-01"), None);
        assert_eq!(days("2026-01"), None);
    }

    #[test]
    fn complete_files_in_the_order_of_their_numbers() {
        let root = tempfile::tempdir().expect("a folder");
        let make = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            fs::write(path, "12345").expect("written");
        };
        make("facts/contacts/dt=2026-01-02/part-000003.parquet");
        make("facts/contacts/dt=2026-01-01/part-000010.parquet");
        make("kpi_history/aht/dt=2026-01-01/part-000000.parquet");
        make("kpi_history/aht/dt=2026-01-01/.part-000004.parquet.partial");
        make("quarantine/dt=2026-01-01/part-000002.parquet");
        make("facts/contacts/dt=2026-01-01/part-1-of-2-000007.parquet");
        make("log/dt=2026-01-01/part-000001.parquet");
        let numbers = |from, until| {
            let files = list(root.path(), None, from, until).expect("readable");
            files.into_iter().map(|file| (file.number, file.table)).collect::<Vec<_>>()
        };
        let contacts = || "facts/contacts".to_owned();
        assert_eq!(
            numbers(0, 11),
            [
                (0, "kpi_history/aht".to_owned()),
                (2, "quarantine".to_owned()),
                (3, contacts()),
                (10, contacts())
            ]
        );
        assert_eq!(numbers(3, 10), [(3, contacts())]);
        let tagged = list(root.path(), Some("1-of-2"), 0, 9).expect("readable");
        assert_eq!(tagged.iter().map(|file| file.number).collect::<Vec<_>>(), [7]);
        assert_eq!(list(&root.path().join("nowhere"), None, 0, 9).expect("nothing"), []);
    }
}
