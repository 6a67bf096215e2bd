//! A cluster that goes away and comes back.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use headsup_connectors::{EventLog, LogError, Record};
use headsup_fluvio::{FluvioLog, FluvioOptions};
use headsup_fluvio_stand_in::{Options, StandIn};

use crate::{NO_WAIT, impatient, keyless, numbered, read_all};

#[test]
fn reading_and_writing_go_on_after_restarts_of_the_cluster() {
    let stand_in = StandIn::start().unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), FluvioOptions::default()).unwrap();
    log.create_topic("t", 2).unwrap();
    let is_over = AtomicBool::new(false);
    let read = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|partition| {
                let (log, is_over) = (&log, &is_over);
                scope.spawn(move || {
                    let mut reader = log.reader("t", partition, 0).unwrap();
                    let mut read = Vec::new();
                    loop {
                        // Before the read, so that nothing comes after the last one.
                        let last = is_over.load(Ordering::SeqCst);
                        match reader.next(Duration::from_millis(50)).unwrap() {
                            Some(chunk) => {
                                assert_eq!(chunk.first_offset, read.len() as u64);
                                read.extend((0..chunk.spans.len()).map(|at| chunk.record(at).to_vec()));
                            }
                            None if last && reader.end_offset().unwrap() == read.len() as u64 => return read,
                            None => {}
                        }
                    }
                })
            })
            .collect();
        let writer = scope.spawn(|| {
            for some in numbered(0..3000).chunks(30) {
                let keys: Vec<_> = some.iter().map(|value| value.repeat(2)).collect();
                let records: Vec<_> =
                    keys.iter().zip(some).map(|(key, value)| Record { key, value }).collect();
                log.append("t", &records).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
        });
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(100));
            stand_in.stop();
            thread::sleep(Duration::from_millis(100));
            stand_in.start_again().unwrap();
        }
        writer.join().unwrap();
        is_over.store(true, Ordering::SeqCst);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(log.reconnects() >= 3, "{} reconnects", log.reconnects());
    // A batch whose acknowledgement was cut off may be there twice.
    let unique: BTreeSet<_> = read.iter().flatten().cloned().collect();
    assert_eq!(unique, numbered(0..3000).into_iter().collect());
    for partition in read {
        assert!(first_occurrences(&partition).is_sorted());
    }
}

#[test]
fn a_lost_acknowledgement_costs_a_copy_but_no_record() {
    let stand_in = StandIn::start().unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), FluvioOptions::default()).unwrap();
    log.create_topic("t", 1).unwrap();
    stand_in.lose_acknowledgements(2);
    log.append("t", &keyless(&numbered(0..10))).unwrap();
    log.append("t", &keyless(&numbered(10..20))).unwrap();
    let read = read_all(&log, "t", 0, 0);
    assert_eq!(read, [numbered(0..10), numbered(0..10), numbered(0..20)].concat());
}

#[test]
fn a_silent_cluster_is_given_up() {
    let stand_in = StandIn::start().unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), impatient()).unwrap();
    log.create_topic("t", 1).unwrap();
    log.append("t", &keyless(&numbered(0..10))).unwrap();
    let mut reader = log.reader("t", 0, 0).unwrap();
    assert_eq!(reader.next(NO_WAIT).unwrap().unwrap().spans.len(), 10);
    for is_stopped in [false, true] {
        if is_stopped {
            stand_in.stop();
        } else {
            stand_in.delay(Duration::from_secs(5));
        }
        let begun = Instant::now();
        let error = log.append("t", &keyless(&numbered(10..20))).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, LogError::Cluster { .. }), "{message}");
        assert!(message.starts_with("cannot append to topic t "), "{message}");
        assert!(message.ends_with("; tried again for 1s"), "{message}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        // A reader has nothing meanwhile, and says so when its patience ends.
        let error = loop {
            let begun = Instant::now();
            let next = reader.next(Duration::from_millis(100));
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
            match next {
                Ok(Some(chunk)) => panic!("{} records", chunk.spans.len()),
                Ok(None) => {}
                Err(error) => break error,
            }
        };
        let message = error.to_string();
        assert!(message.contains("cannot read topic t partition 0 at offset 10 at the cluster"), "{message}");
    }
    // And goes on when the cluster is back.
    stand_in.delay(Duration::ZERO);
    stand_in.start_again().unwrap();
    log.append("t", &keyless(&numbered(20..30))).unwrap();
    let mut read = Vec::new();
    while !read.ends_with(&numbered(20..30)) {
        let chunk = reader.next(Duration::from_secs(5)).unwrap().unwrap();
        read.extend((0..chunk.spans.len()).map(|at| chunk.record(at).to_vec()));
    }
}

#[test]
fn a_log_that_has_become_shorter_is_told() {
    let stand_in = StandIn::start().unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), impatient()).unwrap();
    log.create_topic("t", 1).unwrap();
    log.append("t", &keyless(&numbered(0..10))).unwrap();
    log.append("t", &keyless(&numbered(10..20))).unwrap();
    let mut reader = log.reader("t", 0, 0).unwrap();
    assert_eq!(reader.next(NO_WAIT).unwrap().unwrap().spans.len(), 10);
    assert_eq!(reader.next(NO_WAIT).unwrap().unwrap().spans.len(), 10);
    stand_in.lose_from("t", 0, 15);
    stand_in.cut_connections();
    let error = loop {
        match reader.next(Duration::from_millis(100)) {
            Ok(next) => assert!(next.is_none()),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error
            .contains("the log ends at 10, although it has been read up to 20: the cluster has lost records"),
        "{error}"
    );
}

#[test]
fn connecting_tells_what_is_wrong() {
    let refused = |endpoint: &str| FluvioLog::connect(endpoint, impatient()).unwrap_err().to_string();
    let nobody = {
        let stand_in = StandIn::start().unwrap();
        stand_in.endpoint()
    };
    let message = refused(&nobody);
    assert!(
        message.starts_with(&format!("cannot connect; is it running? at the cluster {nobody}")),
        "{message}"
    );
    for endpoint in ["", "localhost", "localhost:", ":9003", "localhost:x"] {
        assert_eq!(
            refused(endpoint),
            format!(
                "cannot connect at the cluster {endpoint}: the address has to be host:port, as in 127.0.0.1:9003"
            )
        );
    }
}

#[test]
fn refused_connections_are_tried_again() {
    let stand_in = StandIn::start().unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), FluvioOptions::default()).unwrap();
    log.create_topic("t", 1).unwrap();
    stand_in.refuse_connections(true);
    thread::scope(|scope| {
        let appending = scope.spawn(|| log.append("t", &keyless(&numbered(0..10))));
        thread::sleep(Duration::from_millis(200));
        assert!(!appending.is_finished());
        stand_in.refuse_connections(false);
        appending.join().unwrap().unwrap();
    });
    assert_eq!(read_all(&log, "t", 0, 0), numbered(0..10));
}

#[test]
fn what_the_cluster_finds_too_large_goes_in_smaller_batches_or_is_told() {
    let options = Options { batch_bytes_max: 2000, ..Options::default() };
    let stand_in = StandIn::start_with(options).unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), FluvioOptions::default()).unwrap();
    log.create_topic("t", 1).unwrap();
    log.append("t", &keyless(&numbered(0..1000))).unwrap();
    assert_eq!(read_all(&log, "t", 0, 0), numbered(0..1000));
    let error = log.append("t", &[Record { key: b"", value: &[b'x'; 3000] }]).unwrap_err().to_string();
    assert!(error.contains("cannot append a record of 3000 bytes to topic t"), "{error}");
}

#[test]
fn readers_close_their_connections() {
    let stand_in = StandIn::start().unwrap();
    let options = FluvioOptions { fetch_bytes: 5000, batch_bytes: 4000, ..FluvioOptions::default() };
    let log = FluvioLog::connect(&stand_in.endpoint(), options).unwrap();
    log.create_topic("t", 1).unwrap();
    log.append("t", &keyless(&numbered(0..20_000))).unwrap();
    assert_eq!(read_all(&log, "t", 0, 0).len(), 20_000);
    assert!(stand_in.fetches() > 20, "{}", stand_in.fetches());
    let begun = Instant::now();
    while stand_in.connections() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(5), "{} connections", stand_in.connections());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_stand_in_goes_on_with_the_records_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let options = Options { folder: Some(folder.path().to_owned()), ..Options::default() };
        let stand_in = StandIn::start_with(options).unwrap();
        let log = FluvioLog::connect(&stand_in.endpoint(), FluvioOptions::default()).unwrap();
        (stand_in, log)
    };
    {
        let (_stand_in, log) = start();
        log.create_topic("t", 2).unwrap();
        log.append_to("t", 1, &keyless(&numbered(0..100))).unwrap();
    }
    let (_stand_in, log) = start();
    log.append_to("t", 1, &keyless(&numbered(100..110))).unwrap();
    assert_eq!(read_all(&log, "t", 1, 0), numbered(0..110));
    assert!(read_all(&log, "t", 0, 0).is_empty());
}

/// The values, each where it came first, as numbers.
fn first_occurrences(values: &[Vec<u8>]) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    values
        .iter()
        .filter(|value| seen.insert((*value).clone()))
        .map(|value| {
            let text = std::str::from_utf8(value).unwrap();
            text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
        })
        .collect()
}
