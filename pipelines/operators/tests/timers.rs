//! When conversations are looked at again: a contact is over when its time is, however far off
//! its end was before.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use headsup_events::{Chunk, Decoder, Limits};
use headsup_operators::facts::Table;
use headsup_operators::{ContactLimits, FollowLimits, Pipeline, PipelineConfig};

const MINUTE_MS: i64 = 60_000;

fn new(limits: ContactLimits) -> Pipeline {
    let config = PipelineConfig {
        partitions: 1,
        disorder_ms_max: 0,
        lateness_ms_max: 60 * MINUTE_MS,
        contacts: limits,
        queue_tick_ms: 10_000,
        queue_over_ms: 120_000,
        follow: FollowLimits::default(),
        // Agents at work have a tick every ten seconds, with which contacts would come out sooner.
        agents: false,
        quiet_until_ms: i64::MIN,
        store: vec![Table::Contacts],
        profile: false,
    };
    Pipeline::new(config, Vec::new())
}

/// An event of a script: `03:30 c1 closed`, or `03:30 heartbeat`.
fn event(number: usize, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let head = format!(
        r#"{{"specversion":"1.0","id":"{number}","source":"/s","time":"2026-03-02T{}:00Z""#,
        words[0]
    );
    match words[1..] {
        [subject, kind] => format!(
            r#"{head},"type":"conversation.{kind}","subject":"{subject}","data":{{"customer_id":"u-{subject}","shop":"s","channel":"phone","skill":"k","agent_id":"a"}}}}"#
        ),
        _ => format!(r#"{head},"type":"headsup.heartbeat"}}"#),
    }
}

fn clock(us: Option<i64>) -> String {
    let minutes = us.expect("a time").div_euclid(60_000_000).rem_euclid(24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// `c1 ended 03:30 closed`.
fn contacts(facts: &RecordBatch) -> Vec<String> {
    let text = |column: &str, row: usize| {
        facts.column_by_name(column).expect("it is there").as_string_view().value(row).to_owned()
    };
    let times = facts.column_by_name("ended_at").expect("it is there");
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let contact = |(row, ended): (usize, Option<i64>)| {
        format!("{} ended {} {}", text("conversation_id", row), clock(ended), text("ended_by", row))
    };
    times.iter().enumerate().map(contact).collect()
}

/// Applies a script, and says which contacts come out after which of its lines. With a new life
/// after every line it is the same.
fn check(limits: ContactLimits, script: &str, expected: &str) {
    let tidy = |text: &str| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    for lives in [false, true] {
        let mut pipeline = new(limits);
        let mut decoder = Decoder::new(Limits::default(), Pipeline::columns());
        let mut found = Vec::new();
        for (number, line) in tidy(script).iter().enumerate() {
            let decoded = decoder.decode(&Chunk::of_lines(&event(number, line), 0, 4_000_000_000_000));
            assert!(decoded.quarantined.is_empty(), "{:?}", decoded.quarantined);
            pipeline.push(0, decoded, 0);
            let output = pipeline.advance().expect("nothing is evaluated");
            let contacts = output.facts.iter().flat_map(|(_, facts)| contacts(facts));
            found.extend(contacts.map(|contact| format!("{}: {contact}", &line[..5])));
            if lives {
                let saved = pipeline.save().pack().expect("packed");
                pipeline = new(limits);
                pipeline.restore(&saved, u32::MAX).expect("it was saved");
            }
        }
        assert_eq!(found, tidy(expected), "a new life after every line: {lives}");
    }
}

#[test]
fn a_long_call_that_is_not_wrapped() {
    // Its timer was at 04:00.
    check(
        ContactLimits::default(),
        "00:00 c1 accepted
         00:20 heartbeat
         00:30 c1 closed
         00:40 heartbeat
         00:42 heartbeat
         04:30 heartbeat",
        "00:42: c1 ended 00:30 closed",
    );
}

#[test]
fn given_up_by_the_limit_of_the_phase_it_is_in() {
    // Its timer was at 12:00, from when it waited.
    check(
        ContactLimits::default(),
        "00:00 c1 queued
         00:20 c1 accepted
         04:19 heartbeat
         04:22 heartbeat
         13:00 heartbeat",
        "04:22: c1 ended 04:20 idle",
    );
}

#[test]
fn earlier_and_later_again() {
    // Earlier when it is closed, later when it is opened again, and entries of both are left.
    check(
        ContactLimits::default(),
        "00:00 c1 accepted
         00:20 heartbeat
         00:30 c1 closed
         00:35 c1 reopened
         00:36 c1 accepted
         00:50 heartbeat
         02:00 c1 closed
         02:05 c1 wrapped
         02:06 c2 accepted
         02:36 heartbeat
         02:37 c3 accepted
         04:00 heartbeat
         06:05 heartbeat
         06:08 heartbeat
         06:40 heartbeat
         12:00 heartbeat",
        "00:36: c1 ended 00:30 reopened
         02:06: c1 ended 02:05 wrapped
         06:08: c2 ended 06:06 idle
         06:40: c3 ended 06:37 idle",
    );
}

#[test]
fn what_is_late_waits_for_what_is_late_behind_it() {
    // Closing comes 40 minutes late, and wrapping with it; of the other contact it never comes.
    let limits = ContactLimits { wrap_ms: 5 * MINUTE_MS, ..ContactLimits::default() };
    check(
        limits,
        "00:00 c1 accepted
         00:00 c2 accepted
         00:20 heartbeat
         01:10 heartbeat
         00:30 c1 closed
         00:30 c2 closed
         00:34 c1 wrapped
         01:14 heartbeat
         01:16 heartbeat
         01:18 heartbeat
         05:00 heartbeat",
        "01:14: c1 ended 00:34 wrapped
         01:16: c2 ended 00:30 closed",
    );
}

#[test]
fn nothing_is_remembered_for_no_time() {
    let limits = ContactLimits { linger_ms: 0, wrap_ms: 0, ..ContactLimits::default() };
    let mut pipeline = new(limits);
    let mut decoder = Decoder::new(Limits::default(), Pipeline::columns());
    for (number, line) in
        ["00:00 c1 accepted", "00:20 heartbeat", "00:30 c1 closed", "00:31 heartbeat"].iter().enumerate()
    {
        pipeline.push(0, decoder.decode(&Chunk::of_lines(&event(number, line), 0, 4_000_000_000_000)), 0);
        pipeline.advance().expect("nothing is evaluated");
    }
    assert!(pipeline.sizes().contains(&("conversations", 0)), "{:?}", pipeline.sizes());
}
