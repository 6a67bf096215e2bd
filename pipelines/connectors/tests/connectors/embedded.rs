//! The embedded log through its interface.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use headsup_connectors::{
    Chunk, EmbeddedLog, EmbeddedOptions, EventLog, LogError, Reader, Record, partition_of,
};

pub const NO_WAIT: Duration = Duration::ZERO;

pub fn open(path: &Path) -> EmbeddedLog {
    EmbeddedLog::open(path, EmbeddedOptions::default()).unwrap()
}

/// All records of a partition from an offset on, checked to be without holes.
pub fn read_all(log: &dyn EventLog, topic: &str, partition: u32, from_offset: u64) -> Vec<Vec<u8>> {
    let mut reader = log.reader(topic, partition, from_offset).unwrap();
    let mut records = Vec::new();
    let mut appended_at_ms = i64::MIN;
    while let Some(chunk) = reader.next(NO_WAIT).unwrap() {
        assert_eq!(chunk.first_offset, from_offset + records.len() as u64);
        assert!(!chunk.spans.is_empty() && chunk.oversized.is_empty());
        assert!(chunk.appended_at_ms >= appended_at_ms);
        appended_at_ms = chunk.appended_at_ms;
        records.extend((0..chunk.spans.len()).map(|index| chunk.record(index).to_vec()));
    }
    assert_eq!(
        reader.end_offset().unwrap(),
        (from_offset + records.len() as u64).max(reader.end_offset().unwrap())
    );
    records
}

fn keyless(values: &[Vec<u8>]) -> Vec<Record<'_>> {
    values.iter().map(|value| Record { key: b"", value }).collect()
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(|number| format!("{{\"id\":{number}}}").into_bytes()).collect()
}

#[test]
fn keeps_what_was_appended_over_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let values = numbered(0..1000);
    {
        let log = open(folder.path());
        log.create_topic("conversations", 4).unwrap();
        log.create_topic("conversations", 4).unwrap();
        log.create_topic("empty", 1).unwrap();
        let keys: Vec<_> = (0..1000).map(|number| format!("customer-{}", number % 77)).collect();
        let records: Vec<_> =
            keys.iter().zip(&values).map(|(key, value)| Record { key: key.as_bytes(), value }).collect();
        for some in records.chunks(130) {
            log.append("conversations", some).unwrap();
        }
        log.append("conversations", &[]).unwrap();
        for partition in 0..4 {
            let expected: Vec<_> = records
                .iter()
                .filter(|r| partition_of(r.key, 4) == partition)
                .map(|r| r.value.to_vec())
                .collect();
            assert_eq!(read_all(&log, "conversations", partition, 0), expected);
        }
    }
    let log = open(folder.path());
    let topics = log.topics().unwrap();
    assert_eq!(
        topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(),
        ["conversations", "empty"]
    );
    assert_eq!(topics[0].end_offsets.iter().sum::<u64>(), 1000);
    assert_eq!(topics[1].end_offsets, [0]);
    let read: usize = (0..4).map(|partition| read_all(&log, "conversations", partition, 0).len()).sum();
    assert_eq!(read, 1000);
    log.append_to("conversations", 2, &[Record { key: b"", value: b"last" }]).unwrap();
    assert_eq!(read_all(&log, "conversations", 2, 0).last().unwrap(), b"last");
}

#[test]
fn a_reader_starts_at_any_offset() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { batch_bytes: 200, ..EmbeddedOptions::default() };
    let log = EmbeddedLog::open(folder.path(), options).unwrap();
    log.create_topic("t", 2).unwrap();
    let values = numbered(0..100);
    log.append_to("t", 1, &keyless(&values[..60])).unwrap();
    log.append_to("t", 1, &keyless(&values[60..])).unwrap();
    for from in 0..=100 {
        assert_eq!(read_all(&log, "t", 1, from), values[from as usize..]);
    }
    assert!(log.reader("t", 1, 500).unwrap().next(NO_WAIT).unwrap().is_none());
}

#[test]
fn a_waiting_reader_is_woken_by_an_append() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.create_topic("t", 1).unwrap();
    let mut reader = log.reader("t", 0, 0).unwrap();
    let begun = Instant::now();
    assert!(reader.next(Duration::from_millis(30)).unwrap().is_none());
    assert!(begun.elapsed() >= Duration::from_millis(30));
    let waiting = thread::spawn(move || reader.next(Duration::MAX).unwrap().unwrap());
    thread::sleep(Duration::from_millis(20));
    log.append_to("t", 0, &[Record { key: b"k", value: b"v" }]).unwrap();
    assert_eq!(waiting.join().unwrap().record(0), b"v");
}

#[test]
fn appenders_at_once_each_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.create_topic("t", 2).unwrap();
    thread::scope(|scope| {
        for appender in 0..8_u32 {
            let log = &log;
            scope.spawn(move || {
                for number in 0..50_u32 {
                    let values = [0, 1].map(|half| format!("{appender} {}", number * 2 + half).into_bytes());
                    log.append_to("t", appender % 2, &keyless(&values)).unwrap();
                }
            });
        }
    });
    for partition in 0..2 {
        let read = read_all(&log, "t", partition, 0);
        assert_eq!(read.len(), 400);
        for appender in (0..8).filter(|appender| appender % 2 == partition) {
            let prefix = format!("{appender} ");
            let of_appender =
                read.iter().filter_map(|value| std::str::from_utf8(value).unwrap().strip_prefix(&prefix));
            assert!(of_appender.eq((0..100).map(|number| number.to_string())));
        }
    }
}

#[test]
fn sizes_from_nothing_to_large() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.create_topic("t", 1).unwrap();
    // Hardly compressible, so that it is large on disk too.
    let mut state = 1_u64;
    let noise = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let large: Vec<u8> = (0..20 << 20).map(noise).collect();
    let values = [vec![], large, b"x".to_vec(), vec![b'a'; 3 << 20], vec![]];
    log.append_to("t", 0, &keyless(&values)).unwrap();
    assert!(read_all(&log, "t", 0, 0) == values);
    drop(log);
    assert!(read_all(&open(folder.path()), "t", 0, 0) == values);

    let log = open(folder.path());
    let too_large = vec![0; (64 << 20) + 1];
    let refused = log.append_to("t", 0, &[Record { key: b"", value: &too_large }]);
    assert!(matches!(refused, Err(LogError::RecordSize { .. })));
    assert_eq!(log.topics().unwrap()[0].end_offsets, [5]);
}

static CLOCK_MS: AtomicI64 = AtomicI64::new(0);

#[test]
fn append_time_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        EmbeddedOptions { clock_ms: || CLOCK_MS.load(Ordering::SeqCst), ..EmbeddedOptions::default() };
    let mut expected = Vec::new();
    for (clock_ms, appended_at_ms) in [(1000, 1000), (1500, 1500), (900, 1500), (2000, 2000)] {
        CLOCK_MS.store(clock_ms, Ordering::SeqCst);
        let log = EmbeddedLog::open(folder.path(), options.clone()).unwrap();
        log.create_topic("t", 1).unwrap();
        log.append_to("t", 0, &[Record { key: b"", value: b"x" }]).unwrap();
        expected.push(appended_at_ms);
        let mut reader = log.reader("t", 0, 0).unwrap();
        let times: Vec<_> =
            std::iter::from_fn(|| reader.next(NO_WAIT).unwrap()).map(|c| c.appended_at_ms).collect();
        assert_eq!(times, expected);
    }
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.create_topic("orders", 2).unwrap();
    let check =
        |result: Result<(), LogError>, message: &str| assert_eq!(result.unwrap_err().to_string(), message);
    check(
        log.create_topic("orders", 3),
        "cannot create topic orders with 3 partitions: it exists with 2; \
         use that number, or another topic and copy the records",
    );
    check(log.create_topic("none", 0), "cannot create topic none with 0 partitions: it needs 1 to 4096");
    check(
        log.create_topic("Orders", 1),
        "cannot use \"Orders\" as a topic name: it needs 1 to 100 characters out of a-z 0-9 . _ -",
    );
    check(log.append("order", &[]), "cannot find topic order in the log; it has orders");
    check(
        log.append_to("orders", 2, &[]),
        "cannot use partition 2 of topic orders: it has 2, numbered from 0",
    );
    check(
        log.reader("orders", 7, 0).map(drop),
        "cannot use partition 7 of topic orders: it has 2, numbered from 0",
    );
}

#[test]
fn a_second_opening_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.create_topic("t", 1).unwrap();
    let refused = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).unwrap_err();
    let message = refused.to_string();
    assert!(message.contains(&format!("process {} (", std::process::id())), "{message}");
    assert!(message.contains("stop that process"), "{message}");
    // A reader holds the folder too.
    let reader: Box<dyn Reader> = log.reader("t", 0, 0).unwrap();
    drop(log);
    assert!(EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).is_err());
    drop(reader);
    open(folder.path());
}

#[test]
fn other_folders_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let check = |message: &str| {
        let refused = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).unwrap_err().to_string();
        assert!(refused.contains(message), "{refused}");
    };
    fs::write(folder.path().join("holiday.jpg"), "x").unwrap();
    check("it is not an event log (it holds holiday.jpg); name an empty or new folder");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::write(folder.path().join("FORMAT"), "headsup event log, format 2\n").unwrap();
    check("it has format 2, this program knows 1; open it with the headsup that wrote it, or a newer one");
    fs::write(folder.path().join("FORMAT"), "\0\0").unwrap();
    check("its FORMAT file says");
}

#[test]
fn the_interface_is_object_safe() {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(open(folder.path()));
    log.create_topic("t", 1).unwrap();
    let of_thread = log.clone();
    thread::spawn(move || of_thread.append("t", &[Record { key: b"k", value: b"v" }]).unwrap())
        .join()
        .unwrap();
    let chunk: Chunk = log.reader("t", 0, 0).unwrap().next(NO_WAIT).unwrap().unwrap();
    assert_eq!((chunk.first_offset, chunk.spans.len()), (0, 1));
}
