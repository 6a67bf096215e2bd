//! Loading a batch of files: blocks of bounded size, each one INSERT.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use headsup_connectors::store::read_files;

use crate::error::Error;
use crate::files::StoreFile;
use crate::migrate::places;
use crate::rowbinary::{Column, write_text};
use crate::server::{Dialect, Server};
use crate::tables::{IDENTITY, kind_of, rows_table};

/// A block has so many rows at most: fewer than a server would cut into several.
const BLOCK_ROWS: usize = 128 * 1024;
/// A block is sent when it has so many bytes.
const BLOCK_BYTES: usize = 16 << 20;

/// Whose rows they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub share: String,
    pub generation: u64,
}

/// Loads files, for as long as the server stays the same.
#[derive(Debug)]
pub(crate) struct Loader<'a> {
    server: &'a Server,
    dialect: Dialect,
    source: Source,
    /// Which columns may be NULL, by table and schema.
    places: HashMap<(String, SchemaRef), Vec<bool>>,
}

/// What is being put together for one INSERT.
struct Block {
    table: String,
    schema: SchemaRef,
    /// File and row of the first and the last.
    first: (u64, u64),
    last: (u64, u64),
    rows: usize,
    bytes: Vec<u8>,
}

/// What has been loaded.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub rows: u64,
    pub inserts: u64,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(server: &'a Server, dialect: Dialect, source: Source) -> Self {
        Self { server, dialect, source, places: HashMap::new() }
    }

    /// Loads a batch. The same files give the same blocks with the same tokens, so a batch
    /// that was interrupted can be loaded again.
    ///
    /// # Errors
    /// A file that cannot be read, or a server that does not take it; then `loaded` says what
    /// it has taken.
    pub(crate) fn load(&mut self, files: &[StoreFile], loaded: &mut Loaded) -> Result<(), Error> {
        // A block goes into one partition of one table, so it is taken whole or not at all.
        let mut groups: BTreeMap<(&str, i64), Vec<&StoreFile>> = BTreeMap::new();
        for file in files {
            groups.entry((&file.table, file.month())).or_default().push(file);
        }
        for ((table, _), files) in groups {
            let mut open = None;
            for file in files {
                self.file(table, file, &mut open, loaded)?;
            }
            self.send(open, loaded)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        folder: &str,
        file: &StoreFile,
        open: &mut Option<Block>,
        loaded: &mut Loaded,
    ) -> Result<(), Error> {
        let mut row = 0;
        for batch in read_files(vec![file.path.clone()]) {
            let batch = batch?;
            if open.as_ref().is_some_and(|block| block.schema != batch.schema()) {
                self.send(open.take(), loaded)?;
            }
            let nullable = self.places(folder, &batch.schema())?;
            let columns = columns(folder, &batch, &nullable)?;
            for place in 0..batch.num_rows() {
                let block = open.get_or_insert_with(|| Block {
                    table: rows_table(folder),
                    schema: batch.schema(),
                    first: (file.number, row),
                    last: (file.number, row),
                    rows: 0,
                    bytes: Vec::new(),
                });
                write_text(self.source.share.as_bytes(), &mut block.bytes);
                block.bytes.extend_from_slice(&self.source.generation.to_le_bytes());
                block.bytes.extend_from_slice(&file.number.to_le_bytes());
                block.bytes.extend_from_slice(&row.to_le_bytes());
                block.bytes.extend_from_slice(&(file.day as u16).to_le_bytes());
                for column in &columns {
                    column.write(place, &mut block.bytes);
                }
                block.last = (file.number, row);
                block.rows += 1;
                row += 1;
                if block.rows >= BLOCK_ROWS || block.bytes.len() >= BLOCK_BYTES {
                    self.send(open.take(), loaded)?;
                }
            }
        }
        Ok(())
    }

    fn places(&mut self, folder: &str, schema: &SchemaRef) -> Result<Vec<bool>, Error> {
        let key = (folder.to_owned(), schema.clone());
        if let Some(places) = self.places.get(&key) {
            return Ok(places.clone());
        }
        let places = places(self.server, &rows_table(folder), schema)?;
        self.places.insert(key, places.clone());
        Ok(places)
    }

    fn send(&self, block: Option<Block>, loaded: &mut Loaded) -> Result<(), Error> {
        let Some(block) = block else {
            return Ok(());
        };
        let names =
            IDENTITY.into_iter().chain(block.schema.fields().iter().map(|field| field.name().as_str()));
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let (database, table) = (self.server.database(), &block.table);
        let insert = format!("INSERT INTO `{database}`.`{table}` ({}) FORMAT RowBinary", names.join(", "));
        // A token is valid in its table.
        let Source { share, generation } = &self.source;
        let ((from_file, from_row), (to_file, to_row)) = (block.first, block.last);
        let token = format!("headsup {share} {generation} {from_file}:{from_row}-{to_file}:{to_row}");
        let token = self.dialect.tokens().then_some(token.as_str());
        self.server.insert(&format!("load rows into {table}"), &insert, token, &block.bytes)?;
        loaded.rows += block.rows as u64;
        loaded.inserts += 1;
        Ok(())
    }
}

fn columns(table: &str, batch: &RecordBatch, nullable: &[bool]) -> Result<Vec<Column>, Error> {
    let schema: Arc<Schema> = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).zip(nullable);
    columns
        .map(|((field, array), &nullable)| {
            let failed = |error: ArrowError| Error::Column {
                table: table.to_owned(),
                column: field.name().clone(),
                problem: error.to_string(),
            };
            Column::new(array, kind_of(table, field)?, nullable).map_err(failed)
        })
        .collect()
}

/// Files that make one batch: the first so many, of so many bytes, whole.
pub(crate) fn batch(files: &[StoreFile]) -> &[StoreFile] {
    let mut bytes = 0;
    let more = files.iter().take(BATCH_FILES).position(|file| {
        bytes += file.bytes;
        bytes > BATCH_BYTES
    });
    let count = more.unwrap_or(files.len().min(BATCH_FILES)).max(1).min(files.len());
    &files[..count]
}

/// Files in a batch at most.
const BATCH_FILES: usize = 1_000;
/// Bytes of the files in a batch at most; one alone may be larger.
const BATCH_BYTES: u64 = 32 << 20;
