//! The task behind the dead letters of one node that do not simply go into the store: it sends them on, or holds them
//! when there is nowhere to keep them.
//!
//! A letter that cannot be sent is tried again for as long as the process lives. Its ack stays open meanwhile, so its
//! source comes to a halt at its bound, and a parked delivery that died stays claimed. At the end of the run what is
//! not sent is let go, unsettled: its event is read again at the next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::outage::Outage;
use super::{Destination, Sent};
use crate::ack::Ack;
use crate::backoff::Backoff;
use crate::node::NodeName;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::store::record::Letter;
use crate::timer::sleep_until;

/// How many letters on their way are of deliveries out of the store.
#[derive(Debug, Clone, Default)]
pub(super) struct ClaimedCount(Arc<AtomicUsize>);

/// A letter that is on its way or held.
pub(super) struct Open {
    letter: Box<Letter>,
    /// Settles once the letter is kept.
    ack: Option<Ack>,
    counted: Option<Counted>,
}

/// Counts for as long as it lives.
struct Counted(ClaimedCount);

impl ClaimedCount {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Open {
    pub(super) fn new(letter: Letter, ack: Option<Ack>, count: &ClaimedCount) -> Self {
        let counted = letter.core.row.map(|_| Counted::new(count));
        Self { letter: Box::new(letter), ack, counted }
    }
}

impl Counted {
    fn new(count: &ClaimedCount) -> Self {
        count.0.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

/// Takes the letters of one node for as long as somebody can give it any.
pub struct Keeper {
    pub(super) node: NodeName,
    pub(super) store: Option<Store>,
    /// `None`: letters go into the store, or are held when there is none.
    pub(super) destination: Option<Arc<dyn Destination>>,
    pub(super) letters: mpsc::UnboundedReceiver<Open>,
    /// What takes the place of `destination`.
    pub(super) changes: mpsc::UnboundedReceiver<Option<Arc<dyn Destination>>>,
    pub(super) shutdown: Shutdown,
}

/// A letter on its way, or just back from it.
struct Attempt {
    open: Open,
    failures: u32,
    /// The result of the last time.
    sent: Sent,
}

impl Keeper {
    /// The node whose letters these are.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Runs until no more letters can come and all are kept, or until the end of the run; then gives the destination up.
    pub async fn run(mut self) {
        self.keep_letters().await;
        let Some(destination) = self.destination.take() else { return };
        tokio::select! {
            () = destination.release() => {}
            () = self.shutdown.closing_time_is_up() => debug!(node = %self.node, "time is up: where dead letters go is left without a close"),
        }
    }

    async fn keep_letters(&mut self) {
        let mut outage = Outage::default();
        let mut attempts = FuturesUnordered::new();
        let mut held = Vec::new();
        let mut more_may_come = true;
        while more_may_come || !attempts.is_empty() || !held.is_empty() {
            let deadline = self.shutdown.deadline();
            if deadline.is_some() && !held.is_empty() {
                info!(node = %self.node, letters = held.len(), "held dead letters are left to the next start");
                held.clear();
                continue;
            }
            let again = tokio::select! {
                biased;
                () = sleep_until(deadline) => {
                    info!(node = %self.node, letters = attempts.len(),
                        "time is up: dead letters that are not sent are left to the next start");
                    return;
                }
                Some(attempt) = attempts.next() => Vec::from_iter(self.conclude(attempt, &mut outage)),
                Some(destination) = self.changes.recv() => {
                    if let Some(former) = std::mem::replace(&mut self.destination, destination) {
                        tokio::spawn(former.release());
                    }
                    held.drain(..).map(|held| (held, Duration::ZERO)).collect()
                }
                letter = self.letters.recv(), if more_may_come => {
                    more_may_come = letter.is_some();
                    letter.map(|open| (Attempt { open, failures: 0, sent: Ok(()) }, Duration::ZERO)).into_iter().collect()
                }
                () = sleep_until(outage.remind_at()) => {
                    self.remind(&mut outage);
                    continue;
                }
                () = self.shutdown.begun(), if deadline.is_none() => continue,
            };
            for (attempt, wait) in again {
                match &self.destination {
                    Some(destination) => {
                        attempts.push(send(Arc::clone(destination), attempt, wait, self.shutdown.clone()));
                    }
                    None if self.store.is_some() => self.keep_here(attempt.open),
                    None => held.push(self.hold(attempt, &mut outage)),
                }
            }
        }
    }

    /// Keeps a letter that was sent; one that was not comes back, with the wait before it is sent again.
    fn conclude(&self, mut attempt: Attempt, outage: &mut Outage) -> Option<(Attempt, Duration)> {
        let now = Instant::now();
        let (node, event) = (&self.node, &attempt.open.letter.core.event.id);
        let Err(reason) = &attempt.sent else {
            debug!(%node, %event, "the dead letter is sent on");
            if attempt.failures > 0
                && let Some(lasted) = outage.end(now)
            {
                info!(%node, ?lasted, "dead letters can be sent on again");
            }
            self.keep_here(attempt.open);
            return None;
        };
        if attempt.failures == 0 && outage.begin(now) {
            warn!(%node, %event,
                "the dead letter cannot be sent on: {reason}; it is tried again until it can, and its source waits");
        }
        if self.shutdown.deadline().is_some() {
            info!(%node, %event, "the dead letter cannot be sent on and is left to the next start: {reason}");
            return None;
        }
        attempt.failures += 1;
        let wait = Backoff::reconnect().wait(attempt.failures, rand::random());
        debug!(%node, %event, failures = attempt.failures, retry_in = ?wait, "cannot be sent on: {reason}");
        Some((attempt, wait))
    }

    /// What follows once the letter is safe at its destination, or has none. It is counted until the store has heard of it.
    fn keep_here(&self, open: Open) {
        let Open { letter, ack, counted } = open;
        match (&self.store, ack) {
            (Some(store), ack) => store.bury(*letter, ack),
            (None, Some(ack)) => ack.settle(),
            (None, None) => {}
        }
        drop(counted);
    }

    /// Takes note of a letter whose ack is kept open until the shutdown begins. A dropped ack would make its source
    /// read the event again at once.
    fn hold(&self, mut attempt: Attempt, outage: &mut Outage) -> Attempt {
        let is_first = attempt.failures == 0 && outage.begin(Instant::now());
        attempt.failures += 1;
        self.say_held(&attempt.open.letter, is_first);
        attempt
    }

    fn remind(&self, outage: &mut Outage) {
        let node = &self.node;
        match (outage.remind(Instant::now()), &self.destination) {
            (None, _) => {}
            (Some(letters), Some(_)) => {
                warn!(%node, letters, "dead letters still cannot be sent on; trying again, and their sources wait");
            }
            (Some(letters), None) => {
                error!(%node, letters, "dead letters are held, and their sources wait: {WHAT_TO_DO}");
            }
        }
    }

    fn say_held(&self, letter: &Letter, first: bool) {
        let (node, event, reason) = (&self.node, &letter.core.event.id, letter.reason.as_str());
        if first {
            error!(%node, %event, reason,
                "the event is given up on, there is nowhere to keep it, and it is held; its source stops when \
                 `max_in_flight` events are open: {WHAT_TO_DO}");
        } else {
            debug!(%node, %event, reason, "the event is held too");
        }
    }
}

const WHAT_TO_DO: &str = "set `dead_letter` there, or a `[store]` that lasts, and reload or restart the bridge";

async fn send(destination: Arc<dyn Destination>, mut attempt: Attempt, wait: Duration, shutdown: Shutdown) -> Attempt {
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.begun() => {}
        }
    }
    attempt.sent = destination.send(&attempt.open.letter).await;
    // After a reload a letter that was on its way may be the last to need it.
    destination.release().await;
    attempt
}
