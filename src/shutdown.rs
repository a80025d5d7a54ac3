//! The end of a run: one signal that everybody hears, and the moment by which all must be done.
//!
//! Sources stop reading at the signal; deliveries in flight go on until the deadline. This module knows nothing of
//! process signals: whoever handles those calls [`Shutdown::begin`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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

    /// The moment by which all must be done; `None` while the run goes on.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }
}
