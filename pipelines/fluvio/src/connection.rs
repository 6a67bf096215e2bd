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
use fluvio::{Fluvio, FluvioAdmin, FluvioClusterConfig};
use fluvio_future::net::{
    AsConnectionFd, BoxReadConnection, BoxWriteConnection, ConnectionFd, DomainConnector, TcpDomainConnector,
    TcpStream, tcp_stream,
};
use fluvio_future::task::spawn;
use fluvio_protocol::{
    api::RequestMessage,
    record::{RawRecords, RecordSet},
};
use fluvio_socket::{
    AsyncResponse, ClientConfig, MultiplexerSocket, SharedMultiplexerSocket, SocketError,
    VersionedSerialSocket, Versions,
};
use fluvio_spu_schema::{
    fetch::FetchablePartitionResponse,
    server::{
        stream_fetch::{CHAIN_SMARTMODULE_API, DefaultStreamFetchRequest},
        update_offset::{OffsetUpdate, UpdateOffsetsRequest},
    },
};
use futures_util::stream::StreamExt;

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

/// A partition of a server being read. The server sends the next answer when it is told that the
/// last one has come.
pub(crate) struct Fetch {
    answers: AsyncResponse<DefaultStreamFetchRequest>,
    server: Arc<Server>,
}

/// What a server sends of a partition.
pub(crate) type Fetched = FetchablePartitionResponse<RecordSet<RawRecords>>;

impl Fetch {
    pub async fn begin(server: Arc<Server>, request: DefaultStreamFetchRequest) -> Result<Self, SocketError> {
        let mut message = RequestMessage::new_request(request);
        let version = server.versions.lookup_version::<DefaultStreamFetchRequest>();
        message.header.set_api_version(version.unwrap_or(CHAIN_SMARTMODULE_API - 1));
        message.header.set_client_id(server.config.client_id().to_owned());
        let answers = server.socket.create_stream(message, STREAM_ANSWERS).await?;
        Ok(Self { answers, server })
    }

    /// The next answer; `None` when the connection has been closed. May be given up and called
    /// again.
    pub async fn next(&mut self) -> Option<Result<Fetched, SocketError>> {
        let answer = match self.answers.next().await? {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        if let Some(offset) = answer.partition.next_offset_for_fetch() {
            let request =
                UpdateOffsetsRequest::new(vec![OffsetUpdate { offset, session_id: answer.stream_id }]);
            let socket = self.server.serial();
            // A task of its own, because half a request must not be left if the wait for the next
            // answer is given up. Should it fail, nothing comes, and that is noticed.
            spawn(async move { drop(socket.send_receive(request).await) });
        }
        Some(Ok(answer.partition))
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
