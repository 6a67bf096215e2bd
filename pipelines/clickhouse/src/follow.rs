//! The sink: a thread that follows the offline store into ClickHouse.
//!
//! Files that a checkpoint knows of never change again. They are loaded in the order of their
//! numbers, a batch at a time; `clickhouse.json` in the data folder says how far. While
//! ClickHouse does not answer, files wait where they are, and when more than a limit wait, so
//! does who writes them.
//!
//! What ClickHouse has is checked whenever it answers again: if it does not know the
//! generation that is being loaded, because its database was emptied or is another one, then
//! a new one is begun and all files are loaded.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::files::{StoreFile, list};
use crate::generations::{begin, known};
use crate::load::{Loaded, Loader, Source, batch};
use crate::migrate;
use crate::position::Position;
use crate::server::{Server, ServerOptions};

/// The first wait before something is tried again; each is twice the one before.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// How often a wait looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// What to follow, and where to.
#[derive(Debug, Clone)]
pub struct FollowerOptions {
    /// The server.
    pub server: ServerOptions,
    /// The data folder.
    pub data: PathBuf,
    /// The tag of the store, such as `1-of-4`, if several are in the folder.
    pub tag: Option<String>,
    /// The store's generation: one more each time its tables are begun anew.
    pub generation: u64,
    /// [`Follower::completed`] waits while more bytes than this are not loaded.
    pub spill_bytes_max: u64,
    /// Longest wait before something is tried again.
    pub retry_max: Duration,
}

impl FollowerOptions {
    /// Which share of the input it is, as rows in ClickHouse say.
    fn share(&self) -> &str {
        self.tag.as_deref().unwrap_or("all")
    }

    fn list(&self, from: u64, until: u64) -> Result<Vec<StoreFile>, Error> {
        list(&self.data, self.tag.as_deref(), from, until)
    }

    /// Whether a position is of this share and generation of the store.
    fn is_noted_by(&self, at: &Position) -> bool {
        at.share == self.share() && at.store_generation == self.generation
    }
}

/// How it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Complete files that are not loaded.
    pub behind_files: u64,
    /// Their size.
    pub behind_bytes: u64,
    /// Rows loaded by this process.
    pub rows: u64,
    /// INSERTs that were acknowledged.
    pub inserts: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// How long nothing has succeeded, if the last attempt failed.
    pub failing_for: Option<Duration>,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// Whether [`Follower::completed`] waits, because the spill's limit is reached.
    pub full: bool,
}

/// The running thread.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    options: FollowerOptions,
    state: Mutex<State>,
    changed: Condvar,
    /// Set by the runtime when the process is to end: nobody waits any more.
    stop: Arc<AtomicBool>,
    /// Set when the thread is to end.
    quit: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    /// Files below this number are complete.
    complete: u64,
    /// Files below this number are in `waiting`, or loaded.
    listed: u64,
    waiting: VecDeque<StoreFile>,
    waiting_bytes: u64,
    loaded: Loaded,
    failures: u64,
    failing_since: Option<Instant>,
    last_error: Option<String>,
    full: bool,
}

impl State {
    fn set_waiting(&mut self, files: impl IntoIterator<Item = StoreFile>) {
        self.waiting = files.into_iter().collect();
        self.waiting_bytes = self.waiting.iter().map(|file| file.bytes).sum();
    }

    fn failed(&mut self, error: &Error) {
        self.failures += 1;
        self.failing_since.get_or_insert_with(Instant::now);
        self.last_error = Some(describe(error));
    }
}

impl Follower {
    /// Begins to follow. `stop` ends every wait of [`Follower::completed`].
    ///
    /// # Errors
    /// Options that cannot be, or a note of the position that cannot be read. Whether the
    /// server answers is [`Follower::health`].
    pub fn start(options: FollowerOptions, stop: Arc<AtomicBool>) -> Result<Self, Error> {
        let quit = Arc::new(AtomicBool::new(false));
        let server = Server::new(options.server.clone())?.until(quit.clone());
        let position = Position::read(&options.data, options.tag.as_deref())?;
        let loaded = position.as_ref().filter(|at| options.is_noted_by(at)).map_or(0, |at| at.loaded);
        let state = State { listed: loaded, ..State::default() };
        let shared = Arc::new(Shared {
            options,
            state: Mutex::new(state),
            changed: Condvar::new(),
            stop,
            quit: quit.clone(),
        });
        let follows = shared.clone();
        let thread = std::thread::Builder::new()
            .name("clickhouse".to_owned())
            .spawn(move || follows.run(&server, position))
            .map_err(|error| Error::Configuration(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Files below `next` are complete and never change again. Waits while more than the
    /// limit is not loaded, and no longer than until `stop` is set.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn completed(&self, next: u64) -> Result<(), Error> {
        let shared = &self.shared;
        let mut state = shared.lock();
        state.complete = state.complete.max(next);
        shared.list(&mut state)?;
        shared.changed.notify_all();
        while state.waiting_bytes > shared.options.spill_bytes_max && !shared.stop.load(Ordering::Relaxed) {
            state.full = true;
            state = shared.wait(state, LOOK);
        }
        state.full = false;
        Ok(())
    }

    /// How it goes.
    pub fn health(&self) -> Health {
        let state = self.shared.lock();
        Health {
            behind_files: state.waiting.len() as u64,
            behind_bytes: state.waiting_bytes,
            rows: state.loaded.rows,
            inserts: state.loaded.inserts,
            failures: state.failures,
            failing_for: state.failing_since.map(|since| since.elapsed()),
            last_error: state.last_error.clone(),
            full: state.full,
        }
    }

    /// Waits until everything complete is loaded, but not longer than `deadline`, and ends
    /// the thread.
    ///
    /// # Errors
    /// What is not loaded, and why.
    pub fn finish(&self, deadline: Duration) -> Result<(), Error> {
        let until = Instant::now() + deadline;
        let mut state = self.shared.lock();
        while !state.waiting.is_empty() && Instant::now() < until {
            state = self.shared.wait(state, LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        let outcome = match state.waiting.len() as u64 {
            0 => Ok(()),
            files => Err(Error::Unfinished {
                files,
                bytes: state.waiting_bytes,
                last_error: state.last_error.clone(),
            }),
        };
        drop(state);
        self.end();
        outcome
    }

    /// Ends the thread, wherever it is; what it was loading comes again.
    fn end(&self) {
        self.shared.quit.store(true, Ordering::Relaxed);
        {
            // Held, so that the thread is not between looking and waiting.
            let _state = self.shared.lock();
            self.shared.changed.notify_all();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It says what went wrong in `health`; a panic is on standard error.
            let _ = thread.join();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Adds the files that have become complete.
    fn list(&self, state: &mut State) -> Result<(), Error> {
        if state.complete > state.listed {
            let files = self.options.list(state.listed, state.complete)?;
            state.waiting_bytes += files.iter().map(|file| file.bytes).sum::<u64>();
            state.waiting.extend(files);
            state.listed = state.complete;
        }
        Ok(())
    }

    fn run(&self, server: &Server, mut position: Option<Position>) {
        let mut retry = RETRY_FIRST;
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                if self.quit.load(Ordering::Relaxed) {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            match self.follow(server, &mut position, &mut retry) {
                Ok(()) => return,
                Err(error) => self.lock().failed(&error),
            }
            let until = Instant::now() + jittered(retry);
            retry = (retry * 2).min(self.options.retry_max);
            let mut state = self.lock();
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                if self.quit.load(Ordering::Relaxed) {
                    return;
                }
                state = self.wait(state, left);
            }
        }
    }

    /// Loads until it is to end, or something fails.
    fn follow(
        &self,
        server: &Server,
        position: &mut Option<Position>,
        retry: &mut Duration,
    ) -> Result<(), Error> {
        let dialect = server.dialect()?;
        migrate::require(server)?;
        let mut at = self.agree(server, position.as_ref())?;
        {
            // What is loaded does not wait any more; after a new beginning, all waits.
            let mut state = self.lock();
            let files = self.options.list(at.loaded, state.complete)?;
            state.listed = state.complete;
            state.set_waiting(files);
        }
        *position = Some(at.clone());
        let source = Source { share: at.share.clone(), generation: at.generation };
        let mut loader = Loader::new(server, dialect, source);
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                if self.quit.load(Ordering::Relaxed) {
                    return Ok(());
                }
                // Nothing is left to try again.
                (state.failing_since, state.last_error) = (None, None);
                self.changed.notify_all();
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if self.quit.load(Ordering::Relaxed) {
                return Ok(());
            }
            let waiting: Vec<StoreFile> = if at.until > at.loaded {
                state.waiting.iter().take_while(|file| file.number < at.until).cloned().collect()
            } else {
                batch(state.waiting.make_contiguous()).to_vec()
            };
            drop(state);
            if at.until <= at.loaded {
                at.until = waiting.last().map_or(at.until, |file| file.number + 1);
                at.write(&self.options.data, self.options.tag.as_deref())?;
                *position = Some(at.clone());
            }
            let mut loaded = Loaded::default();
            let outcome = loader.load(&waiting, &mut loaded);
            {
                let mut state = self.lock();
                state.loaded.rows += loaded.rows;
                state.loaded.inserts += loaded.inserts;
            }
            outcome?;
            at.loaded = at.until;
            at.write(&self.options.data, self.options.tag.as_deref())?;
            *position = Some(at.clone());
            *retry = RETRY_FIRST;
            let mut state = self.lock();
            while state.waiting.front().is_some_and(|file| file.number < at.loaded) {
                if let Some(file) = state.waiting.pop_front() {
                    state.waiting_bytes = state.waiting_bytes.saturating_sub(file.bytes);
                }
            }
            (state.failing_since, state.last_error) = (None, None);
            self.changed.notify_all();
        }
    }

    /// Where to go on: at the position noted, if it is of this store and the database knows
    /// of it; else at the beginning, as a new generation.
    fn agree(&self, server: &Server, noted: Option<&Position>) -> Result<Position, Error> {
        let options = &self.options;
        let known = known(server, options.share())?;
        let newest = known.first().map(|(generation, _)| *generation);
        let ours = noted.filter(|at| {
            options.is_noted_by(at)
                && newest == Some(at.generation)
                && known.contains(&(at.generation, at.store.clone()))
        });
        if let Some(at) = ours {
            return Ok(at.clone());
        }
        let generation = newest.map_or(0, |newest| newest + 1).max(options.generation);
        let store = format!("{:016x}", RandomState::new().hash_one((&options.data, Instant::now())));
        let at = Position::new(
            &options.server.url,
            server.database(),
            options.share(),
            options.generation,
            store,
            generation,
        );
        // Noted here first: a note here that the database knows nothing of is no harm.
        at.write(&options.data, options.tag.as_deref())?;
        begin(server, options.share(), generation, &at.store, options.generation)?;
        Ok(at)
    }
}

/// Half to all of it, so that many do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let part = RandomState::new().hash_one(wait) % 512;
    wait.mul_f64(0.5 + part as f64 / 1_024.0)
}

/// An error and what it comes from, in a line.
fn describe(error: &Error) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let next = error.to_string();
        if !message.ends_with(&next) {
            message = format!("{message}: {next}");
        }
        source = error.source();
    }
    message
}
