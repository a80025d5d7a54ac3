//! Who goes next: the deliveries of one sink that are not under way, each in its bucket or waiting for its next attempt.
//!
//! Pure: the caller brings the time, starts what [`Schedule::next`] hands out and sleeps as long as it says. Nothing
//! in here holds a connection or a slot.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::rate_limit::{Bucket, Rate};

/// The name of a bucket: the rate limit's rendered key, or `""` for sinks whose rate limit has none.
pub type BucketName = Arc<str>;

/// The deliveries of one sink that wait to be started. `T` is a delivery.
#[derive(Debug)]
pub struct Schedule<T> {
    rate: Option<Rate>,
    lines: HashMap<BucketName, Line<T>>,
    /// Lines to be asked for their head, in turn, so that no bucket is served twice before another is once.
    ready: VecDeque<BucketName>,
    /// Lines whose head may not start before a moment.
    blocked: BinaryHeap<Reverse<(Instant, BucketName)>>,
    /// Deliveries that wait for their next attempt.
    waiting: BinaryHeap<Waiting<T>>,
    next_number: u64,
    sweep_at: usize,
}

/// What can be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Start this attempt; its place in the rate limit is taken.
    Start(T),
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
    /// The receiver asked for no attempts until then.
    paused_until: Option<Instant>,
    last_used: Instant,
    /// True while the line stands in `ready` or `blocked`.
    listed: bool,
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
    /// An empty schedule; without a rate every delivery may start at once.
    pub fn new(rate: Option<Rate>) -> Self {
        Self {
            rate,
            lines: HashMap::new(),
            ready: VecDeque::new(),
            blocked: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
            next_number: 0,
            sweep_at: SMALLEST_SWEEP,
        }
    }

    /// Adds a delivery that may start as soon as its bucket lets it.
    pub fn push(&mut self, bucket: BucketName, delivery: T, now: Instant) {
        self.sweep(now);
        let line = self.lines.entry(bucket.clone()).or_insert_with(|| Line::new(self.rate, now));
        line.queue.push_back(delivery);
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
        let line = self.lines.entry(bucket.clone()).or_insert_with(|| Line::new(self.rate, now));
        line.paused_until = line.paused_until.max(Some(until));
    }

    /// The next delivery to start, or how long to wait for one.
    pub fn next(&mut self, now: Instant) -> Next<T> {
        self.wake(now);
        while let Some(name) = self.ready.pop_front() {
            // A listed line is never removed, so that the lookup cannot fail.
            let Some(line) = self.lines.get_mut(&name) else { continue };
            if let Err(free) = line.may_start(now) {
                self.blocked.push(Reverse((free, name)));
                continue;
            }
            let head = line.queue.pop_front();
            line.listed = !line.queue.is_empty();
            if line.listed {
                self.ready.push_back(name);
            }
            if let Some(delivery) = head {
                return Next::Start(delivery);
            }
        }
        let free = self.blocked.peek().map(|Reverse((free, _))| *free);
        let due = self.waiting.peek().map(|waiting| waiting.due);
        free.into_iter().chain(due).min().map_or(Next::Idle, Next::WaitUntil)
    }

    /// Takes out everything, in no order. Rate limits and pauses stay in force for what comes later.
    pub fn drain(&mut self) -> Vec<T> {
        self.ready.clear();
        self.blocked.clear();
        let mut drained: Vec<T> = self.waiting.drain().map(|waiting| waiting.delivery).collect();
        for line in self.lines.values_mut() {
            line.listed = false;
            drained.extend(line.queue.drain(..));
        }
        drained
    }

    /// The number of deliveries held.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.lines.values().map(|line| line.queue.len()).sum::<usize>()
    }

    /// True when nothing is held.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty() && self.blocked.is_empty()
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
    fn new(rate: Option<Rate>, now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            bucket: rate.map(|rate| Bucket::new(rate, now)),
            paused_until: None,
            last_used: now,
            listed: false,
        }
    }

    /// Takes a place for the head of the line, or says when there will be one.
    fn may_start(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Err(until);
        }
        self.paused_until = None;
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now)?;
        }
        self.last_used = now;
        Ok(())
    }

    fn is_idle(&self, now: Instant) -> bool {
        let replenished =
            self.bucket.as_ref().map_or(self.last_used, |bucket| self.last_used + bucket.replenished_in());
        !self.listed && replenished <= now && self.paused_until.is_none_or(|until| until <= now)
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
    use crate::delivery::rate_limit::RateLimitConfig;
    use crate::units::Period;
    use proptest::prelude::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn per_second(requests: u32) -> Option<Rate> {
        let per = Period::from_secs(1);
        Some(Rate::new(&RateLimitConfig { requests, per, burst: 1, key: None }).unwrap())
    }

    fn bucket(name: &str) -> BucketName {
        name.into()
    }

    #[test]
    fn deliveries_go_in_order_when_nothing_holds_them() {
        let now = Instant::now();
        let mut schedule = Schedule::new(None);
        schedule.push(bucket(""), 1, now);
        schedule.push(bucket(""), 2, now);
        assert_eq!(schedule.next(now), Next::Start(1));
        assert_eq!(schedule.next(now), Next::Start(2));
        assert_eq!(schedule.next(now), Next::Idle);
        assert!(schedule.is_empty());
    }

    #[test]
    fn a_retry_passes_the_rate_limit_too() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1));
        schedule.push(bucket(""), 1, now);
        assert_eq!(schedule.next(now), Next::Start(1));
        schedule.push_at(now + SECOND / 2, bucket(""), 1);
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND / 2));
        assert_eq!(schedule.next(now + SECOND / 2), Next::WaitUntil(now + SECOND));
        assert_eq!(schedule.next(now + SECOND), Next::Start(1));
    }

    #[test]
    fn a_full_bucket_does_not_hold_up_another() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1));
        for delivery in ["a1", "a2", "a3"] {
            schedule.push(bucket("a"), delivery, now);
        }
        schedule.push(bucket("b"), "b1", now);
        assert_eq!(schedule.next(now), Next::Start("a1"));
        assert_eq!(schedule.next(now), Next::Start("b1"));
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));
        assert_eq!(schedule.next(now + SECOND), Next::Start("a2"));
    }

    #[test]
    fn a_pause_holds_its_bucket_and_no_other() {
        let now = Instant::now();
        let mut schedule = Schedule::new(None);
        schedule.push(bucket("a"), "a1", now);
        schedule.push(bucket("b"), "b1", now);
        schedule.pause(&bucket("a"), now + 5 * SECOND, now);
        schedule.pause(&bucket("a"), now + SECOND, now);
        assert_eq!(schedule.next(now), Next::Start("b1"));
        assert_eq!(schedule.next(now), Next::WaitUntil(now + 5 * SECOND));
        assert_eq!(schedule.next(now + 5 * SECOND), Next::Start("a1"));
    }

    #[test]
    fn idle_buckets_are_forgotten_and_busy_ones_are_not() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1));
        schedule.push(bucket("paused"), 0, now);
        assert_eq!(schedule.next(now), Next::Start(0));
        schedule.pause(&bucket("paused"), now + 60 * SECOND, now);
        for number in 1..1000 {
            let later = now + number * 2 * SECOND / 100;
            schedule.push(bucket(&format!("tenant-{number}")), number, later);
            assert_eq!(schedule.next(later), Next::Start(number));
        }
        assert!(schedule.lines.len() <= 2 * SMALLEST_SWEEP, "{} buckets are kept", schedule.lines.len());
        assert!(schedule.lines.contains_key("paused"));
    }

    #[test]
    fn draining_takes_everything_and_leaves_limits_and_pauses() {
        let now = Instant::now();
        let mut schedule = Schedule::new(per_second(1));
        schedule.push_at(now + SECOND, bucket("a"), "a retry");
        schedule.push(bucket("b"), "b1", now);
        schedule.pause(&bucket("b"), now + 60 * SECOND, now);
        schedule.push(bucket("c"), "c1", now);
        assert_eq!(schedule.next(now), Next::Start("c1"));
        let mut drained = schedule.drain();
        drained.sort_unstable();
        assert_eq!(drained, ["a retry", "b1"]);
        assert!(schedule.is_empty());

        schedule.push(bucket("b"), "b2", now);
        schedule.push(bucket("c"), "c2", now);
        assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));
        assert_eq!(schedule.next(now + SECOND), Next::Start("c2"));
        assert_eq!(schedule.next(now + SECOND), Next::WaitUntil(now + 60 * SECOND));
    }

    proptest! {
        /// Whatever comes in, in whatever buckets, comes out exactly once, in order within its bucket.
        #[test]
        fn nothing_is_lost_or_reordered(
            pushes in prop::collection::vec((0_u8..4, 0_u64..50, any::<bool>()), 1..100), limited in any::<bool>(),
        ) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(if limited { per_second(100) } else { None });
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
                    Next::Start((name, number)) => started.entry(name).or_default().push(number),
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
