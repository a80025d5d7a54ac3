//! When a failed attempt is repeated, and when it is given up. Pure: time and randomness come from the caller.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::Period;

/// When and how often a failed attempt is repeated: by `schedule`, or by `initial`, `factor` and `max`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    /// The waits, one per retry; after the last one the delivery is given up. Default, when neither this nor `initial`
    /// is set: `["5s", "5m", "30m", "2h", "5h", "10h", "10h"]`, as Standard Webhooks recommends. `[]` means no retry.
    pub schedule: Option<Vec<Period>>,
    /// The first wait of an exponential backoff. Setting it replaces the schedule.
    pub initial: Option<Period>,
    /// By how much each wait is longer than the one before. Default: 2.
    #[schemars(range(min = 1.0))]
    pub factor: Option<f64>,
    /// The longest wait of an exponential backoff. Default: `"1h"`.
    pub max: Option<Period>,
    /// The share of a wait that is random: 0.2 makes 10 s anything from 8 s to 12 s. Default: 0.2.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: Option<f64>,
    /// Give up once this much time has passed since the first attempt. Default: `"3d"`.
    pub max_elapsed: Option<Period>,
    /// Give up after this many attempts, the first included. Default: no limit but the others.
    #[schemars(range(min = 1))]
    pub max_attempts: Option<u32>,
}
