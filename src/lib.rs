//! `bridge` turns events into webhooks and never loses one without saying so.

pub mod ack;
pub mod backoff;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod event;
pub mod filter;
pub mod jsonpath;
pub mod pipeline;
pub mod problem;
pub mod receiver;
pub mod secret;
pub mod shutdown;
pub mod sink;
pub mod source;
pub mod store;
pub mod template;
pub mod units;
