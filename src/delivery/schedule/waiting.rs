//! A delivery that waits for its next attempt, as the schedule's heap orders it.

use std::cmp::Ordering;

use tokio::time::Instant;

use super::BucketName;

/// A delivery that waits until its next attempt is due.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) due: Instant,
    /// Keeps deliveries with the same due time in the order in which they came.
    pub(super) number: u64,
    pub(super) bucket: BucketName,
    pub(super) delivery: T,
}

impl<T> Waiting<T> {
    /// The delivery, and when it is due.
    pub(super) fn into_due(self) -> (T, Instant) {
        (self.delivery, self.due)
    }
}

/// Ordered so that the heap's top is the delivery that is due first.
impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Waiting<T> {}
