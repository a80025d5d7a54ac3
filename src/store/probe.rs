//! What `check --connect` says of a store. Nothing is changed: no file, no table is made, and no lock is held.

use sqlx::Row as _;

use super::StoreError;
use super::backend;
use super::config::{Location, StoreSettings};
use super::database::{Database, is_in_use};
use crate::units::ByteSize;

/// PostgreSQL's code for a table that does not exist (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
const UNDEFINED_TABLE: &str = "42P01";

/// Opens the store as it is and says what was found. A bridge may be running on it.
///
/// # Errors
/// When it cannot be opened, or a later version of the bridge has changed its tables.
pub async fn probe(settings: &StoreSettings) -> Result<String, StoreError> {
    if let Location::Sqlite(path) = &settings.location
        && !path.exists()
    {
        return Ok(format!("{} is not there yet; the first run makes it", path.display()));
    }
    let mut database = Database::open(backend::of_settings(settings)?).await?;
    let found = look(&mut database).await?;
    database.close().await?;
    Ok(if is_in_use(settings) { format!("{found}; a bridge is running on it") } else { found })
}

async fn look(database: &mut Database) -> Result<String, StoreError> {
    let place = database.place().to_owned();
    let version = sqlx::query("SELECT MAX(version) AS version FROM _sqlx_migrations");
    let version: i64 = match version.fetch_one(database.connection()).await {
        Ok(row) => row.try_get("version").unwrap_or_default(),
        Err(error) if is_missing_table(&error) => {
            if database.parts().0.is_shared() {
                check_rights(database).await?;
            }
            return Ok(format!("{place} has no tables yet; the first run makes them"));
        }
        Err(error) => return Err(database.error(&error)),
    };
    let known = database.known_version();
    if version > known {
        return Err(StoreError::Newer { place, found: version, known });
    }
    let bytes = sqlx::query("SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes FROM replicas");
    let bytes = bytes.fetch_one(database.connection()).await.and_then(|row| row.try_get::<i64, _>("bytes"));
    let bytes = ByteSize(bytes.map_err(|error| database.error(&error))?.try_into().unwrap_or_default());
    Ok(format!("{place} can be used; it has {bytes} of parked deliveries and dead letters"))
}

/// Asks PostgreSQL whether the tables can be made.
async fn check_rights(database: &mut Database) -> Result<(), StoreError> {
    let asked = "SELECT CAST(current_user AS TEXT) AS who, \
                 COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false) AS may";
    let row = sqlx::query(asked).fetch_one(database.connection()).await;
    let row = row.and_then(|row| Ok((row.try_get("who")?, row.try_get("may")?)));
    let (user, may) = row.map_err(|error| database.error(&error))?;
    if may {
        return Ok(());
    }
    let problem = "it may not create tables in any schema of its search_path".to_owned();
    Err(StoreError::Denied { place: database.place().to_owned(), user, problem })
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    error.code().is_some_and(|code| code == UNDEFINED_TABLE) || error.message().contains("no such table")
}
