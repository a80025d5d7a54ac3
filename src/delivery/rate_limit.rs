//! The rate limit of one bucket: when its next attempt may start. Pure; the caller brings the time and does the waiting.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::jq::ValueText;
use crate::problem::Problem;
use crate::units::Period;

/// How many attempts may start in a time. Every attempt counts, retries included.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Attempts per `per`.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[schemars(example = 100)]
    pub requests: u32,
    /// The time in which `requests` attempts may start, evenly spread.
    #[serde(default = "default_per")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "366d"))]
    pub per: Period,
    /// Attempts that may start at once after a pause. Default: 1, so that attempts are evenly spread.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[serde(default = "default_burst")]
    pub burst: u32,
    /// A template over the envelope, for example `{{data.tenant}}`: one bucket for each of its values. `{ jq = "…" }` is a program
    /// in its place. Without it there is one bucket for all.
    #[schemars(example = &"{{data.tenant}}")]
    pub key: Option<ValueText>,
}

/// The longest time in which a bucket fills: `governor` counts in nanoseconds, of which a `u64` holds 584 years.
const LONGEST_REPLENISHMENT: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

fn default_per() -> Period {
    Period::from_secs(1)
}

fn default_burst() -> u32 {
    1
}

/// The checked form of [`RateLimitConfig`], without its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Quota);

/// One bucket: the generic cell rate algorithm (GCRA), after ITU-T I.371, as `governor` has it.
#[derive(Debug)]
pub struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, GivenTime, NoOpMiddleware<Nanos>>,
    time: GivenTime,
    origin: Instant,
    replenished_in: Duration,
}

impl Rate {
    /// Checks a `rate_limit` table.
    ///
    /// # Errors
    /// Every key at fault, with its path below `rate_limit`.
    pub fn new(config: &RateLimitConfig) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if config.requests == 0 {
            problems.push(Problem::new(["requests"], "must be at least 1"));
        }
        let burst = NonZeroU32::new(config.burst);
        if burst.is_none() {
            problems.push(Problem::new(["burst"], "must be at least 1").with_help("1 spreads attempts evenly"));
        }
        let spacing = config.per.0.checked_div(config.requests);
        let quota = spacing.and_then(Quota::with_period);
        if config.requests > 0 && quota.is_none() {
            let message = format!("{} requests per {} are more than one per nanosecond", config.requests, config.per);
            problems.push(Problem::new(["per"], message).with_help("leave the rate limit out for no limit"));
        }
        let replenished_in = spacing.and_then(|spacing| spacing.checked_mul(config.burst));
        if spacing.is_some() && replenished_in.is_none_or(|replenished_in| replenished_in > LONGEST_REPLENISHMENT) {
            let message = format!(
                "at {} requests per {}, {} attempts take more than ten years to come back",
                config.requests, config.per, config.burst
            );
            problems.push(Problem::new(["burst"], message).with_help("write a smaller `burst`, or a shorter `per`"));
        }
        match (quota, burst) {
            (Some(quota), Some(burst)) if problems.is_empty() => Ok(Self(quota.allow_burst(burst))),
            _ => Err(problems),
        }
    }
}

impl Bucket {
    /// A full bucket: `burst` attempts may start at once.
    pub fn new(rate: Rate, now: Instant) -> Self {
        let time = GivenTime::default();
        Self {
            limiter: RateLimiter::direct_with_clock(rate.0, time.clone()),
            time,
            origin: now,
            replenished_in: rate.0.burst_size_replenished_in(),
        }
    }

    /// Takes a place for an attempt that starts now.
    ///
    /// # Errors
    /// The moment at which there will be a place; none was taken.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.time.set(now.saturating_duration_since(self.origin));
        self.limiter.check().map_err(|not_until| now + not_until.wait_time_from(self.time.now()))
    }

    /// The time after which an unused bucket is full again, and so no different from a new one.
    pub fn replenished_in(&self) -> Duration {
        self.replenished_in
    }
}

/// A clock that shows the time it was last given: `governor` asks a clock, this code hands the time in.
#[derive(Debug, Clone, Default)]
struct GivenTime(Arc<AtomicU64>);

impl GivenTime {
    fn set(&self, since_origin: Duration) {
        self.0.store(u64::try_from(since_origin.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for GivenTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(requests: u32, per_ms: u64, burst: u32) -> Rate {
        let per = Period::from_millis(per_ms);
        Rate::new(&RateLimitConfig { requests, per, burst, key: None }).unwrap()
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_is_spread() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(10, 1000, 2), start);
        assert_eq!(bucket.take(start), Ok(()));
        assert_eq!(bucket.take(start), Ok(()));
        let free = bucket.take(start).unwrap_err();
        assert_eq!(free - start, Duration::from_millis(100));
        assert_eq!(bucket.take(free), Ok(()));
        assert!(bucket.take(free).is_err());
    }

    #[test]
    fn impossible_limits_are_refused() {
        let config = RateLimitConfig { requests: 0, per: Period::from_secs(1), burst: 0, key: None };
        assert_eq!(Rate::new(&config).unwrap_err().len(), 2);
        let config = RateLimitConfig { requests: 2, per: Period(Duration::from_nanos(1)), burst: 1, key: None };
        assert_eq!(Rate::new(&config).unwrap_err()[0].path, ["per"]);
        let days = |days: u64| Period::from_secs(days * 24 * 3600);
        for (per, burst, key) in [(days(213_504), 1, "burst"), (days(100_000), 3, "burst"), (days(366), 11, "burst")] {
            let config = RateLimitConfig { requests: 1, per, burst, key: None };
            assert_eq!(Rate::new(&config).unwrap_err()[0].path, [key], "{per} {burst}");
        }
    }

    #[test]
    fn a_very_slow_limit_is_kept() {
        let (start, year) = (Instant::now(), Duration::from_secs(366 * 24 * 3600));
        let config = RateLimitConfig { requests: 1, per: Period(year), burst: 3, key: None };
        let mut bucket = Bucket::new(Rate::new(&config).unwrap(), start);
        assert_eq!([(); 3].map(|()| bucket.take(start)), [Ok(()); 3]);
        assert_eq!(bucket.take(start).unwrap_err() - start, year);
    }

    proptest! {
        /// In no window of time do more attempts start than its share of the rate plus the burst, and whoever waits as
        /// long as told gets a place.
        #[test]
        fn no_window_holds_too_many(
            requests in 1_u32..50, per_ms in 50_u64..5_000, burst in 1_u32..20,
            gaps_ms in prop::collection::vec(0_u64..200, 1..200),
        ) {
            let origin = Instant::now();
            let mut bucket = Bucket::new(rate(requests, per_ms, burst), origin);
            let mut now = origin;
            let mut starts: Vec<Instant> = Vec::new();
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                if let Err(free) = bucket.take(now) {
                    prop_assert!(free > now);
                    now = free;
                    prop_assert_eq!(bucket.take(now), Ok(()));
                }
                starts.push(now);
            }
            let spacing = Duration::from_millis(per_ms) / requests;
            for (index, first) in starts.iter().enumerate() {
                for (count, last) in starts[index..].iter().enumerate() {
                    let allowed = (*last - *first).as_nanos() / spacing.as_nanos() + u128::from(burst);
                    prop_assert!((count as u128) < allowed + 1, "{count} attempts in {:?}", *last - *first);
                }
            }
        }
    }
}
