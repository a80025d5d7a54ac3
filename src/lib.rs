//! `bridge` turns events into webhooks and never loses one without saying so.

pub mod ack;
pub mod cli;
pub mod delivery;
pub mod event;
pub mod filter;
pub mod problem;
pub mod receiver;
pub mod secret;
pub mod sink;
pub mod source;
pub mod template;
pub mod units;
