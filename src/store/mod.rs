//! The store: durable state that outlives the process.
//!
//! It keeps parked deliveries, dead letters, the checkpoints of file sources, and which sinks are disabled, in one
//! SQLite file or in a PostgreSQL database that several replicas share.
//!
//! - [`config`]: the `[store]` table;
//! - [`probe`](mod@probe): what `check --connect` says of it;
//! - [`record`]: what is kept of a delivery;
//! - [`handle`]: how sources, routers and sinks reach the store;
//! - [`import`]: what former versions kept in files;
//! - [`thread`]: the thread that owns the database and commits in groups;
//!
//! This module must not decide what is kept, nor when something is due: `delivery` and `pipeline` do.

pub mod config;
pub mod handle;
pub mod import;
pub mod probe;
pub mod record;
pub mod thread;

pub use handle::{SinkStore, Store};

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
}
