//! Hand-made rows for every fault, and the real month against the oracle's
//! figures.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use serde_json::Value;

use super::*;

const HEADER: &str = "vru+line\tcall_id\tcustomer_id\tpriority\ttype\tdate\tvru_entry\tvru_exit\tvru_time\tq_start\tq_exit\tq_time\toutcome\tser_start\tser_exit\tser_time\tserver";

/// Reads rows written with spaces between columns. Answers each call's events,
/// one line an event, and then what was set aside and noted.
fn check(rows: &str, expect: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.tsv");
    fs::write(&path, tsv(rows)).unwrap();
    let (events, summary) = read(&[path], &mut |_, _| {}).unwrap();
    let mut text = String::new();
    for event in events {
        let json: Value = serde_json::from_str(&event.json).unwrap();
        assert_eq!(json["time"], json["recordedtime"]);
        assert_eq!(json["data"]["customer_id"], event.key.as_str());
        let mut data = json["data"].as_object().unwrap().clone();
        for common in ["customer_id", "shop", "channel", "origin", "entry", "priority"] {
            data.remove(common);
        }
        let kind = json["type"].as_str().unwrap().replace("conversation.", "");
        let [time, subject, key] = [&json["time"], &json["subject"], &Value::from(event.key)]
            .map(|value| value.as_str().unwrap().to_owned());
        let data = Value::from(data);
        text += &format!("{time} {subject} {key} {kind} {data}\n");
    }
    for (what, n) in &summary.set_aside {
        text += &format!("aside {n}: {what}\n");
    }
    for example in &summary.examples {
        text += &format!("  line {}: {}\n", example.line, example.found);
    }
    for (what, n) in &summary.noted {
        text += &format!("noted {n}: {what}\n");
    }
    expect.assert_eq(&text);
}

fn tsv(rows: &str) -> String {
    let rows = rows.lines().map(|row| {
        let columns: Vec<_> = row.split_whitespace().collect();
        columns.join("\t") + "\n"
    });
    format!("{HEADER}\n{}", rows.collect::<String>())
}

#[test]
fn served_from_the_queue() {
    check(
        "AA0101 33118 27997683 2 PS 990101 6:55:20 6:55:26 6 6:55:26 6:55:44 18 AGENT 6:55:43 6:56:37 54 MICHAL",
        expect![[r#"
            1999-01-01T04:55:20Z 990101-AA0101-33118 27997683 started {"skill":"PS"}
            1999-01-01T04:55:26Z 990101-AA0101-33118 27997683 handed_off {}
            1999-01-01T04:55:26Z 990101-AA0101-33118 27997683 queued {"skill":"PS"}
            1999-01-01T04:55:43Z 990101-AA0101-33118 27997683 accepted {"agent_id":"MICHAL","skill":"PS"}
            1999-01-01T04:56:37Z 990101-AA0101-33118 27997683 closed {"agent_id":"MICHAL","resolved":null}
            1999-01-01T04:56:37Z 990101-AA0101-33118 27997683 wrapped {"agent_id":"MICHAL"}
            noted 1: service starts before the queue is left
        "#]],
    );
}

#[test]
fn served_at_once_to_an_unknown_caller() {
    check(
        "AA0101 33119 0 0 PS 990101 7:41:16 7:41:26 10 0:00:00 0:00:00 0 AGENT 7:41:25 7:44:53 208 BASCH",
        expect![[r#"
            1999-01-01T05:41:16Z 990101-AA0101-33119 unknown-990101-AA0101-33119 started {"skill":"PS"}
            1999-01-01T05:41:25Z 990101-AA0101-33119 unknown-990101-AA0101-33119 handed_off {}
            1999-01-01T05:41:25Z 990101-AA0101-33119 unknown-990101-AA0101-33119 accepted {"agent_id":"BASCH","skill":"PS"}
            1999-01-01T05:44:53Z 990101-AA0101-33119 unknown-990101-AA0101-33119 closed {"agent_id":"BASCH","resolved":null}
            1999-01-01T05:44:53Z 990101-AA0101-33119 unknown-990101-AA0101-33119 wrapped {"agent_id":"BASCH"}
            noted 1: customer id 0: unknown, an id of its own
        "#]],
    );
}

#[test]
fn abandoned_and_ended_in_the_menu() {
    check(
        "AA0101 33116 9664491 2 PS 990101 0:00:31 0:00:36 5 0:00:36 0:03:09 153 HANG 0:00:00 0:00:00 0 NO_SERVER
         AA0101 33117 123 0 PS 990101 0:34:12 0:34:23 11 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER",
        expect![[r#"
            1998-12-31T22:00:31Z 990101-AA0101-33116 9664491 started {"skill":"PS"}
            1998-12-31T22:00:36Z 990101-AA0101-33116 9664491 handed_off {}
            1998-12-31T22:00:36Z 990101-AA0101-33116 9664491 queued {"skill":"PS"}
            1998-12-31T22:03:09Z 990101-AA0101-33116 9664491 abandoned {}
            1998-12-31T22:34:12Z 990101-AA0101-33117 123 started {"skill":"PS"}
            1998-12-31T22:34:23Z 990101-AA0101-33117 123 closed {"resolved":null}
        "#]],
    );
}

#[test]
fn over_midnight() {
    check(
        "AA0213 12511 35796002 1 PS 990109 23:59:23 23:59:23 0 23:59:28 0:00:03 35 AGENT 0:00:03 0:00:55 52 ANAT
         AA0201 36998 7 0 PS 990316 23:50:17 23:50:26 9 0:00:00 0:00:00 0 AGENT 23:50:26 0:00:00 574 ZOHARI",
        expect![[r#"
            1999-01-09T21:59:23Z 990109-AA0213-12511 35796002 started {"skill":"PS"}
            1999-01-09T21:59:23Z 990109-AA0213-12511 35796002 handed_off {}
            1999-01-09T21:59:28Z 990109-AA0213-12511 35796002 queued {"skill":"PS"}
            1999-01-09T22:00:03Z 990109-AA0213-12511 35796002 accepted {"agent_id":"ANAT","skill":"PS"}
            1999-01-09T22:00:55Z 990109-AA0213-12511 35796002 closed {"agent_id":"ANAT","resolved":null}
            1999-01-09T22:00:55Z 990109-AA0213-12511 35796002 wrapped {"agent_id":"ANAT"}
            1999-03-16T21:50:17Z 990316-AA0201-36998 7 started {"skill":"PS"}
            1999-03-16T21:50:26Z 990316-AA0201-36998 7 handed_off {}
            1999-03-16T21:50:26Z 990316-AA0201-36998 7 accepted {"agent_id":"ZOHARI","skill":"PS"}
            1999-03-16T22:00:00Z 990316-AA0201-36998 7 closed {"agent_id":"ZOHARI","resolved":null}
            1999-03-16T22:00:00Z 990316-AA0201-36998 7 wrapped {"agent_id":"ZOHARI"}
        "#]],
    );
}

#[test]
fn dubious_rows_are_mapped_and_noted() {
    // Entered after it was left; served before it queued; hung up but served;
    // served by no one at no time; an undocumented type and a rounded customer.
    check(
        "AA0101 1 11 1 PS 990113 15:46:01 15:45:24 -37 15:45:24 15:46:41 77 HANG 0:00:00 0:00:00 0 NO_SERVER
         AA0101 2 12 2 NE 990303 18:44:49 18:45:01 12 18:45:01 18:47:04 123 AGENT 18:45:00 18:50:56 356 ANAT
         AA0101 3 13 2 PS 990113 16:21:19 16:21:25 6 16:21:25 16:21:58 33 HANG 16:21:58 16:30:30 512 NO_SERVER
         AA0101 4 14 1 PS 990104 13:01:45 13:01:51 6 13:01:51 13:04:08 137 AGENT 0:00:00 0:00:00 0 NO_SERVER
         AA0101 5 3.14E+08 1 AA 990104 13:01:45 13:01:51 6 13:01:22 13:04:08 137 HANG 0:00:00 0:00:00 0 NO_SERVER",
        expect![[r#"
            1999-01-04T11:01:22Z 990104-AA0101-5 unknown-990104-AA0101-5 started {"skill":"AA"}
            1999-01-04T11:01:22Z 990104-AA0101-5 unknown-990104-AA0101-5 handed_off {}
            1999-01-04T11:01:22Z 990104-AA0101-5 unknown-990104-AA0101-5 queued {"skill":"AA"}
            1999-01-04T11:01:45Z 990104-AA0101-4 14 started {"skill":"PS"}
            1999-01-04T11:01:51Z 990104-AA0101-4 14 handed_off {}
            1999-01-04T11:01:51Z 990104-AA0101-4 14 queued {"skill":"PS"}
            1999-01-04T11:04:08Z 990104-AA0101-4 14 accepted {"agent_id":"NO_SERVER","skill":"PS"}
            1999-01-04T11:04:08Z 990104-AA0101-4 14 closed {"agent_id":"NO_SERVER","resolved":null}
            1999-01-04T11:04:08Z 990104-AA0101-4 14 wrapped {"agent_id":"NO_SERVER"}
            1999-01-04T11:04:08Z 990104-AA0101-5 unknown-990104-AA0101-5 abandoned {}
            1999-01-13T13:45:24Z 990113-AA0101-1 11 started {"skill":"PS"}
            1999-01-13T13:45:24Z 990113-AA0101-1 11 handed_off {}
            1999-01-13T13:45:24Z 990113-AA0101-1 11 queued {"skill":"PS"}
            1999-01-13T13:46:41Z 990113-AA0101-1 11 abandoned {}
            1999-01-13T14:21:19Z 990113-AA0101-3 13 started {"skill":"PS"}
            1999-01-13T14:21:25Z 990113-AA0101-3 13 handed_off {}
            1999-01-13T14:21:25Z 990113-AA0101-3 13 queued {"skill":"PS"}
            1999-01-13T14:21:58Z 990113-AA0101-3 13 abandoned {}
            1999-03-03T16:44:49Z 990303-AA0101-2 12 started {"skill":"NE"}
            1999-03-03T16:45:00Z 990303-AA0101-2 12 handed_off {}
            1999-03-03T16:45:00Z 990303-AA0101-2 12 queued {"skill":"NE"}
            1999-03-03T16:45:00Z 990303-AA0101-2 12 accepted {"agent_id":"ANAT","skill":"NE"}
            1999-03-03T16:50:56Z 990303-AA0101-2 12 closed {"agent_id":"ANAT","resolved":null}
            1999-03-03T16:50:56Z 990303-AA0101-2 12 wrapped {"agent_id":"ANAT"}
            noted 1: customer id is rounded or no number: unknown, an id of its own
            noted 1: hung up, yet with service times: abandoned
            noted 1: served by NO_SERVER: no person
            noted 1: served without service times: accepted on leaving the queue, 0 s
            noted 1: service starts before the queue is joined: waited 0 s
            noted 1: service starts before the queue is left
            noted 1: the menu is left before it is entered: started when it was left
            noted 1: the queue is joined before the menu is left
            noted 1: type is none of the six documented ones
        "#]],
    );
}

#[test]
fn bad_rows_are_set_aside_and_stop_nothing() {
    check(
        "AA0101 1 0 0 PS 990101 6:55:20
         AA0101 2 0 0 PS 990231 6:55:20 6:55:26 6 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER
         AA0101 3 0 0 PS 990101 6:75:20 6:55:26 6 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER
         AA0101 4 0 0 PS 990101 6:55:20 6:55:26 6 0:00:00 0:00:00 0 LOST 0:00:00 0:00:00 0 NO_SERVER
         AA0101 5 0 0 PS 990101 6:55:20 6:55:26 6 6:55:26 6:56:00 9 PHANTOM 0:00:00 0:00:00 0 NO_SERVER
         AA0101 6 0 0 PS 990101 6:55:20 6:55:26 6 6:55:26 6:55:00 9 HANG 0:00:00 0:00:00 0 NO_SERVER
         AA0101 7 0 0 PS 990101 6:55:20 6:55:26 6 0:00:00 0:00:00 0 AGENT 6:55:26 6:54:00 9 ANAT
         AA0101 8 0 0 PS 990101 6:55:20 6:55:10 6 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER
         AA0101 9 81 0 PS 990101 6:55:20 6:55:26 6 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER
         AA0101 9 81 0 PS 990101 6:55:20 6:55:26 6 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER
         AA0101 9 82 0 PS 990101 6:55:20 6:55:26 6 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER",
        expect![[r#"
            1999-01-01T04:55:20Z 990101-AA0101-9 81 started {"skill":"PS"}
            1999-01-01T04:55:26Z 990101-AA0101-9 81 closed {"resolved":null}
            aside 1: a time is not a time as H:MM:SS
            aside 1: another row with this line, call id and date
            aside 1: date is not a day as YYMMDD
            aside 1: outcome PHANTOM: to be ignored
            aside 1: outcome is not AGENT, HANG or PHANTOM
            aside 1: service ends before it starts
            aside 1: the menu is left before it is entered
            aside 1: the queue is left before it is joined
            aside 1: the same row as an earlier one
            aside 1: wrong number of columns
              line 2: 7 columns instead of 17
              line 3: date "990231"
              line 4: vru_entry "6:75:20"
              line 5: outcome "LOST"
              line 6: 990101-AA0101-5
              line 7: q_start 6:55:26, q_exit 6:55:00
              line 8: ser_start 6:55:26, ser_exit 6:54:00
              line 9: vru_entry 6:55:20, vru_exit 6:55:10
              line 11: 990101-AA0101-9
              line 12: 990101-AA0101-9
        "#]],
    );
}

#[test]
fn one_event_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.tsv");
    fs::write(
        &path,
        tsv("AA0101 33118 27997683 2 PS 990101 6:55:20 6:55:26 6 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER"),
    )
    .unwrap();
    let (mut events, _) = read(&[path], &mut |_, _| {}).unwrap();
    let event = events.next().unwrap();
    assert_eq!((event.topic, event.time_ms), ("conversations", 915_166_520_000));
    expect![[r#"{"specversion":"1.0","id":"990101-AA0101-33118:conversation.started","source":"/bank-calls/1999-01","type":"conversation.started","subject":"990101-AA0101-33118","time":"1999-01-01T04:55:20Z","recordedtime":"1999-01-01T04:55:20Z","data":{"customer_id":"27997683","shop":"bank","channel":"phone","origin":"inbound","entry":"bot","skill":"PS","priority":2}}"#]]
    .assert_eq(&event.json);
}

#[test]
fn several_files_compressed_or_not_in_any_order_are_one_stream() {
    let row = |call: u32, at: &str| {
        tsv(&format!(
            "AA0101 {call} {call} 0 PS 990101 {at}:20 {at}:26 6 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER"
        ))
    };
    let folder = tempfile::tempdir().unwrap();
    let [plain, gzip, zstd] = ["a.tsv.gz", "b.tsv", "c"].map(|name| folder.path().join(name));
    fs::write(&plain, row(1, "7:05")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&gzip).unwrap(), Default::default());
    encoder.write_all(row(2, "6:05").as_bytes()).unwrap();
    encoder.finish().unwrap();
    fs::write(&zstd, zstd::encode_all(row(3, "8:05").as_bytes(), 0).unwrap()).unwrap();

    let all = |paths: &[&PathBuf]| {
        let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
        let mut last = (0, 0);
        let (events, summary) = read(&paths, &mut |done, total| last = (done, total)).unwrap();
        assert_eq!(last.0, last.1, "progress ends at its total");
        assert_eq!(events.len() as u64, summary.events_total());
        (events.collect::<Vec<_>>(), summary.rows_mapped)
    };
    let (events, rows) = all(&[&plain, &gzip, &zstd]);
    assert_eq!(rows, 3);
    assert!(events.is_sorted_by_key(|event| event.time_ms));
    assert_eq!((events.clone(), rows), all(&[&zstd, &plain, &gzip]));
    let (again, rows) = all(&[&zstd, &plain, &gzip, &plain]);
    assert_eq!((events, 3), (again, rows), "a file given twice adds nothing");

    let mut cut = fs::read(&gzip).unwrap();
    cut.truncate(cut.len() - 9);
    fs::write(&gzip, cut).unwrap();
    let error = read(&[gzip], &mut |_, _| {}).err().unwrap();
    assert!(matches!(error, ImportError::Damaged { .. }), "{error}");
}

#[test]
fn what_is_no_such_file_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.csv");
    let message = |path: &PathBuf| {
        let error = read(std::slice::from_ref(path), &mut |_, _| {}).err().unwrap();
        error.to_string().replace(folder.path().to_str().unwrap(), "F")
    };
    assert!(message(&path).starts_with("cannot read F/calls.csv: "));
    fs::write(&path, "call_id,date\n1,2021-01-01\n").unwrap();
    expect![[r#"cannot import F/calls.csv as bank-calls: line 1: column 1 should be "vru+line" and is "call_id,date"; give a month of the "Anonymous Bank" calls as published, tab-separated, with its header line"#]]
        .assert_eq(&message(&path));
    fs::write(&path, "").unwrap();
    assert!(message(&path).contains("the file is empty"));
}

/// A naive assembly of contacts from the events: what the pipeline will do.
#[derive(Default)]
struct Naive {
    queued: Option<i64>,
    accepted: Option<i64>,
    wrapped: Option<i64>,
    abandoned: Option<i64>,
}

#[test]
fn january_equals_what_the_oracle_says() {
    let Some(folder) = std::env::var_os("HEADSUP_TEST_DATA") else {
        eprintln!("skipped: HEADSUP_TEST_DATA does not name the data folder");
        return;
    };
    let month = |name: &str| PathBuf::from(&folder).join("bank_calls").join(name);
    let march = read(&[month("03_March.tsv.gz")], &mut |_, _| {}).unwrap();
    eprintln!("{}", march.1);
    let (events, summary) = read(&[month("01_January.tsv.gz")], &mut |_, _| {}).unwrap();
    eprintln!("{summary}");
    assert_eq!((summary.rows_read, summary.rows_mapped, summary.set_aside_total()), (31_599, 31_359, 240));
    let mut last = i64::MIN;
    let mut calls: BTreeMap<String, Naive> = BTreeMap::new();
    for event in events {
        assert!(event.time_ms >= last);
        last = event.time_ms;
        let json: Value = serde_json::from_str(&event.json).unwrap();
        let call = calls.entry(json["subject"].as_str().unwrap().to_owned()).or_default();
        match json["type"].as_str().unwrap() {
            "conversation.queued" => call.queued = Some(event.time_ms),
            "conversation.accepted" => call.accepted = Some(event.time_ms),
            "conversation.wrapped" => call.wrapped = Some(event.time_ms),
            "conversation.abandoned" => call.abandoned = Some(event.time_ms),
            _ => {}
        }
    }
    let handled = || calls.values().filter(|call| call.accepted.is_some());
    let waits = || handled().filter_map(|call| Some(call.accepted? - call.queued?));
    let handle_ms: i64 = handled().map(|call| call.wrapped.unwrap() - call.accepted.unwrap()).sum();
    // From jobs/tests/oracle/bank_calls.py, row `*,*`.
    assert_eq!(handled().count(), 27_060);
    assert_eq!(calls.values().filter(|call| call.abandoned.is_some()).count(), 3_101);
    assert_eq!(calls.len(), 27_060 + 3_101 + 1_198);
    assert_eq!(handle_ms, 4_964_204_000);
    assert_eq!(waits().count(), 13_585);
    assert_eq!(waits().sum::<i64>(), 932_947_000);
    assert!(waits().all(|wait| wait >= 0));
}
