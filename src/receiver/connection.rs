//! The TCP connections of the receiver: each has a number, and each can be reset by the request it carries.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// What a request knows of the connection that it came in on.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    number: u64,
    reset: Arc<AtomicBool>,
}

impl Connection {
    /// 1 for the first connection that the receiver accepted.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Ends the connection with a TCP reset as soon as the server next reads or writes it.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }
}

/// Numbers the connections that it accepts.
pub(super) struct NumberedListener {
    listener: TcpListener,
    accepted: Arc<AtomicU64>,
}

impl NumberedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, accepted: Arc::new(AtomicU64::new(0)) }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The number of the latest connection.
    pub(super) fn accepted(&self) -> Arc<AtomicU64> {
        self.accepted.clone()
    }
}

impl Listener for NumberedListener {
    type Io = ResettableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::trace!(%error, "TCP_NODELAY could not be set: answers may be slow");
        }
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Connection { number, reset: Arc::default() };
        (ResettableStream { stream, connection }, peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, NumberedListener>> for Connection {
    fn connect_info(incoming: IncomingStream<'_, NumberedListener>) -> Self {
        incoming.io().connection.clone()
    }
}

/// A TCP stream that fails once its connection is to be reset, so that the server drops it without an answer.
pub(super) struct ResettableStream {
    stream: TcpStream,
    connection: Connection,
}

impl ResettableStream {
    /// The stream, unless it is to be reset: then dropping it sends RST, because it lingers for no time at all.
    fn checked(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        let this = self.get_mut();
        if this.connection.reset.load(Ordering::Relaxed) {
            this.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Pin::new(&mut this.stream))
    }
}

impl AsyncRead for ResettableStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.checked()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.checked()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.checked()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.checked()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.checked()?.poll_shutdown(cx)
    }
}
