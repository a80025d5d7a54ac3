//! The connection of a store's keeper to its database: open while there is something to do, at rest, or lost after a
//! failure. It also tells when others have changed the database.
//!
//! Only an SQLite file rests: the log is folded in, and the file is closed. A PostgreSQL database hears of its replicas all
//! the time, and costs no thread. What is written, and what follows from a failure, is the keeper's.

use std::future::pending;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::StoreError;
use super::at_rest::{AtRest, FileState, LOOK_EVERY};
use super::backend;
use super::config::{Location, StoreSettings};
use super::database::Database;
use super::threads::FILE_CALLS;
use crate::off_worker::in_turn;
use crate::turns::{Turn, Turns};

/// The SQLite files of the process that are open at the same time, unless more have something to do. Each costs a thread,
/// memory and three descriptors. Whoever would open one more waits until another has closed its own.
static OPEN: Turns = Turns::new(12);

/// An SQLite file for which there was nothing to do for so long is closed.
const REST_AFTER: Duration = Duration::from_secs(5);

/// The same when others would open theirs and may not yet. What has just been opened is most likely asked for more.
const GIVE_WAY_AFTER: Duration = Duration::from_millis(10);

/// How long closing the connection may take after a failure.
const CLOSING: Duration = Duration::from_secs(1);

/// A connection to the store's database.
pub(super) struct Connection {
    settings: StoreSettings,
    state: State,
    is_shared: bool,
    /// What the database says of changes by others: see [`Database::version_by_others`]; `None` when it is not known
    /// whether there were any.
    version: Option<i64>,
    last_look: Instant,
    last_use: Instant,
}

enum State {
    Open {
        database: Database,
        /// Of an SQLite file.
        _turn: Option<Turn>,
    },
    AtRest(AtRest),
    Lost,
}

impl Connection {
    /// Opens the database and brings its tables up to date.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub(super) async fn begin(settings: StoreSettings, turn: Option<Turn>) -> Result<Self, StoreError> {
        let mut database = Database::connect(&settings).await?;
        // Before anybody asks: what others change from now on is told.
        let version = database.version_by_others().await.map_err(|error| database.error(&error))?;
        let is_shared = database.parts().0.is_shared();
        let state = State::Open { database, _turn: turn };
        let now = Instant::now();
        Ok(Self { settings, state, is_shared, version, last_look: now, last_use: now })
    }

    /// True when several replicas may use the database at the same time.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// True after a failure, until it has been opened anew: the end of the last transaction is not known.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// The database, opened anew when it is not open.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) async fn open(&mut self) -> Result<&mut Database, StoreError> {
        if !matches!(self.state, State::Open { .. }) {
            self.reopen().await?;
        }
        self.last_use = Instant::now();
        match &mut self.state {
            State::Open { database, .. } => Ok(database),
            State::AtRest(_) | State::Lost => Err(StoreError::Closed),
        }
    }

    async fn reopen(&mut self) -> Result<(), StoreError> {
        let turn = if self.is_shared { None } else { Some(a_turn().await) };
        let mut database = Database::open(backend::of_settings(&self.settings)?).await?;
        let version = database.version_by_others().await.map_err(|error| database.error(&error))?;
        let is_unchanged = match (&self.state, &self.settings.location) {
            // What others change after this, the version tells.
            (State::AtRest(at_rest), Location::Sqlite(path)) => state_of(path).await == Some(at_rest.state()),
            _ => false,
        };
        self.version = version.filter(|_| is_unchanged);
        self.state = State::Open { database, _turn: turn };
        Ok(())
    }

    /// How long nothing has to be done for it; `None` when there is nothing to do but upon [`woken`](Self::woken).
    pub(super) fn until_due(&self, may_rest: bool) -> Option<Duration> {
        if self.is_shared || !matches!(self.state, State::Open { .. }) {
            return None;
        }
        let look = LOOK_EVERY.saturating_sub(self.last_look.elapsed());
        let rest = may_rest.then(|| self.rests_after().saturating_sub(self.last_use.elapsed()));
        rest.into_iter().chain([look]).min()
    }

    fn rests_after(&self) -> Duration {
        if OPEN.are_wanted() { GIVE_WAY_AFTER } else { REST_AFTER }
    }

    /// Waits until others have changed a file at rest, or another store has need of what this one's open file takes up.
    /// Cancel safe. It changes nothing; but what is shared between threads may be no connection.
    pub(super) async fn woken(&mut self, may_rest: bool) {
        match &self.state {
            State::AtRest(at_rest) => at_rest.changed().await,
            State::Open { .. } if may_rest && self.last_use.elapsed() >= GIVE_WAY_AFTER => OPEN.wanted().await,
            State::Open { .. } | State::Lost => pending().await,
        }
    }

    /// True when a file at rest waits for nothing but changes by others.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.state, State::AtRest(_))
    }

    /// True when others have changed the database since this was last asked, at the most once in [`LOOK_EVERY`].
    pub(super) async fn has_been_changed(&mut self) -> bool {
        self.last_look.elapsed() >= LOOK_EVERY && self.look().await
    }

    async fn look(&mut self) -> bool {
        // Where several replicas work, something changes all the time, and sinks ask by themselves.
        let State::Open { database, .. } = &mut self.state else { return false };
        if self.is_shared {
            return false;
        }
        self.last_look = Instant::now();
        // When it fails, so do the questions of the sinks; that is said and mended there.
        let version = database.version_by_others().await.ok().flatten();
        let has_changed = version.is_none() || version != self.version;
        self.version = version;
        has_changed
    }

    /// Closes a file for which there was nothing to do for long enough. Returns true when others have changed it: then it
    /// stays open.
    pub(super) async fn rest_if_due(&mut self) -> bool {
        let Location::Sqlite(path) = self.settings.location.clone() else { return false };
        if self.last_use.elapsed() < self.rests_after() {
            return false;
        }
        let State::Open { database, .. } = &mut self.state else { return false };
        // So that the file's state changes only when others change it. When it fails, so does the next commit, where that
        // is said.
        if database.fold_log().await.is_err() {
            self.last_use = Instant::now();
            return false;
        }
        let state = state_of(&path).await;
        if self.look().await {
            return true;
        }
        if let State::Open { database, .. } = std::mem::replace(&mut self.state, State::Lost) {
            // What was committed is kept all the same.
            timeout(CLOSING, database.close()).await.ok();
        }
        // Without the thread that looks it counts as lost, and is opened anew with all due care.
        if let Some(Ok(at_rest)) = state.map(|state| AtRest::begin(&path, state.without_log())) {
            self.state = State::AtRest(at_rest);
        }
        false
    }

    /// Closes the connection after a failure. What it was in the middle of is undone.
    pub(super) async fn lose(&mut self) {
        if let State::Open { database, .. } = std::mem::replace(&mut self.state, State::Lost) {
            // It may fail for the reason of the failure.
            timeout(CLOSING, database.close()).await.ok();
        }
    }

    /// The database, if it is open, to be closed in order.
    pub(super) fn into_open(self) -> Option<Database> {
        match self.state {
            State::Open { database, .. } => Some(database),
            State::AtRest(_) | State::Lost => None,
        }
    }
}

/// Waits for the right to have an SQLite file open.
pub(super) async fn a_turn() -> Turn {
    match OPEN.try_take() {
        Some(turn) => turn,
        None => OPEN.take().await,
    }
}

async fn state_of(path: &Path) -> Option<FileState> {
    let path = path.to_owned();
    in_turn(&FILE_CALLS, move || FileState::of(&path)).await.ok()
}
