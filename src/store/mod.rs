//! The store: durable state that outlives the process.
//!
//! It keeps parked deliveries, dead letters, the checkpoints of file sources, and which sinks are disabled, in one
//! SQLite file or in a PostgreSQL database that several replicas share.
//!
//! - [`config`]: the `[store]` table;
//! - [`record`]: what is kept of a delivery;
//! - [`handle`]: how sources, routers and sinks reach the store;
//! - [`thread`]: the thread that owns the database and commits in groups;
//!
//! This module must not decide what is kept, nor when something is due: `delivery` and `pipeline` do.

mod backend;
pub mod checkpoints;
pub mod config;
pub mod database;
mod error;
mod event_row;
pub mod handle;
pub mod letters;
mod postgres;
pub mod record;
pub mod replays;
mod row;
pub mod sinks;
mod sql;
mod sqlite;
mod statement;
pub mod thread;

pub use error::StoreError;

pub use handle::{SinkStore, Store};

