//! Connections of the client that end when they are dropped.
//!
//! The client's own may live on: the task that reads from a connection misses that it is to end
//! if an answer is just coming, and then waits for the next one for ever.

use std::{
    io,
    net::Shutdown,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use fluvio::{Fluvio, FluvioAdmin, FluvioClusterConfig, FluvioError, spu::SpuDirectory};
use fluvio_future::net::{
    AsConnectionFd, BoxReadConnection, BoxWriteConnection, ConnectionFd, DomainConnector, TcpDomainConnector,
    TcpStream, tcp_stream,
};
use fluvio_protocol::{
    api::{Request, RequestMessage},
    record::ReplicaKey,
};
use fluvio_socket::{
    AsyncResponse, ClientConfig, MultiplexerSocket, SharedMultiplexerSocket, SocketError,
    VersionedSerialSocket, Versions,
};

use crate::cluster::held;

/// A connection to the controller.
pub(crate) struct Controller {
    pub admin: FluvioAdmin,
    _closing: Closing,
}

impl Controller {
    pub async fn connect(endpoint: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let closing = Closing::default();
        let config = FluvioClusterConfig::new(endpoint);
        let client = Fluvio::connect_with_connector(closing.connector(), &config).await?;
        Ok(Self { admin: client.admin().await, _closing: closing })
    }
}

/// A connection to a server of records.
pub(crate) struct Server {
    pub address: String,
    socket: SharedMultiplexerSocket,
    config: Arc<ClientConfig>,
    versions: Versions,
    _closing: Closing,
}

impl Server {
    pub async fn connect(address: &str) -> Result<Self, SocketError> {
        let closing = Closing::default();
        let connected = ClientConfig::new(address, closing.connector(), false).connect().await?;
        let (socket, config, versions) = connected.split();
        let socket = MultiplexerSocket::shared(socket);
        Ok(Self { address: address.to_owned(), socket, config, versions, _closing: closing })
    }

    pub fn is_stale(&self) -> bool {
        self.socket.is_stale()
    }

    pub fn serial(&self) -> VersionedSerialSocket {
        VersionedSerialSocket::new(self.socket.clone(), self.config.clone(), self.versions.clone())
    }
}

/// How the client's consumer gets at the connection that is to be its own.
#[async_trait]
impl SpuDirectory for Server {
    async fn create_serial_socket(&self, _: &ReplicaKey) -> Result<VersionedSerialSocket, FluvioError> {
        Ok(self.serial())
    }

    async fn create_stream_with_version<R: Request>(
        &self,
        _: &ReplicaKey,
        request: R,
        version: i16,
    ) -> Result<AsyncResponse<R>, FluvioError>
    where
        R: Sync + Send,
    {
        let mut message = RequestMessage::new_request(request);
        message.header.set_api_version(version);
        message.header.set_client_id(self.config.client_id().to_owned());
        Ok(self.socket.create_stream(message, STREAM_ANSWERS).await?)
    }
}

/// Answers of a stream that wait to be read. The server sends one at a time.
const STREAM_ANSWERS: usize = 2;

/// Closes what its connectors have opened.
#[derive(Default)]
struct Closing {
    opened: Arc<Mutex<Vec<TcpStream>>>,
}

impl Closing {
    fn connector(&self) -> DomainConnector {
        Box::new(Connector { opened: self.opened.clone() })
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        for stream in held(&self.opened).drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct Connector {
    opened: Arc<Mutex<Vec<TcpStream>>>,
}

#[async_trait]
impl TcpDomainConnector for Connector {
    async fn connect(
        &self,
        address: &str,
    ) -> Result<(BoxWriteConnection, BoxReadConnection, ConnectionFd), io::Error> {
        let stream = tcp_stream::stream(address).await?;
        stream.set_nodelay(true)?;
        held(&self.opened).push(stream.clone());
        let fd = stream.as_connection_fd();
        Ok((Box::new(stream.clone()), Box::new(stream), fd))
    }

    fn new_domain(&self, _: String) -> DomainConnector {
        self.clone_box()
    }

    fn domain(&self) -> &str {
        "localhost"
    }

    fn clone_box(&self) -> DomainConnector {
        Box::new(Self { opened: self.opened.clone() })
    }
}
