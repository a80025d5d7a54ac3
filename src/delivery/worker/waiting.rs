//! Which deliveries wait in the store, and what is left to the next start.
//!
//! A delivery that came from its source (*fresh*: without a row) goes there when its wait is long, and then its source
//! moves on; one that came from the store always goes back there to wait. Without a store everything waits in memory.

use tokio::time::Instant;
use tracing::{debug, info};

use super::Running;
use crate::delivery::Delivery;
use crate::delivery::schedule::{BucketName, shown};
use crate::delivery::step::Occasion;

impl Running {
    /// Sends a delivery to the store, whether there is room or not, together with those of its lane that wait behind it
    /// in memory.
    pub(super) fn park(&mut self, delivery: Box<Delivery>, due: Instant, now: Instant) {
        let Some(parking) = &mut self.parking else {
            return self.worker.schedule.push_at(due, delivery.core.bucket.clone(), delivery);
        };
        debug!(sink = %self.worker.name, event = %delivery.core.event.id, attempts = delivery.core.attempts.total,
            wait = ?due.saturating_duration_since(now), "waits in the store");
        if let Some(row) = delivery.core.row {
            return parking.put_back(row, *delivery, due, now);
        }
        let followers = delivery.core.lane.as_ref().map(|lane| self.lanes.take(lane)).unwrap_or_default();
        parking.park(*delivery, due, now);
        // Theirs is the turn after the one before them; the time only counts if that has ended meanwhile.
        followers.into_iter().for_each(|follower| parking.park(*follower, now, now));
    }

    /// Parks what has waited in line for too long, and lets what comes behind it follow it to the store at once:
    /// otherwise the source would stand still for as long again.
    pub(super) fn park_overdue(&mut self, now: Instant) {
        let (shares_sources, park_after) = (self.worker.context.shares_sources, self.worker.retry.park_after());
        if !shares_sources || self.parking.as_ref().is_none_or(|parking| !parking.has_room()) {
            return;
        }
        let schedule = &mut self.worker.schedule;
        let overdue = schedule.take_from_lines(|one| one.core.row.is_none() && now - one.since > park_after);
        for delivery in overdue {
            let is_new =
                self.parking.as_mut().is_some_and(|parking| parking.claims.set_backlogged(&delivery.core.bucket));
            if is_new {
                info!(sink = %self.worker.name, bucket = shown(&delivery.core.bucket),
                    "deliveries come faster than they can be sent; they wait in the store, so that other sinks go on");
            }
            self.advance(Occasion::MakeRoom, delivery, now);
        }
    }

    /// Sends everything of a bucket that is closed for long to the store.
    pub(super) fn park_bucket(&mut self, bucket: &BucketName, now: Instant) {
        if self.parking.is_none() {
            return;
        }
        for (delivery, due) in self.worker.schedule.drain_bucket(bucket, now) {
            self.advance(Occasion::Wait(due), delivery, now);
        }
    }

    /// Lets go of what cannot start before the shutdown's deadline, be it for its retry, for a pause or for the rate
    /// limit: it would only hold up the shutdown. Without room in a store its events stay uncommitted, and are read again.
    pub(super) fn release_what_waits(&mut self, now: Instant) {
        let waiting = self.worker.schedule.drain(now);
        info!(sink = %self.worker.name, deliveries = waiting.len(), "what is due after the shutdown is left to the next start");
        for (delivery, due) in waiting {
            self.advance(Occasion::RunEnds(due), delivery, now);
        }
    }
}
