//! Whether a sink's receiver works: turns thousands of failed attempts into two log lines, one when the trouble begins
//! and one when it is over. It only observes; nothing is decided by it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

/// The log of one sink's ups and downs.
#[derive(Debug)]
pub(super) struct Health {
    sink: Arc<str>,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    failures: u64,
    last_logged: Instant,
}

/// How often a trouble that lasts is logged again.
const REMINDER: Duration = Duration::from_secs(60);

impl Health {
    /// A sink of which nothing bad is known.
    pub(super) fn new(sink: Arc<str>) -> Self {
        Self { sink, trouble: None }
    }

    /// Notes an attempt that failed and may be repeated.
    pub(super) fn failed(&mut self, event: &str, message: &str) {
        let now = Instant::now();
        let Some(trouble) = &mut self.trouble else {
            warn!(sink = %self.sink, event, "attempts fail: {message}; they are repeated as `retry` says");
            self.trouble = Some(Trouble { since: now, failures: 1, last_logged: now });
            return;
        };
        trouble.failures += 1;
        if now - trouble.last_logged >= REMINDER {
            trouble.last_logged = now;
            warn!(sink = %self.sink, event, failed_attempts = trouble.failures, since = ?(now - trouble.since),
                "attempts still fail: {message}");
        }
    }

    /// Notes an attempt that succeeded.
    pub(super) fn succeeded(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            info!(sink = %self.sink, failed_attempts = trouble.failures, lasted = ?trouble.since.elapsed(),
                "attempts succeed again");
        }
    }
}
