//! Who goes next: the deliveries of one sink that are not under way, each in its bucket or waiting for its next attempt.
//!
//! Pure: the caller brings the time, starts what [`Schedule::next`] hands out and sleeps as long as it says. Nothing
//! in here holds a connection or a slot.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::breaker::{Breaker, BreakerPolicy, BreakerState, Change, Closed, Permit};
use super::rate_limit::{Bucket, Rate};
use crate::health::Trouble;

/// The name of a bucket: the rate limit's rendered key, or `""` for sinks whose rate limit has none.
pub type BucketName = Arc<str>;

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

/// The deliveries of one bucket that only wait for their turn.
#[derive(Debug)]
struct Line<T> {
    queue: VecDeque<T>,
    bucket: Option<Bucket>,
    breaker: Option<Breaker>,
    /// Attempts whose result is not reported yet.
    under_way: usize,
    /// The receiver asked for no attempts until then.
    paused_until: Option<Instant>,
    last_used: Instant,
    /// True while the line stands in `ready` or `blocked`.
    listed: bool,
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

#[derive(Debug)]
struct Waiting<T> {
    due: Instant,
    /// Keeps deliveries with the same due time in the order in which they came.
    number: u64,
    bucket: BucketName,
    delivery: T,
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
                line.bucket = rate.map(|rate| Bucket::new(rate, now));
            }
            line.breaker = breaker.map(|policy| Breaker::new(policy, now));
            line.under_way = 0;
            line.listed = !line.queue.is_empty();
            self.ready.extend(line.listed.then(|| name.clone()));
        }
    }

    /// Adds a delivery that may start as soon as its bucket lets it.
    pub fn push(&mut self, bucket: BucketName, delivery: T, now: Instant) {
        self.sweep(now);
        let line = self.lines.entry(bucket.clone()).or_insert_with(|| Line::new(self.rate, self.breaker, now));
        line.queue.push_back(delivery);
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
        line.paused_until = line.paused_until.max(Some(until));
    }

    /// Reports the result of an attempt to the breaker of its bucket, and says what it changed there.
    pub fn report(&mut self, bucket: &BucketName, permit: Permit, failed: bool, now: Instant) -> Option<Change> {
        self.breaker?;
        // A line with an attempt under way is never forgotten, so that the lookup cannot fail.
        let line = self.lines.get_mut(bucket)?;
        line.under_way = line.under_way.saturating_sub(1);
        let change = line.breaker.as_mut()?.report(permit, failed, now);
        if change.is_some() && !line.listed && !line.queue.is_empty() {
            line.listed = true;
            self.ready.push_back(bucket.clone());
        }
        change
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
        let states = self.lines.values().filter_map(|line| line.breaker.as_ref().map(Breaker::state));
        states.max().unwrap_or(BreakerState::Closed)
    }

    /// How long the breaker that has been open for longest has been so, unless so long ago that nothing is known.
    pub fn trouble(&self, now: Instant) -> Option<Trouble> {
        let open = self.lines.values().filter_map(|line| line.breaker.as_ref().and_then(Breaker::trouble));
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

impl<T> Line<T> {
    fn new(rate: Option<Rate>, breaker: Option<BreakerPolicy>, now: Instant) -> Self {
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

    /// Takes a place for the head of the line, or says when there will be one.
    fn may_start(&mut self, now: Instant) -> Result<Permit, Closed> {
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

    fn hold(&self, now: Instant) -> Option<Hold> {
        let paused_until = self.paused_until.filter(|until| *until > now);
        let state = self.breaker.as_ref().map_or(BreakerState::Closed, Breaker::state);
        let by_breaker = state != BreakerState::Closed;
        let open_until = self.breaker.as_ref().and_then(Breaker::open_until);
        let until = open_until.max(paused_until).unwrap_or(now).max(now);
        let is_probe_due = by_breaker && !self.is_closed(now);
        (by_breaker || paused_until.is_some()).then_some(Hold { until, by_breaker, is_probe_due })
    }

    fn is_closed(&self, now: Instant) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| until > now);
        is_paused || self.breaker.as_ref().is_some_and(|breaker| breaker.check(now).is_err())
    }

    fn is_idle(&self, now: Instant) -> bool {
        let replenished =
            self.bucket.as_ref().map_or(self.last_used, |bucket| self.last_used + bucket.replenished_in());
        let is_unused = !self.listed && self.queue.is_empty() && self.under_way == 0;
        is_unused
            && replenished <= now
            && self.paused_until.is_none_or(|until| until <= now)
            && self.breaker.as_ref().is_none_or(|breaker| breaker.is_idle(self.last_used, now))
    }
}

impl<T> Waiting<T> {
    fn into_due(self) -> (T, Instant) {
        (self.delivery, self.due)
    }
}

/// Ordered so that the heap's top is the delivery that is due first.
impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Waiting<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::breaker::BreakerConfig;
    use crate::delivery::rate_limit::RateLimitConfig;
    use crate::units::Period;
    use proptest::prelude::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn per_second(requests: u32) -> Option<Rate> {
        let per = Period::from_secs(1);
        Some(Rate::new(&RateLimitConfig { requests, per, burst: 1, key: None }).unwrap())
    }

    fn start<T>(delivery: T) -> Next<T> {
        Next::Start(delivery, Permit::default())
    }

    fn bucket(name: &str) -> BucketName {
        name.into()
    }

    #[test]
    fn deliveries_go_in_order_when_nothing_holds_them() {
        let now = Instant::now();
        let mut schedule = Schedule::new(None, None);
        schedule.push(bucket(""), 1, now);
        schedule.push(bucket(""), 2, now);
        assert_eq!(schedule.next(now), start(1));
        assert_eq!(schedule.next(now), start(2));
        assert_eq!(schedule.next(now), Next::Idle);
        assert!(schedule.is_empty());
    }

    #[test]
    fn a_retry_passes_the_rate_limit_too() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1), None);
        schedule.push(bucket(""), 1, now);
        assert_eq!(schedule.next(now), start(1));
        schedule.push_at(now + SECOND / 2, bucket(""), 1);
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND / 2));
        assert_eq!(schedule.next(now + SECOND / 2), Next::WaitUntil(now + SECOND));
        assert_eq!(schedule.next(now + SECOND), start(1));
    }

    #[test]
    fn a_full_bucket_does_not_hold_up_another() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1), None);
        for delivery in ["a1", "a2", "a3"] {
            schedule.push(bucket("a"), delivery, now);
        }
        schedule.push(bucket("b"), "b1", now);
        assert_eq!(schedule.next(now), start("a1"));
        assert_eq!(schedule.next(now), start("b1"));
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));
        assert_eq!(schedule.next(now + SECOND), start("a2"));
    }

    #[test]
    fn a_pause_holds_its_bucket_and_no_other() {
        let now = Instant::now();
        let mut schedule = Schedule::new(None, None);
        schedule.push(bucket("a"), "a1", now);
        schedule.push(bucket("b"), "b1", now);
        schedule.pause(&bucket("a"), now + 5 * SECOND, now);
        schedule.pause(&bucket("a"), now + SECOND, now);
        assert_eq!(schedule.next(now), start("b1"));
        assert_eq!(schedule.next(now), Next::WaitUntil(now + 5 * SECOND));
        assert_eq!(schedule.next(now + 5 * SECOND), start("a1"));
    }

    #[test]
    fn idle_buckets_are_forgotten_and_busy_ones_are_not() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1), None);
        schedule.push(bucket("paused"), 0, now);
        assert_eq!(schedule.next(now), start(0));
        schedule.pause(&bucket("paused"), now + 60 * SECOND, now);
        for number in 1..1000 {
            let later = now + number * 2 * SECOND / 100;
            schedule.push(bucket(&format!("tenant-{number}")), number, later);
            assert_eq!(schedule.next(later), start(number));
        }
        assert!(schedule.lines.len() <= 2 * SMALLEST_SWEEP, "{} buckets are kept", schedule.lines.len());
        assert!(schedule.lines.contains_key("paused"));
    }

    #[test]
    fn draining_takes_everything_and_leaves_limits_and_pauses() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1), None);
        schedule.push_at(now + SECOND, bucket("a"), "a retry");
        schedule.push(bucket("b"), "b1", now);
        schedule.pause(&bucket("b"), now + 60 * SECOND, now);
        schedule.push(bucket("c"), "c1", now);
        assert_eq!(schedule.next(now), start("c1"));
        let mut drained = schedule.drain(now);
        drained.sort_unstable();
        assert_eq!(drained, [("a retry", now + SECOND), ("b1", now + 60 * SECOND)]);
        assert!(schedule.is_empty());

        schedule.push(bucket("b"), "b2", now);
        schedule.push(bucket("c"), "c2", now);
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));
        assert_eq!(schedule.next(now + SECOND), start("c2"));
        assert_eq!(schedule.next(now + SECOND), Next::WaitUntil(now + 60 * SECOND));
    }

    fn breaking_at(failures: u32) -> Schedule<&'static str> {
        let config = BreakerConfig { failures, ..BreakerConfig::default() };
        Schedule::new(None, BreakerPolicy::new(&config).unwrap())
    }

    fn started(schedule: &mut Schedule<&'static str>, now: Instant) -> (&'static str, Permit) {
        match schedule.next(now) {
            Next::Start(delivery, permit) => (delivery, permit),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_open_breaker_holds_its_bucket_and_one_probe_opens_the_way() {
        let now = Instant::now();
        let mut schedule = breaking_at(1);
        let (a, b) = (bucket("a"), bucket("b"));
        for delivery in ["a1", "a2", "a3"] {
            schedule.push(a.clone(), delivery, now);
        }
        let (_, permit) = started(&mut schedule, now);
        assert_eq!(schedule.hold(&a, now), None);
        assert_eq!(schedule.report(&a, permit, true, now), Some(Change::Opened(5 * SECOND)));
        let until = now + 5 * SECOND;
        assert_eq!(schedule.hold(&a, now), Some(Hold { until, by_breaker: true, is_probe_due: false }));
        assert_eq!(schedule.closed_buckets(now).collect::<Vec<_>>(), [&a]);
        assert_eq!(schedule.next(now), Next::WaitUntil(until));
        schedule.push(b, "b1", now);
        assert_eq!(started(&mut schedule, now).0, "b1");

        assert_eq!(schedule.closed_buckets(until).count(), 0, "its probe may come");
        let (probe, permit) = started(&mut schedule, until);
        assert_eq!((probe, permit.is_probe), ("a2", true));
        assert_eq!(schedule.worst_breaker(), BreakerState::HalfOpen);
        assert_eq!(schedule.next(until), Next::Idle);
        assert_eq!(schedule.closed_buckets(until).count(), 1);
        assert_eq!(schedule.report(&a, permit, false, until), Some(Change::Closed(5 * SECOND)));
        assert_eq!(started(&mut schedule, until).0, "a3");
    }

    #[test]
    fn a_bucket_is_taken_out_with_the_times_of_its_deliveries() {
        let now = Instant::now();
        let mut schedule = breaking_at(1);
        let a = bucket("a");
        schedule.push(a.clone(), "a1", now);
        let (_, permit) = started(&mut schedule, now);
        schedule.push(a.clone(), "a2", now);
        schedule.push_at(now + 2 * SECOND, a.clone(), "second");
        schedule.push_at(now + SECOND, a.clone(), "first");
        schedule.push_at(now + SECOND, bucket("b"), "other");
        schedule.report(&a, permit, true, now);
        let until = now + 5 * SECOND;
        let expected = [("a2", until), ("first", now + SECOND), ("second", now + 2 * SECOND)];
        assert_eq!(schedule.drain_bucket(&a, now), expected);
        assert_eq!(schedule.len(), 1);
        // The emptied line takes no probe away from the one that comes.
        assert_eq!(schedule.next(until), Next::Start("other", Permit::default()));
        schedule.push(a.clone(), "a3", until);
        assert!(started(&mut schedule, until).1.is_probe);
    }

    #[test]
    fn other_limits_leave_what_waits_in_its_order_and_a_pause_in_force() {
        let now = Instant::now();
        let mut schedule = breaking_at(1);
        let (a, b) = (bucket("a"), bucket("b"));
        for delivery in ["a1", "a2", "a3"] {
            schedule.push(a.clone(), delivery, now);
        }
        let (_, permit) = started(&mut schedule, now);
        schedule.report(&a, permit, true, now);
        schedule.push(b.clone(), "b1", now);
        schedule.pause(&b, now + SECOND, now);
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));

        schedule.change_limits(per_second(1), None, now);
        assert_eq!(schedule.next(now), start("a2"), "the breaker is forgotten");
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND), "the new rate and the pause hold");
        schedule.change_limits(per_second(1), None, now);
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND), "the same rate keeps its count");
        let mut later = [schedule.next(now + SECOND), schedule.next(now + SECOND)].map(|next| format!("{next:?}"));
        later.sort();
        assert_eq!(later, [start("a3"), start("b1")].map(|next| format!("{next:?}")));
        assert!(schedule.is_empty());
    }

    #[test]
    fn what_is_taken_from_the_lines_costs_no_place() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1), None);
        for delivery in [1, 2, 3, 4] {
            schedule.push(bucket(""), delivery, now);
        }
        assert_eq!(schedule.take_from_lines(|delivery| delivery % 2 == 1), [1, 3]);
        assert_eq!(schedule.next(now), start(2));
        assert_eq!(schedule.take_from_lines(|_| true), [4]);
        assert_eq!(schedule.next(now), Next::Idle);
        schedule.push(bucket(""), 5, now + SECOND);
        assert_eq!(schedule.next(now + SECOND), start(5));
    }

    proptest! {
        /// Whatever comes in, in whatever buckets, comes out exactly once, in order within its bucket.
        #[test]
        fn nothing_is_lost_or_reordered(
            pushes in prop::collection::vec((0_u8..4, 0_u64..50, any::<bool>()), 1..100), limited in any::<bool>(),
        ) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(if limited { per_second(100) } else { None }, None);
            let mut expected: HashMap<u8, Vec<usize>> = HashMap::new();
            for (number, (name, pause_ms, paused)) in pushes.iter().enumerate() {
                schedule.push(bucket(&name.to_string()), (*name, number), now);
                if *paused {
                    schedule.pause(&bucket(&name.to_string()), now + Duration::from_millis(*pause_ms), now);
                }
                expected.entry(*name).or_default().push(number);
            }
            let mut started: HashMap<u8, Vec<usize>> = HashMap::new();
            loop {
                match schedule.next(now) {
                    Next::Start((name, number), _) => started.entry(name).or_default().push(number),
                    Next::WaitUntil(moment) => {
                        prop_assert!(moment > now);
                        now = moment;
                    }
                    Next::Idle => break,
                }
            }
            prop_assert_eq!(started, expected);
            prop_assert!(schedule.is_empty());
        }
    }
}
