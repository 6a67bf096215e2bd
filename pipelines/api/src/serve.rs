//! Connections, of which none can keep the others from being served.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::places::{Place, Places};
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
    /// Open at once; when there are more, those end that have asked nothing for the longest time.
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
    let places = Arc::new(Places::new(limits.connections, limits.connections_per_address));
    // Nothing is sent: it ends when the last connection has let go of it.
    let (alive, mut all) = mpsc::channel::<()>(1);
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
                let (server, alive) = (server.clone(), alive.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = server.connection(stream, &place) => {}
                        () = place.lost() => {}
                    }
                    drop((place, alive));
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
    drop((listener, alive));
    let _ = timeout(server.limits.grace, all.recv()).await;
}

struct Server {
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
    stop: Stop,
}

impl Server {
    async fn connection(&self, stream: TcpStream, place: &Arc<Place>) {
        // It only makes answers quicker.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        let stream = Box::pin(stream);
        match &self.tls {
            None => self.requests(stream, place).await,
            Some(Tls(acceptor)) => {
                if let Ok(Ok(stream)) = timeout(self.limits.handshake_timeout, acceptor.accept(stream)).await
                {
                    self.requests(stream, place).await;
                }
            }
        }
    }

    /// What goes wrong with a connection is its client's to see.
    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin, place: &Arc<Place>) {
        let routes = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|request: Request<Incoming>| {
            place.asked();
            let answer = routes.call(request);
            async move {
                let answer = answer.await;
                place.answered();
                answer
            }
        });
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
