//! What a running sink is told when its pipeline is reloaded, and how it applies that: between two rounds of its loop.
//!
//! A changed sink is no new sink. Its worker goes on under other settings, with its queue, its lanes and its waiting
//! deliveries where they are, and attempts under way end as they began. So nothing has to be drained or handed over,
//! nothing is reordered, and a receiver that fails cannot hold a reload up.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Delivery;
use super::breaker::BreakerPolicy;
use super::dead_letter::DeadLetters;
use super::rate_limit::Rate;
use super::retry::RetryPolicy;
use super::step::Occasion;
use super::worker::Running;
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

/// How far a removed sink has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// Deliveries go on until then.
    Until(Instant),
    /// Time is up: no attempt begins any more.
    Gone,
}

impl Running {
    /// Applies what it is told.
    pub(super) fn apply_control(&mut self, control: SinkControl, queues: &mut VecDeque<Queue>) {
        match control {
            SinkControl::SetContext(context) => self.set_context(context),
            SinkControl::Change(settings, context, queue) => {
                self.set_context(context);
                self.change_settings(*settings, Instant::now());
                queues.extend(queue);
            }
            SinkControl::Remove => self.begin_removal(Instant::now()),
        }
    }

    /// True when the sink is removed and its time is up.
    pub(super) fn is_gone(&self) -> bool {
        self.removal == Some(Removal::Gone)
    }

    /// Lets everything go when the time of a removed sink is up.
    pub(super) fn end_removal(&mut self, queues: &mut VecDeque<Queue>, now: Instant) {
        if !matches!(self.removal, Some(Removal::Until(deadline)) if deadline <= now) {
            return;
        }
        self.removal = Some(Removal::Gone);
        // Nobody should send anything any more. A dead letter that is on its way here must find another.
        queues.iter_mut().for_each(Queue::close);
        let heads = self.worker.schedule.drain(now);
        // With a store they follow the head of their lane there, in order, once it has ended.
        let followers = if self.parking.is_none() { self.lanes.drain() } else { Vec::new() };
        let deliveries = heads.len() + followers.len() + self.lanes.waiting() + self.undecided.len();
        let fate = if self.parking.is_some() { "stay parked in the store" } else { "become dead letters" };
        warn!(sink = %self.worker.name, deliveries, "the sink is removed and its time is up: its open deliveries {fate}");
        heads.into_iter().for_each(|(head, _)| self.advance(Occasion::Turn, head, now));
        let later = std::mem::take(&mut self.undecided).into_iter().chain(followers);
        later.for_each(|delivery| self.advance(Occasion::Arrived, delivery, now));
    }

    fn set_context(&mut self, context: SinkContext) {
        if self.removal.take().is_some() {
            info!(sink = %self.worker.name, "the sink is in the pipeline again");
        }
        self.worker.context = context;
    }

    fn change_settings(&mut self, settings: SinkSettings, now: Instant) {
        let SinkSettings { webhook, concurrency, retry, rate, breaker, has_keyed_buckets } = settings;
        let worker = &mut self.worker;
        worker.webhook = webhook;
        worker.concurrency = concurrency;
        worker.retry = retry;
        worker.schedule.change_limits(rate, breaker, now);
        match &mut self.parking {
            Some(parking) => parking.claims.change_keys(has_keyed_buckets),
            // With a store, `bridge sinks enable` lifts a disabling.
            None => self.disabled = false,
        }
        self.show_state();
        info!(sink = %self.worker.name, waiting = self.worker.schedule.len() + self.lanes.waiting(),
            "the sink goes on with its new settings");
    }

    fn begin_removal(&mut self, now: Instant) {
        let timeout = self.worker.shutdown.timeout();
        info!(sink = %self.worker.name, ?timeout, waiting = self.worker.schedule.len() + self.lanes.waiting(),
            "the sink is removed; it finishes what it can");
        self.removal = Some(Removal::Until(now + timeout));
        // Nobody else would put them back: their claims last as long as the process.
        for claimed in self.worker.schedule.take_from_lines(|delivery| delivery.core.row.is_some()) {
            self.advance(Occasion::MakeRoom, claimed, now);
        }
    }
}
