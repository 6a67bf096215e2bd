//! Appending: records by partition, in batches, one batch of a partition after the other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fluvio::{Compression, Isolation};
use fluvio_protocol::{
    link::ErrorCode,
    record::{Batch, ProducerBatchHeader, RawRecords, Record as Stored, RecordData, RecordSet},
};
use fluvio_sc_schema::topic::{CompressionAlgorithm, TopicSpec};
use fluvio_spu_schema::produce::{DefaultPartitionRequest, DefaultProduceRequest, DefaultTopicRequest};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use headsup_connectors::{LogError, Record};

use crate::cluster::{Cluster, Trouble, passing};

/// How many partitions of a call are appended to at once, which bounds the memory it takes.
const AT_ONCE: usize = 16;

/// What a batch takes for a record besides key and value, at most.
const RECORD_OVERHEAD: usize = 40;

/// Appends to each partition the records at its place in `parted`.
pub(crate) async fn append(
    cluster: &Cluster,
    topic: &str,
    parted: Vec<Vec<Record<'_>>>,
) -> Result<(), LogError> {
    let with_records = parted.into_iter().enumerate().filter(|(_, records)| !records.is_empty());
    let appends = with_records.map(|(partition, records)| async move {
        let mut rest = &records[..];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_of(rest, cluster.options.batch_bytes));
            append_batch(cluster, topic, partition as u32, batch).await?;
            rest = after;
        }
        Ok(())
    });
    stream::iter(appends).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

pub(crate) fn bytes_of(record: &Record<'_>) -> usize {
    record.key.len() + record.value.len()
}

/// How many of the records go into the next batch: at least one.
fn batch_of(records: &[Record<'_>], batch_bytes: usize) -> usize {
    let mut bytes = 0;
    let fit = records.iter().take_while(|record| {
        bytes += bytes_of(record) + RECORD_OVERHEAD;
        bytes <= batch_bytes
    });
    fit.count().max(1)
}

async fn append_batch(
    cluster: &Cluster,
    topic: &str,
    partition: u32,
    records: &[Record<'_>],
) -> Result<(), LogError> {
    // A stack, so that what a cluster with a lower limit refuses goes in halves, in order.
    let mut batches = vec![records];
    while let Some(records) = batches.pop() {
        match append_whole(cluster, topic, partition, records).await {
            Err(Refusal::TooLarge) if records.len() > 1 => {
                let (first, second) = records.split_at(records.len() / 2);
                batches.extend([second, first]);
            }
            Err(Refusal::TooLarge) => {
                let bytes = records.iter().map(bytes_of).sum::<usize>();
                return Err(cluster.error(
                    format!("append a record of {bytes} bytes to topic {topic}"),
                    "it is more than the cluster takes in a batch; send it to quarantine".into(),
                ));
            }
            Err(Refusal::Other(error)) => return Err(error),
            Ok(()) => {}
        }
    }
    Ok(())
}

enum Refusal {
    TooLarge,
    Other(LogError),
}

/// Appends one batch, and again until it is acknowledged.
async fn append_whole(
    cluster: &Cluster,
    topic: &str,
    partition: u32,
    records: &[Record<'_>],
) -> Result<(), Refusal> {
    let attempt = || format!("append to topic {topic} partition {partition}");
    let answer = cluster.try_for(cluster.options.patience, attempt, async || {
        let seen = cluster.seen().await?;
        let compression = seen.topics.get(topic).map_or(Compression::None, |seen| compression(&seen.spec));
        let request = request(topic, partition, records, compression, cluster.options.request_timeout)?;
        let answer = cluster.ask(topic, partition, request).await?;
        let Some(answer) = answer.find_partition_response(topic, partition) else {
            return Err(Trouble::Passing("the answer lacks the partition".into()));
        };
        match &answer.error_code {
            ErrorCode::None => Ok(true),
            ErrorCode::MessageTooLarge => Ok(false),
            code @ (ErrorCode::PartitionFull { .. }
            | ErrorCode::CompressionError
            | ErrorCode::PermissionDenied
            | ErrorCode::MirrorProduceFromHome
            | ErrorCode::MirrorProduceFromRemoteNotAllowed) => {
                Err(Trouble::Final(cluster.error(attempt(), code.to_string())))
            }
            code => Err(Trouble::Passing(code.to_string())),
        }
    });
    match answer.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::TooLarge),
        Err(error) => Err(Refusal::Other(error)),
    }
}

fn request(
    topic: &str,
    partition: u32,
    records: &[Record<'_>],
    compression: Compression,
    timeout: Duration,
) -> Result<DefaultProduceRequest, Trouble> {
    let stored = |record: &Record<'_>| Stored {
        key: (!record.key.is_empty()).then(|| RecordData::from(record.key)),
        value: RecordData::from(record.value),
        ..Stored::default()
    };
    let mut batch = Batch::from(records.iter().map(stored).collect::<Vec<_>>());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let header = batch.get_mut_header();
    header.set_first_timestamp(now_ms);
    header.set_max_time_stamp(now_ms);
    header.set_compression(compression);
    let batch: Batch<RawRecords> = batch.try_into().map_err(passing)?;

    let of_partition =
        DefaultPartitionRequest { partition_index: partition, records: RecordSet { batches: vec![batch] } };
    let of_topic = DefaultTopicRequest {
        name: topic.to_owned(),
        partitions: vec![of_partition],
        ..DefaultTopicRequest::default()
    };
    Ok(DefaultProduceRequest {
        isolation: Isolation::ReadCommitted,
        timeout,
        topics: vec![of_topic],
        ..DefaultProduceRequest::default()
    })
}

/// How a topic wants its batches. Where it does not mind they are as they come.
fn compression(spec: &TopicSpec) -> Compression {
    match spec.get_compression_type() {
        CompressionAlgorithm::None | CompressionAlgorithm::Any => Compression::None,
        CompressionAlgorithm::Gzip => Compression::Gzip,
        CompressionAlgorithm::Snappy => Compression::Snappy,
        CompressionAlgorithm::Lz4 => Compression::Lz4,
        CompressionAlgorithm::Zstd => Compression::Zstd,
    }
}
