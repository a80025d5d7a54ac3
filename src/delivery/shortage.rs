//! How long a sink starts no attempt as this process may not open a connection, and when people are told. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::reminder::Reminder;

/// A shortage of connections in this process.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    end: Option<Instant>,
    reminder: Reminder,
}

/// So long the sink waits before it tries again.
const PAUSE: Duration = Duration::from_millis(50);

impl Shortage {
    /// Notes that a connection could not be opened. True when that is to be logged.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.end = Some(now + PAUSE);
        self.reminder.is_due(now)
    }

    /// No attempt may start before this moment.
    pub(super) fn end(&self) -> Option<Instant> {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reminder::INTERVAL;

    #[test]
    fn each_shortage_holds_attempts_for_a_moment_and_few_are_logged() {
        let (start, mut shortage) = (Instant::now(), Shortage::default());
        assert_eq!(shortage.end(), None);
        assert!(shortage.begin(start));
        assert!(!shortage.begin(start + INTERVAL / 2));
        assert_eq!(shortage.end(), Some(start + INTERVAL / 2 + PAUSE));
        assert!(shortage.begin(start + INTERVAL));
    }
}
