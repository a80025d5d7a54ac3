//! When a breaker opens and for how long: the `breaker` table of a sink, and its checked form.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::problem::Problem;
use crate::units::Period;

/// When attempts stop for a while because the receiver fails. Failures are those that `responses` answers with `retry`,
/// `429` excepted, and attempts without an answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures in a row that open the breaker. 0 switches it off.
    #[schemars(range(max = 1_000_000))]
    #[serde(default = "default_failures")]
    pub failures: u32,
    /// The share of failed attempts within `window` that opens the breaker; at least `min_attempts` are looked at.
    #[serde(default = "default_failure_ratio")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub failure_ratio: f64,
    /// The time over which `failure_ratio` is measured.
    #[serde(default = "default_window")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "7d"))]
    pub window: Period,
    /// Attempts within `window` below which their ratio says nothing.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "default_min_attempts")]
    pub min_attempts: u32,
    /// How long the breaker stays open before one attempt tries the receiver. It doubles with each that fails.
    #[serde(default = "default_open_for")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "7d"))]
    pub open_for: Period,
    /// The longest that the breaker stays open in one go.
    #[serde(default = "default_max_open")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "7d"))]
    pub max_open: Period,
}

/// The checked form of [`BreakerConfig`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerPolicy {
    pub(super) failures: u32,
    pub(super) failure_ratio: f64,
    pub(super) window: Duration,
    pub(super) min_attempts: u32,
    pub(super) open_for: Duration,
    pub(super) max_open: Duration,
}

/// The longest time that may be set here.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

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
            if period.0 > LONGEST {
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
