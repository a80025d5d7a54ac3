//! What comes out of librdkafka, records and events of the group, and what each of them changes in the session.

use std::panic::resume_unwind;

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::time::Instant;

use super::{CHECK_POSITIONS_EVERY, EMPTY_GRACE, Session};
use crate::source::kafka::assignment::{Assignment, Reading, TopicPartition};
use crate::source::kafka::group::{GroupEvent, Revocation};
use crate::source::kafka::record::RecordMaker;
use crate::source::{Input, Record, SourceError};
use crate::timer::sleep_until;

/// What has come out of librdkafka.
pub(super) enum Polled {
    Event(GroupEvent),
    Record(Record),
    EndOfPartition(i32),
    Failed(KafkaError),
    PositionsToCheck,
    Nothing,
}

impl Session {
    /// Waits for whatever comes first. Cancel safe: what is taken out of librdkafka is returned by the same poll.
    pub(super) async fn poll(&mut self) -> Polled {
        let Self { member, events, assignment, maker, end_if_empty, check_positions_at, .. } = self;
        let consumer = member.consumer();
        // Once it has passed, `is_at_end` knows.
        let end_if_empty = end_if_empty.filter(|time| assignment.is_empty() && Instant::now() < *time);
        tokio::select! {
            biased;
            Some(event) = events.recv() => Polled::Event(event),
            () = sleep_until(end_if_empty) => Polled::Nothing,
            () = sleep_until(Some(*check_positions_at)) => Polled::PositionsToCheck,
            message = consumer.recv() => polled(assignment, maker, message),
        }
    }

    /// Acts on what has come. Returns a record for the driver, if that is what it was.
    pub(super) fn take(&mut self, polled: Polled) -> Result<Option<Record>, SourceError> {
        match polled {
            Polled::Record(record) if self.once => return self.take_before_end(record),
            Polled::Record(record) => return Ok(Some(record)),
            Polled::Event(event) => self.take_event(event)?,
            Polled::EndOfPartition(partition) => {
                self.assignment.end_of_partition(partition);
                self.take_turns()?;
            }
            Polled::Failed(KafkaError::MessageConsumptionFatal(code)) => return Err(self.member.fatal(code)),
            Polled::PositionsToCheck => self.check_positions(),
            // The context has said what it is; librdkafka goes on trying.
            Polled::Failed(_) | Polled::Nothing => {}
        }
        Ok(None)
    }

    /// Takes in what the callbacks have sent.
    pub(super) fn take_waiting_events(&mut self) -> Result<(), SourceError> {
        while let Ok(event) = self.events.try_recv() {
            self.take_event(event)?;
        }
        Ok(())
    }

    pub(super) fn take_event(&mut self, event: GroupEvent) -> Result<(), SourceError> {
        match event {
            GroupEvent::Assigned { places, anew } => self.take_assignment(places, anew)?,
            GroupEvent::Revoked(revocation) => self.take_revocation(revocation)?,
            GroupEvent::Lost(places) => self.take_loss(&places),
            GroupEvent::CommitEnded { confirmed, failed } => {
                self.committing = false;
                self.assignment.confirm(&confirmed);
                self.take_begun_anew(&confirmed);
                // Watermarks that came meanwhile. After a failure the driver's interval sets the pace.
                if !failed {
                    self.start_commit();
                }
            }
            GroupEvent::StartsKnown(starts) => {
                let Self { assignment, anew, commits_starts, .. } = self;
                assignment.begin_at(&starts, |place| *commits_starts || anew.contains(place));
                self.start_commit();
            }
            GroupEvent::Forgotten(places) => return Err(self.member.log_forgotten(&places)),
            GroupEvent::EndKnown { number, end } => {
                self.assignment.set_end(number, end);
                self.take_turns()?;
            }
            GroupEvent::ConnectionFailed => self.member.watch_brokers(),
            GroupEvent::BrokersAway { reason } => self.inputs.push_back(Input::Away { reason }),
            GroupEvent::BrokersBack => self.inputs.push_back(Input::Back),
            GroupEvent::Failed(error) => return Err(SourceError::transient(error)),
            GroupEvent::NoThread(error) => return Err(self.member.no_thread(&error)),
            GroupEvent::Panicked(panic) => resume_unwind(panic),
        }
        Ok(())
    }

    fn check_positions(&mut self) {
        self.check_positions_at = Instant::now() + CHECK_POSITIONS_EVERY;
        // A commit looks for itself.
        if !self.committing {
            self.member.check_positions(self.assignment.known_to_broker());
        }
    }

    fn take_assignment(&mut self, places: Vec<TopicPartition>, anew: Vec<TopicPartition>) -> Result<(), SourceError> {
        self.member.log_assigned(&places);
        let numbers = self.assignment.add(places.clone());
        self.anew.extend_from_slice(&anew);
        self.member.ask_for_starts(places.clone(), anew);
        if !self.once {
            return Ok(());
        }
        self.end_if_empty.get_or_insert_with(|| Instant::now() + EMPTY_GRACE);
        self.member.ask_for_ends(numbers.into_iter().zip(places).collect());
        self.take_turns()
    }

    fn take_begun_anew(&mut self, confirmed: &[(TopicPartition, u64)]) {
        let begun = self.anew.extract_if(.., |place| confirmed.iter().any(|(other, _)| other == place));
        let begun: Vec<TopicPartition> = begun.collect();
        if !begun.is_empty() {
            self.member.log_begun_anew(&begun);
        }
    }

    fn take_revocation(&mut self, revocation: Revocation) -> Result<(), SourceError> {
        self.member.log_revoked(&revocation.partitions);
        let partitions = self.assignment.numbers(&revocation.partitions);
        if partitions.is_empty() {
            return self.member.give_back(&revocation).map_err(SourceError::transient);
        }
        self.assignment.begin_closing(&partitions);
        self.kept.retain(|record| !partitions.contains(&record.partition));
        self.revocations.push((partitions.clone(), revocation));
        self.inputs.push_back(Input::Closing { partitions, within: Some(self.revoke_timeout) });
        Ok(())
    }

    fn take_loss(&mut self, places: &[TopicPartition]) {
        self.member.log_lost(places);
        let partitions = self.assignment.numbers(places);
        self.assignment.remove(&partitions);
        self.kept.retain(|record| !partitions.contains(&record.partition));
        self.inputs.push_back(Input::Lost { partitions });
    }
}

/// What a message of librdkafka's is. One of a partition that is no longer read is nothing.
pub(super) fn polled(
    assignment: &Assignment,
    maker: &RecordMaker,
    message: KafkaResult<BorrowedMessage<'_>>,
) -> Polled {
    let message = match message {
        Ok(message) => message,
        Err(KafkaError::PartitionEOF(partition)) => return Polled::EndOfPartition(partition),
        Err(error) => return Polled::Failed(error),
    };
    match assignment.reading(message.topic(), message.partition()) {
        Reading::Wanted { number, topic } => Polled::Record(maker.record(&message, &topic, number)),
        Reading::Unwanted => Polled::Nothing,
    }
}
