//! `headsup quarantine`: what was set aside, why, and putting it back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use clap::{Args, Subcommand};
use headsup_connectors::{Lines, store};
use headsup_events::{Chunk, Decoder, EventType, Reason, Text, format_rfc3339_ms};
use headsup_sources::SourceEvent;

use crate::import::Appender;
use crate::output::{self, thousands};
use crate::run::make_topics;
use crate::{Failure, Place};

#[derive(Debug, Args)]
pub struct QuarantineArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How many records were set aside for which reason, and the newest of them
    List {
        /// Only those of this reason, such as missing_field
        #[arg(long, value_parser = reason)]
        reason: Option<Reason>,
        /// How many records are shown
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Print the bytes of one record as they came
    Show {
        /// Its partition, as `list` says it: conversations/0, or a file
        partition: String,
        /// Its offset
        offset: i64,
    },
    /// Put records that are events now back into the log: mended ones from files, or those
    /// set aside as they are, after limits of the configuration have been raised.
    ///
    /// They take their turn as late events do: what is older than time.allowed_lateness
    /// is counted as late. A record that is in the log already is a duplicate, so
    /// calling it twice does no harm
    Retry {
        /// Mended records as JSON lines; - is standard input
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Without files: only those of this reason
        #[arg(long, value_parser = reason, conflicts_with = "files")]
        reason: Option<Reason>,
        /// Only say what would be put back
        #[arg(long)]
        dry_run: bool,
    },
}

fn reason(name: &str) -> Result<Reason, String> {
    Reason::ALL.into_iter().find(|reason| reason.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

pub fn quarantine(args: &QuarantineArgs) -> Result<(), Failure> {
    args.place.must_exist()?;
    match &args.what {
        What::List { reason, limit } => list(&args.place, *reason, *limit),
        What::Show { partition, offset } => show(&args.place, partition, *offset),
        What::Retry { files, reason, dry_run } => retry(&args.place, files, *reason, *dry_run),
    }
}

/// A record as table `quarantine` has it.
struct SetAside {
    known_ms: i64,
    partition: String,
    offset: i64,
    reason: String,
    detail: String,
    bytes: Vec<u8>,
}

/// All records, in the order in which they were set aside.
fn records(place: &Place) -> Result<impl Iterator<Item = Result<SetAside, Failure>>, Failure> {
    let batches = store::read_table(&place.data, "quarantine").map_err(Failure::from_error)?;
    Ok(batches.flat_map(|batch| match batch.map_err(Failure::from_error).and_then(|batch| rows(&batch)) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(failure) => vec![Err(failure)],
    }))
}

fn rows(batch: &RecordBatch) -> Result<Vec<SetAside>, Failure> {
    let column = |name: &str| batch.column_by_name(name);
    let text = |name: &str| column(name)?.as_string_opt::<i32>();
    let columns = (|| {
        Some((
            column("known_at")?.as_primitive_opt::<TimestampMicrosecondType>()?,
            text("partition")?,
            column("offset")?.as_primitive_opt::<Int64Type>()?,
            text("reason")?,
            text("detail")?,
            column("bytes")?.as_binary_opt::<i32>()?,
        ))
    })();
    let Some((known, partition, offset, reason, detail, bytes)) = columns else {
        return Err(Failure::new("the files of table quarantine are not those that headsup writes"));
    };
    let row = |row: usize| SetAside {
        known_ms: known.value(row).div_euclid(1_000),
        partition: partition.value(row).to_owned(),
        offset: offset.value(row),
        reason: reason.value(row).to_owned(),
        detail: detail.value(row).to_owned(),
        bytes: bytes.value(row).to_vec(),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

fn list(place: &Place, reason: Option<Reason>, limit: usize) -> Result<(), Failure> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut newest = std::collections::VecDeque::new();
    for record in records(place)? {
        let record = record?;
        if reason.is_some_and(|reason| reason.name() != record.reason) {
            continue;
        }
        *counts.entry(record.reason.clone()).or_default() += 1;
        newest.push_back(record);
        if newest.len() > limit {
            newest.pop_front();
        }
    }
    if counts.is_empty() {
        return output::print("nothing was set aside\n");
    }
    let mut text = String::new();
    for (reason, count) in &counts {
        text += &format!("{:>14}  {reason}\n", thousands(*count));
    }
    if !newest.is_empty() {
        text += "\n";
    }
    for record in newest {
        let SetAside { known_ms, partition, offset, detail, .. } = record;
        text += &format!("{} {partition} {offset}  {detail}\n", format_rfc3339_ms(known_ms));
    }
    output::print(&text)
}

fn show(place: &Place, partition: &str, offset: i64) -> Result<(), Failure> {
    for record in records(place)? {
        let record = record?;
        if record.partition == partition && record.offset == offset {
            eprintln!("{}: {}", record.reason, record.detail);
            return output::print([record.bytes.as_slice(), b"\n"].concat());
        }
    }
    Err(Failure::new(format!(
        "no record of {partition} at offset {offset} was set aside; `headsup quarantine list` shows which were"
    )))
}

fn retry(place: &Place, files: &[PathBuf], reason: Option<Reason>, dry_run: bool) -> Result<(), Failure> {
    let config = place.config()?;
    // Only to look, the log is left alone: a run may have it open.
    let log = if dry_run { None } else { Some(place.log()?) };
    if let Some(log) = &log {
        make_topics(log.as_ref(), config.log_partitions)?;
    }
    let mut back = Back {
        appender: log.as_deref().map(Appender::new),
        decoder: Decoder::new(config.limits, &[Text::CustomerId, Text::AgentId]),
        now_ms: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64),
        put_back: 0,
        still: Vec::new(),
    };
    if files.is_empty() {
        for record in records(place)? {
            let record = record?;
            if reason.is_none_or(|reason| reason.name() == record.reason) {
                back.take(&format!("{} {}", record.partition, record.offset), &record.bytes)?;
            }
        }
    }
    for path in files {
        let mut lines = Lines::open(path).map_err(Failure::from_error)?;
        while let Some(chunk) = lines.next().map_err(Failure::from_error)? {
            for index in 0..chunk.spans.len() {
                let line = chunk.first_offset + index as u64 + 1;
                back.take(&format!("{}:{line}", path.display()), chunk.record(index))?;
            }
        }
    }
    if let Some(appender) = &mut back.appender {
        appender.flush()?;
    }
    let Back { put_back, still, .. } = back;
    for what in still.iter().take(SHOWN) {
        eprintln!("{what}");
    }
    if still.len() > SHOWN {
        eprintln!("and {} more", thousands((still.len() - SHOWN) as u64));
    }
    let done = if dry_run { "would be put back" } else { "put back into the log" };
    output::print(format!(
        "{} {done}, {} still no events\n",
        thousands(put_back),
        thousands(still.len() as u64)
    ))?;
    match files.is_empty() || still.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("some of the records are still no events; the others are in the log")),
    }
}

/// So many mistakes are printed.
const SHOWN: usize = 20;

struct Back<'a> {
    /// `None`: only count.
    appender: Option<Appender<'a>>,
    decoder: Decoder,
    now_ms: i64,
    put_back: u64,
    /// What is wrong with the others.
    still: Vec<String>,
}

impl Back<'_> {
    fn take(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let chunk = Chunk {
            first_offset: 0,
            appended_at_ms: self.now_ms,
            bytes: arrow::buffer::Buffer::from(bytes),
            spans: vec![(0, bytes.len() as u32)],
            oversized: Vec::new(),
        };
        let decoded = self.decoder.decode(&chunk);
        if let Some(bad) = decoded.quarantined.first() {
            self.still.push(format!("{name}: {}: {}", bad.reason, bad.detail));
            return Ok(());
        }
        if decoded.events.is_empty() || decoded.events.kind(0) == EventType::Heartbeat {
            self.still.push(format!("{name}: of a type that is not applied"));
            return Ok(());
        }
        self.put_back += 1;
        let Some(appender) = &mut self.appender else { return Ok(()) };
        let customer = decoded.events.text(Text::CustomerId, 0);
        let key = if customer.is_empty() { decoded.events.text(Text::AgentId, 0) } else { customer };
        appender.push(SourceEvent {
            time_ms: decoded.events.time_ms(0),
            topic: if decoded.events.kind(0).is_order() { "orders" } else { "conversations" },
            key: key.to_owned(),
            // What is no UTF-8 has been set aside above.
            json: String::from_utf8_lossy(bytes).into_owned(),
        })
    }
}
