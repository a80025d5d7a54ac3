//! Looking into a bridge's SQLite store from outside, while the bridge runs or after it.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{Connection as _, Row as _, SqliteConnection};

/// A delivery that waits in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parked {
    /// The event's payload.
    pub(crate) payload: String,
    /// Attempts made.
    pub(crate) attempts: i64,
    /// Milliseconds since 1970; `None` for one that waits for an earlier one of its lane.
    pub(crate) due: Option<i64>,
}

/// The store of the pipeline `name` whose bridge runs in `folder`.
pub(crate) fn store_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("state").join(name).join("store.db")
}

/// The parked deliveries of the pipeline `name` whose bridge runs in `folder`, in the order in which they came.
pub(crate) fn parked(folder: &Path, name: &str) -> Vec<Parked> {
    let sql = "SELECT payload, attempts_made, due FROM deliveries WHERE state = 'parked' ORDER BY id";
    let parked = |row: &SqliteRow| Parked {
        payload: String::from_utf8(row.get("payload")).unwrap(),
        attempts: row.get("attempts_made"),
        due: row.get("due"),
    };
    rows(&store_file(folder, name), sql).iter().map(parked).collect()
}

/// Keeps the store from committing anything, as a second writer would, for as long as what it returns lives.
pub(crate) fn lock_store(file: &Path) -> StoreLock {
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(std::time::Duration::from_secs(30));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (locked, is_locked) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
            locked.send(()).unwrap();
            // It ends with an error, as nothing is ever sent.
            released.recv().unwrap_err();
            transaction.rollback().await.unwrap();
            connection.close().await.unwrap();
        });
    });
    is_locked.recv().unwrap();
    StoreLock { release: Some(release), thread: Some(thread) }
}

/// Ends the lock of [`lock_store`] when it is dropped.
pub(crate) struct StoreLock {
    release: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Runs a statement on a store; gives its rows, none when there is no store yet.
pub(crate) fn rows(file: &Path, sql: &'static str) -> Vec<SqliteRow> {
    if !file.exists() {
        return Vec::new();
    }
    // A thread of its own: the caller may be within a runtime.
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(std::time::Duration::from_secs(30));
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = SqliteConnection::connect_with(&options).await?;
            let rows = sqlx::query(sql).fetch_all(&mut connection).await;
            connection.close().await?;
            rows
        })
    });
    match thread.join().unwrap() {
        Ok(rows) => rows,
        Err(error) if error.to_string().contains("no such table") => Vec::new(),
        Err(error) => panic!("{}: {error}", file.display()),
    }
}
