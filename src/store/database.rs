//! A connection to the store's database, its tables brought up to date: what the store's keeper works on, and what the
//! command line uses beside it.

use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, Connection as _, Executor as _, SqlSafeStr as _};
use tokio::time::{Instant, sleep};

use super::StoreError;
use super::backend::{self, Backend};
use super::config::{Location, StoreSettings};
use super::{new_file, sqlite};

/// How long another process that writes is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The time between two tries to have that turn.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// The table in which the migrations that were applied are noted.
const MIGRATIONS: &str = "_sqlx_migrations";

/// A connection to the store's database.
///
/// Statements hold for both databases: placeholders are `$1`, `$2`, …, texts are bound as `&str` or `String` and bytes
/// as `&[u8]` or `Vec<u8>` (an `Arc<str>` cannot be bound).
#[derive(Debug)]
pub struct Database {
    backend: Box<dyn Backend>,
    connection: AnyConnection,
}

impl Database {
    /// Opens the database and brings its tables up to date. A bridge may be running on it.
    ///
    /// # Errors
    /// When it cannot be opened, or a later version of the bridge has changed its tables.
    pub async fn connect(settings: &StoreSettings) -> Result<Self, StoreError> {
        let has_tables = new_file::make(settings).await;
        let mut database = Self::open(backend::of_settings(settings)?).await?;
        if !has_tables {
            database.migrate().await?;
        }
        Ok(database)
    }

    /// Opens the database as it is.
    pub(super) async fn open(backend: Box<dyn Backend>) -> Result<Self, StoreError> {
        let turn = Turn::begin();
        loop {
            match backend.connect().await {
                Ok(connection) => return Ok(Self { backend, connection }),
                Err(error) => turn.wait(error).await?,
            }
        }
    }

    /// The connection, for statements of one's own.
    pub fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// Carries out statements in one transaction that writes, for the command line. A bridge may be running on the
    /// database, and may be busy.
    ///
    /// # Errors
    /// When the database refuses; nothing was changed then.
    pub async fn write<T>(
        &mut self,
        statements: impl AsyncFnOnce(&mut AnyConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        self.begin().await?;
        let done = statements(&mut self.connection).await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.connection.execute(end).await;
        done.and_then(|done| ended.map(|_| done)).map_err(|error| self.error(&error))
    }

    /// Begins a transaction. SQLite has no queue of those who want to write: it asks again after pauses that grow to
    /// 100 ms, and would hardly ever find the moment between two transactions of a busy bridge.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let turn = Turn::begin();
        while let Err(error) = self.connection.execute(self.backend.try_begin()).await {
            turn.wait(self.error(&error)).await?;
        }
        Ok(())
    }

    /// A number that is another one when other connections have changed the database meanwhile; `None` where that cannot
    /// be told at little cost.
    pub(super) async fn version_by_others(&mut self) -> sqlx::Result<Option<i64>> {
        let Some(query) = self.backend.version_by_others() else { return Ok(None) };
        sqlx::query_scalar(query).fetch_one(&mut self.connection).await.map(Some)
    }

    /// Folds the log of an SQLite file into it, as far as nobody reads of the log; does nothing elsewhere.
    pub(super) async fn fold_log(&mut self) -> sqlx::Result<()> {
        let Some(statement) = self.backend.fold_log() else { return Ok(()) };
        self.connection.execute(statement).await.map(drop)
    }

    /// The file, or the server and its database, without a password.
    pub(super) fn place(&self) -> &str {
        self.backend.place()
    }

    /// The latest version of the tables that this bridge knows.
    pub(super) fn known_version(&self) -> i64 {
        self.backend.migrations().len() as i64
    }

    /// What a failed statement means.
    pub fn error(&self, error: &sqlx::Error) -> StoreError {
        self.backend.error(error)
    }

    /// Closes the connection; an SQLite file is then whole without its log, unless another process has it open.
    ///
    /// # Errors
    /// When the database refuses. What was committed is kept all the same.
    pub async fn close(self) -> Result<(), StoreError> {
        let Self { backend, connection } = self;
        connection.close().await.map_err(|error| backend.error(&error))
    }

    /// The backend and the connection, to be used side by side.
    pub(super) fn parts(&mut self) -> (&dyn Backend, &mut AnyConnection) {
        (&*self.backend, &mut self.connection)
    }

    /// Brings the tables up to date. On SQLite nothing keeps two processes from doing so at the same time: to the slower
    /// one it looks like a failure at first, and is done when it looks again.
    pub(super) async fn migrate(&mut self) -> Result<(), StoreError> {
        match self.migrate_in_turn().await {
            Ok(()) => Ok(()),
            Err(newer @ StoreError::Newer { .. }) => Err(newer),
            Err(_) => self.migrate_in_turn().await,
        }
    }

    async fn migrate_in_turn(&mut self) -> Result<(), StoreError> {
        let turn = Turn::begin();
        while let Err(error) = self.try_to_migrate().await {
            turn.wait(error).await?;
        }
        Ok(())
    }

    async fn try_to_migrate(&mut self) -> Result<(), StoreError> {
        let migrator = migrator(self.backend.migrations());
        match migrator.run_direct(None, &mut self.connection, false).await {
            Ok(()) => Ok(()),
            Err(MigrateError::VersionMissing(_)) => Err(self.newer().await?),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(self.error(&error)),
            Err(error) => Err(StoreError::open(self.backend.place(), error)),
        }
    }

    async fn newer(&mut self) -> Result<StoreError, StoreError> {
        let applied = self.connection.list_applied_migrations(MIGRATIONS).await;
        let applied = applied.map_err(|error| StoreError::open(self.backend.place(), error))?;
        let found = applied.iter().map(|migration| migration.version).max().unwrap_or_default();
        Ok(StoreError::Newer { place: self.place().to_owned(), found, known: self.known_version() })
    }
}

/// The wait for one's turn while another process writes. SQLite itself does not wait where waiting could never end, as
/// when two processes have read what both would change: both have to let go then, and begin again.
struct Turn {
    give_up_at: Instant,
}

impl Turn {
    fn begin() -> Self {
        Self { give_up_at: Instant::now() + LONGEST_WAIT }
    }

    /// Returns when it is time to try again, or the error when trying again does not help.
    async fn wait(&self, error: StoreError) -> Result<(), StoreError> {
        if !matches!(error, StoreError::Busy { .. }) || Instant::now() > self.give_up_at {
            return Err(error);
        }
        sleep(ASK_EVERY).await;
        Ok(())
    }
}

/// True while a bridge runs on the store. Of a PostgreSQL database it cannot be told: there several may run.
pub fn is_in_use(settings: &StoreSettings) -> bool {
    match &settings.location {
        Location::Sqlite(path) => sqlite::is_locked(path),
        Location::Postgres(_) => false,
    }
}

fn migrator(statements: &'static [&'static str]) -> Migrator {
    let migration = |(index, sql): (usize, &&'static str)| {
        Migration::new(index as i64 + 1, "store".into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(statements.iter().enumerate().map(migration).collect())
}
