//! Waiting for a moment that may not exist, for `select!` loops whose timers come and go.

use std::pin::Pin;

use tokio::time::{Instant, Sleep};

/// Waits until a moment, or for ever when there is none. Cancel safe.
pub async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// As [`sleep_until`], for a loop that goes round many times before the moment comes: the timer is registered anew only
/// when the moment changes.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits until a moment, or for ever when there is none. Cancel safe.
    pub async fn at(&mut self, moment: Option<Instant>) {
        let Some(moment) = moment else { return std::future::pending().await };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(moment)));
        if sleep.deadline() != moment {
            sleep.as_mut().reset(moment);
        }
        sleep.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_goes_off_at_the_moment_it_was_last_given() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut alarm = Alarm::default();
        assert!(timeout(3600 * second, alarm.at(None)).await.is_err());
        let now = start + 3600 * second;
        assert!(timeout(second, alarm.at(Some(now + 5 * second))).await.is_err());
        alarm.at(Some(now + 2 * second)).await;
        assert_eq!(Instant::now(), now + 2 * second);
        alarm.at(Some(now + 2 * second)).await;
        alarm.at(Some(start)).await;
        assert_eq!(Instant::now(), now + 2 * second, "a moment that has passed is not waited for");
        alarm.at(Some(now + 5 * second)).await;
        assert_eq!(Instant::now(), now + 5 * second);
    }
}
