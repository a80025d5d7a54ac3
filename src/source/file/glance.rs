//! Glances: whether anything has changed since the last look at the paths.
//!
//! A look lists every folder. A source that has nothing to do, in a folder of thousands of files, would do little else. A
//! glance asks only for the state of the folders and files that the look has seen: a name that comes or goes changes the
//! time of its folder, and what is written to a file changes its size or its time. That holds for file systems that report
//! no changes, too. What no glance shows, such as the appearance of what a symbolic link on the way leads to, is left to the
//! next look, which is never far. It does blocking I/O and runs on a blocking thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::discovery::Scan;
use super::file_system::reports_all_changes;
use super::heads::COARSEST_STEP;
use super::identity::Identity;
use super::observed::Observed;

/// What a look has seen.
#[derive(Debug)]
pub(super) struct Glance {
    states: Vec<(PathBuf, PathState)>,
    /// What matches and is not read; something else may come in its place.
    others: Vec<(PathBuf, Option<Identity>)>,
    is_reported: bool,
}

/// What changes when something is changed.
#[derive(Debug, PartialEq, Eq)]
struct PathState {
    identity: Identity,
    modified: SystemTime,
    size: u64,
}

impl Glance {
    /// What is compared from now on with what is there. `None` when only another look can show whether something has
    /// changed: a folder has just changed and may have while it was listed, or something could not be looked at.
    pub(super) fn after<'a>(scan: &Scan, passed_over: impl Iterator<Item = &'a PathBuf>) -> Option<Self> {
        if !scan.unknown.is_empty() {
            return None;
        }
        let listed_at = SystemTime::from(scan.started).checked_sub(COARSEST_STEP)?;
        let folders = scan.folders.iter().map(|folder| {
            let state = PathState::of(folder).filter(|state| state.modified < listed_at)?;
            Some((folder.clone(), state))
        });
        let files = scan.files.iter().map(|file| {
            let state = PathState::of(&file.path).filter(|state| state.is_of(file))?;
            Some((file.path.clone(), state))
        });
        let states = folders.chain(files).collect::<Option<_>>()?;
        let others = passed_over.map(|path| (path.clone(), identity(path))).collect();
        let is_reported = scan.folders.iter().all(|folder| reports_all_changes(folder));
        Some(Self { states, others, is_reported })
    }

    /// True when the operating system reports every change of what was seen to those who watch the folders.
    pub(super) fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// True when nothing has changed since.
    pub(super) fn still_holds(&self) -> bool {
        self.states.iter().all(|(path, state)| PathState::of(path).as_ref() == Some(state))
            && self.others.iter().all(|(path, other)| identity(path) == *other)
    }
}

impl PathState {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?;
        Some(Self { identity: Identity::of(&metadata), modified, size: metadata.len() })
    }

    /// True when the file was seen in this state, and could be read.
    fn is_of(&self, file: &Observed) -> bool {
        let same_size = file.compressed || file.size == Some(self.size);
        file.head.is_some() && self.identity == file.identity && self.modified == file.modified && same_size
    }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| Identity::of(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::file::discovery::Scanner;
    use crate::source::file::pattern::PathPattern;
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    /// Gives the folder a time that is long past.
    fn age(folder: &Path) {
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        File::open(folder).unwrap().set_modified(long_ago).unwrap();
    }

    fn glance(folder: &Path) -> Option<Glance> {
        let mut scanner = Scanner::new(&PathPattern::parse("*.log", folder).unwrap());
        let scan = scanner.scan(&BTreeSet::new(), false);
        Glance::after(&scan, scanner.passed_over())
    }

    /// What is done to a folder.
    type Change<'a> = &'a dyn Fn(&Path);

    #[test]
    fn whatever_changes_in_a_folder_is_seen_at_a_glance() {
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("target");
        let changes: [(&str, Change<'_>); 8] = [
            ("a new file", &|folder| fs::write(folder.join("b.log"), "").unwrap()),
            ("growth", &|folder| fs::write(folder.join("a.log"), "one\ntwo\n").unwrap()),
            ("a rotated file that grows", &|folder| fs::write(folder.join("a.log.1"), "zero\nlate\n").unwrap()),
            ("a truncation", &|folder| fs::write(folder.join("a.log"), "").unwrap()),
            ("other bytes", &|folder| fs::write(folder.join("a.log"), "ONE\n").unwrap()),
            ("a rename", &|folder| fs::rename(folder.join("a.log"), folder.join("a.log.2")).unwrap()),
            ("the end of a file", &|folder| fs::remove_file(folder.join("a.log.1")).unwrap()),
            ("the target of a link", &|_| fs::write(&target, "").unwrap()),
        ];
        for (name, change) in changes {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("a.log"), "one\n").unwrap();
            fs::write(folder.path().join("a.log.1"), "zero\n").unwrap();
            symlink(&target, folder.path().join("link.log")).unwrap();
            fs::remove_file(&target).ok();
            assert!(glance(folder.path()).is_none(), "{name}: the folder has just changed");
            for path in [folder.path().join("a.log"), folder.path().join("a.log.1"), folder.path().to_owned()] {
                age(&path);
            }
            let glance = glance(folder.path()).unwrap();
            assert!(glance.still_holds(), "{name}");
            change(folder.path());
            assert!(!glance.still_holds(), "{name}");
        }
    }
}
