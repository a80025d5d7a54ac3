//! The deliveries of one bucket that only wait for their turn, and what they wait for: the rate limit, a pause that the
//! receiver asked for, the breaker. Pure.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::delivery::breaker::{Breaker, BreakerPolicy, BreakerState, Change, Closed, Permit};
use crate::delivery::rate_limit::{Bucket, Rate};
use crate::health::Trouble;

/// The deliveries of one bucket that only wait for their turn.
#[derive(Debug)]
pub(super) struct Line<T> {
    pub(super) queue: VecDeque<T>,
    bucket: Option<Bucket>,
    breaker: Option<Breaker>,
    /// Attempts whose result is not reported yet.
    under_way: usize,
    /// The receiver asked for no attempts until then.
    paused_until: Option<Instant>,
    last_used: Instant,
    /// True while the schedule is to ask the line for its head, now or later.
    pub(super) listed: bool,
}

/// Why deliveries of a bucket cannot start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// When the next attempt may start, as far as is known.
    pub until: Instant,
    /// True when the breaker is not closed.
    pub by_breaker: bool,
    /// True when an attempt may start all the same, as the breaker's probe.
    pub is_probe_due: bool,
}

impl<T> Line<T> {
    /// An empty line that may start at once.
    pub(super) fn new(rate: Option<Rate>, breaker: Option<BreakerPolicy>, now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            bucket: rate.map(|rate| Bucket::new(rate, now)),
            breaker: breaker.map(|policy| Breaker::new(policy, now)),
            under_way: 0,
            paused_until: None,
            last_used: now,
            listed: false,
        }
    }

    /// Goes on under another rate limit, whose count begins anew.
    pub(super) fn change_rate(&mut self, rate: Option<Rate>, now: Instant) {
        self.bucket = rate.map(|rate| Bucket::new(rate, now));
    }

    /// Forgets what the breaker has seen.
    pub(super) fn begin_breaker(&mut self, breaker: Option<BreakerPolicy>, now: Instant) {
        self.breaker = breaker.map(|policy| Breaker::new(policy, now));
        self.under_way = 0;
    }

    /// Takes a place for the head of the line.
    ///
    /// # Errors
    /// When there will be one.
    pub(super) fn may_start(&mut self, now: Instant) -> Result<Permit, Closed> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Err(Closed::Until(until));
        }
        self.paused_until = None;
        // The breaker is asked before the rate limit, whose place would be lost, and told after it, as its probe would.
        self.breaker.as_ref().map_or(Ok(()), |breaker| breaker.check(now))?;
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now).map_err(Closed::Until)?;
        }
        self.last_used = now;
        let Some(breaker) = &mut self.breaker else { return Ok(Permit::default()) };
        self.under_way += 1;
        Ok(breaker.start())
    }

    /// Lets nothing start until then. An earlier pause that lasts longer stays.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Ends the pause.
    pub(super) fn resume(&mut self) {
        self.paused_until = None;
    }

    /// Tells the breaker the result of an attempt.
    pub(super) fn report(&mut self, permit: Permit, failed: bool, now: Instant) -> Option<Change> {
        self.under_way = self.under_way.saturating_sub(1);
        self.breaker.as_mut()?.report(permit, failed, now)
    }

    /// Takes back an attempt that has no result.
    pub(super) fn withdraw(&mut self, permit: Permit, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(breaker) = &mut self.breaker {
            breaker.withdraw(permit, now);
        }
    }

    /// The state of the breaker; closed when there is none.
    pub(super) fn breaker_state(&self) -> BreakerState {
        self.breaker.as_ref().map_or(BreakerState::Closed, Breaker::state)
    }

    /// The trouble of the breaker, when it is not closed.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.breaker.as_ref().and_then(Breaker::trouble)
    }

    /// What keeps it from starting attempts; a rate limit does not count.
    pub(super) fn hold(&self, now: Instant) -> Option<Hold> {
        let paused_until = self.paused_until.filter(|until| *until > now);
        let by_breaker = self.breaker_state() != BreakerState::Closed;
        let open_until = self.breaker.as_ref().and_then(Breaker::open_until);
        let until = open_until.max(paused_until).unwrap_or(now).max(now);
        let is_probe_due = by_breaker && !self.is_closed(now);
        (by_breaker || paused_until.is_some()).then_some(Hold { until, by_breaker, is_probe_due })
    }

    /// True when no attempt may start now.
    pub(super) fn is_closed(&self, now: Instant) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| until > now);
        is_paused || self.breaker.as_ref().is_some_and(|breaker| breaker.check(now).is_err())
    }

    /// True when it is no different from a new one.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let replenished =
            self.bucket.as_ref().map_or(self.last_used, |bucket| self.last_used + bucket.replenished_in());
        let is_unused = !self.listed && self.queue.is_empty() && self.under_way == 0;
        is_unused
            && replenished <= now
            && self.paused_until.is_none_or(|until| until <= now)
            && self.breaker.as_ref().is_none_or(|breaker| breaker.is_idle(self.last_used, now))
    }
}
