//! When a failed attempt is repeated, and when it is given up. Pure: time and randomness come from the caller.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::backoff::{Backoff, InvalidBackoff, Jitter};
use crate::problem::Problem;
use crate::units::Period;

/// When and how often a failed attempt is repeated: by `schedule`, or by `initial`, `factor` and `max`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("dependentSchemas" = serde_json::json!({
    "schedule": { "properties": { "initial": false, "factor": false, "max": false } },
})))]
pub struct RetryConfig {
    /// The waits, one per retry; after the last one the delivery is given up. Default, when neither this nor `initial`
    /// is set: `["5s", "5m", "30m", "2h", "5h", "10h", "10h"]`, as Standard Webhooks recommends. `[]` means no retry.
    #[schemars(example = ["1s", "30s", "5m", "1h"], extend("default" = STANDARD_WEBHOOKS.map(Period)))]
    pub schedule: Option<Vec<Period>>,
    /// The first wait of an exponential backoff. Setting it replaces the schedule.
    pub initial: Option<Period>,
    /// By how much each wait is longer than the one before. Default: 2.
    #[schemars(range(min = 1.0, max = 1000.0))]
    #[schemars(extend("default" = DEFAULT_FACTOR))]
    pub factor: Option<f64>,
    /// The longest wait of an exponential backoff. Default: `"1h"`.
    #[schemars(extend("default" = Period(DEFAULT_MAX)))]
    pub max: Option<Period>,
    /// The share of a wait that is random: 0.2 makes 10 s anything from 8 s to 12 s. Default: 0.2.
    #[schemars(range(min = 0.0, max = 1.0))]
    #[schemars(extend("default" = DEFAULT_JITTER))]
    pub jitter: Option<f64>,
    /// Give up once this much time has passed since the first attempt. Default: `"3d"`.
    #[schemars(extend("default" = Period(DEFAULT_MAX_ELAPSED)))]
    pub max_elapsed: Option<Period>,
    /// Give up after this many attempts, the first included. Default: no limit but the others.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[schemars(example = 10)]
    pub max_attempts: Option<u32>,
    /// A delivery that has to wait longer than this, in one go or in all, waits in the store: its source moves on.
    /// Default: `"30s"`.
    #[schemars(extend("default" = Period(DEFAULT_PARK_AFTER)))]
    pub park_after: Option<Period>,
    /// The longest pause that a receiver gets with `Retry-After`; what it asks beyond that is not waited for. It is
    /// long enough for hourly quotas, and a date that was sent as a number of seconds costs an hour and not years.
    /// Default: `"1h"`.
    #[schemars(extend("default" = Period(DEFAULT_MAX_RETRY_AFTER)))]
    pub max_retry_after: Option<Period>,
}

/// The checked form of [`RetryConfig`]: decides after every failed attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    waits: Waits,
    max_elapsed: Duration,
    max_attempts: Option<u32>,
    park_after: Duration,
    max_retry_after: Duration,
}

#[derive(Debug, Clone, PartialEq)]
enum Waits {
    Schedule(Vec<Duration>, Jitter),
    Exponential(Backoff),
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this wait.
    RetryAfter(Duration),
    /// Do not try again.
    GiveUp(Exhausted),
}

/// Why no further attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The schedule has no further entry.
    #[error("the retry schedule is used up")]
    Schedule,
    /// `max_attempts` have been made.
    #[error("max_attempts is reached")]
    Attempts,
    /// The next attempt would come after `max_elapsed`.
    #[error("max_elapsed would pass before the next attempt")]
    Elapsed,
}

/// What the decision is based on.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// Attempts made so far, this one included.
    pub attempts: u32,
    /// Time since the first attempt began.
    pub elapsed: Duration,
    /// What the receiver asked for (`Retry-After`); it is never undercut.
    pub retry_after: Option<Duration>,
}

const STANDARD_WEBHOOKS: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(10 * 3600),
];
const DEFAULT_FACTOR: f64 = 2.0;
const DEFAULT_JITTER: f64 = 0.2;
const DEFAULT_MAX: Duration = Duration::from_secs(3600);
const DEFAULT_MAX_ELAPSED: Duration = Duration::from_secs(3 * 24 * 3600);
const DEFAULT_PARK_AFTER: Duration = Duration::from_secs(30);
const DEFAULT_MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

impl RetryPolicy {
    /// Checks a `retry` table.
    ///
    /// # Errors
    /// Every key at fault, with its path below `retry`.
    pub fn new(config: &RetryConfig) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if config.max_attempts == Some(0) {
            problems
                .push(Problem::new(["max_attempts"], "must be at least 1").with_help("the first attempt counts too"));
        }
        let jitter = Jitter::new(config.jitter.unwrap_or(DEFAULT_JITTER)).unwrap_or_else(|error| {
            problems.push(Problem::new(["jitter"], error).with_help("0.2 makes 10 s anything from 8 s to 12 s"));
            Jitter::NONE
        });
        let waits = Self::waits(config, jitter).unwrap_or_else(|problem| {
            problems.push(problem);
            Waits::Schedule(Vec::new(), jitter)
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let max_elapsed = config.max_elapsed.map_or(DEFAULT_MAX_ELAPSED, |period| period.0);
        let park_after = config.park_after.map_or(DEFAULT_PARK_AFTER, |period| period.0);
        let max_retry_after = config.max_retry_after.map_or(DEFAULT_MAX_RETRY_AFTER, |period| period.0);
        Ok(Self { waits, max_elapsed, max_attempts: config.max_attempts, park_after, max_retry_after })
    }

    /// The longest that a delivery waits in memory, in one go or in all.
    pub fn park_after(&self) -> Duration {
        self.park_after
    }

    /// The longest pause that a receiver gets with `Retry-After`.
    pub fn max_retry_after(&self) -> Duration {
        self.max_retry_after
    }

    fn waits(config: &RetryConfig, jitter: Jitter) -> Result<Waits, Problem> {
        let Some(initial) = config.initial else {
            if let Some(key) = Self::exponential_key(config) {
                let help = "set `initial` to the first wait of the backoff";
                return Err(Problem::new([key], "means nothing without `initial`").with_help(help));
            }
            let schedule = config.schedule.as_ref().map_or_else(
                || STANDARD_WEBHOOKS.to_vec(),
                |schedule| schedule.iter().map(|period| period.0).collect(),
            );
            return Ok(Waits::Schedule(schedule, jitter));
        };
        if config.schedule.is_some() {
            let help = "keep `schedule`, or `initial` with `factor` and `max`";
            return Err(Problem::new(["initial"], "cannot be combined with `schedule`").with_help(help));
        }
        let factor = config.factor.unwrap_or(DEFAULT_FACTOR);
        let max = config.max.map_or(DEFAULT_MAX.max(initial.0), |period| period.0);
        Backoff::new(initial.0, factor, max, jitter).map(Waits::Exponential).map_err(|error| {
            let key = if error == InvalidBackoff::Max { "max" } else { "factor" };
            Problem::new([key], error)
        })
    }

    fn exponential_key(config: &RetryConfig) -> Option<&'static str> {
        config.factor.map(|_| "factor").or(config.max.map(|_| "max"))
    }

    /// What follows a failed attempt. `random` is evenly spread over 0 to 1.
    pub fn decide(&self, failure: Failure, random: f64) -> Decision {
        if self.max_attempts.is_some_and(|max| failure.attempts >= max) {
            return Decision::GiveUp(Exhausted::Attempts);
        }
        let Some(wait) = self.waits.after(failure.attempts, random) else {
            return Decision::GiveUp(Exhausted::Schedule);
        };
        // A pause that the receiver asks for is no reason to give up: what comes after it is judged after it.
        if failure.elapsed.saturating_add(wait) > self.max_elapsed {
            return Decision::GiveUp(Exhausted::Elapsed);
        }
        Decision::RetryAfter(wait.max(failure.retry_after.unwrap_or_default()))
    }
}

impl Waits {
    fn after(&self, attempts: u32, random: f64) -> Option<Duration> {
        match self {
            Self::Schedule(schedule, jitter) => {
                let index = usize::try_from(attempts.checked_sub(1)?).ok()?;
                schedule.get(index).map(|wait| jitter.apply(*wait, random))
            }
            Self::Exponential(backoff) => Some(backoff.wait(attempts, random)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(toml: &str) -> RetryPolicy {
        RetryPolicy::new(&toml::from_str(toml).unwrap()).unwrap()
    }

    fn failure(attempts: u32) -> Failure {
        Failure { attempts, elapsed: Duration::ZERO, retry_after: None }
    }

    #[test]
    fn a_schedule_is_followed_to_its_end() {
        let policy = policy(r#"schedule = ["1s", "5s"]"#);
        assert_eq!(policy.decide(failure(1), 0.5), Decision::RetryAfter(Duration::from_secs(1)));
        assert_eq!(policy.decide(failure(2), 0.5), Decision::RetryAfter(Duration::from_secs(5)));
        assert_eq!(policy.decide(failure(3), 0.5), Decision::GiveUp(Exhausted::Schedule));
    }

    #[test]
    fn an_empty_schedule_never_retries() {
        assert_eq!(policy("schedule = []").decide(failure(1), 0.5), Decision::GiveUp(Exhausted::Schedule));
    }

    #[test]
    fn the_limits_end_a_backoff() {
        let policy = policy("initial = '1s'\nmax_attempts = 3\nmax_elapsed = '10s'");
        assert_eq!(policy.decide(failure(3), 0.5), Decision::GiveUp(Exhausted::Attempts));
        let late = Failure { attempts: 2, elapsed: Duration::from_secs(9), retry_after: None };
        assert_eq!(policy.decide(late, 0.5), Decision::GiveUp(Exhausted::Elapsed));
    }

    #[test]
    fn every_fault_of_the_table_is_named() {
        let config = "schedule = ['1s']\ninitial = '1s'\njitter = 2.0\nmax_attempts = 0";
        let problems = RetryPolicy::new(&toml::from_str(config).unwrap()).unwrap_err();
        let keys: Vec<String> = problems.into_iter().map(|problem| problem.path.concat()).collect();
        assert_eq!(keys, ["max_attempts", "jitter", "initial"]);
        assert!(RetryPolicy::new(&toml::from_str("factor = 3.0").unwrap()).is_err());
    }

    proptest! {
        /// Whatever the policy, a retry never comes before the receiver's `Retry-After`, nor after `max_elapsed` but for
        /// that: a pause alone never ends a delivery.
        #[test]
        fn retry_after_and_max_elapsed_are_kept(
            attempts in 1_u32..20, elapsed in 0_u64..400_000, retry_after in prop::option::of(0_u64..400_000),
            random in 0.0_f64..=1.0, exponential in any::<bool>(),
        ) {
            let policy = policy(if exponential { "initial = '1s'" } else { "" });
            let failure = Failure {
                attempts, elapsed: Duration::from_secs(elapsed), retry_after: retry_after.map(Duration::from_secs),
            };
            let unasked = policy.decide(Failure { retry_after: None, ..failure }, random);
            match (policy.decide(failure, random), unasked) {
                (Decision::RetryAfter(wait), Decision::RetryAfter(unasked)) => {
                    prop_assert_eq!(wait, unasked.max(failure.retry_after.unwrap_or_default()));
                    prop_assert!(unasked + failure.elapsed <= DEFAULT_MAX_ELAPSED);
                }
                (decision, unasked) => prop_assert_eq!(decision, unasked),
            }
        }
    }
}
