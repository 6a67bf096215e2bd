//! `FluvioLog` against the stand-in; what does not need faults also against the cluster that
//! `HEADSUP_TEST_FLUVIO` names (`host:port` of its controller), if any.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod contract;
mod faults;
mod gaps;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use headsup_connectors::{EventLog, Record};
use headsup_fluvio::{FluvioLog, FluvioOptions};
use headsup_fluvio_stand_in::StandIn;

/// Ends every read of what is not there.
pub const NO_WAIT: Duration = Duration::ZERO;

/// Runs a test on a log in the stand-in, and on one in the real cluster if there is one. Topics
/// are named by the closure, since a real cluster keeps those of earlier runs.
pub fn on_each(options: &FluvioOptions, test: impl Fn(&FluvioLog, &dyn Fn(&str) -> String)) {
    let stand_in = StandIn::start().unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), options.clone()).unwrap();
    test(&log, &|name| name.to_owned());
    if let Ok(endpoint) = std::env::var("HEADSUP_TEST_FLUVIO") {
        static RUN: AtomicU32 = AtomicU32::new(0);
        let number = RUN.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let log = FluvioLog::connect(&endpoint, options.clone()).unwrap();
        test(&log, &|name| format!("t{}-{}-{number}-{name}", since.as_millis(), std::process::id()));
    }
}

/// Gives up on a cluster soon.
pub fn impatient() -> FluvioOptions {
    FluvioOptions {
        request_timeout: Duration::from_millis(500),
        patience: Duration::from_secs(1),
        connect_patience: Duration::from_millis(300),
        ..FluvioOptions::default()
    }
}

/// All records of a partition from an offset on, checked to be without holes.
pub fn read_all(log: &dyn EventLog, topic: &str, partition: u32, from_offset: u64) -> Vec<Vec<u8>> {
    let mut reader = log.reader(topic, partition, from_offset).unwrap();
    let mut records = Vec::new();
    while let Some(chunk) = reader.next(NO_WAIT).unwrap() {
        assert_eq!(chunk.first_offset, from_offset + records.len() as u64);
        assert!(!chunk.spans.is_empty() && chunk.oversized.is_empty());
        assert!(chunk.appended_at_ms > 0);
        records.extend((0..chunk.spans.len()).map(|index| chunk.record(index).to_vec()));
    }
    assert_eq!(reader.end_offset().unwrap(), from_offset + records.len() as u64);
    records
}

/// Records without a key.
pub fn keyless(values: &[Vec<u8>]) -> Vec<Record<'_>> {
    values.iter().map(|value| Record { key: b"", value }).collect()
}

/// One event for each number.
pub fn numbered(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(|number| format!("{{\"id\":{number}}}").into_bytes()).collect()
}
