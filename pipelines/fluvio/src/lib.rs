//! Fluvio as the event log: [`FluvioLog`] is an [`EventLog`] over a Fluvio cluster, for one or many
//! processes.
//!
//! # What the published client does, and what is done about it
//!
//! The server answers a fetch with stored bytes, cut at `max_bytes`, in the middle of a batch. The
//! client's consumer (0.50.1) takes the cut batch for a whole one: it hands out the records that
//! are there and acknowledges the last offset of the batch, so the rest of it is never sent, and
//! no error tells. Of a damaged record it allocates whatever length is there, which ends the
//! process. Batches are therefore fetched with the client's own requests, but not by its consumer,
//! and the readers here check that every length is within its batch, that every record's offset is
//! that of the one before plus 1, and that a batch holds as many records as its header says. If
//! not, they open the stream again at the offset that is missing, with a larger `max_bytes` if the
//! last one got them nowhere, and count it ([`FluvioLog::gaps`]). Nothing past a gap is ever handed
//! out. Positions are the caller's to keep: consumer offsets stored in the cluster commit over such
//! gaps, and are not used.
//!
//! The client's producer waits without end for a server that has gone, and later appends what it
//! was told to give up. Records are therefore appended with the client's own requests, but not by
//! its producer: one request a batch and partition, the next only when it is acknowledged. A
//! request whose acknowledgement is lost is sent again, so its records can be in the log twice;
//! readers tell copies by event id.
//!
//! # What is guaranteed
//!
//! - A record is in the log when `append` returns, committed by the leader and as many followers
//!   as the topic wants; readers see only committed records.
//! - Records of one call keep their order within a partition, except that a batch can come twice.
//! - Every call ends: requests after [`FluvioOptions::request_timeout`], retries after
//!   [`FluvioOptions::patience`].
//! - A chunk is (part of) one batch, and its append time is that of the batch's last record by the
//!   producer's clock, as stored; so it is the same at every reading. A batch without a time has 0.
//!
//! Start reading at [`FluvioLog`]; then `append.rs`, `reader.rs`, `batch.rs`,
//! and for what is below them `cluster.rs` and `connection.rs`.

mod append;
mod batch;
mod cluster;
mod connection;
mod reader;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fluvio_future::task::run_block_on;
use fluvio_sc_schema::{shared::validate_resource_name, topic::TopicSpec};
use headsup_connectors::{EventLog, LogError, Reader, Record, Topic, check_topic_name, partition_of};

use crate::{
    cluster::{Cluster, Trouble},
    reader::FluvioReader,
};

/// The largest record, key and value together. The cluster may take less.
pub const RECORD_BYTES_MAX: usize = 30 << 20;

/// The most partitions a topic can have.
pub const PARTITIONS_MAX: u32 = 4096;

/// How [`FluvioLog`] talks to the cluster.
#[derive(Debug, Clone)]
pub struct FluvioOptions {
    /// How long one request may take (default 10 s).
    pub request_timeout: Duration,
    /// How long a cluster that does not answer is tried again, before an error says so (default
    /// 2 min). A reader that cannot reach the cluster has no records meanwhile.
    pub patience: Duration,
    /// How long [`FluvioLog::connect`] tries (default 10 s).
    pub connect_patience: Duration,
    /// How many bytes the server sends at once (default 4 MiB). Grows as batches need it.
    pub fetch_bytes: u32,
    /// About how many bytes of records a batch has at most (default 512 KiB).
    pub batch_bytes: usize,
    /// On how many servers a new topic is kept (default 1).
    pub replicas: u32,
}

impl Default for FluvioOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(120),
            connect_patience: Duration::from_secs(10),
            fetch_bytes: 4 << 20,
            batch_bytes: 512 << 10,
            replicas: 1,
        }
    }
}

/// The event log in a Fluvio cluster. Clones are the same log.
#[derive(Clone)]
pub struct FluvioLog {
    cluster: Arc<Cluster>,
}

impl FluvioLog {
    /// Connects to the cluster whose controller (SC) is at `endpoint`, `host:port`, unencrypted.
    ///
    /// # Errors
    /// [`LogError::Cluster`] if it cannot be reached.
    pub fn connect(endpoint: &str, options: FluvioOptions) -> Result<Self, LogError> {
        let cluster = Arc::new(Cluster::new(endpoint, options));
        let is_address = endpoint
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !is_address {
            return Err(cluster
                .error("connect".into(), "the address has to be host:port, as in 127.0.0.1:9003".into()));
        }
        let patience = cluster.options.connect_patience;
        run_block_on(cluster.try_for(
            patience,
            || "connect; is it running?".into(),
            async || cluster.look().await,
        ))?;
        Ok(Self { cluster })
    }

    /// The address of the controller.
    pub fn endpoint(&self) -> &str {
        &self.cluster.endpoint
    }

    /// How often a stream was opened again because records were missing in it, since the start.
    pub fn gaps(&self) -> u64 {
        self.cluster.gaps.load(Ordering::Relaxed)
    }

    /// How often a connection was lost, since the start.
    pub fn reconnects(&self) -> u64 {
        self.cluster.reconnects.load(Ordering::Relaxed)
    }

    fn append_by(
        &self,
        topic: &str,
        records: &[Record<'_>],
        partition: impl Fn(&Record<'_>, u32) -> u32,
    ) -> Result<(), LogError> {
        if let Some(record) = records.iter().find(|record| append::bytes_of(record) > RECORD_BYTES_MAX) {
            return Err(LogError::RecordSize {
                topic: topic.to_owned(),
                bytes: append::bytes_of(record) as u64,
                limit_bytes: RECORD_BYTES_MAX as u64,
            });
        }
        run_block_on(async {
            let partitions = self.cluster.partitions(topic, "append to").await?;
            let mut parted: Vec<Vec<Record<'_>>> = vec![Vec::new(); partitions as usize];
            for record in records {
                parted[partition(record, partitions) as usize].push(*record);
            }
            append::append(&self.cluster, topic, parted).await
        })
    }

    fn check_partition(&self, topic: &str, partition: u32, attempt: &str) -> Result<(), LogError> {
        let partitions = run_block_on(self.cluster.partitions(topic, attempt))?;
        if partition < partitions {
            return Ok(());
        }
        Err(LogError::UnknownPartition { topic: topic.to_owned(), partition, partitions })
    }
}

impl EventLog for FluvioLog {
    fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError> {
        check_topic_name(topic)?;
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(LogError::PartitionLimit {
                topic: topic.to_owned(),
                asked: partitions,
                limit: PARTITIONS_MAX,
            });
        }
        let cluster = &*self.cluster;
        let attempt = || format!("create topic {topic}");
        run_block_on(cluster.try_for(cluster.options.patience, attempt, async || {
            let existing = match cluster.look().await?.topics.get(topic) {
                Some(existing) => existing.partitions.len() as u32,
                None => {
                    if let Err(rule) = validate_resource_name(topic) {
                        let problem = format!("Fluvio does not take this name ({rule}); choose another");
                        return Err(Trouble::Final(cluster.error(attempt(), problem)));
                    }
                    let spec = TopicSpec::new_computed(partitions, cluster.options.replicas, None);
                    cluster.create(topic, spec).await?;
                    cluster.look().await?.topics.get(topic).map_or(0, |made| made.partitions.len() as u32)
                }
            };
            if existing != partitions && existing > 0 {
                return Err(Trouble::Final(LogError::PartitionCount {
                    topic: topic.to_owned(),
                    asked: partitions,
                    existing,
                }));
            }
            // The controller has made it; the servers may not have it yet.
            cluster.offsets_of_topics(&[topic]).await.map(drop)
        }))
    }

    fn topics(&self) -> Result<Vec<Topic>, LogError> {
        let cluster = &*self.cluster;
        run_block_on(cluster.try_for(
            cluster.options.patience,
            || "ask for the topics".into(),
            async || {
                let seen = cluster.look().await?;
                let names: Vec<&str> = seen.topics.keys().map(String::as_str).collect();
                let mut topics: Vec<Topic> = names
                    .iter()
                    .map(|&name| Topic { name: name.to_owned(), end_offsets: Vec::new() })
                    .collect();
                for (place, offsets) in cluster.offsets_of_topics(&names).await? {
                    topics[place].end_offsets.push(offsets.end);
                }
                Ok(topics)
            },
        ))
    }

    fn append(&self, topic: &str, records: &[Record<'_>]) -> Result<(), LogError> {
        self.append_by(topic, records, |record, partitions| partition_of(record.key, partitions))
    }

    fn append_to(&self, topic: &str, partition: u32, records: &[Record<'_>]) -> Result<(), LogError> {
        self.check_partition(topic, partition, "append to")?;
        self.append_by(topic, records, |_, _| partition)
    }

    fn reader(&self, topic: &str, partition: u32, from_offset: u64) -> Result<Box<dyn Reader>, LogError> {
        self.check_partition(topic, partition, "read")?;
        Ok(Box::new(FluvioReader::new(self.cluster.clone(), topic, partition, from_offset)))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("gaps", self.gaps()), ("reconnects", self.reconnects())]
    }
}

impl fmt::Debug for FluvioLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluvioLog")
            .field("endpoint", &self.cluster.endpoint)
            .field("options", &self.cluster.options)
            .finish_non_exhaustive()
    }
}
