//! The store: durable state that outlives the process.
//!
//! It keeps parked deliveries, dead letters, the checkpoints of file sources, and which sinks are disabled, in one
//! SQLite file or in a PostgreSQL database that several replicas share.
//!
//! - [`config`]: the `[store]` table;
//! - [`record`]: what is kept of a delivery;
//! - [`handle`]: how sources, routers and sinks reach the store;
//! - [`thread`]: the thread that owns the database, `keeper`, its loop, which commits in groups, and `transaction`, one
//!   such commit;
//! - `room`: whether there is any, as sinks see it;
//! - `group` and `work`: what one transaction does, in this order: `ended`, `keep`, `claim`; with `lanes` and
//!   `replicas` beside them;
//! - [`row`]: how deliveries and letters become rows, and back; `content`: what tells events with one id apart;
//! - [`letters`], [`replays`], [`sinks`]: what the command line looks at and changes; `statement` builds its queries;
//! - [`probe`](mod@probe): what `check --connect` says;
//! - [`database`]: a connection with its tables up to date; `backend`, `sqlite` and `postgres`: what differs.
//!
//! This module must not decide what is kept, nor when something is due: `delivery` and `pipeline` do.

mod backend;
mod claim;
pub mod config;
mod content;
pub mod database;
mod ended;
mod error;
mod event_row;
mod group;
pub mod handle;
mod keep;
mod keeper;
mod lanes;
pub mod letters;
mod pauses;
mod postgres;
pub mod probe;
pub mod record;
pub mod replays;
pub mod replicas;
mod room;
pub mod row;
pub mod sinks;
mod sql;
mod sqlite;
mod statement;
#[cfg(test)]
mod tests;
pub mod thread;
mod transaction;
mod work;

pub use error::StoreError;
pub use handle::{SinkStore, Store};
