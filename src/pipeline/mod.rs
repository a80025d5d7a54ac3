//! Pipelines: from the typed config to a running graph.
//!
//! [`compile`](mod@compile) turns the config into a [`Graph`] (in [`graph`]) without touching the network and finds every fault that
//! can be found so. [`run`](mod@run) brings the graph to life and supervises it. `opening` is the store's part of the start,
//! `router` the way of an event from
//! its source through the filters into the queues of the sinks.

pub mod compile;
pub mod graph;
mod opening;
mod router;
pub mod run;

pub use compile::{Declared, Environment, compile};
pub use graph::Graph;
pub use run::{RunError, run};
