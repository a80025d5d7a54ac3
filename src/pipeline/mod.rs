//! Pipelines: from the typed config to a running graph.
//!
//! [`compile`] turns the config into a [`Graph`] without any I/O and finds every fault that can be found without it.
//! [`run`] brings the graph to life, one task a node, and supervises it. [`router`] is the way of an event from its
//! source through the filters into the queues of the sinks.

pub mod compile;
mod router;
pub mod run;

pub use compile::{Declared, Environment, Graph, compile};
pub use run::{RunError, run};
