//! The driver: runs one connector from its first connection to its last commit.
//!
//! Everything that connectors have in common is here and only here: reconnecting with backoff, the bounds on events in
//! flight, the watermarks, the commit interval, the drain of partitions that go away, and the shutdown. The driver
//! knows nothing of what happens to an event behind the channel it hands it to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info, warn};

use super::{Defect, Input, Progress, Record, Source, SourceError};
use crate::ack::{Ack, Settlement, SettlementReceiver, SettlementSender, Ticket, Watermark};
use crate::backoff::Backoff;
use crate::event::Event;
use crate::health::NodeHealth;
use crate::shutdown::Shutdown;
use crate::timer::sleep_until;

/// An event on its way into the graph.
#[derive(Debug)]
pub struct Arrival {
    /// The event.
    pub event: Arc<Event>,
    /// Settles once all deliveries of the event have ended.
    pub ack: Ack,
    /// Set when the event cannot be delivered as it is; it becomes a dead letter.
    pub defect: Option<Defect>,
}

/// The bounds that a driver keeps.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Events open at once, at most.
    pub max_in_flight: usize,
    /// Payload bytes open at once; the event that reaches the bound is still let in.
    pub max_in_flight_bytes: usize,
    /// Payload bytes of one event, at most; a larger one is passed on with a [`Defect`].
    pub max_event_size: usize,
    /// Time between commits, when it is not the connector's own.
    pub commit_interval: Option<Duration>,
}

/// Runs a source until it ends, the shutdown is over, or an error is permanent.
///
/// The channel must have room for `max_in_flight` arrivals, so that handing one over never waits.
///
/// # Errors
/// [`SourceError::Permanent`] only; transient errors are logged and the connection is made again.
pub async fn drive<S: Source>(
    source: S,
    name: Arc<str>,
    bounds: Bounds,
    arrivals: mpsc::Sender<Arrival>,
    health: NodeHealth,
    shutdown: Shutdown,
) -> Result<(), SourceError> {
    let mut policy = source.commit_policy();
    policy.interval = bounds.commit_interval.unwrap_or(policy.interval);
    let (sender, settlements) = mpsc::unbounded_channel();
    let ledger = Ledger::new(sender, S::READS_PARTITIONS_ALONE);
    Driver { source, name, bounds, policy, arrivals, health, shutdown, settlements, ledger }.run().await
}

/// For sources that acknowledge each record: as many times `max_in_flight` may be settled behind an open event.
const WINDOW_OF_EACH: usize = 64;

struct Driver<S> {
    source: S,
    name: Arc<str>,
    bounds: Bounds,
    policy: super::CommitPolicy,
    arrivals: mpsc::Sender<Arrival>,
    health: NodeHealth,
    shutdown: Shutdown,
    settlements: SettlementReceiver,
    ledger: Ledger,
}

/// Why a session ended without an error.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    AtTheEnd,
    Shutdown,
}

impl<S: Source> Driver<S> {
    async fn run(mut self) -> Result<(), SourceError> {
        let backoff = Backoff::reconnect();
        let mut failures = 0;
        loop {
            self.ledger.begin_session();
            let started = Instant::now();
            match self.session().await {
                Ok(ended) => {
                    debug!(source = %self.name, ?ended, "the source has ended");
                    self.health.ended();
                    self.close().await;
                    return Ok(());
                }
                Err(SourceError::Permanent(error)) => {
                    error!(source = %self.name, %error, "the source has failed and connecting again cannot help");
                    self.health.stopped(error.to_string());
                    self.close().await;
                    return Err(SourceError::Permanent(error));
                }
                Err(SourceError::Transient(error)) => {
                    self.health.failing(format!("not connected: {error}"), Instant::now());
                    // A connection that held for a while starts a new count: the trouble is a new one.
                    failures = if started.elapsed() > Duration::from_secs(60) { 1 } else { failures + 1 };
                    let wait = backoff.wait(failures, rand::random());
                    warn!(source = %self.name, %error, retry_in = ?wait, "the source is not connected; connecting again");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.shutdown.begun() => return self.finish_without_connection().await,
                    }
                }
            }
        }
    }

    /// One connection, from connecting to the last commit.
    async fn session(&mut self) -> Result<Ended, SourceError> {
        tokio::select! {
            connected = self.source.connect() => connected?,
            () = self.shutdown.begun() => return Ok(Ended::Shutdown),
        }
        self.health.ready();
        let mut reading = true;
        let mut commit_at = Instant::now() + self.policy.interval;
        loop {
            let stopping = self.shutdown.deadline();
            if (stopping.is_some() || !reading) && self.ledger.open == 0 {
                self.commit().await?;
                return Ok(if reading { Ended::Shutdown } else { Ended::AtTheEnd });
            }
            let may_read = reading && stopping.is_none() && self.has_room();
            let closing_deadline = self.ledger.closing_deadline();
            let wake_at = [closing_deadline, stopping, self.ledger.is_dirty().then_some(commit_at)];
            let wake_at = wake_at.into_iter().flatten().min();
            tokio::select! {
                biased;
                Some(settlement) = self.settlements.recv() => self.settled(settlement).await?,
                () = sleep_until(wake_at) => {}
                () = self.shutdown.begun(), if stopping.is_none() => {
                    info!(source = %self.name, open = self.ledger.open, "stopped reading");
                }
                input = read_if(may_read, &mut self.source) => match input? {
                    Input::End => reading = false,
                    input => self.take(input),
                },
            }
            let now = Instant::now();
            if stopping.is_some_and(|deadline| now >= deadline) {
                warn!(source = %self.name, open = self.ledger.open,
                    "time is up: events in flight are left uncommitted and will be read again at the next start");
                self.commit().await?;
                return Ok(Ended::Shutdown);
            }
            if self.ledger.is_dirty() && (now >= commit_at || self.ledger.settled_since_commit >= self.policy.settled) {
                self.commit().await?;
                commit_at = now + self.policy.interval;
            }
            self.release_closed(now).await?;
        }
    }

    /// Counts also what has settled behind an event that is still open: those would be read again after a crash. A
    /// source that acknowledges each record has told its broker of them, so for it only their memory must be bounded.
    fn has_room(&self) -> bool {
        let max = self.bounds.max_in_flight;
        let max_window = if S::ACKNOWLEDGES_EACH { max.saturating_mul(WINDOW_OF_EACH) } else { max };
        self.ledger.open < max
            && self.ledger.open_bytes < self.bounds.max_in_flight_bytes
            && self.ledger.window < max_window
    }

    /// Takes what the source has read.
    fn take(&mut self, input: Input) {
        match input {
            Input::Record(record) => self.hand_over(*record),
            Input::Closing { partitions, within } => {
                debug!(source = %self.name, ?partitions, "partitions are going away; finishing what is in flight");
                let deadline = within.map(|within| Instant::now() + within);
                self.ledger.closings.push(Closing { partitions, deadline });
            }
            Input::Lost { partitions } => {
                let open = self.ledger.forget(&partitions);
                warn!(source = %self.name, open, "partitions were taken away: their events in flight will be read again");
            }
            Input::Away { reason } => self.health.failing(format!("not connected: {reason}"), Instant::now()),
            Input::Back => self.health.ready(),
            Input::End => {}
        }
    }

    fn hand_over(&mut self, record: Record) {
        let Record { event, partition, position, mut defect } = record;
        let size = event.size();
        if defect.is_none() && size > self.bounds.max_event_size {
            defect = Some(Defect::TooLarge { size: size as u64, limit: self.bounds.max_event_size });
        }
        let ack = self.ledger.open(partition, position, size);
        // The channel holds `max_in_flight` arrivals and no more are open, so it is full only when it is closed: then
        // the ack is dropped, the event fails, and nothing is committed above it.
        if let Err(error) = self.arrivals.try_send(Arrival { event: Arc::new(event), ack, defect }) {
            debug!(source = %self.name, %error, "the graph takes no more events");
        }
    }

    /// Takes one settlement and all others that are there already: the commit that may follow then covers them all.
    async fn settled(&mut self, first: Settlement) -> Result<(), SourceError> {
        let mut failed = false;
        let mut next = Some(first);
        while let Some(settlement) = next {
            failed |= self.ledger.settle(settlement, S::ACKNOWLEDGES_EACH);
            next = self.settlements.try_recv().ok();
        }
        if !failed || self.shutdown.deadline().is_some() {
            return Ok(());
        }
        // The next connection reads again what is not committed by now. Should this commit fail, that is only more.
        if let Err(error) = self.commit().await {
            debug!(source = %self.name, %error, "cannot commit before connecting again");
        }
        Err(SourceError::transient("an event was dropped before its deliveries had ended; reading it again"))
    }

    async fn commit(&mut self) -> Result<(), SourceError> {
        let progress = self.ledger.progress();
        if progress == Progress::default() {
            return Ok(());
        }
        let Some(latest) = self.shutdown.closing_deadline() else { return self.source.commit(progress).await };
        let Ok(committed) = timeout_at(latest, self.source.commit(progress)).await else {
            return Err(SourceError::transient("the last commit was not confirmed in time"));
        };
        committed
    }

    /// Closes the source. That may not hold up a shutdown, also one that begins meanwhile.
    async fn close(&mut self) {
        tokio::select! {
            biased;
            () = self.source.close() => {}
            () = self.shutdown.closing_time_is_up() => {
                warn!(source = %self.name, "time is up: the source is left without its having been closed in order");
            }
        }
    }

    /// Lets go of the partitions whose drain has come to its end.
    async fn release_closed(&mut self, now: Instant) -> Result<(), SourceError> {
        while let Some(partitions) = self.ledger.take_closed(now) {
            self.commit().await?;
            self.source.release(&partitions).await?;
            let open = self.ledger.forget(&partitions);
            if open > 0 {
                warn!(source = %self.name, open,
                    "partitions were given up with events in flight; their next owner will read those again");
            }
        }
        Ok(())
    }

    /// Waits for what earlier connections left in flight: their acks can no longer be committed, but deliveries under
    /// way should end and not be cut off.
    async fn finish_without_connection(mut self) -> Result<(), SourceError> {
        let deadline = self.shutdown.deadline();
        while self.ledger.open > 0 {
            tokio::select! {
                Some(settlement) = self.settlements.recv() => {
                    self.ledger.settle(settlement, false);
                }
                () = sleep_until(deadline) => break,
            }
        }
        self.health.ended();
        self.close().await;
        Ok(())
    }
}

/// A library's buffer that is full, or a file, takes no part in tokio's cooperative budget. Unless it is spent here, a
/// source keeps the worker's other tasks from running until its bounds are reached, deliveries and heartbeats among them.
async fn read_if<S: Source>(may_read: bool, source: &mut S) -> Result<Input, SourceError> {
    if !may_read {
        return source.read_paused().await;
    }
    consume_budget().await;
    source.read().await
}

/// What is open, and what has settled and waits for its commit.
struct Ledger {
    sender: SettlementSender,
    /// See [`Source::READS_PARTITIONS_ALONE`].
    reads_alone: bool,
    session: u32,
    partitions: HashMap<u32, Partition>,
    closings: Vec<Closing>,
    /// Events open, those of earlier sessions included: they hold memory all the same.
    open: usize,
    open_bytes: usize,
    /// Events of this session above their partition's watermark, settled or not.
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
    fn new(sender: SettlementSender, reads_alone: bool) -> Self {
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
    fn begin_session(&mut self) {
        self.session += 1;
        self.partitions.clear();
        self.closings.clear();
        self.settled.clear();
        self.window = 0;
        self.settled_since_commit = 0;
    }

    fn open(&mut self, partition: u32, position: u64, bytes: usize) -> Ack {
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
    fn settle(&mut self, settlement: Settlement, acknowledges_each: bool) -> bool {
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

    fn is_dirty(&self) -> bool {
        self.settled_since_commit > 0
    }

    fn progress(&mut self) -> Progress {
        self.settled_since_commit = 0;
        let moved = self.partitions.iter_mut();
        let moved = moved.filter_map(|(number, partition)| Some((*number, partition.uncommitted.take()?)));
        let watermarks = moved.collect();
        Progress { watermarks, settled: std::mem::take(&mut self.settled) }
    }

    fn closing_deadline(&self) -> Option<Instant> {
        self.closings.iter().filter_map(|closing| closing.deadline).min()
    }

    /// Takes out the partitions of one closing that is drained or out of time.
    fn take_closed(&mut self, now: Instant) -> Option<Vec<u32>> {
        let index = self.closings.iter().position(|closing| {
            let drained =
                closing.partitions.iter().all(|number| self.partitions.get(number).is_none_or(|p| p.open == 0));
            drained || closing.deadline.is_some_and(|deadline| now >= deadline)
        })?;
        Some(self.closings.swap_remove(index).partitions)
    }

    /// Forgets partitions. Returns how many of their events are still open.
    fn forget(&mut self, partitions: &[u32]) -> usize {
        let mut open = 0;
        for partition in partitions.iter().filter_map(|number| self.partitions.remove(number)) {
            open += partition.open;
            self.window -= partition.watermark.len();
        }
        open
    }
}

#[cfg(test)]
mod tests;
