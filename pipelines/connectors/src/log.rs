//! The event log as the pipeline sees it: topics of partitions of records, each record with an
//! offset.
//!
//! [`EventLog`] is what a log must offer. [`crate::embedded`] keeps one in a folder; Fluvio and
//! Kafka fit the same trait, so nothing here speaks of files, and a call may block on I/O but
//! never needs an async runtime.

use std::{io, path::PathBuf, time::Duration};

pub use headsup_events::Chunk;
use xxhash_rust::xxh3::xxh3_64;

/// A partitioned log of records. Offsets count records per partition, from 0 and without holes.
///
/// One value is shared by all threads of a process (`Arc<dyn EventLog>`).
pub trait EventLog: Send + Sync {
    /// Makes sure that `topic` exists with this many partitions (at least 1).
    ///
    /// Calling it again with the same number changes nothing.
    ///
    /// # Errors
    /// [`LogError::TopicName`], [`LogError::PartitionCount`] when the topic exists with another
    /// number, or I/O.
    fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError>;

    /// All topics, by name.
    ///
    /// # Errors
    /// I/O (the embedded log answers from memory).
    fn topics(&self) -> Result<Vec<Topic>, LogError>;

    /// Appends each record to the partition of its key ([`partition_of`]); durable when it
    /// returns.
    ///
    /// Records of one call that fall into one partition keep their order; others' may come in
    /// between. An error leaves it open which of the records are in the log; the caller appends
    /// again and relies on event ids to tell duplicates.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::RecordSize`], [`LogError::Stopped`], or I/O.
    fn append(&self, topic: &str, records: &[Record<'_>]) -> Result<(), LogError>;

    /// Appends all records to one partition, whatever their keys; otherwise like
    /// [`EventLog::append`].
    ///
    /// # Errors
    /// Those of `append`, and [`LogError::UnknownPartition`].
    fn append_to(&self, topic: &str, partition: u32, records: &[Record<'_>]) -> Result<(), LogError>;

    /// Reads one partition from `from_offset` on. An offset beyond the end waits for the log to
    /// get there.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`].
    fn reader(&self, topic: &str, partition: u32, from_offset: u64) -> Result<Box<dyn Reader>, LogError>;

    /// After which time it is worth looking again whether there are new records, for who waits for several partitions at
    /// once.
    fn look_again(&self) -> Duration {
        Duration::from_millis(20)
    }

    /// What the log has counted since the start, by name, for the metrics: of a cluster `gaps`
    /// and `reconnects`.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// One position in one partition, moving forward. Readers do not disturb each other or the
/// writers.
pub trait Reader: Send {
    /// The next records in order, or `None` if there were none within `wait`.
    ///
    /// Only durable records are seen. Where chunks are cut is the log's business and means
    /// nothing.
    ///
    /// # Errors
    /// [`LogError::Damaged`] or I/O. The position does not move, so that the call can be
    /// repeated.
    fn next(&mut self, wait: Duration) -> Result<Option<Chunk>, LogError>;

    /// The offset after the partition's last durable record.
    ///
    /// # Errors
    /// I/O (the embedded log answers from memory).
    fn end_offset(&self) -> Result<u64, LogError>;
}

/// What is appended: the key decides the partition, the value is what readers get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// For events the customer, so that a customer's events stay in order. May be empty.
    pub key: &'a [u8],
    /// For events one JSON object.
    pub value: &'a [u8],
}

/// A topic and how far it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name, `[a-z0-9._-]{1,100}`.
    pub name: String,
    /// The end offset (records so far) of each partition; as many as there are partitions.
    pub end_offsets: Vec<u64>,
}

/// The partition of a key among `partitions`: `xxh3_64(key) % partitions`, seed 0.
///
/// Every implementation uses it, so that a log copied into another keeps its partitions. It can
/// never change: it is part of the stored format.
///
/// # Panics
/// If `partitions` is 0.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (xxh3_64(key) % u64::from(partitions)) as u32
}

/// Refuses a topic name that is not `[a-z0-9._-]{1,100}`. Every implementation calls it.
///
/// # Errors
/// [`LogError::TopicName`].
pub fn check_topic_name(topic: &str) -> Result<(), LogError> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if (1..=100).contains(&topic.len()) && topic.bytes().all(allowed) {
        return Ok(());
    }
    Err(LogError::TopicName { topic: topic.chars().take(120).collect() })
}

/// Why a source or log did not do what it was asked. Where there is a `source()`, it is not
/// repeated in the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The name cannot be that of a topic.
    #[error("cannot use {topic:?} as a topic name: it needs 1 to 100 characters out of a-z 0-9 . _ -")]
    TopicName {
        /// The name, shortened.
        topic: String,
    },
    /// The topic exists, otherwise partitioned; keys would change places.
    #[error(
        "cannot create topic {topic} with {asked} partitions: it exists with {existing}; \
         use that number, or another topic and copy the records"
    )]
    PartitionCount {
        /// The topic.
        topic: String,
        /// What was asked for.
        asked: u32,
        /// What it has.
        existing: u32,
    },
    /// No partition, or more than a log takes.
    #[error("cannot create topic {topic} with {asked} partitions: it needs 1 to {limit}")]
    PartitionLimit {
        /// The topic.
        topic: String,
        /// What was asked for.
        asked: u32,
        /// The most there may be.
        limit: u32,
    },
    /// There is no such topic.
    #[error("cannot find topic {topic} in the log; {}", known_topics(.known))]
    UnknownTopic {
        /// What was asked for.
        topic: String,
        /// The topics there are.
        known: Vec<String>,
    },
    /// The topic has fewer partitions.
    #[error("cannot use partition {partition} of topic {topic}: it has {partitions}, numbered from 0")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: u32,
        /// How many it has.
        partitions: u32,
    },
    /// A record is larger than the log takes.
    #[error(
        "cannot append a record of {bytes} bytes to topic {topic}: \
         the limit is {limit_bytes}; send it to quarantine"
    )]
    RecordSize {
        /// The topic.
        topic: String,
        /// Key and value together.
        bytes: u64,
        /// The most there may be.
        limit_bytes: u64,
    },
    /// An earlier write failed, so that what is on disk is uncertain until the log is opened
    /// again.
    #[error("cannot append: the log stopped at a failed write ({cause}); mend the cause and restart")]
    Stopped {
        /// The failure, as text because it is told to every later caller.
        cause: String,
    },
    /// Another process has the folder.
    #[error(
        "cannot open the log {}: {holder} has it open; stop that process, or read through it, \
         or use another folder", path.display()
    )]
    Held {
        /// The folder.
        path: PathBuf,
        /// Who, as far as it can be told.
        holder: String,
    },
    /// The folder holds something else, or a log of a version that this program does not know.
    #[error("cannot open the log {}: {problem}", path.display())]
    Format {
        /// The folder.
        path: PathBuf,
        /// What was found and what to do.
        problem: String,
    },
    /// Stored bytes are not what was written.
    #[error(
        "cannot read topic {topic} partition {partition} at offset {offset}: {problem}; \
         restore the folder from a copy, or read on from a later offset"
    )]
    Damaged {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Offset of the first record affected.
        offset: u64,
        /// What was found.
        problem: String,
    },
    /// Records that were in the log do not come.
    #[error("cannot read topic {topic} partition {partition} at offset {offset}: {problem}")]
    Missing {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Offset of the first record that is missing.
        offset: u64,
        /// What was found and what to do.
        problem: String,
    },
    /// The cluster that keeps the log cannot be reached, or refuses.
    #[error("cannot {attempt} at the cluster {endpoint}: {problem}")]
    Cluster {
        /// Its address.
        endpoint: String,
        /// What was attempted.
        attempt: String,
        /// What it said and what to do.
        problem: String,
    },
    /// The storage crate failed.
    #[error("cannot {attempt} in the log")]
    Storage {
        /// What was attempted.
        attempt: &'static str,
        /// The storage crate's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be opened or read.
    #[error("cannot {attempt} {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// An input that is not lines of text.
    #[error("cannot read {}: {problem}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What was found and what to do.
        problem: String,
    },
}

fn known_topics(known: &[String]) -> String {
    if known.is_empty() { "it has no topics yet".into() } else { format!("it has {}", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_keys_never_change() {
        let of = |key: &str| partition_of(key.as_bytes(), 16);
        assert_eq!(["", "c-1", "c-2", "客户"].map(of), [2, 12, 7, 8]);
    }

    #[test]
    fn topic_names() {
        for good in ["a", "kpis", "a.b_c-9", &"x".repeat(100)] {
            check_topic_name(good).unwrap();
        }
        for bad in ["", "A", "a/b", "a b", "客", &"x".repeat(101)] {
            assert!(matches!(check_topic_name(bad), Err(LogError::TopicName { .. })), "{bad}");
        }
    }
}
