//! Watching folders for changes, so that new lines are read at once. It only ever speeds things up: whatever it misses
//! is found by the next look at the paths.
//!
//! All sources of the process share one watcher, as systems have few to give (Linux 128 for a user, by default) and
//! each brings a thread. This module decides nothing; it passes on what the operating system says, once however often
//! it is said.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::path::shown;

/// Changed files remembered one by one; beyond that everything is looked at.
const MOST_CHANGES: usize = 4096;

/// The folders being watched by one source.
#[derive(Debug)]
pub(super) struct Watch {
    /// False when nothing is to be watched, as when the system has no watcher left.
    sees: bool,
    folders: BTreeSet<PathBuf>,
    refused: BTreeSet<PathBuf>,
    shared: Arc<Shared>,
}

/// What has changed since it was last asked for.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Files that were written to.
    pub(super) written: HashSet<PathBuf>,
    /// True when files have come, gone or been renamed, or changes may have been missed.
    pub(super) names: bool,
}

#[derive(Debug, Default)]
struct Shared {
    changes: Mutex<Changes>,
    changed: Notify,
}

/// The watcher of the process.
static WATCHER: LazyLock<Option<Mutex<RecommendedWatcher>>> = LazyLock::new(|| {
    notify::recommended_watcher(tell)
        .inspect_err(|error| tracing::warn!(%error, "folders cannot be watched; files are polled instead"))
        .ok()
        .map(Mutex::new)
});

/// Who wants to know of changes in each folder. It is locked after the watcher where both are, and never while something
/// waits for the watcher.
static LISTENERS: LazyLock<Mutex<HashMap<PathBuf, Vec<Arc<Shared>>>>> = LazyLock::new(Mutex::default);

impl Watch {
    /// Starts watching nothing.
    pub(super) fn new() -> Self {
        Self { sees: true, folders: BTreeSet::new(), refused: BTreeSet::new(), shared: Arc::default() }
    }

    /// Watches nothing, ever, as when the system has no watcher left.
    #[cfg(test)]
    pub(super) fn blind() -> Self {
        let mut watch = Self::new();
        watch.sees = false;
        watch
    }

    /// Watches these folders and no others.
    pub(super) fn set_folders(&mut self, folders: &BTreeSet<PathBuf>) {
        if !self.sees || *folders == self.folders {
            return;
        }
        let Some(watcher) = &*WATCHER else { return };
        let mut watcher = lock(watcher);
        self.leave(&mut watcher, |folder| !folders.contains(folder));
        for folder in folders.difference(&self.folders.clone()) {
            // Listening comes first, so that nothing is missed in between.
            lock(&LISTENERS).entry(folder.clone()).or_default().push(Arc::clone(&self.shared));
            self.folders.insert(folder.clone());
            // A second time it changes nothing, unless it is another folder by now.
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                self.leave(&mut watcher, |refused| refused == folder);
                if self.refused.insert(folder.clone()) {
                    let folder = shown(folder);
                    tracing::warn!(%folder, %error, "the folder cannot be watched; its files are polled instead");
                }
            }
        }
    }

    /// True when all folders that were set are watched.
    pub(super) fn sees_all(&self) -> bool {
        self.sees && WATCHER.is_some() && self.refused.is_empty()
    }

    /// Waits until something has changed. Cancel safe.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// What has changed since the last call.
    pub(super) fn take_changes(&self) -> Changes {
        std::mem::take(&mut *lock(&self.shared.changes))
    }

    /// Listens no more to some folders; those that nobody else listens to are not watched any more.
    fn leave(&mut self, watcher: &mut RecommendedWatcher, leaves: impl Fn(&Path) -> bool) {
        let left: Vec<PathBuf> = self.folders.iter().filter(|folder| leaves(folder)).cloned().collect();
        for folder in left {
            self.folders.remove(&folder);
            let mut listeners = lock(&LISTENERS);
            let others = listeners.get_mut(&folder).is_some_and(|of_folder| {
                of_folder.retain(|listener| !Arc::ptr_eq(listener, &self.shared));
                !of_folder.is_empty()
            });
            if !others {
                listeners.remove(&folder);
                drop(listeners);
                // A folder that was deleted is not watched any more, which is what is wanted.
                watcher.unwatch(&folder).ok();
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.folders.is_empty()
            && let Some(watcher) = &*WATCHER
        {
            self.leave(&mut lock(watcher), |_| true);
        }
    }
}

/// Passes on what the operating system says to those who listen to the folder, or to all when that is not known.
fn tell(event: notify::Result<notify::Event>) {
    let listeners = lock(&LISTENERS);
    let folders: Option<HashSet<&Path>> = match &event {
        Ok(event) if !event.need_rescan() && !event.paths.is_empty() => {
            // Of a folder itself, or of something in it.
            Some(event.paths.iter().flat_map(|path| [Some(&**path), path.parent()]).flatten().collect())
        }
        _ => None,
    };
    match folders {
        Some(folders) => {
            let told = folders.into_iter().filter_map(|folder| listeners.get(folder)).flatten();
            told.for_each(|listener| listener.note(&event));
        }
        None => listeners.values().flatten().for_each(|listener| listener.note(&event)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn note(&self, event: &notify::Result<notify::Event>) {
        let mut changes = lock(&self.changes);
        match event {
            Ok(event) if event.need_rescan() => changes.names = true,
            Ok(event) => match event.kind {
                // Opening and reading files, which is all we do ourselves, must not wake us.
                EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => return,
                EventKind::Modify(ModifyKind::Data(_)) => changes.written.extend(event.paths.iter().cloned()),
                _ => changes.names = true,
            },
            Err(_) => changes.names = true,
        }
        if changes.written.len() > MOST_CHANGES {
            *changes = Changes { names: true, ..Changes::default() };
        }
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn writing_and_renaming_are_told_apart_and_reading_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "one\n").unwrap();
        let mut watch = Watch::new();
        watch.set_folders(&[folder.path().to_owned()].into());
        fs::read(&path).unwrap();
        fs::write(&path, "two\n").unwrap();
        watch.changed().await;
        let changes = watch.take_changes();
        assert!(changes.written.contains(&path) && !changes.names, "{changes:?}");
        fs::rename(&path, folder.path().join("a.log.1")).unwrap();
        while !watch.take_changes().names {
            watch.changed().await;
        }
    }

    #[tokio::test]
    async fn sources_may_watch_the_same_folder_and_each_hears_of_its_own() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = |folders: &[&tempfile::TempDir]| folders.iter().map(|folder| folder.path().to_owned()).collect();
        let (mut both, mut second, mut gone) = (Watch::new(), Watch::new(), Watch::new());
        both.set_folders(&folders(&[&one, &other]));
        second.set_folders(&folders(&[&other]));
        gone.set_folders(&folders(&[&one, &other]));
        drop(gone);
        let path = one.path().join("a.log");
        fs::write(&path, "one\n").unwrap();
        both.changed().await;
        fs::write(other.path().join("b.log"), "one\n").unwrap();
        second.changed().await;
        assert!(!second.take_changes().written.contains(&path));

        both.set_folders(&folders(&[&one]));
        let path = other.path().join("c.log");
        fs::write(&path, "one\n").unwrap();
        while !second.take_changes().names {
            second.changed().await;
        }
        assert!(!both.take_changes().written.contains(&path), "it has left that folder");
    }
}
