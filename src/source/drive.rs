//! The driver: runs one connector from its first connection to its last commit.
//!
//! Everything that connectors have in common is here and only here: reconnecting with backoff, the bounds on events in
//! flight, the watermarks (in [`ledger`]), the commit interval, the drain of partitions that go away, the turns of the
//! worker's other tasks, and the shutdown. The driver knows nothing of what happens to an event behind the channel it
//! hands it to.

mod ledger;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info, warn};

use self::ledger::Ledger;
use super::{Defect, Input, Progress, Record, Room, Source, SourceError};
use crate::ack::{Ack, Settlement, SettlementReceiver};
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

/// The most records taken from a source in one go: enough for what is paid once per bunch to weigh little, and few enough
/// to be looked through by the router in one turn.
const BUNCH: usize = 64;

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
            if (stopping.is_some() || !reading) && self.ledger.open() == 0 {
                self.commit().await?;
                return Ok(if reading { Ended::Shutdown } else { Ended::AtTheEnd });
            }
            let room = if reading && stopping.is_none() { self.room() } else { None };
            let closing_deadline = self.ledger.closing_deadline();
            let wake_at = [closing_deadline, stopping, self.ledger.is_dirty().then_some(commit_at)];
            let wake_at = wake_at.into_iter().flatten().min();
            tokio::select! {
                biased;
                Some(settlement) = self.settlements.recv() => self.settled(settlement).await?,
                () = sleep_until(wake_at) => {}
                () = self.shutdown.begun(), if stopping.is_none() => {
                    info!(source = %self.name, open = self.ledger.open(), "stopped reading");
                }
                input = read(&mut self.source, room) => reading = self.take(input?).await,
            }
            let now = Instant::now();
            if stopping.is_some_and(|deadline| now >= deadline) {
                warn!(source = %self.name, open = self.ledger.open(),
                    "time is up: events in flight are left uncommitted and will be read again at the next start");
                self.commit().await?;
                return Ok(Ended::Shutdown);
            }
            if self.ledger.is_dirty() && (now >= commit_at || self.ledger.settled_since_commit() >= self.policy.settled)
            {
                self.commit().await?;
                commit_at = now + self.policy.interval;
            }
            self.release_closed(now).await?;
        }
    }

    /// How much may be read. What has settled behind an event that is still open counts as well: it would be read again
    /// after a crash. A source that acknowledges each record has told its broker of those, so for it only their memory
    /// must be bounded.
    fn room(&self) -> Option<Room> {
        let max = self.bounds.max_in_flight;
        let max_window = if S::ACKNOWLEDGES_EACH { max.saturating_mul(WINDOW_OF_EACH) } else { max };
        let records = max.saturating_sub(self.ledger.open()).min(max_window.saturating_sub(self.ledger.window()));
        let bytes = self.bounds.max_in_flight_bytes.saturating_sub(self.ledger.open_bytes());
        Room::new(records.min(BUNCH), bytes)
    }

    /// Takes what the source has read. Returns false at its end.
    async fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Records(records) => {
                let count = records.len();
                self.hand_over(records);
                spend_budget(count).await;
            }
            Input::Closing { partitions, within } => {
                debug!(source = %self.name, ?partitions, "partitions are going away; finishing what is in flight");
                let deadline = within.map(|within| Instant::now() + within);
                self.ledger.begin_closing(partitions, deadline);
            }
            Input::Lost { partitions } => {
                let open = self.ledger.forget(&partitions);
                warn!(source = %self.name, open, "partitions were taken away: their events in flight will be read again");
            }
            Input::Away { reason } => self.health.failing(format!("not connected: {reason}"), Instant::now()),
            Input::Back => self.health.ready(),
            Input::End => return false,
        }
        true
    }

    fn hand_over(&mut self, records: Vec<Record>) {
        // The channel holds `max_in_flight` arrivals and no more are open, so it is full only when it is closed: then
        // the acks are dropped, the events fail, and nothing is committed above them.
        let mut places = match self.arrivals.try_reserve_many(records.len()) {
            Ok(places) => Some(places),
            Err(error) => {
                debug!(source = %self.name, %error, "the graph takes no more events");
                None
            }
        };
        for record in records {
            let arrival = arrival(&mut self.ledger, record, self.bounds.max_event_size);
            if let Some(place) = places.as_mut().and_then(Iterator::next) {
                place.send(arrival);
            }
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

    /// Gives back what is open, and closes the source. That may not hold up a shutdown, also one that begins meanwhile.
    async fn close(&mut self) {
        let open = self.ledger.open_places();
        let closing = async {
            self.source.give_back(&open).await;
            self.source.close().await;
        };
        tokio::select! {
            biased;
            () = closing => {}
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
        while self.ledger.open() > 0 {
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

/// Reads if there is room.
async fn read<S: Source>(source: &mut S, room: Option<Room>) -> Result<Input, SourceError> {
    match room {
        Some(room) => source.read(room).await,
        None => source.read_paused().await,
    }
}

/// A library's buffer that is full, or a file, takes no part in tokio's cooperative budget. Unless it is spent here, a
/// source keeps the worker's other tasks from running until its bounds are reached, deliveries and heartbeats among them.
async fn spend_budget(records: usize) {
    for _ in 0..records {
        consume_budget().await;
    }
}

/// Opens the event of a record.
fn arrival(ledger: &mut Ledger, record: Record, max_event_size: usize) -> Arrival {
    let Record { event, partition, position, mut defect } = record;
    let size = event.size();
    if defect.is_none() && size > max_event_size {
        defect = Some(Defect::TooLarge { size: size as u64, limit: max_event_size });
    }
    let ack = ledger.begin_event(partition, position, size);
    Arrival { event: Arc::new(event), ack, defect }
}
