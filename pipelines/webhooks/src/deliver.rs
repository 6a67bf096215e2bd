//! The thread that sends a topic's events to an endpoint.
//!
//! `DATA/webhooks/ENDPOINT/positions.json` says how far it has got; it is saved at least every
//! second, every 256 events and when there has been nothing to send for a fifth of a second. What was
//! sent and not saved before a kill is sent again.

use std::any::Any;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headsup_connectors::disk::make_folders;
use headsup_connectors::{Disk, EventLog, LogError, Reader};

use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::letters::{self, Letter, LetterError, Letters};
use crate::positions::Positions;
use crate::queue::{Breaker, Key, Queue, Step, Verdict};
use crate::send;

/// No more is read from the log while so many events wait.
const WAITING_MAX: usize = 1_024;
/// Nor from a partition that is so far ahead of its oldest event.
const AHEAD_MAX: u64 = 10_000;
const SAVE_EVENTS: u64 = 256;
const SAVE_MS: i64 = 1_000;
/// After so long without anything to send.
const SAVE_IDLE_MS: i64 = 200;
const LOOK_RESEND_MS: i64 = 500;

/// A running delivery; it ends when this is dropped.
#[derive(Debug)]
pub struct Deliver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What an endpoint has come to since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Events acknowledged.
    pub delivered: u64,
    /// Attempts that are made again.
    pub retried: u64,
    /// Events given up.
    pub dead: u64,
    /// Tasks that had expired before the start.
    pub skipped: u64,
    /// Events of the log that are not done, also of types that are not wanted.
    pub waiting: u64,
    /// Whether it is being sent to.
    pub breaker: Breaker,
    /// What is wrong with log or disk; it is tried again every second.
    pub last_error: Option<String>,
}

/// Why nothing can be delivered.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The dead letters.
    #[error(transparent)]
    Letters(#[from] LetterError),
    /// A file or folder.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file of positions is not what was written.
    #[error("cannot go on from {}: {problem}; restore it, or remove it to send everything again", path.display())]
    Positions {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another process sends to it.
    #[error("endpoint {name} is being sent to by another process, which has {}", path.display())]
    Held {
        /// The endpoint.
        name: String,
        /// The lock.
        path: PathBuf,
    },
}

impl WebhookError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    quit: bool,
    status: Status,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, and says whether it is to end.
    fn wait(&self, most: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, most, |state| !state.quit);
        waited.unwrap_or_else(PoisonError::into_inner).0.quit
    }
}

impl Deliver {
    /// Begins to send `topic` to `endpoint`, from where it was left in the folder `data`.
    ///
    /// # Errors
    /// No such topic, damaged positions, another process at it, or the disk.
    pub fn start(
        log: Arc<dyn EventLog>,
        topic: &str,
        data: &Path,
        disk: Arc<dyn Disk>,
        endpoint: Endpoint,
    ) -> Result<Self, WebhookError> {
        let shared = Arc::<Shared>::default();
        let mut worker = Worker::new(&log, topic, data, disk, endpoint, shared.clone())?;
        let name = format!("webhook {}", worker.endpoint.name);
        let run = move || worker.run();
        let thread = std::thread::Builder::new().name(name).spawn(run);
        let thread = thread.map_err(WebhookError::io("start a thread for", data))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What it has come to.
    pub fn status(&self) -> Status {
        self.shared.lock().status.clone()
    }

    /// Ends it, after the request that is on its way, and saves how far it has got.
    pub fn stop(mut self) -> Status {
        self.end();
        self.status()
    }

    fn end(&mut self) {
        self.shared.lock().quit = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic is on standard error.
            let _ = thread.join();
        }
    }
}

impl Drop for Deliver {
    fn drop(&mut self) {
        self.end();
    }
}

struct Source {
    reader: Box<dyn Reader>,
    next: u64,
    /// Where the partition ended at the start.
    end: u64,
}

struct Body {
    id: String,
    bytes: Vec<u8>,
}

struct Worker {
    endpoint: Endpoint,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    letters: Letters,
    positions: Positions,
    sources: Vec<Source>,
    queue: Queue,
    bodies: HashMap<Key, Body>,
    /// What is not saved.
    dead: Vec<Letter>,
    again: Vec<String>,
    changes: u64,
    saved_at: i64,
    sent_at: i64,
    looked_at: i64,
    /// How often the log is looked at.
    look: Duration,
    shared: Arc<Shared>,
    _lock: Box<dyn Any + Send + Sync>,
}

impl Worker {
    fn new(
        log: &Arc<dyn EventLog>,
        topic: &str,
        data: &Path,
        disk: Arc<dyn Disk>,
        endpoint: Endpoint,
        shared: Arc<Shared>,
    ) -> Result<Self, WebhookError> {
        let topics = log.topics()?;
        let partitions = topics.iter().find(|found| found.name == topic).map(|found| found.end_offsets.len());
        let partitions = partitions.ok_or_else(|| LogError::UnknownTopic {
            topic: topic.to_owned(),
            known: topics.iter().map(|topic| topic.name.clone()).collect(),
        })?;
        let folder = data.join("webhooks").join(&endpoint.name);
        make_folders(&*disk, data, &folder).map_err(WebhookError::io("make", &folder))?;
        let path = folder.join("lock");
        let lock = disk.lock(&path).map_err(WebhookError::io("lock", &path))?;
        let lock = lock.ok_or_else(|| WebhookError::Held { name: endpoint.name.clone(), path })?;
        let path = folder.join("positions.json");
        let positions = Positions::read(&*disk, &path, topic, partitions)?;
        let source = |(partition, progress): (usize, &crate::positions::Progress)| {
            let reader = log.reader(topic, partition as u32, progress.next)?;
            let end = reader.end_offset()?;
            Ok(Source { reader, next: progress.next, end })
        };
        let sources = positions.partitions.iter().enumerate().map(source).collect::<Result<_, LogError>>()?;
        let seed = std::hash::RandomState::new().hash_one(&path);
        Ok(Self {
            queue: Queue::new(endpoint.settings, seed),
            letters: Letters::of(disk.clone(), data, &endpoint.name),
            endpoint,
            disk,
            path,
            positions,
            sources,
            bodies: HashMap::new(),
            dead: Vec::new(),
            again: Vec::new(),
            changes: 0,
            saved_at: now_ms(),
            sent_at: i64::MIN,
            look: log.look_again(),
            looked_at: i64::MIN,
            shared,
            _lock: lock,
        })
    }

    fn run(&mut self) {
        let agent = send::agent(&self.endpoint);
        let mut pause = Duration::ZERO;
        while !self.shared.wait(pause) {
            pause = match self.turn(&agent) {
                Ok(pause) => {
                    self.shared.lock().status.last_error = None;
                    pause
                }
                Err(error) => {
                    self.shared.lock().status.last_error = Some(describe(&error));
                    Duration::from_secs(1)
                }
            };
        }
        if let Err(error) = self.save() {
            self.shared.lock().status.last_error = Some(describe(&error));
        }
    }

    /// Reads, sends one event, saves if it is time; and says for how long there is nothing to do.
    fn turn(&mut self, agent: &ureq::Agent) -> Result<Duration, WebhookError> {
        let now = now_ms();
        if now.saturating_sub(self.looked_at) >= LOOK_RESEND_MS {
            self.looked_at = now;
            self.take_asked()?;
        }
        self.read(now)?;
        let step = self.queue.step(now_ms());
        if let Step::Send(key) = step {
            self.attempt(agent, key);
            self.sent_at = now_ms();
        }
        // Who waits for the next event does not wait for the disk as well.
        let is_late = now.saturating_sub(self.saved_at) >= SAVE_MS || self.changes >= SAVE_EVENTS;
        let is_idle = now.saturating_sub(self.sent_at) >= SAVE_IDLE_MS;
        if self.changes > 0 && (is_late || is_idle) {
            self.save()?;
        }
        self.tell()?;
        Ok(match step {
            Step::Send(_) => Duration::ZERO,
            Step::Wait(until) => {
                self.look.min(Duration::from_millis((until - now_ms()).max(1).unsigned_abs()))
            }
            Step::Idle | Step::Gone => self.look,
        })
    }

    fn read(&mut self, now: i64) -> Result<(), WebhookError> {
        for partition in 0..self.sources.len() {
            // Behind it, if what was done before the start is still to be read.
            let ahead =
                self.sources[partition].next.saturating_sub(self.positions.partitions[partition].next);
            if self.queue.len() >= WAITING_MAX || ahead >= AHEAD_MAX {
                continue;
            }
            let Some(chunk) = self.sources[partition].reader.next(Duration::ZERO)? else { continue };
            for index in 0..chunk.spans.len() {
                let offset = chunk.first_offset + index as u64;
                self.take((partition as u32, offset, 0), chunk.record(index), now);
                self.sources[partition].next = offset + 1;
            }
        }
        Ok(())
    }

    /// Puts an event of the log into the queue, if it is to be sent.
    fn take(&mut self, key: Key, bytes: &[u8], now: i64) {
        let partition = key.0 as usize;
        if self.positions.partitions[partition].is_done(key.1) {
            return;
        }
        match Event::read(bytes) {
            Err(problem) => self.give_up(key, bytes, problem, 0),
            Ok(event) if !self.endpoint.wants(&event.kind) => self.finish(key),
            Ok(event) if key.1 < self.sources[partition].end && event.has_expired(now) => {
                self.shared.lock().status.skipped += 1;
                self.finish(key);
            }
            Ok(event) => {
                self.queue.push(key, event.subject);
                self.bodies.insert(key, Body { id: event.id, bytes: bytes.to_vec() });
            }
        }
    }

    /// Puts letters that are to be sent again into the queue.
    fn take_asked(&mut self) -> Result<(), WebhookError> {
        for letter in self.letters.asked()? {
            let key = (letter.partition, letter.offset, letter.round + 1);
            if self.bodies.contains_key(&key) || self.again.contains(&letter.id) {
                continue;
            }
            match Event::read(letter.event.as_bytes()) {
                Err(problem) => self.give_up(key, letter.event.as_bytes(), problem, 0),
                Ok(event) => {
                    self.queue.push(key, event.subject);
                    self.bodies.insert(key, Body { id: event.id, bytes: letter.event.into_bytes() });
                }
            }
        }
        Ok(())
    }

    fn attempt(&mut self, agent: &ureq::Agent, key: Key) {
        let Some(body) = self.bodies.get(&key) else { return };
        let (outcome, reason) = send::send(agent, &self.endpoint, &body.id, &body.bytes, now_ms());
        match self.queue.came(key, outcome, now_ms()) {
            Verdict::Delivered => {
                self.bodies.remove(&key);
                self.shared.lock().status.delivered += 1;
                self.finish(key);
            }
            Verdict::Retry => self.shared.lock().status.retried += 1,
            Verdict::Dead { attempts } => {
                if let Some(body) = self.bodies.remove(&key) {
                    self.give_up(key, &body.bytes, reason, attempts);
                }
            }
            Verdict::Gone => {
                eprintln!(
                    "endpoint {} answered 410 Gone: nothing is sent to it until the next start",
                    self.endpoint.name
                );
            }
        }
    }

    fn give_up(&mut self, key: Key, bytes: &[u8], reason: String, attempts: u32) {
        self.dead.push(Letter {
            id: letters::id(key),
            endpoint: self.endpoint.name.clone(),
            partition: key.0,
            offset: key.1,
            round: key.2,
            reason,
            attempts,
            at_ms: now_ms(),
            event: String::from_utf8_lossy(bytes).into_owned(),
        });
        self.shared.lock().status.dead += 1;
        self.finish(key);
    }

    fn finish(&mut self, (partition, offset, round): Key) {
        self.changes += 1;
        match round.checked_sub(1) {
            None => self.positions.partitions[partition as usize].finish(offset),
            Some(before) => self.again.push(letters::id((partition, offset, before))),
        }
    }

    /// Letters first: no position moves over an event that is nowhere.
    fn save(&mut self) -> Result<(), WebhookError> {
        if !self.dead.is_empty() {
            self.letters.write(&self.dead)?;
            self.dead.clear();
        }
        while let Some(id) = self.again.last() {
            self.letters.sent(id)?;
            self.again.pop();
        }
        if self.changes > 0 {
            self.positions.write(&*self.disk, &self.path).map_err(WebhookError::io("write", &self.path))?;
        }
        (self.changes, self.saved_at) = (0, now_ms());
        Ok(())
    }

    fn tell(&self) -> Result<(), WebhookError> {
        let mut waiting = 0;
        for (source, progress) in self.sources.iter().zip(&self.positions.partitions) {
            let done = progress.next + progress.done.len() as u64;
            waiting += source.reader.end_offset()?.saturating_sub(done);
        }
        let mut state = self.shared.lock();
        (state.status.waiting, state.status.breaker) = (waiting, self.queue.breaker());
        Ok(())
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// An error and what it comes from, in a line.
fn describe(error: &WebhookError) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}
