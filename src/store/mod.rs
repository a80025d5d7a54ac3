//! The store: durable state that outlives the process.
//!
//! - [`checkpoints`]: how far a source that keeps its own position (files) has come. It does not know what a checkpoint
//!   means; its owners bring their own types.
//! - [`dead_letters`]: the events given up on.
//!
//! Deliveries that wait for their next attempt are not kept here yet: they wait in memory and hold their source's
//! position. This module must not decide what is kept: `delivery` and `pipeline` do.

pub mod checkpoints;
pub mod dead_letters;
