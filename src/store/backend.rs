//! What differs between the databases. All statements are written once, in SQL that both know; a [`Backend`] adds the
//! few words and calls that differ.

use std::fmt;

use futures_util::future::BoxFuture;
use sqlx::AnyConnection;

use super::StoreError;
use super::config::{Location, StoreSettings};
use super::postgres::Postgres;
use super::sqlite::Sqlite;

/// A kind of database.
pub(super) trait Backend: fmt::Debug + Send + Sync {
    /// The database as it is named in messages, without a password.
    fn place(&self) -> &str;

    /// Opens a connection.
    fn connect(&self) -> BoxFuture<'_, Result<AnyConnection, StoreError>>;

    /// The statements that make the tables: one for each version, from 1.
    fn migrations(&self) -> &'static [&'static str];

    /// Begins a transaction that writes.
    fn begin(&self) -> &'static str;

    /// The same, for those who would rather ask again than wait in line: see [`StoreError::Busy`].
    fn try_begin(&self) -> &'static str;

    /// What follows a `SELECT` of rows that nobody else may change before this transaction has ended.
    fn lock(&self) -> &'static str;

    /// The same, passing over rows that somebody else has locked.
    fn skip_locked(&self) -> &'static str;

    /// The database's clock, in milliseconds since 1970.
    fn clock(&self) -> &'static str;

    /// A query for a number that another one takes the place of when another connection has changed the database; `None`
    /// where there is none that costs next to nothing.
    fn version_by_others(&self) -> Option<&'static str>;

    /// The statement that folds the log of a file into it, without waiting for anybody; `None` where there is none.
    fn fold_log(&self) -> Option<&'static str>;

    /// True when several replicas may use the database at the same time.
    fn is_shared(&self) -> bool;

    /// What a failed statement means.
    fn error(&self, error: &sqlx::Error) -> StoreError;
}

/// The backend for a location.
///
/// # Errors
/// When the location cannot be understood, or its folder cannot be made.
pub(super) fn of_settings(settings: &StoreSettings) -> Result<Box<dyn Backend>, StoreError> {
    sqlx::any::install_default_drivers();
    Ok(match &settings.location {
        Location::Sqlite(path) => Box::new(Sqlite::new(path)?),
        Location::Postgres(url) => Box::new(Postgres::new(url)?),
    })
}
