//! Topics of the log that a run writes: `kpis`, `quarantine`, and `partials` of shares.
//!
//! After a crash a run says again what it has said since its last checkpoint: the same records,
//! because they depend on its input alone. What the topic's tail already holds is left out, so
//! that every record is there once. A log whose acknowledgement got lost may hold a record twice
//! all the same; readers know it by its `source` and `id`.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use headsup_alerts::Change;
use headsup_connectors::{EventLog, LogError, Record};
use headsup_events::{Quarantined, format_rfc3339_ms};
use headsup_kpi::{Kpi, ShareRecord};
use headsup_operators::WindowsError;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::rows::KpiRows;
use crate::topics::{ALERTS, KPIS, PARTIALS, QUARANTINE, SCORES, TASKS};

/// The columns of a score.
pub const SCORE_COLUMNS: [&str; 11] = [
    "customer_id",
    "at",
    "model",
    "role",
    "version",
    "trigger",
    "probability",
    "margin",
    "percentile",
    "reasons",
    "feature_hash",
];

/// The end of every partition of the topics.
pub(crate) type Positions = BTreeMap<String, Vec<u64>>;

/// Writes to topics.
pub(crate) struct Publisher {
    log: Arc<dyn EventLog>,
    source: String,
    generation: u64,
    topics: Vec<String>,
    /// Hashes of the ids of what topics hold already and is going to be said again.
    held: HashSet<u128>,
    /// From where they hold it.
    held_from: Positions,
    waiting: Vec<Waiting>,
    bytes: usize,
}

struct Waiting {
    topic: &'static str,
    /// Where to; else by the key.
    partition: Option<u32>,
    key: String,
    value: Vec<u8>,
}

/// Waiting records are appended when they have so many bytes.
const BYTES_MAX: usize = 256 << 10;
/// Rows of a KPI in one event at most.
const ROWS_MAX: usize = 500;

#[derive(Deserialize)]
struct Head {
    id: String,
    source: String,
}

impl Publisher {
    /// For a run called `run`, to those `topics` that are in the log. `positions` are those of
    /// the checkpoint that it goes on from; without one nothing has been said yet.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn open(
        log: Arc<dyn EventLog>,
        run: &str,
        generation: u64,
        topics: &[&str],
        positions: Option<&Positions>,
    ) -> Result<Self, LogError> {
        let source = format!("/headsup/{run}");
        let mut held = HashSet::new();
        let existing = log.topics()?;
        let existing = existing.iter().filter(|topic| topics.contains(&topic.name.as_str()));
        let existing: Vec<_> = existing.collect();
        for topic in &existing {
            let from = positions.and_then(|positions| positions.get(&topic.name));
            // What shares say twice is known by its tick.
            let Some(from) = from.filter(|_| topic.name != PARTIALS) else { continue };
            for (partition, &end) in topic.end_offsets.iter().enumerate() {
                let mut next = from.get(partition).copied().unwrap_or(0);
                if next >= end {
                    continue;
                }
                let mut reader = log.reader(&topic.name, partition as u32, next)?;
                while next < end {
                    let Some(chunk) = reader.next(Duration::from_secs(1))? else { continue };
                    next = chunk.first_offset + chunk.spans.len() as u64;
                    for index in 0..chunk.spans.len() {
                        let head: Option<Head> = serde_json::from_slice(chunk.record(index)).ok();
                        let ours = head.filter(|head| head.source == source);
                        held.extend(ours.map(|head| xxh3_128(head.id.as_bytes())));
                    }
                }
            }
        }
        Ok(Self {
            source,
            generation,
            topics: existing.iter().map(|topic| topic.name.clone()).collect(),
            log,
            held,
            held_from: positions.cloned().unwrap_or_default(),
            waiting: Vec::new(),
            bytes: 0,
        })
    }

    /// From where its topics hold what is not in the state: where they end now; or still from
    /// before, while something that they hold has not been said again.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn positions(&self) -> Result<Positions, LogError> {
        if !self.held.is_empty() {
            return Ok(self.held_from.clone());
        }
        let topics = self.log.topics()?.into_iter().filter(|topic| self.topics.contains(&topic.name));
        Ok(topics.map(|topic| (topic.name, topic.end_offsets)).collect())
    }

    /// Whether enough waits to be worth an append.
    pub fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends what waits; it is durable when this returns.
    ///
    /// # Errors
    /// The log takes nothing.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.bytes = 0;
        let mut waiting = std::mem::take(&mut self.waiting);
        // One append for each topic, and somebody waits for tasks.
        waiting.sort_by_key(|record| (record.topic != TASKS, record.topic, record.partition));
        for run in waiting.chunk_by(|a, b| (a.topic, a.partition) == (b.topic, b.partition)) {
            let records: Vec<_> = run
                .iter()
                .map(|record| Record { key: record.key.as_bytes(), value: &record.value })
                .collect();
            match run[0].partition {
                Some(partition) => self.log.append_to(run[0].topic, partition, &records)?,
                None => self.log.append(run[0].topic, &records)?,
            }
        }
        Ok(())
    }

    fn push(&mut self, topic: &'static str, partition: Option<u32>, key: String, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.waiting.push(Waiting { topic, partition, key, value });
    }

    fn has(&self, topic: &str) -> bool {
        self.topics.iter().any(|name| name == topic)
    }

    /// An event, unless the topic has it.
    fn event(&mut self, topic: &'static str, key_of: &str, id: String, event: Value) {
        self.say(topic, key_of, &id, event.to_string().into_bytes());
    }

    fn say(&mut self, topic: &'static str, key_of: &str, id: &str, event: Vec<u8>) {
        if self.held.is_empty() || !self.held.remove(&xxh3_128(id.as_bytes())) {
            self.push(topic, None, key_of.to_owned(), event);
        }
    }

    /// Rows of a KPI, of one window and one grouping, as events of type `kpi.updated`.
    pub fn rows(&mut self, kpi: &Kpi, batch: &KpiRows) {
        if !self.has(KPIS) || batch.is_empty() {
            return;
        }
        let (start_ms, end_ms, now_ms) = (batch.start_ms(0), batch.end_ms(0), batch.at_ms(0));
        let (revision, is_final) = (batch.revision(0), batch.is_final(0));
        let grouped_by = batch.grouped_by(0);
        let keys: Vec<&str> = grouped_by.split(',').filter(|key| !key.is_empty()).collect();
        // Keys that it is not grouped by say nothing.
        let mut shown: Vec<(&str, Cells)> = batch
            .named_cells()
            .enumerate()
            .filter(|(place, (name, _))| *place >= kpi.key_count || keys.contains(name))
            .map(|(_, (name, column))| (name, Cells::of(column)))
            .collect();
        shown.sort_unstable_by_key(|(name, _)| *name);
        for (part, from) in (0..batch.len()).step_by(ROWS_MAX).enumerate() {
            let id = format!("{}-{}-{start_ms}-{grouped_by}-{revision}-{part}", self.generation, kpi.name);
            let event = Updated {
                data: UpdatedData {
                    is_final,
                    generation: self.generation,
                    grouped_by: &keys,
                    kpi: &kpi.name,
                    revision,
                    rows: Shown { columns: &shown, rows: from..batch.len().min(from + ROWS_MAX) },
                    window_end: format_rfc3339_ms(end_ms),
                    window_start: format_rfc3339_ms(start_ms),
                },
                id: &id,
                source: &self.source,
                specversion: "1.0",
                subject: &kpi.name,
                time: format_rfc3339_ms(now_ms),
                kind: "kpi.updated",
            };
            let event = serde_json::to_vec(&event).unwrap_or_default();
            self.say(KPIS, &kpi.name, &id, event);
        }
    }

    /// What has become of alerts, as events of type `alert.firing` and so on.
    pub fn alerts(&mut self, changes: &[Change]) {
        if !self.has(ALERTS) {
            return;
        }
        for change in changes {
            let (id, event) = change.event(&self.source, self.generation);
            self.event(ALERTS, &change.alert.id, id, event);
        }
    }

    /// Scores of customers, as events of type `score.updated`.
    pub fn scores(&mut self, rows: &RecordBatch) {
        if !self.has(SCORES) {
            return;
        }
        let Ok(rows) = rows.project(&(0..SCORE_COLUMNS.len()).collect::<Vec<_>>()) else { return };
        let times = rows.column(1).as_primitive::<TimestampMicrosecondType>();
        let columns: Vec<Vec<Value>> = rows.columns().iter().map(values).collect();
        for row in 0..rows.num_rows() {
            let mut data = Map::new();
            for (name, values) in SCORE_COLUMNS.into_iter().zip(&columns) {
                let value = match (name, &values[row]) {
                    ("at", _) => Value::from(format_rfc3339_ms(times.value(row).div_euclid(1_000))),
                    ("reasons", Value::String(reasons)) => serde_json::from_str(reasons).unwrap_or_default(),
                    (_, value) => value.clone(),
                };
                data.insert(name.to_owned(), value);
            }
            let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
            let (customer, time) = (text("customer_id"), text("at"));
            // A customer has one score of a version at a time.
            let (model, version) = (text("model"), text("version"));
            let id = format!("{}-{model}-{version}-{}-{customer}", self.generation, times.value(row));
            let event = json!({
                "specversion": "1.0",
                "id": id,
                "source": self.source,
                "type": "score.updated",
                "subject": customer,
                "time": time,
                "data": data,
            });
            self.event(SCORES, &customer, id, event);
        }
    }

    /// What became of proactive service, as events of types such as `task.created`. Their ids do not name the generation:
    /// a task that is computed again is the same.
    pub fn tasks(&mut self, rows: &RecordBatch) {
        if !self.has(TASKS) {
            return;
        }
        let text = |name: &str| rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let times =
            rows.column_by_name("at").and_then(|at| at.as_primitive_opt::<TimestampMicrosecondType>());
        let columns = ["event", "id", "subject", "customer_id", "data"].map(text);
        let ([Some(kind), Some(id), Some(subject), Some(customer), Some(data)], Some(times)) =
            (columns, times)
        else {
            return;
        };
        for row in 0..rows.num_rows() {
            let event = json!({
                "specversion": "1.0",
                "id": id.value(row),
                "source": self.source,
                "type": kind.value(row),
                "subject": subject.value(row),
                "time": format_rfc3339_ms(times.value(row).div_euclid(1_000)),
                "datacontenttype": "application/json",
                "data": serde_json::from_str::<Value>(data.value(row)).unwrap_or_default(),
            });
            // Of a customer all in one partition, in their order.
            let key = if customer.is_valid(row) { customer.value(row) } else { subject.value(row) };
            self.event(TASKS, key, id.value(row).to_owned(), event);
        }
    }

    /// Records that were set aside, as events of type `headsup.quarantined`.
    pub fn quarantined(&mut self, partition: &str, records: &[Quarantined]) {
        if !self.has(QUARANTINE) {
            return;
        }
        for record in records {
            let id = format!("{}-{partition}-{}", self.generation, record.offset);
            let event = json!({
                "specversion": "1.0",
                "id": id,
                "source": self.source,
                "type": "headsup.quarantined",
                "subject": partition,
                "time": format_rfc3339_ms(record.appended_at_ms),
                "data": {
                    "partition": partition,
                    "offset": record.offset,
                    "reason": record.reason.name(),
                    "detail": record.detail,
                    "bytes_base64": BASE64.encode(&record.bytes),
                },
            });
            self.event(QUARANTINE, partition, id, event);
        }
    }

    /// What a share says, in the partition that is its first.
    ///
    /// # Errors
    /// A record that cannot be packed.
    pub fn says(&mut self, record: &ShareRecord) -> Result<(), WindowsError> {
        self.push(PARTIALS, Some(record.share.first), String::new(), record.to_bytes()?);
        Ok(())
    }
}

/// An event of type `kpi.updated`. Names are in their order, as in all events.
#[derive(Serialize)]
struct Updated<'a> {
    data: UpdatedData<'a>,
    id: &'a str,
    source: &'a str,
    specversion: &'a str,
    subject: &'a str,
    time: String,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
struct UpdatedData<'a> {
    #[serde(rename = "final")]
    is_final: bool,
    generation: u64,
    grouped_by: &'a [&'a str],
    kpi: &'a str,
    revision: i64,
    rows: Shown<'a>,
    window_end: String,
    window_start: String,
}

/// Some rows of these columns.
struct Shown<'a> {
    columns: &'a [(&'a str, Cells)],
    rows: Range<usize>,
}

struct ShownRow<'a>(&'a Shown<'a>, usize);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.clone().map(|row| ShownRow(self, row)))
    }
}

impl Serialize for ShownRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.columns.iter().map(|(name, cells)| (name, cells.cell(self.1))))
    }
}

/// The cells of a column.
enum Cells {
    Int(Int64Array),
    Float(Float64Array),
    Boolean(BooleanArray),
    Text(StringArray),
    Other,
}

/// A cell as JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Cell<'a> {
    Int(Option<i64>),
    Float(Option<f64>),
    Boolean(Option<bool>),
    Text(Option<&'a str>),
    Null,
}

impl Cells {
    fn of(column: &ArrayRef) -> Self {
        match column.data_type() {
            DataType::Int64 => Self::Int(column.as_primitive().clone()),
            DataType::Float64 => Self::Float(column.as_primitive().clone()),
            DataType::Boolean => Self::Boolean(column.as_boolean().clone()),
            _ => match cast(column, &DataType::Utf8) {
                Ok(texts) => Self::Text(texts.as_string().clone()),
                Err(_) => Self::Other,
            },
        }
    }

    fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Int(array) => Cell::Int(array.is_valid(row).then(|| array.value(row))),
            Self::Float(array) => Cell::Float(array.is_valid(row).then(|| array.value(row))),
            Self::Boolean(array) => Cell::Boolean(array.is_valid(row).then(|| array.value(row))),
            Self::Text(array) => Cell::Text(array.is_valid(row).then(|| array.value(row))),
            Self::Other => Cell::Null,
        }
    }
}

/// The cells of a column as JSON.
fn values(column: &ArrayRef) -> Vec<Value> {
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().iter().map(Value::from).collect(),
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().map(Value::from).collect(),
        DataType::Boolean => column.as_boolean().iter().map(Value::from).collect(),
        _ => match cast(column, &DataType::Utf8) {
            Ok(texts) => texts.as_string::<i32>().iter().map(Value::from).collect(),
            Err(_) => vec![Value::Null; column.len()],
        },
    }
}
