//! The end of a run with `--once`. A queue has no end, so it is taken to be the number of messages that were ready when
//! the source connected first, or earlier when other consumers have taken some of them.

use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::message::Delivery;
use tokio::time::{Instant, timeout_at};

use super::error::FailureKind;
use super::session::Session;

/// After this long without a message the broker is asked whether there are any left for us.
const QUIET: Duration = Duration::from_secs(1);

/// How far it is to the end.
pub(super) struct End {
    left: u64,
    quiet_since: Instant,
    /// The question on its way to the broker. It is kept from one `next` to the next, as the driver may drop that one
    /// more often than the broker can answer.
    count: Option<BoxFuture<'static, Result<u64, FailureKind>>>,
}

impl End {
    /// The end as seen from the first connection.
    pub(super) fn new(ready: u64) -> Self {
        Self { left: ready, quiet_since: Instant::now(), count: None }
    }

    /// The end as seen from a later connection: what was received over the earlier one and not acknowledged comes
    /// again, whether or not the broker has requeued it by now.
    pub(super) fn reconnected(&mut self, ready: u64, outstanding: u64) {
        *self = Self::new(ready.max(self.left + outstanding));
    }

    /// Acknowledgements make room for more messages, which take their time to arrive.
    pub(super) fn acknowledged(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// The next message, or `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self, session: &mut Session) -> Result<Option<Delivery>, FailureKind> {
        while self.left > 0 {
            if self.count.is_none()
                && let Ok(delivery) = timeout_at(self.quiet_since + QUIET, session.next()).await
            {
                return self.received(delivery);
            }
            let ready = self.count.get_or_insert_with(|| session.count_ready()).await;
            self.count = None;
            self.quiet_since = Instant::now();
            // What was under way to us when the broker counted arrives before its answer.
            if let Some(delivery) = session.next_buffered() {
                return self.received(delivery);
            }
            if ready? == 0 {
                self.left = 0;
            }
        }
        Ok(None)
    }

    /// A message that is here already, if it comes before the end.
    pub(super) fn next_buffered(&mut self, session: &mut Session) -> Option<Result<Delivery, FailureKind>> {
        if self.left == 0 {
            return None;
        }
        let delivery = session.next_buffered()?;
        self.received(delivery).transpose()
    }

    fn received(&mut self, delivery: Result<Delivery, FailureKind>) -> Result<Option<Delivery>, FailureKind> {
        self.left = self.left.saturating_sub(1);
        self.quiet_since = Instant::now();
        delivery.map(Some)
    }
}
