//! Deliveries: the attempt loop of one sink.

pub mod rate_limit;
pub mod responses;
pub mod retry;
pub mod schedule;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use rate_limit::RateLimitConfig;
use responses::Action;
use retry::RetryConfig;

/// Keys that every sink has, beside those of its type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Names of sources or filters whose events come in; `<filter>.unmatched` takes what a filter turns away.
    #[schemars(length(min = 1))]
    pub from: Vec<String>,
    /// Attempts under way at the same time, at most. A delivery that waits is not under way.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1))]
    pub concurrency: usize,
    /// When and how often a failed attempt is repeated.
    #[serde(default)]
    pub retry: RetryConfig,
    /// How many attempts may start in a time, retries included. Without it there is no limit.
    pub rate_limit: Option<RateLimitConfig>,
    /// What an answer's status means, where it differs from the defaults: `2xx` delivered; `408 425 429 5xx` retry;
    /// `410` disable; all others dead-letter. Keys are a status (`"409"`) or a class (`"4xx"`).
    #[serde(default)]
    pub responses: BTreeMap<String, Action>,
}

fn default_concurrency() -> usize {
    32
}
