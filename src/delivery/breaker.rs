//! The circuit breaker of one bucket: whether attempts may be made, by how the last ones went. Pure; the caller brings
//! the time.

use schemars::JsonSchema;
use serde::Deserialize;

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
