//! A store from its opening to its end. Its keeper is a task on one of the [threads](super::threads) of all stores.

use std::panic::resume_unwind;
use std::path::Path;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::StoreError;
use super::config::{Location, StoreSettings};
use super::handle::{Operation, Store};
use super::keeper::Keeper;
use super::opened::Opened;
use super::room::Room;
use super::threads::FILE_CALLS;
use super::{connection, sqlite, threads};
use crate::health::NodeHealth;
use crate::off_worker::in_turn;

/// A store that is not open yet: its handles can be given away before anything is read or written.
#[derive(Debug)]
pub struct UnopenedStore {
    settings: StoreSettings,
    operations: mpsc::UnboundedReceiver<Operation>,
    room: Room,
    health: NodeHealth,
}

/// A store at work. It ends when the last handle is gone and everything is on the disk.
#[derive(Debug)]
pub struct RunningStore {
    keeper: JoinHandle<()>,
    sinks_with_parked: Vec<String>,
}

/// How often is looked whether the moment has come to wait no longer.
const LOOK: Duration = Duration::from_millis(100);

/// What comes of an opening: the sinks for which deliveries wait, or what could not be opened, and why.
type OpeningResult = Result<Vec<String>, Box<(UnopenedStore, StoreError)>>;

impl UnopenedStore {
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

    /// Leaves dead letters alone however old they are: for commands that only borrow the store.
    #[must_use]
    pub fn keeping_all_letters(mut self) -> Self {
        self.settings.keep_dead_letters = None;
        self
    }

    /// Opens the database, brings its schema up to date, and starts the keeper. An SQLite file is locked against other
    /// processes until the store has ended. When nobody waits for it any more, the opening goes on, and the store ends.
    ///
    /// # Errors
    /// When the database cannot be used: this gives itself back, so that it can be tried again.
    ///
    /// # Panics
    /// When the opening has panicked.
    pub async fn open(self) -> Result<RunningStore, Box<(Self, StoreError)>> {
        let place = match threads::place() {
            Ok(place) => place,
            Err(error) => return Err(Box::new((self, StoreError::open("(its thread)", error)))),
        };
        let (opened, is_open) = oneshot::channel();
        let keeper = place.spawn(self.run(opened));
        match is_open.await {
            Ok(Ok(sinks_with_parked)) => Ok(RunningStore { keeper, sinks_with_parked }),
            Ok(Err(failed)) => Err(failed),
            Err(_) => match keeper.await {
                Err(error) => resume_unwind(error.into_panic()),
                Ok(()) => unreachable!("an opening that does not panic says what has come of it"),
            },
        }
    }

    /// What is to be opened.
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    async fn run(self, opened: oneshot::Sender<OpeningResult>) {
        let turn = match &self.settings.location {
            Location::Sqlite(_) => Some(connection::a_turn().await),
            Location::Postgres(_) => None,
        };
        let lock = match &self.settings.location {
            Location::Sqlite(path) => lock(path).await.map(Some),
            Location::Postgres(_) => Ok(None),
        };
        let opened_database = match lock {
            Ok(lock) => Opened::open(self.settings.clone(), turn).await.map(|opened| (opened, lock)),
            Err(error) => Err(error),
        };
        match opened_database {
            Ok((mut database, _lock)) => {
                // Whoever has started this may be gone; then the last handle is gone, too.
                opened.send(Ok(std::mem::take(&mut database.sinks_with_parked))).ok();
                Keeper::new(database, self.operations, self.room, self.health).run().await;
            }
            Err(error) => {
                opened.send(Err(Box::new((self, error)))).ok();
            }
        }
    }
}

impl RunningStore {
    /// The sinks for which deliveries waited when it was opened, by name.
    pub fn sinks_with_parked(&self) -> &[String] {
        &self.sinks_with_parked
    }

    /// Waits for the end. Drop all handles first.
    ///
    /// # Errors
    /// When the keeper has panicked.
    pub async fn ended(self) -> Result<(), JoinError> {
        self.keeper.await
    }

    /// As [`ended`](Self::ended), but no longer than until the moment that `latest` names, once it names one: a database
    /// that does not answer must not hold up the end. What it has not kept by then is open, and is read again.
    ///
    /// # Errors
    /// When the keeper has panicked.
    pub async fn ended_until(mut self, latest: impl Fn() -> Option<Instant>) -> Result<(), JoinError> {
        loop {
            if let Ok(ended) = timeout(LOOK, &mut self.keeper).await {
                return ended;
            }
            if latest().is_some_and(|latest| latest <= Instant::now()) {
                warn!(
                    "time is up: the store is left before it has written everything; what it has not kept is read \
                       again at the next start"
                );
                return Ok(());
            }
        }
    }
}

/// Locks an SQLite file.
async fn lock(path: &Path) -> Result<std::fs::File, StoreError> {
    let (path, place) = (path.to_owned(), path.display().to_string());
    let locked = in_turn(&FILE_CALLS, move || sqlite::lock(&path)).await;
    locked.unwrap_or_else(|error| Err(StoreError::open(&place, error)))
}
