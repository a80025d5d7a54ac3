//! Waiting for a moment that may not exist, for `select!` loops whose timers come and go.

use tokio::time::Instant;

/// Waits until a moment, or for ever when there is none. Cancel safe.
pub async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
