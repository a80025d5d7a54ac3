//! When a trouble that lasts is logged: at its beginning, every minute, and at its end. Pure: the caller brings the time,
//! and logs.

use std::time::Duration;

use tokio::time::Instant;

/// How often a trouble that lasts is logged again.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// A trouble that may last.
#[derive(Debug, Default)]
pub struct Reminder {
    /// When it began, and when it is to be logged again.
    lasting: Option<(Instant, Instant)>,
}

impl Reminder {
    /// Notes that the trouble is there; true when it is to be logged.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let (since, next) = self.lasting.unwrap_or((now, now));
        let is_due = now >= next;
        self.lasting = Some((since, if is_due { now + INTERVAL } else { next }));
        is_due
    }

    /// Notes that there is no trouble; gives how long it lasted if there was one.
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        self.lasting.take().map(|(since, _)| now.saturating_duration_since(since))
    }

    /// How long the trouble has lasted.
    pub fn lasted(&self, now: Instant) -> Duration {
        self.lasting.map(|(since, _)| now.saturating_duration_since(since)).unwrap_or_default()
    }

    /// When the trouble is to be logged again; `None` while there is none.
    pub fn next_at(&self) -> Option<Instant> {
        self.lasting.map(|(_, next)| next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_logged_at_once_every_minute_and_when_it_is_over() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut reminder = Reminder::default();
        assert_eq!((reminder.end(start), reminder.next_at()), (None, None));
        let logged: Vec<u64> = (0..130).filter(|second| reminder.is_due(after(*second))).collect();
        assert_eq!(logged, [0, 60, 120]);
        assert_eq!((reminder.next_at(), reminder.lasted(after(130))), (Some(after(180)), Duration::from_secs(130)));
        assert_eq!(reminder.end(after(130)), Some(Duration::from_secs(130)));
        assert!(reminder.is_due(after(131)));
    }
}
