//! Integration tests, one module per topic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod config;
