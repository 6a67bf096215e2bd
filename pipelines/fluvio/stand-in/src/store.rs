//! Topics, and the batches of their partitions as stored bytes.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Cursor, Write},
    path::{Path, PathBuf},
};

use fluvio_protocol::{
    Encoder,
    record::{BATCH_PREAMBLE_SIZE, Batch, RawRecords},
};

/// All topics. Given a folder, everything is written there too.
#[derive(Default)]
pub(crate) struct Store {
    topics: BTreeMap<String, Vec<Partition>>,
    /// Counts topics made, so that watchers see a change.
    pub epoch: i64,
    folder: Option<PathBuf>,
}

#[derive(Default)]
pub(crate) struct Partition {
    batches: Vec<Stored>,
    /// Where it begins when it has no batches.
    empty_at: i64,
    file: Option<File>,
}

struct Stored {
    first: i64,
    records: i64,
    bytes: Vec<u8>,
}

/// What a fetch gets.
pub(crate) struct Found {
    pub bytes: Vec<u8>,
    pub ends_in_a_batch: bool,
}

impl Store {
    pub fn open(folder: Option<&Path>) -> io::Result<Self> {
        let mut store = Self { folder: folder.map(Path::to_owned), ..Self::default() };
        let Some(folder) = folder else { return Ok(store) };
        fs::create_dir_all(folder)?;
        let topics = match fs::read_to_string(folder.join("topics")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        for line in topics.lines() {
            let (name, count) =
                line.split_once(' ').ok_or_else(|| io::Error::other("a topic without count"))?;
            let count: u32 = count.parse().map_err(io::Error::other)?;
            let mut partitions = Vec::new();
            for partition in 0..count {
                partitions.push(Partition::open(&path(folder, name, partition))?);
            }
            store.topics.insert(name.to_owned(), partitions);
        }
        Ok(store)
    }

    pub fn make(&mut self, topic: &str, partitions: u32) -> io::Result<()> {
        let mut made = Vec::new();
        for partition in 0..partitions {
            made.push(match &self.folder {
                Some(folder) => Partition::open(&path(folder, topic, partition))?,
                None => Partition::default(),
            });
        }
        if let Some(folder) = &self.folder {
            let mut topics = OpenOptions::new().create(true).append(true).open(folder.join("topics"))?;
            topics.write_all(format!("{topic} {partitions}\n").as_bytes())?;
        }
        self.topics.insert(topic.to_owned(), made);
        self.epoch += 1;
        Ok(())
    }

    /// Names and numbers of partitions.
    pub fn topics(&self) -> impl Iterator<Item = (&String, u32)> {
        self.topics.iter().map(|(name, partitions)| (name, partitions.len() as u32))
    }

    pub fn partition(&self, topic: &str, partition: u32) -> Option<&Partition> {
        self.topics.get(topic)?.get(partition as usize)
    }

    pub fn partition_mut(&mut self, topic: &str, partition: u32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.get_mut(partition as usize)
    }
}

impl Partition {
    fn open(path: &Path) -> io::Result<Self> {
        let stored = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let mut partition = Self::default();
        let mut at = 0;
        while at + BATCH_PREAMBLE_SIZE <= stored.len() {
            let mut batch = Batch::<RawRecords>::default();
            batch.decode_from_file_buf(&mut Cursor::new(&stored[at..]), 0)?;
            let end = at + BATCH_PREAMBLE_SIZE + batch.batch_len() as usize;
            if end > stored.len() {
                break; // The process that wrote it was killed.
            }
            partition.batches.push(Stored {
                first: batch.base_offset,
                records: batch.records_len() as i64,
                bytes: stored[at..end].to_vec(),
            });
            at = end;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(at as u64)?;
        partition.file = Some(file);
        Ok(partition)
    }

    /// Gives the batch the next offsets and keeps it; the first offset.
    pub fn append(&mut self, batch: &mut Batch<RawRecords>) -> io::Result<i64> {
        let first = self.end();
        batch.set_base_offset(first);
        let mut bytes = Vec::with_capacity(batch.write_size(0));
        batch.encode(&mut bytes, 0)?;
        if let Some(file) = &mut self.file {
            file.write_all(&bytes)?;
        }
        self.batches.push(Stored { first, records: batch.records_len() as i64, bytes });
        Ok(first)
    }

    pub fn begin(&self) -> i64 {
        self.batches.first().map_or(self.empty_at, |batch| batch.first)
    }

    pub fn end(&self) -> i64 {
        self.batches.last().map_or(self.empty_at, |batch| batch.first + batch.records)
    }

    /// The stored bytes from the batch that holds `offset` on, cut off after `bytes_max`.
    pub fn read(&self, offset: i64, bytes_max: usize) -> Found {
        let from = self.batches.partition_point(|batch| batch.first + batch.records <= offset);
        let mut bytes = Vec::new();
        for batch in &self.batches[from..] {
            let room = bytes_max - bytes.len();
            bytes.extend_from_slice(&batch.bytes[..batch.bytes.len().min(room)]);
            if room < batch.bytes.len() {
                return Found { bytes, ends_in_a_batch: room > 0 };
            }
        }
        Found { bytes, ends_in_a_batch: false }
    }

    pub fn remove_before(&mut self, offset: i64) {
        let count = self.batches.partition_point(|batch| batch.first + batch.records <= offset);
        self.empty_at = self.end();
        self.batches.drain(..count);
    }

    pub fn lose_from(&mut self, offset: i64) {
        let count = self.batches.partition_point(|batch| batch.first + batch.records <= offset);
        self.batches.truncate(count);
    }

    pub fn lose_batch(&mut self, offset: i64) {
        self.batches.retain(|batch| !(batch.first..batch.first + batch.records).contains(&offset));
    }
}

fn path(folder: &Path, topic: &str, partition: u32) -> PathBuf {
    folder.join(format!("{topic}-{partition}"))
}
