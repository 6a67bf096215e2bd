//! Healing what came too late: facts and KPIs as if every event had come in time.
//!
//! The log is replayed up to where the run has read it, with each event that was late moved to
//! where it belongs: before the first of its partition whose time is not earlier. Days of facts
//! that come out otherwise are replaced, and rows of KPIs that differ are shown again with a
//! higher revision.
//!
//! Replacing is safe against being stopped: the new files are complete before a list of what
//! goes where is written, and what the list says is done again until it is gone
//! ([`finish_swap`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::buffer::Buffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use headsup_connectors::disk::{remove_all, replace};
use headsup_connectors::store::table_files;
use headsup_connectors::{Checkpoints, Claim, Disk, EventLog, Reader, RealDisk, Store, StoreError};
use headsup_events::{Chunk, Decoder};
use headsup_kpi::{Kpi, KpiWindows};
use headsup_operators::facts::Table;
use headsup_operators::{Copied, Pipeline, PipelineConfig, Windows, WindowsError};
use headsup_stream::{PartitionClock, Placed, gcd};
use xxhash_rust::xxh3::xxh3_128;

use crate::checkpoint::Packed;
use crate::publish::Publisher;
use crate::resume;
use crate::rows::{self, KpiRows, check_files, read_as};
use crate::run::{Job, RunError};
use crate::topics::KPIS;

/// What was healed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healed {
    /// Events that had been late.
    pub late: u64,
    /// Days of facts that were replaced: table, date, rows before and after.
    pub facts: Vec<(Table, String, u64, u64)>,
    /// Rows shown again, by KPI.
    pub rows: Vec<(String, u64)>,
}

/// The part of time to heal, [from, to) in ms.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// From this time.
    pub from_ms: i64,
    /// Before this one.
    pub to_ms: i64,
}

/// Why nothing was healed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HealError {
    /// What a run can meet, too.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Nothing has been computed yet.
    #[error("there is nothing to heal in {}: no run over the log has left a checkpoint there; `headsup run` first", .0.display())]
    NoRun(PathBuf),
    /// SQL over the tables.
    #[error("cannot compare the KPIs with what was shown")]
    Sql(#[from] DataFusionError),
    /// Replacing files.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl<E: Into<RunError>> From<E> for Box<HealError> {
    fn from(error: E) -> Self {
        Box::new(HealError::Run(error.into()))
    }
}

/// Heals the days of facts and the windows of KPIs in `range` that are over.
///
/// # Errors
/// A run is going on; there is no checkpoint, or one of other definitions; a disk or log that
/// cannot be read or written.
pub fn heal(
    job: &Job,
    log: &Arc<dyn EventLog>,
    range: Range,
    dry_run: bool,
) -> Result<Healed, Box<HealError>> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    // Nobody else writes the tables meanwhile.
    let claim = Arc::new(Claim::take(disk.clone(), &job.data, "all")?);
    finish_swap(&*disk, &job.data)?;
    let checkpoints = Checkpoints::of(disk.clone(), &job.data, None);
    let checkpoint = resume::of_definitions(&checkpoints, &resume::definitions(job))?;
    let checkpoint = checkpoint.filter(|checkpoint| checkpoint.generation >= claim.generation());
    let Some(checkpoint) = checkpoint else {
        return Err(Box::new(HealError::NoRun(job.data.clone())));
    };
    let replayed = replay(job, log, &checkpoint.snapshot)?;
    let mut healed = Healed { late: replayed.late, ..Healed::default() };
    let facts = facts(job, &replayed, range, &mut healed)?;
    let rows = rows(job, &replayed, range, &mut healed)?;
    if dry_run {
        return Ok(healed);
    }
    // First to the topic: should this be stopped before the tables have the rows, the same
    // rows are found to differ again, and the topic's are left out.
    let from_start = log.topics()?.into_iter().map(|topic| (topic.name, Vec::new())).collect();
    let topics: &[&str] = if job.publishes(KPIS) { &[KPIS] } else { &[] };
    let mut publisher =
        Publisher::open(log.clone(), "recompute", claim.generation(), topics, Some(&from_start))?;
    let tag = format!("recompute{}", claim.epoch());
    let mut store = Store::open(disk.clone(), &job.data, Some(&tag))?.guarded_by(claim.clone());
    for (kpi, batches) in job.kpis.iter().zip(&rows) {
        for batch in batches {
            publisher.rows(kpi, batch);
            store.append(&rows::folder(kpi), "window_start", batch.batch())?;
        }
    }
    publisher.flush()?;
    store.flush()?;
    swap(&disk, &job.data, &tag, &claim, &facts)?;
    Ok(healed)
}

/// What the log gives if nothing is late.
struct Replayed {
    late: u64,
    facts: Vec<(Table, RecordBatch)>,
    /// Everything before is known.
    watermark_ms: i64,
}

/// A record that was late, and where it belongs.
struct Late {
    time_ms: i64,
    offset: u64,
    appended_at_ms: i64,
    bytes: Vec<u8>,
}

fn replay(job: &Job, log: &Arc<dyn EventLog>, snapshot: &Packed) -> Result<Replayed, RunError> {
    let mut sources = Vec::new();
    for (name, &end) in &snapshot.positions {
        let place =
            name.rsplit_once('/').and_then(|(topic, number)| Some((topic, number.parse::<u32>().ok()?)));
        let Some((topic, partition)) = place else { continue };
        let late = find_late(job, log.reader(topic, partition, 0)?, end)?;
        let reader = log.reader(topic, partition, 0)?;
        let late_offsets = late.iter().map(|late| late.offset).collect();
        sources.push(Replay { reader, next: 0, end, late: late.into(), late_offsets, latest_ms: None });
    }
    let count = sources.iter().map(|source| source.late.len() as u64).sum();
    let config = PipelineConfig {
        partitions: sources.len(),
        disorder_ms_max: job.config.disorder_ms_max,
        lateness_ms_max: job.config.lateness_ms_max,
        contacts: job.config.contacts,
        follow: job.config.follow.clone(),
        agents: job.config.agents,
        queue_tick_ms: job.config.queue_tick_ms,
        queue_over_ms: job.config.queue_over_ms,
        quiet_until_ms: i64::MIN,
        store: Table::ALL.to_vec(),
        profile: false,
    };
    // Facts are given out at the same times as they were.
    let grid = Grid(job.kpis.iter().fold(0, |grid, kpi| gcd(grid, kpi.tick_ms())));
    let mut pipeline = Pipeline::new(config, if grid.0 > 0 { vec![Box::new(grid)] } else { Vec::new() });
    let mut decoder = Decoder::new(job.config.limits, Pipeline::columns());
    let mut facts = Vec::new();
    loop {
        let open = (0..sources.len()).filter(|&place| sources[place].next < sources[place].end);
        let Some(place) = open.min_by_key(|&place| pipeline.latest_ms_of(place)) else { break };
        let source = &mut sources[place];
        let Some(mut chunk) = source.reader.next(Duration::from_secs(1))? else { continue };
        chunk.spans.truncate((source.end - chunk.first_offset) as usize);
        source.next = chunk.first_offset + chunk.spans.len() as u64;
        source.push(&chunk, place, &mut decoder, &mut pipeline);
        facts.append(&mut pipeline.advance().map_err(RunError::Kpi)?.facts);
    }
    if snapshot.ended {
        (0..sources.len()).for_each(|place| pipeline.end(place));
        facts.append(&mut pipeline.advance().map_err(RunError::Kpi)?.facts);
    }
    let watermark_ms = pipeline.watermark_ms().unwrap_or(i64::MIN);
    Ok(Replayed { late: count, facts, watermark_ms })
}

/// The records of a partition that were behind its watermark, by time.
fn find_late(job: &Job, mut reader: Box<dyn Reader>, end: u64) -> Result<Vec<Late>, RunError> {
    let mut decoder = Decoder::new(job.config.limits, Pipeline::columns());
    let mut clock = PartitionClock::new(job.config.disorder_ms_max, job.config.lateness_ms_max);
    let mut late = Vec::new();
    let mut next = 0;
    while next < end {
        let Some(mut chunk) = reader.next(Duration::from_secs(1))? else { continue };
        chunk.spans.truncate((end - chunk.first_offset) as usize);
        next = chunk.first_offset + chunk.spans.len() as u64;
        let before = clock;
        let events = decoder.decode(&chunk).events;
        let place = |clock: &mut PartitionClock, time_ms: i64| {
            let placed = clock.place(time_ms);
            if placed != Placed::TooLate {
                clock.see(time_ms);
            }
            placed != Placed::At(time_ms)
        };
        let times: Vec<bool> = (0..events.len()).map(|row| place(&mut clock, events.time_ms(row))).collect();
        if !times.contains(&true) {
            continue;
        }
        // Which records they are is not known of a batch.
        clock = before;
        for index in 0..chunk.spans.len() {
            let one = one(&chunk, index);
            let events = decoder.decode(&one).events;
            if !events.is_empty() && place(&mut clock, events.time_ms(0)) {
                late.push(Late {
                    time_ms: events.time_ms(0),
                    offset: one.first_offset,
                    appended_at_ms: chunk.appended_at_ms,
                    bytes: chunk.record(index).to_vec(),
                });
            }
        }
    }
    late.sort_by_key(|late| (late.time_ms, late.offset));
    Ok(late)
}

/// One record of a chunk.
fn one(chunk: &Chunk, index: usize) -> Chunk {
    Chunk {
        first_offset: chunk.first_offset + index as u64,
        appended_at_ms: chunk.appended_at_ms,
        bytes: chunk.bytes.clone(),
        spans: vec![chunk.spans[index]],
        oversized: if chunk.oversized.contains(&(index as u32)) { vec![0] } else { Vec::new() },
    }
}

/// A partition being replayed.
struct Replay {
    reader: Box<dyn Reader>,
    next: u64,
    end: u64,
    /// Records that were late and have not had their turn, by time.
    late: VecDeque<Late>,
    /// Where they come in the log, and are left out.
    late_offsets: BTreeSet<u64>,
    latest_ms: Option<i64>,
}

impl Replay {
    /// Pushes the records of a chunk that were in time, and before them those that belong there.
    fn push(&mut self, chunk: &Chunk, place: usize, decoder: &mut Decoder, pipeline: &mut Pipeline) {
        let decoded = decoder.decode(chunk);
        let times = (0..decoded.events.len()).map(|row| decoded.events.time_ms(row));
        let latest_ms = times.max().max(self.latest_ms);
        let offsets = chunk.first_offset..chunk.first_offset + chunk.spans.len() as u64;
        let none_here = self.late_offsets.range(offsets).next().is_none();
        if none_here && self.late.front().is_none_or(|late| Some(late.time_ms) > latest_ms) {
            self.latest_ms = latest_ms;
            pipeline.push(place, decoded, 0);
            return;
        }
        for index in 0..chunk.spans.len() {
            let one = one(chunk, index);
            if self.late_offsets.remove(&one.first_offset) {
                continue;
            }
            let decoded = decoder.decode(&one);
            if !decoded.events.is_empty() {
                self.latest_ms = self.latest_ms.max(Some(decoded.events.time_ms(0)));
            }
            while let Some(late) = self.late.pop_front_if(|late| Some(late.time_ms) <= self.latest_ms) {
                let moved = Chunk {
                    first_offset: late.offset,
                    appended_at_ms: late.appended_at_ms,
                    spans: vec![(0, late.bytes.len() as u32)],
                    bytes: Buffer::from(late.bytes),
                    oversized: Vec::new(),
                };
                pipeline.push(place, decoder.decode(&moved), 0);
            }
            pipeline.push(place, decoded, 0);
        }
    }
}

/// Does nothing, at these times: so that facts are given out when the windows of a run have them
/// given out.
#[derive(Debug)]
struct Grid(i64);

impl Windows for Grid {
    fn name(&self) -> &str {
        "grid"
    }

    fn tables(&self) -> Vec<Table> {
        Vec::new()
    }

    fn columns(&self, _table: Table) -> BTreeSet<usize> {
        BTreeSet::new()
    }

    fn tick_ms(&self) -> i64 {
        self.0
    }

    fn next_tick_ms(&self) -> Option<i64> {
        None
    }

    fn absorb(&mut self, _now_ms: i64, _table: Table, _facts: &RecordBatch) -> Result<(), WindowsError> {
        Ok(())
    }

    fn tick(&mut self, _now_ms: i64, _rows: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
        Ok(())
    }

    fn refused(&self) -> u64 {
        0
    }

    fn save(&self) -> Copied {
        Copied::new(|| Ok(Vec::new()))
    }

    fn restore(&mut self, _saved: &[u8]) -> Result<(), WindowsError> {
        Ok(())
    }
}

const DAY_MS: i64 = 86_400_000;

/// A day of a table that comes out otherwise: its files, and what takes their place.
struct Day {
    table: Table,
    old: Vec<PathBuf>,
    new: Vec<RecordBatch>,
}

/// The days of facts in `range` that are over and differ from what is stored.
fn facts(
    job: &Job,
    replayed: &Replayed,
    range: Range,
    healed: &mut Healed,
) -> Result<Vec<Day>, Box<HealError>> {
    let mut days: BTreeMap<(Table, i64), Vec<RecordBatch>> = BTreeMap::new();
    for (table, batch) in &replayed.facts {
        let times = batch.column_by_name(table.event_time());
        let Some(times) = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>()) else {
            continue;
        };
        let day = |us: i64| us.div_euclid(1_000 * DAY_MS);
        let all: BTreeSet<i64> = times.iter().map(|us| us.map_or(0, day)).collect();
        for of in all {
            let keep: BooleanArray = times.iter().map(|us| Some(us.map_or(0, day) == of)).collect();
            let rows =
                filter_record_batch(batch, &keep).map_err(DataFusionError::from).map_err(HealError::Sql);
            days.entry((*table, of)).or_default().push(rows?);
        }
    }
    let mut changed = Vec::new();
    for &table in &job.config.store_tables {
        let mut files: BTreeMap<i64, Vec<PathBuf>> = BTreeMap::new();
        for file in table_files(&job.data, &format!("facts/{}", table.name()))? {
            let date = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            let date = date.and_then(|name| name.strip_prefix("dt="));
            let ms = date.and_then(|date| headsup_events::parse_rfc3339_ms(&format!("{date}T00:00:00Z")));
            files.entry(ms.map_or(0, |ms| ms.div_euclid(DAY_MS))).or_default().push(file);
        }
        let known = days.keys().filter(|(other, _)| *other == table).map(|(_, day)| *day);
        let all: BTreeSet<i64> = known.chain(files.keys().copied()).collect();
        for day in all {
            let (start_ms, end_ms) = (day * DAY_MS, (day + 1) * DAY_MS);
            // Of a day that is not over the run has not given out everything yet.
            if start_ms < range.from_ms || end_ms > range.to_ms || end_ms > replayed.watermark_ms {
                continue;
            }
            let old = files.remove(&day).unwrap_or_default();
            let stored = read_as(table.schema(), old.clone()).collect::<Result<Vec<_>, RunError>>()?;
            let new = days.remove(&(table, day)).unwrap_or_default();
            let (before, after) = (hashes(&stored)?, hashes(&new)?);
            if before != after {
                let date = headsup_events::format_rfc3339_ms(start_ms).chars().take(10).collect();
                healed.facts.push((table, date, before.len() as u64, after.len() as u64));
                changed.push(Day { table, old, new });
            }
        }
    }
    Ok(changed)
}

/// A hash of each row, sorted.
fn hashes(batches: &[RecordBatch]) -> Result<Vec<u128>, Box<HealError>> {
    let options = FormatOptions::new().with_null("\u{0}");
    let mut hashes = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>();
        let columns = columns.map_err(DataFusionError::from).map_err(HealError::Sql)?;
        hashes.extend((0..batch.num_rows()).map(|row| {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            xxh3_128(cells.join("\u{1}").as_bytes())
        }));
    }
    hashes.sort_unstable();
    Ok(hashes)
}

/// The rows to show again, by KPI: those of windows in `range` that are over and differ from what
/// was shown last, each with the window's next revision. A row that is not there any more has
/// no values.
fn rows(
    job: &Job,
    replayed: &Replayed,
    range: Range,
    healed: &mut Healed,
) -> Result<Vec<Vec<KpiRows>>, Box<HealError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| HealError::Sql(DataFusionError::IoError(error)))?;
    let mut all = Vec::new();
    for kpi in &job.kpis {
        // They are read by SQL, which would take the columns of the first file for those of all.
        check_files(&kpi.rows, &table_files(&job.data, &rows::folder(kpi))?)?;
        let mut windows = KpiWindows::new(kpi.clone());
        for (table, facts) in replayed.facts.iter().filter(|(table, _)| kpi.tables().contains(table)) {
            windows.absorb(i64::MIN, *table, facts).map_err(RunError::Kpi)?;
        }
        let mut rows = Vec::new();
        windows.finish(&mut rows).map_err(HealError::Sql)?;
        let rows = runtime.block_on(differing(job, kpi, rows, range, replayed.watermark_ms));
        let rows = rows.map_err(HealError::Sql)?;
        let count: usize = rows.iter().map(KpiRows::len).sum();
        if count > 0 {
            healed.rows.push((kpi.name.clone(), count as u64));
        }
        all.push(rows);
    }
    Ok(all)
}

async fn differing(
    job: &Job,
    kpi: &Arc<Kpi>,
    rows: Vec<RecordBatch>,
    range: Range,
    watermark_ms: i64,
) -> Result<Vec<KpiRows>, DataFusionError> {
    let context = crate::query::session(&job.data, &job.kpis, &job.config.kpis.calendar).await?;
    crate::query::register_rows(&context, "healed", kpi.rows.clone(), rows)?;
    let fields = kpi.rows.fields();
    let quoted = |range: std::ops::Range<usize>| {
        fields[range].iter().map(|field| format!("\"{}\"", field.name())).collect::<Vec<_>>().join(", ")
    };
    let (values, keys) = (quoted(0..fields.len() - 3), quoted(0..3 + kpi.key_count));
    let name = &kpi.name;
    // The last time at which a window has to be over for good.
    let over_ms = watermark_ms
        .saturating_sub(kpi.corrections_ms)
        .min(range.to_ms.saturating_add(kpi.windowing.size_ms()));
    let inside = format!(
        "window_start >= {} AND window_start < {} AND window_end <= {}",
        timestamp(range.from_ms),
        timestamp(range.to_ms),
        timestamp(over_ms)
    );
    let empty: Vec<String> = fields[3 + kpi.key_count..fields.len() - 3]
        .iter()
        .map(|field| format!("CAST(NULL AS {}) AS \"{}\"", sql_type(field.data_type()), field.name()))
        .collect();
    // EXCEPT compares NULL with NULL as equal, and doubles by their bits. A row without values
    // was taken back before, and is not there.
    let shown = format!("SELECT * FROM kpi.\"{name}\" WHERE {inside} AND {}", has_values(kpi));
    let query = format!(
        "SELECT {values} FROM healed WHERE {inside} EXCEPT SELECT {values} FROM ({shown}) \
         UNION ALL SELECT {keys}, {} FROM (SELECT {keys} FROM ({shown}) EXCEPT SELECT {keys} FROM healed)",
        empty.join(", ")
    );
    let query = format!("SELECT * FROM ({query}) ORDER BY {keys}");
    let rows = context.sql(&query).await?.collect().await?;
    let revisions = context
        .sql(&format!(
            "SELECT window_start, max(revision) AS revision FROM kpi_history.\"{name}\" WHERE {inside} GROUP BY window_start"
        ))
        .await?
        .collect()
        .await?;
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for batch in &revisions {
        let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
        last.extend(
            starts.iter().copied().zip(batch.column(1).as_primitive::<Int64Type>().values().iter().copied()),
        );
    }
    let mut all = Vec::new();
    for batch in rows.iter().filter(|batch| batch.num_rows() > 0) {
        let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
        let revisions: Vec<i64> =
            starts.iter().map(|start| last.get(start).map_or(1, |last| last.saturating_add(1))).collect();
        let count = batch.num_rows();
        let at = watermark_ms.min(range.to_ms).min(SQL_MS[1]).saturating_mul(1_000);
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(revisions)));
        columns.push(Arc::new(BooleanArray::from(vec![true; count])));
        columns.push(Arc::new(TimestampMicrosecondArray::from(vec![at; count]).with_timezone("UTC")));
        let columns =
            columns.iter().zip(fields).map(|(column, field)| arrow::compute::cast(column, field.data_type()));
        let batch = RecordBatch::try_new(kpi.rows.clone(), columns.collect::<Result<_, _>>()?)?;
        all.extend(KpiRows::of(kpi, batch).map_err(DataFusionError::Internal)?.parts());
    }
    Ok(all)
}

/// An SQL condition: the row of a KPI has not been taken back, which leaves it without values.
pub fn has_values(kpi: &Kpi) -> String {
    let fields = kpi.rows.fields();
    let values = &fields[3 + kpi.key_count..fields.len() - 3];
    let values: Vec<String> =
        values.iter().map(|field| format!("\"{}\" IS NOT NULL", field.name())).collect();
    if values.is_empty() { "TRUE".to_owned() } else { format!("({})", values.join(" OR ")) }
}

/// 1900 to 2200: SQL reads a time as nanoseconds, which reach not much further.
const SQL_MS: [i64; 2] = [-2_208_988_800_000, 7_258_118_400_000];

fn timestamp(ms: i64) -> String {
    let ms = ms.clamp(SQL_MS[0], SQL_MS[1]);
    format!("TIMESTAMP '{}'", headsup_events::format_rfc3339_ms(ms))
}

fn sql_type(kind: &arrow::datatypes::DataType) -> &'static str {
    use arrow::datatypes::DataType;
    match kind {
        DataType::Int64 => "BIGINT",
        DataType::Float64 => "DOUBLE",
        DataType::Boolean => "BOOLEAN",
        DataType::Timestamp(..) => "TIMESTAMP WITH TIME ZONE",
        _ => "VARCHAR",
    }
}

/// Where new files wait, and the list of what goes where.
fn scratch(root: &Path) -> (PathBuf, PathBuf) {
    let folder = root.join("runs").join("recompute");
    (folder.join("new"), folder.join("swap"))
}

/// Puts new files in the place of old ones.
fn swap(
    disk: &Arc<dyn Disk>,
    root: &Path,
    tag: &str,
    claim: &Arc<Claim>,
    days: &[Day],
) -> Result<(), Box<HealError>> {
    if days.is_empty() {
        return Ok(());
    }
    let (new, list) = scratch(root);
    let io_error = |action, path: &Path| {
        let path = path.to_owned();
        move |source| HealError::Io { action, path, source }
    };
    remove_all(&**disk, &new).map_err(io_error("empty", &new))?;
    let mut store = Store::open(disk.clone(), &new, Some(tag))?.guarded_by(claim.clone());
    let mut lines = String::new();
    for day in days {
        let table = format!("facts/{}", day.table.name());
        for rows in &day.new {
            store.append(&table, day.table.event_time(), rows)?;
        }
        for old in &day.old {
            lines += &format!("- {}\n", old.strip_prefix(root).unwrap_or(old).display());
        }
    }
    store.flush()?;
    for day in days {
        for file in table_files(&new, &format!("facts/{}", day.table.name()))? {
            let line = format!("+ {}\n", file.strip_prefix(&new).unwrap_or(&file).display());
            if !lines.contains(&line) {
                lines += &line;
            }
        }
    }
    replace(&**disk, &list, &[lines.as_bytes()]).map_err(io_error("write", &list))?;
    finish_swap(&**disk, root)?;
    Ok(())
}

/// Finishes what a process that was stopped had begun to put in place.
///
/// # Errors
/// A file that cannot be moved or removed.
pub(crate) fn finish_swap(disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
    let (new, list) = scratch(root);
    let io_error = |action, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io { action, path, source }
    };
    let lines = match disk.read(&list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(io_error("read", &list))?,
    };
    let lines = String::from_utf8_lossy(&lines).into_owned();
    // The old ones go last: better a row twice than none, should somebody look.
    for sign in ["+ ", "- "] {
        for name in lines.lines().filter_map(|line| line.strip_prefix(sign)) {
            let path = root.join(name);
            let folder = path.parent().unwrap_or(root).to_owned();
            let done = if sign == "+ " {
                headsup_connectors::disk::make_folders(disk, root, &folder)
                    .map_err(io_error("make", &folder))?;
                disk.rename(&new.join(name), &path)
            } else {
                disk.remove(&path)
            };
            match done {
                // Done before.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(io_error("put in place", &path))?,
            }
            disk.sync_folder(&folder).map_err(io_error("force to disk", &folder))?;
        }
    }
    disk.remove(&list).map_err(io_error("remove", &list))?;
    list.parent().map_or(Ok(()), |folder| disk.sync_folder(folder).map_err(io_error("force to disk", folder)))
}
