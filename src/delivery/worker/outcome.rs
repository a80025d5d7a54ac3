//! What follows an attempt: the end of its delivery, a wait, or the end of the sink.

use std::time::Duration;

use metrics::gauge;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::Running;
use crate::clock::steady_now;
use crate::delivery::attempt::{Attempted, Members};
use crate::delivery::breaker::{Change, Permit};
use crate::delivery::lane::LaneName;
use crate::delivery::retry::{Decision, Failure};
use crate::delivery::schedule::{BucketName, shown};
use crate::delivery::step::Occasion;
use crate::delivery::unprocessed::Unprocessed;
use crate::delivery::{Delivery, dead_letter};
use crate::health::NodeState;
use crate::sink::verdict::{FailedAttempt, Verdict};
use crate::store::record::{AttemptRecord, Reason};

/// The gauge of a sink's circuit breaker: 0 closed, 1 half-open, 2 open; of several buckets, that of the worst.
const BREAKER_STATE: &str = "bridge_sink_breaker_state";

impl Running {
    /// Brings the deliveries of an attempt to what follows from it.
    pub(super) fn finish_attempt(&mut self, attempted: Attempted) {
        let Attempted { mut members, permit, started, verdict } = attempted;
        let now = Instant::now();
        let latency = now - started;
        match verdict {
            Verdict::Shortage(reason) => {
                self.short_of_connections(&reason, now);
                self.go_again(members, permit, now);
            }
            Verdict::NotSent(failure) if self.may_go_again(&mut members) => {
                debug!(sink = %self.worker.name, event = %members.first().core.event.id,
                    "goes again at once: {}", failure.message);
                self.go_again(members, permit, now);
            }
            Verdict::NotSent(failure) => {
                self.note_attempt(&mut members, Some(&failure), latency);
                self.after_failure(members, permit, &failure.message, None, true, now);
            }
            Verdict::Retry { failure, pause, counts_for_breaker } => {
                self.note_attempt(&mut members, Some(&failure), latency);
                self.after_failure(members, permit, &failure.message, pause, counts_for_breaker, now);
            }
            Verdict::Delivered { status, reason } => {
                self.note_attempt(&mut members, None, latency);
                self.health.succeeded();
                self.report(members.bucket(), permit, false, now);
                for member in members {
                    debug!(sink = %self.worker.name, event = %member.core.event.id, status,
                        reason = reason.as_deref(), "delivered");
                    self.end(*member, now);
                }
            }
            Verdict::Dropped { status, reason } => {
                self.note_attempt(&mut members, None, latency);
                self.report(members.bucket(), permit, false, now);
                for member in members {
                    info!(sink = %self.worker.name, event = %member.core.event.id, status,
                        reason = reason.as_deref(), "dropped, as configured");
                    self.end(*member, now);
                }
            }
            Verdict::Reject(failure) => {
                self.note_attempt(&mut members, Some(&failure), latency);
                self.report(members.bucket(), permit, false, now);
                for member in members {
                    self.give_up(*member, Reason::Rejected, &failure.message, now);
                }
            }
            Verdict::Disable(failure) => {
                self.note_attempt(&mut members, Some(&failure), latency);
                self.report(members.bucket(), permit, false, now);
                self.disable(members, failure.message, now);
            }
        }
    }

    /// Notes that an attempt starts; only a breaker's probe is logged.
    pub(super) fn note_start(&self, delivery: &Delivery, permit: Permit) {
        if permit.is_probe {
            info!(sink = %self.worker.name, bucket = shown(&delivery.core.bucket), event = %delivery.core.event.id,
                "the circuit breaker is half-open: one attempt tries the receiver");
            self.show_state();
        }
    }

    /// Shows metrics and probes the state of the breaker, and whether the sink is disabled.
    pub(super) fn show_state(&self) {
        let labels = [("pipeline", self.worker.pipeline.to_string()), ("sink", self.worker.name.to_string())];
        gauge!(BREAKER_STATE, &labels).set(f64::from(self.worker.schedule.worst_breaker() as u8));
        let paused = self.pauses_text();
        let health = &self.worker.node_health;
        match self.worker.schedule.trouble(Instant::now()) {
            Some(trouble) => health.set(NodeState::Failing(trouble), "attempts fail: the circuit breaker is open"),
            None if self.standing.is_disabled() => {
                health.set(NodeState::Ready, "disabled: its events become dead letters")
            }
            None => match paused {
                Some(paused) => health.set(NodeState::Ready, paused),
                None => health.ready(),
            },
        }
    }

    /// Keeps a dead letter of a delivery whose turn it was; the next of its lane may go.
    pub(super) fn give_up(&mut self, delivery: Delivery, reason: Reason, message: &str, now: Instant) {
        let (row, bucket, lane) = (delivery.core.row, delivery.core.bucket.clone(), delivery.core.lane.clone());
        self.keep_letter(delivery, reason, message);
        match (row, &mut self.parking) {
            (Some(_), Some(parking)) => parking.ended(&bucket, lane.is_some(), now),
            _ => self.start_next(lane.as_ref(), now),
        }
    }

    /// Keeps a dead letter; the ack settles once it is durable.
    pub(super) fn keep_letter(&self, delivery: Delivery, reason: Reason, message: &str) {
        warn!(sink = %self.worker.name, event = %delivery.core.event.id, attempts = delivery.core.attempts.total,
            "given up, becomes a dead letter: {message}");
        let (letter, ack) =
            dead_letter::of_delivery(delivery, &self.worker.name, &self.worker.webhook, reason, message);
        self.worker.context.dead_letters.keep(letter, ack);
    }

    /// Makes dead letters of all fresh deliveries in the memory of a disabled sink; those that came from the store go
    /// back there.
    pub(super) fn dead_letter_all(&mut self, now: Instant) {
        // The heads under way keep their lanes: should the sink be enabled meanwhile, nothing may overtake them.
        let followers = self.lanes.drain();
        for (delivery, _) in self.worker.schedule.drain(now) {
            self.advance(Occasion::Disabled, delivery, now);
        }
        followers.into_iter().for_each(|follower| self.advance(Occasion::Arrived, follower, now));
    }

    /// Counts an attempt for each of its deliveries, and keeps what a failed one has brought.
    fn note_attempt(&mut self, members: &mut Members, failure: Option<&FailedAttempt>, latency: Duration) {
        let is_answered = failure.is_none_or(|failure| failure.answer.is_some());
        self.answers += u64::from(is_answered);
        let record = failure.map(|failure| record_of(failure, latency));
        for delivery in members.iter_mut() {
            delivery.unprocessed = Unprocessed::default();
            let attempts = &mut delivery.core.attempts;
            attempts.total = attempts.total.saturating_add(1);
            attempts.round = attempts.round.saturating_add(1);
            let Some(record) = &record else { continue };
            if attempts.round == 1 {
                attempts.first = Some(record.time);
            }
            attempts.push(record.clone());
        }
    }

    /// Ends a delivery that was delivered or dropped.
    fn end(&mut self, delivery: Delivery, now: Instant) {
        if let Some(ack) = delivery.ack {
            ack.settle();
        }
        match (delivery.core.row, &mut self.parking) {
            (Some(row), Some(parking)) => parking.finish(row, &delivery.core.bucket, delivery.core.lane.is_some(), now),
            _ => self.start_next(delivery.core.lane.as_ref(), now),
        }
    }

    /// Lets the next delivery of a lane go whose head was in memory and has ended.
    fn start_next(&mut self, lane: Option<&LaneName>, now: Instant) {
        if let Some(next) = lane.and_then(|lane| self.lanes.head_ended(lane)) {
            self.advance(Occasion::Turn, next, now);
        }
    }

    /// Starts no attempt for a moment, as this process may not open a connection now: its own shortage is no failure of
    /// the receiver, and of no delivery.
    fn short_of_connections(&mut self, reason: &str, now: Instant) {
        if self.shortage.begin(now) {
            warn!(sink = %self.worker.name, "deliveries wait for a connection: {reason}");
        }
    }

    /// Whether deliveries that the receiver has not processed go again at once.
    fn may_go_again(&self, members: &mut Members) -> bool {
        let mut may_all_go = true;
        for member in members.iter_mut() {
            // Each of them counts this, whatever the others say.
            may_all_go &= member.unprocessed.goes_again(self.answers);
        }
        may_all_go
    }

    /// Lets deliveries go again that the receiver has not processed: that was no attempt.
    fn go_again(&mut self, members: Members, permit: Permit, now: Instant) {
        self.worker.schedule.withdraw(members.bucket(), permit, now);
        members.into_iter().for_each(|member| self.advance(Occasion::NotProcessed, member, now));
    }

    fn after_failure(
        &mut self,
        members: Members,
        permit: Permit,
        message: &str,
        retry_after: Option<Duration>,
        counts_for_breaker: bool,
        now: Instant,
    ) {
        self.health.failed(&members.first().core.event.id, message);
        let bucket = members.bucket().clone();
        let has_opened = self.report(&bucket, permit, counts_for_breaker, now);
        if let Some(pause) = retry_after {
            self.pause(&bucket, pause, now);
        }
        for member in members {
            self.retry_or_give_up(member, message, retry_after, now);
        }
        if has_opened || retry_after.is_some_and(|pause| pause > self.worker.retry.park_after()) {
            self.park_bucket(&bucket, now);
        }
    }

    fn retry_or_give_up(
        &mut self,
        delivery: Box<Delivery>,
        message: &str,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        let failure = Failure { attempts: delivery.core.attempts.round, elapsed: elapsed(&delivery), retry_after };
        let (due, message) = match self.worker.retry.decide(failure, rand::random()) {
            Decision::GiveUp(exhausted) => (None, format!("{message}; {exhausted}")),
            Decision::RetryAfter(wait) => {
                debug!(sink = %self.worker.name, event = %delivery.core.event.id,
                    attempts = delivery.core.attempts.total, retry_in = ?wait, "the attempt failed: {message}");
                (Some(now + wait), message.to_owned())
            }
        };
        self.advance_after(Occasion::Failed(due), delivery, &message, now);
    }

    fn disable(&mut self, members: Members, message: String, now: Instant) {
        let is_new = self.standing.disable();
        if is_new {
            let until = match &mut self.parking {
                Some(parking) => {
                    parking.disable(message.clone());
                    format!("until `bridge sinks enable PIPELINE {}`", self.worker.name)
                }
                None => "until the bridge is restarted".to_owned(),
            };
            error!(sink = %self.worker.name, event = %members.first().core.event.id,
                "{message}: the sink is disabled {until}; its events become dead letters");
        }
        for member in members {
            self.give_up(*member, Reason::SinkDisabled, &message, now);
        }
        if is_new {
            self.show_state();
            self.dead_letter_all(now);
        }
    }

    /// Tells the breaker a result, and people what it changed. Returns true when the breaker is open now.
    fn report(&mut self, bucket: &BucketName, permit: Permit, failed: bool, now: Instant) -> bool {
        let Some(change) = self.worker.schedule.report(bucket, permit, failed, now) else { return false };
        let (sink, bucket) = (&self.worker.name, shown(bucket));
        match change {
            Change::Opened(time) => warn!(%sink, bucket, open_for = ?time,
                "the circuit breaker opens, as too many attempts fail: there are none until one has succeeded"),
            Change::Reopened(time) => debug!(%sink, bucket, open_for = ?time, "the circuit breaker is open again"),
            Change::Closed(lasted) => {
                info!(%sink, bucket, ?lasted, "the circuit breaker closes: an attempt succeeded")
            }
        }
        self.show_state();
        if let Some(parking) = &mut self.parking {
            parking.claims.soon(now);
        }
        !matches!(change, Change::Closed(_))
    }
}

fn record_of(failure: &FailedAttempt, latency: Duration) -> AttemptRecord {
    let began = steady_now() - latency;
    match &failure.answer {
        Some(answer) => {
            AttemptRecord::answered(began, latency, answer.status, &answer.excerpt).with_headers(&answer.headers)
        }
        None => AttemptRecord::unanswered(began, latency, &failure.message),
    }
}

/// The time since the first attempt, by the clock of the wall: it may lie before a restart. A delivery that was never
/// in the store is not older than its stay here, however that clock may jump.
fn elapsed(delivery: &Delivery) -> Duration {
    let first = delivery.core.attempts.first;
    let elapsed =
        first.map_or(Duration::ZERO, |first| steady_now().duration_since(first).try_into().unwrap_or_default());
    if delivery.core.row.is_none() { elapsed.min(delivery.since.elapsed()) } else { elapsed }
}
