//! Reads the input, drives the operators, writes what comes out.
//!
//! A thread per partition reads and decodes; the caller's thread runs the
//! operators; one thread writes. Channels between them are bounded, so the slowest
//! sets the pace and memory stays flat.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Select, Sender, TryRecvError, bounded};
use headsup_alerts::{AlertsError, Rules};
use headsup_connectors::{
    CheckpointError, ClaimError, Disk, EventLog, Lines, LogError, RealDisk, StoreError,
};
use headsup_kpi::Kpi;
use headsup_operators::{Profile, Windows, WindowsError};
use headsup_stream::Accounting;

use crate::begin::{Begun, begin};
use crate::board::{BATCH_SECONDS, Board, PartitionBoard, Stalls};
use crate::config::Config;
use crate::core::{Batch, Core, Decode, Produced, Role};
use crate::heart::Heart;
use crate::resume::{self, Snapshot};
use crate::sink::{Sink, SinkError};
use crate::topics::PARTIALS;
use crate::write::Write;

/// Where events come from.
pub enum Input {
    /// Files of JSON lines (plain, gzip, zstd); `-` is standard input. Each is a
    /// partition.
    Files(Vec<PathBuf>),
    /// These topics of the log, from where the last run has ended. A share reads its
    /// partitions of them; who merges reads topic `partials` instead.
    Log(Arc<dyn EventLog>, Vec<String>),
}

/// What a run is to do.
pub struct Job {
    /// Which part of the work.
    pub role: Role,
    /// The configuration.
    pub config: Config,
    /// The KPIs to compute.
    pub kpis: Vec<Arc<Kpi>>,
    /// The rules to hold them against; a share has none.
    pub alerts: Rules,
    /// Where tables are written: `facts/`, `kpi_history/`, `quarantine/`; and, of a
    /// run over the log, `checkpoint/`. Without a checkpoint to go on from, tables of
    /// an earlier run are replaced.
    pub data: PathBuf,
    /// Forget the checkpoint and compute everything again.
    pub from_start: bool,
    /// Stop when the input is drained; time then goes to its end and every window
    /// is final.
    pub until_end: bool,
    /// Measure where the time goes.
    pub profile: bool,
    /// Makes what scores customers, if anything does.
    pub scores: Option<MakeScores>,
}

/// Makes what scores customers, from the stored facts if `true`: they are then those that the run goes on from. Of its rows those whose schema says `table` = `tasks` are decisions of
/// proactive service. The others say the score in the columns that [`crate::SCORE_COLUMNS`] names; features
/// follow.
pub type MakeScores = Arc<dyn Fn(bool) -> Result<Box<dyn Windows>, WindowsError> + Send + Sync>;

impl Job {
    /// Whether the run writes to this topic of the log.
    pub(crate) fn publishes(&self, topic: &str) -> bool {
        topic == PARTIALS || self.config.publish_topics.iter().any(|name| name == topic)
    }
}

/// What a run has done.
#[derive(Debug, Clone)]
pub struct Report {
    /// How many records had been read before, if the run went on from a checkpoint.
    pub resumed: Option<u64>,
    /// Per partition: its name and what became of its records, of all runs since the
    /// first.
    pub partitions: Vec<(String, Accounting)>,
    /// Rows written, by table.
    pub rows: Vec<(String, u64)>,
    /// Facts that came when all windows of a KPI that hold them were final, by KPI.
    pub refused: Vec<(String, u64)>,
    /// Of a merge, the partitions that no share has spoken for: while there are any, nothing is
    /// merged.
    pub missing: Vec<Range<u32>>,
    /// How long the operators stood still for checkpoints.
    pub stalls: Stalls,
    /// Where the time went: thread and step, time.
    pub profile: Vec<(&'static str, Duration)>,
}

impl Report {
    /// The account of all partitions together.
    pub fn accounting(&self) -> Accounting {
        let mut total = Accounting::default();
        for (_, accounting) in &self.partitions {
            total += *accounting;
        }
        total
    }
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Reading the log or a file.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Writing a table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading or writing a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// ClickHouse.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Another process has the run.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Alerts do not take the rows of a KPI.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// The partitions do not divide as asked.
    #[error("cannot read partitions {share} of topic {topic}: it has {partitions}")]
    Partitions {
        /// What was asked for.
        share: String,
        /// The topic.
        topic: String,
        /// How many partitions it has.
        partitions: usize,
    },
    /// What shares say does not go together.
    #[error("cannot merge the shares")]
    Merge(#[source] WindowsError),
    /// The log has lost records that an earlier run has read.
    #[error(
        "cannot go on from the checkpoint: partition {partition} of the log ends at offset {end}, and the \
         checkpoint is of {position}; restore the log, or compute everything again with --from-start"
    )]
    LogShorter {
        /// Topic and partition.
        partition: String,
        /// Where the log ends.
        end: u64,
        /// Where the checkpoint goes on.
        position: u64,
    },
    /// A file among those of a table that is no such file.
    #[error(
        "cannot read {}: {problem}; move it out of the data folder if it does not belong there, else \
         restore it from a copy, or compute everything again from the log with --from-start",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// Rows of a KPI that are not as its file says.
    #[error("cannot show KPI {kpi}: of its rows, {problem}; this is a mistake in headsup: report it")]
    Rows {
        /// The KPI.
        kpi: String,
        /// What was found.
        problem: String,
    },
    /// Packing or unpacking the state of the operators.
    #[error("cannot {0} the state of the operators")]
    State(&'static str, #[source] WindowsError),
    /// Evaluating a KPI.
    #[error("cannot evaluate the KPIs")]
    Kpi(#[source] WindowsError),
    /// Taking up models and what is known of customers.
    #[error("cannot score customers")]
    Scores(#[source] WindowsError),
    /// A thread panicked; its message is on standard error.
    #[error("the {0} thread has stopped unexpectedly")]
    Thread(&'static str),
}

/// Chunks decoded ahead of the operators, per partition.
const AHEAD: usize = 2;
/// Records of a partition that go on together, if they are there, however small the pieces are in
/// which they were appended.
const TOGETHER: usize = 256;
/// Outputs waiting to be written.
const OUTPUTS: usize = 16;

enum Read {
    /// Decoded records, the offset after them, and how many more there are.
    Batches(Vec<Batch>, u64, u64),
    /// Nothing more for now.
    CaughtUp,
    End,
    Failed(LogError),
}

/// A partition being read.
pub(crate) struct Source {
    pub name: String,
    /// Topic and partition, of a log.
    pub place: Option<(String, u32)>,
    receiver: Receiver<Read>,
    /// The offset after what the operators have.
    position: u64,
    pub caught_up: bool,
    pub ended: bool,
    behind: Option<u64>,
    pub quiet_since: Instant,
}

impl Source {
    /// Whether it is caught up, and nothing has come since.
    pub fn has_nothing(&self) -> bool {
        self.caught_up && self.receiver.is_empty()
    }
}

/// Runs until the input ends (with `until_end`) or `stop` is set.
///
/// # Errors
/// An input that cannot be read, or a table that cannot be written.
pub fn run(job: Job, input: Input, board: &Arc<Board>, stop: &Arc<AtomicBool>) -> Result<Report, RunError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let partitions = partitions(&job.role, &input)?;
    let ends: Vec<_> = partitions.iter().map(|partition| (partition.name.clone(), partition.end)).collect();
    let log = match &input {
        Input::Files(_) => None,
        Input::Log(log, _) => Some(log.clone()),
    };
    let Begun { mut core, mut writer, positions, checkpoint } =
        begin(&job, &ends, log.as_ref(), &disk, board)?;
    let sink = Sink::start(&job.config, &job.data, job.role.tag(), writer.claim.generation(), stop)?;
    board.update(|state| {
        state.sink.clone_from(&sink);
        state.rules.clone_from(&job.alerts.rules);
    });
    if let (Some(sink), Some(checkpoint)) = (&sink, &checkpoint) {
        sink.completed(checkpoint.next_file)?;
    }
    writer.sink = sink;
    let names: Vec<String> = ends.into_iter().map(|(name, _)| name).collect();
    let quit = Arc::new(AtomicBool::new(false));
    let (mut sources, readers) = open(&job, input, partitions, &positions, &quit)?;
    if let Some(checkpoint) = &checkpoint {
        resume::show(checkpoint, &job.kpis, &job.data, board)?;
        let firing = core.firing().map(|(rule, alert)| (alert.id.clone(), (rule.clone(), alert.clone())));
        board.update(|state| state.alerts.firing = firing.collect());
    }
    if let Some(which) = core.other_rules() {
        eprintln!(
            "headsup: alerts begin anew, because their rules are others than in the checkpoint: {which}; \
             `headsup alerts backtest` shows what these would have said before, --from-start computes all again"
        );
    }
    let resumed = checkpoint.as_ref().map(|_| core.accounting().iter().map(|partition| partition.read).sum());
    let resumed = resumed.filter(|&read| read > 0);
    board.update(|state| {
        state.partitions = names
            .iter()
            .map(|name| PartitionBoard { name: name.clone(), ..PartitionBoard::default() })
            .collect();
    });
    let (sender, receiver) = bounded(OUTPUTS);
    let writer = std::thread::Builder::new()
        .name("write".to_owned())
        .spawn(move || writer.run(&receiver))
        .map_err(|_| RunError::Thread("write"))?;
    let outcome = drive(&job, &mut core, &mut sources, log.as_ref(), &sender, board, stop);
    quit.store(true, Ordering::Relaxed);
    drop(sender);
    // Readers notice that nobody listens, or that they are to quit.
    drop(sources);
    let mut decode = Duration::ZERO;
    let mut read = Duration::ZERO;
    for reader in readers {
        let (reading, decoding) = reader.join().map_err(|_| RunError::Thread("read"))?;
        read += reading;
        decode += decoding;
    }
    let (rows, writing) = writer.join().map_err(|_| RunError::Thread("write"))??;
    outcome?;
    let Profile { dedup, reorder, contacts, windows } = core.profile();
    board.update(|state| state.ended = job.until_end);
    Ok(Report {
        resumed,
        partitions: names.into_iter().zip(core.accounting()).collect(),
        rows,
        refused: core.refused(),
        missing: core.missing(),
        stalls: board.read(|state| state.checkpoint_stalls),
        profile: vec![
            ("read", read),
            ("decode", decode),
            ("dedup", dedup),
            ("reorder", reorder),
            ("contacts", contacts),
            ("windows", windows),
            ("write", writing),
        ],
    })
}

/// A partition to read.
struct Partition {
    name: String,
    place: Option<(String, u32)>,
    /// Where it ends now.
    end: u64,
}

/// What a run of this role reads.
fn partitions(role: &Role, input: &Input) -> Result<Vec<Partition>, RunError> {
    let (log, topics) = match input {
        Input::Files(paths) => {
            let file = |path: &PathBuf| Partition { name: path.display().to_string(), place: None, end: 0 };
            return Ok(paths.iter().map(file).collect());
        }
        Input::Log(log, topics) => (log, topics),
    };
    let mut all = Vec::new();
    for topic in log.topics()? {
        let wanted = match role {
            Role::Merge => topic.name == PARTIALS,
            _ => topics.contains(&topic.name),
        };
        if !wanted {
            continue;
        }
        let of = topic.end_offsets.len();
        let mine = match role {
            Role::Share(share) if share.of as usize == of => share.first as usize..share.end as usize,
            Role::Share(share) => {
                return Err(RunError::Partitions {
                    share: share.to_string(),
                    topic: topic.name,
                    partitions: of,
                });
            }
            _ => 0..of,
        };
        for partition in mine {
            all.push(Partition {
                name: format!("{}/{partition}", topic.name),
                place: Some((topic.name.clone(), partition as u32)),
                end: topic.end_offsets[partition],
            });
        }
    }
    Ok(all)
}

type Readers = Vec<JoinHandle<(Duration, Duration)>>;

fn open(
    job: &Job,
    input: Input,
    partitions: Vec<Partition>,
    positions: &[u64],
    quit: &Arc<AtomicBool>,
) -> Result<(Vec<Source>, Readers), RunError> {
    let mut sources = Vec::new();
    let mut readers = Vec::new();
    for (index, Partition { name, place, end }) in partitions.into_iter().enumerate() {
        let (sender, receiver) = bounded(AHEAD);
        let decode = Decode::new(&job.role, job.config.limits);
        let thread = std::thread::Builder::new().name(format!("read {name}"));
        let from = positions[index];
        let thread = match (&input, &place) {
            (Input::Files(paths), _) => {
                let lines = Lines::open(&paths[index])?;
                thread.spawn(move || read_lines(lines, decode, &sender))
            }
            (Input::Log(log, _), Some((topic, partition))) => {
                if from > end {
                    return Err(RunError::LogShorter { partition: name, end, position: from });
                }
                let reader = log.reader(topic, *partition, from)?;
                let until = job.until_end.then_some(end);
                let quit = quit.clone();
                thread.spawn(move || read_log(reader, from, until, decode, &sender, &quit))
            }
            (Input::Log(..), None) => unreachable!("partitions of a log have a place"),
        };
        readers.push(thread.map_err(|_| RunError::Thread("read"))?);
        let behind = place.as_ref().map(|_| end.saturating_sub(from));
        sources.push(Source {
            name,
            place,
            receiver,
            position: from,
            caught_up: false,
            ended: false,
            behind,
            quiet_since: Instant::now(),
        });
    }
    Ok((sources, readers))
}

fn read_lines(mut lines: Lines, mut decode: Decode, sender: &Sender<Read>) -> (Duration, Duration) {
    let (mut reading, mut decoding) = (Duration::ZERO, Duration::ZERO);
    loop {
        let started = Instant::now();
        let chunk = lines.next();
        reading += started.elapsed();
        let message = match chunk {
            Ok(Some(chunk)) => {
                let started = Instant::now();
                let batch = decode.decode(&chunk);
                decoding += started.elapsed();
                Read::Batches(vec![batch], 0, 0)
            }
            Ok(None) => Read::End,
            Err(error) => Read::Failed(error),
        };
        let last = !matches!(message, Read::Batches(..));
        if sender.send(message).is_err() || last {
            return (reading, decoding);
        }
    }
}

fn read_log(
    mut reader: Box<dyn headsup_connectors::Reader>,
    mut next: u64,
    until: Option<u64>,
    mut decode: Decode,
    sender: &Sender<Read>,
    quit: &AtomicBool,
) -> (Duration, Duration) {
    let (mut reading, mut decoding) = (Duration::ZERO, Duration::ZERO);
    loop {
        // What was appended in small pieces and is there goes on together.
        let (mut batches, mut records) = (Vec::new(), 0);
        let message = loop {
            if until.is_some_and(|until| next >= until) {
                break Read::End;
            }
            let started = Instant::now();
            let patience = if records == 0 { Duration::from_millis(100) } else { Duration::ZERO };
            match reader.next(patience) {
                Ok(Some(mut chunk)) => {
                    if let Some(until) = until {
                        chunk.spans.truncate((until - chunk.first_offset) as usize);
                    }
                    next = chunk.first_offset + chunk.spans.len() as u64;
                    records += chunk.spans.len();
                    reading += started.elapsed();
                    let started = Instant::now();
                    batches.push(decode.decode(&chunk));
                    decoding += started.elapsed();
                    if records < TOGETHER {
                        continue;
                    }
                    break Read::CaughtUp;
                }
                Ok(None) => break Read::CaughtUp,
                Err(error) => break Read::Failed(error),
            }
        };
        let message = if batches.is_empty() {
            message
        } else {
            // What follows them is asked for again.
            let end = reader.end_offset().unwrap_or(next);
            Read::Batches(batches, next, end.saturating_sub(next))
        };
        let last = matches!(message, Read::End | Read::Failed(_));
        if sender.send(message).is_err() || last || quit.load(Ordering::Relaxed) {
            return (reading, decoding);
        }
    }
}

fn drive(
    job: &Job,
    core: &mut Core,
    sources: &mut [Source],
    log: Option<&Arc<dyn EventLog>>,
    sender: &Sender<Write>,
    board: &Board,
    stop: &AtomicBool,
) -> Result<(), RunError> {
    let mut heart = Heart::new(log, &job.role, job.config.heartbeat_ms)?;
    let mut beat = |core: &Core, sources: &[Source]| match &mut heart {
        Some(heart) => heart.beat(core, sources),
        None => Ok(()),
    };
    let flush = Duration::from_millis(job.config.store_flush_ms as u64);
    let (mut flushed, mut flushes) = (Instant::now(), board.read(|state| state.flushes));
    while !stop.load(Ordering::Relaxed) && sources.iter().any(|source| !source.ended) {
        // As long as one goes on another would only have everything else wait behind it.
        if flushed.elapsed() >= flush && board.read(|state| state.flushes) >= flushes {
            save(core, sources, log.is_some(), sender, board)?;
            (flushed, flushes) = (Instant::now(), flushes + 1);
        }
        let Some((place, message)) = receive(core, sources, job.until_end) else {
            beat(core, sources)?;
            continue;
        };
        let started = Instant::now();
        let source = &mut sources[place];
        match message {
            Read::CaughtUp => {
                source.caught_up = true;
                beat(core, sources)?;
                continue;
            }
            Read::Failed(error) => return Err(error.into()),
            Read::End => {
                source.ended = true;
                core.end(place);
            }
            Read::Batches(batches, position, behind) => {
                source.position = position;
                source.quiet_since = Instant::now();
                source.behind = source.behind.map(|_| behind);
                // Else those in which events come all the time would keep others from being read.
                source.caught_up = !job.until_end && source.behind == Some(0);
                for batch in batches {
                    let quarantined = core.push(place, batch)?;
                    if !quarantined.is_empty()
                        && sender.send(Write::Quarantined(source.name.clone(), quarantined)).is_err()
                    {
                        return Ok(());
                    }
                }
            }
        }
        let produced = core.advance()?;
        let seconds = started.elapsed().as_secs_f64();
        show(core, sources, board, &produced, seconds);
        // The writer has failed, if it does not take it, and says why when it is joined.
        if !produced.is_empty() && sender.send(Write::Output(produced)).is_err() {
            return Ok(());
        }
        beat(core, sources)?;
    }
    save(core, sources, log.is_some(), sender, board)
}

/// Has the writer complete the tables, and then write a checkpoint if the sources are
/// of a log. The operators wait only for their state to be copied.
fn save(
    core: &mut Core,
    sources: &[Source],
    resumable: bool,
    sender: &Sender<Write>,
    board: &Board,
) -> Result<(), RunError> {
    let mut snapshot = None;
    if resumable {
        let started = Instant::now();
        snapshot = Some(Snapshot {
            positions: sources.iter().map(|source| (source.name.clone(), source.position)).collect(),
            state: core.save().map_err(|error| RunError::State("save", error))?,
            ended: core.watermark_ms() == Some(i64::MAX),
        });
        let seconds = started.elapsed().as_secs_f64();
        board.update(|state| state.checkpoint_stalls.push(seconds));
    }
    // A writer that has failed says why when it is joined.
    let _ = sender.send(Write::Flush(snapshot));
    Ok(())
}

/// The next message of the partition whose time is least; if that one is caught up,
/// of any. `None`: there was none for a while.
fn receive(core: &Core, sources: &[Source], patient: bool) -> Option<(usize, Read)> {
    let mut order: Vec<usize> = (0..sources.len()).filter(|&place| !sources[place].ended).collect();
    // One that is caught up and has something is read in the order of time like the others.
    order.sort_by_key(|&place| (sources[place].has_nothing(), core.latest_ms_of(place)));
    for &place in &order {
        let source = &sources[place];
        match source.receiver.try_recv() {
            Ok(message) => return Some((place, message)),
            Err(TryRecvError::Disconnected) => return Some((place, Read::End)),
            // Reading ahead in the others would only fill the reorder buffer.
            Err(TryRecvError::Empty) if patient || !source.caught_up => {
                return match source.receiver.recv_timeout(Duration::from_millis(50)) {
                    Ok(message) => Some((place, message)),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => Some((place, Read::End)),
                };
            }
            Err(TryRecvError::Empty) => {}
        }
    }
    let mut select = Select::new();
    for &place in &order {
        select.recv(&sources[place].receiver);
    }
    let ready = select.select_timeout(Duration::from_millis(50)).ok()?;
    let place = order[ready.index()];
    Some((place, ready.recv(&sources[place].receiver).unwrap_or(Read::End)))
}

/// Shows where it is and what has come out: nobody who looks waits until it is written, and a run that ends before that
/// gives it out again.
fn show(core: &Core, sources: &[Source], board: &Board, produced: &Produced, seconds: f64) {
    board.update(|state| {
        state.take(produced);
        let accounts = state.partitions.iter_mut().zip(core.accounting());
        for (place, (shown, accounting)) in accounts.enumerate() {
            shown.accounting = accounting;
            shown.latest_ms = core.latest_ms_of(place);
            shown.behind = sources[place].behind;
        }
        state.watermark_ms = core.watermark_ms();
        state.sizes = core.sizes();
        state.alerts.left_out = core.alerts_left_out();
        for (name, refused) in core.refused() {
            if let Some(kpi) = state.kpis.iter_mut().find(|kpi| kpi.name == name) {
                kpi.refused = refused;
            }
        }
        state.batches.0 += 1;
        state.batches.1 += seconds;
        for (bound, count) in BATCH_SECONDS.iter().zip(&mut state.batches.2) {
            *count += u64::from(seconds <= *bound);
        }
    });
}
