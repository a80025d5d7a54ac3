//! The store: durable state that outlives the process.
//!
//! Today that is [`checkpoints`]: how far a source that keeps its own position (files) has come. This module must not
//! know what the state means; its owners bring their own types.

pub mod checkpoints;
pub mod dead_letters;
