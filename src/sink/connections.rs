//! The connections of one sink to its receivers: how its HTTP clients are built, and the client for each request. Which
//! one that is decides the `shelf`. It must not send anything.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::Connection;
use reqwest::dns::Resolve;
use reqwest::{Client, Url, Version, redirect};
use rustls::ClientConfig;
use tokio::time::Instant;
use tower_layer::layer_fn;
use tower_service::Service;
use url::Position;

use super::failure::{AttemptError, chain};
use super::lookup::SystemResolver;
use super::loopback::{is_loopback, name_below_localhost};
use super::shelf::{IDLE_TIME, Protocol, Shelf, Taken};
use super::tls;
use crate::descriptors::{Budget, Purpose, Share};

/// An answer may have this many headers. The library makes room for all of them anew at each answer, so that 4096 would
/// cost a sixth of the CPU time of a delivery; by default it takes 100.
pub(super) const MOST_ANSWER_HEADERS: usize = 256;

/// An answer's headers may take as many bytes by HTTP/2; by HTTP/1.1 the library's own bound is about the same.
pub(super) const LARGEST_ANSWER_HEAD: u32 = 400 * 1024;

/// As many connections a sink may have open whose hosts depend on the event, if the limit of open files allows it.
const CONNECTIONS_TO_MANY_HOSTS: usize = 512;

/// The connections of one sink.
pub(super) struct Connections {
    builder: Builder,
    shelf: Mutex<Shelf<Client>>,
    share: Share,
}

/// The client of one request, given back when it is dropped.
pub(super) struct Lease<'a> {
    pub(super) client: Client,
    protocol: Protocol,
    number: u64,
    is_processed: bool,
    connections: &'a Connections,
    authority: &'a str,
}

struct Builder {
    tls: ClientConfig,
    connect_timeout: Duration,
    concurrency: usize,
    /// Who says where a host is.
    resolver: Arc<dyn Resolve>,
}

/// A receiver that chose HTTP/2 before has chosen something else now.
#[derive(Debug, thiserror::Error)]
#[error("the receiver no longer speaks HTTP/2")]
pub(super) struct NoHttp2;

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

impl Connections {
    /// Connections of a sink with at most `concurrency` requests under way, none older than `max_age`. Those to
    /// `many_hosts` stay open in a greater number than are in use.
    ///
    /// # Errors
    /// When no client can be built.
    pub(super) fn new(
        connect_timeout: Duration,
        concurrency: usize,
        max_age: Duration,
        many_hosts: bool,
    ) -> Result<Self, String> {
        let builder =
            Builder { tls: tls::client_config()?, connect_timeout, concurrency, resolver: Arc::new(SystemResolver) };
        builder.build("http://localhost", Protocol::Any).map_err(|error| chain(&error))?;
        let share = Budget::of_process().share(Purpose::Connections);
        share.want(if many_hosts { concurrency.max(CONNECTIONS_TO_MANY_HOSTS) } else { concurrency });
        Ok(Self { builder, shelf: Mutex::new(Shelf::new(max_age)), share })
    }

    /// The client for a request to this URL.
    ///
    /// # Errors
    /// When there may be no further connection now.
    pub(super) fn lease<'a>(&'a self, url: &'a Url) -> Result<Lease<'a>, AttemptError> {
        let authority = &url[..Position::BeforePath];
        match self.shelf().take(authority, || self.share.granted(), Instant::now(), self.build()) {
            Ok(Some(Taken { client, protocol, number })) => {
                Ok(Lease { client, protocol, number, is_processed: true, connections: self, authority })
            }
            Ok(None) => Err(AttemptError::Shortage(format!(
                "all {} connections that the limit of {} open files (`ulimit -n`, LimitNOFILE=) leaves to this sink are \
                 in use",
                self.share.granted(),
                self.share.limit()
            ))),
            Err(error) => Err(AttemptError::Connect(chain(&error))),
        }
    }

    /// How the shelf builds a client.
    fn build(&self) -> impl Fn(&str, Protocol) -> reqwest::Result<Client> {
        |authority, protocol| self.builder.build(authority, protocol)
    }

    /// A panic beside it leaves nothing half done that matters more than a client too many.
    fn shelf(&self) -> MutexGuard<'_, Shelf<Client>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    /// Notes the protocol of an answer.
    pub(super) fn answered_by(&self, version: Version) {
        if version == Version::HTTP_2 && self.protocol == Protocol::Any {
            self.note(true);
        }
    }

    /// Notes that the receiver no longer speaks HTTP/2.
    pub(super) fn refused_http2(&self) {
        self.note(false);
    }

    /// Notes that the receiver has not processed the request.
    pub(super) fn not_processed(&mut self) {
        self.is_processed = false;
    }

    fn note(&self, speaks_http2: bool) {
        let build = self.connections.build();
        let noted = self.connections.shelf().speaks_http2(self.authority, speaks_http2, Instant::now(), build);
        noted.unwrap_or_else(|error| tell_of_former_client(&error));
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let (mut shelf, build) = (self.connections.shelf(), self.connections.build());
        let given_back = shelf.give_back(self.authority, self.number, self.is_processed, Instant::now(), build);
        given_back.unwrap_or_else(|error| tell_of_former_client(&error));
    }
}

fn tell_of_former_client(error: &reqwest::Error) {
    tracing::debug!("the former HTTP client stays: {}", chain(error));
}

impl Builder {
    fn build(&self, authority: &str, protocol: Protocol) -> reqwest::Result<Client> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .user_agent(concat!("bridge/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // Every attempt passes the rate limit, so the client must not repeat one by itself.
            .retry(reqwest::retry::never())
            .dns_resolver(Arc::clone(&self.resolver))
            .connect_timeout(self.connect_timeout)
            .pool_max_idle_per_host(self.concurrency)
            .pool_idle_timeout(IDLE_TIME)
            // An answer's status counts, however odd its headers are.
            .http1_max_headers(MOST_ANSWER_HEADERS)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .http2_max_header_list_size(LARGEST_ANSWER_HEAD);
        if protocol == Protocol::Http2 {
            // Otherwise each of the requests that wait for a new connection would open one, to drop all but the first.
            builder = builder.http2_prior_knowledge().connector_layer(layer_fn(OnlyHttp2));
        }
        let Ok(url) = Url::parse(authority) else { return builder.build() };
        if is_loopback(&url) {
            // As most programs do: a proxy is for what is elsewhere, not for this machine.
            builder = builder.no_proxy();
        }
        if let Some(name) = name_below_localhost(&url) {
            let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            builder = builder.resolve_to_addrs(name, &addresses.map(|address| SocketAddr::new(address, 0)));
        }
        builder.build()
    }
}

/// A connector that lets only HTTP/2 pass: to a receiver that has chosen HTTP/1.1, nothing else may be sent.
#[derive(Clone)]
struct OnlyHttp2<S>(S);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, R> Service<R> for OnlyHttp2<S>
where
    S: Service<R, Error = BoxError>,
    S::Response: Connection,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        Box::pin(async move {
            let connection = connecting.await?;
            if connection.connected().is_negotiated_h2() { Ok(connection) } else { Err(NoHttp2.into()) }
        })
    }
}

#[cfg(test)]
mod tests;
