//! How many of the last attempts failed. Pure; the caller brings the time.

use std::time::Duration;

use tokio::time::Instant;

/// Attempts and failures over a sliding time, in slots of equal length: memory does not grow with the attempts, and
/// the window is exact to a slot.
#[derive(Debug)]
pub(super) struct Window {
    slots: [Share; SLOTS],
    slot_length: Duration,
    origin: Instant,
    /// The number of the latest slot, counted from `origin`.
    latest: u128,
}

/// Attempts, and how many of them failed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Share {
    pub(super) attempts: u32,
    pub(super) failures: u32,
}

/// The slots of a window.
pub(super) const SLOTS: usize = 10;

impl Window {
    /// An empty window.
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let slot_length = (length / SLOTS as u32).max(Duration::from_nanos(1));
        Self { slots: [Share::default(); SLOTS], slot_length, origin: now, latest: 0 }
    }

    /// Counts an attempt.
    pub(super) fn note(&mut self, failed: bool, now: Instant) {
        let number = now.saturating_duration_since(self.origin).as_nanos() / self.slot_length.as_nanos();
        let passed = number.saturating_sub(self.latest).min(SLOTS as u128);
        for past in 0..passed {
            self.slots[index(number - past)] = Share::default();
        }
        self.latest = self.latest.max(number);
        let slot = &mut self.slots[index(self.latest)];
        slot.attempts = slot.attempts.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
    }

    /// The sum of the window that ends with the latest noted attempt.
    pub(super) fn share(&self) -> Share {
        self.slots.iter().fold(Share::default(), |sum, slot| Share {
            attempts: sum.attempts.saturating_add(slot.attempts),
            failures: sum.failures.saturating_add(slot.failures),
        })
    }
}

fn index(number: u128) -> usize {
    (number % SLOTS as u128) as usize
}
