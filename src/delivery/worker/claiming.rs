//! What a sink's worker takes out of the store: when it asks, what it does with the answer, and when there is nothing left
//! to come. How much is asked for and when, `claims` decides; what goes to the store is in `waiting`.

use std::collections::HashSet;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::Running;
use crate::clock::steady_now;
use crate::delivery::schedule::BucketName;
use crate::delivery::step::{Occasion, RemovalFact};
use crate::delivery::stored::{Unusable, from_stored};
use crate::delivery::{Delivery, dead_letter};
use crate::store::handle::{Claimed, FromStore};

impl Running {
    /// Asks the store for deliveries when that is due. A sink that is to end takes none, and asks only whether it is
    /// disabled, if somebody waits for that.
    pub(super) fn claim(&mut self, now: Instant) {
        let may_claim = self.may_claim();
        let must_know = self.intake.undecided() > 0;
        let Some(parking) = &mut self.parking else { return };
        if !(may_claim || must_know) || parking.claims.due_at().is_none_or(|due| due > now) {
            return;
        }
        let dying = self.worker.context.dead_letters.claimed();
        let closed = self.worker.schedule.closed_buckets(now).cloned();
        let (limit, except_buckets) = match may_claim {
            true => parking.claims.question(dying, closed),
            false => (0, HashSet::new()),
        };
        parking.claim(limit, except_buckets, now);
    }

    /// Takes a message of the store; `None` when it has ended before us, which it does only by a bug.
    pub(super) fn handle_store_message(&mut self, message: Option<FromStore>, now: Instant) {
        match message {
            Some(FromStore::Lanes(answers)) => {
                answers.into_iter().for_each(|(lane, is_in_store)| self.handle_lane_answer(lane, is_in_store, now));
            }
            Some(FromStore::Claimed(claimed)) => self.take_claimed(claimed, now),
            Some(FromStore::GivenBack(deliveries)) => self.take_given_back(deliveries, now),
            Some(FromStore::Changed) => {
                if let Some(parking) = &mut self.parking {
                    parking.claims.soon(now);
                }
            }
            None => {
                error!(sink = %self.worker.name, "the store has ended, so the bridge ends; open events stay uncommitted");
                self.parking = None;
                self.worker.shutdown.begin();
            }
        }
        if self.is_ready() {
            let undecided = self.intake.take_undecided();
            undecided.into_iter().for_each(|delivery| self.advance(Occasion::Arrived, delivery, now));
        }
    }

    fn take_claimed(&mut self, claimed: Claimed, now: Instant) {
        let Some(parking) = &mut self.parking else { return };
        let (schedule, concurrency) = (&self.worker.schedule, self.worker.concurrency);
        let has_caught_up = |bucket: &BucketName| {
            let come = claimed.deliveries.iter().filter(|delivery| delivery.core.bucket == *bucket).count();
            !schedule.has_a_line(bucket) && come <= concurrency
        };
        let is_disabled = parking.claims.answered(&claimed, now, steady_now(), has_caught_up);
        if is_disabled && self.standing.disable() {
            warn!(sink = %self.worker.name, "the sink is disabled; its events become dead letters. \
                `bridge sinks enable PIPELINE {}` lifts that", self.worker.name);
            self.dead_letter_all(now);
            self.show_state();
        }
        if !is_disabled && self.standing.enable() {
            info!(sink = %self.worker.name, "the sink is enabled again");
            self.show_state();
        }
        self.handle_stored_pauses(&claimed.pauses, now);
        if self.worker.shutdown.deadline().is_some() {
            return;
        }
        for stored in claimed.deliveries {
            match from_stored(stored, None, now) {
                Ok(delivery) => self.take_in_claimed(Box::new(delivery), now),
                Err(unusable) => self.keep_unusable(*unusable, now),
            }
        }
    }

    fn take_in_claimed(&mut self, delivery: Box<Delivery>, now: Instant) {
        if let Some(parking) = &mut self.parking {
            parking.claims.took(&delivery.core.bucket);
        }
        self.advance(Occasion::Claimed, delivery, now);
    }

    /// Makes a dead letter of what came out of the store and cannot be sent.
    fn keep_unusable(&mut self, unusable: Unusable, now: Instant) {
        let Unusable { stored, ack, message } = unusable;
        warn!(sink = %self.worker.name, event = %stored.core.event.id, "given up, becomes a dead letter: {message}");
        if let Some(parking) = &mut self.parking {
            parking.claims.took(&stored.core.bucket);
            parking.ended(&stored.core.bucket, stored.core.lane.is_some(), now);
        }
        let letter = dead_letter::of_unusable(stored, &self.worker.name, &message);
        self.worker.context.dead_letters.keep(letter, ack);
    }

    /// True when there is nothing left to do, here and, but for a shutdown, in the store for the time that a delivery
    /// would wait in memory.
    pub(super) fn has_ended(&mut self, now: Instant) -> bool {
        if !self.worker.schedule.is_empty() || !self.lanes.is_empty() || self.intake.undecided() > 0 {
            return false;
        }
        let Some(parking) = &mut self.parking else { return true };
        if self.worker.shutdown.deadline().is_some() {
            return true;
        }
        if self.standing.removal() != RemovalFact::Present {
            // What a claim brings has to be put back.
            return !parking.claims.is_under_way();
        }
        if self.worker.context.dead_letters.claimed() > 0 {
            // What follows them in their lanes is due once the store has them.
            parking.claims.changed();
            return false;
        }
        if !parking.claims.is_up_to_date() {
            parking.claims.soon(now);
        }
        let park_after = self.worker.retry.park_after();
        let schedule = &self.worker.schedule;
        let stays_closed = |bucket: &BucketName| {
            schedule.hold(bucket, now).is_some_and(|hold| !hold.is_probe_due && hold.until - now > park_after)
        };
        parking.claims.has_nothing_due(park_after, steady_now(), stays_closed)
    }

    /// Gives others the room of claimed deliveries that wait for their rate limit, when there are too many buckets.
    pub(super) fn rotate_buckets(&mut self, now: Instant) {
        if !self.parking.as_ref().is_some_and(|parking| parking.claims.must_take_turns()) {
            return;
        }
        for delivery in self.worker.schedule.take_from_lines(|delivery| delivery.core.row.is_some()) {
            if let Some(parking) = &mut self.parking {
                parking.claims.rest(&delivery.core.bucket);
            }
            self.advance(Occasion::MakeRoom, delivery, now);
        }
    }

    /// Lets go of claimed deliveries: the store hands them out again after the next start.
    pub(super) fn release_claims(&mut self) {
        self.worker.schedule.take_from_lines(|delivery| delivery.core.row.is_some());
    }
}
