//! The end of a run: one signal that everybody hears, and the moments by which all must be done.
//!
//! Sources stop reading at the signal; deliveries in flight go on until the deadline. Then sources have a moment to
//! commit and close, and after them the store to write: with the default of 25 s for the deliveries all is over 29 s
//! after the signal, before Kubernetes kills what has not ended after 30 s. This module knows nothing of
//! process signals: whoever handles those calls [`Shutdown::begin`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long after the deadline sources may take to commit and to close.
const CLOSING: Duration = Duration::from_secs(2);

/// How long after the deadline the store may take to write what it was given.
const LAST_WRITES: Duration = Duration::from_secs(4);

/// A handle on the end of the run; all clones are one.
#[derive(Debug, Clone)]
pub struct Shutdown {
    begun: CancellationToken,
    deadline: Arc<OnceLock<Instant>>,
    timeout: Duration,
}

impl Shutdown {
    /// A run that, once told to end, may take `timeout` to finish what is in flight.
    pub fn new(timeout: Duration) -> Self {
        Self { begun: CancellationToken::new(), deadline: Arc::default(), timeout }
    }

    /// Tells everybody to finish. Later calls change nothing.
    pub fn begin(&self) {
        self.deadline.get_or_init(|| Instant::now() + self.timeout);
        self.begun.cancel();
    }

    /// Waits until the shutdown begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// The moment by which deliveries must be done; `None` while the run goes on.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// The moment by which sources must have committed and closed; `None` while the run goes on.
    pub fn closing_deadline(&self) -> Option<Instant> {
        self.deadline().map(|deadline| deadline + CLOSING)
    }

    /// The moment by which the process must end; `None` while the run goes on.
    pub fn last_moment(&self) -> Option<Instant> {
        self.deadline().map(|deadline| deadline + LAST_WRITES)
    }
}
