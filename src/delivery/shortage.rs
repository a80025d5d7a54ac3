//! How long a sink starts no attempt as this process may not open a connection, and when people are told. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A shortage of connections in this process.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    end: Option<Instant>,
    logged_at: Option<Instant>,
}

/// So long the sink waits before it tries again.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a shortage is logged.
const REMINDER: Duration = Duration::from_secs(60);

impl Shortage {
    /// Notes that a connection could not be opened. True when that is to be logged.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.end = Some(now + PAUSE);
        let is_news = self.logged_at.is_none_or(|logged_at| now - logged_at >= REMINDER);
        if is_news {
            self.logged_at = Some(now);
        }
        is_news
    }

    /// No attempt may start before this moment.
    pub(super) fn end(&self) -> Option<Instant> {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shortage_holds_attempts_for_a_moment_and_few_are_logged() {
        let (start, mut shortage) = (Instant::now(), Shortage::default());
        assert_eq!(shortage.end(), None);
        assert!(shortage.begin(start));
        assert!(!shortage.begin(start + REMINDER / 2));
        assert_eq!(shortage.end(), Some(start + REMINDER / 2 + PAUSE));
        assert!(shortage.begin(start + REMINDER));
    }
}
