//! SQLite: one file, used by one running bridge at a time (see [`lock`]), and by the command line beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use nix::unistd::{AccessFlags, access};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Executor as _};

use super::StoreError;
use super::backend::Backend;
use super::error::{Kind, code, of_kind};
use super::threads::FILE_CALLS;
use crate::off_worker::in_turn;

/// What is done with every new connection. FULL makes a commit durable before it returns, in WAL mode too
/// (<https://sqlite.org/pragma.html#pragma_synchronous>); the cache is bounded (in KiB) as memory is; the log file is
/// cut back after a burst.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; \
                       PRAGMA cache_size = -8192; PRAGMA journal_size_limit = 67108864;";

/// What may stand in a path within a URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Primary result codes (<https://sqlite.org/rescode.html>).
const BUSY: u32 = 5;
const READONLY: u32 = 8;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const NOTADB: u32 = 26;
/// A file in memory, shared by the connections, could not grow: `SQLITE_IOERR_SHMSIZE`.
const IOERR_SHMSIZE: u32 = 4874;

/// An SQLite file.
#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    place: String,
}

impl Sqlite {
    /// Does no I/O.
    ///
    /// # Errors
    /// When the path names no file.
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        let place = path.display().to_string();
        if path.file_name().is_none() {
            return Err(StoreError::open(&place, "it names no file"));
        }
        Ok(Self { path: path.to_owned(), place })
    }

    /// Makes the file when it is not there: payloads are nobody else's to read. SQLite gives its log the same mode.
    ///
    /// A file that is there is not opened: a process that closes a file gives up all its locks on it, those of its
    /// other connections too (<https://sqlite.org/howtocorrupt.html>, 2.2). So no thread may go on to connect to a new
    /// file until the one that has made it has closed it.
    fn create(path: &Path) -> io::Result<()> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => may_be_written(path),
            Err(error) => Err(error),
        }
    }

    async fn open(&self) -> Result<AnyConnection, StoreError> {
        let given = self.path.clone();
        let path = in_turn(&FILE_CALLS, move || {
            let path = absolute(&given)?;
            Self::create(&path)?;
            Ok(path)
        });
        let path = path.await.flatten().map_err(|error| io_error(&self.place, &error))?;
        let path = path.to_str().ok_or_else(|| StoreError::open(&self.place, "the path is not UTF-8"))?;
        let url = format!("sqlite://{}?mode=rw", utf8_percent_encode(path, PATH));
        let options: AnyConnectOptions = url.parse().map_err(|error| self.error(&error))?;
        let options = options.disable_statement_logging();
        let mut connection = options.connect().await.map_err(|error| self.error(&error))?;
        connection.execute(PRAGMAS).await.map_err(|error| self.error(&error))?;
        Ok(connection)
    }
}

impl Backend for Sqlite {
    fn place(&self) -> &str {
        &self.place
    }

    fn connect(&self) -> BoxFuture<'_, Result<AnyConnection, StoreError>> {
        Box::pin(self.open())
    }

    fn migrations(&self) -> &'static [&'static str] {
        &[include_str!("migrations/sqlite/0001_store.sql")]
    }

    /// A transaction that begins by reading could not go on to write once another process has written.
    fn begin(&self) -> &'static str {
        "BEGIN IMMEDIATE"
    }

    fn try_begin(&self) -> &'static str {
        "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; PRAGMA busy_timeout = 5000"
    }

    fn lock(&self) -> &'static str {
        ""
    }

    fn skip_locked(&self) -> &'static str {
        ""
    }

    fn clock(&self) -> &'static str {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    }

    fn version_by_others(&self) -> Option<&'static str> {
        Some("SELECT data_version FROM pragma_data_version")
    }

    fn fold_log(&self) -> Option<&'static str> {
        Some("PRAGMA wal_checkpoint(PASSIVE)")
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn error(&self, error: &sqlx::Error) -> StoreError {
        let kind = match primary_code(error) {
            BUSY => Kind::Busy,
            READONLY => Kind::ReadOnly,
            FULL => Kind::Full,
            CORRUPT | CANTOPEN | NOTADB => Kind::Open,
            _ if extended_code(error) == IOERR_SHMSIZE => Kind::Full,
            _ => Kind::Failed,
        };
        of_kind(&kind, &self.place, error)
    }
}

/// The path without links and dots, which a URL would resolve in a way of its own. Makes the folder when it is not there.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    Ok(fs::canonicalize(folder)?.join(path.file_name().unwrap_or_default()))
}

/// SQLite itself would say no more than that the file cannot be opened.
fn may_be_written(path: &Path) -> io::Result<()> {
    for path in [path.parent().unwrap_or(Path::new("/")), path] {
        access(path, AccessFlags::W_OK)?;
    }
    Ok(())
}

fn extended_code(error: &sqlx::Error) -> u32 {
    code(error).and_then(|code| code.parse().ok()).unwrap_or_default()
}

fn primary_code(error: &sqlx::Error) -> u32 {
    extended_code(error) & 0xff
}

/// How often a bridge that starts may find the lock in the hands of somebody who only looks at it.
const TRIES: u32 = 1000;

/// Keeps every other bridge away from an SQLite file, for as long as the returned file is open.
///
/// # Errors
/// [`StoreError::Locked`] when another process has it, others when the folder cannot be written.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let place = path.display().to_string();
    let failed = |error: io::Error| io_error(&place, &error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::create(lock_path(path)).map_err(failed)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // A bridge does not share the lock; whoever only looks at it does, for a moment.
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map_err(failed)?,
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(StoreError::Locked { path: path.to_owned() })
}

/// True while a bridge runs on the SQLite file.
pub(super) fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(lock_path(path)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn io_error(place: &str, error: &io::Error) -> StoreError {
    let (place, problem) = (place.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => StoreError::ReadOnly { place, problem },
        io::ErrorKind::StorageFull => StoreError::Full { place, problem },
        _ => StoreError::Open { place, problem },
    }
}
