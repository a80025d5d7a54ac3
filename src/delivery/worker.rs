//! The attempt loop of one sink: takes deliveries from its queue and brings each to its outcome.
//!
//! Policy lives elsewhere: `step` says what is next for a delivery, [`Schedule`] who goes next, a
//! [`Verdict`](crate::sink::verdict::Verdict) what came of an attempt, [`RetryPolicy`] what follows a failure, [`Lanes`]
//! who waits for whom. This loop does what they say. `outcome` has what follows an attempt, `waiting` which deliveries go
//! to the store, `room` what happens when they cannot, `claiming` what comes back, `pauses` what the receiver has asked
//! for, `reload` what a reload changes, `standing` whether the sink still delivers. All state is this sink's own, so there is no lock.

mod claiming;
mod intake;
mod outcome;
mod pauses;
mod reload;
mod room;
mod standing;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::info;

use super::Delivery;
use super::attempt::Attempt;
use super::control::{Queue, SinkContext, SinkControl, SinkSettings};
use super::failure_log::FailureLog;
use super::lane::{Arrived, Lanes};
use super::long_pauses::LongPauses;
use super::parking::Parking;
use super::retry::RetryPolicy;
use super::schedule::{Next, Schedule};
use super::shortage::Shortage;
use super::step::{Decision, Facts, LaneFact, Occasion, Step, StoreFact, next_step};
use crate::ack::Ack;
use crate::health::NodeHealth;
use crate::shutdown::Shutdown;
use crate::sink::webhook::Webhook;
use crate::store::SinkStore;
use crate::store::handle::FromStore;
use crate::store::record::Reason;
use crate::timer::{Alarm, sleep_until};
use intake::Intake;
use standing::Standing;

/// One sink, ready to run.
pub struct SinkWorker {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The sink's name in the pipeline file.
    pub name: Arc<str>,
    /// Makes the attempts.
    pub webhook: Arc<Webhook>,
    /// Attempts under way at the same time, at most.
    pub concurrency: usize,
    /// What follows a failure.
    pub retry: RetryPolicy,
    /// Who goes next.
    pub schedule: Schedule<Box<Delivery>>,
    /// True when the rate limit has a bucket for each value of a key.
    pub has_keyed_buckets: bool,
    /// What the rest of the pipeline means for it.
    pub context: SinkContext,
    /// Where deliveries wait for long, and its answers; without it all waits are in memory.
    pub store: Option<(SinkStore, mpsc::UnboundedReceiver<FromStore>)>,
    /// Of the deliveries in the store, only those of this replay.
    pub only_replay: Option<Arc<str>>,
    /// Where it notes how its receiver is.
    pub node_health: NodeHealth,
    /// The end of the run.
    pub shutdown: Shutdown,
}

/// A sink at work.
struct Running {
    worker: SinkWorker,
    intake: Intake,
    lanes: Lanes<Box<Delivery>>,
    parking: Option<Parking>,
    /// Pauses that people are told of.
    pauses: LongPauses,
    /// Of connections, in this process.
    shortage: Shortage,
    /// What people are told of its failures.
    health: FailureLog,
    /// Answers that the receiver has given.
    answers: u64,
    standing: Standing,
    /// When the lines are looked through next for deliveries that have waited too long.
    check_at: Instant,
}

/// How often the lines are looked through for deliveries that have waited too long.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl SinkWorker {
    /// A sink that has yet to run.
    pub fn new(
        (pipeline, name): (Arc<str>, Arc<str>),
        settings: SinkSettings,
        context: SinkContext,
        store: Option<(SinkStore, mpsc::UnboundedReceiver<FromStore>)>,
        only_replay: Option<Arc<str>>,
        node_health: NodeHealth,
        shutdown: Shutdown,
    ) -> Self {
        let SinkSettings { webhook, concurrency, retry, rate, breaker, has_keyed_buckets } = settings;
        let schedule = Schedule::new(rate, breaker);
        Self {
            pipeline,
            name,
            webhook,
            concurrency,
            retry,
            schedule,
            has_keyed_buckets,
            context,
            store,
            only_replay,
            node_health,
            shutdown,
        }
    }

    /// Runs until the queue is closed and everything has ended or waits in the store for long, or until the shutdown's
    /// deadline. What is open by then is dropped unsettled: its events stay above the watermark. Returns the controls
    /// that came too late to be applied.
    pub async fn run(self, queue: Queue, mut controls: mpsc::UnboundedReceiver<SinkControl>) -> Vec<SinkControl> {
        let mut sink = Running::new(self, queue);
        let mut attempts = FuturesUnordered::new();
        let mut taken = Vec::new();
        let mut alarm = Alarm::default();
        loop {
            let now = Instant::now();
            sink.check_what_waits(now);
            sink.end_removal(now);
            let webhook = Arc::clone(&sink.worker.webhook);
            let next_start = sink.start_attempts(&mut attempts, |attempt| attempt.make(Arc::clone(&webhook)), now);
            let deadline = sink.worker.shutdown.deadline();
            if next_start.zip(deadline).is_some_and(|(next_start, deadline)| next_start > deadline)
                && !sink.worker.schedule.is_empty()
            {
                sink.release_what_waits(now);
                continue;
            }
            sink.flush();
            if sink.intake.has_ended() && attempts.is_empty() && sink.has_ended(now) {
                sink.close_parking();
                return unapplied(controls);
            }
            sink.claim(now);
            let wake_at = next_start.into_iter().chain(sink.wakes_at()).min();
            tokio::select! {
                biased;
                Some(attempted) = attempts.next() => sink.finish_attempt(attempted),
                Some(control) = controls.recv() => sink.apply_control(control),
                message = Parking::next(&mut sink.parking) => sink.handle_store_message(message, Instant::now()),
                () = sink.intake.receive(&mut taken) => {
                    let now = Instant::now();
                    taken.drain(..).for_each(|delivery| sink.take_in(delivery, now));
                }
                () = alarm.at(wake_at) => {}
                () = sink.worker.shutdown.begun(), if deadline.is_none() => {}
                () = sleep_until(deadline) => {
                    info!(sink = %sink.worker.name, under_way = attempts.len(),
                        waiting = sink.worker.schedule.len() + sink.lanes.waiting() + sink.intake.undecided(),
                        "time is up: open deliveries are dropped and their events stay uncommitted");
                    return Vec::new();
                }
            }
        }
    }
}

fn unapplied(mut controls: mpsc::UnboundedReceiver<SinkControl>) -> Vec<SinkControl> {
    controls.close();
    std::iter::from_fn(|| controls.try_recv().ok()).collect()
}

impl Running {
    fn new(mut worker: SinkWorker, queue: Queue) -> Self {
        let store = worker.store.take();
        let only_replay = worker.only_replay.clone();
        let sink = Self {
            parking: store.map(|store| Parking::new(store, worker.has_keyed_buckets, only_replay)),
            health: FailureLog::new(worker.name.clone()),
            worker,
            intake: Intake::new(queue),
            lanes: Lanes::default(),
            pauses: LongPauses::default(),
            shortage: Shortage::default(),
            answers: 0,
            standing: Standing::default(),
            check_at: Instant::now() + CHECK_INTERVAL,
        };
        sink.show_state();
        sink
    }

    /// Starts as many attempts as may be under way; says when the next one may start if that is a matter of time.
    fn start_attempts<A: Future>(
        &mut self,
        attempts: &mut FuturesUnordered<A>,
        make: impl Fn(Attempt) -> A,
        now: Instant,
    ) -> Option<Instant> {
        if let Some(end) = self.shortage.end().filter(|end| *end > now) {
            return Some(end);
        }
        while attempts.len() < self.worker.concurrency {
            match self.worker.schedule.next(now) {
                Next::Start(delivery, permit) => {
                    self.note_start(&delivery, permit);
                    attempts.push(make(Attempt::of_one(delivery, permit)));
                }
                Next::WaitUntil(moment) => return Some(moment),
                Next::Idle => break,
            }
        }
        None
    }

    /// Takes in a delivery from the queue. The queue is always read, as only that shows its end; what comes before the
    /// store has said whether the sink is disabled waits for that.
    fn take_in(&mut self, delivery: Box<Delivery>, now: Instant) {
        if self.is_ready() || self.standing.is_gone() {
            self.advance(Occasion::Arrived, delivery, now);
        } else {
            self.intake.keep_undecided(delivery);
        }
    }

    /// False until the store has said whether the sink is disabled.
    fn is_ready(&self) -> bool {
        self.parking.as_ref().is_none_or(|parking| parking.claims.has_answered())
    }

    /// Brings a delivery on: decides what is next for it, and does that.
    fn advance(&mut self, occasion: Occasion, delivery: Box<Delivery>, now: Instant) {
        self.advance_after(occasion, delivery, "", now);
    }

    /// As [`advance`](Self::advance), after an attempt that has failed with this message.
    fn advance_after(&mut self, occasion: Occasion, delivery: Box<Delivery>, message: &str, now: Instant) {
        let Decision { step, lacks_room } = next_step(occasion, &self.facts(&delivery, now));
        if let Some(parking) = self.parking.as_mut().filter(|_| lacks_room) {
            parking.note_lack_of_room();
        }
        let bucket = delivery.core.bucket.clone();
        match step {
            Step::Attempt => self.worker.schedule.push(bucket, delivery, now),
            Step::AttemptFirst => self.worker.schedule.push_front(bucket, delivery, now),
            Step::WaitUntil(due) => self.worker.schedule.push_at(due, bucket, delivery),
            Step::Park(due) => self.park(delivery, due, now),
            Step::JoinLane { ask_store } => self.join_lane(delivery, ask_store, now),
            Step::DeadLetter(reason) => {
                let message = match reason {
                    Reason::SinkDisabled => "the sink is disabled",
                    Reason::SinkRemoved => "the sink was removed from the pipeline",
                    _ => message,
                };
                if occasion.has_turn() {
                    self.give_up(*delivery, reason, message, now);
                } else {
                    self.keep_letter(*delivery, reason, message);
                }
            }
            Step::LetGo => {
                if let (None, Some(lane)) = (delivery.core.row, &delivery.core.lane) {
                    drop(self.lanes.take(lane));
                }
            }
        }
    }

    fn facts(&self, delivery: &Delivery, now: Instant) -> Facts {
        let bucket = &delivery.core.bucket;
        let claims = self.parking.as_ref().map(|parking| &parking.claims);
        Facts {
            now,
            is_stored: delivery.core.row.is_some(),
            since: delivery.since,
            lane: self.lane_of(delivery),
            hold: self.worker.schedule.hold(bucket, now),
            is_backlogged: claims.is_some_and(|claims| claims.is_backlogged(bucket)),
            has_too_many: claims.is_some_and(|claims| claims.has_too_many(bucket)),
            store: match &self.parking {
                None => StoreFact::None,
                Some(parking) if parking.has_room() => StoreFact::HasRoom,
                Some(_) => StoreFact::Full,
            },
            is_disabled: self.standing.is_disabled(),
            removal: self.standing.removal(),
            shares_sources: self.worker.context.shares_sources,
            park_after: self.worker.retry.park_after(),
        }
    }

    fn lane_of(&self, delivery: &Delivery) -> LaneFact {
        let Some(lane) = &delivery.core.lane else { return LaneFact::None };
        if self.lanes.contains(lane) {
            return LaneFact::InMemory;
        }
        let alone_since = delivery.ack.as_ref().and_then(Ack::alone_since);
        match &self.parking {
            Some(parking) if parking.claims.must_ask_for_lanes(alone_since) => LaneFact::MayBeStored,
            _ => LaneFact::Free,
        }
    }

    fn join_lane(&mut self, delivery: Box<Delivery>, ask_store: bool, now: Instant) {
        let Some(lane) = delivery.core.lane.clone() else { return };
        match (self.lanes.arrive(&lane, delivery, ask_store), &mut self.parking) {
            (Arrived::Start(delivery), _) => self.worker.schedule.push(delivery.core.bucket.clone(), delivery, now),
            (Arrived::Ask, Some(parking)) => parking.ask_for_lane(lane),
            (Arrived::Ask, None) | (Arrived::Waits, _) => {}
        }
    }

    fn check_what_waits(&mut self, now: Instant) {
        if self.pauses.next_end().is_some_and(|end| end <= now) {
            self.end_pauses(now);
        }
        if now >= self.check_at {
            self.check_at = now + CHECK_INTERVAL;
            self.retry_parking(now);
            self.park_overdue(now);
            self.rotate_buckets(now);
        }
        if self.worker.shutdown.deadline().is_some() && self.standing.end_run() {
            self.release_claims();
        }
    }

    /// Sends what has come together for the store.
    fn flush(&mut self) {
        if let Some(parking) = &mut self.parking {
            parking.flush();
        }
    }

    /// False once the sink is to end: what waits in the store stays there.
    fn may_claim(&self) -> bool {
        self.standing.may_claim() && self.worker.shutdown.deadline().is_none()
    }

    /// When there is something to do for the store, to look for, or to leave.
    fn wakes_at(&self) -> Option<Instant> {
        let leave_at = self.standing.leaves_at();
        let pause_ends_at = self.pauses.next_end();
        let Some(parking) = &self.parking else { return leave_at.into_iter().chain(pause_ends_at).min() };
        let claim_at = parking.claims.due_at().filter(|_| self.may_claim());
        let is_idle = self.worker.schedule.is_empty() && self.lanes.is_empty() && !parking.waits_for_others();
        let check_at = (!is_idle).then_some(self.check_at);
        [check_at, claim_at, leave_at, pause_ends_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
