//! What every event log does.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use headsup_connectors::{Chunk, EventLog, LogError, Record, partition_of};
use headsup_fluvio::{FluvioLog, FluvioOptions};

use crate::{NO_WAIT, keyless, numbered, on_each, read_all};

fn each(test: impl Fn(&FluvioLog, &dyn Fn(&str) -> String)) {
    on_each(&FluvioOptions::default(), test);
}

#[test]
fn keeps_what_was_appended() {
    each(|log, named| {
        let (topic, empty) = (&*named("conversations"), &*named("empty"));
        let values = numbered(0..1000);
        log.create_topic(topic, 4).unwrap();
        log.create_topic(topic, 4).unwrap();
        log.create_topic(empty, 1).unwrap();
        let keys: Vec<_> = (0..1000).map(|number| format!("customer-{}", number % 77)).collect();
        let records: Vec<_> =
            keys.iter().zip(&values).map(|(key, value)| Record { key: key.as_bytes(), value }).collect();
        for some in records.chunks(130) {
            log.append(topic, some).unwrap();
        }
        log.append(topic, &[]).unwrap();
        for partition in 0..4 {
            let expected: Vec<_> = records
                .iter()
                .filter(|record| partition_of(record.key, 4) == partition)
                .map(|record| record.value.to_vec())
                .collect();
            assert_eq!(read_all(log, topic, partition, 0), expected);
        }
        let topics = log.topics().unwrap();
        let ends = |name: &str| &topics.iter().find(|topic| topic.name == name).unwrap().end_offsets;
        assert_eq!((ends(topic).len(), ends(topic).iter().sum::<u64>()), (4, 1000));
        assert_eq!(ends(empty), &[0]);
        log.append_to(topic, 2, &[Record { key: b"", value: b"last" }]).unwrap();
        assert_eq!(read_all(log, topic, 2, 0).last().unwrap(), b"last");
    });
}

#[test]
fn a_reader_starts_at_any_offset() {
    let options = FluvioOptions { batch_bytes: 500, ..FluvioOptions::default() };
    on_each(&options, |log, named| {
        let topic = &*named("t");
        log.create_topic(topic, 2).unwrap();
        let values = numbered(0..50);
        log.append_to(topic, 1, &keyless(&values[..30])).unwrap();
        log.append_to(topic, 1, &keyless(&values[30..])).unwrap();
        for from in 0..=50 {
            assert_eq!(read_all(log, topic, 1, from), values[from as usize..]);
        }
        let mut beyond = log.reader(topic, 1, 60).unwrap();
        assert!(beyond.next(NO_WAIT).unwrap().is_none());
        log.append_to(topic, 1, &keyless(&numbered(50..70))).unwrap();
        let chunk = beyond.next(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!((chunk.first_offset, chunk.record(0)), (60, &b"{\"id\":60}"[..]));
    });
}

#[test]
fn a_waiting_reader_is_woken_by_an_append() {
    each(|log, named| {
        let topic = &*named("t");
        log.create_topic(topic, 1).unwrap();
        let mut reader = log.reader(topic, 0, 0).unwrap();
        let begun = Instant::now();
        assert!(reader.next(Duration::from_millis(30)).unwrap().is_none());
        assert!(begun.elapsed() >= Duration::from_millis(30));
        let waiting = thread::spawn(move || reader.next(Duration::MAX).unwrap().unwrap());
        thread::sleep(Duration::from_millis(20));
        log.append_to(topic, 0, &[Record { key: b"k", value: b"v" }]).unwrap();
        assert_eq!(waiting.join().unwrap().record(0), b"v");
    });
}

#[test]
fn appenders_at_once_each_keep_their_order() {
    each(|log, named| {
        let topic = &*named("t");
        log.create_topic(topic, 2).unwrap();
        thread::scope(|scope| {
            for appender in 0..8_u32 {
                scope.spawn(move || {
                    for number in 0..20_u32 {
                        let values =
                            [0, 1].map(|half| format!("{appender} {}", number * 2 + half).into_bytes());
                        log.append_to(topic, appender % 2, &keyless(&values)).unwrap();
                    }
                });
            }
        });
        for partition in 0..2 {
            let read = read_all(log, topic, partition, 0);
            assert_eq!(read.len(), 160);
            for appender in (0..8).filter(|appender| appender % 2 == partition) {
                let prefix = format!("{appender} ");
                let of_appender =
                    read.iter().filter_map(|value| std::str::from_utf8(value).unwrap().strip_prefix(&prefix));
                assert!(of_appender.eq((0..40).map(|number| number.to_string())));
            }
        }
    });
}

#[test]
fn sizes_from_nothing_to_large() {
    each(|log, named| {
        let topic = &*named("t");
        log.create_topic(topic, 1).unwrap();
        let values = [vec![], vec![b'a'; 9 << 20], b"x".to_vec(), vec![b'b'; 3 << 20], vec![]];
        log.append_to(topic, 0, &keyless(&values)).unwrap();
        assert!(read_all(log, topic, 0, 0) == values);
        let too_large = vec![0; (30 << 20) + 1];
        let refused = log.append_to(topic, 0, &[Record { key: b"", value: &too_large }]);
        assert!(matches!(refused, Err(LogError::RecordSize { .. })));
        assert_eq!(log.reader(topic, 0, 0).unwrap().end_offset().unwrap(), 5);
    });
}

#[test]
fn append_times_are_the_same_at_every_reading() {
    each(|log, named| {
        let topic = &*named("t");
        log.create_topic(topic, 1).unwrap();
        for value in numbered(0..5) {
            log.append_to(topic, 0, &[Record { key: b"", value: &value }]).unwrap();
            thread::sleep(Duration::from_millis(2));
        }
        let read = || {
            let mut reader = log.reader(topic, 0, 0).unwrap();
            std::iter::from_fn(|| reader.next(NO_WAIT).unwrap())
                .flat_map(|chunk| vec![chunk.appended_at_ms; chunk.spans.len()])
                .collect::<Vec<_>>()
        };
        let times = read();
        assert_eq!(times.len(), 5);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        assert_eq!(read(), times);
    });
}

#[test]
fn mistakes_are_told() {
    each(|log, named| {
        let topic = &*named("orders");
        log.create_topic(topic, 2).unwrap();
        let check = |result: Result<(), LogError>, message: &str| {
            assert_eq!(result.unwrap_err().to_string(), message)
        };
        check(
            log.create_topic(topic, 3),
            &format!(
                "cannot create topic {topic} with 3 partitions: it exists with 2; \
                 use that number, or another topic and copy the records"
            ),
        );
        check(log.create_topic("none", 0), "cannot create topic none with 0 partitions: it needs 1 to 4096");
        check(
            log.create_topic("Orders", 1),
            "cannot use \"Orders\" as a topic name: it needs 1 to 100 characters out of a-z 0-9 . _ -",
        );
        let message = log.create_topic("a_b", 1).unwrap_err().to_string();
        assert!(message.starts_with("cannot create topic a_b at the cluster "), "{message}");
        assert!(message.contains("Fluvio does not take this name"), "{message}");
        let message = log.append("order", &[]).unwrap_err().to_string();
        assert!(message.starts_with("cannot find topic order in the log; it has "), "{message}");
        assert!(message.contains(topic), "{message}");
        check(
            log.append_to(topic, 2, &[]),
            &format!("cannot use partition 2 of topic {topic}: it has 2, numbered from 0"),
        );
        check(
            log.reader(topic, 7, 0).map(drop),
            &format!("cannot use partition 7 of topic {topic}: it has 2, numbered from 0"),
        );
    });
}

#[test]
fn the_interface_is_object_safe() {
    each(|log, named| {
        let topic = named("t");
        let log: Arc<dyn EventLog> = Arc::new(log.clone());
        assert!(log.counters().iter().any(|(name, _)| *name == "gaps"));
        log.create_topic(&topic, 1).unwrap();
        let (of_thread, name) = (log.clone(), topic.clone());
        thread::spawn(move || of_thread.append(&name, &[Record { key: b"k", value: b"v" }]).unwrap())
            .join()
            .unwrap();
        let chunk: Chunk = log.reader(&topic, 0, 0).unwrap().next(NO_WAIT).unwrap().unwrap();
        assert_eq!((chunk.first_offset, chunk.spans.len()), (0, 1));
    });
}
