//! The graph: what a pipeline file means, with every name resolved and everything compiled. Data only.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::rate_limit::Rate;
use crate::delivery::responses::Responses;
use crate::delivery::retry::RetryPolicy;
use crate::event::Format;
use crate::filter::Predicate;
use crate::sink::request::RequestTemplate;
use crate::sink::webhook::Webhook;
use crate::source::Connector;
use crate::source::drive::Bounds;
use crate::store::Store;
use crate::store::thread::StoreThread;
use crate::template::Template;

/// A pipeline in which every name is resolved and everything that can be compiled is.
pub struct Graph {
    /// The pipeline's name.
    pub name: Arc<str>,
    /// The sources, in file order.
    pub sources: Vec<SourceNode>,
    /// The filters, in file order.
    pub filters: Vec<FilterNode>,
    /// The sinks, in file order.
    pub sinks: Vec<SinkNode>,
    /// Keeps parked deliveries, dead letters and checkpoints; `None` with `store.url = "none"`.
    pub store: Option<(Store, StoreThread)>,
    /// The pipeline's own state folder: former versions kept there what is in the store now.
    pub state_dir: PathBuf,
    /// Threads that the nodes are spread over.
    pub workers: usize,
    /// How long deliveries in flight may take to end at a shutdown.
    pub shutdown_timeout: Duration,
}

/// Where an event goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// An index into [`Graph::filters`].
    Filter(usize),
    /// An index into [`Graph::sinks`].
    Sink(usize),
}

/// A source and what takes its events.
pub struct SourceNode {
    /// The name in the pipeline file.
    pub name: Arc<str>,
    /// Reads the events.
    pub connector: Connector,
    /// How its payloads are read.
    pub format: Format,
    /// Bounds on events in flight.
    pub bounds: Bounds,
    /// Who takes the events.
    pub outputs: Vec<Target>,
}

/// A filter and what takes its events.
pub struct FilterNode {
    /// The name in the pipeline file.
    pub name: Arc<str>,
    /// Decides.
    pub predicate: Predicate,
    /// Who takes the events for which the predicate holds.
    pub matched: Vec<Target>,
    /// Who takes the others.
    pub unmatched: Vec<Target>,
}

/// A sink, with all that its deliveries need.
pub struct SinkNode {
    /// The name in the pipeline file.
    pub name: Arc<str>,
    /// Makes an event into a request.
    pub request: RequestTemplate,
    /// Names the bucket of the rate limit; `None` when the sink has but one.
    pub bucket: Option<Template>,
    /// Names the lane in which order is kept; `None` when deliveries go in parallel.
    pub order_by: Option<Template>,
    /// Makes the attempts.
    pub webhook: Webhook,
    /// Attempts under way at the same time, at most.
    pub concurrency: usize,
    /// What follows a failure.
    pub retry: RetryPolicy,
    /// What an answer means.
    pub responses: Responses,
    /// The rate limit.
    pub rate: Option<Rate>,
    /// Deliveries that the sink's queue must hold: as many as its sources may have open, on every path. A sink that
    /// stands still therefore never holds up the router, and with it the other sinks, before its sources are full.
    pub queue_capacity: usize,
}
