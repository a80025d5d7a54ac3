//! The account of a source's events: what is open, and what has settled and waits for its commit.
//!
//! It does no I/O, and decides neither when to read nor when to commit: the driver does.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::ack::{Ack, Settlement, SettlementSender, Ticket, Watermark};
use crate::source::Progress;

/// What is open, and what has settled and waits for its commit.
pub(super) struct Ledger {
    sender: SettlementSender,
    /// See [`Source::READS_PARTITIONS_ALONE`].
    reads_alone: bool,
    session: u32,
    partitions: HashMap<u32, Partition>,
    closings: Vec<Closing>,
    open: usize,
    open_bytes: usize,
    window: usize,
    settled_since_commit: usize,
    /// Positions settled since the last commit, for sources that acknowledge each record.
    settled: Vec<(u32, u64)>,
}

struct Partition {
    watermark: Watermark<u64>,
    open: usize,
    /// When its first record of this session had been read.
    since: Instant,
    /// Where the watermark stands, when that has not been committed.
    uncommitted: Option<u64>,
}

/// Partitions that are going away.
struct Closing {
    partitions: Vec<u32>,
    deadline: Option<Instant>,
}

impl Partition {
    fn begin() -> Self {
        Self { watermark: Watermark::default(), open: 0, since: Instant::now(), uncommitted: None }
    }
}

impl Ledger {
    pub(super) fn new(sender: SettlementSender, reads_alone: bool) -> Self {
        Self {
            sender,
            reads_alone,
            session: 0,
            partitions: HashMap::new(),
            closings: Vec::new(),
            open: 0,
            open_bytes: 0,
            window: 0,
            settled_since_commit: 0,
            settled: Vec::new(),
        }
    }

    /// Forgets all positions: a new connection reads again from the last commit.
    pub(super) fn begin_session(&mut self) {
        self.session += 1;
        self.partitions.clear();
        self.closings.clear();
        self.settled.clear();
        self.window = 0;
        self.settled_since_commit = 0;
    }

    /// Events open, those of earlier sessions included: they hold memory all the same.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Their payload bytes.
    pub(super) fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    /// Events of this session above their partition's watermark, settled or not.
    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Events settled since the last commit.
    pub(super) fn settled_since_commit(&self) -> usize {
        self.settled_since_commit
    }

    /// Opens an event.
    pub(super) fn begin_event(&mut self, partition: u32, position: u64, bytes: usize) -> Ack {
        let entry = self.partitions.entry(partition).or_insert_with(Partition::begin);
        let sequence = entry.watermark.open(position);
        entry.open += 1;
        self.open += 1;
        self.window += 1;
        self.open_bytes += bytes;
        let ticket = Ticket { session: self.session, partition, sequence };
        Ack::of_partition(ticket, bytes, self.reads_alone.then_some(entry.since), self.sender.clone())
    }

    /// Books a settlement. Returns true when an event of this session has failed.
    pub(super) fn settle(&mut self, settlement: Settlement, acknowledges_each: bool) -> bool {
        let Settlement { ticket, bytes, settled } = settlement;
        self.open -= 1;
        self.open_bytes -= bytes;
        if ticket.session != self.session {
            return false;
        }
        let Some(partition) = self.partitions.get_mut(&ticket.partition) else {
            return false;
        };
        partition.open -= 1;
        if !settled {
            return true;
        }
        if let Some(position) = partition.watermark.settle(ticket.sequence) {
            self.settled_since_commit += 1;
            if acknowledges_each {
                self.settled.push((ticket.partition, *position));
            }
        }
        let before = partition.watermark.len();
        partition.uncommitted = partition.watermark.advance().or(partition.uncommitted);
        self.window -= before - partition.watermark.len();
        false
    }

    /// True when something has settled since the last commit.
    pub(super) fn is_dirty(&self) -> bool {
        self.settled_since_commit > 0
    }

    /// What to commit now.
    pub(super) fn progress(&mut self) -> Progress {
        self.settled_since_commit = 0;
        let moved = self.partitions.iter_mut();
        let moved = moved.filter_map(|(number, partition)| Some((*number, partition.uncommitted.take()?)));
        let watermarks = moved.collect();
        Progress { watermarks, settled: std::mem::take(&mut self.settled) }
    }

    /// The places of this session's events that have not settled, in the order of their partition.
    pub(super) fn open_places(&self) -> Vec<(u32, u64)> {
        let partitions = self.partitions.iter();
        let places = partitions
            .flat_map(|(number, partition)| partition.watermark.unsettled().map(|position| (*number, *position)));
        places.collect()
    }

    /// Lets partitions go once they are drained, or at the deadline; see [`take_closed`](Self::take_closed).
    pub(super) fn begin_closing(&mut self, partitions: Vec<u32>, deadline: Option<Instant>) {
        self.closings.push(Closing { partitions, deadline });
    }

    /// The next time at which partitions are let go although they are not drained.
    pub(super) fn closing_deadline(&self) -> Option<Instant> {
        self.closings.iter().filter_map(|closing| closing.deadline).min()
    }

    /// Takes out the partitions of one closing that is drained or out of time.
    pub(super) fn take_closed(&mut self, now: Instant) -> Option<Vec<u32>> {
        let index = self.closings.iter().position(|closing| {
            let drained =
                closing.partitions.iter().all(|number| self.partitions.get(number).is_none_or(|p| p.open == 0));
            drained || closing.deadline.is_some_and(|deadline| now >= deadline)
        })?;
        Some(self.closings.swap_remove(index).partitions)
    }

    /// Forgets partitions. Returns how many of their events are still open.
    pub(super) fn forget(&mut self, partitions: &[u32]) -> usize {
        let mut open = 0;
        for partition in partitions.iter().filter_map(|number| self.partitions.remove(number)) {
            open += partition.open;
            self.window -= partition.watermark.len();
        }
        open
    }
}
