//! When a lasting trouble is said: at its start, every minute, and when it is over.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(60);

/// A trouble that lasts.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    last_said: Option<Instant>,
}

impl Reminder {
    /// Notes that the trouble is there; true when it should be said.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.last_said.is_none_or(|said| now.saturating_duration_since(said) >= EVERY);
        if due {
            self.last_said = Some(now);
        }
        due
    }

    /// Notes that there is no trouble; true when there was.
    pub(super) fn ends(&mut self) -> bool {
        self.last_said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_at_once_every_minute_and_when_it_is_over() {
        let start = Instant::now();
        let mut reminder = Reminder::default();
        assert!(!reminder.ends());
        let said: Vec<u64> = (0..130).filter(|second| reminder.is_due(start + Duration::from_secs(*second))).collect();
        assert_eq!(said, [0, 60, 120]);
        assert!(reminder.ends());
        assert!(reminder.is_due(start));
    }
}
