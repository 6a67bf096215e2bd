//! Taking a run up, where it was left or from the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headsup_connectors::{CheckpointError, Checkpoints, Claim, Disk, EventLog, Store};

use crate::board::Board;
use crate::checkpoint::Checkpoint;
use crate::core::{Core, Decode, Role};
use crate::heal;
use crate::publish::Publisher;
use crate::resume::{self, Snapshot, TABLES};
use crate::run::{Job, RunError};
use crate::topics::{ALERTS, KPIS, PARTIALS, QUARANTINE, SCORES, TASKS};
use crate::write::{Write, Writer};

/// A run between two batches: what computes, what writes, and where to read on.
pub struct Begun {
    /// What computes.
    pub core: Core,
    /// What writes.
    pub writer: Writer,
    /// The offset of each partition's first record that is not in the state.
    pub positions: Vec<u64>,
    /// What it goes on from; `None`: it begins.
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// Takes up the run of `job` over these partitions (their names and where they end now).
///
/// # Errors
/// Another process has the run; a checkpoint that is damaged, of another format or of other
/// definitions; a disk or log that cannot be read or written.
pub fn begin(
    job: &Job,
    partitions: &[(String, u64)],
    log: Option<&Arc<dyn EventLog>>,
    disk: &Arc<dyn Disk>,
    board: &Arc<Board>,
) -> Result<Begun, RunError> {
    let run = job.role.name();
    let mut claim = Claim::take(disk.clone(), &job.data, &run)?;
    if job.role == Role::All {
        heal::finish_swap(&**disk, &job.data)?;
    }
    let tag = job.role.tag();
    let checkpoints = Checkpoints::of(disk.clone(), &job.data, tag.as_deref());
    let definitions = resume::definitions(job);
    // Of files there is no going on: standard input does not come again.
    let again = job.from_start || log.is_none();
    let hash = resume::hash(&definitions);
    let has_all = |checkpoint: &Checkpoint| has_all(job, partitions, log, hash, checkpoint);
    let loaded = if again { None } else { resume::load(&checkpoints, &definitions, has_all)? };
    // One of an earlier generation was left by a process that was stopped while it began anew.
    let loaded = loaded.filter(|(_, checkpoint)| checkpoint.generation >= claim.generation());
    if let Some((path, checkpoint)) = &loaded {
        let now: BTreeSet<&String> = partitions.iter().map(|(name, _)| name).collect();
        if !checkpoint.snapshot.positions.keys().eq(now) {
            let changed = vec!["the partitions of the log".to_owned()];
            return Err(CheckpointError::Other { path: path.clone(), changed }.into());
        }
    }
    let (path, checkpoint) = loaded.unzip();
    let make_scores = |goes_on| {
        let make = job.scores.as_ref().filter(|_| job.role == Role::All);
        make.map(|make| make(goes_on)).transpose().map_err(RunError::Scores)
    };
    // What can fail does so before anything is gone.
    let scores = if checkpoint.is_none() { make_scores(false)? } else { None };
    match &checkpoint {
        None => {
            claim.begin_generation()?;
            checkpoints.clear()?;
        }
        Some(checkpoint) if checkpoint.generation > claim.generation() => {
            claim.adopt_generation(checkpoint.generation)?;
        }
        Some(_) => {}
    }
    let claim = Arc::new(claim);
    let mut store = Store::open(disk.clone(), &job.data, tag.as_deref())?.guarded_by(claim.clone());
    let scores = match &checkpoint {
        Some(checkpoint) => {
            store.resume(&TABLES, checkpoint.next_file, checkpoint.rows.clone())?;
            make_scores(true)?
        }
        None => {
            store.clear(&TABLES)?;
            scores
        }
    };
    let mut core = Core::new(job, partitions.len(), claim.generation(), hash, scores);
    if let Some(checkpoint) = &checkpoint {
        core.restore(&checkpoint.snapshot.state.0, checkpoint.format).map_err(|error| {
            CheckpointError::Damaged { path: path.unwrap_or_default(), problem: error.to_string() }
        })?;
    } else if let (Role::Merge, Some(log)) = (&job.role, log) {
        let reader = |partition| log.reader(PARTIALS, partition as u32, 0);
        core.look_ahead((0..partitions.len()).map(reader).collect::<Result<_, _>>()?)?;
    }
    let topics: &[&str] = match job.role {
        Role::All => &[KPIS, ALERTS, SCORES, TASKS, QUARANTINE],
        Role::Share(_) => &[PARTIALS, QUARANTINE],
        Role::Merge => &[KPIS, ALERTS, QUARANTINE],
    };
    let topics: Vec<&str> = topics.iter().copied().filter(|topic| job.publishes(topic)).collect();
    let outputs = checkpoint.as_ref().and_then(|checkpoint| checkpoint.outputs.as_ref());
    let publisher = match log {
        Some(log) => Some(Publisher::open(log.clone(), &run, claim.generation(), &topics, outputs)?),
        None => None,
    };
    let before = checkpoint.as_ref().map(|checkpoint| &checkpoint.snapshot.positions);
    let position = |name: &String| before.and_then(|before| before.get(name)).copied().unwrap_or(0);
    let positions: Vec<u64> = partitions.iter().map(|(name, _)| position(name)).collect();
    let mut writer = Writer {
        store,
        claim,
        checkpoints,
        definitions,
        quarantined: checkpoint.as_ref().map(|checkpoint| checkpoint.quarantined.clone()).unwrap_or_default(),
        kpis: job.kpis.clone(),
        publisher,
        board: board.clone(),
        sink: None,
    };
    if checkpoint.is_none() && log.is_some() {
        // The first one is of the beginning, so that it is known where the topics ended then.
        let positions = partitions.iter().map(|(name, _)| (name.clone(), 0)).collect();
        let state = core.save().map_err(|error| RunError::State("save", error))?;
        writer.take(Write::Flush(Some(Snapshot { positions, state, ended: false })))?;
    }
    Ok(Begun { core, writer, positions, checkpoint })
}

/// Whether a run that came to its end can only be taken up to find that it has: nothing has been added since, or, to a
/// merge, only what shares that were killed have said twice.
fn has_all(
    job: &Job,
    partitions: &[(String, u64)],
    log: Option<&Arc<dyn EventLog>>,
    hash: u64,
    checkpoint: &Checkpoint,
) -> Result<bool, RunError> {
    let positions = &checkpoint.snapshot.positions;
    let ends: BTreeMap<String, u64> = partitions.iter().cloned().collect();
    if !job.until_end || *positions == ends {
        return Ok(job.until_end);
    }
    let (Role::Merge, Some(log)) = (&job.role, log) else { return Ok(false) };
    let mut core = Core::new(job, partitions.len(), checkpoint.generation, hash, None);
    if core.restore(&checkpoint.snapshot.state.0, checkpoint.format).is_err() {
        return Ok(false);
    }
    let applied = |core: &Core| core.accounting().iter().map(|partition| partition.applied).sum::<u64>();
    let before = applied(&core);
    let mut decode = Decode::new(&job.role, job.config.limits);
    for (partition, (name, end)) in partitions.iter().enumerate() {
        let Some(&position) = positions.get(name).filter(|position| *position <= end) else {
            return Ok(false);
        };
        let (mut reader, mut next) = (log.reader(PARTIALS, partition as u32, position)?, position);
        while next < *end {
            let Some(chunk) = reader.next(Duration::from_secs(1))? else { continue };
            next = chunk.first_offset + chunk.spans.len() as u64;
            if core.push(partition, decode.decode(&chunk)).is_err() || applied(&core) != before {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
