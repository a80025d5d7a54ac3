//! The circuit breaker of one bucket: whether attempts may be made, by how the last ones went. Pure; the caller brings
//! the time. `policy` says when it opens, `window` counts.

mod policy;
mod window;

use std::time::Duration;

use tokio::time::Instant;

use crate::health::Trouble;
pub use policy::{BreakerConfig, BreakerPolicy};
use window::{Share, Window};

/// The breaker of one bucket.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: Phase,
    /// Grows with every change of state: the results of attempts that began in an earlier one say nothing new.
    generation: u32,
    failures_in_a_row: u32,
    window: Window,
}

/// What an attempt carries from its start to its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permit {
    generation: u32,
    /// True for the one attempt by which a half-open breaker tries the receiver.
    pub is_probe: bool,
}

/// Why no attempt may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// None before this moment.
    Until(Instant),
    /// None before the probe that is under way has its result.
    UntilProbed,
}

/// What a result changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The breaker was closed and is open now, for this time.
    Opened(Duration),
    /// The probe failed: the breaker is open again, for this time.
    Reopened(Duration),
    /// The probe succeeded: the breaker is closed again, after not having been for this time.
    Closed(Duration),
}

/// What a breaker does, ordered from good to bad. The numbers are those of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerState {
    /// Attempts go through.
    Closed = 0,
    /// One attempt is to find out whether the receiver works again.
    HalfOpen = 1,
    /// No attempt is made.
    Open = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant, opened_for: Duration, since: Instant },
    HalfOpen { opened_for: Duration, since: Instant },
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy, now: Instant) -> Self {
        let window = Window::new(policy.window, now);
        Self { policy, state: Phase::Closed, generation: 0, failures_in_a_row: 0, window }
    }

    /// Whether an attempt may start. Changes nothing; [`start`](Self::start) does.
    ///
    /// # Errors
    /// How long none may.
    pub fn check(&self, now: Instant) -> Result<(), Closed> {
        match self.state {
            Phase::Open { until, .. } if now < until => Err(Closed::Until(until)),
            Phase::HalfOpen { .. } => Err(Closed::UntilProbed),
            Phase::Closed | Phase::Open { .. } => Ok(()),
        }
    }

    /// Notes the start of an attempt that [`check`](Self::check) allowed. The first one after the open time is the
    /// probe, and the only one until its result is reported.
    pub fn start(&mut self) -> Permit {
        let Phase::Open { opened_for, since, .. } = self.state else {
            return Permit { generation: self.generation, is_probe: false };
        };
        self.enter(Phase::HalfOpen { opened_for, since });
        Permit { generation: self.generation, is_probe: true }
    }

    /// Notes the result of an attempt, and says what it changed.
    pub fn report(&mut self, permit: Permit, failed: bool, now: Instant) -> Option<Change> {
        if permit.generation != self.generation {
            return None;
        }
        match self.state {
            Phase::Closed => self.note(failed, now),
            Phase::HalfOpen { since, .. } if !failed => {
                self.failures_in_a_row = 0;
                self.window = Window::new(self.policy.window, now);
                self.enter(Phase::Closed);
                Some(Change::Closed(now - since))
            }
            Phase::HalfOpen { opened_for, since } => {
                let opened_for = opened_for.saturating_mul(2).min(self.policy.max_open);
                self.enter(Phase::Open { until: now + opened_for, opened_for, since });
                Some(Change::Reopened(opened_for))
            }
            Phase::Open { .. } => None,
        }
    }

    /// Takes back an attempt that has no result, as its request was not processed. Was it the probe, the next one is.
    pub fn withdraw(&mut self, permit: Permit, now: Instant) {
        let is_current = permit.generation == self.generation;
        if let Phase::HalfOpen { opened_for, since } = self.state
            && is_current
        {
            self.enter(Phase::Open { until: now, opened_for, since });
        }
    }

    /// The state, for people and metrics.
    pub fn state(&self) -> BreakerState {
        match self.state {
            Phase::Closed => BreakerState::Closed,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::Open { .. } => BreakerState::Open,
        }
    }

    /// The trouble of a breaker that is not closed. It is tolerated for as long as the breaker stays open in one go at
    /// most (`max_open`). It is forgotten when as long again nothing has tried the receiver: then nobody knows.
    pub fn trouble(&self) -> Option<Trouble> {
        let tolerated = self.policy.max_open;
        match self.state {
            Phase::Closed => None,
            Phase::HalfOpen { since, .. } => Some(Trouble { since, tolerated, forgotten_at: None }),
            Phase::Open { until, since, .. } => {
                Some(Trouble { since, tolerated, forgotten_at: Some(until + tolerated) })
            }
        }
    }

    /// When the open time ends or has ended; `None` unless the breaker is open.
    pub fn open_until(&self) -> Option<Instant> {
        match self.state {
            Phase::Open { until, .. } => Some(until),
            Phase::Closed | Phase::HalfOpen { .. } => None,
        }
    }

    /// True when it may be forgotten, unused since `last_used`: its window is over and it is closed, or it has been
    /// open for so long that its next life may as well begin closed.
    pub fn is_idle(&self, last_used: Instant, now: Instant) -> bool {
        match self.state {
            Phase::Closed => last_used + self.policy.window <= now,
            Phase::Open { until, .. } => until + FORGOTTEN_AFTER <= now,
            Phase::HalfOpen { .. } => false,
        }
    }

    fn note(&mut self, failed: bool, now: Instant) -> Option<Change> {
        self.window.note(failed, now);
        if !failed {
            self.failures_in_a_row = 0;
            return None;
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let Share { attempts, failures } = self.window.share();
        let too_many = attempts >= self.policy.min_attempts
            && f64::from(failures) >= self.policy.failure_ratio * f64::from(attempts);
        if self.failures_in_a_row < self.policy.failures && !too_many {
            return None;
        }
        let opened_for = self.policy.open_for;
        self.enter(Phase::Open { until: now + opened_for, opened_for, since: now });
        Some(Change::Opened(opened_for))
    }

    fn enter(&mut self, state: Phase) {
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
    }
}

/// An open breaker that nobody has asked for this long is forgotten: buckets come and go.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
