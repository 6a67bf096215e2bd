//! Rows of KPIs and facts, known to have the columns that they are given out with.
//!
//! What the operators give out has them. What is read from files may be damaged, or be a file
//! of somebody else that lies in the folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, partition, take};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use headsup_connectors::StoreError;
use headsup_connectors::store::{read_files, table_files};
use headsup_events::format_rfc3339_ms;
use headsup_kpi::Kpi;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::board::number;
use crate::run::RunError;

/// Rows of a KPI: window and grouping, then keys, then values, then revision, whether they are
/// final, and when they were shown.
#[derive(Debug, Clone)]
pub struct KpiRows(RecordBatch);

/// Columns before the keys.
const BEFORE: usize = 3;
/// Columns after the values.
const AFTER: usize = 3;

impl KpiRows {
    /// These rows, if they are of the KPI.
    ///
    /// # Errors
    /// Which column is not as it should be.
    pub fn of(kpi: &Kpi, rows: RecordBatch) -> Result<Self, String> {
        // What the KPI gives out has its own schema.
        if !Arc::ptr_eq(&kpi.rows, rows.schema_ref()) {
            same_columns(&kpi.rows, rows.schema_ref())?;
        }
        Ok(Self(rows))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All columns.
    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }

    pub(crate) fn start_ms(&self, row: usize) -> i64 {
        self.ms(0, row)
    }

    pub(crate) fn end_ms(&self, row: usize) -> i64 {
        self.ms(1, row)
    }

    /// Names of the keys that a row is grouped by, with commas.
    pub(crate) fn grouped_by(&self, row: usize) -> &str {
        self.0.column(2).as_string::<i32>().value(row)
    }

    /// The columns of keys and values.
    pub(crate) fn cells(&self) -> &[ArrayRef] {
        &self.0.columns()[BEFORE..self.0.num_columns() - AFTER]
    }

    /// Keys and values with their names.
    pub(crate) fn named_cells(&self) -> impl Iterator<Item = (&str, &ArrayRef)> {
        let names = self.0.schema_ref().fields().iter().skip(BEFORE).map(|field| field.name().as_str());
        names.zip(self.cells())
    }

    pub(crate) fn revision(&self, row: usize) -> i64 {
        self.0.column(self.0.num_columns() - 3).as_primitive::<Int64Type>().value(row)
    }

    pub(crate) fn is_final(&self, row: usize) -> bool {
        self.0.column(self.0.num_columns() - 2).as_boolean().value(row)
    }

    pub(crate) fn at_ms(&self, row: usize) -> i64 {
        self.ms(self.0.num_columns() - 1, row)
    }

    fn ms(&self, column: usize, row: usize) -> i64 {
        self.0.column(column).as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1_000)
    }

    /// As they are given out: of one window and one grouping.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let ranges = partition(&self.0.columns()[..BEFORE]).map(|parts| parts.ranges()).unwrap_or_default();
        ranges.into_iter().map(|range| Self(self.0.slice(range.start, range.len()))).collect()
    }
}

/// The last rows of a KPI that are stored in `root`: those of so many files.
pub(crate) fn newest(kpi: &Kpi, root: &Path, files: usize) -> Result<Vec<KpiRows>, RunError> {
    let mut paths = table_files(root, &folder(kpi))?;
    let older = paths.len().saturating_sub(files);
    let mut all = Vec::new();
    for path in paths.split_off(older) {
        for batch in read_files(vec![path.clone()]) {
            let rows = KpiRows::of(kpi, batch.map_err(unread)?);
            all.extend(rows.map_err(|problem| foreign(&path, problem))?.parts());
        }
    }
    Ok(all)
}

/// The stored windows of a series of a KPI that end in one of these ranges in ms (behind the first, up to the second):
/// their values, of the highest revision, by when they end. Of `keys` there is one per key of the KPI, empty where it is
/// not grouped by.
///
/// # Errors
/// A file that cannot be read, or is of something else.
pub fn windows(
    kpi: &Kpi,
    root: &Path,
    grouped_by: &str,
    keys: &[&str],
    ranges: &[(i64, i64)],
) -> Result<BTreeMap<i64, Vec<Option<f64>>>, RunError> {
    let date = |ms: i64| format!("dt={}", &format_rfc3339_ms(ms)[..10]);
    let size_ms = kpi.windowing.size_ms();
    let days: Vec<(String, String)> =
        ranges.iter().map(|(from_ms, to_ms)| (date(from_ms.saturating_sub(size_ms)), date(*to_ms))).collect();
    let mut found: BTreeMap<i64, (i64, Vec<Option<f64>>)> = BTreeMap::new();
    for path in table_files(root, &folder(kpi))? {
        let day = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        if !days.iter().any(|(from, to)| from.as_str() <= day && day <= to.as_str()) {
            continue;
        }
        for batch in read_files(vec![path.clone()]) {
            let rows = KpiRows::of(kpi, batch.map_err(unread)?).map_err(|problem| foreign(&path, problem))?;
            let wanted =
                |end_ms: i64| ranges.iter().any(|(from_ms, to_ms)| *from_ms < end_ms && end_ms <= *to_ms);
            let texts: Vec<ArrayRef> = rows.cells()[..keys.len().min(rows.cells().len())]
                .iter()
                .map(|column| cast(column, &DataType::Utf8))
                .collect::<Result<_, _>>()
                .map_err(|error| foreign(&path, error.to_string()))?;
            let is_of = |row: usize| {
                rows.grouped_by(row) == grouped_by
                    && texts.iter().zip(keys).all(|(column, key)| {
                        let column = column.as_string::<i32>();
                        *key == if column.is_valid(row) { column.value(row) } else { "" }
                    })
            };
            let of: Vec<usize> =
                (0..rows.len()).filter(|&row| wanted(rows.end_ms(row)) && is_of(row)).collect();
            let indices: UInt32Array = of.iter().map(|&row| row as u32).collect();
            let values = rows.cells()[texts.len()..].iter();
            let values: Vec<_> = values
                .map(|column| take(column, &indices, None).ok().and_then(|column| number(&column)))
                .collect();
            for (place, row) in of.into_iter().enumerate() {
                let revision = rows.revision(row);
                let known = found.get(&rows.end_ms(row)).map(|(revision, _)| *revision);
                if known.is_none_or(|known| known <= revision) {
                    let values = values.iter().map(|column| column.as_ref().and_then(|column| column[place]));
                    found.insert(rows.end_ms(row), (revision, values.collect()));
                }
            }
        }
    }
    Ok(found.into_iter().map(|(end_ms, (_, values))| (end_ms, values)).collect())
}

/// Where a KPI's rows are stored, below the data folder.
pub(crate) fn folder(kpi: &Kpi) -> String {
    format!("kpi_history/{}", kpi.name)
}

/// The rows of files, which are to have these columns.
pub(crate) fn read_as(
    schema: SchemaRef,
    files: Vec<PathBuf>,
) -> impl Iterator<Item = Result<RecordBatch, RunError>> {
    files.into_iter().flat_map(move |path| {
        let schema = schema.clone();
        read_files(vec![path.clone()]).map(move |batch| {
            let batch = batch.map_err(unread)?;
            same_columns(&schema, batch.schema_ref()).map_err(|problem| foreign(&path, problem))?;
            Ok(batch)
        })
    })
}

/// Whether files have these columns, by what they say of themselves at their end.
pub(crate) fn check_files(schema: &Schema, files: &[PathBuf]) -> Result<(), RunError> {
    for path in files {
        let file = File::open(path);
        let file = file.map_err(|source| StoreError::Io { action: "open", path: path.clone(), source })?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|source| foreign(path, source.to_string()))?;
        same_columns(schema, reader.schema()).map_err(|problem| foreign(path, problem))?;
    }
    Ok(())
}

/// What is said of a file that is no Parquet is how it was to be written.
fn unread(error: StoreError) -> RunError {
    match error {
        StoreError::Parquet { path, source } => foreign(&path, source.to_string()),
        other => other.into(),
    }
}

fn foreign(path: &Path, problem: String) -> RunError {
    RunError::Foreign { path: path.to_owned(), problem }
}

/// Names and types of columns have to be those that are expected; whether NULL may be in them
/// makes no difference to who reads them.
fn same_columns(expected: &Schema, found: &Schema) -> Result<(), String> {
    let (expected, found) = (expected.fields(), found.fields());
    for (place, (expected, found)) in expected.iter().zip(found).enumerate() {
        if expected.name() != found.name() || expected.data_type() != found.data_type() {
            return Err(format!(
                "column {} is {} ({}) instead of {} ({})",
                place + 1,
                found.name(),
                found.data_type(),
                expected.name(),
                expected.data_type()
            ));
        }
    }
    if expected.len() != found.len() {
        return Err(format!("it has {} columns instead of {}", found.len(), expected.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    const SQL: &str = "-- title: Handled\n-- unit: contacts\n-- corrections: 10 minutes\n\
        SELECT tumble(ended_at, INTERVAL '1 minute') AS period, skill, count(*) AS contacts \
        FROM contacts GROUP BY period, skill";

    #[test]
    fn windows_of_a_series_have_their_highest_revision() {
        let kpi = Kpi::parse("handled.sql", "handled", SQL).expect("a KPI");
        let data = tempfile::tempdir().expect("a folder");
        const DAY: i64 = 1_440;
        /// Minute of the window's end, skill, contacts, revision.
        type Row = (i64, Option<&'static str>, i64, i64);
        let write = |day: &str, part: &str, rows: &[Row]| {
            let minutes = |ahead: i64| -> ArrayRef {
                let us = rows.iter().map(|(end, ..)| (end + ahead) * 60_000_000);
                Arc::new(TimestampMicrosecondArray::from_iter_values(us).with_timezone("UTC"))
            };
            let integers =
                |of: fn(&Row) -> i64| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Int64Array>()) };
            let columns: Vec<ArrayRef> = vec![
                minutes(-1),
                minutes(0),
                Arc::new(StringArray::from(vec!["skill"; rows.len()])),
                Arc::new(rows.iter().map(|(_, skill, ..)| *skill).collect::<StringArray>()),
                integers(|row| row.2),
                integers(|row| row.3),
                Arc::new(BooleanArray::from(vec![true; rows.len()])),
                minutes(0),
            ];
            let columns = kpi.rows.fields().iter().zip(&columns);
            let columns = columns.map(|(field, column)| cast(column, field.data_type()).expect("castable"));
            let batch = RecordBatch::try_new(kpi.rows.clone(), columns.collect()).expect("rows of the KPI");
            let folder = data.path().join(folder(&kpi)).join(day);
            std::fs::create_dir_all(&folder).expect("made");
            let file = File::create(folder.join(part)).expect("created");
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
            writer.write(&batch).expect("written");
            writer.close().expect("closed");
        };
        // A window is in the folder of the day in which it starts.
        write("dt=1970-01-01", "part-000001.parquet", &[(5, Some("a"), 50, 2), (6, Some("a"), 60, 1)]);
        write(
            "dt=1970-01-01",
            "part-000002.parquet",
            &[(5, Some("a"), 1, 1), (5, Some("b"), 2, 9), (5, None, 3, 1), (DAY, Some("a"), 4, 1)],
        );
        write("dt=1970-01-02", "part-000003.parquet", &[(DAY + 1, Some("a"), 5, 1)]);
        let of = |skill: &str, ranges: &[(i64, i64)]| -> Vec<(i64, Option<f64>)> {
            let ranges: Vec<_> = ranges.iter().map(|(from, to)| (from * 60_000, to * 60_000)).collect();
            let found = windows(&kpi, data.path(), "skill", &[skill], &ranges).expect("read");
            found.into_iter().map(|(end_ms, values)| (end_ms / 60_000, values[0])).collect()
        };
        assert_eq!(of("a", &[(0, 5)]), [(5, Some(50.0))]);
        assert_eq!(of("", &[(0, 9)]), [(5, Some(3.0))]);
        assert_eq!(
            of("a", &[(5, 6), (DAY - 1, DAY + 1)]),
            [(6, Some(60.0)), (DAY, Some(4.0)), (DAY + 1, Some(5.0))]
        );
        assert!(windows(&kpi, data.path(), "", &[""], &[(0, i64::from(u32::MAX))]).expect("read").is_empty());
    }

    #[test]
    fn files_of_something_else_are_told() {
        let kpi = Kpi::parse("handled.sql", "handled", SQL).expect("a KPI");
        let data = tempfile::tempdir().expect("a folder");
        let day = data.path().join("kpi_history/handled/dt=2026-03-02");
        std::fs::create_dir_all(&day).expect("made");
        let write = |name: &str, rows: &RecordBatch| {
            let file = File::create(day.join(name)).expect("created");
            let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("a writer");
            writer.write(rows).expect("written");
            writer.close().expect("closed");
        };
        let files = || table_files(data.path(), &folder(&kpi)).expect("listed");
        let message = || {
            let of_rows = newest(&kpi, data.path(), 8).map(|rows| rows.len()).expect_err("told").to_string();
            let of_facts = read_as(kpi.rows.clone(), files()).find_map(Result::err).expect("told");
            assert_eq!(of_facts.to_string(), of_rows);
            assert_eq!(check_files(&kpi.rows, &files()).expect_err("told").to_string(), of_rows);
            of_rows
        };

        let whole = RecordBatch::new_empty(kpi.rows.clone());
        write("part-000000.parquet", &whole);
        assert!(newest(&kpi, data.path(), 8).expect("read").is_empty());

        let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        write("part-000001.parquet", &RecordBatch::try_from_iter([("n", number.clone())]).expect("a column"));
        let told = message();
        assert!(told.starts_with(&format!("cannot read {}", day.join("part-000001.parquet").display())));
        assert!(told.contains("column 1 is n (Int64) instead of window_start (Timestamp("), "{told}");
        assert!(told.contains("move it out of the data folder if it does not belong there"), "{told}");

        // Of the right names, and another type.
        let mut fields = kpi.rows.fields().to_vec();
        fields[4] = Arc::new(fields[4].as_ref().clone().with_data_type(DataType::Utf8));
        write("part-000001.parquet", &RecordBatch::new_empty(Arc::new(Schema::new(fields))));
        assert_eq!(
            check_files(&kpi.rows, &files())
                .expect_err("told")
                .to_string()
                .matches("contacts (Utf8)")
                .count(),
            1
        );

        // One column more, and one less.
        let mut fields = kpi.rows.fields().to_vec();
        fields.push(Arc::new(arrow::datatypes::Field::new("n", number.data_type().clone(), true)));
        for (count, fields) in [(9, fields.clone()), (6, fields[..6].to_vec())] {
            let rows = RecordBatch::new_empty(Arc::new(Schema::new(fields)));
            let told = KpiRows::of(&kpi, rows).expect_err("told");
            assert_eq!(told, format!("it has {count} columns instead of 8"));
        }

        // No Parquet at all, and one that is cut off.
        let bytes = std::fs::read(day.join("part-000000.parquet")).expect("read");
        for bytes in [b"nothing of the kind".as_slice(), &bytes[..bytes.len() - 5], b""] {
            std::fs::write(day.join("part-000001.parquet"), bytes).expect("written");
            let told = message();
            assert!(told.contains("part-000001.parquet: ") && told.contains("--from-start"), "{told}");
        }
    }
}
