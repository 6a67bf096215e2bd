//! A disk and a log that fail.
//!
//! Both count their operations together. At a chosen one something happens: the operation
//! fails, or the process that asked for it is gone, or the power. What a power failure leaves
//! is what was forced to disk, and of the rest a part that chance decides: names without
//! contents, contents without names, half of what was written.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use headsup_connectors::{Chunk, Disk, DiskFile, EventLog, LogError, Reader, Record, Topic, partition_of};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What happens at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, having done nothing or a part of it.
    Error,
    /// The process that asked for it is killed.
    Kill,
    /// The power fails: all processes are gone, and what was not forced to disk.
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Debug, Default, Clone)]
struct Contents {
    now: Vec<u8>,
    /// So much of it is on disk.
    safe: Vec<u8>,
}

/// A name that came, or went.
#[derive(Debug, Clone)]
struct Pending {
    folder: PathBuf,
    changes: Vec<(PathBuf, Option<Node>)>,
}

struct State {
    dice: ChaCha8Rng,
    operations: u64,
    /// The next fault: at which operation.
    fault: Option<(u64, Fault)>,
    /// The fault that has happened.
    happened: Option<Fault>,
    names: BTreeMap<PathBuf, Node>,
    safe_names: BTreeMap<PathBuf, Node>,
    pending: Vec<Pending>,
    contents: Vec<Contents>,
    topics: BTreeMap<String, Vec<Vec<Vec<u8>>>>,
}

/// The world of one simulation; clones are the same.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

/// One process's view of it: nothing works for a process that is gone.
#[derive(Clone)]
pub struct Process {
    world: World,
    gone: Arc<Mutex<bool>>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: ChaCha8Rng::seed_from_u64(seed),
            operations: 0,
            fault: None,
            happened: None,
            names: BTreeMap::from([(PathBuf::from("/"), Node::Folder)]),
            safe_names: BTreeMap::from([(PathBuf::from("/"), Node::Folder)]),
            pending: Vec::new(),
            contents: Vec::new(),
            topics: BTreeMap::new(),
        })))
    }

    pub fn process(&self) -> Process {
        Process { world: self.clone(), gone: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no thread panicked")
    }

    /// Something happens after so many more operations.
    pub fn plan(&self, after: u64, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some((state.operations + after, fault));
    }

    /// The fault that has happened since the last call.
    pub fn happened(&self) -> Option<Fault> {
        self.lock().happened.take()
    }

    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// What is there when the power is back.
    pub fn power_returns(&self) {
        let state = &mut *self.lock();
        for Pending { changes, .. } in std::mem::take(&mut state.pending) {
            if state.dice.random_range(0..2) == 0 {
                for (path, node) in changes {
                    change(&mut state.safe_names, path, node);
                }
            }
        }
        // What is in a folder that is not there is not there either.
        let names = state.safe_names.clone();
        let there = |path: &Path| path.ancestors().all(|above| names.contains_key(above));
        state.safe_names.retain(|path, _| there(path));
        state.names = state.safe_names.clone();
        for contents in &mut state.contents {
            let mut left = contents.safe.clone();
            if contents.now.len() > left.len() && state.dice.random_range(0..2) == 0 {
                let more = state.dice.random_range(0..=contents.now.len() - left.len());
                left.extend_from_slice(&contents.now[left.len()..left.len() + more]);
                if more > 0 && state.dice.random_range(0..2) == 0 {
                    // Blocks come to disk in any order.
                    let zero = left.len() - more..left.len() - more / 2;
                    left[zero].fill(0);
                }
            }
            contents.now = left.clone();
            contents.safe = left;
        }
    }

    /// All records of a topic, partition by partition.
    pub fn records(&self, topic: &str) -> Vec<Vec<Vec<u8>>> {
        self.lock().topics.get(topic).cloned().unwrap_or_default()
    }

    /// All files below a folder.
    pub fn files(&self, folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.lock();
        let below = state.names.iter().filter(|(path, _)| path.starts_with(folder));
        let file = |(path, node): (&PathBuf, &Node)| match node {
            Node::File(place) => Some((path.clone(), state.contents[*place].now.clone())),
            Node::Folder => None,
        };
        below.filter_map(file).collect()
    }
}

fn change(names: &mut BTreeMap<PathBuf, Node>, path: PathBuf, node: Option<Node>) {
    match node {
        Some(node) => names.insert(path, node),
        None => names.remove(&path),
    };
}

fn gone() -> io::Error {
    io::Error::other("the process is gone")
}

impl Process {
    /// The process ends; whatever it still asks for fails.
    pub fn end(&self) {
        *self.gone.lock().expect("no thread panicked") = true;
    }

    /// Counts an operation. `Ok(true)`: it is to fail, after a part of it.
    fn operation(&self) -> io::Result<(MutexGuard<'_, State>, bool)> {
        if *self.gone.lock().expect("no thread panicked") {
            return Err(gone());
        }
        let mut state = self.world.lock();
        state.operations += 1;
        match state.fault {
            Some((at, fault)) if state.operations >= at => {
                state.fault = None;
                state.happened = Some(fault);
                if fault == Fault::Error {
                    return Ok((state, true));
                }
                drop(state);
                self.end();
                Err(gone())
            }
            _ => Ok((state, false)),
        }
    }

    fn names<T>(
        &self,
        folder: Option<&Path>,
        act: impl FnOnce(&mut State) -> io::Result<(T, Vec<(PathBuf, Option<Node>)>)>,
    ) -> io::Result<T> {
        let (mut state, fails) = self.operation()?;
        if fails {
            return Err(io::Error::other("input/output error"));
        }
        let (answer, changes) = act(&mut state)?;
        for (path, node) in &changes {
            change(&mut state.names, path.clone(), *node);
        }
        if let (Some(folder), false) = (folder, changes.is_empty()) {
            state.pending.push(Pending { folder: folder.to_owned(), changes });
        }
        Ok(answer)
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no {}", path.display()))
}

impl State {
    fn must_be_folder(&self, path: Option<&Path>) -> io::Result<()> {
        match path.and_then(|path| self.names.get(path)) {
            Some(Node::Folder) => Ok(()),
            _ => Err(missing(path.unwrap_or(Path::new("?")))),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl Disk for Process {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let place = self.names(path.parent(), |state| {
            state.must_be_folder(path.parent())?;
            state.contents.push(Contents::default());
            let place = state.contents.len() - 1;
            Ok((place, vec![(path.to_owned(), Some(Node::File(place)))]))
        })?;
        Ok(Box::new(SimFile { process: self.clone(), place }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.names(None, |state| match state.names.get(path) {
            Some(Node::File(place)) => Ok((state.contents[*place].now.clone(), Vec::new())),
            _ => Err(missing(path)),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent());
        self.names(from.parent(), |state| {
            let node = *state.names.get(from).ok_or_else(|| missing(from))?;
            Ok(((), vec![(from.to_owned(), None), (to.to_owned(), Some(node))]))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.names(path.parent(), |state| match state.names.get(path) {
            Some(Node::File(_)) => Ok(((), vec![(path.to_owned(), None)])),
            _ => Err(missing(path)),
        })
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.names(path.parent(), |state| {
            state.must_be_folder(path.parent())?;
            let new = !state.names.contains_key(path);
            Ok(((), if new { vec![(path.to_owned(), Some(Node::Folder))] } else { Vec::new() }))
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        self.names(None, |state| {
            state.must_be_folder(Some(folder))?;
            let inside = state.names.iter().filter(|(path, _)| path.parent() == Some(folder));
            Ok((inside.map(|(path, node)| (path.clone(), *node == Node::Folder)).collect(), Vec::new()))
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.names(None, |state| {
            state.must_be_folder(Some(folder))?;
            let (done, rest) =
                std::mem::take(&mut state.pending).into_iter().partition(|pending| pending.folder == folder);
            state.pending = rest;
            for Pending { changes, .. } in done {
                for (path, node) in changes {
                    change(&mut state.safe_names, path, node);
                }
            }
            Ok(((), Vec::new()))
        })
    }

    /// Locks do not reach: a second process is let in while the first one is still there.
    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Ok(Some(Box::new(())))
    }
}

struct SimFile {
    process: Process,
    place: usize,
}

impl Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, fails) = self.process.operation()?;
        let length = if fails { state.dice.random_range(0..=bytes.len()) } else { bytes.len() };
        state.contents[self.place].now.extend_from_slice(&bytes[..length]);
        if fails { Err(io::Error::new(io::ErrorKind::StorageFull, "no space left")) } else { Ok(length) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn sync(&mut self) -> io::Result<()> {
        let (mut state, fails) = self.process.operation()?;
        if fails {
            return Err(io::Error::other("input/output error"));
        }
        let contents = &mut state.contents[self.place];
        contents.safe = contents.now.clone();
        Ok(())
    }
}

fn log_error(source: io::Error) -> LogError {
    LogError::Storage { attempt: "reach a partition", source: source.into() }
}

impl EventLog for Process {
    fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError> {
        let mut state = self.world.lock();
        state.topics.entry(topic.to_owned()).or_insert_with(|| vec![Vec::new(); partitions as usize]);
        Ok(())
    }

    fn topics(&self) -> Result<Vec<Topic>, LogError> {
        let (state, fails) = self.operation().map_err(log_error)?;
        if fails {
            return Err(log_error(io::Error::other("no answer")));
        }
        let topic = |(name, partitions): (&String, &Vec<Vec<Vec<u8>>>)| Topic {
            name: name.clone(),
            end_offsets: partitions.iter().map(|records| records.len() as u64).collect(),
        };
        Ok(state.topics.iter().map(topic).collect())
    }

    fn append(&self, topic: &str, records: &[Record<'_>]) -> Result<(), LogError> {
        let partitions = self.world.lock().topics[topic].len() as u32;
        for record in records {
            self.append_to(topic, partition_of(record.key, partitions), std::slice::from_ref(record))?;
        }
        Ok(())
    }

    fn append_to(&self, topic: &str, partition: u32, records: &[Record<'_>]) -> Result<(), LogError> {
        let (mut state, fails) = self.operation().map_err(log_error)?;
        // A failure may come after the records, or some of them, were taken in.
        let count = if fails { state.dice.random_range(0..=records.len()) } else { records.len() };
        let values = records[..count].iter().map(|record| record.value.to_vec());
        let topic = state.topics.get_mut(topic).expect("topics were made");
        topic[partition as usize].extend(values);
        if fails { Err(log_error(io::Error::other("no acknowledgement"))) } else { Ok(()) }
    }

    fn reader(&self, topic: &str, partition: u32, from_offset: u64) -> Result<Box<dyn Reader>, LogError> {
        let (topic, partition) = (topic.to_owned(), partition as usize);
        Ok(Box::new(SimReader { process: self.clone(), topic, partition, next: from_offset as usize }))
    }
}

struct SimReader {
    process: Process,
    topic: String,
    partition: usize,
    next: usize,
}

/// When the log took everything in: long after all events.
const APPENDED_AT_MS: i64 = 4_000_000_000_000;

impl Reader for SimReader {
    fn next(&mut self, _wait: Duration) -> Result<Option<Chunk>, LogError> {
        let (mut state, fails) = self.process.operation().map_err(log_error)?;
        if fails {
            return Err(log_error(io::Error::other("the connection broke")));
        }
        let most = 1 + (state.dice.next_u32() % 40) as usize;
        let records = &state.topics[&self.topic][self.partition];
        let some = &records[self.next.min(records.len())..records.len().min(self.next + most)];
        if some.is_empty() {
            return Ok(None);
        }
        let mut spans = Vec::new();
        let mut bytes = Vec::new();
        for record in some {
            spans.push((bytes.len() as u32, (bytes.len() + record.len()) as u32));
            bytes.extend_from_slice(record);
        }
        let first_offset = self.next as u64;
        self.next += some.len();
        let bytes = bytes.into();
        Ok(Some(Chunk { first_offset, appended_at_ms: APPENDED_AT_MS, bytes, spans, oversized: Vec::new() }))
    }

    fn end_offset(&self) -> Result<u64, LogError> {
        Ok(self.process.world.lock().topics[&self.topic][self.partition].len() as u64)
    }
}
