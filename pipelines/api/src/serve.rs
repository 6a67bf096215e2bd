//! Connections, of which none can keep the others from being served.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::stop::Stop;
use crate::tls::Tls;

/// How long to wait after a connection could not be taken, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// What those are told who find no place.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// What connections may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open at once.
    pub connections: usize,
    /// Open at once from an address; of IPv6, from a /64.
    pub connections_per_address: usize,
    /// How long a request's head may take, and how long a connection may be idle before it.
    pub head_timeout: Duration,
    /// How long a client may not take what is sent to it.
    pub write_timeout: Duration,
    /// How long a handshake of TLS may take.
    pub handshake_timeout: Duration,
    /// Largest head of a request, in bytes, at least 8,192.
    pub head_max: usize,
    /// How long requests may go on when the server is to end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 512,
            head_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            head_max: 32 << 10,
            grace: Duration::from_secs(10),
        }
    }
}

/// Answers connections by `router`, until `stop`; then returns once they are over.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, tls: Option<Tls>, stop: Stop) {
    let places = Arc::new(Places::new(&limits));
    let server = Arc::new(Server { router, limits, tls, stop: stop.clone() });
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => {
                    sleep(PAUSE).await;
                    continue;
                }
            },
            () = stop.wait() => break,
        };
        match places.take(address.ip()) {
            Some(place) => {
                let server = server.clone();
                tokio::spawn(async move {
                    server.connection(stream).await;
                    drop(place);
                });
            }
            None => {
                // Who speaks TLS sees a connection that ends. Nobody waits for either.
                if server.tls.is_none() {
                    let _ = stream.try_write(BUSY);
                }
            }
        }
    }
    drop(listener);
    let all = u32::try_from(places.max).unwrap_or(u32::MAX);
    let _ = timeout(server.limits.grace, places.free.acquire_many(all)).await;
}

struct Server {
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
    stop: Stop,
}

impl Server {
    async fn connection(&self, stream: TcpStream) {
        // It only makes answers quicker.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        let stream = Box::pin(stream);
        match &self.tls {
            None => self.requests(stream).await,
            Some(Tls(acceptor)) => {
                if let Ok(Ok(stream)) = timeout(self.limits.handshake_timeout, acceptor.accept(stream)).await
                {
                    self.requests(stream).await;
                }
            }
        }
    }

    /// What goes wrong with a connection is its client's to see.
    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = TowerToHyperService::new(self.router.clone());
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.head_timeout)
                .max_buf_size(self.limits.head_max.max(8192))
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.stop.wait() => connection.as_mut().graceful_shutdown(),
        }
        let _ = timeout(self.limits.grace, connection).await;
    }
}

/// Who is connected.
struct Places {
    max: usize,
    per_address: usize,
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

struct Place {
    places: Arc<Places>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    fn new(limits: &Limits) -> Self {
        let max = limits.connections.clamp(1, Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(max));
        Self { max, per_address: limits.connections_per_address, free, taken: Mutex::default() }
    }

    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let permit = self.free.clone().try_acquire_owned().ok()?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Place { places: self.clone(), address, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

/// What an address counts as: who has one of IPv6 has the whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}
