//! What a sink's worker is given: its queue, its settings, and what it is told when its pipeline is reloaded.
//!
//! A changed sink is no new sink. Its worker goes on under other settings, with its queue, its lanes and its waiting
//! deliveries where they are, and attempts under way end as they began. So nothing has to be drained or handed over,
//! nothing is reordered, and a receiver that fails cannot hold a reload up.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Delivery;
use super::breaker::BreakerPolicy;
use super::dead_letter::DeadLetters;
use super::rate_limit::Rate;
use super::retry::RetryPolicy;
use crate::sink::webhook::Webhook;

/// A sink's queue. It is unbounded by type and bounded in fact: by the events that its sources may have open. So a sink
/// that stands still never holds up the router, and with it the other sinks, before its sources are full.
pub type Queue = mpsc::UnboundedReceiver<Box<Delivery>>;

/// What the pipeline file says of one sink's deliveries.
pub struct SinkSettings {
    /// Makes the attempts.
    pub webhook: Arc<Webhook>,
    /// Attempts under way at the same time, at most.
    pub concurrency: usize,
    /// What follows a failure.
    pub retry: RetryPolicy,
    /// The rate limit.
    pub rate: Option<Rate>,
    /// When attempts stop because they fail; `None` for never.
    pub breaker: Option<BreakerPolicy>,
    /// True when the rate limit has a bucket for each value of a key.
    pub has_keyed_buckets: bool,
}

/// What the rest of the pipeline means for a sink.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// Where those go that are given up.
    pub dead_letters: DeadLetters,
    /// True when a source of this sink feeds another sink too, which a slow receiver here must not hold up.
    pub shares_sources: bool,
}

/// What a running sink is told.
pub enum SinkControl {
    /// Its own settings are the same: limiter, breaker and connections stay.
    SetContext(SinkContext),
    /// Its settings are others. It also takes a new queue, to be read after the one it has, when that may be closed.
    Change(Box<SinkSettings>, SinkContext, Option<Queue>),
    /// The pipeline has no such sink any more. It finishes what it can within the time of a shutdown; what is left is
    /// parked, or becomes dead letters when there is no store.
    Remove,
}
