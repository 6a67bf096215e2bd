//! `headsup import call-centre`: a year of a call centre's calls, simulated by
//! others, each with the answer whether it met the 60 s service level. CSV, nine
//! columns, a row a call. All were answered.
//!
//! | column | becomes |
//! |---|---|
//! | `call_id` | the conversation's id, `call-1`, which is also each event's `subject`; the event's id is that and its type; and the customer, `unknown-call-1`: who called is not in the data |
//! | `date`, `call_started` | `conversation.started` (`origin` inbound, `entry` queue) and `conversation.queued` |
//! | `wait_length` | `conversation.accepted`, so many seconds after `call_started` |
//! | `service_length` | `conversation.closed` and `conversation.wrapped`, so many seconds after that |
//! | `call_answered`, `call_ended` | checked only (below) |
//! | `daily_caller` | not used: the number of the call within its day |
//! | `meets_standard` | not used: it is the answer that a service level of 60 s, limit included, has to give (47,481 of 51,708 calls, 91.825 %) |
//!
//! `shop` is `call-centre`, `channel` is `phone`, `skill` is `calls`, `agent_id`
//! is `unknown` (the data names no agents, so leave figures by agent aside), and
//! `resolved` is null. The events' `source` is `/call-centre`. Nothing says in
//! which zone the centre is: the times are taken as UTC.
//!
//! Dubious: in 1,571 rows `call_answered` is a second before or after
//! `call_started + wait_length` (all three were rounded apart), in 12,992
//! `call_ended` likewise. The lengths are trusted, since `meets_standard` is made
//! from them; noted. Where the difference is more than a second, the row is set
//! aside (none). There are no duplicates; a second row of a call is set aside.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use jiff::civil;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::input::{Inputs, read_error};
use crate::timeline::{CloudEvent, Timeline};
use crate::{ImportError, Imported, Progress, SourceEvent, Summary};

/// The columns, in order, as the header names them.
pub const COLUMNS: [&str; 9] = [
    "call_id",
    "date",
    "daily_caller",
    "call_started",
    "call_answered",
    "call_ended",
    "wait_length",
    "service_length",
    "meets_standard",
];

/// Reads the calls of all `paths` (plain, gzip or zstd; in any order) and
/// answers their events in event-time order.
pub fn read(paths: &[PathBuf], progress: Progress<'_>) -> Result<Imported, ImportError> {
    let inputs = Inputs::new(paths)?;
    let mut summary = Summary::default();
    let mut calls = Vec::new();
    let mut seen = HashSet::new();
    for path in paths {
        let mut rows =
            csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(inputs.open(path)?);
        let mut row = csv::ByteRecord::new();
        let mut read_row = |row: &mut csv::ByteRecord| {
            rows.read_byte_record(row).map_err(|e| match e.into_kind() {
                csv::ErrorKind::Io(e) => read_error(path, e),
                other => unreachable!("a flexible byte reader only fails to read: {other:?}"),
            })
        };
        let any = read_row(&mut row)?;
        check_header(path, any.then_some(&row))?;
        while read_row(&mut row)? {
            summary.rows_read += 1;
            if summary.rows_read.is_multiple_of(4096) {
                progress(inputs.done(), inputs.total);
            }
            match map(&row, &mut seen) {
                Ok((call, notes)) => {
                    summary.rows_mapped += 1;
                    notes.into_iter().for_each(|what| summary.note(what));
                    KINDS.into_iter().for_each(|kind| summary.event(kind));
                    calls.push(call);
                }
                Err((reason, found)) => {
                    let line = row.position().map_or(0, |at| at.line());
                    summary.set_aside(path, line, reason, found);
                }
            }
        }
    }
    progress(inputs.total, inputs.total);
    summary.check();
    calls.sort_unstable_by_key(|call| call.number);
    let moments = |call: &Call| {
        let closed = call.accepted + call.service_ms;
        vec![(call.started, 0), (call.started, 1), (call.accepted, 2), (closed, 3), (closed, 4)]
    };
    let events = Timeline::new(calls, moments, render);
    Ok((Box::new(events), summary))
}

/// A call's events, at their ranks: the order within a millisecond.
const KINDS: [&str; 5] = [
    "conversation.started",
    "conversation.queued",
    "conversation.accepted",
    "conversation.closed",
    "conversation.wrapped",
];

struct Call {
    number: u64,
    /// Milliseconds, like all below.
    started: i64,
    accepted: i64,
    service_ms: i64,
}

/// Why a row is set aside, and the column and value that say so.
type Fault = (&'static str, String);

fn map(row: &csv::ByteRecord, seen: &mut HashSet<u64>) -> Result<(Call, Vec<&'static str>), Fault> {
    if row.len() != COLUMNS.len() {
        let found = format!("{} columns instead of {}", row.len(), COLUMNS.len());
        return Err(("wrong number of columns", found));
    }
    let text = |at: usize| {
        let field = std::str::from_utf8(&row[at]);
        field.map(str::trim).map_err(|_| ("not UTF-8", format!("column {}", COLUMNS[at])))
    };
    let found = |at: usize| format!("{} {:?}", COLUMNS[at], String::from_utf8_lossy(&row[at]));
    let number: u64 = text(0)?.parse().map_err(|_| ("call_id is not a number", found(0)))?;
    let day = parse_date(text(1)?).ok_or_else(|| ("date is not a day as YYYY-MM-DD", found(1)))?;
    let time = |at: usize| -> Result<i64, Fault> {
        let fault = || ("a time is not a time as H:MM:SS AM", found(at));
        let time = parse_time(text(at)?).ok_or_else(fault)?;
        let zoned = TimeZone::UTC.to_timestamp(day.to_datetime(time)).map_err(|_| fault())?;
        Ok(zoned.as_millisecond())
    };
    let length = |at: usize| -> Result<i64, Fault> {
        let seconds: Result<u32, _> = text(at)?.parse();
        let seconds = seconds.map_err(|_| ("a length is not a number of seconds", found(at)))?;
        Ok(i64::from(seconds) * 1000)
    };
    let (started, answered, ended) = (time(3)?, time(4)?, time(5)?);
    let (wait_ms, service_ms) = (length(6)?, length(7)?);
    let off = [(4, answered - started - wait_ms), (5, ended - answered - service_ms)];
    if let Some((at, _)) = off.iter().find(|(_, off)| off.abs() > 1000) {
        return Err(("times and lengths contradict each other", found(*at)));
    }
    let call = Call { number, started, accepted: started + wait_ms, service_ms };
    if jiff::Timestamp::from_millisecond(call.accepted + service_ms).is_err() {
        return Err(("the call ends after the last time there is", found(5)));
    }
    if !seen.insert(number) {
        return Err(("another row of this call", found(0)));
    }
    let mut notes = Vec::new();
    if off[0].1 != 0 {
        notes.push("call_answered is a second off: wait_length is trusted");
    }
    if off[1].1 != 0 {
        notes.push("call_ended is a second off: service_length is trusted");
    }
    Ok((call, notes))
}

/// `2021-01-31`.
fn parse_date(text: &str) -> Option<civil::Date> {
    let mut parts = text.splitn(3, '-');
    let year = parts.next().filter(|part| part.len() == 4)?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    civil::Date::new(year, month, parts.next()?.parse().ok()?).ok()
}

/// `8:02:42 AM`, `12:56:49 PM`.
fn parse_time(text: &str) -> Option<civil::Time> {
    let (clock, half) = text.split_once(' ')?;
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<i8>().ok());
    let hour = parts.next()?.filter(|hour| (1..=12).contains(hour))? % 12;
    let hour = match half.trim() {
        "AM" => hour,
        "PM" => hour + 12,
        _ => return None,
    };
    civil::Time::new(hour, parts.next()??, parts.next()??, 0).ok()
}

fn check_header(path: &Path, header: Option<&csv::ByteRecord>) -> Result<(), ImportError> {
    let names: Vec<_> = header.into_iter().flatten().map(String::from_utf8_lossy).collect();
    if names.iter().map(|name| name.trim()).eq(COLUMNS) {
        return Ok(());
    }
    let found = match names.len() {
        0 => "the file is empty".to_owned(),
        _ => format!("the columns are {:.200}", names.join(", ")),
    };
    Err(ImportError::NotThisDataSet {
        path: path.to_owned(),
        data_set: "call-centre",
        place: "line 1",
        found,
        advice: format!("give a CSV file with the columns {}", COLUMNS.join(", ")),
    })
}

/// `data` of every event of a call; absent fields are left out.
#[derive(Serialize)]
struct Data<'a> {
    customer_id: &'a str,
    shop: &'static str,
    channel: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skill: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'static str>,
    /// Outer: whether the field is there. Inner: null, as nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Option<bool>>,
}

fn render(call: &Call, time_ms: i64, rank: u8) -> SourceEvent {
    let kind = KINDS[rank as usize];
    let subject = format!("call-{}", call.number);
    let customer = format!("unknown-{subject}");
    let data = Data {
        customer_id: &customer,
        shop: "call-centre",
        channel: "phone",
        origin: (rank == 0).then_some("inbound"),
        entry: (rank == 0).then_some("queue"),
        skill: (rank <= 2).then_some("calls"),
        agent_id: (rank >= 2).then_some("unknown"),
        resolved: (rank == 3).then_some(None),
    };
    let id = format!("{subject}:{kind}");
    let json = CloudEvent::line(&id, "/call-centre", kind, &subject, time_ms, data);
    SourceEvent { topic: "conversations", key: customer, time_ms, json }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ROWS: &str = "\
call_id,date,daily_caller,call_started,call_answered,call_ended,wait_length,service_length,meets_standard
1,2021-01-01,1,8:00:00 AM,8:00:00 AM,8:14:22 AM,0,863,TRUE
2,2021-01-01,2,12:00:30 PM,12:01:31 PM,12:02:31 PM,60,60,TRUE
2,2021-01-01,2,12:00:30 PM,12:01:31 PM,12:02:31 PM,60,60,TRUE
3,2021-01-01,3,12:00:30 PM,12:05:31 PM,12:06:31 PM,60,60,TRUE
4,2021-01-01,4,13:00:30 PM,1:05:31 PM,1:06:31 PM,60,60,TRUE
5,2021-13-01,5,1:00:30 PM,1:05:31 PM,1:06:31 PM,60,60,TRUE
6,2021-01-01,6,1:00:30 PM,1:00:31 PM,1:06:31 PM,1,-360,TRUE
7,2021-01-01
8,9999-12-30,8,9:59:57 PM,9:59:58 PM,10:00:00 PM,1,3,TRUE
";

    #[test]
    fn lengths_are_trusted_and_bad_rows_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.csv");
        fs::write(&path, ROWS).unwrap();
        let (events, summary) = read(&[path], &mut |_, _| {}).unwrap();
        let events: Vec<_> = events.collect();
        assert_eq!((summary.rows_read, summary.rows_mapped, events.len()), (9, 2, 10));
        assert_eq!(summary.set_aside.len(), 7, "{summary}");
        let accepted = events.iter().filter(|event| event.json.contains("accepted"));
        let waits: Vec<_> = accepted.map(|event| event.time_ms / 1000 % 86_400).collect();
        assert_eq!(waits, [8 * 3600, 12 * 3600 + 30 + 60]);
        assert_eq!(
            events[0].json,
            r#"{"specversion":"1.0","id":"call-1:conversation.started","source":"/call-centre","type":"conversation.started","subject":"call-1","time":"2021-01-01T08:00:00Z","recordedtime":"2021-01-01T08:00:00Z","data":{"customer_id":"unknown-call-1","shop":"call-centre","channel":"phone","origin":"inbound","entry":"queue","skill":"calls"}}"#
        );
    }

    #[test]
    fn the_service_level_of_the_year_is_the_published_answer() {
        let Some(folder) = std::env::var_os("HEADSUP_TEST_DATA") else {
            eprintln!("skipped: HEADSUP_TEST_DATA does not name the data folder");
            return;
        };
        let path = PathBuf::from(folder).join("call_centre_simulated/calls.csv.gz");
        let (events, summary) = read(&[path], &mut |_, _| {}).unwrap();
        eprintln!("{summary}");
        assert_eq!((summary.rows_read, summary.rows_mapped), (51_708, 51_708));
        let mut queued = std::collections::HashMap::new();
        let mut met = 0;
        for event in events {
            if event.json.contains("conversation.queued") {
                queued.insert(event.key, event.time_ms);
            } else if event.json.contains("conversation.accepted") {
                met += i32::from(event.time_ms - queued[&event.key] <= 60_000);
            }
        }
        assert_eq!(met, 47_481);
    }
}
