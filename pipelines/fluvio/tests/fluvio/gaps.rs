//! Batches that the server cuts, and what the client and the log make of them.

use std::time::Duration;

use crate::{NO_WAIT, keyless, numbered, on_each, read_all};
use fluvio::{
    Fluvio, FluvioClusterConfig, Offset, RecordKey,
    consumer::{ConsumerConfigExt, RetryMode},
    metadata::topic::TopicSpec,
};
use fluvio_future::{future::timeout, task::run_block_on};
use futures_util::StreamExt;
use headsup_connectors::{EventLog, LogError};
use headsup_fluvio::{FluvioLog, FluvioOptions};
use headsup_fluvio_stand_in::StandIn;

const RECORDS: u32 = 120_000;

fn options(fetch_bytes: u32) -> FluvioOptions {
    FluvioOptions { fetch_bytes, batch_bytes: 20_000, ..FluvioOptions::default() }
}

/// The reason for the checks: the published client on its own, at its default `max_bytes`.
#[test]
fn the_client_alone_loses_records_without_an_error() {
    let stand_in = StandIn::start().unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), options(4 << 20)).unwrap();
    log.create_topic("t", 1).unwrap();
    log.append("t", &keyless(&numbered(0..RECORDS))).unwrap();
    let (read, last) = run_block_on(async {
        let client =
            Fluvio::connect_with_config(&FluvioClusterConfig::new(stand_in.endpoint())).await.unwrap();
        let config = ConsumerConfigExt::builder()
            .topic("t")
            .partition(0)
            .offset_start(Offset::beginning())
            .retry_mode(RetryMode::Disabled)
            .build()
            .unwrap();
        let mut stream = client.consumer_with_config(config).await.unwrap();
        let (mut read, mut last) = (0, -1);
        // The end, or nothing comes for a while.
        while last + 1 < i64::from(RECORDS)
            && let Ok(Some(record)) = timeout(Duration::from_secs(3), stream.next()).await
        {
            let record = record.unwrap();
            read += 1;
            last = record.offset();
        }
        (read, last)
    });
    assert!(stand_in.cut_batches() > 0);
    assert!(read < RECORDS, "the client read all {read}");
    assert!(read > RECORDS / 2 && last > i64::from(RECORDS / 2), "{read} records, the last {last}");
    assert!(read_all(&log, "t", 0, 0) == numbered(0..RECORDS));
}

#[test]
fn all_records_arrive_however_batches_are_cut() {
    for fetch_bytes in [100, 21_000, 100_000, 1_048_588] {
        on_each(&options(fetch_bytes), |log, named| {
            let topic = &*named("t");
            log.create_topic(topic, 1).unwrap();
            let values = numbered(0..RECORDS);
            log.append(topic, &keyless(&values)).unwrap();
            assert!(read_all(log, topic, 0, 0) == values);
            assert!(log.gaps() > 0, "no batch was cut at {fetch_bytes}");
            // From within a batch on.
            assert!(read_all(log, topic, 0, 77_777) == values[77_777..]);
        });
    }
}

#[test]
fn a_cut_batch_at_the_end_arrives_without_a_later_one() {
    let options = FluvioOptions { fetch_bytes: 1000, ..FluvioOptions::default() };
    on_each(&options, |log, named| {
        let topic = &*named("t");
        log.create_topic(topic, 1).unwrap();
        let values = numbered(0..1000);
        log.append(topic, &keyless(&values)).unwrap();
        assert!(read_all(log, topic, 0, 0) == values);
    });
}

#[test]
fn batches_of_the_clients_own_producer_are_read_too() {
    on_each(&FluvioOptions { fetch_bytes: 4000, ..FluvioOptions::default() }, |log, named| {
        let topic = &*named("t");
        log.create_topic(topic, 1).unwrap();
        run_block_on(async {
            let config = FluvioClusterConfig::new(log.endpoint());
            let client = Fluvio::connect_with_config(&config).await.unwrap();
            let producer = client.topic_producer(topic).await.unwrap();
            for number in 0..2000 {
                producer.send(RecordKey::NULL, format!("{{\"id\":{number}}}")).await.unwrap();
            }
            producer.flush().await.unwrap();
        });
        assert!(read_all(log, topic, 0, 0) == numbered(0..2000));
    });
}

#[test]
fn compressed_batches_are_written_where_the_topic_wants_them_and_read() {
    use fluvio::metadata::topic::CompressionAlgorithm::{Gzip, Lz4, Snappy, Zstd};
    let stand_in = StandIn::start().unwrap();
    for (name, algorithm) in [("gzip", Gzip), ("lz4", Lz4), ("snappy", Snappy), ("zstd", Zstd)] {
        let mut spec = TopicSpec::new_computed(1, 1, None);
        spec.set_compression_type(algorithm);
        run_block_on(async {
            let client =
                Fluvio::connect_with_config(&FluvioClusterConfig::new(stand_in.endpoint())).await.unwrap();
            client.admin().await.create(name.to_owned(), false, spec).await.unwrap();
        });
        let log = FluvioLog::connect(&stand_in.endpoint(), options(1500)).unwrap();
        let values = numbered(0..3000);
        log.append(name, &keyless(&values)).unwrap();
        assert!(read_all(&log, name, 0, 0) == values, "{name}");
        assert!(log.gaps() > 0, "{name}: no batch was cut");
    }
}

#[test]
fn records_that_are_gone_are_told_and_nothing_after_them_is_handed_out() {
    let stand_in = StandIn::start().unwrap();
    let log = FluvioLog::connect(&stand_in.endpoint(), FluvioOptions::default()).unwrap();
    log.create_topic("t", 1).unwrap();
    for some in numbered(0..300).chunks(100) {
        log.append("t", &keyless(some)).unwrap();
    }
    stand_in.lose_batch("t", 0, 150);
    let mut reader = log.reader("t", 0, 0).unwrap();
    assert_eq!(reader.next(NO_WAIT).unwrap().unwrap().spans.len(), 100);
    let error = reader.next(NO_WAIT).unwrap_err();
    assert!(matches!(error, LogError::Missing { offset: 100, .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("the next record that came is 200"), "{message}");
    assert!(log.gaps() > 10);

    stand_in.remove_before("t", 0, 200);
    let message = log.reader("t", 0, 0).unwrap().next(NO_WAIT).unwrap_err().to_string();
    assert!(
        message.starts_with(
            "cannot read topic t partition 0 at offset 0: the partition begins at 200, what was before is \
             removed by the topic's retention"
        ),
        "{message}"
    );
    assert_eq!(read_all(&log, "t", 0, 200), numbered(200..300));
}
