//! Whether a sink's receiver works: turns thousands of failed attempts into two log lines, one when the trouble begins
//! and one when it is over. It only observes; nothing is decided by it.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::reminder::Reminder;

/// The log of one sink's failures.
#[derive(Debug)]
pub(super) struct FailureLog {
    sink: Arc<str>,
    trouble: Reminder,
    /// Attempts that have failed since the trouble began.
    failures: u64,
}

impl FailureLog {
    /// A sink of which nothing bad is known.
    pub(super) fn new(sink: Arc<str>) -> Self {
        Self { sink, trouble: Reminder::default(), failures: 0 }
    }

    /// Notes an attempt that failed and may be repeated.
    pub(super) fn failed(&mut self, event: &str, message: &str) {
        let now = Instant::now();
        self.failures += 1;
        if !self.trouble.is_due(now) {
            return;
        }
        if self.failures == 1 {
            warn!(sink = %self.sink, event, "attempts fail: {message}; they are repeated as `retry` says");
        } else {
            warn!(sink = %self.sink, event, failed_attempts = self.failures, since = ?self.trouble.lasted(now),
                "attempts still fail: {message}");
        }
    }

    /// Notes an attempt that succeeded.
    pub(super) fn succeeded(&mut self) {
        // Mostly there is no trouble, and then no clock is read.
        if self.failures == 0 {
            return;
        }
        let (failed_attempts, lasted) = (std::mem::take(&mut self.failures), self.trouble.end(Instant::now()));
        info!(sink = %self.sink, failed_attempts, lasted = ?lasted.unwrap_or_default(), "attempts succeed again");
    }
}
