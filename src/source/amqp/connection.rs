//! One connection to the broker: TCP, TLS and the AMQP handshake, and an end that is sure to come.
//!
//! lapin moves bytes on a thread of its own, one per connection, but its timers, heartbeats among them, and its socket
//! readiness are tasks of the runtime it was started in: our worker's current-thread runtime. They get their turn
//! whenever a task of the worker awaits, and a heartbeat is due twice per interval, so heartbeats go on however much
//! there is to deliver. Only a task that blocked the worker for longer than the heartbeat would break the connection.
//!
//! That thread lives until the connection closes or the socket ends. A broker that takes connections and then says
//! nothing would leave one thread behind per attempt, so the socket is shut down when the connection is dropped.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use lapin::tcp::{AsyncTcpStream, RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, ConnectionProperties};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::timeout;
use tracing::debug;

use super::error::FailureKind;
use super::settings::Settings;

/// The longest time for closing in order. What is not closed by then is cut off, which the broker takes for a close.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, on which channels can be opened.
#[derive(Debug)]
pub(super) struct Connection {
    connection: lapin::Connection,
    _socket: SocketGuard,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(settings: &Settings, limit: Duration) -> Result<Self, FailureKind> {
        let socket = Socket::default();
        let guard = SocketGuard(socket.clone());
        timeout(limit, async {
            let tls = tls_connector(settings)?;
            let connection =
                connect(settings, tls, socket, limit).await.map_err(|error| FailureKind::connect(&error))?;
            Ok(Self { connection, _socket: guard })
        })
        .await
        .unwrap_or(Err(FailureKind::Timeout(limit)))
    }

    /// True while channels can be opened on it.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// Opens a channel.
    pub(super) async fn open_channel(&self) -> Result<Channel, FailureKind> {
        self.connection.create_channel().await.map_err(|error| FailureKind::operation("open a channel", &error))
    }

    /// Closes the connection and what is left of its channels; the broker then requeues what was not acknowledged.
    pub(super) async fn close(self) {
        if !self.is_open() {
            return;
        }
        let closing = self.connection.close(lapin::protocol::constants::REPLY_SUCCESS, "closing".into());
        match timeout(CLOSE_TIMEOUT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "the connection did not close in order"),
            Err(_) => debug!(limit = ?CLOSE_TIMEOUT, "the broker did not answer to a close; cutting the connection"),
        }
    }
}

async fn connect(
    settings: &Settings,
    tls: Option<RustlsConnector>,
    socket: Socket,
    limit: Duration,
) -> lapin::Result<lapin::Connection> {
    let properties = ConnectionProperties::default()
        .with_connection_name(settings.connection_name.as_str().into())
        .with_client_property("product".into(), "bridge".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    let runtime = lapin::runtime::default_runtime()?;
    // lapin runs this on its thread and cannot be told to stop, hence the limit in here.
    lapin::Connection::connector(
        settings.uri.clone(),
        runtime,
        async move |uri: AMQPUri, runtime| {
            let dialled = timeout(limit, async {
                let host = (uri.authority.host.as_str(), uri.authority.port);
                let addresses: Vec<SocketAddr> = tokio::net::lookup_host(host).await?.collect();
                let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                if let AsyncTcpStream::Plain(tcp) = &stream {
                    socket.opened(TcpStream::from(tcp.get_ref().as_fd().try_clone_to_owned()?))?;
                }
                match &tls {
                    Some(connector) => stream.into_rustls(connector, &uri.authority.host).await,
                    None => Ok(stream),
                }
            });
            let stream: io::Result<_> = dialled.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            Ok(stream?)
        },
        properties,
    )
    .await
}

/// TLS as the URI's scheme asks for it, trusting `ca_file` or else the system's certificate authorities.
fn tls_connector(settings: &Settings) -> Result<Option<RustlsConnector>, FailureKind> {
    if settings.uri.scheme != AMQPScheme::AMQPS {
        return Ok(None);
    }
    let config = match &settings.ca_file {
        Some(path) => RustlsConnectorConfig::default().with_parsable_certificates(certificates(path)?),
        None => {
            RustlsConnectorConfig::new_with_native_certs().map_err(|error| FailureKind::Connect(error.to_string()))?
        }
    };
    config.connector_with_no_client_auth().map(Some).map_err(|error| FailureKind::Connect(error.to_string()))
}

/// Read at each connection, so that a renewed file needs no restart.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FailureKind> {
    let fault = |reason: String| FailureKind::CaFile { path: path.to_owned(), reason };
    let pem = fs::read(path).map_err(|error| fault(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(fault("there is no certificate in it".into())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// The socket below a connection, as far as it has come.
#[derive(Debug, Default, Clone)]
struct Socket(Arc<Mutex<SocketState>>);

#[derive(Debug, Default)]
enum SocketState {
    #[default]
    Dialling,
    Open(TcpStream),
    Abandoned,
}

impl Socket {
    /// Keeps a handle of the socket, unless nobody waits for the connection any more.
    fn opened(&self, stream: TcpStream) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, SocketState::Abandoned) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        *state = SocketState::Open(stream);
        Ok(())
    }
}

/// Shuts the socket down when dropped: lapin's thread then reads the end of the stream and ends.
#[derive(Debug)]
struct SocketGuard(Socket);

impl Drop for SocketGuard {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let SocketState::Open(stream) = std::mem::replace(&mut *state, SocketState::Abandoned) {
            // An error means that the socket is closed already.
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Format;
    use crate::source::SourceContext;
    use tokio::io::AsyncReadExt as _;

    const LIMIT: Duration = Duration::from_millis(200);

    fn settings(uri: &str) -> Settings {
        let context = SourceContext { format: Format::Json, ..SourceContext::for_tests("shop", "legacy") };
        let config = serde_json::json!({"uri": uri, "queue": "q"});
        Settings::new(&context, &serde_json::from_value(config).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_broker_that_says_nothing_is_given_up_and_its_socket_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("amqp://{}/%2f", listener.local_addr().unwrap());
        let fault = Connection::open(&settings(&uri), LIMIT).await.unwrap_err();
        assert!(matches!(fault, FailureKind::Timeout(LIMIT)), "{fault}");

        let (mut accepted, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let read = timeout(Duration::from_secs(5), accepted.read_to_end(&mut received)).await;
        read.expect("the socket was left open").unwrap();
        assert!(received.starts_with(b"AMQP"), "{received:?}");
    }

    #[tokio::test]
    async fn a_broker_that_is_down_is_named_with_the_reason() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("amqp://{}/%2f", listener.local_addr().unwrap());
        drop(listener);
        let fault = Connection::open(&settings(&uri), Duration::from_secs(5)).await.unwrap_err();
        assert!(fault.to_string().contains("refused"), "{fault}");
    }

    #[tokio::test]
    async fn a_ca_file_without_a_certificate_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut settings = settings("amqps://127.0.0.1/%2f");
        settings.ca_file = Some(file.path().to_owned());
        let fault = Connection::open(&settings, LIMIT).await.unwrap_err();
        assert!(matches!(fault, FailureKind::CaFile { .. }), "{fault}");
    }
}
