//! Runs that are killed, cut off from the power, and fail, at any step of what they do with
//! disk and log: in the end every output is that of a run that nothing happened to.
//!
//! A seed decides everything. `HEADSUP_TEST_SEEDS` says how many are tried, and
//! `HEADSUP_TEST_SEED` replays one.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headsup_alerts::Rules;
use headsup_connectors::{Disk, EventLog, Reader, Record};
use headsup_kpi::{Kpi, Share};
use headsup_runtime::{
    ALERTS, Begun, Config, Core, Decode, Job, KPIS, PARTIALS, QUARANTINE, Role, RunError, Snapshot,
    Unfinished, Write, Writer, begin,
};
use headsup_sources::simulate::{self, Simulator};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use world::{Fault, Process, World};

const PARTITIONS: u32 = 4;
const TOPICS: [&str; 2] = ["conversations", "orders"];

/// A rule that fires and clears often.
const ALERT: &str = r#"
[[alert]]
name = "slow"
kpi = "aht"
value = "aht_ms"
by = ["shop"]
fire_above = 60_000
clear_below = 50_000
min_n = 1
severity = "page"
"#;

fn kpis() -> Vec<Arc<Kpi>> {
    let files = [
        (
            "aht",
            "-- title: Handled\n-- unit: ms\n-- corrections: 2 minutes\nSELECT hop(ended_at, INTERVAL '1 minute', INTERVAL '3 minutes') AS period, shop, count(*) AS contacts, avg_ms(handle_ms) AS aht_ms, quantile(handle_ms, 0.9) AS p90_ms FROM contacts GROUP BY GROUPING SETS ((period), (period, shop))",
        ),
        (
            "orders",
            "-- title: Orders\n-- unit: orders\n-- early: none\nSELECT tumble(at, INTERVAL '10 minutes') AS period, type, count(*) AS orders, sum(amount_minor) AS amount_minor FROM orders GROUP BY period, type",
        ),
    ];
    let kpi = |(name, sql)| Arc::new(Kpi::parse(name, name, sql).unwrap_or_else(|error| panic!("{error}")));
    files.into_iter().map(kpi).collect()
}

/// Topic, customer, record.
fn events() -> Vec<(&'static str, String, Vec<u8>)> {
    let config = simulate::Config { customers: 500, days: 1, truth: false, ..simulate::Config::default() };
    let simulator = Simulator::new(config).expect("a world");
    let event = |event: headsup_sources::SourceEvent| {
        let topic = if event.topic == "orders" { "orders" } else { "conversations" };
        (topic, event.key, event.json.into_bytes())
    };
    let mut events: Vec<_> = simulator.map(event).collect();
    let middle = events.len() / 2;
    let mut events = events.split_off(middle);
    events.truncate(240);
    for place in [200, 120, 50] {
        let (topic, key, json) = events[place].clone();
        // Records that are no events, and copies.
        events.insert(place + 1, (topic, key.clone(), json[..json.len() / 2].to_vec()));
        events.insert(place + 3, (topic, key, json));
    }
    events
}

fn job(role: Role, kpis: &[Arc<Kpi>]) -> Job {
    Job {
        role,
        config: Config::default(),
        kpis: kpis.to_vec(),
        alerts: Rules::parse("alerts.toml", ALERT, &headsup_runtime::shapes(kpis))
            .unwrap_or_else(|e| panic!("{e}")),
        data: PathBuf::from("/data"),
        from_start: false,
        until_end: true,
        profile: false,
        scores: None,
    }
}

/// A run in its process.
struct Life {
    process: Process,
    core: Core,
    writer: Writer,
    decode: Decode,
    names: Vec<String>,
    readers: Vec<Box<dyn Reader>>,
    positions: Vec<u64>,
    /// Where its partitions end; who merges knows it by what the shares say.
    ends: Vec<u64>,
    over: bool,
    /// A flush that a thread of its own would complete.
    unfinished: Option<Unfinished>,
}

impl Life {
    fn begin(world: &World, job: &Job) -> (Process, Result<Self, RunError>) {
        let process = world.process();
        (process.clone(), Self::begin_in(process, job))
    }

    fn begin_in(process: Process, job: &Job) -> Result<Self, RunError> {
        let log: Arc<dyn EventLog> = Arc::new(process.clone());
        let disk: Arc<dyn Disk> = Arc::new(process.clone());
        let mut places = Vec::new();
        for topic in log.topics()? {
            let wanted = match job.role {
                Role::Merge => topic.name == PARTIALS,
                _ => TOPICS.contains(&topic.name.as_str()),
            };
            let mine = match &job.role {
                Role::Share(share) => share.first..share.end,
                _ => 0..topic.end_offsets.len() as u32,
            };
            let place =
                |partition: u32| (topic.name.clone(), partition, topic.end_offsets[partition as usize]);
            places.extend(mine.filter(|_| wanted).map(place));
        }
        let names: Vec<String> =
            places.iter().map(|(topic, partition, _)| format!("{topic}/{partition}")).collect();
        let named: Vec<_> = names.iter().cloned().zip(places.iter().map(|(.., end)| *end)).collect();
        let Begun { core, writer, positions, .. } = begin(job, &named, Some(&log), &disk, &Arc::default())?;
        let mut readers = Vec::new();
        for ((topic, partition, _), &position) in places.iter().zip(&positions) {
            readers.push(log.reader(topic, *partition, position)?);
        }
        let ends =
            if job.role == Role::Merge { Vec::new() } else { places.iter().map(|(.., end)| *end).collect() };
        let decode = Decode::new(&job.role, job.config.limits);
        Ok(Self {
            process,
            core,
            writer,
            decode,
            names,
            readers,
            positions,
            ends,
            over: false,
            unfinished: None,
        })
    }

    fn finish(&mut self) -> Result<(), RunError> {
        self.unfinished.take().map_or(Ok(()), |unfinished| self.writer.finish(unfinished))
    }

    fn checkpoint(&mut self) -> Result<(), RunError> {
        self.finish()?;
        let positions = self.names.iter().cloned().zip(self.positions.iter().copied()).collect();
        let state = self.core.save().map_err(|error| RunError::State("save", error))?;
        let ended = self.core.watermark_ms() == Some(i64::MAX);
        self.unfinished = Some(self.writer.begin_flush(Some(Snapshot { positions, state, ended }))?);
        Ok(())
    }

    /// Reads a little, and writes what comes of it.
    fn step(&mut self, dice: &mut ChaCha8Rng) -> Result<(), RunError> {
        match dice.random_range(0..10) {
            0 => {
                return self.checkpoint();
            }
            1 => return self.writer.publish(),
            2 => return self.finish(),
            _ => {}
        }
        let place = dice.random_range(0..self.readers.len());
        if let Some(chunk) = self.readers[place].next(Duration::ZERO)? {
            self.positions[place] = chunk.first_offset + chunk.spans.len() as u64;
            let batch = self.decode.decode(&chunk);
            let quarantined = self.core.push(place, batch)?;
            if !quarantined.is_empty() {
                self.writer.take(Write::Quarantined(self.names[place].clone(), quarantined))?;
            }
        }
        for (place, (position, end)) in self.positions.iter().zip(&self.ends).enumerate() {
            if position >= end {
                self.core.end(place);
            }
        }
        let produced = self.core.advance()?;
        if !produced.is_empty() {
            self.writer.take(Write::Output(produced))?;
        }
        if self.core.watermark_ms() == Some(i64::MAX) {
            self.checkpoint()?;
            self.finish()?;
            self.over = true;
        }
        Ok(())
    }
}

/// What is there in the end: rows of tables, and events of topics without their generation.
#[derive(PartialEq, Eq)]
struct Outcome {
    tables: BTreeMap<String, Vec<String>>,
    topics: BTreeMap<&'static str, Vec<String>>,
}

/// Runs these roles over the events, `faults` things happening on the way. How many operations
/// it took.
fn run(
    events: &[(&'static str, String, Vec<u8>)],
    kpis: &[Arc<Kpi>],
    roles: &[Role],
    seed: u64,
    faults: u64,
    length: u64,
) -> (Outcome, u64) {
    let world = World::new(seed);
    let mut dice = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let setup = world.process();
    for topic in TOPICS.into_iter().chain([KPIS, ALERTS, QUARANTINE, PARTIALS]) {
        setup.create_topic(topic, PARTITIONS).expect("made");
    }
    for (topic, key, value) in events {
        setup.append(topic, &[Record { key: key.as_bytes(), value }]).expect("appended");
    }
    let jobs: Vec<Job> = roles.iter().map(|role| job(role.clone(), kpis)).collect();
    let mut lives: Vec<Option<Life>> = jobs.iter().map(|_| None).collect();
    let mut over = vec![false; jobs.len()];
    let mut left = faults;
    let mut planned = false;
    let mut steps = 0;
    while over.iter().any(|over| !over) {
        steps += 1;
        assert!(steps < 200_000, "it does not come to an end");
        if left > 0 && !planned {
            let fault = [Fault::Error, Fault::Kill, Fault::Power][dice.random_range(0..3)];
            world.plan(1 + dice.random_range(0..length.max(2)), fault);
            (planned, left) = (true, left - 1);
        }
        let place = dice.random_range(0..jobs.len());
        if over[place] {
            continue;
        }
        let result = match &mut lives[place] {
            // Now and then a process is given up that is still there.
            Some(_) if faults > 0 && dice.random_range(0..400) == 0 => {
                let zombie = lives[place].take();
                let (_, next) = Life::begin(&world, &jobs[place]);
                if let (Some(mut zombie), Ok(_)) = (zombie, &next) {
                    for _ in 0..dice.random_range(1..8) {
                        if zombie.step(&mut dice).is_err() {
                            break;
                        }
                    }
                    let wrote = zombie.checkpoint().and_then(|()| zombie.finish());
                    assert!(wrote.is_err(), "a zombie has written");
                    zombie.process.end();
                }
                next.map(|life| lives[place] = Some(life))
            }
            Some(life) => life.step(&mut dice),
            None => Life::begin(&world, &jobs[place]).1.map(|life| lives[place] = Some(life)),
        };
        let happened = world.happened();
        if std::env::var_os("HEADSUP_TEST_SEED").is_some()
            && let Some(fault) = happened
        {
            eprintln!(
                "at operation {}: {fault:?} in {:?}, {:?}",
                world.operations(),
                jobs[place].role,
                result.as_ref().err().map(ToString::to_string)
            );
        }
        planned &= happened.is_none();
        match (result, happened) {
            (_, Some(Fault::Power)) => {
                lives.iter_mut().for_each(|life| *life = None);
                world.power_returns();
            }
            (Err(error), None) => {
                panic!("nothing happened, but: {error} {:?}", std::error::Error::source(&error))
            }
            (Err(_), Some(_)) => {
                if let Some(life) = lives[place].take() {
                    life.process.end();
                }
            }
            (Ok(()), _) => {
                if lives[place].as_ref().is_some_and(|life| life.over) {
                    over[place] = true;
                    lives[place] = None;
                }
            }
        }
    }
    (outcome(&world), world.operations())
}

fn outcome(world: &World) -> Outcome {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, bytes) in world.files(Path::new("/data")) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || !name.ends_with(".parquet") {
            continue;
        }
        let table =
            path.strip_prefix("/data").expect("below").parent().and_then(Path::parent).expect("a table");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).expect("Parquet");
        for batch in reader.build().expect("Parquet") {
            tables.entry(table.display().to_string()).or_default().extend(texts(&batch.expect("Parquet")));
        }
    }
    tables.values_mut().for_each(|rows| rows.sort());
    let mut topics = BTreeMap::new();
    for topic in [KPIS, ALERTS, QUARANTINE] {
        let records: Vec<serde_json::Value> = world
            .records(topic)
            .concat()
            .iter()
            .map(|record| serde_json::from_slice(record).expect("JSON"))
            .collect();
        let id = |event: &serde_json::Value| (event["source"].to_string(), event["id"].to_string());
        let ids: BTreeSet<_> = records.iter().map(id).collect();
        if ids.len() != records.len() {
            let mut seen = BTreeSet::new();
            let again = records.iter().find(|event| !seen.insert(id(event))).map(ToString::to_string);
            panic!("an event is twice in topic {topic}: {again:?}");
        }
        // Of a generation that was given up before its first checkpoint there is nothing.
        let mut texts: Vec<String> = records
            .into_iter()
            .map(|mut event| {
                let id =
                    event["id"].as_str().expect("text").split_once('-').expect("a generation").1.to_owned();
                event["id"] = id.into();
                if event["data"]["generation"].is_number() {
                    event["data"]["generation"] = 0.into();
                }
                event.to_string()
            })
            .collect();
        texts.sort();
        topics.insert(topic, texts);
    }
    Outcome { tables, topics }
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("formats"))
        .collect();
    let row =
        |row: usize| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" ");
    (0..batch.num_rows()).map(row).collect()
}

fn differences(expected: &Outcome, found: &Outcome) -> Option<String> {
    let sets = |outcome: &Outcome| {
        let tables = outcome.tables.iter().map(|(name, rows)| (name.clone(), rows.clone()));
        let topics = outcome.topics.iter().map(|(name, rows)| (format!("topic {name}"), rows.clone()));
        tables.chain(topics).collect::<BTreeMap<_, _>>()
    };
    let (expected, found) = (sets(expected), sets(found));
    for name in expected.keys().chain(found.keys()) {
        let none = Vec::new();
        let (a, b) = (expected.get(name).unwrap_or(&none), found.get(name).unwrap_or(&none));
        if a != b {
            let first = a.iter().zip(b).find(|(a, b)| a != b);
            return Some(format!("{name}: {} rows expected, {} found; first {first:?}", a.len(), b.len()));
        }
    }
    None
}

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("HEADSUP_TEST_SEED") {
        Some(seed) => vec![seed],
        // The last ones have found something once.
        None => (0..number("HEADSUP_TEST_SEEDS").unwrap_or(default)).chain([2127, 2638]).collect(),
    }
}

fn check(roles: &[Role], default_seeds: u64) {
    let (events, kpis) = (events(), kpis());
    let (expected, operations) = run(&events, &kpis, roles, 1_000_000, 0, 0);
    assert!(expected.tables.values().map(Vec::len).sum::<usize>() > 150);
    assert!(expected.topics.values().all(|events| !events.is_empty()));
    for seed in seeds(default_seeds) {
        let faults = 1 + seed % 7;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&events, &kpis, roles, seed, faults, 2 * operations / (faults + 1))
        }));
        let problem = match &found {
            Ok((found, _)) => differences(&expected, found),
            Err(_) => Some("it panicked".to_owned()),
        };
        if let Some(problem) = problem {
            panic!("{problem}\nreplay with HEADSUP_TEST_SEED={seed}");
        }
    }
}

#[test]
fn one_process_comes_to_the_same_whatever_happens() {
    check(&[Role::All], 1_200);
}

#[test]
fn two_shares_and_their_merge_come_to_the_same_whatever_happens() {
    let share = |first, end| Role::Share(Share { first, end, of: PARTITIONS });
    let roles = [share(0, 2), share(2, 4), Role::Merge];
    check(&roles, 800);
    let (events, kpis) = (events(), kpis());
    let (one, _) = run(&events, &kpis, &[Role::All], 1, 0, 0);
    let (shared, _) = run(&events, &kpis, &roles, 2, 0, 0);
    // The queue is of each share, and who merges has no facts that tell of agents. Everything
    // else is the same.
    let own = ["facts/queue", "facts/agents", "facts/contacts", "alerts"];
    for (table, rows) in one.tables.iter().filter(|(table, _)| !own.contains(&table.as_str())) {
        assert!(shared.tables.get(table) == Some(rows), "{table}");
    }
    assert_eq!(one.tables["alerts"].len(), shared.tables["alerts"].len());
}
