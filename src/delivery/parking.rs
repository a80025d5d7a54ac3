//! The store as a sink's worker uses it: what it sends there (deliveries that wait, questions about lanes, pauses, that the
//! sink is disabled), and what it is answered. Which deliveries go there is not decided here.
//!
//! What is sent in one round of the worker's loop goes in one piece, so that the store can commit it at once.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Delivery;
use super::claims::Claims;
use super::lane::LaneName;
use super::schedule::BucketName;
use super::stored::to_stored;
use crate::ack::Ack;
use crate::clock::steady_now;
use crate::store::SinkStore;
use crate::store::handle::{Claim, FromStore, Pause};
use crate::store::record::{RowId, StoredDelivery};

/// The store, as one sink uses it.
pub(super) struct Parking {
    /// What it knows of its deliveries there.
    pub(super) claims: Claims,
    store: SinkStore,
    from_store: mpsc::UnboundedReceiver<FromStore>,
    only_replay: Option<Arc<str>>,
    to_park: Vec<(StoredDelivery, Option<Ack>)>,
    to_ask: Vec<LaneName>,
    /// Lanes in the store whose followers here found no room there.
    to_ask_again: Vec<LaneName>,
    /// Deliveries wait in memory that belong into the store.
    lacked_room: bool,
}

impl Parking {
    pub(super) fn new(
        (store, from_store): (SinkStore, mpsc::UnboundedReceiver<FromStore>),
        has_keyed_buckets: bool,
        only_replay: Option<Arc<str>>,
    ) -> Self {
        let claims = Claims::new(has_keyed_buckets, Instant::now());
        Self {
            claims,
            store,
            from_store,
            only_replay,
            to_park: Vec::new(),
            to_ask: Vec::new(),
            to_ask_again: Vec::new(),
            lacked_room: false,
        }
    }

    /// What the store says next; `None` when it has ended. Cancel safe.
    pub(super) async fn next(parking: &mut Option<Self>) -> Option<FromStore> {
        match parking {
            Some(parking) => parking.from_store.recv().await,
            None => std::future::pending().await,
        }
    }

    /// True when what is to be parked can be kept.
    pub(super) fn has_room(&self) -> bool {
        self.store.has_room()
    }

    /// Notes that something waits in memory for want of room.
    pub(super) fn note_lack_of_room(&mut self) {
        self.lacked_room = true;
    }

    /// True once after something has waited for room, and there is some.
    pub(super) fn has_room_again(&mut self) -> bool {
        self.has_room() && std::mem::take(&mut self.lacked_room)
    }

    /// Asks the store for deliveries that are due.
    pub(super) fn claim(&mut self, limit: usize, except_buckets: HashSet<BucketName>, now: Instant) {
        self.claims.sent(limit, except_buckets.clone(), now);
        let except_buckets = if limit > 0 { except_buckets } else { HashSet::new() };
        self.store.claim(Claim { now: steady_now(), limit, except_buckets, only_replay: self.only_replay.clone() });
    }

    /// Asks the store whether it has deliveries of a lane.
    pub(super) fn ask_for_lane(&mut self, lane: LaneName) {
        self.to_ask.push(lane);
    }

    /// Asks once more for a lane whose followers found no room, at the next call of
    /// [`repeat_questions`](Self::repeat_questions).
    pub(super) fn ask_for_lane_later(&mut self, lane: LaneName) {
        self.to_ask_again.push(lane);
    }

    /// Asks for the lanes whose followers found no room.
    pub(super) fn repeat_questions(&mut self) {
        self.to_ask.append(&mut self.to_ask_again);
    }

    /// Keeps a long pause.
    pub(super) fn keep_pause(&self, pause: Pause) {
        self.store.pause(pause);
    }

    /// Makes due what waits for a pause that was ended. What was parked before goes to the store first.
    pub(super) fn end_pauses(&mut self, ended: Vec<Pause>, now: Instant) {
        self.flush();
        let wall_now = steady_now();
        ended.into_iter().for_each(|pause| self.store.resume(pause, wall_now));
        self.claims.soon(now);
    }

    /// Forgets the pauses that are over.
    pub(super) fn forget_pauses(&self) {
        self.store.forget_pauses(steady_now());
    }

    /// Leaves to the store what it has given back in the last moment of a sink: nobody is there to attempt it.
    pub(super) fn close(&mut self) {
        self.from_store.close();
        while let Ok(message) = self.from_store.try_recv() {
            if let FromStore::GivenBack(deliveries) = message {
                self.store.park(deliveries);
            }
        }
    }

    /// Removes a claimed delivery that was delivered or dropped.
    pub(super) fn finish(&mut self, row: RowId, bucket: &BucketName, has_lane: bool, now: Instant) {
        self.store.finish(row);
        self.ended(bucket, has_lane, now);
    }

    /// Notes that a claimed delivery has left memory. The next of its lane is due then.
    pub(super) fn ended(&mut self, bucket: &BucketName, has_lane: bool, now: Instant) {
        self.claims.released(bucket, now);
        if has_lane {
            self.claims.soon(now);
        }
    }

    /// Remembers that the sink is disabled.
    pub(super) fn disable(&mut self, reason: String) {
        self.store.disable(reason);
        self.claims.disabled();
    }

    /// True when something waits that only a look at the store, or at the other buckets, ends.
    pub(super) fn waits_for_others(&self) -> bool {
        self.lacked_room || !self.to_ask_again.is_empty() || self.claims.is_full()
    }

    /// Sends what has come together. Questions about lanes go behind what was parked before them.
    pub(super) fn flush(&mut self) {
        if !self.to_park.is_empty() {
            self.store.park(std::mem::take(&mut self.to_park));
        }
        if !self.to_ask.is_empty() {
            self.store.ask_lanes(std::mem::take(&mut self.to_ask));
        }
    }

    /// Keeps a fresh delivery there until `due`.
    pub(super) fn park(&mut self, delivery: Delivery, due: Instant, now: Instant) {
        self.claims.parked(due, delivery.core.lane.is_some());
        self.to_park.push(to_stored(delivery, to_wall_clock(due, now)));
    }

    /// Puts a claimed delivery back until `due`.
    pub(super) fn put_back(&mut self, row: RowId, delivery: Delivery, due: Instant, now: Instant) {
        self.store.reschedule(row, to_wall_clock(due, now), delivery.core.attempts);
        self.claims.released(&delivery.core.bucket, now);
        self.claims.soon(due);
    }
}

/// A moment of this process as the store has it.
fn to_wall_clock(due: Instant, now: Instant) -> Timestamp {
    steady_now().checked_add(due.saturating_duration_since(now)).unwrap_or(Timestamp::MAX)
}
