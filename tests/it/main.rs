//! Integration tests, one module a topic. Those that need a broker are ignored unless `make test` starts it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod amqp;
mod config;
mod kafka;
mod quickstart;
mod support;
mod file_rotation;
