//! Watching pipeline files for changes.
//!
//! What the operating system says is only a reason to look: the files are compared by their bytes, elsewhere. So it
//! does not matter how an editor or Kubernetes replaces them, and what is missed is found by the next look, which comes
//! every ten seconds anyway.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::EventKind;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, warn};

use super::Trigger;
use crate::config::files::pipeline_files;

/// After a change, this long without another one: a file that is being written is not read in the middle.
const QUIET: Duration = Duration::from_millis(500);
/// Changes without end are looked at this often.
const LONGEST_UNREST: Duration = Duration::from_secs(5);
/// How often the files are looked at without being told of a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// A link that leads to itself must not lead us on for ever.
const MOST_LINKS: usize = 40;

/// Starts a thread that triggers a look whenever the files that `paths` mean may have changed, until nobody listens.
///
/// # Errors
/// When the operating system refuses the thread.
pub fn start(paths: Vec<PathBuf>, triggers: UnboundedSender<Trigger>) -> io::Result<()> {
    thread::Builder::new().name("watch".to_owned()).spawn(move || watch(&paths, &triggers))?;
    Ok(())
}

fn watch(paths: &[PathBuf], triggers: &UnboundedSender<Trigger>) {
    let (sender, changes) = channel();
    let notify = move |event: notify::Result<notify::Event>| {
        // Reading files, which we do ourselves, is no change.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            // The watcher ends with this thread; then nobody listens.
            sender.send(()).ok();
        }
    };
    let mut watcher = notify::recommended_watcher(notify)
        .inspect_err(|error| warn!(%error, "folders cannot be watched; the pipeline files are looked at every 10 s"))
        .ok();
    loop {
        if let Some(watcher) = &mut watcher {
            watch_folders(watcher, &folders(paths));
        }
        wait_for_change(&changes);
        if triggers.send(Trigger::Files).is_err() {
            return;
        }
    }
}

/// Waits until something has changed and nothing has for a while, or until it is time to look anyway.
fn wait_for_change(changes: &Receiver<()>) {
    match changes.recv_timeout(LOOK_INTERVAL) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => return,
        // There is no watcher.
        Err(RecvTimeoutError::Disconnected) => return thread::sleep(LOOK_INTERVAL),
    }
    let give_up_at = Instant::now() + LONGEST_UNREST;
    while Instant::now() < give_up_at && changes.recv_timeout(QUIET).is_ok() {}
}

/// Watching a folder a second time changes nothing, unless it is another folder by now.
fn watch_folders(watcher: &mut RecommendedWatcher, folders: &BTreeSet<PathBuf>) {
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            debug!(folder = %folder.display(), %error, "the folder cannot be watched; it is looked at every 10 s");
        }
    }
}

/// The folders in which a change may mean a change of the pipeline files: their own, those of all links on the way to
/// them, and those that the links lead to. In a mounted ConfigMap, `a.toml` is a link to `..data/a.toml`, and `..data` one
/// to the folder of the current version: an update replaces `..data`.
fn folders(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let files = pipeline_files(paths).unwrap_or_default();
    for path in paths.iter().chain(&files) {
        let Ok(path) = std::path::absolute(path) else { continue };
        follow(&path, &mut folders, MOST_LINKS);
        let folder = if path.is_dir() { Some(&*path) } else { path.parent() };
        folders.extend(folder.and_then(|folder| folder.canonicalize().ok()));
    }
    folders
}

/// Adds the folders of all links on the way to a path.
fn follow(path: &Path, folders: &mut BTreeSet<PathBuf>, most: usize) {
    let mut walked = PathBuf::new();
    for component in path.components() {
        let folder = walked.clone();
        walked.push(component);
        if !matches!(component, Component::Normal(_)) {
            continue;
        }
        let Ok(target) = std::fs::read_link(&walked) else { continue };
        let Ok(folder) = folder.canonicalize() else { continue };
        let target = folder.join(target);
        folders.insert(folder);
        folders.extend(target.canonicalize().ok().and_then(|target| target.parent().map(Path::to_owned)));
        if most > 0 {
            follow(&target, folders, most - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_folders_of_a_config_map_are_watched_however_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let version = root.join("..2026_01_01");
        fs::create_dir(&version).unwrap();
        fs::write(version.join("a.toml"), "").unwrap();
        symlink("..2026_01_01", root.join("..data")).unwrap();
        symlink("..data/a.toml", root.join("a.toml")).unwrap();
        for path in [root.clone(), root.join("a.toml"), root.join("..data/a.toml")] {
            assert_eq!(
                folders(std::slice::from_ref(&path)),
                [root.clone(), version.clone()].into(),
                "{}",
                path.display()
            );
        }
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(folders(&[root.join("loop")]), [root.clone()].into());
    }

    #[test]
    fn a_change_is_told_once_it_is_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        fs::write(&file, "one").unwrap();
        let (sender, mut triggers) = tokio::sync::mpsc::unbounded_channel();
        start(vec![file.clone()], sender).unwrap();
        // The first look comes by itself if the watch is not there in time.
        fs::write(&file, "two").unwrap();
        let began = Instant::now();
        assert_eq!(triggers.blocking_recv(), Some(Trigger::Files));
        assert!(began.elapsed() < LOOK_INTERVAL + LONGEST_UNREST);
    }
}
