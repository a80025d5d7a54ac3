//! A bound on how many do something at the same time that may hang, such as file I/O: those beyond it wait for their turn.
//!
//! The bound saves threads, and is none on what the process can do: when nobody who has a turn comes to an end for a while,
//! it may be a disk that hangs. That must not hold up those on other disks, so they then go on beyond the bound.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How long is waited while no turn ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// Turns that so many can have at a time.
#[derive(Debug)]
pub struct Turns {
    permits: Semaphore,
    waiting: AtomicUsize,
    wanted: Notify,
    /// How many turns have ended so far, not counting those beyond the bound: while these end, nothing else need.
    ended: AtomicUsize,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: &'static Turns,
    /// `None` beyond the bound.
    permit: Option<SemaphorePermit<'static>>,
}

impl Turns {
    /// So many turns at a time.
    pub const fn new(most: usize) -> Self {
        Self {
            permits: Semaphore::const_new(most),
            waiting: AtomicUsize::new(0),
            wanted: Notify::const_new(),
            ended: AtomicUsize::new(0),
        }
    }

    /// A turn, if nobody has to wait for one.
    pub fn try_take(&'static self) -> Option<Turn> {
        let permit = self.permits.try_acquire().ok()?;
        Some(Turn { turns: self, permit: Some(permit) })
    }

    /// Waits for a turn. Those who wait get theirs in the order in which they came.
    pub async fn take(&'static self) -> Turn {
        let _waiting = Waiting::begin(&self.waiting);
        self.wanted.notify_one();
        let mut permit = pin!(self.permits.acquire());
        loop {
            let ended = self.ended.load(Ordering::Relaxed);
            match timeout(PATIENCE, &mut permit).await {
                Ok(permit) => return Turn { turns: self, permit: permit.ok() },
                Err(_) if self.ended.load(Ordering::Relaxed) != ended => {}
                Err(_) => return Turn { turns: self, permit: None },
            }
        }
    }

    /// True while somebody waits.
    pub fn are_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Waits until somebody waits for a turn: for whoever has one that it could do without. Of several who wait here, the
    /// one that has waited for longest is told. Cancel safe.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.permit.is_some() {
            self.turns.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One who waits.
struct Waiting<'w>(&'w AtomicUsize);

impl<'w> Waiting<'w> {
    fn begin(count: &'w AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_beyond_the_bound_wait_for_their_turn_as_long_as_turns_end() {
        static TURNS: Turns = Turns::new(2);
        let (one, other) = (TURNS.take().await, TURNS.take().await);
        assert!(TURNS.try_take().is_none());
        let begun = Instant::now();
        let third = tokio::spawn(async move {
            let turn = TURNS.take().await;
            (begun.elapsed(), turn)
        });
        let fourth = tokio::spawn(async move {
            let turn = TURNS.take().await;
            (begun.elapsed(), turn)
        });
        sleep(PATIENCE / 2).await;
        assert!(TURNS.are_wanted());
        drop(one);
        // One has ended within the time that the fourth waits; from then on nothing does.
        let (waited, third) = third.await.unwrap();
        assert_eq!(waited, PATIENCE / 2);
        let (waited, fourth) = fourth.await.unwrap();
        assert_eq!(waited, 2 * PATIENCE);
        assert!(third.permit.is_some() && fourth.permit.is_none());
        assert!(!TURNS.are_wanted());
        // What goes on beyond the bound says nothing of those who hang.
        let ended = TURNS.ended.load(Ordering::Relaxed);
        drop(fourth);
        assert_eq!(TURNS.ended.load(Ordering::Relaxed), ended);
        drop((other, third));
        assert!(TURNS.try_take().is_some());
    }
}
