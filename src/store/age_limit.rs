//! How long dead letters are kept: which of them are too old, and when the keeper looks for such letters next.
//!
//! A decision without I/O: the caller brings the time, deletes the letters ([`forget`](super::forget)) and logs.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::forget::Forgotten;

/// The longest time between two rounds; a letter is deleted that much after it has become too old, at most.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// Where the age is short, there are this many rounds within it.
const ROUNDS_OF_AN_AGE: u32 = 24;

/// The time between two transactions of a round: others who write have their turn in between.
const BETWEEN_STEPS: Duration = Duration::from_millis(20);

/// The time before letters are looked for again after a failure: the store's other work must not fail with it meanwhile.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The age limit of a store's dead letters. Letters are deleted in rounds: at the start and then at an interval, each in as
/// many steps as it takes.
#[derive(Debug)]
pub(super) struct AgeLimit {
    /// `None`: letters are kept until somebody purges them.
    age: Option<Duration>,
    next_step: Instant,
    round: Option<Round>,
}

/// What a round has deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// So many letters.
    pub(super) letters: u64,
    /// Those that were given up before this time.
    pub(super) before: Timestamp,
}

impl AgeLimit {
    /// A limit whose first round is due at once.
    pub(super) fn new(age: Option<Duration>, now: Instant) -> Self {
        Self { age, next_step: now, round: None }
    }

    /// When the next step is due; `None` when there is no limit.
    pub(super) fn next_step(&self) -> Option<Instant> {
        self.age.map(|_| self.next_step)
    }

    /// When a step is due: the time before which letters were given up that are too old at `time`.
    pub(super) fn due(&self, now: Instant, time: Timestamp) -> Option<Timestamp> {
        let age = self.age.filter(|_| self.next_step <= now)?;
        // There are no letters of a time that cannot be told.
        time.checked_sub(age).ok()
    }

    /// Notes what a step has deleted. Gives what its round has when that is over and has deleted something.
    pub(super) fn step_done(&mut self, step: Forgotten, now: Instant) -> Option<Round> {
        let Forgotten { letters, before, has_more } = step;
        let earlier = self.round.take().map_or(0, |round| round.letters);
        self.round = Some(Round { letters: earlier + letters, before });
        if has_more {
            self.next_step = now + BETWEEN_STEPS;
            return None;
        }
        self.next_step = now + self.interval();
        self.end_round()
    }

    /// Notes that a transaction has failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next_step = self.next_step.max(now + AFTER_FAILURE);
    }

    /// Ends a round, over or not. Gives what it has deleted if that is something.
    pub(super) fn end_round(&mut self) -> Option<Round> {
        self.round.take().filter(|round| round.letters > 0)
    }

    fn interval(&self) -> Duration {
        self.age.map_or(LONGEST_INTERVAL, |age| (age / ROUNDS_OF_AN_AGE).min(LONGEST_INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn step(letters: u64, second: i64, has_more: bool) -> Forgotten {
        Forgotten { letters, before: at(second), has_more }
    }

    #[test]
    fn without_a_limit_nothing_is_ever_due() {
        let now = Instant::now();
        let limit = AgeLimit::new(None, now);
        assert_eq!((limit.next_step(), limit.due(now + 1000 * DAY, at(i64::from(u32::MAX)))), (None, None));
    }

    #[test]
    fn what_is_older_than_the_limit_is_due_at_the_start_and_then_at_an_interval() {
        let now = Instant::now();
        for (age, interval) in [(HOUR, HOUR / 24), (2 * HOUR, HOUR / 12), (DAY, HOUR), (366 * DAY, HOUR)] {
            let mut limit = AgeLimit::new(Some(age), now);
            assert_eq!(limit.next_step(), Some(now));
            let time = at(1_800_000_000);
            assert_eq!(limit.due(now, time), Some(time - age));
            assert_eq!(limit.step_done(step(0, 5, false), now), None, "nothing was deleted");
            assert_eq!(limit.next_step(), Some(now + interval), "{age:?}");
            assert_eq!(limit.due(now + interval - BETWEEN_STEPS, time), None);
            assert_eq!(limit.due(now + interval, time + interval), Some(time + interval - age));
        }
    }

    #[test]
    fn a_round_goes_on_until_there_is_no_more_and_counts_all_of_its_steps() {
        let now = Instant::now();
        let mut limit = AgeLimit::new(Some(DAY), now);
        assert_eq!(limit.step_done(step(256, 5, true), now), None);
        assert_eq!(limit.due(now, at(0) + 2 * DAY), None, "others have their turn");
        let now = now + BETWEEN_STEPS;
        assert!(limit.due(now, at(0) + 2 * DAY).is_some());
        assert_eq!(limit.step_done(step(3, 6, false), now), Some(Round { letters: 259, before: at(6) }));
        assert_eq!(limit.next_step(), Some(now + HOUR));
        assert_eq!(limit.step_done(step(1, 7, false), now), Some(Round { letters: 1, before: at(7) }));
        assert_eq!(limit.end_round(), None);
        limit.step_done(step(256, 8, true), now);
        assert_eq!(limit.end_round(), Some(Round { letters: 256, before: at(8) }), "of a store that ends");
    }

    #[test]
    fn after_a_failure_the_next_step_waits_and_is_not_earlier_than_planned() {
        let now = Instant::now();
        let mut limit = AgeLimit::new(Some(DAY), now);
        limit.failed(now);
        assert_eq!(limit.due(now + AFTER_FAILURE - BETWEEN_STEPS, at(0) + DAY), None);
        assert_eq!(limit.due(now + AFTER_FAILURE, at(0) + DAY), Some(at(0)));
        limit.step_done(step(0, 5, false), now);
        limit.failed(now);
        assert_eq!(limit.next_step(), Some(now + HOUR));
    }

    #[test]
    fn a_limit_that_reaches_back_beyond_all_times_deletes_nothing() {
        let now = Instant::now();
        assert_eq!(AgeLimit::new(Some(DAY), now).due(now, Timestamp::MIN), None);
    }
}
