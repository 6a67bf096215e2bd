//! A stand-in for a Fluvio cluster: one process that speaks enough of the cluster's protocol for
//! the published client, so that tests need no cluster.
//!
//! It is built on the published protocol crates and has the two ends that a client sees: the
//! controller (`SC`: topics, partitions, who leads them) and one server of records (`SPU`). What
//! matters it does as the real server does: a fetch answers with the stored bytes from the batch
//! that holds the offset on, cut at the `max_bytes` of the request, in the middle of a batch; the
//! next answer comes when the client has acknowledged an offset; a fetch beyond the end, or of
//! what retention has removed, is an error.
//!
//! It is not a cluster: no replication, no access control, no SmartModules, no stored consumer
//! offsets, and nothing is ever synced to disk.
//!
//! Start reading at [`StandIn`]; then `controller.rs` and `server.rs` (the two ends), `store.rs`
//! (topics and batches), `wire.rs` (frames).

mod controller;
mod server;
mod store;
mod wire;

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use store::Store;

/// How a stand-in begins.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the controller listens; port 0 is any free port.
    pub listen: SocketAddr,
    /// Where the server of records listens; port 0 is any free port.
    pub listen_records: SocketAddr,
    /// Keep topics and records in this folder, for a later stand-in to go on with.
    pub folder: Option<PathBuf>,
    /// The largest batch that is taken, as `max_request_size` of the real server (default 32 MiB).
    pub batch_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listen: any, listen_records: any, folder: None, batch_bytes_max: 32 << 20 }
    }
}

/// A running stand-in. Dropping it stops it.
pub struct StandIn {
    shared: Arc<Shared>,
    acceptors: Mutex<Vec<JoinHandle<()>>>,
}

impl StandIn {
    /// Starts one on loopback, in memory, on free ports.
    ///
    /// # Errors
    /// If nothing can be listened on.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Options::default())
    }

    /// Starts one.
    ///
    /// # Errors
    /// If the ports are taken or the folder cannot be read.
    pub fn start_with(mut options: Options) -> io::Result<Self> {
        let controller = TcpListener::bind(options.listen)?;
        let server = TcpListener::bind(options.listen_records)?;
        options.listen = controller.local_addr()?;
        options.listen_records = server.local_addr()?;
        let store = Store::open(options.folder.as_deref())?;
        let stand_in = Self {
            shared: Arc::new(Shared {
                options,
                state: Mutex::new(State { store, ..State::default() }),
                changed: Condvar::new(),
            }),
            acceptors: Mutex::new(Vec::new()),
        };
        stand_in.accept(controller, server);
        Ok(stand_in)
    }

    /// The address for clients, `host:port`.
    pub fn endpoint(&self) -> String {
        self.shared.options.listen.to_string()
    }

    /// Stops as a cluster that is killed: every connection is cut, the ports are closed, records
    /// stay.
    pub fn stop(&self) {
        {
            let mut state = self.shared.state();
            state.run += 1;
            state.cut_connections();
        }
        self.shared.changed.notify_all();
        for address in [self.shared.options.listen, self.shared.options.listen_records] {
            // Wakes the thread that accepts, so that it sees that it is over.
            let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        }
        let acceptors = std::mem::take(&mut *self.acceptors.lock().unwrap_or_else(PoisonError::into_inner));
        for acceptor in acceptors {
            let _ = acceptor.join();
        }
    }

    /// Starts again after [`StandIn::stop`], on the same ports and with the same records.
    ///
    /// # Errors
    /// If a port has been taken meanwhile.
    pub fn start_again(&self) -> io::Result<()> {
        let controller = TcpListener::bind(self.shared.options.listen)?;
        let server = TcpListener::bind(self.shared.options.listen_records)?;
        self.accept(controller, server);
        Ok(())
    }

    /// Closes new connections at once while `refuses`, and those there are.
    pub fn refuse_connections(&self, refuses: bool) {
        let mut state = self.shared.state();
        state.refuses = refuses;
        if refuses {
            state.cut_connections();
        }
    }

    /// Cuts the connections there are; new ones are welcome.
    pub fn cut_connections(&self) {
        self.shared.state().cut_connections();
    }

    /// Of the next `count` requests to append, keeps the records but cuts the connection instead
    /// of acknowledging them.
    pub fn lose_acknowledgements(&self, count: u32) {
        self.shared.state().lose_acknowledgements = count;
    }

    /// Waits so long before every answer.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Removes whole batches below `offset`, as retention does.
    pub fn remove_before(&self, topic: &str, partition: u32, offset: i64) {
        if let Some(records) = self.shared.state().store.partition_mut(topic, partition) {
            records.remove_before(offset);
        }
    }

    /// Loses the batches from the one that holds `offset` on, as a server that crashes before they
    /// are on disk.
    pub fn lose_from(&self, topic: &str, partition: u32, offset: i64) {
        if let Some(records) = self.shared.state().store.partition_mut(topic, partition) {
            records.lose_from(offset);
        }
    }

    /// Loses the stored bytes of the batch that holds `offset`, but not its offsets, so that there
    /// is a hole in the partition. A healthy server never does that.
    pub fn lose_batch(&self, topic: &str, partition: u32, offset: i64) {
        if let Some(records) = self.shared.state().store.partition_mut(topic, partition) {
            records.lose_batch(offset);
        }
    }

    /// How many fetches have begun.
    pub fn fetches(&self) -> u64 {
        self.shared.state().fetches
    }

    /// How many answers to fetches ended in the middle of a batch.
    pub fn cut_batches(&self) -> u64 {
        self.shared.state().cut_batches
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.state().connections.len()
    }

    fn accept(&self, controller: TcpListener, server: TcpListener) {
        let run = self.shared.state().run;
        let mut acceptors = self.acceptors.lock().unwrap_or_else(PoisonError::into_inner);
        for (listener, serve) in
            [(controller, controller::serve as fn(&Connection) -> _), (server, server::serve)]
        {
            let shared = self.shared.clone();
            acceptors.push(thread::spawn(move || accept(&shared, &listener, run, serve)));
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener, run: u64, serve: fn(&Connection) -> io::Result<()>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let mut state = shared.state();
        if state.run != run {
            return;
        }
        let Ok(kept) = stream.try_clone() else { continue };
        if state.refuses {
            continue;
        }
        state.last_connection += 1;
        let id = state.last_connection;
        state.connections.insert(id, kept);
        drop(state);
        let shared = shared.clone();
        thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let connection = Connection { shared, id, run, stream: Arc::new(Mutex::new(stream)) };
            let _ = serve(&connection);
            connection.close();
        });
    }
}

/// One client's connection, as the threads that answer it see it.
#[derive(Clone)]
struct Connection {
    shared: Arc<Shared>,
    id: u64,
    /// Of which run of the stand-in it is: after a stop it may change nothing.
    run: u64,
    stream: Arc<Mutex<TcpStream>>,
}

impl Connection {
    /// The state, or `None` if this connection is over.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.shared.state();
        self.lives(&state).then_some(state)
    }

    fn lives(&self, state: &State) -> bool {
        state.run == self.run && state.connections.contains_key(&self.id)
    }

    /// Waits for a change of the state.
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> Option<MutexGuard<'a, State>> {
        let state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        self.lives(&state).then_some(state)
    }

    fn close(&self) {
        let mut state = self.shared.state();
        if let Some(stream) = state.connections.remove(&self.id) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        state.acknowledged.retain(|(connection, _), _| *connection != self.id);
        drop(state);
        self.shared.changed.notify_all();
    }
}

struct Shared {
    options: Options,
    state: Mutex<State>,
    /// Told after every change of the state that somebody may wait for.
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    store: Store,
    /// Counts stops.
    run: u64,
    connections: HashMap<u64, TcpStream>,
    last_connection: u64,
    /// By connection and stream: up to where the client has read.
    acknowledged: HashMap<(u64, u32), Option<i64>>,
    refuses: bool,
    lose_acknowledgements: u32,
    delay: Duration,
    fetches: u64,
    cut_batches: u64,
}

impl State {
    fn cut_connections(&mut self) {
        for (_, stream) in self.connections.drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.acknowledged.clear();
    }
}
