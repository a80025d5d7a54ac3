//! Walking folders for the files that match patterns.
//!
//! Names may be of any bytes. `**` enters each real folder once, under its shortest way without symbolic links where
//! there is one, so that links that lead back or to the same folder many times lead to no more work. It does blocking
//! I/O; what is found is sorted out in `discovery`.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::path::shown;
use super::pattern::{self, Part, PathPattern};

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Files that match.
    pub(super) files: BTreeSet<PathBuf>,
    /// What matches and is not read, or is not entered, with the reason.
    pub(super) passed_over: BTreeMap<PathBuf, String>,
    /// What could not be looked at.
    pub(super) failed: Vec<(PathBuf, io::Error)>,
    /// The folders in which something could appear that matches.
    pub(super) folders: BTreeSet<PathBuf>,
}

/// Finds the files that match any of the patterns, whose start must be absolute.
pub(super) fn walk(patterns: &[PathPattern]) -> Walk {
    let mut walk = Walk::default();
    for pattern in patterns {
        walk.follow(pattern.start.clone(), &pattern.parts);
        if let Some(folder) = pattern.as_path().filter(|path| path.is_dir()) {
            let reason = format!("it is a folder, and only files are read; name those in it: `{}/*`", shown(&folder));
            walk.passed_over.insert(folder, reason);
        }
    }
    walk
}

/// What a path leads to that is no regular file, as people call it.
pub(super) fn kind_of(metadata: &fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

impl Walk {
    fn follow(&mut self, path: PathBuf, parts: &[Part]) {
        match parts {
            [] => self.meet(path),
            [Part::Name(name), rest @ ..] => self.follow(path.join(name), rest),
            [Part::Names(pattern), rest @ ..] => {
                for name in self.names(&path) {
                    if pattern::name_matches(pattern, &name) {
                        let path = path.join(name);
                        // What is no folder has nothing in it.
                        if rest.is_empty() || path.is_dir() {
                            self.follow(path, rest);
                        }
                    }
                }
            }
            [Part::Folders, rest @ ..] => {
                for folder in self.folders_below(&path) {
                    self.follow(folder, rest);
                }
            }
        }
    }

    /// A path that matches, if there is anything.
    fn meet(&mut self, path: PathBuf) {
        self.folders.extend(nearest_folder(&path));
        match fs::metadata(&path) {
            Ok(metadata) => match kind_of(&metadata) {
                None => {
                    self.files.insert(path);
                }
                // Folders match many patterns, and nobody expects them to be read.
                Some("a folder") => {}
                Some("a socket") => {
                    self.passed_over.insert(path, "it is a socket, and only files are read".to_owned());
                }
                Some(kind) => {
                    let instead = format!("`type = \"stdin\"` and `bridge run … < {}`", shown(&path));
                    let reason = format!("it is {kind}, which standard input can read: {instead}");
                    self.passed_over.insert(path, reason);
                }
            },
            Err(error) if is_absence(&error) => {
                if fs::symlink_metadata(&path).is_ok() {
                    self.passed_over.insert(path, "it is a symbolic link to what does not exist".to_owned());
                }
            }
            Err(error) => self.failed.push((path, error)),
        }
    }

    fn names(&mut self, folder: &Path) -> Vec<OsString> {
        self.folders.extend(nearest_folder(&folder.join("x")));
        match list(folder) {
            Ok(names) => names,
            Err(error) => {
                if !is_absence(&error) {
                    self.failed.push((folder.to_owned(), error));
                }
                Vec::new()
            }
        }
    }

    /// A folder and all that are below it, but for hidden ones: first the real ones, then those that only symbolic links
    /// lead to.
    fn folders_below(&mut self, top: &Path) -> Vec<PathBuf> {
        self.folders.extend(nearest_folder(&top.join("x")));
        let mut found = Vec::new();
        let mut entered: HashSet<(u64, u64)> = HashSet::new();
        let mut starts = VecDeque::from([top.to_owned()]);
        while let Some(start) = starts.pop_front() {
            let Ok(metadata) = fs::metadata(&start) else { continue };
            if entered.contains(&(metadata.dev(), metadata.ino())) {
                let reason = "it leads to a folder that is read under another name".to_owned();
                self.passed_over.insert(start, reason);
                continue;
            }
            // A start that is a link is followed; links below it are starts of their own.
            let mut entries = WalkDir::new(&start).follow_root_links(true).sort_by_file_name().into_iter();
            while let Some(entry) = entries.next() {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        self.walk_failed(error, &start);
                        continue;
                    }
                };
                let is_start = entry.depth() == 0;
                if !is_start && pattern::is_hidden(entry.file_name()) {
                    if entry.file_type().is_dir() {
                        entries.skip_current_dir();
                    }
                    continue;
                }
                if entry.path_is_symlink() && !is_start {
                    if entry.path().is_dir() {
                        starts.push_back(entry.into_path());
                    }
                    continue;
                }
                if !entry.path().is_dir() {
                    continue;
                }
                let Ok(metadata) = fs::metadata(entry.path()) else { continue };
                if !entered.insert((metadata.dev(), metadata.ino())) {
                    // A link has led here before.
                    entries.skip_current_dir();
                    continue;
                }
                self.folders.insert(entry.path().to_owned());
                found.push(entry.into_path());
            }
        }
        found
    }

    fn walk_failed(&mut self, error: walkdir::Error, start: &Path) {
        let path = error.path().unwrap_or(start).to_owned();
        let error = error.into_io_error().unwrap_or_else(|| io::Error::other("it cannot be walked"));
        if !is_absence(&error) {
            self.failed.push((path, error));
        }
    }
}

/// The names in a folder, in order.
pub(super) fn list(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// True when something is just not there.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The deepest folder on the way to `path` that exists: whatever makes the path appear begins there.
fn nearest_folder(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    fn found(folder: &Path, pattern: &str) -> Vec<PathBuf> {
        let found = walk(&PathPattern::parse(pattern, folder).unwrap());
        let relative = |path: &PathBuf| path.strip_prefix(folder).unwrap().to_owned();
        found.files.iter().map(relative).collect()
    }

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn links_that_lead_back_or_in_circles_cost_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/x.log"), "").unwrap();
        symlink(".", path.join("self")).unwrap();
        symlink("..", path.join("a/up")).unwrap();
        symlink("../..", path.join("a/b/top")).unwrap();
        symlink("dangling", path.join("nothing.log")).unwrap();
        assert_eq!(found(path, "**/*.log"), paths(&["a/b/x.log"]));
    }

    #[test]
    fn many_ways_to_one_folder_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // Two links in each folder to the next one: 2^30 ways to the last.
        for number in 0..30 {
            let this = path.join(format!("{number}"));
            fs::create_dir(&this).unwrap();
            for name in ["left", "right"] {
                symlink(format!("../{}", number + 1), this.join(name)).unwrap();
            }
        }
        fs::create_dir(path.join("30")).unwrap();
        fs::write(path.join("30/x.log"), "").unwrap();
        assert_eq!(found(path, "0/**/*.log").len(), 1);
        assert_eq!(found(path, "**/*.log"), paths(&["30/x.log"]), "under its real name where there is one");
    }

    #[test]
    fn what_only_a_link_leads_to_is_found() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("x.log"), "").unwrap();
        symlink(other.path(), folder.path().join("other")).unwrap();
        assert_eq!(found(folder.path(), "**/*.log"), paths(&["other/x.log"]));
        assert_eq!(found(folder.path(), "*/*.log"), paths(&["other/x.log"]));
    }

    #[test]
    fn names_of_any_bytes_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let name = OsStr::from_bytes(b"caf\xe9.log");
        fs::create_dir(folder.path().join(OsStr::from_bytes(b"d\xff"))).unwrap();
        fs::write(folder.path().join(name), "").unwrap();
        fs::write(folder.path().join(OsStr::from_bytes(b"d\xff")).join(name), "").unwrap();
        for (pattern, count) in [("*.log", 1), ("*/*.log", 1), ("**/*.log", 2), ("**", 2), ("caf?.log", 1)] {
            assert_eq!(found(folder.path(), pattern).len(), count, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_file_is_passed_over_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&folder.path().join("a.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(folder.path().join("b.log")).unwrap();
        let walked = walk(&PathPattern::parse("*.log", folder.path()).unwrap());
        assert_eq!(walked.files.len(), 0);
        let reasons: Vec<_> = walked.passed_over.into_values().collect();
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].starts_with("it is a FIFO, which standard input can read: "), "{reasons:?}");
        let walked = walk(&PathPattern::parse("b.log", folder.path()).unwrap());
        let reasons: Vec<_> = walked.passed_over.into_values().collect();
        assert!(reasons[0].starts_with("it is a folder, and only files are read; "), "{reasons:?}");
        assert!(reasons[0].ends_with("b.log/*`"), "{reasons:?}");
    }

    #[test]
    fn the_folder_where_a_missing_file_will_appear_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let walked = walk(&PathPattern::parse("new/deep/*.log", folder.path()).unwrap());
        assert!(walked.folders.contains(folder.path()), "{walked:?}");
    }
}
