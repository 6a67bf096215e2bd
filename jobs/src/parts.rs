//! Facts of a part of the customers at a time, for what does not fit into memory at once.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{cast, interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use headsup_connectors::store;
use headsup_features::{Definitions, History};
use headsup_operators::facts::Table;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use xxhash_rust::xxh3::xxh3_64;

use crate::{Failure, features};

/// Some of the customers, by a hash.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub which: u32,
    pub of: u32,
}

impl Part {
    pub fn has(self, customer: &str) -> bool {
        self.of == 1 || Self::place(customer, self.of) == self.which
    }

    /// The part of so many that a customer is in.
    fn place(customer: &str, of: u32) -> u32 {
        (xxh3_64(customer.as_bytes()) % u64::from(of)) as u32
    }
}

/// Bytes of facts that are in memory at once, if nothing else is asked for.
const BYTES_MAX: u64 = 3 << 30;
/// Facts of a part that wait for being written.
const GROUP_ROWS: usize = 64 * 1024;

/// How many parts keep what definitions store of the facts below [`BYTES_MAX`].
pub fn parts(data: &Path, definitions: &Definitions, label: Option<&Definitions>) -> Result<u32, Failure> {
    let mut bytes = 0;
    for table in tables(definitions.tables(), label.map(Definitions::tables)) {
        let of = definitions.bytes_of(table) + label.map_or(0, |label| label.bytes_of(table));
        for file in store::table_files(&data.join("facts"), table.name()).map_err(Failure::from_error)? {
            bytes += of * reader(&file)?.metadata().file_metadata().num_rows().unsigned_abs();
        }
    }
    Ok(u32::try_from(bytes.div_ceil(BYTES_MAX)).unwrap_or(u32::MAX).max(1))
}

fn reader(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| Failure::new(format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(|error| cannot(&error))?;
    ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|error| cannot(&error))
}

/// Those that features read, and those that a label does.
pub fn tables(features: Vec<Table>, label: Option<Vec<Table>>) -> BTreeSet<Table> {
    features.into_iter().chain(label.unwrap_or_default()).collect()
}

/// Facts by part of the customers in a folder beside the result, which is removed in the end; and the rows of each part.
pub struct Parts {
    folder: PathBuf,
    of: u32,
    /// Has taken in all facts, of no customer.
    pub all: History,
    /// When something was known first, and when last, in µs.
    pub span: (i64, i64),
}

impl Parts {
    /// Divides the stored facts that were known at a time in µs, if one is said.
    pub fn split(
        data: &Path,
        out: &Path,
        of: u32,
        definitions: &Arc<Definitions>,
        label: Option<&Definitions>,
        known_us: Option<i64>,
    ) -> Result<Self, Failure> {
        let mut folder = out.as_os_str().to_owned();
        folder.push(".parts");
        let all = History::new(definitions.clone());
        let mut parts = Self { folder: folder.into(), of, all, span: (i64::MAX, i64::MIN) };
        for table in tables(definitions.tables(), label.map(Definitions::tables)) {
            let mut writers: Vec<Option<ArrowWriter<File>>> = (0..of).map(|_| None).collect();
            let (first_us, last_us) = features::read_facts(data, [table], known_us, |_, batch| {
                if parts.all.tables().contains(&table) {
                    parts.all.append(table, batch, |_| false).map_err(Failure::from_error)?;
                }
                let mut rows = vec![Vec::new(); of as usize];
                let customers = batch.column_by_name("customer_id");
                let customers = customers.map(|customers| cast(customers, &DataType::Utf8View)).transpose();
                let customers = customers.map_err(Failure::from_error)?;
                let customers = customers.ok_or_else(|| {
                    Failure::new(format!(
                        "the facts of {} have no customers; are they headsup's?",
                        table.name()
                    ))
                })?;
                for (row, customer) in customers.as_string_view().iter().enumerate() {
                    if let Some(customer) = customer {
                        rows[Part::place(customer, of) as usize].push(row as u32);
                    }
                }
                for (part, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
                    let rows =
                        take_record_batch(batch, &UInt32Array::from(rows)).map_err(Failure::from_error)?;
                    let writer = match &mut writers[part] {
                        Some(writer) => writer,
                        none => none.insert(parts.writer(part as u32, table, &rows)?),
                    };
                    writer.write(&rows).map_err(|error| parts.cannot(&error))?;
                }
                Ok(())
            })?;
            parts.span = (parts.span.0.min(first_us), parts.span.1.max(last_us));
            for writer in writers.into_iter().flatten() {
                writer.close().map_err(|error| parts.cannot(&error))?;
            }
        }
        Ok(parts)
    }

    fn cannot(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(format!("cannot write below {}: {error}", self.folder.display()))
    }

    fn writer(&self, part: u32, table: Table, rows: &RecordBatch) -> Result<ArrowWriter<File>, Failure> {
        let folder = self.facts(part).join("facts").join(table.name());
        std::fs::create_dir_all(&folder).map_err(|error| self.cannot(&error))?;
        let file = File::create(folder.join("all.parquet")).map_err(|error| self.cannot(&error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        ArrowWriter::try_new(file, rows.schema(), Some(properties)).map_err(|error| self.cannot(&error))
    }

    /// The data folder of a part.
    pub fn facts(&self, part: u32) -> PathBuf {
        self.folder.join(part.to_string())
    }

    /// The file for a part's rows.
    pub fn rows(&self, part: u32) -> PathBuf {
        self.folder.join(format!("{part}.parquet"))
    }

    /// Gives `take` the rows of all parts in the order of their places.
    pub fn merge(&self, take: impl FnMut(RecordBatch) -> Result<(), Failure>) -> Result<(), Failure> {
        let files: Vec<PathBuf> = (0..self.of).map(|part| self.rows(part)).collect();
        merge(&files, take)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const PLACE: &str = " place";

/// Rows with their places, as they are in the file of a part.
pub fn with_place(places: Int64Array, rows: &RecordBatch) -> Result<RecordBatch, Failure> {
    let mut fields = vec![Arc::new(Field::new(PLACE, DataType::Int64, false))];
    fields.extend(rows.schema().fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(places)];
    columns.extend(rows.columns().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(Failure::from_error)
}

/// Rows of a part that are read together.
const READ: usize = 4 * 1024;
/// Rows that are given out together.
const BATCH: usize = 16 * 1024;

/// A part's file, and its next row.
struct Source {
    reader: ParquetRecordBatchReader,
    batch: RecordBatch,
    customers: StringViewArray,
    row: usize,
}

impl Source {
    /// Goes on to the next batch; `false` if there is none.
    fn read(&mut self) -> Result<bool, Failure> {
        let Some(batch) = self.reader.next() else { return Ok(false) };
        self.batch = batch.map_err(Failure::from_error)?;
        let customers = self.batch.column_by_name("customer_id");
        let customers = customers.ok_or_else(|| Failure::new("a part has lost its customers"))?;
        let customers = cast(customers, &DataType::Utf8View).map_err(Failure::from_error)?;
        self.customers = customers.as_string_view().clone();
        self.row = 0;
        Ok(true)
    }

    /// The order of its next row.
    fn head(&self) -> (i64, Box<str>) {
        let place = self.batch.column(0).as_primitive::<Int64Type>().value(self.row);
        (place, self.customers.value(self.row).into())
    }
}

/// Gives `take` the rows of files in the order of their places.
fn merge(files: &[PathBuf], mut take: impl FnMut(RecordBatch) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.exists()) {
        let reader = reader(file)?.with_batch_size(READ).build().map_err(Failure::from_error)?;
        let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let customers = StringViewArray::new_null(0);
        let mut source = Source { reader, batch, customers, row: 0 };
        if source.read()? {
            sources.push(source);
        }
    }
    let mut heap: BinaryHeap<_> =
        sources.iter().enumerate().map(|(which, source)| Reverse((source.head(), which))).collect();
    // The batches that `rows` names, and which of them is the current one of each source.
    let mut batches: Vec<RecordBatch> = sources.iter().map(|source| source.batch.clone()).collect();
    let mut current: Vec<usize> = (0..sources.len()).collect();
    let mut rows: Vec<(usize, usize)> = Vec::new();
    while let Some(Reverse((_, which))) = heap.pop() {
        let source = &mut sources[which];
        rows.push((current[which], source.row));
        source.row += 1;
        let more = source.row < source.batch.num_rows() || {
            let more = source.read()?;
            if more {
                current[which] = batches.len();
                batches.push(source.batch.clone());
            }
            more
        };
        if more {
            heap.push(Reverse((source.head(), which)));
        }
        if rows.len() == BATCH || heap.is_empty() {
            let all: Vec<&RecordBatch> = batches.iter().collect();
            let mut merged = interleave_record_batch(&all, &rows).map_err(Failure::from_error)?;
            merged.remove_column(0);
            take(merged)?;
            rows.clear();
            batches = sources.iter().map(|source| source.batch.clone()).collect();
            current = (0..sources.len()).collect();
        }
    }
    Ok(())
}
