//! The time of day that due times are measured by. It never goes back while the process lives: when the system's clock is
//! set back, what waits must not wait for longer. It does no more than tell the time and say that the clock was set back.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{info, warn};

/// A difference that is worth a word. Smaller ones are what keeping the clock right brings with it.
const NOTABLE: Duration = Duration::from_secs(5);

/// The time by the system's clock, or by what has passed since, whichever is later.
pub fn steady_now() -> Timestamp {
    static CLOCK: LazyLock<Mutex<SteadyClock>> =
        LazyLock::new(|| Mutex::new(SteadyClock::new(Timestamp::now(), Instant::now())));
    let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let (now, news) = clock.judge(Timestamp::now(), Instant::now());
    drop(clock);
    match news {
        Some(News::SetBack(by)) => warn!(
            by_seconds = by.as_secs(),
            "the system's clock was set back; until it has caught up, due times are measured by the time that has passed, \
             so that nothing that waits is late. After a restart before that, what is parked is late by as much"
        ),
        Some(News::CaughtUp) => info!("the system's clock has caught up: due times are measured by it again"),
        None => {}
    }
    now
}

/// What is to be said of the system's clock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is behind by so much, and that is new.
    SetBack(Duration),
    /// It is not behind any more.
    CaughtUp,
}

/// The latest time that was told, and when. [`steady_now`] is the one of the process; tests bring their own time.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    time: Timestamp,
    told: Instant,
    /// How far the system's clock was behind when that was last said.
    said: Option<Duration>,
}

impl SteadyClock {
    pub(crate) fn new(wall: Timestamp, now: Instant) -> Self {
        Self { time: wall, told: now, said: None }
    }

    /// The time, when the system's clock says `wall`, and what is new about that clock.
    pub(crate) fn judge(&mut self, wall: Timestamp, now: Instant) -> (Timestamp, Option<News>) {
        let passed = now.saturating_duration_since(self.told);
        let steady = self.time.checked_add(passed).unwrap_or(Timestamp::MAX);
        self.time = wall.max(steady);
        self.told = self.told.max(now);
        let behind = Duration::try_from(self.time.duration_since(wall)).unwrap_or_default();
        let news = match self.said {
            None if behind >= NOTABLE => Some(News::SetBack(behind)),
            Some(said) if behind >= said + NOTABLE => Some(News::SetBack(behind)),
            Some(_) if behind.is_zero() => Some(News::CaughtUp),
            _ => None,
        };
        match news {
            Some(News::SetBack(by)) => self.said = Some(by),
            Some(News::CaughtUp) => self.said = None,
            None => {}
        }
        (self.time, news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_clock_that_is_set_back_is_told_once_and_holds_nothing_up() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut clock = SteadyClock::new(at(10_000), start);
        assert_eq!(clock.judge(at(10_001), later(1)), (at(10_001), None));
        let hour = Duration::from_secs(3600);
        assert_eq!(clock.judge(at(6_402), later(2)), (at(10_002), Some(News::SetBack(hour))));
        assert_eq!(clock.judge(at(6_403), later(3)), (at(10_003), None), "it is said once");
        assert_eq!(clock.judge(at(2_804), later(4)), (at(10_004), Some(News::SetBack(2 * hour))), "and once more");
        assert_eq!(clock.judge(at(10_010), later(5)), (at(10_010), Some(News::CaughtUp)));
        assert_eq!(clock.judge(at(10_010), later(6)), (at(10_011), None), "small differences are not worth a word");
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed() {
        let start = Instant::now();
        let mut clock = SteadyClock::new(at(100), start);
        assert_eq!(clock.judge(at(5_000), start + Duration::from_secs(1)), (at(5_000), None));
    }

    proptest! {
        /// Whatever the clock is set to, time passes at least as fast as it does, and is never behind the clock.
        #[test]
        fn time_never_goes_back(steps in prop::collection::vec((0_u64..10_000, -100_000_i64..100_000), 1..50)) {
            let start = Instant::now();
            let mut clock = SteadyClock::new(at(0), start);
            let (mut now, mut before) = (start, at(0));
            for (passed, wall) in steps {
                let passed = Duration::from_millis(passed);
                now += passed;
                let (time, _) = clock.judge(at(wall), now);
                prop_assert!(time >= at(wall) && time >= before.checked_add(passed).unwrap());
                before = time;
            }
        }
    }
}
