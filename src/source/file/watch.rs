//! Watching folders for changes, so that new lines are read at once. It only ever speeds things up: whatever it misses
//! is found by the next look at the paths.
//!
//! This module decides nothing; it passes on what the operating system says, once however often it is said.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Changed files remembered one by one; beyond that everything is looked at.
const MOST_CHANGES: usize = 4096;

/// The folders being watched.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
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

impl Watch {
    /// Starts watching nothing. When the system has no watcher left, says so once: looking regularly must do.
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let handler = Arc::clone(&shared);
        let watcher = notify::recommended_watcher(move |event| handler.note(event))
            .inspect_err(|error| tracing::warn!(%error, "folders cannot be watched; files are polled instead"))
            .ok();
        Self { watcher, folders: BTreeSet::new(), refused: BTreeSet::new(), shared }
    }

    /// Watches nothing, ever, as when the system has no watcher left.
    #[cfg(test)]
    pub(super) fn blind() -> Self {
        Self { watcher: None, folders: BTreeSet::new(), refused: BTreeSet::new(), shared: Arc::default() }
    }

    /// Watches these folders and no others.
    pub(super) fn set_folders(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(folders) {
            // A folder that was deleted is not watched any more, which is what is wanted.
            watcher.unwatch(gone).ok();
        }
        self.folders.retain(|folder| folders.contains(folder));
        for folder in folders {
            if self.folders.contains(folder) {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(folder.clone());
                }
                Err(error) if self.refused.insert(folder.clone()) => {
                    let folder = folder.display();
                    tracing::warn!(%folder, %error, "the folder cannot be watched; its files are polled instead");
                }
                Err(_) => {}
            }
        }
    }

    /// Waits until something has changed. Cancel safe.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// What has changed since the last call.
    pub(super) fn take_changes(&self) -> Changes {
        std::mem::take(&mut *self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn note(&self, event: notify::Result<notify::Event>) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(event) if event.need_rescan() => changes.names = true,
            Ok(event) => match event.kind {
                // Opening and reading files, which is all we do ourselves, must not wake us.
                EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => return,
                EventKind::Modify(ModifyKind::Data(_)) => changes.written.extend(event.paths),
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
}
