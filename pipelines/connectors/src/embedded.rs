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
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use self::batch::{Batch, BatchHeader, batch_key, first_offset, unpack};
use self::folder::{check_format, lock, write_format};
use crate::log::{Chunk, EventLog, LogError, Reader, Record, Topic, check_topic_name, partition_of};

mod batch;
mod folder;

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
    /// (default 1 MiB; at most [`RECORD_BYTES_MAX`]).
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
        let options = EmbeddedOptions { batch_bytes: options.batch_bytes.min(RECORD_BYTES_MAX), ..options };
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

    fn look_again(&self) -> Duration {
        // Looking takes some locks and no I/O.
        Duration::from_millis(4)
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

/// A stored batch with first offset 0, for `pipelines/fuzz`.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn unpack_stored(value: &[u8]) -> Result<Chunk, String> {
    unpack(value, 0, &mut zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?)
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
                progress.end += batch.records() as u64;
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
        if count > PARTITIONS_MAX || id == u32::MAX {
            return Err(damaged(0, format!("the topic's entry says {count} partitions and id {id}")));
        }
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
                    let end = first.checked_add(header.records as u64);
                    Progress {
                        end: end.ok_or_else(|| damaged(partition, "its offsets overflow".into()))?,
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
