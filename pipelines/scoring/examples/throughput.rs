//! How many customers a second are scored in the stream, features included, and how much memory their history takes.
//!
//! ```sh
//! cargo run --release -p headsup-scoring --example throughput -- REGISTRY MODEL 1000000 20
//! ```
//! REGISTRY has a champion of MODEL; then so many customers, with so many facts each of the last four weeks, so that all are of the model's population. All of them are
//! scored in one sweep, by [`Acting`] as a run calls it, with the standard policy; or by [`Scoring`] alone, if `alone` is put
//! behind.

use std::error::Error;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::DataType;
use headsup_features::{Definitions, View};
use headsup_models::reasons::{Reasons, STANDARD};
use headsup_models::registry::Registry;
use headsup_operators::facts::Table;
use headsup_operators::{Windows, WindowsError};
use headsup_scoring::{Acting, Model, Scoring, Switch, Timeline};
use headsup_tasks::policy::{Rules, STANDARD as POLICY};

const DAY_MS: i64 = 86_400_000;
/// 2026-03-02.
const NOW_MS: i64 = 1_772_409_600_000;
/// What a customer's facts are, in turn.
const FACTS: [(Table, &str); 10] = [
    (Table::Orders, "placed"),
    (Table::Orders, "paid"),
    (Table::Orders, "shipped"),
    (Table::Orders, "delivered"),
    (Table::Contacts, ""),
    (Table::Rounds, ""),
    (Table::Turns, ""),
    (Table::Contacts, ""),
    (Table::Rounds, ""),
    (Table::Ratings, ""),
];
/// Facts that are learnt together.
const BATCH: usize = 1 << 16;

type Failed = Box<dyn Error + Send + Sync>;

enum Operator {
    Alone(Box<Scoring>),
    Acting(Box<Acting>),
}

impl Operator {
    fn learn(&mut self, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        match self {
            Self::Alone(scoring) => scoring.learn(table, facts),
            Self::Acting(acting) => acting.learn(table, facts),
        }
    }

    fn learned(&mut self) {
        match self {
            Self::Alone(scoring) => scoring.learned(),
            Self::Acting(acting) => acting.learned(),
        }
    }

    fn tick(&mut self, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
        match self {
            Self::Alone(scoring) => scoring.tick(now_ms, rows),
            Self::Acting(acting) => acting.tick(now_ms, rows),
        }
    }
}

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [registry, model, customers, facts, rest @ ..] = args.as_slice() else {
        return Err("give REGISTRY MODEL CUSTOMERS FACTS [alone]".into());
    };
    let (customers, facts): (usize, usize) = (customers.parse()?, facts.parse()?);
    let mut views = Vec::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../features"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            views.push(View::parse(&path.display().to_string(), &name, &fs::read_to_string(&path)?, &[])?);
        }
    }
    let definitions = Definitions::features(views).map_err(|mistakes| format!("{mistakes:?}"))?;
    let definitions = Arc::new(definitions);
    let version = Registry::open(registry)?.load(model, "champion")?;
    let champion = Model::new(&version, &definitions)?.ok_or("it is scored never")?;
    let timeline = std::env::temp_dir().join(format!("headsup-throughput-{}.jsonl", std::process::id()));
    let mut serving = Timeline::open(&timeline)?;
    serving.push(Switch { at_ms: i64::MIN, champion: Some(version.version.clone()), challenger: None })?;
    let mut scoring =
        Scoring::new(definitions.clone(), Reasons::read(STANDARD)?, 10_000, Arc::new(Mutex::default()));
    scoring.serve(model, serving, vec![Arc::new(champion)]);
    let mut scoring = if rest.first().is_some_and(|word| word == "alone") {
        Operator::Alone(Box::new(scoring))
    } else {
        let rules = Rules::parse("models/policy.toml", POLICY)?;
        Operator::Acting(Box::new(Acting::new(scoring, Arc::new(rules))))
    };

    let before = memory("VmRSS")?;
    let began = Instant::now();
    for fact in 0..facts {
        let (table, kind) = FACTS[fact % FACTS.len()];
        if !definitions.tables().contains(&table) {
            continue;
        }
        // The oldest first.
        let at_ms = NOW_MS - 28 * DAY_MS / facts as i64 * (facts - fact) as i64;
        for first in (0..customers).step_by(BATCH) {
            let some = first..(first + BATCH).min(customers);
            scoring.learn(table, &batch(table, kind, some, at_ms)?)?;
        }
    }
    scoring.learned();
    let learnt = began.elapsed();
    let mut rows = Vec::new();
    // The first tick begins the sweep; within the day after it, everybody has a turn.
    scoring.tick(NOW_MS, &mut rows)?;
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let mut scored = 0;
    for quarter in 1..=96 {
        scoring.tick(NOW_MS + quarter * DAY_MS / 96, &mut rows)?;
        scored += rows.drain(..).map(|rows| rows.num_rows()).sum::<usize>();
    }
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    println!("{customers} customers with {facts} facts each, learnt in {:.1} s", learnt.as_secs_f64());
    let mib = |kib: i64| kib as f64 / 1024.0;
    println!("memory: {:.0} MiB more than without them", mib(memory("VmRSS")? - before));
    println!("the whole process at most: {:.0} MiB", mib(memory("VmHWM")?));
    println!(
        "{scored} scored in {took:.1} s, {:.0} a second; {:.0} a CPU second",
        scored as f64 / took,
        scored as f64 / cpu
    );
    fs::remove_file(timeline)?;
    Ok(())
}

fn batch(
    table: Table,
    kind: &str,
    customers: std::ops::Range<usize>,
    at_ms: i64,
) -> Result<RecordBatch, Failed> {
    let rows = customers.len();
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let text = |of: &dyn Fn(usize) -> String| -> ArrayRef {
            Arc::new(StringViewArray::from_iter_values(customers.clone().map(of)))
        };
        match (field.name().as_str(), field.data_type()) {
            ("customer_id", _) => text(&|customer| format!("cust-{customer:07}")),
            ("order_id", _) => text(&|customer| format!("ord-{customer:07}-{}", at_ms % 97)),
            ("type", _) => text(&|_| kind.to_owned()),
            ("channel", _) => text(&|customer| ["app", "wechat", "web"][customer % 3].to_owned()),
            ("shop", _) => text(&|_| "shop-1".to_owned()),
            (_, DataType::Timestamp(..)) => Arc::new(
                TimestampMicrosecondArray::from_iter_values(
                    customers.clone().map(|customer| (at_ms + customer as i64 % DAY_MS) * 1_000),
                )
                .with_timezone("UTC"),
            ),
            (_, DataType::Int64) => Arc::new(Int64Array::from_iter_values(
                customers.clone().map(|customer| 1_000 + (customer as i64 * 7_919 + at_ms) % 50_000),
            )),
            (_, other) => new_null_array(other, rows),
        }
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect())?)
}

/// Resident memory in KiB: `VmRSS` now, `VmHWM` at most so far.
fn memory(which: &str) -> Result<i64, Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    Ok(line.ok_or("no such line in /proc")?.trim().trim_end_matches(" kB").parse()?)
}

/// User and system, of all threads; the clock of /proc has 100 ticks a second.
fn cpu_seconds() -> Result<f64, Failed> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}
