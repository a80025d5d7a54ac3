//! Integration tests, one module a topic. Those that need a broker are ignored unless `make test` starts it.
mod config;
mod kafka;
