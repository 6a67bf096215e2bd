//! Going on where a run has ended: what is in a checkpoint, and whether it fits.
//!
//! A checkpoint is the state of the operators with the positions that it is of, and how
//! much had been written then. Whatever was written later comes again, the same rows in
//! the same order, because they depend on the log alone; so files that a checkpoint does
//! not know of are removed, and every row is in the tables once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headsup_connectors::{CheckpointError, Checkpoints};
use headsup_events::Reason;
use headsup_kpi::Kpi;
use headsup_operators::facts::Table;
use headsup_operators::{Bytes, Copied, WindowsError};
use xxhash_rust::xxh3::xxh3_64;

use crate::board::Board;
use crate::checkpoint::{Checkpoint, FORMATS, Packed};
use crate::core::Role;
use crate::rows::{self, KpiRows};
use crate::run::{Job, RunError};

/// The folders of tables that a run writes.
pub(crate) const TABLES: [&str; 7] =
    ["facts", "kpi_history", "quarantine", "alerts", "scores", "served", "tasks"];

/// What the runner knows between two batches.
#[derive(Debug)]
pub struct Snapshot {
    /// Per partition, by name: the offset of the first record that is not in the state.
    pub positions: BTreeMap<String, u64>,
    /// The operators' state.
    pub state: Copied,
    /// Time has gone to its end, and every window is final: nothing can follow.
    pub ended: bool,
}

impl Snapshot {
    /// To be done by the thread that writes: it takes longer than the operators may stand still.
    ///
    /// # Errors
    /// A state that cannot be packed.
    pub(crate) fn pack(self) -> Result<Packed, WindowsError> {
        Ok(Packed { positions: self.positions, state: Bytes(self.state.pack()?), ended: self.ended })
    }
}

/// Which log the positions are of.
const LOG: &str = "log.url";

/// What checkpoints have not always named; of one that does not, it is not known to differ.
const NEWER: [&str; 8] = [
    LOG,
    "agents.follow",
    "calendar",
    "contacts.paid",
    "contacts.presale",
    "contacts.repeat",
    "kpis.from",
    "queue.over",
];

/// All that decides what comes out, by its name.
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
        ("queue.over", config.queue_over_ms),
        ("agents.follow", i64::from(config.agents)),
        ("contacts.repeat", config.follow.repeat_ms),
        ("contacts.paid", config.follow.paid_ms),
        ("kpis.from", config.kpis.from_ms.unwrap_or(i64::MIN)),
    ];
    let numbers = numbers.map(|(name, value)| (name.to_owned(), value.to_string()));
    let kpis = job.kpis.iter().map(|kpi| (format!("KPI {}", kpi.name), kpi.sql.clone()));
    let mut all: BTreeMap<String, String> = numbers.into_iter().chain(kpis).collect();
    all.insert("contacts.presale".to_owned(), config.follow.presale.join(" "));
    all.insert("calendar".to_owned(), config.kpis.calendar.to_string());
    all.insert(LOG.to_owned(), config.log_url.clone());
    if job.role != Role::Merge {
        all.insert("the facts that are stored".to_owned(), tables.join(" "));
    }
    if job.role != Role::All {
        all.insert("the share of the partitions".to_owned(), job.role.name());
    }
    all
}

/// A hash of what decides the partial aggregates of a share: only what is computed alike can be
/// merged.
pub(crate) fn hash(definitions: &BTreeMap<String, String>) -> u64 {
    // Shares may know the same log by different addresses, and none of them follows agents.
    let own = ["the facts that are stored", "the share of the partitions", "agents.follow", LOG];
    let shared = definitions.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let text: Vec<String> = shared.map(|(name, value)| format!("{name}\0{value}\0")).collect();
    xxh3_64(text.concat().as_bytes())
}

/// The newest checkpoint, if there is one that can be gone on from. One of a run that came to
/// its end is one only if it `has_all`.
///
/// # Errors
/// A file that is not what was written, of another format, or of other definitions; and those of `has_all`.
pub(crate) fn load(
    checkpoints: &Checkpoints,
    definitions: &BTreeMap<String, String>,
    has_all: impl FnOnce(&Checkpoint) -> Result<bool, RunError>,
) -> Result<Option<(PathBuf, Checkpoint)>, RunError> {
    let Some((path, checkpoint)) = newest(checkpoints)? else {
        return Ok(None);
    };
    if checkpoint.snapshot.ended
        && (!changed(&checkpoint.definitions, definitions).is_empty() || !has_all(&checkpoint)?)
    {
        return Ok(None);
    }
    must_be_of(&path, &checkpoint, definitions)?;
    Ok(Some((path, checkpoint)))
}

/// The newest checkpoint, if there is one, of a run that goes on or has ended.
///
/// # Errors
/// A file that is not what was written, of another format, or of other definitions.
pub(crate) fn of_definitions(
    checkpoints: &Checkpoints,
    definitions: &BTreeMap<String, String>,
) -> Result<Option<Checkpoint>, CheckpointError> {
    let Some((path, checkpoint)) = newest(checkpoints)? else {
        return Ok(None);
    };
    must_be_of(&path, &checkpoint, definitions)?;
    Ok(Some(checkpoint))
}

fn newest(checkpoints: &Checkpoints) -> Result<Option<(PathBuf, Checkpoint)>, CheckpointError> {
    let Some((path, format, contents)) = checkpoints.newest(&FORMATS)? else {
        return Ok(None);
    };
    let checkpoint = Checkpoint::unpack(format, &contents)
        .map_err(|error| CheckpointError::Damaged { path: path.clone(), problem: error.to_string() })?;
    Ok(Some((path, checkpoint)))
}

fn must_be_of(
    path: &Path,
    checkpoint: &Checkpoint,
    definitions: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let changed = changed(&checkpoint.definitions, definitions);
    if !changed.is_empty() {
        return Err(CheckpointError::Other { path: path.to_owned(), changed });
    }
    Ok(())
}

/// What is not as it was. A checkpoint of before they named their log is taken to be of this one.
fn changed(was: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    let changed = names.into_iter().filter(|name| was.get(*name) != now.get(*name));
    let named = changed.filter_map(|name| match (was.get(name), now.get(name)) {
        (None, _) if NEWER.contains(&name.as_str()) => None,
        (Some(was), Some(now)) if name == LOG => Some(format!("{LOG} (\"{was}\" then, \"{now}\" now)")),
        _ => Some(name.clone()),
    });
    named.collect()
}

/// Puts what was known at the checkpoint back on the board: counters, and the newest
/// rows of every KPI from its table.
///
/// # Errors
/// A table that cannot be read, or has a file that is not of it.
pub(crate) fn show(
    checkpoint: &Checkpoint,
    kpis: &[Arc<Kpi>],
    root: &Path,
    board: &Board,
) -> Result<(), RunError> {
    let newest = |kpi: &Arc<Kpi>| rows::newest(kpi, root, FILES_SHOWN);
    let newest: Vec<Vec<KpiRows>> = kpis.iter().map(newest).collect::<Result<_, _>>()?;
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
        for (kpi, newest) in kpis.iter().zip(&newest) {
            let Some(shown) = state.kpis.iter_mut().find(|shown| shown.name == kpi.name) else { continue };
            newest.iter().for_each(|rows| shown.absorb(rows));
            shown.rows = checkpoint.rows.get(&rows::folder(kpi)).copied().unwrap_or(0);
        }
    });
    Ok(())
}

/// Of a KPI's table so many files are read to show the newest values again.
const FILES_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_log_is_told_from_another_and_does_not_keep_shares_apart() {
        let of = |url: &str| {
            let config = Config { log_url: url.to_owned(), ..Config::default() };
            let (role, data) = (Role::All, PathBuf::from("data"));
            let (from_start, until_end, profile) = (false, false, false);
            let alerts = headsup_alerts::Rules { rules: Vec::new(), shapes: Arc::new([]) };
            definitions(&Job {
                role,
                config,
                kpis: Vec::new(),
                alerts,
                data,
                from_start,
                until_end,
                profile,
                scores: None,
            })
        };
        let (one, other) = (of("fluvio://one:9003"), of("fluvio://other:9003"));
        assert!(changed(&one, &one).is_empty());
        assert_eq!(
            changed(&one, &other),
            [r#"log.url ("fluvio://one:9003" then, "fluvio://other:9003" now)"#]
        );
        assert_eq!(hash(&one), hash(&other));
        let before: BTreeMap<_, _> = one.into_iter().filter(|(name, _)| name != LOG).collect();
        assert!(changed(&before, &other).is_empty());
        assert_eq!(hash(&before), hash(&other));
        assert_eq!(changed(&other, &before), ["log.url"]);
    }
}
