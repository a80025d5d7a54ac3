//! The attempt loop of one sink: takes deliveries from its queue and brings each to its outcome.
//!
//! Policy lives elsewhere: [`Schedule`] says who goes next, [`Responses`] what an answer means, [`RetryPolicy`] what
//! follows a failure. This loop does what they say. It owns all of its sink's state, so there is no lock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::dead_letter::{self, DeadLetters};
use super::health::Health;
use super::responses::{Action, Responses, retry_after};
use super::retry::{Decision, Failure, RetryPolicy};
use super::schedule::{Next, Schedule};
use super::{Delivery, LONGEST_PAUSE};
use crate::ack::Ack;
use crate::shutdown::Shutdown;
use crate::sink::webhook::{Answer, AttemptError, Webhook};
use crate::store::record::{AttemptRecord, Reason};
use crate::timer::sleep_until;

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
    /// Where those go that are given up.
    pub dead_letters: DeadLetters,
    /// The end of the run.
    pub shutdown: Shutdown,
}

type AttemptResult = Result<Answer, AttemptError>;

/// Deliveries taken from the queue in one go.
const TAKEN_AT_ONCE: usize = 64;

impl SinkWorker {
    /// Runs until the queue is closed and everything has ended, or until the shutdown's deadline. What is open by then
    /// is dropped unsettled: its events stay above the watermark.
    pub async fn run(self, mut queue: mpsc::Receiver<Box<Delivery>>) {
        let mut sink = Running { health: Health::new(self.name.clone()), disabled: false, worker: self };
        let mut attempts = FuturesUnordered::new();
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE);
        let mut queue_is_open = true;
        let webhook = &Arc::new(sink.worker.webhook.clone());
        loop {
            let mut wake_at = None;
            while attempts.len() < sink.worker.concurrency {
                match sink.worker.schedule.next(Instant::now()) {
                    Next::Start(delivery) => attempts.push(attempt(Arc::clone(webhook), delivery)),
                    Next::WaitUntil(moment) => {
                        wake_at = Some(moment);
                        break;
                    }
                    Next::Idle => break,
                }
            }
            if !queue_is_open && attempts.is_empty() && sink.worker.schedule.is_empty() {
                return;
            }
            let deadline = sink.worker.shutdown.deadline();
            if wake_at.zip(deadline).is_some_and(|(wake_at, deadline)| wake_at > deadline) {
                sink.let_go_of_what_waits();
                continue;
            }
            tokio::select! {
                biased;
                Some((delivery, started, result)) = attempts.next() => sink.finish_attempt(delivery, started, result),
                count = queue.recv_many(&mut taken, TAKEN_AT_ONCE), if queue_is_open => {
                    queue_is_open = count > 0;
                    taken.drain(..).for_each(|delivery| sink.accept(delivery));
                }
                () = sleep_until(wake_at) => {}
                () = sink.worker.shutdown.begun(), if deadline.is_none() => {}
                () = sleep_until(deadline) => {
                    info!(sink = %sink.worker.name, under_way = attempts.len(), waiting = sink.worker.schedule.len(),
                        "time is up: open deliveries are dropped and their events stay uncommitted");
                    return;
                }
            }
        }
    }
}

async fn attempt(webhook: Arc<Webhook>, mut delivery: Box<Delivery>) -> (Box<Delivery>, Instant, AttemptResult) {
    let started = Instant::now();
    delivery.attempts.total += 1;
    delivery.attempts.round += 1;
    delivery.attempts.first.get_or_insert_with(Timestamp::now);
    let result = webhook.attempt(&delivery.request, &delivery.webhook_id).await;
    (delivery, started, result)
}

fn settle(ack: Option<Ack>) {
    if let Some(ack) = ack {
        ack.settle();
    }
}

/// The time since a moment, by the clock of the wall: attempts may lie before a restart.
fn since(moment: Timestamp) -> Duration {
    Timestamp::now().duration_since(moment).try_into().unwrap_or_default()
}

struct Running {
    worker: SinkWorker,
    health: Health,
    /// Set by a 410: the receiver wants nothing any more.
    disabled: bool,
}

impl Running {
    fn accept(&mut self, delivery: Box<Delivery>) {
        if self.disabled {
            self.give_up(*delivery, Reason::SinkDisabled, "the sink is disabled".to_owned());
        } else {
            let bucket = delivery.bucket.clone();
            self.worker.schedule.push(bucket, delivery, Instant::now());
        }
    }

    fn finish_attempt(&mut self, mut delivery: Box<Delivery>, started: Instant, result: AttemptResult) {
        let latency = started.elapsed();
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                delivery.attempts.push(AttemptRecord::unanswered(Timestamp::now() - latency, latency, &error));
                return self.retry(delivery, &error.to_string(), None);
            }
        };
        let action = self.worker.responses.action(answer.status);
        if action == Action::Delivered {
            self.health.succeeded();
            debug!(sink = %self.worker.name, event = %delivery.event.id, status = answer.status, "delivered");
            return settle(delivery.ack);
        }
        delivery.attempts.push(AttemptRecord::answered(
            Timestamp::now() - latency,
            latency,
            answer.status,
            &answer.excerpt,
        ));
        let message = format!("the receiver answered {}", answer.status);
        match action {
            Action::Delivered => {}
            Action::Retry => {
                let pause = answer.retry_after.as_deref().and_then(|header| retry_after(header, SystemTime::now()));
                self.retry(delivery, &message, pause);
            }
            Action::Drop => {
                info!(sink = %self.worker.name, event = %delivery.event.id, status = answer.status, "dropped, as configured");
                settle(delivery.ack);
            }
            Action::DeadLetter => self.give_up(*delivery, Reason::Rejected, message),
            Action::Disable => self.disable(delivery, message),
        }
    }

    fn retry(&mut self, delivery: Box<Delivery>, message: &str, retry_after: Option<std::time::Duration>) {
        self.health.failed(&delivery.event.id, message);
        let now = Instant::now();
        if let Some(pause) = retry_after {
            let pause = pause.min(LONGEST_PAUSE);
            debug!(sink = %self.worker.name, ?pause, "paused, as the receiver asked");
            self.worker.schedule.pause(&delivery.bucket, now + pause, now);
        }
        let elapsed = delivery.attempts.first.map_or(Duration::ZERO, |first| since(first));
        let failure = Failure { attempts: delivery.attempts.round, elapsed, retry_after };
        match self.worker.retry.decide(failure, rand::random()) {
            Decision::GiveUp(exhausted) => {
                self.give_up(*delivery, Reason::RetriesExhausted, format!("{message}; {exhausted}"));
            }
            Decision::RetryAfter(wait) => {
                debug!(sink = %self.worker.name, event = %delivery.event.id, attempts = delivery.attempts.total, retry_in = ?wait,
                    "the attempt failed: {message}");
                self.wait_for_retry(now + wait, delivery);
            }
        }
    }

    fn wait_for_retry(&mut self, due: Instant, delivery: Box<Delivery>) {
        if self.disabled {
            return self.give_up(*delivery, Reason::SinkDisabled, "the sink is disabled".to_owned());
        }
        self.worker.schedule.push_at(due, delivery.bucket.clone(), delivery);
    }

    /// Drops what cannot start before the shutdown's deadline, be it for its retry, for a pause or for the rate limit:
    /// it would only hold up the shutdown. Its events stay uncommitted and are read again at the next start.
    fn let_go_of_what_waits(&mut self) {
        let deliveries = self.worker.schedule.drain().len();
        info!(sink = %self.worker.name, deliveries, "what is due after the shutdown is left to the next start");
    }

    fn disable(&mut self, delivery: Box<Delivery>, message: String) {
        if !self.disabled {
            self.disabled = true;
            error!(sink = %self.worker.name, event = %delivery.event.id,
                "{message}: the sink is disabled until the bridge is restarted; its events become dead letters");
        }
        self.give_up(*delivery, Reason::SinkDisabled, message);
        for waiting in self.worker.schedule.drain() {
            self.give_up(*waiting, Reason::SinkDisabled, "the sink is disabled".to_owned());
        }
    }

    /// Keeps a dead letter; the ack settles once it is on the disk.
    fn give_up(&self, delivery: Delivery, reason: Reason, message: String) {
        warn!(sink = %self.worker.name, event = %delivery.event.id, attempts = delivery.attempts.total,
            "given up and kept as a dead letter: {message}");
        let (letter, ack) =
            dead_letter::of_delivery(delivery, &self.worker.name, &self.worker.webhook, reason, &message);
        self.worker.dead_letters.keep(letter, ack);
    }
}
