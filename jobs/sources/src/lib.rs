//! Where events come from when no live system sends them: importers of real
//! data sets, and the simulator.
//!
//! An importer reads raw files and yields [`SourceEvent`]s in event-time order,
//! each one CloudEvent as a line of JSON, and a [`Summary`] that accounts for
//! every row: `rows_read = rows_mapped + rows set aside`. It never writes to a
//! log, never reads a clock, and never stops at a bad row (the row is set aside
//! under a reason); it stops only where a file cannot be read or is not the
//! data set it should be ([`ImportError`]).
//!
//! The same rows give the same events, to the byte: ids come from what a row
//! says, never from the name of its file or its place in it, so that what is
//! imported twice is dropped by the pipeline as duplicate.
//!
//! Start reading at [`bank_calls`]; each importer's module documentation says
//! how every column maps and what is dubious in its data.

pub mod bank_calls;
pub mod call_centre;
mod input;
pub mod online_retail;
pub mod simulate;
mod timeline;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One event, ready for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEvent {
    /// The log's topic: `conversations` or `orders`.
    pub topic: &'static str,
    /// The partitioning key: the customer's id.
    pub key: String,
    /// Event time in milliseconds since the Unix epoch, UTC.
    pub time_ms: i64,
    /// The CloudEvent as JSON: one line, without a line end.
    pub json: String,
}

/// What an import read, mapped, and set aside, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows (calls, invoice lines) in all files, headers not counted.
    pub rows_read: u64,
    /// Rows that became part of at least one event.
    pub rows_mapped: u64,
    /// Events by type.
    pub events: BTreeMap<String, u64>,
    /// Rows that became part of no event, by reason.
    pub set_aside: BTreeMap<String, u64>,
    /// Rows that were mapped though something in them is dubious, by what it
    /// is. A row may be counted under several.
    pub noted: BTreeMap<String, u64>,
    /// A few set-aside rows for a human to look at: at most
    /// [`Summary::EXAMPLES`] a reason.
    pub examples: Vec<Example>,
}

/// A row that was set aside, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Its line (from 1, the header included), or the row in a columnar file
    /// (from 1).
    pub line: u64,
    /// The reason, as in [`Summary::set_aside`].
    pub reason: String,
    /// What was found: column and value.
    pub found: String,
}

impl Summary {
    /// Examples kept for each reason.
    pub const EXAMPLES: usize = 3;

    /// The number of events of all types.
    pub fn events_total(&self) -> u64 {
        self.events.values().sum()
    }

    /// The number of rows set aside for any reason.
    pub fn set_aside_total(&self) -> u64 {
        self.set_aside.values().sum()
    }

    /// Counts a row that is set aside, and keeps it as an example if there are
    /// few yet.
    pub(crate) fn set_aside(&mut self, file: &Path, line: u64, reason: &str, found: String) {
        let n = self.set_aside.entry(reason.to_owned()).or_default();
        *n += 1;
        if *n <= Summary::EXAMPLES as u64 {
            self.examples.push(Example { file: file.to_owned(), line, reason: reason.to_owned(), found });
        }
    }

    /// Counts a mapped row in which something is dubious.
    pub(crate) fn note(&mut self, what: &str) {
        *self.noted.entry(what.to_owned()).or_default() += 1;
    }

    /// Counts an event.
    pub(crate) fn event(&mut self, kind: &str) {
        *self.events.entry(kind.to_owned()).or_default() += 1;
    }

    /// Asserts that every row read was either mapped or set aside.
    pub fn check(&self) {
        assert_eq!(
            self.rows_read,
            self.rows_mapped + self.set_aside_total(),
            "every row is mapped or set aside under a reason"
        );
    }
}

impl fmt::Display for Summary {
    /// Aligned, one figure a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections = [
            ("events", self.events_total(), &self.events),
            ("rows set aside", self.set_aside_total(), &self.set_aside),
        ];
        let width = sections
            .iter()
            .flat_map(|(_, _, rows)| rows.keys())
            .chain(self.noted.keys())
            .map(|name| name.chars().count() + 2)
            .chain(["rows set aside".len()])
            .max()
            .unwrap_or(0);
        let mut line = |indent: &str, name: &str, n: u64| {
            let pad = width - indent.len();
            writeln!(f, "{indent}{name:<pad$}  {:>13}", thousands(n))
        };
        line("", "rows read", self.rows_read)?;
        line("", "rows mapped", self.rows_mapped)?;
        for (name, total, rows) in sections.iter().rev() {
            line("", name, *total)?;
            for (name, n) in *rows {
                line("  ", name, *n)?;
            }
        }
        if !self.noted.is_empty() {
            writeln!(f, "mapped, but dubious (rows)")?;
            for (name, n) in &self.noted {
                let pad = width - 2;
                writeln!(f, "  {name:<pad$}  {:>13}", thousands(*n))?;
            }
        }
        if !self.examples.is_empty() {
            writeln!(f, "for example")?;
            for example in &self.examples {
                writeln!(
                    f,
                    "  {}:{}: {}: {}",
                    example.file.display(),
                    example.line,
                    example.reason,
                    example.found
                )?;
            }
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The events of an import in event-time order; those of the same millisecond
/// in the order of a conversation's (an order's) life.
pub type Events = Box<dyn ExactSizeIterator<Item = SourceEvent> + Send>;

/// What an importer answers: the events, and the account of every row.
pub type Imported = (Events, Summary);

/// Called now and then with (bytes or rows done, total of the same), so that
/// the edge can show progress. `total` never changes during a read.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Why an import stopped. Bad rows do not stop it; unreadable files do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is readable but is not the data set this importer reads.
    #[error("cannot import {} as {data_set}: {place}: {found}; {advice}", path.display())]
    NotThisDataSet {
        /// The file.
        path: PathBuf,
        /// The data set's name on the command line: `bank-calls`.
        data_set: &'static str,
        /// Where in it: `line 1`, `schema`.
        place: &'static str,
        /// What was found, and what was expected.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The compressed or columnar content is damaged.
    #[error("cannot read {}: {what}; get the file again, it is damaged or cut short", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        what: String,
    },
    /// The Parquet content cannot be read.
    #[error(
        "cannot read {}: {source}; it is damaged, or compressed otherwise than with zstd: write it anew",
        path.display()
    )]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the Parquet reader said.
        source: parquet::errors::ParquetError,
    },
}

impl ImportError {
    /// An [`ImportError::Io`] for this path.
    pub fn io(path: &Path, source: std::io::Error) -> ImportError {
        ImportError::Io { path: path.to_owned(), source }
    }
}
