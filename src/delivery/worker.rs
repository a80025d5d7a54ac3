//! The attempt loop of one sink: takes deliveries from its queue and brings each to its outcome.
//!
//! Policy lives elsewhere: [`Schedule`] says who goes next, [`Responses`] what an answer means, [`RetryPolicy`] what
//! follows a failure, [`Lanes`] who waits for whom. This loop does what they say; `outcome` has what follows an attempt,
//! `parking` what goes to the store and comes from it. All state is this sink's own, so there is no lock.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::info;

use super::Delivery;
use super::breaker::Permit;
use super::dead_letter::DeadLetters;
use super::health::Health;
use super::lane::Lanes;
use super::parking::Parking;
use super::responses::Responses;
use super::retry::RetryPolicy;
use super::schedule::{Next, Schedule};
use crate::shutdown::Shutdown;
use crate::sink::webhook::{Answer, AttemptError, Webhook};
use crate::store::SinkStore;
use crate::store::handle::FromStore;
use crate::timer::{Alarm, sleep_until};

/// One sink, ready to run.
pub struct SinkWorker {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The sink's name in the pipeline file.
    pub name: Arc<str>,
    /// Makes the attempts.
    pub webhook: Webhook,
    /// Attempts under way at the same time, at most.
    pub concurrency: usize,
    /// What follows a failure.
    pub retry: RetryPolicy,
    /// What an answer means.
    pub responses: Responses,
    /// Who goes next.
    pub schedule: Schedule<Box<Delivery>>,
    /// True when the rate limit has a bucket for each value of a key.
    pub has_keyed_buckets: bool,
    /// Where those go that are given up.
    pub dead_letters: DeadLetters,
    /// Where deliveries wait for long, and its answers; without it all waits are in memory.
    pub store: Option<(SinkStore, mpsc::UnboundedReceiver<FromStore>)>,
    /// True when a source of this sink feeds another sink too, which a slow receiver here must not hold up.
    pub shares_sources: bool,
    /// Of the deliveries in the store, only those of this replay.
    pub only_replay: Option<Arc<str>>,
    /// The end of the run.
    pub shutdown: Shutdown,
}

/// An attempt that was made.
pub(super) struct Attempted {
    pub(super) delivery: Box<Delivery>,
    pub(super) permit: Permit,
    pub(super) started: Instant,
    pub(super) result: Result<Answer, AttemptError>,
}

/// A sink at work.
pub(super) struct Running {
    pub(super) worker: SinkWorker,
    pub(super) health: Health,
    pub(super) lanes: Lanes<Box<Delivery>>,
    pub(super) parking: Option<Parking>,
    /// Set by a 410: the receiver wants nothing any more.
    pub(super) disabled: bool,
    /// When the lines are looked through next for deliveries that have waited too long.
    check_at: Instant,
    /// The shutdown has begun, and what came from the store is let go.
    is_ending: bool,
}

/// Deliveries taken from the queue in one go.
const TAKEN_AT_ONCE: usize = 64;

/// How often the lines are looked through for deliveries that have waited too long.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl SinkWorker {
    /// Runs until the queue is closed and everything has ended or waits in the store for long, or until the shutdown's
    /// deadline. What is open by then is dropped unsettled: its events stay above the watermark.
    pub async fn run(self, mut queue: mpsc::Receiver<Box<Delivery>>) {
        let mut sink = Running::new(self);
        let mut attempts = FuturesUnordered::new();
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE);
        let mut queue_is_open = true;
        let mut alarm = Alarm::default();
        let webhook = &Arc::new(sink.worker.webhook.clone());
        loop {
            let now = Instant::now();
            sink.look_after_what_waits(now);
            let attempt = |delivery, permit| attempt(Arc::clone(webhook), delivery, permit);
            let next_start = sink.start_attempts(&mut attempts, attempt, now);
            let deadline = sink.worker.shutdown.deadline();
            if next_start.zip(deadline).is_some_and(|(next_start, deadline)| next_start > deadline)
                && !sink.worker.schedule.is_empty()
            {
                sink.let_go_of_what_waits(now);
                continue;
            }
            sink.flush();
            if !queue_is_open && attempts.is_empty() && sink.has_ended(now) {
                return;
            }
            sink.claim(now);
            let wake_at = next_start.into_iter().chain(sink.wakes_at()).min();
            let is_ready = sink.is_ready();
            tokio::select! {
                biased;
                Some(attempted) = attempts.next() => sink.finish_attempt(attempted),
                said = Parking::next(&mut sink.parking) => sink.hear(said, Instant::now()),
                count = queue.recv_many(&mut taken, TAKEN_AT_ONCE), if queue_is_open && is_ready => {
                    queue_is_open = count > 0;
                    let now = Instant::now();
                    taken.drain(..).for_each(|delivery| sink.accept(delivery, now));
                }
                () = alarm.at(wake_at) => {}
                () = sink.worker.shutdown.begun(), if deadline.is_none() => {}
                () = sleep_until(deadline) => {
                    info!(sink = %sink.worker.name, under_way = attempts.len(),
                        waiting = sink.worker.schedule.len() + sink.lanes.waiting(),
                        "time is up: open deliveries are dropped and their events stay uncommitted");
                    return;
                }
            }
        }
    }
}

async fn attempt(webhook: Arc<Webhook>, mut delivery: Box<Delivery>, permit: Permit) -> Attempted {
    let started = Instant::now();
    delivery.attempts.total = delivery.attempts.total.saturating_add(1);
    delivery.attempts.round = delivery.attempts.round.saturating_add(1);
    let result = webhook.attempt(&delivery.request, &delivery.webhook_id).await;
    Attempted { delivery, permit, started, result }
}

impl Running {
    fn new(mut worker: SinkWorker) -> Self {
        let store = worker.store.take();
        let only_replay = worker.only_replay.clone();
        let parking = store.map(|store| Parking::new(store, worker.has_keyed_buckets, only_replay));
        let health = Health::new(worker.name.clone());
        let check_at = Instant::now() + CHECK_INTERVAL;
        let sink =
            Self { worker, health, lanes: Lanes::default(), parking, disabled: false, check_at, is_ending: false };
        sink.show_breaker();
        sink
    }

    /// Starts as many attempts as may be under way; says when the next one may start if that is a matter of time.
    fn start_attempts<A: Future>(
        &mut self,
        attempts: &mut FuturesUnordered<A>,
        attempt: impl Fn(Box<Delivery>, Permit) -> A,
        now: Instant,
    ) -> Option<Instant> {
        while attempts.len() < self.worker.concurrency {
            match self.worker.schedule.next(now) {
                Next::Start(delivery, permit) => {
                    self.note_start(&delivery, permit);
                    attempts.push(attempt(delivery, permit));
                }
                Next::WaitUntil(moment) => return Some(moment),
                Next::Idle => break,
            }
        }
        None
    }

    /// False until the store has said whether the sink is disabled.
    fn is_ready(&self) -> bool {
        self.parking.as_ref().is_none_or(|parking| parking.claims.has_answered())
    }

    fn look_after_what_waits(&mut self, now: Instant) {
        if now >= self.check_at {
            self.check_at = now + CHECK_INTERVAL;
            self.park_overdue(now);
            self.take_turns(now);
        }
        if !self.is_ending && self.worker.shutdown.deadline().is_some() {
            self.is_ending = true;
            self.let_go_of_claims();
        }
    }

    /// Sends what has come together for the store.
    fn flush(&mut self) {
        if let Some(parking) = &mut self.parking {
            parking.flush();
        }
    }

    /// When there is something to do for the store, or to look for.
    fn wakes_at(&self) -> Option<Instant> {
        let parking = self.parking.as_ref()?;
        let claim_at = parking.claims.due_at().filter(|_| !self.is_ending);
        Some(claim_at.map_or(self.check_at, |claim_at| claim_at.min(self.check_at)))
    }
}
