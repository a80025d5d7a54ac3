//! The thread that owns the database.
//!
//! It takes whatever operations wait, commits them as one transaction, and only then settles acks and answers. While
//! the database refuses, it tries again every second: nothing is dropped, acks stay open, and the sources come to a halt
//! at their bounds.

use std::sync::mpsc::{self as std_mpsc, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::StoreError;
use super::config::{Location, StoreSettings};
use super::handle::{Operation, Store};
use super::keeper::{Keeper, Opened};
use super::room::Room;
use super::sqlite;
use crate::health::NodeHealth;

/// A store that is not open yet: its handles can be given away before anything is read or written.
#[derive(Debug)]
pub struct StoreThread {
    settings: StoreSettings,
    operations: mpsc::UnboundedReceiver<Operation>,
    room: Room,
    health: NodeHealth,
}

/// A store at work. It ends when the last handle is gone and everything is on the disk.
#[derive(Debug)]
pub struct RunningStore {
    thread: thread::JoinHandle<()>,
    /// Closed when the thread has ended.
    ended: std_mpsc::Receiver<()>,
    sinks_with_parked: Vec<String>,
}

/// How often is looked whether the moment has come to wait no longer.
const LOOK: Duration = Duration::from_millis(100);

impl StoreThread {
    /// A store and the first of its handles. Does no I/O.
    pub fn new(settings: StoreSettings) -> (Store, Self) {
        let (sender, operations) = mpsc::unbounded_channel();
        let room = Room::default();
        (Store::new(sender, room.clone()), Self { settings, operations, room, health: NodeHealth::default() })
    }

    /// Notes from now on in `health` how the store is.
    #[must_use]
    pub fn reporting_to(self, health: NodeHealth) -> Self {
        Self { health, ..self }
    }

    /// Opens the database, brings its schema up to date, and starts the thread. Blocks until that is done. An SQLite
    /// file is locked against other processes until the store has ended.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn start(self) -> Result<RunningStore, StoreError> {
        self.try_start().map_err(|failed| failed.1)
    }

    /// As [`start`](Self::start); on failure it gives itself back, so that it can be tried again.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn try_start(self) -> Result<RunningStore, Box<(Self, StoreError)>> {
        // The operations follow when the database is open: until then they stay here, for another try.
        let (hand_over, operations_come) = std_mpsc::channel();
        match open(self.settings.clone(), operations_come, (self.room.clone(), self.health.clone())) {
            Ok(running) => {
                // It can only be gone when it has panicked, which whoever joins it hears.
                hand_over.send(self.operations).ok();
                Ok(running)
            }
            Err(error) => Err(Box::new((self, error))),
        }
    }

    /// What is to be opened.
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }
}

impl RunningStore {
    /// The sinks for which deliveries waited when it was opened, by name.
    pub fn sinks_with_parked(&self) -> &[String] {
        &self.sinks_with_parked
    }

    /// Waits for the end. Blocks; drop all handles first.
    ///
    /// # Errors
    /// When the thread has panicked.
    pub fn join(self) -> thread::Result<()> {
        self.thread.join()
    }

    /// As [`join`](Self::join), but no longer than until the moment that `latest` names, once it names one: a database
    /// that does not answer must not hold up the end. What it has not kept by then is open, and is read again.
    ///
    /// # Errors
    /// When the thread has panicked.
    pub fn join_until(self, latest: impl Fn() -> Option<Instant>) -> thread::Result<()> {
        while self.ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            if latest().is_some_and(|latest| latest <= Instant::now()) {
                warn!(
                    "time is up: the store is left before it has written everything; what it has not kept is read \
                       again at the next start"
                );
                return Ok(());
            }
        }
        self.thread.join()
    }
}

/// Starts the thread, and waits until it has opened the database.
fn open(
    settings: StoreSettings,
    operations: std_mpsc::Receiver<mpsc::UnboundedReceiver<Operation>>,
    signs: (Room, NodeHealth),
) -> Result<RunningStore, StoreError> {
    let lock = match &settings.location {
        Location::Sqlite(path) => Some(sqlite::lock(path)?),
        Location::Postgres(_) => None,
    };
    let (opened, is_open) = std_mpsc::channel();
    let (end, ended) = std_mpsc::channel();
    let thread = thread::Builder::new().name("store".to_owned());
    let thread = thread.spawn(move || {
        run(settings, &operations, signs, &opened);
        drop(lock);
        drop(end);
    });
    let thread = thread.map_err(|error| StoreError::open("(its thread)", error))?;
    match is_open.recv().unwrap_or(Err(StoreError::Closed)) {
        Ok(sinks_with_parked) => Ok(RunningStore { thread, ended, sinks_with_parked }),
        Err(error) => {
            // It holds the lock until it has ended, and another try must not find the file locked by this one.
            thread.join().ok();
            Err(error)
        }
    }
}

fn run(
    settings: StoreSettings,
    operations: &std_mpsc::Receiver<mpsc::UnboundedReceiver<Operation>>,
    (room, health): (Room, NodeHealth),
    opened: &std_mpsc::Sender<Result<Vec<String>, StoreError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            opened.send(Err(StoreError::open("(its runtime)", error))).ok();
            return;
        }
    };
    runtime.block_on(async {
        match Opened::open(settings).await {
            Ok(mut database) => {
                opened.send(Ok(std::mem::take(&mut database.sinks_with_parked))).ok();
                // None come when whoever started this is gone.
                if let Ok(operations) = operations.recv() {
                    Keeper::new(database, operations, room, health).run().await;
                }
            }
            Err(error) => {
                opened.send(Err(error)).ok();
            }
        }
    });
}
