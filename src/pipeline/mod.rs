//! Pipelines: from the typed config to a running graph.
//!
//! [`compile`](mod@compile) turns the config into a [`Graph`] (in [`graph`]) without touching the network and finds every fault that
//! can be found so; [`load`] does that from a file. [`run`](mod@run) runs it, on worker [`threads`]: `opening` is the
//! store's part of the start, `controller` starts the `nodes`, supervises them and brings reloads to them. [`changes`]
//! compares two versions of a pipeline, and `steps` decides what a reload does with each node. [`routes`] is the way of an
//! event through the filters to the sinks, `router` takes the events of a source that way, and `dead_letters` brings what
//! is given up to where it is kept. [`replay`] says what becomes of dead letters that are sent again, [`trial`] what would
//! become of an event. [`warnings`] finds what is worth a second look, [`demand`] how many open files it takes, [`outline`] is a pipeline's shape for drawings.

#[cfg(test)]
mod bounds_tests;
pub mod changes;
pub mod compile;
mod controller;
mod dead_letters;
pub mod demand;
mod fan_out;
pub mod graph;
pub mod load;
mod nodes;
mod opening;
pub mod outline;
pub mod replay;
mod router;
pub mod routes;
pub mod run;
mod steps;
pub mod threads;
pub mod trial;
pub mod walk;
pub mod warnings;

pub use changes::Changes;
pub use compile::{Declared, Environment};
pub use controller::Reload;
pub use graph::Graph;
pub use routes::Routes;
pub use run::{RunError, run, run_replay};
