//! What a service manager is told (systemd's `Type=notify`, sd_notify(3)): that the bridge is up, reloads, ends, and works.
//! Without one, that is without `NOTIFY_SOCKET`, nothing of this does anything.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::health::Health;

/// Everything is loaded and at work, for the first time or again after a reload. `status` is for people.
pub fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it, however it went.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager is not told of the reload, as there is no monotonic clock"),
    }
}

/// The end has begun.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Tells the watchdog, when there is one (`WatchdogSec=`), that the process works, twice in each of its periods; while a
/// worker is stuck it hears nothing. Does not end when there is one.
pub async fn feed_watchdog(health: &Health) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut interval = tokio::time::interval((period / 2).max(Duration::from_millis(1)));
    let mut was_alive = true;
    loop {
        interval.tick().await;
        let liveness = health.liveness(Instant::now());
        if liveness.alive {
            say(&[NotifyState::Watchdog]);
        } else if was_alive {
            error!(stuck = ?liveness.stuck_workers, "a worker is stuck: the service manager's watchdog is told no more");
        }
        was_alive = liveness.alive;
    }
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told how the bridge is");
    }
}
