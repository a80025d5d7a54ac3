//! What a sink does while the store has no room, as it is full or fails. What is fresh waits in memory then, as it does
//! without a store, and is attempted from there: another sink may have taken up the room for days, and this one must not
//! stand still for it.

use tokio::time::Instant;

use super::Running;
use crate::ack::Ack;
use crate::clock::steady_now;
use crate::delivery::dead_letter;
use crate::delivery::lane::{Asked, LaneName};
use crate::delivery::step::Occasion;
use crate::delivery::stored::{Unusable, from_stored};
use crate::store::record::StoredDelivery;

impl Running {
    /// Sends to the store what had to wait in memory while there was no room, and asks again for the lanes of what still
    /// waits behind others there.
    pub(super) fn retry_parking(&mut self, now: Instant) {
        let Some(parking) = &mut self.parking else { return };
        parking.repeat_questions();
        if !parking.has_room_again() {
            return;
        }
        for (delivery, due) in self.worker.schedule.drain(now) {
            self.advance(Occasion::Room(due), delivery, now);
        }
    }

    /// Takes the store's answer about a lane.
    pub(super) fn handle_lane_answer(&mut self, lane: LaneName, is_in_store: bool, now: Instant) {
        let is_gone = self.standing.is_gone();
        if let Some(parking) = self.parking.as_mut().filter(|parking| is_in_store && !is_gone && !parking.has_room()) {
            parking.note_lack_of_room();
            return self.wait_behind_lane(lane);
        }
        match self.lanes.answered(&lane, is_in_store) {
            Asked::Start(delivery) => self.advance(Occasion::Turn, delivery, now),
            Asked::Park(deliveries) => {
                deliveries.into_iter().for_each(|delivery| self.advance(Occasion::MakeRoom, delivery, now));
            }
            Asked::Forgotten => {}
        }
    }

    /// Keeps those of a lane in memory for which there is no room behind the others of their lane in the store: until
    /// there is, or until those have ended. At the end of a run they are let go, and stay uncommitted.
    fn wait_behind_lane(&mut self, lane: LaneName) {
        let Some(parking) = &mut self.parking else { return };
        if !self.lanes.is_asking(&lane) {
            return;
        }
        if self.worker.shutdown.deadline().is_some() {
            drop(self.lanes.take(&lane));
        } else {
            parking.ask_for_lane_later(lane);
        }
    }

    /// Takes back what was to be parked and a full disk cannot keep.
    pub(super) fn take_given_back(&mut self, deliveries: Vec<(StoredDelivery, Option<Ack>)>, now: Instant) {
        for (stored, ack) in deliveries {
            let wall_now = steady_now();
            let due = now + stored.due.duration_since(wall_now).try_into().unwrap_or_default();
            let age = stored.core.attempts.first.map(|first| wall_now.duration_since(first));
            let age = age.and_then(|age| age.try_into().ok()).unwrap_or_default();
            let since = now.checked_sub(age).unwrap_or(now);
            match from_stored(stored, ack, since) {
                Ok(delivery) => self.advance(Occasion::GivenBack(due), Box::new(delivery), now),
                Err(unusable) => {
                    let Unusable { stored, ack, message } = *unusable;
                    let letter = dead_letter::of_unusable(stored, &self.worker.name, &message);
                    self.worker.context.dead_letters.keep(letter, ack);
                }
            }
        }
    }

    /// The end of a sink: no message of the store is read any more.
    pub(super) fn close_parking(&mut self) {
        if let Some(parking) = &mut self.parking {
            parking.close();
        }
    }
}
