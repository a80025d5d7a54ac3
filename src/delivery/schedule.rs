//! Who goes next: the deliveries of one sink that are not under way, each in its bucket or waiting for its next attempt.
//!
//! Pure: the caller brings the time, starts what [`Schedule::next`] hands out and sleeps as long as it says. Nothing
//! in here holds a connection or a slot. `line` has the deliveries of one bucket and what holds them, `waiting` those
//! that wait for a time of their own.

mod line;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;
use tracing::field::{DisplayValue, display};

use super::breaker::{BreakerPolicy, BreakerState, Change, Closed, Permit};
use super::rate_limit::Rate;
use crate::health::Trouble;
use line::Line;
use waiting::Waiting;

pub use line::Hold;

/// The name of a bucket: the rate limit's rendered key, or `""` for sinks whose rate limit has none.
pub type BucketName = Arc<str>;

/// A bucket as log lines have it: not at all when it has no name.
pub fn shown(bucket: &BucketName) -> Option<DisplayValue<&BucketName>> {
    (!bucket.is_empty()).then(|| display(bucket))
}

/// The deliveries of one sink that wait to be started. `T` is a delivery.
#[derive(Debug)]
pub struct Schedule<T> {
    rate: Option<Rate>,
    breaker: Option<BreakerPolicy>,
    lines: HashMap<BucketName, Line<T>>,
    /// Lines to be asked for their head, in turn, so that no bucket is served twice before another is once.
    ready: VecDeque<BucketName>,
    /// Lines whose head may not start before a moment.
    blocked: BinaryHeap<Reverse<(Instant, BucketName)>>,
    /// Deliveries that wait for their next attempt.
    waiting: BinaryHeap<Waiting<T>>,
    /// Deliveries in all lines.
    queued: usize,
    next_number: u64,
    sweep_at: usize,
}

/// What can be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Start this attempt; its place in the rate limit is taken. Its result is [reported](Schedule::report) with the
    /// permit.
    Start(T, Permit),
    /// Nothing may start before this moment.
    WaitUntil(Instant),
    /// There is nothing to start.
    Idle,
}

/// Below this number of buckets it is not worth looking for idle ones.
const SMALLEST_SWEEP: usize = 64;

impl<T> Schedule<T> {
    /// An empty schedule; without a rate and a breaker every delivery may start at once.
    pub fn new(rate: Option<Rate>, breaker: Option<BreakerPolicy>) -> Self {
        Self {
            rate,
            breaker,
            lines: HashMap::new(),
            ready: VecDeque::new(),
            blocked: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
            queued: 0,
            next_number: 0,
            sweep_at: SMALLEST_SWEEP,
        }
    }

    /// Goes on under other limits. What waits stays in its order, and so does a pause that the receiver asked for; a
    /// rate that is the same keeps its count. Breakers begin anew: what is behind the sink may be another receiver.
    pub fn change_limits(&mut self, rate: Option<Rate>, breaker: Option<BreakerPolicy>, now: Instant) {
        let is_same_rate = self.rate == rate;
        (self.rate, self.breaker) = (rate, breaker);
        self.ready.clear();
        self.blocked.clear();
        for (name, line) in &mut self.lines {
            if !is_same_rate {
                line.change_rate(rate, now);
            }
            line.begin_breaker(breaker, now);
            line.listed = !line.queue.is_empty();
            self.ready.extend(line.listed.then(|| name.clone()));
        }
    }

    /// Adds a delivery that may start as soon as its bucket lets it.
    pub fn push(&mut self, bucket: BucketName, delivery: T, now: Instant) {
        self.add(bucket, now, |queue| queue.push_back(delivery));
    }

    /// As [`push`](Self::push), before all others of its bucket.
    pub fn push_front(&mut self, bucket: BucketName, delivery: T, now: Instant) {
        self.add(bucket, now, |queue| queue.push_front(delivery));
    }

    fn add(&mut self, bucket: BucketName, now: Instant, put: impl FnOnce(&mut VecDeque<T>)) {
        self.sweep(now);
        let line = self.lines.entry(bucket.clone()).or_insert_with(|| Line::new(self.rate, self.breaker, now));
        put(&mut line.queue);
        self.queued += 1;
        if !line.listed {
            line.listed = true;
            self.ready.push_back(bucket);
        }
    }

    /// Adds a delivery that waits for its next attempt until `due`.
    pub fn push_at(&mut self, due: Instant, bucket: BucketName, delivery: T) {
        self.next_number += 1;
        self.waiting.push(Waiting { due, number: self.next_number, bucket, delivery });
    }

    /// Lets nothing of a bucket start until then. An earlier pause that lasts longer stays.
    pub fn pause(&mut self, bucket: &BucketName, until: Instant, now: Instant) {
        let line = self.lines.entry(bucket.clone()).or_insert_with(|| Line::new(self.rate, self.breaker, now));
        line.pause(until);
    }

    /// Ends the pause of a bucket. What waits in it may start as soon as its rate limit and its breaker let it.
    pub fn resume(&mut self, bucket: &BucketName, now: Instant) {
        let Some(line) = self.lines.get_mut(bucket) else { return };
        line.resume();
        if line.listed {
            // It may be among those that are asked at the end of the pause.
            self.blocked.retain(|Reverse((_, name))| name != bucket);
            if !self.ready.contains(bucket) {
                self.ready.push_back(bucket.clone());
            }
        }
        for (delivery, _) in self.drain_bucket(bucket, now) {
            self.push(bucket.clone(), delivery, now);
        }
    }

    /// Reports the result of an attempt to the breaker of its bucket, and says what it changed there.
    pub fn report(&mut self, bucket: &BucketName, permit: Permit, failed: bool, now: Instant) -> Option<Change> {
        self.breaker?;
        // A line with an attempt under way is never forgotten, so that the lookup cannot fail.
        let line = self.lines.get_mut(bucket)?;
        let change = line.report(permit, failed, now);
        if change.is_some() && !line.listed && !line.queue.is_empty() {
            line.listed = true;
            self.ready.push_back(bucket.clone());
        }
        change
    }

    /// Takes back an attempt that has no result: the breaker of its bucket does not count it. The place that it took in
    /// the rate limit is spent.
    pub fn withdraw(&mut self, bucket: &BucketName, permit: Permit, now: Instant) {
        let Some(line) = self.lines.get_mut(bucket) else { return };
        line.withdraw(permit, now);
        if !line.listed && !line.queue.is_empty() {
            line.listed = true;
            self.ready.push_back(bucket.clone());
        }
    }

    /// What keeps a bucket from starting attempts; a rate limit does not count, as it always lets some through.
    pub fn hold(&self, bucket: &BucketName, now: Instant) -> Option<Hold> {
        self.lines.get(bucket)?.hold(now)
    }

    /// True when deliveries of a bucket wait for their turn.
    pub fn has_a_line(&self, bucket: &BucketName) -> bool {
        self.lines.get(bucket).is_some_and(|line| !line.queue.is_empty())
    }

    /// The buckets in which no attempt may start now. One whose breaker waits for its probe is not among them.
    pub fn closed_buckets(&self, now: Instant) -> impl Iterator<Item = &BucketName> {
        self.lines.iter().filter(move |(_, line)| line.is_closed(now)).map(|(name, _)| name)
    }

    /// The state of the breaker that is worst off.
    pub fn worst_breaker(&self) -> BreakerState {
        self.lines.values().map(Line::breaker_state).max().unwrap_or(BreakerState::Closed)
    }

    /// How long the breaker that has been open for longest has been so, unless so long ago that nothing is known.
    pub fn trouble(&self, now: Instant) -> Option<Trouble> {
        let open = self.lines.values().filter_map(Line::trouble);
        let known = open.filter(|trouble| trouble.forgotten_at.is_none_or(|moment| now < moment));
        known.min_by_key(|trouble| trouble.since)
    }

    /// The next delivery to start, or how long to wait for one.
    pub fn next(&mut self, now: Instant) -> Next<T> {
        self.wake(now);
        while let Some(name) = self.ready.pop_front() {
            // A listed line is never removed, so that the lookup cannot fail.
            let Some(line) = self.lines.get_mut(&name) else { continue };
            // Its deliveries may have been taken out: a place in the rate limit is only for those that start.
            let may_start = if line.queue.is_empty() { Err(Closed::UntilProbed) } else { line.may_start(now) };
            let permit = match may_start {
                Ok(permit) => permit,
                Err(Closed::Until(free)) => {
                    self.blocked.push(Reverse((free, name)));
                    continue;
                }
                Err(Closed::UntilProbed) => {
                    line.listed = false;
                    continue;
                }
            };
            let head = line.queue.pop_front();
            line.listed = !line.queue.is_empty();
            if line.listed {
                self.ready.push_back(name);
            }
            if let Some(delivery) = head {
                self.queued -= 1;
                return Next::Start(delivery, permit);
            }
        }
        let free = self.blocked.peek().map(|Reverse((free, _))| *free);
        let due = self.waiting.peek().map(|waiting| waiting.due);
        free.into_iter().chain(due).min().map_or(Next::Idle, Next::WaitUntil)
    }

    /// Takes out everything, with the time before which it may not start, in the order of starting within each bucket.
    /// Rate limits, pauses and breakers stay in force for what comes later.
    pub fn drain(&mut self, now: Instant) -> Vec<(T, Instant)> {
        let names: Vec<BucketName> = self.lines.keys().cloned().collect();
        let mut drained: Vec<_> = names.iter().flat_map(|name| self.drain_line(name, now)).collect();
        drained.extend(std::mem::take(&mut self.waiting).into_sorted_vec().into_iter().rev().map(Waiting::into_due));
        drained
    }

    /// Takes out everything of a bucket, as [`drain`](Self::drain) does.
    pub fn drain_bucket(&mut self, bucket: &BucketName, now: Instant) -> Vec<(T, Instant)> {
        let mut drained = self.drain_line(bucket, now);
        let mut waiting = std::mem::take(&mut self.waiting).into_vec();
        let mut of_bucket: Vec<_> = waiting.extract_if(.., |waiting| waiting.bucket == *bucket).collect();
        self.waiting = waiting.into();
        of_bucket.sort_unstable_by(|one, other| other.cmp(one));
        drained.extend(of_bucket.into_iter().map(Waiting::into_due));
        drained
    }

    /// Takes out of the lines what meets a condition, in the order of starting within each bucket.
    pub fn take_from_lines(&mut self, condition: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for line in self.lines.values_mut().filter(|line| line.queue.iter().any(&condition)) {
            let (out, kept): (VecDeque<T>, VecDeque<T>) = line.queue.drain(..).partition(&condition);
            line.queue = kept;
            taken.extend(out);
        }
        self.queued -= taken.len();
        taken
    }

    /// The number of deliveries held.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.queued
    }

    /// True when nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn drain_line(&mut self, bucket: &BucketName, now: Instant) -> Vec<(T, Instant)> {
        let Some(line) = self.lines.get_mut(bucket) else { return Vec::new() };
        self.queued -= line.queue.len();
        let free = line.hold(now).map_or(now, |hold| hold.until);
        line.queue.drain(..).map(|delivery| (delivery, free)).collect()
    }

    /// Moves what has waited long enough: blocked lines and deliveries whose attempt is due.
    fn wake(&mut self, now: Instant) {
        while self.blocked.peek().is_some_and(|Reverse((free, _))| *free <= now) {
            self.ready.extend(self.blocked.pop().map(|Reverse((_, name))| name));
        }
        while self.waiting.peek().is_some_and(|waiting| waiting.due <= now) {
            if let Some(Waiting { bucket, delivery, .. }) = self.waiting.pop() {
                self.push(bucket, delivery, now);
            }
        }
    }

    /// Forgets buckets that are no different from new ones. The bound doubles with what remains, so that a sweep costs
    /// next to nothing per delivery, and memory follows the number of buckets in use.
    fn sweep(&mut self, now: Instant) {
        if self.lines.len() < self.sweep_at {
            return;
        }
        self.lines.retain(|_, line| !line.is_idle(now));
        self.sweep_at = SMALLEST_SWEEP.max(2 * self.lines.len());
    }
}

#[cfg(test)]
mod tests;
