//! What is committed as one transaction. Operations that wait at the same time are sorted by kind, as their order among
//! each other means nothing beyond this: what has ended comes before what is new, and questions come last.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::StoreError;
use super::handle::{Claim, Claimed, Operation, Pause};
use super::record::{AttemptLog, RowId, StoredDelivery};
use super::row::{End, NewRow, milliseconds};
use crate::ack::Ack;
use crate::node::NodeName;

/// The most rows of a group. More only make its failure costlier.
const MOST_ROWS: usize = 512;

/// The most bytes of a group.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Operations of one transaction.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Claimed rows that are delivered or dropped.
    pub(super) finished: Vec<RowId>,
    /// Claimed rows that wait again.
    pub(super) rescheduled: Vec<Rescheduled>,
    /// Claimed rows that are dead letters now.
    pub(super) buried: Vec<Buried>,
    /// Deliveries to park.
    pub(super) parked: Vec<NewRow>,
    /// Dead letters of deliveries that were not parked.
    pub(super) letters: Vec<NewRow>,
    /// Sinks to disable, when, and why.
    pub(super) disabled: Vec<(Arc<str>, i64, String)>,
    /// Sinks, and the pauses that their receivers have asked for.
    pub(super) paused: Vec<(Arc<str>, Pause)>,
    /// Sinks, the pauses that were ended early, and when that was heard.
    pub(super) resumed: Vec<(Arc<str>, Pause, i64)>,
    /// Sinks whose pauses are forgotten that are over by then.
    pub(super) forgotten: Vec<(Arc<str>, i64)>,
    /// Sources and their checkpoints.
    pub(super) checkpoints: Vec<(Arc<str>, String)>,
    /// Sources whose checkpoint is asked for.
    pub(super) loads: Vec<Arc<str>>,
    /// Sinks, and the lanes that they ask about.
    pub(super) lanes: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Sinks, and what they can take.
    pub(super) claims: Vec<(Arc<str>, Claim)>,
    /// What is told when the group is committed.
    pub(super) promises: Promises,
    rows: usize,
    bytes: usize,
}

/// What is told when a group is committed.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Of [`Group::parked`], in its order.
    pub(super) parked: Vec<Parked>,
    /// Of [`Group::buried`] and [`Group::letters`].
    pub(super) acks: Vec<Ack>,
    pub(super) saved: Vec<oneshot::Sender<Result<(), StoreError>>>,
    pub(super) loaded: Vec<oneshot::Sender<Result<Option<String>, StoreError>>>,
}

/// A delivery to park as its sink gave it.
#[derive(Debug)]
pub(super) struct Parked {
    sink: Arc<str>,
    delivery: StoredDelivery,
    pub(super) ack: Option<Ack>,
}

/// Which lanes have deliveries in the store.
pub(super) type LaneAnswers = Vec<(Arc<str>, bool)>;

/// What a group has found out.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// For [`Group::loads`], in their order.
    pub(super) checkpoints: Vec<Option<String>>,
    /// For [`Group::lanes`].
    pub(super) lanes: Vec<(Arc<str>, LaneAnswers)>,
    /// For [`Group::claims`].
    pub(super) claimed: Vec<(Arc<str>, Claimed)>,
}

/// A claimed row that waits again.
#[derive(Debug)]
pub(super) struct Rescheduled {
    pub(super) row: RowId,
    pub(super) due: i64,
    pub(super) attempts: AttemptLog,
}

/// A claimed row that is a dead letter now.
#[derive(Debug)]
pub(super) struct Buried {
    pub(super) row: RowId,
    pub(super) end: End,
    pub(super) attempts: AttemptLog,
}

impl Group {
    /// True when nothing more should be added.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= MOST_ROWS || self.bytes >= MOST_BYTES
    }

    /// True when nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds an operation. [`Operation::Open`] concerns no database.
    pub(super) fn add(&mut self, operation: Operation) {
        self.rows += 1;
        match operation {
            Operation::Open { .. } => {}
            Operation::Park { sink, deliveries } => {
                let node = NodeName::sink(Arc::clone(&sink));
                for (delivery, ack) in deliveries {
                    let row = NewRow::parked(&node, delivery.clone());
                    self.count(&row);
                    self.parked.push(row);
                    self.promises.parked.push(Parked { sink: Arc::clone(&sink), delivery, ack });
                }
            }
            Operation::Bury { letter, ack } => {
                self.promises.acks.extend(ack);
                match letter.core.row {
                    Some(row) => {
                        let end = End::of(&letter);
                        self.buried.push(Buried { row, end, attempts: letter.core.attempts });
                    }
                    None => {
                        let row = NewRow::dead(*letter);
                        self.count(&row);
                        self.letters.push(row);
                    }
                }
            }
            Operation::Finish { row } => self.finished.push(row),
            Operation::Reschedule { row, due, attempts } => {
                self.rescheduled.push(Rescheduled { row, due: milliseconds(due), attempts });
            }
            Operation::AskLanes { sink, lanes } => self.lanes.push((sink, lanes)),
            Operation::Claim { sink, claim } => self.claims.push((sink, claim)),
            Operation::Disable { sink, reason } => {
                self.disabled.push((sink, milliseconds(Timestamp::now()), reason.replace('\0', "\u{fffd}")));
            }
            Operation::Pause { sink, pause } => self.paused.push((sink, pause)),
            // Rounded down, so that what is due now is.
            Operation::Resume { sink, pause, now } => self.resumed.push((sink, pause, now.as_millisecond())),
            Operation::ForgetPauses { sink, now } => self.forgotten.push((sink, now.as_millisecond())),
            Operation::LoadCheckpoint { source, answer } => {
                self.loads.push(source);
                self.promises.loaded.push(answer);
            }
            Operation::SaveCheckpoint { source, state, answer } => {
                self.checkpoints.push((source, state));
                self.promises.saved.push(answer);
            }
        }
    }

    /// Adds claimed rows that could not be read: they become dead letters.
    pub(super) fn bury(&mut self, damaged: Vec<Buried>) {
        self.rows += damaged.len();
        self.buried.extend(damaged);
    }

    /// Takes out the deliveries to park that have no lane, by sink. Those with one stay: what is sent behind them must
    /// not come before them.
    pub(super) fn give_back(&mut self) -> HashMap<Arc<str>, Vec<(StoredDelivery, Option<Ack>)>> {
        let rows = std::mem::take(&mut self.parked);
        let mut given_back: HashMap<_, Vec<_>> = HashMap::new();
        for (row, parked) in rows.into_iter().zip(std::mem::take(&mut self.promises.parked)) {
            if row.lane.is_some() {
                self.parked.push(row);
                self.promises.parked.push(parked);
            } else {
                given_back.entry(parked.sink).or_default().push((parked.delivery, parked.ack));
            }
        }
        given_back
    }

    /// Claimed rows that this group takes out of the way of their lanes.
    pub(super) fn ended(&self) -> Vec<RowId> {
        self.finished.iter().copied().chain(self.buried.iter().map(|buried| buried.row)).collect()
    }

    /// Claimed rows that this group gives back.
    pub(super) fn given_back(&self) -> impl Iterator<Item = RowId> {
        let buried = self.buried.iter().map(|buried| buried.row);
        let rescheduled = self.rescheduled.iter().map(|rescheduled| rescheduled.row);
        self.finished.iter().copied().chain(buried).chain(rescheduled)
    }

    fn count(&mut self, row: &NewRow) {
        self.rows += 1;
        self.bytes += row.weight();
    }
}

/// A sink as it stands in the column `node`.
pub(super) fn node_of_sink(sink: &str) -> String {
    NodeName::sink(sink).to_string()
}
