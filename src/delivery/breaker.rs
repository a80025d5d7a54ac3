//! The circuit breaker of one bucket: whether attempts may be made, by how the last ones went. Pure; the caller brings
//! the time.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use super::LONGEST_PAUSE;
use crate::health::Trouble;
use crate::problem::Problem;
use crate::units::Period;

/// When attempts stop for a while because the receiver fails. Failures are those that `responses` answers with `retry`,
/// `429` excepted, and attempts without an answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures in a row that open the breaker. 0 switches it off.
    #[serde(default = "default_failures")]
    pub failures: u32,
    /// The share of failed attempts within `window` that opens the breaker; at least `min_attempts` are looked at.
    #[serde(default = "default_failure_ratio")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub failure_ratio: f64,
    /// The time over which `failure_ratio` is measured.
    #[serde(default = "default_window")]
    pub window: Period,
    /// Attempts within `window` below which their ratio says nothing.
    #[serde(default = "default_min_attempts")]
    #[schemars(range(min = 1))]
    pub min_attempts: u32,
    /// How long the breaker stays open before one attempt tries the receiver. It doubles with each that fails.
    #[serde(default = "default_open_for")]
    pub open_for: Period,
    /// The longest that the breaker stays open in one go.
    #[serde(default = "default_max_open")]
    pub max_open: Period,
}

/// The checked form of [`BreakerConfig`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerPolicy {
    failures: u32,
    failure_ratio: f64,
    window: Duration,
    min_attempts: u32,
    open_for: Duration,
    max_open: Duration,
}

/// The breaker of one bucket.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
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
enum State {
    Closed,
    Open { until: Instant, opened_for: Duration, since: Instant },
    HalfOpen { opened_for: Duration, since: Instant },
}

impl BreakerPolicy {
    /// Checks a `breaker` table; `None` when it switches the breaker off.
    ///
    /// # Errors
    /// Every key at fault, with its path below `breaker`.
    pub fn new(config: &BreakerConfig) -> Result<Option<Self>, Vec<Problem>> {
        let mut problems = Vec::new();
        if !(config.failure_ratio > 0.0 && config.failure_ratio <= 1.0) {
            let help = "0.5 opens the breaker when half of the attempts fail";
            problems.push(Problem::new(["failure_ratio"], "must be more than 0 and at most 1").with_help(help));
        }
        if config.min_attempts == 0 {
            problems.push(Problem::new(["min_attempts"], "must be at least 1"));
        }
        for (key, period) in [("window", config.window), ("open_for", config.open_for)] {
            if period.0 == Duration::ZERO {
                problems.push(Problem::new([key], format!("`{key}` must be longer than zero")));
            }
        }
        for (key, period) in [("window", config.window), ("max_open", config.max_open)] {
            if period.0 > LONGEST_PAUSE {
                problems.push(Problem::new([key], format!("`{key}` must be at most 7d")));
            }
        }
        if config.max_open.0 < config.open_for.0 {
            let message = format!("`max_open` ({}) is shorter than `open_for` ({})", config.max_open, config.open_for);
            problems.push(Problem::new(["max_open"], message));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok((config.failures > 0).then_some(Self {
            failures: config.failures,
            failure_ratio: config.failure_ratio,
            window: config.window.0,
            min_attempts: config.min_attempts,
            open_for: config.open_for.0,
            max_open: config.max_open.0,
        }))
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy, now: Instant) -> Self {
        let window = Window::new(policy.window, now);
        Self { policy, state: State::Closed, generation: 0, failures_in_a_row: 0, window }
    }

    /// Whether an attempt may start. Changes nothing; [`start`](Self::start) does.
    ///
    /// # Errors
    /// How long none may.
    pub fn check(&self, now: Instant) -> Result<(), Closed> {
        match self.state {
            State::Open { until, .. } if now < until => Err(Closed::Until(until)),
            State::HalfOpen { .. } => Err(Closed::UntilProbed),
            State::Closed | State::Open { .. } => Ok(()),
        }
    }

    /// Notes the start of an attempt that [`check`](Self::check) allowed. The first one after the open time is the
    /// probe, and the only one until its result is reported.
    pub fn start(&mut self) -> Permit {
        let State::Open { opened_for, since, .. } = self.state else {
            return Permit { generation: self.generation, is_probe: false };
        };
        self.enter(State::HalfOpen { opened_for, since });
        Permit { generation: self.generation, is_probe: true }
    }

    /// Notes the result of an attempt, and says what it changed.
    pub fn report(&mut self, permit: Permit, failed: bool, now: Instant) -> Option<Change> {
        if permit.generation != self.generation {
            return None;
        }
        match self.state {
            State::Closed => self.note(failed, now),
            State::HalfOpen { since, .. } if !failed => {
                self.failures_in_a_row = 0;
                self.window = Window::new(self.policy.window, now);
                self.enter(State::Closed);
                Some(Change::Closed(now - since))
            }
            State::HalfOpen { opened_for, since } => {
                let opened_for = opened_for.saturating_mul(2).min(self.policy.max_open);
                self.enter(State::Open { until: now + opened_for, opened_for, since });
                Some(Change::Reopened(opened_for))
            }
            State::Open { .. } => None,
        }
    }

    /// The state, for people and metrics.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// The trouble of a breaker that is not closed. It is tolerated for as long as the breaker stays open in one go at
    /// most (`max_open`). It is forgotten when as long again nothing has tried the receiver: then nobody knows.
    pub fn trouble(&self) -> Option<Trouble> {
        let tolerated = self.policy.max_open;
        match self.state {
            State::Closed => None,
            State::HalfOpen { since, .. } => Some(Trouble { since, tolerated, forgotten_at: None }),
            State::Open { until, since, .. } => {
                Some(Trouble { since, tolerated, forgotten_at: Some(until + tolerated) })
            }
        }
    }

    /// When the open time ends or has ended; `None` unless the breaker is open.
    pub fn open_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// True when it may be forgotten, unused since `last_used`: its window is over and it is closed, or it has been
    /// open for so long that its next life may as well begin closed.
    pub fn is_idle(&self, last_used: Instant, now: Instant) -> bool {
        match self.state {
            State::Closed => last_used + self.policy.window <= now,
            State::Open { until, .. } => until + FORGOTTEN_AFTER <= now,
            State::HalfOpen { .. } => false,
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
        self.enter(State::Open { until: now + opened_for, opened_for, since: now });
        Some(Change::Opened(opened_for))
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
    }
}

/// An open breaker that nobody has asked for this long is forgotten: buckets come and go.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Attempts and failures over a sliding time, in slots of equal length: memory does not grow with the attempts, and
/// the window is exact to a slot.
#[derive(Debug)]
struct Window {
    slots: [Share; SLOTS],
    slot_length: Duration,
    origin: Instant,
    /// The number of the latest slot, counted from `origin`.
    latest: u128,
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    attempts: u32,
    failures: u32,
}

const SLOTS: usize = 10;

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        let slot_length = (length / SLOTS as u32).max(Duration::from_nanos(1));
        Self { slots: [Share::default(); SLOTS], slot_length, origin: now, latest: 0 }
    }

    fn note(&mut self, failed: bool, now: Instant) {
        let number = now.saturating_duration_since(self.origin).as_nanos() / self.slot_length.as_nanos();
        let passed = number.saturating_sub(self.latest).min(SLOTS as u128);
        for past in 0..passed {
            self.slots[index(number - past)] = Share::default();
        }
        self.latest = self.latest.max(number);
        let slot = &mut self.slots[index(self.latest)];
        slot.attempts = slot.attempts.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
    }

    /// The sum of the window that ends with the latest noted attempt.
    fn share(&self) -> Share {
        self.slots.iter().fold(Share::default(), |sum, slot| Share {
            attempts: sum.attempts.saturating_add(slot.attempts),
            failures: sum.failures.saturating_add(slot.failures),
        })
    }
}

fn index(number: u128) -> usize {
    (number % SLOTS as u128) as usize
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: default_failures(),
            failure_ratio: default_failure_ratio(),
            window: default_window(),
            min_attempts: default_min_attempts(),
            open_for: default_open_for(),
            max_open: default_max_open(),
        }
    }
}

fn default_failures() -> u32 {
    10
}

fn default_failure_ratio() -> f64 {
    0.5
}

fn default_window() -> Period {
    Period::from_secs(30)
}

fn default_min_attempts() -> u32 {
    50
}

fn default_open_for() -> Period {
    Period::from_secs(5)
}

fn default_max_open() -> Period {
    Period::from_secs(60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(toml: &str) -> BreakerPolicy {
        BreakerPolicy::new(&toml::from_str(toml).unwrap()).unwrap().unwrap()
    }

    /// Attempts once, as far as the breaker lets it.
    fn attempt(breaker: &mut Breaker, failed: bool, now: Instant) -> Option<Change> {
        breaker.check(now).unwrap();
        let permit = breaker.start();
        breaker.report(permit, failed, now)
    }

    #[test]
    fn a_run_of_failures_opens_it_and_a_success_interrupts_the_run() {
        let now = Instant::now();
        let mut breaker = Breaker::new(policy("failures = 3"), now);
        for failed in [true, true, false, true, true] {
            assert_eq!(attempt(&mut breaker, failed, now), None);
        }
        assert_eq!(attempt(&mut breaker, true, now), Some(Change::Opened(5 * SECOND)));
        assert_eq!(breaker.check(now), Err(Closed::Until(now + 5 * SECOND)));
    }

    #[test]
    fn a_share_of_failures_within_the_window_opens_it() {
        let now = Instant::now();
        let config = "failures = 1000\nfailure_ratio = 0.5\nmin_attempts = 10\nwindow = '10s'";
        let mut breaker = Breaker::new(policy(config), now);
        for number in 0..8 {
            assert_eq!(attempt(&mut breaker, number % 2 == 0, now), None);
        }
        // The window has passed: what was before does not count.
        let later = now + 20 * SECOND;
        for number in 0..9 {
            assert_eq!(attempt(&mut breaker, number % 2 == 0, later), None, "{number}");
        }
        assert_eq!(attempt(&mut breaker, true, later + SECOND), Some(Change::Opened(5 * SECOND)));
    }

    #[test]
    fn one_probe_decides_and_each_failure_doubles_the_time() {
        let now = Instant::now();
        let mut breaker = Breaker::new(policy("failures = 1\nopen_for = '10s'\nmax_open = '30s'"), now);
        let late = breaker.start();
        assert_eq!(attempt(&mut breaker, true, now), Some(Change::Opened(10 * SECOND)));
        let mut now = now + 10 * SECOND;
        for opened_for in [20, 30, 30] {
            breaker.check(now).unwrap();
            let probe = breaker.start();
            assert!(probe.is_probe);
            assert_eq!(breaker.check(now), Err(Closed::UntilProbed));
            assert_eq!(breaker.report(late, false, now), None, "an attempt from before it opened decides nothing");
            assert_eq!(breaker.report(probe, true, now), Some(Change::Reopened(opened_for * SECOND)));
            assert!(breaker.check(now).is_err());
            now += opened_for * SECOND;
        }
        assert_eq!(attempt(&mut breaker, false, now), Some(Change::Closed(90 * SECOND)));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(!breaker.start().is_probe);
    }

    #[test]
    fn its_trouble_is_tolerated_for_its_longest_open_time_and_forgotten_when_nothing_tries() {
        let now = Instant::now();
        let mut breaker = Breaker::new(policy("failures = 1\nopen_for = '10s'\nmax_open = '30s'"), now);
        assert_eq!(breaker.trouble(), None);
        attempt(&mut breaker, true, now);
        let trouble = |forgotten_at| Some(Trouble { since: now, tolerated: 30 * SECOND, forgotten_at });
        assert_eq!(breaker.trouble(), trouble(Some(now + 40 * SECOND)));
        let probe = breaker.start();
        assert_eq!(breaker.trouble(), trouble(None), "something tries the receiver");
        breaker.report(probe, true, now + 10 * SECOND);
        assert_eq!(breaker.trouble(), trouble(Some(now + 60 * SECOND)), "it is the same trouble");
        let probe = breaker.start();
        breaker.report(probe, false, now + 30 * SECOND);
        assert_eq!(breaker.trouble(), None);
    }

    #[test]
    fn every_fault_of_the_table_is_named() {
        let config = "failure_ratio = 0.0\nmin_attempts = 0\nwindow = '0s'\nopen_for = '2m'";
        let problems = BreakerPolicy::new(&toml::from_str(config).unwrap()).unwrap_err();
        let keys: Vec<String> = problems.into_iter().map(|problem| problem.path.concat()).collect();
        assert_eq!(keys, ["failure_ratio", "min_attempts", "window", "max_open"]);
        assert_eq!(BreakerPolicy::new(&toml::from_str("failures = 0").unwrap()), Ok(None));
    }

    proptest! {
        /// Whatever the results and their delays: while it is not closed at most one attempt is under way that it
        /// let start, it never opens without a failure, and it is never shut for longer than `max_open`.
        #[test]
        fn it_lets_one_probe_through_and_always_asks_again(
            steps in prop::collection::vec((0_u64..4_000, any::<bool>(), 0_usize..4), 1..200),
        ) {
            let config = "failures = 3\nmin_attempts = 5\nwindow = '2s'\nopen_for = '1s'\nmax_open = '4s'";
            let policy = policy(config);
            let mut now = Instant::now();
            let mut breaker = Breaker::new(policy, now);
            let mut under_way: Vec<Permit> = Vec::new();
            for (gap, failed, which) in steps {
                now += Duration::from_millis(gap);
                match breaker.check(now) {
                    Ok(()) => under_way.push(breaker.start()),
                    Err(Closed::Until(until)) => prop_assert!(now < until && until <= now + policy.max_open),
                    Err(Closed::UntilProbed) => {
                        prop_assert_eq!(under_way.iter().filter(|permit| permit.generation == breaker.generation).count(), 1);
                    }
                }
                if which < under_way.len() {
                    let permit = under_way.swap_remove(which);
                    match breaker.report(permit, failed, now) {
                        Some(Change::Opened(_) | Change::Reopened(_)) => prop_assert!(failed),
                        Some(Change::Closed(_)) => prop_assert!(!failed && permit.is_probe),
                        None => {}
                    }
                }
            }
        }

        /// The window counts exactly what was noted in its slots.
        #[test]
        fn the_window_counts_what_is_in_it(gaps in prop::collection::vec((0_u64..700, any::<bool>()), 1..200)) {
            let origin = Instant::now();
            let mut window = Window::new(SECOND, origin);
            let mut noted: Vec<(u64, bool)> = Vec::new();
            let mut millis = 0;
            for (gap, failed) in gaps {
                millis += gap;
                window.note(failed, origin + Duration::from_millis(millis));
                noted.push((millis / 100, failed));
                let within = noted.iter().filter(|(slot, _)| slot + SLOTS as u64 > millis / 100);
                let share = window.share();
                prop_assert_eq!(share.attempts as usize, within.clone().count());
                prop_assert_eq!(share.failures as usize, within.filter(|(_, failed)| *failed).count());
            }
        }
    }
}
