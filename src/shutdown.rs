//! The end of a run: one signal that everybody receives, and the moments by which all must be done.
//!
//! Sources stop reading at the signal; deliveries in flight go on until the deadline. Then sources have a moment to
//! commit and to close, and after them the store to write; what then hangs in the threads of a runtime is left after a
//! second. So with the default of 25 s for deliveries all is over 29 s after the signal, before Kubernetes kills what has
//! not ended after 30 s.
//!
//! A part of the run that can end by
//! itself (a pipeline of the process, a source that a reload takes away) has a [child](Shutdown::child): it ends with
//! the whole, and alone when it is told to. This module knows nothing of process signals: whoever handles those calls
//! [`Shutdown::begin`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::timer::sleep_until;

/// How long after the deadline sources may take to commit and to close.
const CLOSING: Duration = Duration::from_secs(2);

/// How long after the deadline the store may take to write what it was given.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// A handle on the end of the run, or of a part of it; all clones are one.
#[derive(Debug, Clone)]
pub struct Shutdown {
    begun: CancellationToken,
    /// When it was told, and when each of those that it ends with was: the innermost first.
    moments: Vec<Arc<OnceLock<Instant>>>,
    timeout: Duration,
}

impl Shutdown {
    /// A run that, once told to end, may take `timeout` to finish what is in flight.
    pub fn new(timeout: Duration) -> Self {
        Self { begun: CancellationToken::new(), moments: vec![Arc::default()], timeout }
    }

    /// A part of this run, which may take `timeout` to finish what is in flight. It ends with the run, and the run goes
    /// on when only the part is told to end.
    #[must_use]
    pub fn child(&self, timeout: Duration) -> Self {
        let mut moments = vec![Arc::default()];
        moments.extend(self.moments.iter().cloned());
        Self { begun: self.begun.child_token(), moments, timeout }
    }

    /// Tells everybody to finish. Later calls change nothing.
    pub fn begin(&self) {
        if let Some(moment) = self.moments.first() {
            moment.get_or_init(Instant::now);
        }
        self.begun.cancel();
    }

    /// Waits until the shutdown begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// The moment by which all must be done; `None` while the run goes on.
    pub fn deadline(&self) -> Option<Instant> {
        self.begun_at().map(|begun_at| begun_at + self.timeout)
    }

    /// The moment by which sources must have committed and closed; `None` while the run goes on.
    pub fn closing_deadline(&self) -> Option<Instant> {
        self.deadline().map(|deadline| deadline + CLOSING)
    }

    /// Waits for the moment at which something that closes now must be left as it is: two seconds after the shutdown
    /// has begun, or from now when it has, but never beyond [`closing_deadline`](Self::closing_deadline). Who closes has
    /// nothing in flight any more, so there is nothing that could use the time of the deliveries.
    pub async fn closing_time_is_up(&self) {
        let begins_to_close = Instant::now();
        self.begun().await;
        let begun_at = self.begun_at().unwrap_or(begins_to_close);
        sleep_until(self.at_most_closing_deadline(begun_at.max(begins_to_close) + CLOSING)).await;
    }

    fn at_most_closing_deadline(&self, moment: Instant) -> Option<Instant> {
        self.closing_deadline().map(|latest| latest.min(moment))
    }

    fn begun_at(&self) -> Option<Instant> {
        self.moments.iter().filter_map(|moment| moment.get()).min().copied()
    }

    /// The moment by which everything must be over; `None` while the run goes on.
    pub fn last_moment(&self) -> Option<Instant> {
        self.deadline().map(|deadline| deadline + LAST_WRITES)
    }

    /// How long everything may take to finish, once it is told to.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_child_ends_alone_or_with_the_whole_and_has_its_own_time() {
        let run = Shutdown::new(10 * SECOND);
        let (one, other) = (run.child(SECOND), run.child(2 * SECOND));
        one.begin();
        one.begun().await;
        let told = Instant::now();
        assert_eq!((one.deadline(), other.deadline(), run.deadline()), (Some(told + SECOND), None, None));

        tokio::time::advance(SECOND).await;
        run.begin();
        other.begun().await;
        assert_eq!(other.deadline(), Some(told + 3 * SECOND));
        assert_eq!(one.deadline(), Some(told + SECOND), "what has begun is not put off");
    }
}
