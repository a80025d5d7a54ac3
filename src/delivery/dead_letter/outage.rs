//! When it is logged that dead letters cannot be sent: at the beginning, each minute, and at the end. Pure: it neither logs
//! nor reads the clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::reminder::Reminder;

/// The letters that have failed and are not sent yet.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failing: usize,
    reminder: Reminder,
}

impl Outage {
    /// A letter has failed for the first time. True when it is the first to fail.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.failing += 1;
        self.failing == 1 && self.reminder.is_due(now)
    }

    /// A letter that had failed is sent. Returns how long the outage lasted when it was the last.
    pub(super) fn end(&mut self, now: Instant) -> Option<Duration> {
        self.failing = self.failing.saturating_sub(1);
        if self.failing == 0 { self.reminder.end(now) } else { None }
    }

    /// When the next reminder is due.
    pub(super) fn remind_at(&self) -> Option<Instant> {
        self.reminder.next_at()
    }

    /// Returns how many letters are failing when it is time for a reminder.
    pub(super) fn remind(&mut self, now: Instant) -> Option<usize> {
        (self.failing > 0 && self.reminder.is_due(now)).then_some(self.failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_beginning_each_minute_and_the_end_are_told() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut outage = Outage::default();
        assert!(outage.begin(start));
        assert!(!outage.begin(after(1)));
        assert_eq!(outage.remind(after(59)), None);
        assert_eq!(outage.remind(after(60)), Some(2));
        assert_eq!((outage.remind(after(119)), outage.remind(after(125))), (None, Some(2)));
        assert_eq!(outage.end(after(130)), None);
        assert_eq!(outage.end(after(131)), Some(Duration::from_secs(131)));
        assert_eq!((outage.remind_at(), outage.remind(after(500))), (None, None));
        assert!(outage.begin(after(600)), "the next one is a new one");
    }

    proptest! {
        /// Reminders are due exactly while letters are failing.
        #[test]
        fn reminders_last_as_long_as_the_outage(steps in prop::collection::vec(any::<bool>(), 1..50)) {
            let mut outage = Outage::default();
            let mut failing = 0_usize;
            for begins in steps {
                if begins {
                    prop_assert_eq!(outage.begin(Instant::now()), failing == 0);
                    failing += 1;
                } else if failing > 0 {
                    failing -= 1;
                    prop_assert_eq!(outage.end(Instant::now()).is_some(), failing == 0);
                }
                prop_assert_eq!(outage.remind_at().is_some(), failing > 0);
            }
        }
    }
}
