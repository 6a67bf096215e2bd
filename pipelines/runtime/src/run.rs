//! Reads the input, drives the operators, writes what comes out.
//!
//! A thread per partition reads and decodes; the caller's thread runs the
//! operators; one thread writes. Channels between them are bounded, so the slowest
//! sets the pace and memory stays flat.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Select, Sender, TryRecvError, bounded};
use headsup_connectors::{CheckpointError, Checkpoints, EventLog, Lines, LogError, Record, StoreError};
use headsup_events::{Decoded, Decoder, format_rfc3339_ms};
use headsup_kpi::{Kpi, KpiWindows};
use headsup_operators::{Pipeline, PipelineConfig, Profile, Windows, WindowsError};
use headsup_stream::Accounting;

use crate::board::{BATCH_SECONDS, Board, PartitionBoard, Stalls};
use crate::config::Config;
use crate::resume::{self, Snapshot};
use crate::write::{Write, Writer};

/// Where events come from.
pub enum Input {
    /// Files of JSON lines (plain, gzip, zstd); `-` is standard input. Each is a
    /// partition.
    Files(Vec<PathBuf>),
    /// Topics of the log, all partitions, from where the last run has ended.
    Log(Arc<dyn EventLog>, Vec<String>),
}

/// What a run is to do.
pub struct Job {
    /// The configuration.
    pub config: Config,
    /// The KPIs to compute.
    pub kpis: Vec<Arc<Kpi>>,
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
    /// Packing or unpacking the state of the operators.
    #[error("cannot {0} the state of the operators")]
    State(&'static str, #[source] WindowsError),
    /// Evaluating a KPI.
    #[error("cannot evaluate the KPIs")]
    Kpi(#[source] WindowsError),
    /// A thread panicked; its message is on standard error.
    #[error("the {0} thread has stopped unexpectedly")]
    Thread(&'static str),
}

/// Chunks decoded ahead of the operators, per partition.
const AHEAD: usize = 2;
/// Outputs waiting to be written.
const OUTPUTS: usize = 16;

enum Read {
    /// Decoded records, the offset after them, and how many more there are.
    Batch(Box<Decoded>, u64, u64),
    /// Nothing more for now.
    CaughtUp,
    End,
    Failed(LogError),
}

struct Source {
    name: String,
    /// Topic and partition, of a log.
    place: Option<(String, u32)>,
    receiver: Receiver<Read>,
    /// The offset after what the operators have.
    position: u64,
    caught_up: bool,
    ended: bool,
    behind: Option<u64>,
    quiet_since: Instant,
}

/// Runs the pipeline until the input ends (with `until_end`) or `stop` is set.
///
/// # Errors
/// An input that cannot be read, or a table that cannot be written.
pub fn run(job: Job, input: Input, board: &Arc<Board>, stop: &Arc<AtomicBool>) -> Result<Report, RunError> {
    let checkpoints = Checkpoints::of(&job.data);
    let definitions = resume::definitions(&job);
    // Of files there is no going on: standard input does not come again.
    let resumable = matches!(input, Input::Log(..));
    if job.from_start || !resumable {
        checkpoints.clear()?;
    }
    let checkpoint = resume::load(&checkpoints, &definitions)?;
    let positions = checkpoint.as_ref().map(|(_, checkpoint)| &checkpoint.snapshot.positions);
    let quit = Arc::new(AtomicBool::new(false));
    let (mut sources, readers, log) = open(&job, input, positions, &quit)?;
    if let Some((path, _)) = &checkpoint {
        let now: Vec<&String> = sources.iter().map(|source| &source.name).collect();
        if !positions.is_some_and(|positions| positions.keys().eq(now.iter().copied())) {
            return Err(CheckpointError::Other {
                path: path.clone(),
                changed: vec!["the partitions of the log".to_owned()],
            }
            .into());
        }
    }
    let config = PipelineConfig {
        partitions: sources.len(),
        disorder_ms_max: job.config.disorder_ms_max,
        lateness_ms_max: job.config.lateness_ms_max,
        contacts: job.config.contacts,
        queue_tick_ms: job.config.queue_tick_ms,
        store: job.config.store_tables.clone(),
        profile: job.profile,
    };
    let windows = job.kpis.iter().map(|kpi| Box::new(KpiWindows::new(kpi.clone())) as Box<dyn Windows>);
    let mut pipeline = Pipeline::new(config, windows.collect());
    let checkpoint = checkpoint.map(|(_, checkpoint)| checkpoint);
    let store = resume::open_tables(&job.data, checkpoint.as_ref())?;
    if let Some(checkpoint) = &checkpoint {
        pipeline.restore(&checkpoint.snapshot.state).map_err(|error| RunError::State("restore", error))?;
        resume::show(checkpoint, &job.data, board)?;
    }
    let resumed = checkpoint.as_ref().map(|_| pipeline.accounting().map(|partition| partition.read).sum());
    board.update(|state| {
        state.partitions = sources
            .iter()
            .map(|source| PartitionBoard { name: source.name.clone(), ..PartitionBoard::default() })
            .collect();
    });
    let (sender, receiver) = bounded(OUTPUTS);
    let writer = {
        let quarantined = checkpoint.map(|checkpoint| checkpoint.quarantined).unwrap_or_default();
        let writer = Writer {
            store,
            checkpoints: checkpoints.clone(),
            definitions,
            quarantined,
            kpis: job.kpis.clone(),
            board: board.clone(),
        };
        std::thread::Builder::new()
            .name("write".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|_| RunError::Thread("write"))?
    };
    let outcome = drive(&job, &mut pipeline, &mut sources, log.as_deref(), &sender, board, stop);
    quit.store(true, Ordering::Relaxed);
    drop(sender);
    // Readers notice that nobody listens, or that they are to quit.
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
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
    if sources_ended(&pipeline) {
        // Every window is final; there is nothing to go on from.
        checkpoints.clear()?;
    }
    let Profile { dedup, reorder, contacts, windows } = pipeline.profile();
    board.update(|state| state.ended = job.until_end);
    Ok(Report {
        resumed,
        partitions: names.into_iter().zip(pipeline.accounting()).collect(),
        rows,
        refused: pipeline.refused().map(|(name, count)| (name.to_owned(), count)).collect(),
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

type Readers = Vec<JoinHandle<(Duration, Duration)>>;
type Opened = (Vec<Source>, Readers, Option<Arc<dyn EventLog>>);

fn open(
    job: &Job,
    input: Input,
    positions: Option<&BTreeMap<String, u64>>,
    quit: &Arc<AtomicBool>,
) -> Result<Opened, RunError> {
    let mut sources = Vec::new();
    let mut readers = Vec::new();
    let decoder = || Decoder::new(job.config.limits, Pipeline::columns());
    let mut source =
        |name: String,
         place,
         position,
         behind,
         body: Box<dyn FnOnce(Sender<Read>) -> (Duration, Duration) + Send>| {
            let (sender, receiver) = bounded(AHEAD);
            let thread = std::thread::Builder::new()
                .name(format!("read {name}"))
                .spawn(move || body(sender))
                .map_err(|_| RunError::Thread("read"))?;
            readers.push(thread);
            sources.push(Source {
                name,
                place,
                receiver,
                position,
                caught_up: false,
                ended: false,
                behind,
                quiet_since: Instant::now(),
            });
            Ok::<_, RunError>(())
        };
    match input {
        Input::Files(paths) => {
            for path in paths {
                let lines = Lines::open(&path)?;
                let decoder = decoder();
                let name = path.display().to_string();
                source(name, None, 0, None, Box::new(move |sender| read_lines(lines, decoder, &sender)))?;
            }
            Ok((sources, readers, None))
        }
        Input::Log(log, topics) => {
            for topic in log.topics()? {
                if !topics.contains(&topic.name) {
                    continue;
                }
                for (partition, &end) in topic.end_offsets.iter().enumerate() {
                    let name = format!("{}/{partition}", topic.name);
                    let from = positions.and_then(|positions| positions.get(&name)).copied().unwrap_or(0);
                    if from > end {
                        return Err(RunError::LogShorter { partition: name, end, position: from });
                    }
                    let reader = log.reader(&topic.name, partition as u32, from)?;
                    let decoder = decoder();
                    let until = job.until_end.then_some(end);
                    let quit = quit.clone();
                    source(
                        name,
                        Some((topic.name.clone(), partition as u32)),
                        from,
                        Some(end.saturating_sub(from)),
                        Box::new(move |sender| read_log(reader, from, until, decoder, &sender, &quit)),
                    )?;
                }
            }
            Ok((sources, readers, Some(log)))
        }
    }
}

fn read_lines(mut lines: Lines, mut decoder: Decoder, sender: &Sender<Read>) -> (Duration, Duration) {
    let (mut reading, mut decoding) = (Duration::ZERO, Duration::ZERO);
    loop {
        let started = Instant::now();
        let chunk = lines.next();
        reading += started.elapsed();
        let message = match chunk {
            Ok(Some(chunk)) => {
                let started = Instant::now();
                let decoded = decoder.decode(&chunk);
                decoding += started.elapsed();
                Read::Batch(Box::new(decoded), 0, 0)
            }
            Ok(None) => Read::End,
            Err(error) => Read::Failed(error),
        };
        let last = !matches!(message, Read::Batch(..));
        if sender.send(message).is_err() || last {
            return (reading, decoding);
        }
    }
}

fn read_log(
    mut reader: Box<dyn headsup_connectors::Reader>,
    mut next: u64,
    until: Option<u64>,
    mut decoder: Decoder,
    sender: &Sender<Read>,
    quit: &AtomicBool,
) -> (Duration, Duration) {
    let (mut reading, mut decoding) = (Duration::ZERO, Duration::ZERO);
    loop {
        let started = Instant::now();
        let message = if until.is_some_and(|until| next >= until) {
            Read::End
        } else {
            match reader.next(Duration::from_millis(100)) {
                Ok(Some(mut chunk)) => {
                    if let Some(until) = until {
                        chunk.spans.truncate((until - chunk.first_offset) as usize);
                    }
                    next = chunk.first_offset + chunk.spans.len() as u64;
                    reading += started.elapsed();
                    let started = Instant::now();
                    let decoded = decoder.decode(&chunk);
                    decoding += started.elapsed();
                    let end = reader.end_offset().unwrap_or(next);
                    Read::Batch(Box::new(decoded), next, end.saturating_sub(next))
                }
                Ok(None) => Read::CaughtUp,
                Err(error) => Read::Failed(error),
            }
        };
        let last = matches!(message, Read::End | Read::Failed(_));
        if sender.send(message).is_err() || last || quit.load(Ordering::Relaxed) {
            return (reading, decoding);
        }
    }
}

fn drive(
    job: &Job,
    pipeline: &mut Pipeline,
    sources: &mut [Source],
    log: Option<&dyn EventLog>,
    sender: &Sender<Write>,
    board: &Board,
    stop: &AtomicBool,
) -> Result<(), RunError> {
    let mut heart = Heart::new(job.config.heartbeat_ms);
    let flush = Duration::from_millis(job.config.store_flush_ms as u64);
    let mut flushed = Instant::now();
    while !stop.load(Ordering::Relaxed) && sources.iter().any(|source| !source.ended) {
        if flushed.elapsed() >= flush {
            save(pipeline, sources, log.is_some(), sender, board)?;
            flushed = Instant::now();
        }
        let Some((place, message)) = receive(pipeline, sources, job.until_end) else {
            heart.beat(pipeline, sources, log)?;
            continue;
        };
        let started = Instant::now();
        let source = &mut sources[place];
        match message {
            Read::CaughtUp => {
                source.caught_up = true;
                heart.beat(pipeline, sources, log)?;
                continue;
            }
            Read::Failed(error) => return Err(error.into()),
            Read::End => {
                source.ended = true;
                pipeline.end(place);
            }
            Read::Batch(mut decoded, position, behind) => {
                source.position = position;
                source.caught_up = false;
                source.quiet_since = Instant::now();
                source.behind = source.behind.map(|_| behind);
                let quarantined = std::mem::take(&mut decoded.quarantined);
                let count = quarantined.len() as u64;
                pipeline.push(place, *decoded, count);
                if !quarantined.is_empty()
                    && sender.send(Write::Quarantined(source.name.clone(), quarantined)).is_err()
                {
                    return Ok(());
                }
            }
        }
        let output = pipeline.advance().map_err(RunError::Kpi)?;
        let seconds = started.elapsed().as_secs_f64();
        show(pipeline, sources, board, seconds);
        let any = !output.facts.is_empty() || !output.rows.is_empty();
        if any && sender.send(Write::Output(output)).is_err() {
            // The writer has failed and says why when it is joined.
            return Ok(());
        }
        heart.beat(pipeline, sources, log)?;
    }
    if !sources_ended(pipeline) {
        save(pipeline, sources, log.is_some(), sender, board)?;
    }
    Ok(())
}

/// Whether time has gone to its end.
fn sources_ended(pipeline: &Pipeline) -> bool {
    pipeline.watermark_ms() == Some(i64::MAX)
}

/// Has the writer complete the tables, and then write a checkpoint if the sources are
/// of a log. The operators wait only for their state to be copied.
fn save(
    pipeline: &mut Pipeline,
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
            state: pipeline.save().map_err(|error| RunError::State("save", error))?,
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
fn receive(pipeline: &Pipeline, sources: &[Source], patient: bool) -> Option<(usize, Read)> {
    let mut order: Vec<usize> = (0..sources.len()).filter(|&place| !sources[place].ended).collect();
    order.sort_by_key(|&place| (sources[place].caught_up, pipeline.latest_ms_of(place)));
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

/// Writes heartbeats into partitions of the log that have gone quiet, so that they
/// do not hold back time. Being in the log, they are the same in a replay.
struct Heart {
    every: Duration,
    last: Instant,
    /// The largest event time at the last look: what is in flight since then is
    /// not overtaken.
    latest_ms: Option<i64>,
    count: u64,
}

impl Heart {
    fn new(every_ms: i64) -> Self {
        Self {
            every: Duration::from_millis(every_ms as u64),
            last: Instant::now(),
            latest_ms: None,
            count: 0,
        }
    }

    fn beat(
        &mut self,
        pipeline: &Pipeline,
        sources: &[Source],
        log: Option<&dyn EventLog>,
    ) -> Result<(), RunError> {
        let elapsed = self.last.elapsed();
        let Some(log) = log.filter(|_| elapsed >= self.every) else {
            return Ok(());
        };
        self.last = Instant::now();
        let before = std::mem::replace(&mut self.latest_ms, pipeline.latest_ms());
        let (Some(before), Some(now)) = (before, self.latest_ms) else {
            return Ok(());
        };
        let quiet = |source: &Source| source.caught_up && source.quiet_since.elapsed() >= self.every;
        // When all are quiet, event time goes on as fast as the clock.
        let target = if sources.iter().all(quiet) { now + elapsed.as_millis() as i64 } else { before };
        for (place, source) in sources.iter().enumerate() {
            let Some((topic, partition)) = &source.place else { continue };
            if source.ended
                || !quiet(source)
                || pipeline.latest_ms_of(place).is_some_and(|latest| latest >= target)
            {
                continue;
            }
            self.count += 1;
            let event = format!(
                r#"{{"specversion":"1.0","id":"{}-{}","source":"/headsup/{topic}/{partition}","type":"headsup.heartbeat","time":"{}"}}"#,
                target,
                self.count,
                format_rfc3339_ms(target),
            );
            log.append_to(topic, *partition, &[Record { key: b"", value: event.as_bytes() }])?;
        }
        Ok(())
    }
}

fn show(pipeline: &Pipeline, sources: &[Source], board: &Board, seconds: f64) {
    board.update(|state| {
        let accounts = state.partitions.iter_mut().zip(pipeline.accounting());
        for (place, (shown, accounting)) in accounts.enumerate() {
            shown.accounting = accounting;
            shown.latest_ms = pipeline.latest_ms_of(place);
            shown.behind = sources[place].behind;
        }
        state.watermark_ms = pipeline.watermark_ms();
        state.sizes = pipeline.sizes().to_vec();
        for (name, refused) in pipeline.refused() {
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
