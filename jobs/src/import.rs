//! `headsup import`: data sets and event files into the log.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use headsup_connectors::{EventLog, Lines, Record};
use headsup_events::{Decoder, EventType, Limits, Text};
use headsup_sources::{Imported, SourceEvent};

use crate::output::{self, Progress, thousands};
use crate::run::make_topics;
use crate::{Failure, Place};

#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// "Anonymous Bank" call centre: tab-separated calls of a month, gzip or plain
    BankCalls(Files),
    /// Online Retail II: invoice lines as Parquet
    OnlineRetail(Files),
    /// The simulated call centre: CSV, gzip or plain
    CallCentre(Files),
    /// CloudEvents as JSON lines, plain, gzip or zstd; - is standard input
    Events(Files),
}

#[derive(Debug, Args)]
struct Files {
    /// The files, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Events appended at once.
const BATCH: usize = 10_000;

pub fn import(args: &ImportArgs) -> Result<(), Failure> {
    let config = args.place.config()?;
    let log = args.place.log()?;
    make_topics(log.as_ref(), config.log_partitions)?;
    let mut progress = Progress::new("reading", 0);
    let mut at = |done: u64, total: u64| progress.at(done, total);
    let imported = match &args.what {
        What::BankCalls(files) => headsup_sources::bank_calls::read(&files.files, &mut at),
        What::OnlineRetail(files) => headsup_sources::online_retail::read(&files.files, &mut at),
        What::CallCentre(files) => headsup_sources::call_centre::read(&files.files, &mut at),
        What::Events(files) => return import_events(log.as_ref(), files, config.limits),
    };
    progress.done();
    let (events, summary) = imported.map_err(Failure::from_error)?;
    append_all(log.as_ref(), (events, summary.clone()))?;
    output::print(format!("{summary}\n"))
}

fn append_all(log: &dyn EventLog, (events, _): Imported) -> Result<(), Failure> {
    let total = events.len() as u64;
    let mut progress = Progress::new("writing", total);
    let mut appender = Appender::new(log);
    for (count, event) in events.enumerate() {
        appender.push(event)?;
        if count % 1_000 == 0 {
            progress.at(count as u64, total);
        }
    }
    appender.flush()?;
    progress.done();
    Ok(())
}

/// Collects events and appends them by topic, many at once.
pub struct Appender<'a> {
    log: &'a dyn EventLog,
    topics: BTreeMap<&'static str, Vec<(String, String)>>,
    count: usize,
}

impl<'a> Appender<'a> {
    pub fn new(log: &'a dyn EventLog) -> Self {
        Self { log, topics: BTreeMap::new(), count: 0 }
    }

    pub fn push(&mut self, event: SourceEvent) -> Result<(), Failure> {
        self.topics.entry(event.topic).or_default().push((event.key, event.json));
        self.count += 1;
        if self.count >= BATCH { self.flush() } else { Ok(()) }
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        for (topic, events) in &mut self.topics {
            let records: Vec<Record<'_>> = events
                .iter()
                .map(|(key, json)| Record { key: key.as_bytes(), value: json.as_bytes() })
                .collect();
            self.log.append(topic, &records).map_err(Failure::from_error)?;
            events.clear();
        }
        self.count = 0;
        Ok(())
    }
}

/// Lines go into the log as they are, by topic and customer; what is no event goes
/// in too, and the pipeline sets it aside with its reason and position.
fn import_events(log: &dyn EventLog, files: &Files, limits: Limits) -> Result<(), Failure> {
    let limits = Limits { skew_ms_max: i64::MAX, ..limits };
    let mut decoder = Decoder::new(limits, &[Text::CustomerId, Text::AgentId]);
    let mut summary: BTreeMap<String, u64> = BTreeMap::new();
    let mut read = 0;
    for path in &files.files {
        let mut lines = Lines::open(path).map_err(Failure::from_error)?;
        let mut progress = Progress::new("importing", lines.total_bytes().unwrap_or(0));
        while let Some(chunk) = lines.next().map_err(Failure::from_error)? {
            let decoded = decoder.decode(&chunk);
            read += decoded.read;
            // Which lines are events, in their order: the others lie between.
            let mut events = 0;
            let mut set_aside = decoded.quarantined.iter().peekable();
            let mut topics: BTreeMap<&str, Vec<Record<'_>>> = BTreeMap::new();
            let ignored = decoded.ignored > 0;
            for index in 0..chunk.spans.len() {
                let bytes = chunk.record(index);
                let offset = chunk.first_offset + index as u64;
                if let Some(bad) = set_aside.next_if(|bad| bad.offset == offset) {
                    *summary.entry(format!("to be set aside: {}", bad.reason)).or_default() += 1;
                    topics.entry("conversations").or_default().push(Record { key: b"", value: bytes });
                    continue;
                }
                if ignored && !decodes(&mut Decoder::new(limits, &[]), bytes, chunk.appended_at_ms) {
                    *summary.entry("of other types".to_owned()).or_default() += 1;
                    topics.entry("conversations").or_default().push(Record { key: b"", value: bytes });
                    continue;
                }
                let kind = decoded.events.kind(events);
                let customer = decoded.events.text(Text::CustomerId, events);
                let key =
                    if customer.is_empty() { decoded.events.text(Text::AgentId, events) } else { customer };
                events += 1;
                *summary.entry(kind.name().to_owned()).or_default() += 1;
                let topic = if kind.is_order() { "orders" } else { "conversations" };
                let heartbeat = kind == EventType::Heartbeat;
                topics
                    .entry(topic)
                    .or_default()
                    .push(Record { key: if heartbeat { b"" } else { key.as_bytes() }, value: bytes });
            }
            for (topic, records) in topics {
                log.append(topic, &records).map_err(Failure::from_error)?;
            }
            progress.at(lines.bytes_read(), lines.total_bytes().unwrap_or(0));
        }
        progress.done();
    }
    let mut text = format!("{:>14}  lines read\n", thousands(read));
    for (what, count) in summary {
        text += &format!("{:>14}  {what}\n", thousands(count));
    }
    output::print(&text)
}

/// Whether this one record is an event of a type that is applied.
fn decodes(decoder: &mut Decoder, bytes: &[u8], appended_at_ms: i64) -> bool {
    let chunk = headsup_events::Chunk {
        first_offset: 0,
        appended_at_ms,
        bytes: arrow::buffer::Buffer::from(bytes),
        spans: vec![(0, bytes.len() as u32)],
        oversized: Vec::new(),
    };
    decoder.decode(&chunk).ignored == 0
}
