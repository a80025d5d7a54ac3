//! Integration tests, one module a topic. Those that need a broker are ignored unless `make test` starts it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod amqp;
mod check;
mod command_line;
mod config;
mod dead_letters;
mod delivery;
mod durable_example;
mod end_to_end;
mod file_end_to_end;
mod file_rotation;
mod health;
mod jq_manual;
mod kafka;
mod kubernetes;
mod layers;
mod many_pipelines;
mod open_files;
mod pipeline_tests;
mod quickstart;
mod reload;
mod replicas;
mod secrets;
mod selections;
mod shutdown;
mod signatures;
mod support;
mod torture;
