//! kill -9 while appending: what had been acknowledged is there afterwards, whole and in order.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use headsup_connectors::{EventLog, Record};

use crate::embedded::{open, read_all};

const FOLDER: &str = "HEADSUP_TEST_KILL_FOLDER";
const PARTITIONS: u32 = 2;
const APPENDERS: u32 = 3;

#[test]
fn acknowledged_records_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = [0_u64; PARTITIONS as usize];
    for round in 0..6_u64 {
        let mut appending = Command::new(std::env::current_exe().unwrap())
            .args(["kill::appends_until_killed", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(appending.stdout.take().unwrap());
        let seed = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(round + 1);
        let mut left = 1 + seed % 60;
        let mut take = |line: &str| {
            // A line cut by the kill was not acknowledged to anyone.
            let Some((partition, count)) = line
                .strip_suffix('\n')
                .and_then(|line| line.strip_prefix("ack "))
                .and_then(|line| line.split_once(' '))
            else {
                return 0;
            };
            acknowledged[partition.parse::<usize>().unwrap()] += count.parse::<u64>().unwrap();
            1
        };
        let mut line = String::new();
        while left > 0 {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "the appender ended by itself");
            left -= take(&line);
        }
        thread::sleep(Duration::from_micros(seed >> 52));
        appending.kill().unwrap();
        appending.wait().unwrap();
        let mut rest = String::new();
        told.read_to_string(&mut rest).unwrap();
        rest.split_inclusive('\n').for_each(|line| _ = take(line));
        check(folder.path(), &mut acknowledged, round);
    }
}

/// The records of each appender of each round are there from 0 on, none missing, none twice, and
/// no fewer than acknowledged.
fn check(folder: &Path, acknowledged: &mut [u64], round: u64) {
    let log = open(folder);
    for partition in 0..PARTITIONS {
        let read = read_all(&log, "t", partition, 0);
        let at_least = &mut acknowledged[partition as usize];
        assert!(
            read.len() as u64 >= *at_least,
            "round {round}: {} read, {at_least} acknowledged",
            read.len()
        );
        *at_least = read.len() as u64;
        let mut expected = std::collections::HashMap::new();
        for value in &read {
            let text = std::str::from_utf8(value).unwrap().trim_end_matches('x');
            let (appender, number) = text.rsplit_once(' ').unwrap();
            let next = expected.entry(appender.to_owned()).or_insert(0_u64);
            assert_eq!(number.parse::<u64>().unwrap(), *next, "of {appender} in round {round}");
            *next += 1;
        }
    }
}

#[test]
#[ignore = "run as a child process by acknowledged_records_survive_kill_9"]
fn appends_until_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let log = open(Path::new(&folder));
    log.create_topic("t", PARTITIONS).unwrap();
    thread::scope(|scope| {
        for appender in 0..APPENDERS {
            let log = &log;
            scope.spawn(move || {
                let partition = appender % PARTITIONS;
                let mut number = 0;
                for size in (0..).map(|step: usize| 1 + step * 7919 % 40) {
                    // Some of a few bytes, some of many KiB, so that both storage paths are cut.
                    let padding = "x".repeat(size * size * size);
                    let values: Vec<_> = (0..size as u64)
                        .map(|index| format!("{}-{appender} {}{padding}", std::process::id(), number + index))
                        .collect();
                    let records: Vec<_> =
                        values.iter().map(|value| Record { key: b"", value: value.as_bytes() }).collect();
                    log.append_to("t", partition, &records).unwrap();
                    number += size as u64;
                    let line = format!("ack {partition} {size}\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}
