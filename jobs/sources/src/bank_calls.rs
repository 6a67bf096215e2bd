//! `headsup import bank-calls`: every call of the "Anonymous Bank" call centre,
//! 1999, as published by Avi Mandelbaum and Ilan Guedj, Technion (free for use,
//! to be acknowledged). A file a month, tab-separated, 17 columns, a row a call.
//!
//! A call enters the automatic menu (the VRU), and then hangs up there, or
//! queues, or is served at once. What becomes of the columns:
//!
//! | column | becomes |
//! |---|---|
//! | `vru+line`, `call_id`, `date` | the conversation's id, `990101-AA0101-33117`, which is also each event's `subject`; the event's id is that and its type |
//! | `date` (YYMMDD), local time | the day of `vru_entry`; Asia/Jerusalem, so UTC+2 in winter; the event's `source` is `/bank-calls/1999-01` |
//! | `customer_id` | `customer_id`, as it is; 0 is an unknown caller, and becomes `unknown-` and the conversation's id, so that no two unknown callers are one customer |
//! | `priority` | `priority` of `conversation.started` (2 is a priority customer; 0 and 1 are regular ones) |
//! | `type` | `skill` |
//! | `vru_entry` | `conversation.started`, `origin` inbound, `entry` bot |
//! | `vru_exit` | `conversation.handed_off` if the call went on to the queue or to service, else `conversation.closed`, without an agent |
//! | `q_start` | `conversation.queued`, unless 0:00:00 (see below) |
//! | `q_exit` | `conversation.abandoned` if the outcome is HANG; otherwise not used |
//! | `outcome` | AGENT: served. HANG: abandoned if it queued, else ended in the menu. PHANTOM: set aside, "to be ignored" |
//! | `ser_start` | `conversation.accepted` |
//! | `ser_exit` | `conversation.closed` and `conversation.wrapped` (the data has no after-call work) |
//! | `server` | `agent_id` |
//! | `vru_time`, `q_time`, `ser_time` | not used: they are the differences of the above, in all 70,400 rows |
//!
//! `shop` is `bank`, `channel` is `phone`. Whether a caller's question was
//! resolved is nowhere in the data, so `resolved` is null, never a guess.
//!
//! # What is dubious, and what is done
//!
//! Counts are those of January and March (31,599 and 38,801 rows). "Noted" rows
//! are mapped and counted in [`Summary::noted`](crate::Summary::noted).
//!
//! - **Who never queued.** `q_start` and `q_exit` both 0:00:00: half of the
//!   served calls (13,475; 8,669) went from the menu straight to an agent. They
//!   have no `conversation.queued`, and so no wait, rather than a made-up wait
//!   of zero. Whoever counts calls answered in time counts them as answered at
//!   once.
//! - **Midnight.** A time has no date. When `vru_entry` is at 20:00 or later, a
//!   time before 6:00 is on the next day (24; 27 calls). An end that is then
//!   still before its start is set aside (none). A single 0:00:00 is midnight
//!   (1 service of March ends there); 0:00:00 as start and end is "did not
//!   happen".
//! - **Service before the queue is left.** In 10,515 and 14,721 served calls
//!   `ser_start` is before `q_exit`, nearly always by one or two seconds.
//!   Accepted is `ser_start`, and the wait is `ser_start - q_start`, so it is
//!   shorter than `q_time` there. Likewise service may start a little before
//!   `vru_exit`: the call was handed off when service started.
//! - **Service before the queue is joined** (23; 69 served calls, mostly by one
//!   second): queued when service starts, a wait of zero; noted.
//! - **Served, but without service times** (42; 53 calls with a named agent, and
//!   `ser_time` 0): accepted and closed when the call left the queue (or the
//!   menu), so they count as handled and take 0 s, as `ser_time` says; noted.
//! - **NO_SERVER served** (490; 507 calls with the outcome AGENT, half of them
//!   for at most 6 s): handled, as the outcome says, by `agent_id` `NO_SERVER`,
//!   which is no person: leave it out of figures by agent. Noted.
//! - **Hung up, with service times** (83; 104 calls, for 5 s or so, all but one
//!   NO_SERVER): the outcome counts: abandoned at `q_exit`, the service times
//!   are not used; noted.
//! - **Menu left before it was entered** (negative `vru_time`: 32; 27 calls): all
//!   queued, and `vru_exit` agrees with `q_start`, so it is `vru_entry` that is
//!   wrong: started when the menu was left; noted. Such a call that ended in the
//!   menu would be set aside (none).
//! - **Queue joined before the menu was left** (0; 1 call, by 29 s): started and
//!   handed off when the queue was joined; noted.
//! - **Rounded customer ids** (24; 30 calls, as `3.14E+08`): a spreadsheet has
//!   lost the last digits, and different customers look the same: unknown;
//!   noted.
//! - **Customer 34** calls 14 times (the next longer ids have 4 digits): kept.
//! - **Type AA** (2; 0 calls) is in no documentation: kept; noted. Type TT are
//!   calls that the bank returned at the customer's request: inbound.
//! - 11 and 12 January are missing, and on the 13th a few calls have clocks that
//!   are minutes apart (`ser_start` long after `q_exit`): kept as they are.
//! - PHANTOM (240; 407 rows): set aside, and all that is set aside here.
//! - There are no duplicates. If there were: a row equal to an earlier one, and
//!   one with an earlier one's line, call id and date but else different, are
//!   set aside.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use jiff::civil;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::input::{Inputs, read_error};
use crate::timeline::{CloudEvent, Timeline};
use crate::{ImportError, Imported, Progress, SourceEvent, Summary};

/// The columns, in order, as the header names them.
pub const COLUMNS: [&str; 17] = [
    "vru+line",
    "call_id",
    "customer_id",
    "priority",
    "type",
    "date",
    "vru_entry",
    "vru_exit",
    "vru_time",
    "q_start",
    "q_exit",
    "q_time",
    "outcome",
    "ser_start",
    "ser_exit",
    "ser_time",
    "server",
];

/// Reads the calls of all `paths` (plain, gzip or zstd; in any order) and
/// answers their events in event-time order.
pub fn read(paths: &[PathBuf], progress: Progress<'_>) -> Result<Imported, ImportError> {
    let inputs = Inputs::new(paths)?;
    #[expect(clippy::expect_used, reason = "the database of zones is compiled in")]
    let zone = TimeZone::get("Asia/Jerusalem").expect("the zone is in the bundled database");
    let mut summary = Summary::default();
    let mut calls = Vec::new();
    let mut seen = HashMap::new();
    for path in paths {
        let mut rows = csv::ReaderBuilder::new()
            .delimiter(b'\t')
            .quoting(false)
            .flexible(true)
            .has_headers(false)
            .from_reader(inputs.open(path)?);
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
            match map(&row, &zone, &mut seen) {
                Ok((call, notes)) => {
                    summary.rows_mapped += 1;
                    notes.into_iter().for_each(|what| summary.note(what));
                    for (_, rank) in &call.moments {
                        summary.event(KINDS[*rank as usize]);
                    }
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
    calls.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let events = Timeline::new(calls, |call| call.moments.clone(), render);
    Ok((Box::new(events), summary))
}

/// A call's events, at their ranks: the order within a millisecond.
const KINDS: [&str; 7] = [
    "conversation.started",
    "conversation.handed_off",
    "conversation.queued",
    "conversation.accepted",
    "conversation.closed",
    "conversation.wrapped",
    "conversation.abandoned",
];
const STARTED: u8 = 0;
const HANDED_OFF: u8 = 1;
const QUEUED: u8 = 2;
const ACCEPTED: u8 = 3;
const CLOSED: u8 = 4;
const WRAPPED: u8 = 5;
const ABANDONED: u8 = 6;

struct Call {
    /// The conversation's id.
    id: String,
    customer: String,
    /// `/bank-calls/1999-01`.
    source: String,
    skill: String,
    priority: Option<i64>,
    /// Absent if no agent served the call.
    agent: Option<String>,
    /// (event time, rank), in order.
    moments: Vec<(i64, u8)>,
}

/// Why a row is set aside, and the column and value that say so.
type Fault = (&'static str, String);

/// Rows seen: the conversation's id, and a hash of the whole row.
type Seen = HashMap<String, u64>;

/// One row as a call, with what is dubious in it.
fn map(row: &csv::ByteRecord, zone: &TimeZone, seen: &mut Seen) -> Result<(Call, Vec<&'static str>), Fault> {
    if row.len() != COLUMNS.len() {
        let found = format!("{} columns instead of {}", row.len(), COLUMNS.len());
        return Err(("wrong number of columns", found));
    }
    let mut fields = [""; COLUMNS.len()];
    for (at, field) in row.iter().enumerate() {
        fields[at] =
            std::str::from_utf8(field).map_err(|_| ("not UTF-8", format!("column {}", COLUMNS[at])))?.trim();
    }
    let [line, call_id, customer, priority, skill, date, ..] = fields;
    let (outcome, server) = (fields[12], fields[16]);
    for at in [0, 1, 4] {
        if fields[at].is_empty() {
            return Err(("no line, call id or type", format!("{} is empty", COLUMNS[at])));
        }
    }
    let day = parse_date(date)?;
    let id = format!("{date}-{line}-{call_id}");
    let mut hasher = DefaultHasher::new();
    fields.hash(&mut hasher);
    let hash = hasher.finish();
    match seen.get(&id) {
        Some(earlier) if *earlier == hash => {
            return Err(("the same row as an earlier one", id));
        }
        Some(_) => {
            return Err(("another row with this line, call id and date", id));
        }
        None => seen.insert(id.clone(), hash),
    };
    if outcome == "PHANTOM" {
        return Err(("outcome PHANTOM: to be ignored", id));
    }
    if outcome != "AGENT" && outcome != "HANG" {
        return Err(("outcome is not AGENT, HANG or PHANTOM", format!("outcome {outcome:?}")));
    }

    let entry = parse_time(&fields, 6)?;
    // A time without a date: before 6:00 is tomorrow, if the call came in at
    // 20:00 or later.
    #[expect(clippy::expect_used, reason = "a date has two digits for the year, which are 1970 to 2069")]
    let stamp = |time: civil::Time| {
        let next_day = entry.hour() >= 20 && time.hour() < 6;
        let day = if next_day { day.tomorrow().unwrap_or(day) } else { day };
        zone.to_ambiguous_timestamp(day.to_datetime(time))
            .compatible()
            .expect("a day of this era is a timestamp")
            .as_millisecond()
    };
    let span = |start: usize, end: usize| -> Result<Option<(i64, i64)>, Fault> {
        let (start, end) = (parse_time(&fields, start)?, parse_time(&fields, end)?);
        let happened = start != civil::Time::midnight() || end != civil::Time::midnight();
        Ok(happened.then(|| (stamp(start), stamp(end))))
    };
    let menu = (stamp(entry), stamp(parse_time(&fields, 7)?));
    let queue = span(9, 10)?;
    let service = span(13, 14)?;

    let mut notes = Vec::new();
    if queue.is_some_and(|(start, end)| end < start) {
        let found = format!("q_start {}, q_exit {}", fields[9], fields[10]);
        return Err(("the queue is left before it is joined", found));
    }
    let mut moments = Vec::with_capacity(6);
    if outcome == "AGENT" {
        if service.is_none() {
            notes.push("served without service times: accepted on leaving the queue, 0 s");
        }
        let left = queue.map_or(menu.1, |(_, end)| end);
        let (accepted, closed) = service.unwrap_or((left, left));
        if closed < accepted {
            let found = format!("ser_start {}, ser_exit {}", fields[13], fields[14]);
            return Err(("service ends before it starts", found));
        }
        if server == "NO_SERVER" {
            notes.push("served by NO_SERVER: no person");
        }
        if let Some((start, end)) = queue {
            if accepted < start {
                notes.push("service starts before the queue is joined: waited 0 s");
            }
            if accepted < end {
                notes.push("service starts before the queue is left");
            }
            moments.push((start.min(accepted), QUEUED));
        }
        moments.push((accepted, ACCEPTED));
        moments.push((closed, CLOSED));
        moments.push((closed, WRAPPED));
    } else if let Some((start, end)) = queue {
        if service.is_some() {
            notes.push("hung up, yet with service times: abandoned");
        }
        moments.push((start, QUEUED));
        moments.push((end, ABANDONED));
    } else {
        if menu.1 < menu.0 {
            let found = format!("vru_entry {}, vru_exit {}", fields[6], fields[7]);
            return Err(("the menu is left before it is entered", found));
        }
        moments.push((menu.1, CLOSED));
    }
    // Whatever the menu's times say, it comes first.
    let (next, rank) = moments[0];
    if rank == CLOSED {
        moments.insert(0, (menu.0, STARTED));
    } else {
        if menu.1 < menu.0 {
            notes.push("the menu is left before it is entered: started when it was left");
        } else if rank == QUEUED && queue.is_some_and(|(start, _)| start < menu.1) {
            notes.push("the queue is joined before the menu is left");
        }
        let handed_off = menu.1.min(next);
        moments.insert(0, (handed_off, HANDED_OFF));
        moments.insert(0, (menu.0.min(handed_off), STARTED));
    }
    assert!(moments.is_sorted(), "a call's events are in the order of its life");

    if !matches!(skill, "PS" | "PE" | "IN" | "NE" | "NW" | "TT") {
        notes.push("type is none of the six documented ones");
    }
    let known = !customer.is_empty() && customer.bytes().all(|b| b.is_ascii_digit());
    let customer = if known && customer.bytes().any(|b| b != b'0') {
        customer.to_owned()
    } else {
        notes.push(if known {
            "customer id 0: unknown, an id of its own"
        } else {
            "customer id is rounded or no number: unknown, an id of its own"
        });
        format!("unknown-{id}")
    };
    let call = Call {
        id,
        customer,
        source: format!("/bank-calls/{:04}-{:02}", day.year(), day.month()),
        skill: skill.to_owned(),
        priority: priority.parse().ok(),
        agent: (outcome == "AGENT").then(|| server.to_owned()),
        moments,
    };
    Ok((call, notes))
}

/// `990131` is 31 January 1999.
fn parse_date(text: &str) -> Result<civil::Date, Fault> {
    let fault = || ("date is not a day as YYMMDD", format!("date {text:?}"));
    if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fault());
    }
    let number = |at: usize| text[at..at + 2].parse::<i8>().map_err(|_| fault());
    let year = i16::from(number(0)?);
    let century = if year < 70 { 2000 } else { 1900 };
    civil::Date::new(century + year, number(2)?, number(4)?).map_err(|_| fault())
}

/// `7:05:59`, or `07:05:59`, in column `at`.
fn parse_time(fields: &[&str; 17], at: usize) -> Result<civil::Time, Fault> {
    let fault = || ("a time is not a time as H:MM:SS", format!("{} {:?}", COLUMNS[at], fields[at]));
    let mut numbers = fields[at].splitn(3, ':').map(|part| {
        let digits = matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<i8>().ok()).flatten()
    });
    let mut number = || numbers.next().flatten().ok_or_else(fault);
    civil::Time::new(number()?, number()?, number()?, 0).map_err(|_| fault())
}

fn check_header(path: &Path, header: Option<&csv::ByteRecord>) -> Result<(), ImportError> {
    let wrong = |found: String| ImportError::NotThisDataSet {
        path: path.to_owned(),
        data_set: "bank-calls",
        place: "line 1",
        found,
        advice: "give a month of the \"Anonymous Bank\" calls as published, \
                 tab-separated, with its header line"
            .to_owned(),
    };
    let Some(header) = header else {
        return Err(wrong("the file is empty".to_owned()));
    };
    for (at, expected) in COLUMNS.iter().enumerate() {
        let found = header.get(at).map(String::from_utf8_lossy);
        if found.as_deref().map(str::trim) != Some(expected) {
            let found = found
                .map_or("nothing".to_owned(), |f| format!("{:?}", f.chars().take(40).collect::<String>()));
            return Err(wrong(format!("column {} should be {expected:?} and is {found}", at + 1)));
        }
    }
    Ok(())
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
    skill: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    /// Outer: whether the field is there. Inner: null, as nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Option<bool>>,
}

fn render(call: &Call, time_ms: i64, rank: u8) -> SourceEvent {
    let kind = KINDS[rank as usize];
    let with_skill = matches!(rank, STARTED | QUEUED | ACCEPTED);
    let with_agent = matches!(rank, ACCEPTED | CLOSED | WRAPPED);
    let data = Data {
        customer_id: &call.customer,
        shop: "bank",
        channel: "phone",
        origin: (rank == STARTED).then_some("inbound"),
        entry: (rank == STARTED).then_some("bot"),
        skill: with_skill.then_some(&call.skill),
        priority: call.priority.filter(|_| rank == STARTED),
        agent_id: call.agent.as_deref().filter(|_| with_agent),
        resolved: (rank == CLOSED).then_some(None),
    };
    let id = format!("{}:{kind}", call.id);
    SourceEvent {
        topic: "conversations",
        key: call.customer.clone(),
        time_ms,
        json: CloudEvent::line(&id, &call.source, kind, &call.id, time_ms, data),
    }
}

#[cfg(test)]
mod tests;
