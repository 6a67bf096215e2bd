//! The event log in a folder: [`EmbeddedLog`], for one process with any number of writers and
//! readers.
//!
//! # How it is kept
//!
//! Records are stored by the batch, not one by one: a key `(topic id, partition, first offset)`
//! and one compressed value of about a MiB. Appending never changes what is stored, and reading
//! is one lookup per batch, because the first offset of the next batch is the end of this one.
//! Appenders that come while a write is under way are written together by the next one, with one
//! fsync for all. Readers see a record once it is durable, not before.
//!
//! A folder holds `FORMAT` (the version of all this), `LOCK` (who has it open) and `data` (the
//! storage crate's files).
//!
//! # Why fjall
//!
//! Compared: fjall 3.1, redb 4.6, raft-engine 0.4. All are Apache-2.0, fjall and redb also MIT.
//! fjall and redb were measured with 600 batches of a MiB of events (zstd-1, an fsync each); the
//! machine was busy, hence MB of events per CPU second.
//!
//! - fjall: append 1770, read 930 with unpacking. Values lie apart from the keys and are never
//!   compacted; they are written twice, to the journal and to a blob file (1.75 times the stored
//!   bytes in all). It has no index of all entries in memory. After a crash only the journal is
//!   read again, whose size we limit. About 40 crates.
//! - redb: append 1800 (1110 with `quick_repair`), read 770 to 1020. Two crates, and it can let
//!   other processes read. But values fill pages of a power of two, so that batches took 1.67
//!   times their bytes; and without `quick_repair` opening after a crash reads the whole file
//!   (1 s for 160 MB here), which a log kept for years cannot afford.
//! - raft-engine, not measured: by its documentation it keeps the place of every entry in memory
//!   and wants its log purged, which long retention contradicts. Last release in April 2024;
//!   about 70 crates, among them old versions of syn, rand and thiserror.
//!
//! zstd-1 rather than lz4 for the batches: 6.7 against 3.8 times smaller, 990 against 2320 MB/s
//! unpacking, and no further crate.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arrow::buffer::Buffer;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::log::{Chunk, EventLog, LogError, Reader, Record, Topic, check_topic_name, partition_of};

/// An event log in a folder. Clones are the same log.
///
/// The folder stays locked until the last clone and the last reader are gone.
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
}

/// How [`EmbeddedLog`] stores.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// About how many bytes of values a stored batch has at most, and so a chunk that is read
    /// (default 1 MiB).
    pub batch_bytes: usize,
    /// zstd level of the stored batches (default 1; negative ones are faster and larger).
    pub zstd_level: i32,
    /// Tells the time in ms since the Unix epoch, for append times (default: the system clock).
    pub clock_ms: fn() -> i64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { batch_bytes: 1 << 20, zstd_level: 1, clock_ms: system_clock_ms }
    }
}

/// The largest record, key and value together.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// The most partitions a topic can have.
pub const PARTITIONS_MAX: u32 = 4096;

impl EmbeddedLog {
    /// Opens the log in folder `path`, or makes one there if the folder is empty or missing.
    ///
    /// After a crash it continues with every record that had been acknowledged, and perhaps some
    /// more.
    ///
    /// # Errors
    /// [`LogError::Held`] if another process (or this one) has it open, [`LogError::Format`] if
    /// the folder holds something else or a later version, or I/O.
    pub fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self, LogError> {
        let path = path.as_ref();
        fs::create_dir_all(path).map_err(io_error("create the folder", path))?;
        // Looked at before anything is written: a mistyped path must not put files into someone's
        // folder.
        check_format(path)?;
        let lock = lock(path)?;
        if !check_format(path)? {
            write_format(path)?;
        }

        let database = Database::builder(path.join("data"))
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()
            .map_err(storage("open the stored data"))?;
        let topics = database
            .keyspace("topics", KeyspaceCreateOptions::default)
            .map_err(storage("open the topics"))?;
        let batches = database.keyspace("batches", batches_keyspace).map_err(storage("open the batches"))?;
        let by_name = recover(&topics, &batches)?;
        let packer =
            zstd::bulk::Compressor::new(options.zstd_level).map_err(storage("set up compression"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                by_name: RwLock::new(by_name),
                queue: Mutex::default(),
                turn: Condvar::new(),
                packer: Mutex::new(packer),
                topics,
                batches,
                database,
                options,
                _lock: lock,
            }),
        })
    }

    /// Bytes that the log takes on disk.
    ///
    /// # Errors
    /// I/O.
    pub fn disk_bytes(&self) -> Result<u64, LogError> {
        self.shared.database.disk_space().map_err(storage("measure the disk space"))
    }
}

impl EventLog for EmbeddedLog {
    fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError> {
        check_topic_name(topic)?;
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(LogError::PartitionLimit {
                topic: topic.into(),
                asked: partitions,
                limit: PARTITIONS_MAX,
            });
        }
        let shared = &self.shared;
        let mut by_name = shared.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(existing) = by_name.get(topic) {
            return match existing.partitions.len() as u32 {
                existing if existing == partitions => Ok(()),
                existing => {
                    Err(LogError::PartitionCount { topic: topic.into(), asked: partitions, existing })
                }
            };
        }
        let id = by_name.values().map(|topic| topic.id + 1).max().unwrap_or(0);
        let mut batch = shared.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&shared.topics, topic, topic_value(id, partitions));
        batch.commit().map_err(storage("create a topic"))?;
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        by_name.insert(topic.into(), Arc::new(TopicState { name: topic.into(), id, partitions }));
        Ok(())
    }

    fn topics(&self) -> Result<Vec<Topic>, LogError> {
        let by_name = self.shared.by_name.read().unwrap_or_else(PoisonError::into_inner);
        Ok(by_name
            .values()
            .map(|topic| Topic {
                name: topic.name.clone(),
                end_offsets: topic.partitions.iter().map(|partition| held(&partition.progress).end).collect(),
            })
            .collect())
    }

    fn append(&self, topic: &str, records: &[Record<'_>]) -> Result<(), LogError> {
        let topic = self.shared.topic(topic)?;
        let partitions = topic.partitions.len() as u32;
        self.shared.append(&topic, records, |record| partition_of(record.key, partitions))
    }

    fn append_to(&self, topic: &str, partition: u32, records: &[Record<'_>]) -> Result<(), LogError> {
        let topic = self.shared.topic(topic)?;
        topic.partition(partition)?;
        self.shared.append(&topic, records, |_| partition)
    }

    fn reader(&self, topic: &str, partition: u32, from_offset: u64) -> Result<Box<dyn Reader>, LogError> {
        let topic = self.shared.topic(topic)?;
        topic.partition(partition)?;
        let unpacker = zstd::bulk::Decompressor::new().map_err(storage("set up decompression"))?;
        Ok(Box::new(EmbeddedReader {
            shared: self.shared.clone(),
            topic,
            partition,
            next: from_offset,
            is_at_batch_start: from_offset == 0,
            unpacker,
        }))
    }
}

struct Shared {
    by_name: RwLock<BTreeMap<String, Arc<TopicState>>>,
    queue: Mutex<Queue>,
    /// Signalled when a write has ended.
    turn: Condvar,
    packer: Mutex<zstd::bulk::Compressor<'static>>,
    topics: Keyspace,
    batches: Keyspace,
    database: Database,
    options: EmbeddedOptions,
    /// Last, so that the database is closed before another process can open it.
    _lock: File,
}

struct TopicState {
    name: String,
    id: u32,
    partitions: Vec<Partition>,
}

#[derive(Default)]
struct Partition {
    progress: Mutex<Progress>,
    grew: Condvar,
}

/// How far a partition's durable records go.
#[derive(Clone, Copy)]
struct Progress {
    end: u64,
    last_appended_at_ms: i64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { end: 0, last_appended_at_ms: i64::MIN }
    }
}

/// Records on their way to disk. The group that gathers is written by one of its own appenders,
/// once the write before has ended: no thread of ours, and no delay when there is only one
/// appender.
#[derive(Default)]
struct Queue {
    gathering: Group,
    /// Number of the group that gathers; those below it are written or being written.
    gathering_number: u64,
    /// Groups below this number are durable.
    durable_before: u64,
    is_writing: bool,
    /// Why nothing is written any more.
    stopped: Option<String>,
}

#[derive(Default)]
struct Group {
    bytes: usize,
    partitions: BTreeMap<(u32, u32), GroupPartition>,
}

struct GroupPartition {
    topic: Arc<TopicState>,
    partition: u32,
    batches: Vec<Batch>,
}

impl Shared {
    fn topic(&self, name: &str) -> Result<Arc<TopicState>, LogError> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        by_name.get(name).cloned().ok_or_else(|| LogError::UnknownTopic {
            topic: name.chars().take(120).collect(),
            known: by_name.keys().cloned().collect(),
        })
    }

    fn append(
        &self,
        topic: &Arc<TopicState>,
        records: &[Record<'_>],
        partition: impl Fn(&Record<'_>) -> u32,
    ) -> Result<(), LogError> {
        if let Some(record) = records.iter().find(|record| record.bytes() > RECORD_BYTES_MAX) {
            return Err(LogError::RecordSize {
                topic: topic.name.clone(),
                bytes: record.bytes() as u64,
                limit_bytes: RECORD_BYTES_MAX as u64,
            });
        }
        let mut rest = records;
        while !rest.is_empty() {
            // A large append goes in shares, so that what gathers in memory stays bounded.
            let mut bytes = 0;
            let share = rest.iter().take_while(|record| {
                bytes += record.bytes();
                bytes <= SHARE_BYTES
            });
            let (share, after) = rest.split_at(share.count().max(1));
            self.append_share(topic, share, &partition)?;
            rest = after;
        }
        Ok(())
    }

    fn append_share(
        &self,
        topic: &Arc<TopicState>,
        records: &[Record<'_>],
        partition: impl Fn(&Record<'_>) -> u32,
    ) -> Result<(), LogError> {
        let mut queue = held(&self.queue);
        while queue.gathering.bytes >= GROUP_BYTES_MAX && queue.stopped.is_none() {
            queue = self.write_or_wait(queue)?;
        }
        for record in records {
            queue.gathering.push(topic, partition(record), record, self.options.batch_bytes);
        }
        let number = queue.gathering_number;
        while queue.durable_before <= number {
            if let Some(cause) = &queue.stopped {
                return Err(LogError::Stopped { cause: cause.clone() });
            }
            queue = self.write_or_wait(queue)?;
        }
        Ok(())
    }

    /// Writes the gathering group if nobody is writing, and otherwise waits until that has ended.
    fn write_or_wait<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
    ) -> Result<MutexGuard<'a, Queue>, LogError> {
        if queue.is_writing {
            return Ok(self.turn.wait(queue).unwrap_or_else(PoisonError::into_inner));
        }
        let group = std::mem::take(&mut queue.gathering);
        queue.gathering_number += 1;
        queue.is_writing = true;
        drop(queue);

        let turn = Turn { shared: self, failure: Some("a writer panicked".into()) };
        let written = self.write(group);
        turn.end(written.as_ref().err().map(with_sources));
        written?;
        Ok(held(&self.queue))
    }

    fn write(&self, group: Group) -> Result<(), LogError> {
        let mut packer = held(&self.packer);
        let now_ms = (self.options.clock_ms)();
        let mut write = self.database.batch().durability(Some(PersistMode::SyncData));
        let mut grown = Vec::with_capacity(group.partitions.len());
        for GroupPartition { topic, partition, batches } in group.partitions.into_values() {
            let mut progress = *held(&topic.partitions[partition as usize].progress);
            progress.last_appended_at_ms = progress.last_appended_at_ms.max(now_ms);
            for batch in batches {
                let value = batch.pack(progress.last_appended_at_ms, &mut packer)?;
                write.insert(&self.batches, batch_key(topic.id, partition, progress.end), value);
                progress.end += batch.value_lens.len() as u64;
            }
            grown.push((topic, partition, progress));
        }
        write.commit().map_err(storage("append records"))?;
        for (topic, partition, progress) in grown {
            let partition = &topic.partitions[partition as usize];
            *held(&partition.progress) = progress;
            partition.grew.notify_all();
        }
        Ok(())
    }
}

/// The right to write. If it is dropped by a panic, those who wait are told rather than left
/// waiting.
struct Turn<'a> {
    shared: &'a Shared,
    failure: Option<String>,
}

impl Turn<'_> {
    fn end(mut self, failure: Option<String>) {
        self.failure = failure;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = held(&self.shared.queue);
        queue.is_writing = false;
        match self.failure.take() {
            // After a failed fsync nobody knows what is on disk: only opening the log again
            // tells.
            Some(failure) => queue.stopped = Some(failure),
            None => queue.durable_before = queue.gathering_number,
        }
        drop(queue);
        self.shared.turn.notify_all();
    }
}

impl Group {
    fn push(&mut self, topic: &Arc<TopicState>, partition: u32, record: &Record<'_>, batch_bytes: usize) {
        self.bytes += record.bytes() + 8;
        let of_partition = self.partitions.entry((topic.id, partition)).or_insert_with(|| GroupPartition {
            topic: topic.clone(),
            partition,
            batches: Vec::new(),
        });
        match of_partition.batches.last_mut() {
            Some(last) if last.bytes() + record.bytes() <= batch_bytes => last.push(record),
            _ => {
                let mut batch = Batch::default();
                batch.push(record);
                of_partition.batches.push(batch);
            }
        }
    }
}

struct EmbeddedReader {
    shared: Arc<Shared>,
    topic: Arc<TopicState>,
    partition: u32,
    next: u64,
    /// Whether a batch is known to begin at `next`; only the first read can be in the middle of
    /// one.
    is_at_batch_start: bool,
    unpacker: zstd::bulk::Decompressor<'static>,
}

impl Reader for EmbeddedReader {
    fn next(&mut self, wait: Duration) -> Result<Option<Chunk>, LogError> {
        if !self.wait_for_records(wait) {
            return Ok(None);
        }
        let (first, value) = self.batch()?;
        let mut chunk = unpack(&value, first, &mut self.unpacker).map_err(|problem| self.damaged(problem))?;
        let skipped = (self.next - first) as usize;
        if skipped >= chunk.spans.len() {
            return Err(self.damaged(format!(
                "the batch at {first} ends before it, at {}",
                first + chunk.spans.len() as u64
            )));
        }
        chunk.spans.drain(..skipped);
        chunk.first_offset = self.next;
        self.next += chunk.spans.len() as u64;
        self.is_at_batch_start = true;
        Ok(Some(chunk))
    }

    fn end_offset(&self) -> Result<u64, LogError> {
        Ok(held(&self.topic.partitions[self.partition as usize].progress).end)
    }
}

impl EmbeddedReader {
    /// Whether there is a record at `next` by the end of `wait`.
    fn wait_for_records(&self, wait: Duration) -> bool {
        let partition = &self.topic.partitions[self.partition as usize];
        let mut progress = held(&partition.progress);
        if progress.end > self.next {
            return true;
        }
        let Some(deadline) = Instant::now().checked_add(wait) else {
            // As good as for ever.
            while progress.end <= self.next {
                progress = partition.grew.wait(progress).unwrap_or_else(PoisonError::into_inner);
            }
            return true;
        };
        while progress.end <= self.next {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (progress, _) =
                partition.grew.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// The batch that holds record `next`, and its first offset.
    fn batch(&self) -> Result<(u64, fjall::UserValue), LogError> {
        let at = batch_key(self.topic.id, self.partition, self.next);
        let batches = &self.shared.batches;
        if self.is_at_batch_start {
            let value = batches.get(at).map_err(storage("read records"))?;
            return Ok((self.next, value.ok_or_else(|| self.damaged("its batch is missing".into()))?));
        }
        let from = batch_key(self.topic.id, self.partition, 0);
        let Some(found) = batches.range(from..=at).next_back() else {
            return Err(self.damaged("its batch is missing".into()));
        };
        let (key, value) = found.into_inner().map_err(storage("find records"))?;
        let first = first_offset(&key).ok_or_else(|| self.damaged("a batch key is not 16 bytes".into()))?;
        Ok((first, value))
    }

    fn damaged(&self, problem: String) -> LogError {
        LogError::Damaged {
            topic: self.topic.name.clone(),
            partition: self.partition,
            offset: self.next,
            problem,
        }
    }
}

impl TopicState {
    fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        self.partitions.get(partition as usize).ok_or_else(|| LogError::UnknownPartition {
            topic: self.name.clone(),
            partition,
            partitions: self.partitions.len() as u32,
        })
    }
}

/// Records as they are stored together.
///
/// Little-endian: version u8, codec u8, 0 u16, records u32, append time i64 (ms), bytes of values
/// u32, bytes of keys u32, xxh3-64 u64 of what follows (seeded with that of what comes before);
/// then, packed: the length u32 of each value, of each key, the values, the keys.
#[derive(Default)]
struct Batch {
    value_lens: Vec<u32>,
    key_lens: Vec<u32>,
    values: Vec<u8>,
    keys: Vec<u8>,
}

const BATCH_VERSION: u8 = 1;
const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const HEADER_BYTES: usize = 32;

impl Batch {
    fn push(&mut self, record: &Record<'_>) {
        self.value_lens.push(record.value.len() as u32);
        self.key_lens.push(record.key.len() as u32);
        self.values.extend_from_slice(record.value);
        self.keys.extend_from_slice(record.key);
    }

    fn bytes(&self) -> usize {
        self.values.len() + self.keys.len() + 8 * self.value_lens.len()
    }

    fn pack(
        &self,
        appended_at_ms: i64,
        packer: &mut zstd::bulk::Compressor<'_>,
    ) -> Result<Vec<u8>, LogError> {
        let mut body = Vec::with_capacity(self.bytes());
        for len in self.value_lens.iter().chain(&self.key_lens) {
            body.extend_from_slice(&len.to_le_bytes());
        }
        body.extend_from_slice(&self.values);
        body.extend_from_slice(&self.keys);
        let packed = packer.compress(&body).map_err(storage("compress records"))?;
        let (codec, body) = if packed.len() < body.len() { (CODEC_ZSTD, packed) } else { (CODEC_NONE, body) };

        let mut value = Vec::with_capacity(HEADER_BYTES + body.len());
        value.extend_from_slice(&[BATCH_VERSION, codec, 0, 0]);
        value.extend_from_slice(&(self.value_lens.len() as u32).to_le_bytes());
        value.extend_from_slice(&appended_at_ms.to_le_bytes());
        value.extend_from_slice(&(self.values.len() as u32).to_le_bytes());
        value.extend_from_slice(&(self.keys.len() as u32).to_le_bytes());
        let checksum = xxh3_64_with_seed(&body, xxh3_64(&value));
        value.extend_from_slice(&checksum.to_le_bytes());
        value.extend_from_slice(&body);
        Ok(value)
    }
}

struct BatchHeader {
    codec: u8,
    records: usize,
    appended_at_ms: i64,
    values_bytes: usize,
    keys_bytes: usize,
}

impl BatchHeader {
    /// Reads the header and checks the whole stored value against its checksum.
    fn read(value: &[u8]) -> Result<Self, String> {
        let Some((head, body)) = value.split_at_checked(HEADER_BYTES) else {
            return Err(format!("a batch has {} bytes, fewer than its header", value.len()));
        };
        if head[0] != BATCH_VERSION {
            return Err(format!("a batch is of version {}, this program reads {BATCH_VERSION}", head[0]));
        }
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        if u64_at(24) != xxh3_64_with_seed(body, xxh3_64(&head[..24])) {
            return Err("a batch does not match its checksum".into());
        }
        Ok(Self {
            codec: head[1],
            records: u32_at(4) as usize,
            appended_at_ms: u64_at(8) as i64,
            values_bytes: u32_at(16) as usize,
            keys_bytes: u32_at(20) as usize,
        })
    }
}

fn unpack(
    value: &[u8],
    first_offset: u64,
    unpacker: &mut zstd::bulk::Decompressor<'_>,
) -> Result<Chunk, String> {
    let header = BatchHeader::read(value)?;
    let lens_bytes = 8 * header.records;
    let body_bytes = lens_bytes + header.values_bytes + header.keys_bytes;
    let packed = &value[HEADER_BYTES..];
    let body = match header.codec {
        CODEC_NONE => packed.to_vec(),
        CODEC_ZSTD => unpacker.decompress(packed, body_bytes).map_err(|error| format!("zstd: {error}"))?,
        codec => return Err(format!("a batch has the unknown codec {codec}")),
    };
    if body.len() != body_bytes {
        return Err(format!("a batch unpacks to {} bytes instead of {body_bytes}", body.len()));
    }
    let mut end = 0;
    let mut spans = Vec::with_capacity(header.records);
    for len in body[..4 * header.records].as_chunks::<4>().0 {
        let start = end;
        end += u32::from_le_bytes(*len);
        spans.push((start, end));
    }
    if end as usize != header.values_bytes {
        return Err(format!("a batch's records add up to {end} bytes instead of {}", header.values_bytes));
    }
    let bytes = Buffer::from_vec(body).slice_with_length(lens_bytes, header.values_bytes);
    Ok(Chunk { first_offset, appended_at_ms: header.appended_at_ms, bytes, spans, oversized: Vec::new() })
}

/// Big-endian, so that the batches of a partition lie together and in order.
fn batch_key(topic: u32, partition: u32, first_offset: u64) -> [u8; 16] {
    (u128::from(topic) << 96 | u128::from(partition) << 64 | u128::from(first_offset)).to_be_bytes()
}

fn first_offset(key: &[u8]) -> Option<u64> {
    Some(u128::from_be_bytes(key.try_into().ok()?) as u64)
}

fn batches_keyspace() -> KeyspaceCreateOptions {
    // Values apart from keys: compaction then moves 16-byte keys, never the records. They are
    // compressed already.
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .with_kv_separation(Some(KvSeparationOptions::default().compression(CompressionType::None)))
}

const CACHE_BYTES: u64 = 8 << 20;
const MEMTABLE_BYTES: u64 = 16 << 20;
/// Also what has to be read again after a crash.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;
const GROUP_BYTES_MAX: usize = 32 << 20;
const SHARE_BYTES: usize = 8 << 20;

const TOPIC_VERSION: u8 = 1;

fn topic_value(id: u32, partitions: u32) -> Vec<u8> {
    [&[TOPIC_VERSION][..], &id.to_le_bytes(), &partitions.to_le_bytes()].concat()
}

/// All topics, and where each partition ends.
fn recover(topics: &Keyspace, batches: &Keyspace) -> Result<BTreeMap<String, Arc<TopicState>>, LogError> {
    let mut by_name = BTreeMap::new();
    for stored in topics.iter() {
        let (name, value) = stored.into_inner().map_err(storage("read the topics"))?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let damaged =
            |partition, problem| LogError::Damaged { topic: name.clone(), partition, offset: 0, problem };
        let (id, count) = match *value {
            [TOPIC_VERSION, i0, i1, i2, i3, c0, c1, c2, c3] => {
                (u32::from_le_bytes([i0, i1, i2, i3]), u32::from_le_bytes([c0, c1, c2, c3]))
            }
            _ => {
                return Err(damaged(
                    0,
                    "the topic's entry is not of a version that this program reads".into(),
                ));
            }
        };
        let mut partitions = Vec::new();
        for partition in 0..count {
            let all = batch_key(id, partition, 0)..=batch_key(id, partition, u64::MAX);
            let progress = match batches.range(all).next_back() {
                None => Progress::default(),
                Some(last) => {
                    let (key, value) = last.into_inner().map_err(storage("read the last records"))?;
                    let first = first_offset(&key)
                        .ok_or_else(|| damaged(partition, "a batch key is not 16 bytes".into()))?;
                    let header = BatchHeader::read(&value).map_err(|problem| LogError::Damaged {
                        topic: name.clone(),
                        partition,
                        offset: first,
                        problem,
                    })?;
                    Progress {
                        end: first + header.records as u64,
                        last_appended_at_ms: header.appended_at_ms,
                    }
                }
            };
            partitions.push(Partition { progress: Mutex::new(progress), grew: Condvar::new() });
        }
        by_name.insert(name.clone(), Arc::new(TopicState { name, id, partitions }));
    }
    Ok(by_name)
}

const FORMAT: u32 = 1;
const FORMAT_LINE: &str = "headsup event log, format ";

/// Whether the folder holds a log; not if it is empty.
fn check_format(path: &Path) -> Result<bool, LogError> {
    let refuse = |problem: String| Err(LogError::Format { path: path.into(), problem });
    let file = path.join("FORMAT");
    match fs::read_to_string(&file) {
        Ok(text) => {
            match text.trim_end().strip_prefix(FORMAT_LINE).and_then(|version| version.parse::<u32>().ok()) {
                Some(FORMAT) => Ok(true),
                Some(later) => refuse(format!(
                    "it has format {later}, this program knows {FORMAT}; open it with the headsup that wrote it, or a newer one"
                )),
                None => refuse(format!(
                    "its FORMAT file says {:?}; restore the folder from a copy",
                    shortened(&text)
                )),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(io_error("list the folder", path))? {
                let name = entry.map_err(io_error("list the folder", path))?.file_name();
                if name != "LOCK" && name != "FORMAT.new" {
                    return refuse(format!(
                        "it is not an event log (it holds {}); name an empty or new folder",
                        Path::new(&name).display()
                    ));
                }
            }
            Ok(false)
        }
        Err(error) => Err(io_error("read", &file)(error)),
    }
}

fn write_format(path: &Path) -> Result<(), LogError> {
    let new = path.join("FORMAT.new");
    let write = || {
        let mut file = File::create(&new)?;
        writeln!(file, "{FORMAT_LINE}{FORMAT}")?;
        file.sync_all()?;
        fs::rename(&new, path.join("FORMAT"))?;
        // The name is durable only when the folder is.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    };
    write().map_err(io_error("write", &new))
}

/// Takes the folder for this process, until the file is closed; the operating system lets go of
/// it after a crash.
fn lock(path: &Path) -> Result<File, LogError> {
    let name = path.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(io_error("open", &name))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let told = (&mut file).take(200).read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if told { shortened(holder.trim()) } else { "another process".into() };
            return Err(LogError::Held { path: path.into(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &name)(error)),
    }
    let program = std::env::current_exe().ok();
    let program =
        program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let holder =
        format!("process {} ({})\n", std::process::id(), program.as_deref().unwrap_or("unknown program"));
    let written = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
    written.map_err(io_error("write", &name))?;
    Ok(file)
}

impl Record<'_> {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// What a mutex guards. A thread that panicked with it left nothing half done: all changes are
/// single assignments.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn storage<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    attempt: &'static str,
) -> impl FnOnce(E) -> LogError {
    move |source| LogError::Storage { attempt, source: source.into() }
}

fn io_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = PathBuf::from(path);
    move |source| LogError::Io { attempt, path, source }
}

fn with_sources(error: &LogError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        for (key, value) in [("c-1", "{}"), ("", ""), ("c-2", "{\"id\":\"e\"}")] {
            batch.push(&Record { key: key.as_bytes(), value: value.as_bytes() });
        }
        batch
    }

    fn values(chunk: &Chunk) -> Vec<&str> {
        let record = |index| std::str::from_utf8(chunk.record(index)).unwrap();
        (0..chunk.spans.len()).map(record).collect()
    }

    /// A batch as version 1 wrote it, for as long as there are such logs.
    const STORED_V1: &[u8] =
        b"\x01\x00\x00\x00\x03\x00\x00\x00{h\xe5\xcf\x8b\x01\x00\x00\x0c\x00\x00\x00\x06\x00\x00\x00\
        \xa7\x85\xb13\"\x13\x12\xd1\x02\x00\x00\x00\x00\x00\x00\x00\n\x00\x00\x00\
        \x03\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00{}{\"id\":\"e\"}c-1c-2";

    #[test]
    fn a_batch_of_version_1() {
        let packed = batch().pack(1_700_000_000_123, &mut zstd::bulk::Compressor::new(1).unwrap());
        let packed = packed.unwrap();
        assert_eq!(packed.escape_ascii().to_string(), STORED_V1.escape_ascii().to_string());
        let mut unpacker = zstd::bulk::Decompressor::new().unwrap();
        let chunk = unpack(STORED_V1, 7, &mut unpacker).unwrap();
        assert_eq!((chunk.first_offset, chunk.appended_at_ms), (7, 1_700_000_000_123));
        assert_eq!(values(&chunk), ["{}", "", "{\"id\":\"e\"}"]);
    }

    #[test]
    fn a_damaged_batch_is_noticed() {
        let mut packer = zstd::bulk::Compressor::new(1).unwrap();
        let mut unpacker = zstd::bulk::Decompressor::new().unwrap();
        let mut large = batch();
        large.push(&Record { key: b"k", value: &[b'x'; 500] });
        for batch in [batch(), large] {
            let stored = batch.pack(5, &mut packer).unwrap();
            unpack(&stored, 0, &mut unpacker).unwrap();
            for at in 0..stored.len() {
                let mut damaged = stored.clone();
                damaged[at] ^= 0x10;
                assert!(unpack(&damaged, 0, &mut unpacker).is_err(), "byte {at}");
                assert!(unpack(&stored[..at], 0, &mut unpacker).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn batch_keys_are_in_the_order_of_offsets() {
        let keys = [(0, 0, 0), (0, 0, 1), (0, 0, 300), (0, 1, 0), (1, 0, 0), (1, 0, u64::MAX)];
        let keys = keys.map(|(topic, partition, offset)| batch_key(topic, partition, offset));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| first_offset(&key)), [0, 1, 300, 0, 0, u64::MAX].map(Some));
    }
}
