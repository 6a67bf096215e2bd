//! The offline store: tables as Parquet files in a folder.
//!
//! `<data>/<table>/dt=YYYY-MM-DD/part-NNNNNN.parquet`, zstd, times in UTC
//! microseconds; `dt` is the UTC date of the table's time column. Polars, DuckDB
//! and pandas read it as it is. A file appears whole, by rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{BatchCoalescer, take_arrays};
use arrow::datatypes::{DataType, Schema, TimestampMicrosecondType};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::claim::{Claim, ClaimError};
use crate::disk::{Disk, DiskFile, RealDisk, make_folders, remove_all};

/// Writes the tables of one data folder. Rows are on disk after [`Store::flush`].
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// What the names of its files begin with.
    prefix: String,
    claim: Option<Arc<Claim>>,
    /// Those that this store has made sure of.
    folders: BTreeSet<PathBuf>,
    open: BTreeMap<(String, i64), Part>,
    /// How often a file has been asked for.
    uses: u64,
    /// The next file's number; files of one run are numbered in order.
    next: u64,
    rows: BTreeMap<String, u64>,
}

/// Files that are to be completed.
#[derive(Debug)]
pub struct Sealed(Vec<Part>);

impl Sealed {
    /// Completes them, so that readers see their rows.
    ///
    /// # Errors
    /// Disk full, or no permission.
    pub fn complete(self) -> Result<(), StoreError> {
        let Some(disk) = self.0.first().map(|part| part.disk.clone()) else { return Ok(()) };
        let folders = self.0.into_iter().map(Part::rename).collect::<Result<BTreeSet<_>, _>>()?;
        // Once for all files of a folder.
        folders.iter().try_for_each(|folder| disk.sync_folder(folder).map_err(io_error("complete", folder)))
    }
}

/// Files being written at the same time; with more, the one that has waited longest is closed. The tables of a run are
/// of the day and the one before, and what matures late (resolutions, inquiries) of a week.
const OPEN_MAX: usize = 192;
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Encoded rows of a file that may wait for their row group to be complete: memory for
/// each open file, however long it stays open.
const ROW_GROUP_BYTES: usize = 2 * 1024 * 1024;
/// Rows are handed to Parquet when so many are there: a call for each window's few
/// would cost more than its rows.
const WRITE_ROWS: usize = 8 * 1024;
const DAY_US: i64 = 86_400_000_000;

struct Part {
    disk: Arc<dyn Disk>,
    claim: Option<Arc<Claim>>,
    writer: ArrowWriter<Box<dyn DiskFile>>,
    /// Makes one batch of many small ones, as they come from every tick.
    waiting: BatchCoalescer,
    partial: PathBuf,
    whole: PathBuf,
    /// When it was asked for last, counted in uses.
    used: u64,
}

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Writing Parquet.
    #[error("cannot write {}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ParquetError,
    },
    /// Another process has taken over.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The rows do not have the column that dates them.
    #[error("table {table} has no time column {column}")]
    NoTime {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

impl Store {
    /// A store in `root`, which is made if it is missing. Stores of several processes in one
    /// folder have different `tags`; the one store of a folder has none.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, tag: Option<&str>) -> Result<Self, StoreError> {
        make_folders(&*disk, root, root).map_err(io_error("make the data folder", root))?;
        let prefix = tag.map_or("part-".to_owned(), |tag| format!("part-{tag}-"));
        Ok(Self {
            disk,
            root: root.to_owned(),
            prefix,
            claim: None,
            folders: BTreeSet::new(),
            open: BTreeMap::new(),
            uses: 0,
            next: 0,
            rows: BTreeMap::new(),
        })
    }

    /// Completes files only as long as the run is this process's.
    #[must_use]
    pub fn guarded_by(mut self, claim: Arc<Claim>) -> Self {
        self.claim = Some(claim);
        self
    }

    /// Removes tables (folders below the root) that a run is about to write anew; if the
    /// store has a tag, only its own files.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn clear(&mut self, folders: &[&str]) -> Result<(), StoreError> {
        if self.prefix != "part-" {
            return self.resume(folders, 0, BTreeMap::new());
        }
        for folder in folders {
            let path = self.root.join(folder);
            remove_all(&*self.disk, &path).map_err(io_error("remove the earlier table", &path))?;
        }
        Ok(())
    }

    /// Goes on after file `next - 1`: later ones are of rows that are going to come
    /// again, and are removed. `rows` is how many were written before, by table.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn resume(
        &mut self,
        folders: &[&str],
        next: u64,
        rows: BTreeMap<String, u64>,
    ) -> Result<(), StoreError> {
        let (mut hidden, mut touched) = (BTreeSet::new(), BTreeSet::new()); // a power failure can leave a file under both names
        for folder in folders {
            walk(&*self.disk, &self.root.join(folder), &mut |path, name| {
                let number = name.trim_start_matches('.').strip_prefix(&self.prefix);
                let number = number.and_then(|rest| rest.split('.').next()).map(str::parse::<u64>);
                let partial = name.ends_with(".partial");
                if !matches!(number, Some(Ok(number)) if number >= next || partial) {
                    return Ok(());
                }
                touched.extend(path.parent().map(Path::to_owned));
                if partial {
                    hidden.insert(path);
                } else {
                    let name = path.with_file_name(format!(".{name}.partial"));
                    self.disk.rename(&path, &name).map_err(io_error("hide", &path))?;
                    hidden.insert(name);
                }
                Ok(())
            })?;
        }
        // Their numbers are going to be given to others: they must not come back. As long as it is not certain that
        // they do not, there is something hidden, by which the next one sees it if this process does not come further.
        for folder in touched {
            self.disk.sync_folder(&folder).map_err(io_error("force to disk", &folder))?;
        }
        for path in hidden {
            self.disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        (self.next, self.rows) = (next, rows);
        Ok(())
    }

    /// The number of the next file.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Appends rows to `table` (a folder below the root, such as `facts/contacts`),
    /// dated by the time column `dated_by`; rows without it are dated 1970-01-01.
    ///
    /// # Errors
    /// Disk full, no permission, or no such column.
    pub fn append(&mut self, table: &str, dated_by: &str, rows: &RecordBatch) -> Result<(), StoreError> {
        let no_time = || StoreError::NoTime { table: table.to_owned(), column: dated_by.to_owned() };
        let times = rows.column_by_name(dated_by).ok_or_else(no_time)?;
        let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(no_time)?;
        *self.rows.entry(table.to_owned()).or_default() += rows.num_rows() as u64;
        let mut by_day: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let day = if times.is_valid(row) { times.value(row).div_euclid(DAY_US) } else { 0 };
            by_day.entry(day).or_default().push(row as u32);
        }
        for (day, places) in by_day {
            let all = places.len() == rows.num_rows();
            let part = self.part(table, day, rows)?;
            let rows = if all {
                rows.clone()
            } else {
                take_arrays(rows.columns(), &UInt32Array::from(places), None)
                    .and_then(|columns| RecordBatch::try_new(rows.schema(), columns))
                    .map_err(|error| part.failure(error))?
            };
            part.waiting.push_batch(rows).map_err(|error| part.failure(error))?;
            part.write()?;
        }
        Ok(())
    }

    fn part(&mut self, table: &str, day: i64, rows: &RecordBatch) -> Result<&mut Part, StoreError> {
        let key = (table.to_owned(), day);
        if !self.open.contains_key(&key) {
            if self.open.len() >= OPEN_MAX {
                let oldest = self.open.iter().min_by_key(|(_, part)| part.used).map(|(key, _)| key.clone());
                if let Some(part) = oldest.and_then(|key| self.open.remove(&key)) {
                    part.close()?;
                }
            }
            let folder = self.root.join(table).join(format!("dt={}", date(day)));
            if self.folders.insert(folder.clone()) {
                make_folders(&*self.disk, &self.root, &folder).map_err(io_error("make", &folder))?;
            }
            let name = format!("{}{:06}.parquet", self.prefix, self.next);
            self.next += 1;
            // Where locks do not reach, another process may be writing a file of that name.
            let epoch = self.claim.as_ref().map_or(0, |claim| claim.epoch());
            let partial = folder.join(format!(".{name}.{epoch}.partial"));
            let file = self.disk.create(&partial).map_err(io_error("create", &partial))?;
            let writer = ArrowWriter::try_new(file, rows.schema(), Some(properties(&rows.schema())))
                .map_err(|source| StoreError::Parquet { path: partial.clone(), source })?;
            let whole = folder.join(name);
            let disk = self.disk.clone();
            let claim = self.claim.clone();
            let waiting = BatchCoalescer::new(rows.schema(), WRITE_ROWS);
            let part = Part { disk, claim, writer, waiting, partial, whole, used: 0 };
            self.open.insert(key.clone(), part);
        }
        self.uses += 1;
        let part = self.open.get_mut(&key).unwrap_or_else(|| unreachable!("just inserted"));
        part.used = self.uses;
        Ok(part)
    }

    /// Completes all files being written, so that readers see all rows so far.
    ///
    /// # Errors
    /// Disk full, or no permission.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.seal().complete()
    }

    /// The files being written, which somebody else completes; later rows are in others.
    pub fn seal(&mut self) -> Sealed {
        Sealed(std::mem::take(&mut self.open).into_values().collect())
    }

    /// Rows written so far, by table.
    pub fn rows(&self) -> &BTreeMap<String, u64> {
        &self.rows
    }
}

/// Texts repeat, so they get a dictionary; numbers and times lie close together, so
/// their differences are kept.
fn properties(schema: &Schema) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for field in schema.fields() {
        if matches!(field.data_type(), DataType::Int64 | DataType::Timestamp(..)) {
            let column = ColumnPath::from(field.name().as_str());
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    properties.build()
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("partial", &self.partial).finish_non_exhaustive()
    }
}

impl Part {
    fn failure(&self, source: impl Into<ParquetError>) -> StoreError {
        StoreError::Parquet { path: self.partial.clone(), source: source.into() }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        while let Some(rows) = self.waiting.next_completed_batch() {
            self.writer.write(&rows).map_err(|error| self.failure(error))?;
        }
        Ok(())
    }

    fn close(self) -> Result<(), StoreError> {
        let disk = self.disk.clone();
        let folder = self.rename()?;
        disk.sync_folder(&folder).map_err(io_error("complete", &folder))
    }

    /// Gives the file its name; it has it for good when the folder, which is given out, is forced to disk.
    fn rename(mut self) -> Result<PathBuf, StoreError> {
        self.waiting.finish_buffered_batch().map_err(|error| self.failure(error))?;
        self.write()?;
        let Part { disk, claim, writer, partial, whole, .. } = self;
        let mut file =
            writer.into_inner().map_err(|source| StoreError::Parquet { path: partial.clone(), source })?;
        // On disk under its name, before a checkpoint says that it is.
        file.sync().map_err(io_error("force to disk", &partial))?;
        claim.map_or(Ok(()), |claim| claim.check())?;
        disk.rename(&partial, &whole).map_err(io_error("complete", &whole))?;
        Ok(whole.parent().unwrap_or(&whole).to_owned())
    }
}

/// `YYYY-MM-DD` of a day since the Unix epoch.
fn date(day: i64) -> String {
    headsup_events::format_rfc3339_ms(day.saturating_mul(86_400_000)).chars().take(10).collect()
}

/// The files of a table, complete ones only, in the order of their names.
///
/// # Errors
/// A folder that cannot be read; a missing one has no files.
pub fn table_files(root: &Path, table: &str) -> Result<Vec<PathBuf>, StoreError> {
    table_files_on(&RealDisk, root, table)
}

/// The same on any disk.
///
/// # Errors
/// A folder that cannot be read; a missing one has no files.
pub fn table_files_on(disk: &dyn Disk, root: &Path, table: &str) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    walk(disk, &root.join(table), &mut |path, name| {
        if !name.starts_with('.') && name.ends_with(".parquet") {
            files.push(path);
        }
        Ok(())
    })?;
    files.sort();
    Ok(files)
}

/// Calls `visit` with the path and name of every file below a folder, if there is one.
fn walk(
    disk: &dyn Disk,
    folder: &Path,
    visit: &mut impl FnMut(PathBuf, &str) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let entries = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(io_error("read", folder))?,
    };
    for (path, is_folder) in entries {
        if is_folder {
            walk(disk, &path, visit)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) {
            visit(path, &name)?;
        }
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

/// The rows of a table in batches, file by file.
///
/// # Errors
/// A file that cannot be read.
pub fn read_table(
    root: &Path,
    table: &str,
) -> Result<impl Iterator<Item = Result<RecordBatch, StoreError>> + use<>, StoreError> {
    Ok(read_files(table_files(root, table)?))
}

/// The rows of files in batches, file by file.
pub fn read_files(files: Vec<PathBuf>) -> impl Iterator<Item = Result<RecordBatch, StoreError>> {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    files.into_iter().flat_map(|path| {
        let path = Arc::new(path);
        let of_parquet = {
            let path = path.clone();
            move |source| StoreError::Parquet { path: path.as_ref().clone(), source }
        };
        let opened = File::open(path.as_ref())
            .map_err(|source| StoreError::Io { action: "open", path: path.as_ref().clone(), source })
            .and_then(|file| {
                ParquetRecordBatchReaderBuilder::try_new(file)
                    .and_then(|builder| builder.with_batch_size(65_536).build())
                    .map_err(&of_parquet)
            });
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, StoreError>>> = match opened {
            Ok(reader) => Box::new(reader.map(move |batch| batch.map_err(|error| of_parquet(error.into())))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        batches
    })
}
