//! Going on where a run has ended: what is in a checkpoint, and whether it fits.
//!
//! A checkpoint is the state of the operators with the positions that it is of, and how
//! much had been written then. Whatever was written later comes again, the same rows in
//! the same order, because they depend on the log alone; so files that a checkpoint does
//! not know of are removed, and every row is in the tables once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::compute::partition;
use headsup_connectors::store::{read_files, table_files};
use headsup_connectors::{CheckpointError, Checkpoints, Store, StoreError};
use headsup_events::Reason;
use headsup_operators::facts::Table;
use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::run::Job;

/// The format's version: one more with every change of what is saved.
pub(crate) const FORMAT: u32 = 1;

/// The folders of tables that a run writes.
pub(crate) const TABLES: [&str; 3] = ["facts", "kpi_history", "quarantine"];

/// What the runner knows between two batches.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Per partition, by name: the offset of the first record that is not in the state.
    pub positions: BTreeMap<String, u64>,
    /// The operators.
    pub state: Vec<u8>,
}

/// What the writer adds to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// What the state depends on besides the log.
    pub definitions: BTreeMap<String, String>,
    pub snapshot: Snapshot,
    /// Files of tables from this number on are not of this checkpoint.
    pub next_file: u64,
    /// Rows written, by table.
    pub rows: BTreeMap<String, u64>,
    /// Records set aside, by reason.
    pub quarantined: BTreeMap<String, u64>,
}

/// All that decides what comes out of the same log, by its name.
pub(crate) fn definitions(job: &Job) -> BTreeMap<String, String> {
    let config = &job.config;
    let contacts = &config.contacts;
    let tables: Vec<&str> = config.store_tables.iter().map(|table| table.name()).collect();
    let numbers = [
        ("input.event_bytes_max", config.limits.event_bytes_max as i64),
        ("input.max_skew", config.limits.skew_ms_max),
        ("time.max_disorder", config.disorder_ms_max),
        ("time.allowed_lateness", config.lateness_ms_max),
        ("contacts.idle", contacts.idle_ms),
        ("contacts.served", contacts.served_ms),
        ("contacts.queue", contacts.queue_ms),
        ("contacts.wrap", contacts.wrap_ms),
        ("contacts.linger", contacts.linger_ms),
        ("queue.tick", config.queue_tick_ms),
    ];
    let numbers = numbers.map(|(name, value)| (name.to_owned(), value.to_string()));
    let kpis = job.kpis.iter().map(|kpi| (format!("KPI {}", kpi.name), kpi.sql.clone()));
    let tables = [("the facts that are stored".to_owned(), tables.join(" "))];
    numbers.into_iter().chain(kpis).chain(tables).collect()
}

/// The newest checkpoint, if there is one and it is of the same definitions.
///
/// # Errors
/// A file that is not what was written, of another format, or of other definitions.
pub(crate) fn load(
    checkpoints: &Checkpoints,
    definitions: &BTreeMap<String, String>,
) -> Result<Option<(PathBuf, Checkpoint)>, CheckpointError> {
    let Some((path, contents)) = checkpoints.newest(FORMAT)? else {
        return Ok(None);
    };
    let checkpoint: Checkpoint = postcard::from_bytes(&contents)
        .map_err(|error| CheckpointError::Damaged { path: path.clone(), problem: error.to_string() })?;
    let was = &checkpoint.definitions;
    let changed = |name: &&String| was.get(*name) != definitions.get(*name);
    let names: std::collections::BTreeSet<&String> = was.keys().chain(definitions.keys()).collect();
    let changed: Vec<String> = names.into_iter().filter(changed).cloned().collect();
    if !changed.is_empty() {
        return Err(CheckpointError::Other { path, changed });
    }
    Ok(Some((path, checkpoint)))
}

/// Puts what was known at the checkpoint back on the board: counters, and the newest
/// rows of every KPI from its table.
///
/// # Errors
/// A table that cannot be read.
pub(crate) fn show(checkpoint: &Checkpoint, root: &Path, board: &Board) -> Result<(), StoreError> {
    let names: Vec<String> =
        board.read(|state| state.kpis.iter().map(|kpi| format!("kpi_history/{}", kpi.name)).collect());
    let mut newest = Vec::new();
    for name in &names {
        let mut files = table_files(root, name)?;
        let older = files.len().saturating_sub(FILES_SHOWN);
        let mut batches = Vec::new();
        for batch in read_files(files.split_off(older)) {
            let batch = batch?;
            // As they were given out: of one window and one grouping.
            let columns = [batch.column(0), batch.column(1), batch.column(2)].map(Clone::clone);
            let ranges = partition(&columns).map(|parts| parts.ranges()).unwrap_or_default();
            batches.extend(ranges.into_iter().map(|range| batch.slice(range.start, range.len())));
        }
        newest.push(batches);
    }
    board.update(|state| {
        for (table, rows) in &checkpoint.rows {
            let table = table.strip_prefix("facts/").and_then(Table::parse);
            if let Some(table) = table {
                state.facts.insert(table.name(), *rows);
            }
        }
        for (reason, count) in &checkpoint.quarantined {
            let reason = Reason::ALL.into_iter().find(|other| other.name() == reason);
            if let Some(reason) = reason {
                state.quarantined.insert(reason.name(), *count);
            }
        }
        for ((kpi, name), batches) in state.kpis.iter_mut().zip(&names).zip(&newest) {
            batches.iter().for_each(|batch| kpi.absorb(batch));
            kpi.rows = checkpoint.rows.get(name).copied().unwrap_or(0);
        }
    });
    Ok(())
}

/// Of a KPI's table so many files are read to show the newest values again.
const FILES_SHOWN: usize = 8;

/// Goes on with the tables of `checkpoint`, or begins them anew if there is none.
///
/// # Errors
/// A file that cannot be removed.
pub(crate) fn open_tables(root: &Path, checkpoint: Option<&Checkpoint>) -> Result<Store, StoreError> {
    let mut store = Store::open(root)?;
    match checkpoint {
        Some(checkpoint) => store.resume(&TABLES, checkpoint.next_file, checkpoint.rows.clone())?,
        None => drop(store.clear(&TABLES)?),
    }
    Ok(store)
}
