//! New SQLite files. Making the tables takes a dozen waits for the disk; so only the first file of the process is made
//! table by table, and the others are copies of it.
//!
//! This only ever saves time: whatever cannot be done here, `connect` does in the ordinary way, and says why it fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tokio::sync::OnceCell;
use tracing::debug;

use super::StoreError;
use super::backend;
use super::config::{Location, StoreSettings};
use super::database::Database;
use super::threads::FILE_CALLS;
use crate::off_worker::in_turn;

/// A file with all tables and no rows.
static EMPTY: OnceCell<Vec<u8>> = OnceCell::const_new();

/// Makes the file of these settings, with all tables, when it is an SQLite file and not there. Returns true when it has
/// made one.
pub(super) async fn make(settings: &StoreSettings) -> bool {
    let Location::Sqlite(path) = &settings.location else { return false };
    try_to_make(settings, path).await.unwrap_or_else(|error| {
        debug!(path = %path.display(), %error, "the store's file is not made as a copy");
        false
    })
}

async fn try_to_make(settings: &StoreSettings, path: &Path) -> Result<bool, StoreError> {
    let place = path.display().to_string();
    let failed = |error: io::Error| StoreError::open(&place, error);
    let (path, new) = (path.to_owned(), path.with_added_extension("new"));
    let looked_for = path.clone();
    if on_blocking_thread(move || looked_for.try_exists()).await.map_err(failed)? {
        return Ok(false);
    }
    let new_one = StoreSettings { location: Location::Sqlite(new.clone()), ..settings.clone() };
    let empty = EMPTY.get_or_try_init(|| make_table_by_table(&new_one, &new)).await?;
    on_blocking_thread(move || copy(empty, &new, &path)).await.map_err(failed)?;
    Ok(true)
}

async fn make_table_by_table(settings: &StoreSettings, new: &Path) -> Result<Vec<u8>, StoreError> {
    let mut database = Database::open(backend::of_settings(settings)?).await?;
    database.migrate().await?;
    database.close().await?;
    let (place, new) = (new.display().to_string(), new.to_owned());
    let bytes = on_blocking_thread(move || {
        let bytes = fs::read(&new)?;
        fs::remove_file(&new)?;
        Ok(bytes)
    });
    bytes.await.map_err(|error| StoreError::open(&place, error))
}

/// Puts a file at its path when it is whole and on the disk, unless another has come there meanwhile. SQLite sees to it
/// that its name is on the disk too, with the first transaction.
fn copy(bytes: &[u8], new: &Path, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    // It is closed before others can open it by its name: closing it would give up the locks of this process on it.
    let linked = write(file, bytes).and_then(|()| fs::hard_link(new, path));
    fs::remove_file(new)?;
    linked
}

fn write(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

async fn on_blocking_thread<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    in_turn(&FILE_CALLS, call).await?
}
