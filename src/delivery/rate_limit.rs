//! The rate limit of a sink: when its next attempt may start. Pure; the caller brings the time and does the waiting.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::Period;

/// How many attempts may start in a time. Every attempt counts, retries included.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Attempts per `per`.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// The time in which `requests` attempts may start, evenly spread.
    #[serde(default = "default_per")]
    pub per: Period,
    /// Attempts that may start at once after a pause. Default: 1, so that attempts are evenly spread.
    #[serde(default = "default_burst")]
    #[schemars(range(min = 1))]
    pub burst: u32,
    /// A template over the envelope, for example `{{data.tenant}}`: one bucket for each of its values.
    pub key: Option<String>,
}

fn default_per() -> Period {
    Period::from_secs(1)
}

fn default_burst() -> u32 {
    1
}
