//! The store: durable state that outlives the process.
//!
//! It keeps parked deliveries, dead letters, the checkpoints of file sources, and which sinks are disabled, in one
//! SQLite file or in a PostgreSQL database that several replicas share.
//!
//! - [`config`]: the `[store]` table;
//! - [`record`]: what is kept of a delivery;
//! - [`handle`]: how sources, routers and sinks reach the store;
//! - [`running`]: a store from its opening to its end; `opened`, what comes first; `keeper`, its loop, which commits in
//!   groups, and `transaction`, one such commit; `threads`, on which the keepers of all stores run;
//! - `connection`: the keeper's connection, which is closed while there is nothing to do; `at_rest` sees when others change
//!   a file that is closed;
//! - `room`: whether there is any, as sinks see it;
//! - `group` and `work`: what one transaction does, in this order: `ended`, `keep`, `claim`; with `lanes` and
//!   `replicas` beside them;
//! - `age_limit`: which dead letters are too old, and when that is looked at; `forget` deletes them;
//! - [`row`]: how deliveries and letters become rows, and back; `content`: what tells events with one id apart;
//! - [`letters`], [`replays`], [`sinks`]: what the command line looks at and changes; `statement` builds its queries;
//! - [`probe`](mod@probe): what `check --connect` says;
//! - [`database`]: a connection with its tables up to date; `backend`, `sqlite` and `postgres`: what differs; `new_file`:
//!   SQLite files that are not there yet.
//!
//! This module must not decide what is kept, nor when something is due: `delivery` and `pipeline` do.

mod age_limit;
mod at_rest;
mod backend;
mod claim;
pub mod config;
mod connection;
mod content;
pub mod database;
mod ended;
mod error;
mod event_row;
mod forget;
mod group;
pub mod handle;
mod keep;
mod keeper;
mod lanes;
pub mod letters;
mod new_file;
mod opened;
mod pauses;
mod postgres;
pub mod probe;
pub mod record;
pub mod replays;
pub mod replicas;
mod room;
pub mod row;
pub mod running;
pub mod sinks;
mod sql;
mod sqlite;
mod statement;
#[cfg(test)]
mod tests;
pub(crate) mod threads;
mod transaction;
mod version;
mod work;

pub use error::StoreError;
pub use handle::{SinkStore, Store};
pub use version::sqlite_version;
