//! SQLite files that are closed because there is nothing to do for them: whether others, such as the command line, have
//! changed them meanwhile.
//!
//! One thread looks at all of them once a second, by their state in the file system. It opens none: a process that closes
//! a file gives up all its locks on it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use std::{io, thread};

use tokio::sync::Notify;

/// How often is looked at the files.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What changes when somebody has changed an SQLite file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileState {
    /// `None` when it cannot be looked at.
    file: Option<(u64, u64, SystemTime)>,
    /// Something is in the log of a connection that is open, or of a process that was killed.
    has_log: bool,
}

/// An SQLite file at rest.
#[derive(Debug)]
pub(super) struct AtRest(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    state: Mutex<FileState>,
    changed: Notify,
}

/// The files at rest; those that are dropped are gone at the next look.
static AT_REST: Mutex<Vec<Weak<Entry>>> = Mutex::new(Vec::new());
static SOME_ARE_THERE: Condvar = Condvar::new();

impl FileState {
    /// The state of a file and its log now. Blocks for as long as the file system takes.
    pub(super) fn of(path: &Path) -> Self {
        let identity = |metadata: Metadata| Some((metadata.ino(), metadata.len(), metadata.modified().ok()?));
        Self {
            file: fs::metadata(path).ok().and_then(identity),
            has_log: fs::metadata(log_path(path)).is_ok_and(|metadata| metadata.len() > 0),
        }
    }

    /// The same without a log: that of the last connection goes when it closes, and all of it is in the file.
    pub(super) fn without_log(self) -> Self {
        Self { has_log: false, ..self }
    }
}

impl AtRest {
    /// Begins to look at a file that was in this state when it was closed.
    ///
    /// # Errors
    /// When the operating system refuses the thread that looks.
    pub(super) fn begin(path: &Path, state: FileState) -> io::Result<Self> {
        start_looking()?;
        let entry = Arc::new(Entry { path: path.to_owned(), state: Mutex::new(state), changed: Notify::new() });
        lock(&AT_REST).push(Arc::downgrade(&entry));
        SOME_ARE_THERE.notify_one();
        Ok(Self(entry))
    }

    /// Waits until others have changed the file. Cancel safe.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The state that the file had when it was last looked at.
    pub(super) fn state(&self) -> FileState {
        lock(&self.0.state).clone()
    }
}

/// Starts the thread, unless it is there.
fn start_looking() -> io::Result<()> {
    static LOOKS: Mutex<bool> = Mutex::new(false);
    let mut looks = lock(&LOOKS);
    if !*looks {
        thread::Builder::new().name("store-look".to_owned()).spawn(look_for_ever)?;
        *looks = true;
    }
    Ok(())
}

fn look_for_ever() {
    loop {
        let mut entries = lock(&AT_REST);
        while entries.is_empty() {
            entries = SOME_ARE_THERE.wait(entries).unwrap_or_else(PoisonError::into_inner);
        }
        drop(entries);
        thread::sleep(LOOK_EVERY);
        let mut entries = lock(&AT_REST);
        entries.retain(|entry| entry.strong_count() > 0);
        let entries = entries.clone();
        // Nothing is locked meanwhile: a file system may take its time.
        entries.iter().filter_map(Weak::upgrade).for_each(|entry| entry.look());
    }
}

impl Entry {
    fn look(&self) {
        let now = FileState::of(&self.path);
        let mut state = lock(&self.state);
        if *state != now {
            *state = now;
            self.changed.notify_one();
        }
    }
}

fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Nothing is left half done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_change_of_the_file_or_of_its_log_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        fs::write(&path, "one").unwrap();
        fs::write(log_path(&path), "").unwrap();
        let at_rest = AtRest::begin(&path, FileState::of(&path)).unwrap();
        assert!(timeout(2 * LOOK_EVERY, at_rest.changed()).await.is_err(), "an empty log is none");
        fs::write(log_path(&path), "a page").unwrap();
        timeout(PATIENCE, at_rest.changed()).await.unwrap();
        fs::write(&path, "others").unwrap();
        timeout(PATIENCE, at_rest.changed()).await.unwrap();
        assert!(timeout(2 * LOOK_EVERY, at_rest.changed()).await.is_err());
        assert_eq!(at_rest.state(), FileState::of(&path));
    }
}
