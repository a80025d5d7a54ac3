//! A local webhook receiver: records what arrives, verifies signatures, and misbehaves on request.
//!
//! It stands at the far side of the bridge in `bridge listen`, `bridge dev`, the tests and the benchmarks. It must not
//! know pipelines or print anything, and it is no server for the open internet: it has no TLS and no time limits.

mod connection;
mod reading;
mod verifier;

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest as _, Request, State};
use axum::handler::Handler as _;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use connection::{Connection, NumberedListener};
pub use verifier::{Verifier, VerifyError};

/// The longest request body that is read, in bytes (16 MiB). A longer one is answered 413.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// How long [`Receiver::stop`] waits for answers under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the receiver does with a request.
///
/// By default it answers every request 200 with an empty body, at once, and records nothing.
#[derive(Clone)]
pub struct Behaviour {
    /// The status of the answer. Default: 200.
    pub status: StatusCode,
    /// As many of the first requests get `fail_status` in place of `status`. Default: 0.
    pub fail_first: u64,
    /// The status of the first `fail_first` answers. Default: 503.
    pub fail_status: StatusCode,
    /// `Retry-After` of every answer whose status is not 2xx: seconds or an HTTP date. Default: none.
    pub retry_after: Option<HeaderValue>,
    /// How long to wait before each answer. Default: not at all.
    pub delay: Duration,
    /// The body of every answer. Default: empty.
    pub response_body: Bytes,
    /// Verifies signatures. The verdict is recorded and changes no answer. Default: none.
    pub verifier: Option<Verifier>,
    /// Takes the place of `status`, `fail_first`, `retry_after` and `response_body`, request by request. Default: none.
    pub chooser: Option<Arc<Chooser>>,
    /// Where requests are recorded, each before it is answered: while the channel is full, answers wait. A closed
    /// channel is as good as none. Default: none, requests are only counted.
    pub record: Option<mpsc::Sender<ReceivedRequest>>,
}

/// Decides on one request. In it [`ReceivedRequest::answered_status`] is still unknown (`None`).
pub type Chooser = dyn Fn(&ReceivedRequest) -> Reply + Send + Sync;

/// What one request gets.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Answer(Response<Bytes>),
    /// No answer at all; the connection stays open until the client or the receiver ends it.
    Hang,
    /// The TCP connection is reset (RST) without an answer.
    Reset,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// 1 for the first request that the receiver got.
    pub number: u64,
    /// When it had arrived completely.
    pub at: Timestamp,
    /// The method.
    pub method: Method,
    /// The path and query, as sent.
    pub path_and_query: String,
    /// The headers in the order they were sent, those of one name side by side.
    pub headers: HeaderMap,
    /// The body; empty when it was longer than [`MAX_BODY`].
    pub body: Bytes,
    /// The TCP connection that it came in on: 1 for the first that the receiver accepted.
    pub connection: u64,
    /// Whether its signature is right; `None` without a [`Behaviour::verifier`].
    pub verdict: Option<Result<(), VerifyError>>,
    /// The status that it gets; `None` when it gets no answer.
    pub answered_status: Option<StatusCode>,
}

/// A running receiver. It ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    local_addr: SocketAddr,
    requests: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Receiver {
    /// Listens on `addr` (port 0 lets the system choose) for any method and path, over HTTP/1.1 and HTTP/2 without TLS.
    /// Runs in the tokio runtime of the caller.
    ///
    /// # Errors
    /// When the address does not resolve or cannot be bound.
    pub async fn bind(addr: impl ToSocketAddrs, behaviour: Behaviour) -> io::Result<Self> {
        let listener = NumberedListener::new(TcpListener::bind(addr).await?);
        let local_addr = listener.local_addr()?;
        let connections = listener.accepted();
        let requests = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let handler = Arc::new(RequestHandler { behaviour, requests: requests.clone(), stop: stop.clone() });
        let service = handle.layer(DefaultBodyLimit::max(MAX_BODY)).with_state(handler);
        let server = axum::serve(listener, service.into_make_service_with_connect_info::<Connection>())
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the receiver ended");
            }
        });
        Ok(Self { local_addr, requests, connections, task, stop: stop.drop_guard() })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The URL of its root, for example `http://127.0.0.1:9000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.local_addr)
    }

    /// How many requests have arrived completely.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many TCP connections were accepted.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Accepts nothing more, lets answers under way end (those with a [`Behaviour::delay`] or [`Reply::Hang`] are reset),
    /// and gives up on them after 5 s.
    pub async fn stop(self) {
        drop(self.stop);
        if timeout(STOP_TIMEOUT, self.task).await.is_err() {
            tracing::warn!("the receiver was stopped while requests were under way");
        }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            fail_first: 0,
            fail_status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: None,
            delay: Duration::ZERO,
            response_body: Bytes::new(),
            verifier: None,
            chooser: None,
            record: None,
        }
    }
}

impl Behaviour {
    /// The default behaviour, recording into a new channel that holds `capacity` requests (at least 1).
    pub fn recording(capacity: usize) -> (Self, mpsc::Receiver<ReceivedRequest>) {
        let (record, recorded) = mpsc::channel(capacity);
        (Self { record: Some(record), ..Self::default() }, recorded)
    }

    fn reply(&self, request: &ReceivedRequest) -> Reply {
        if let Some(chooser) = &self.chooser {
            return chooser(request);
        }
        let status = if request.number <= self.fail_first { self.fail_status } else { self.status };
        let mut answer = Response::new(self.response_body.clone());
        *answer.status_mut() = status;
        if let Some(retry_after) = self.retry_after.as_ref().filter(|_| !status.is_success()) {
            answer.headers_mut().insert(RETRY_AFTER, retry_after.clone());
        }
        Reply::Answer(answer)
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// An answer of this status, with neither headers nor a body of its own.
    pub fn status(status: StatusCode) -> Self {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = status;
        Self::Answer(answer)
    }
}

struct RequestHandler {
    behaviour: Behaviour,
    requests: Arc<AtomicU64>,
    stop: CancellationToken,
}

async fn handle(
    State(handler): State<Arc<RequestHandler>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response<Body> {
    match handler.decide(&connection, request).await {
        Reply::Answer(answer) => handler.answer(&connection, answer).await,
        Reply::Hang => {
            handler.wait(&connection, pending()).await;
            Response::default()
        }
        Reply::Reset => {
            connection.reset();
            Response::default()
        }
    }
}

impl RequestHandler {
    /// Reads the request to its end, decides on the reply, and records both.
    async fn decide(&self, connection: &Connection, mut request: Request) -> Reply {
        let method = request.method().clone();
        let path_and_query = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let headers = std::mem::take(request.headers_mut());
        let (body, refusal) = match Bytes::from_request(request, &()).await {
            Ok(body) => (body, None),
            Err(rejection) => (Bytes::new(), Some(Reply::status(rejection.status()))),
        };
        let at = Timestamp::now();
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = connection.number();
        let mut received = ReceivedRequest {
            number,
            at,
            method,
            path_and_query,
            headers,
            body,
            connection,
            verdict: None,
            answered_status: None,
        };
        received.verdict = self.behaviour.verifier.as_ref().map(|verifier| verifier.verify(&received));
        let reply = refusal.unwrap_or_else(|| self.behaviour.reply(&received));
        if let Reply::Answer(answer) = &reply {
            received.answered_status = Some(answer.status());
        }
        self.record(received).await;
        reply
    }

    async fn record(&self, received: ReceivedRequest) {
        let Some(record) = &self.behaviour.record else {
            return;
        };
        if record.send(received).await.is_err() {
            tracing::trace!("nobody reads the recorded requests any more");
        }
    }

    async fn answer(&self, connection: &Connection, answer: Response<Bytes>) -> Response<Body> {
        if !self.behaviour.delay.is_zero() {
            self.wait(connection, sleep(self.behaviour.delay)).await;
        }
        answer.map(Body::from)
    }

    /// Waits as the behaviour says; when the receiver is stopped meanwhile, the connection is reset instead.
    async fn wait(&self, connection: &Connection, until: impl Future<Output = ()>) {
        tokio::select! {
            () = until => {}
            () = self.stop.cancelled() => connection.reset(),
        }
    }
}

#[cfg(test)]
mod tests;
