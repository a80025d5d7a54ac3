//! Discovery: one look at the paths. It finds the files that match, and beside each of them the files that rotation may
//! have made of it.
//!
//! It only reports what it sees; what that means is decided in `rotation`. It does blocking I/O and runs on a blocking
//! thread.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use glob::{MatchOptions, Pattern};
use jiff::Timestamp;

use super::heads::{self, HeadCache};
use super::identity::{HEAD_LENGTH, Identity};
use super::names::{self, Age};
use super::registry::KnownPath;

/// As in a shell: `*` stays within a folder and does not match hidden files.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Looks at the paths, again and again.
#[derive(Debug)]
pub(super) struct Scanner {
    patterns: Vec<Pattern>,
    heads: HeadCache,
    /// What was complained about already.
    warned: HashSet<PathBuf>,
}

/// What one look has shown.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// When it began.
    pub(super) started: Timestamp,
    /// Of each root the rotated files and then the root itself. Roots come last because a copy must never seem larger
    /// than its original only because that was measured earlier.
    pub(super) files: Vec<Observed>,
    /// Known paths of which nothing can be said now: they match no pattern any more, or their folder is not readable.
    pub(super) unknown: HashSet<Arc<str>>,
    /// The folders in which changes are of interest.
    pub(super) folders: BTreeSet<PathBuf>,
}

/// One file that was seen.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// The path that matched the source's patterns, or its rotated sibling's.
    pub(super) root: Arc<str>,
    /// The same with symbolic links resolved.
    pub(super) real_root: Arc<str>,
    /// Where the file is.
    pub(super) path: PathBuf,
    pub(super) role: Role,
    pub(super) identity: Identity,
    pub(super) compressed: bool,
    /// The content's size; of a compressed file only known when it is small.
    pub(super) size: Option<u64>,
    /// The content's size modulo 2³² as a compressed file tells it (RFC 1952, ISIZE).
    pub(super) size_modulo: Option<u32>,
    pub(super) modified: SystemTime,
    /// When the file was made, as far as the file system says; otherwise when it was last changed.
    pub(super) born: SystemTime,
    /// The content's first bytes, at most [`HEAD_LENGTH`]; `None` when they cannot be read.
    pub(super) head: Option<Arc<[u8]>>,
    /// The offset behind the last line's end; found on request and only for roots.
    pub(super) line_end: Option<u64>,
}

/// What a file is to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// It is the root.
    Root,
    /// Its name is that of a file rotated away.
    Rotated(Age),
    /// Its name begins with the root's. It is of interest only if it turns out to be a known file.
    Sibling,
}

/// A root on its way through a scan.
struct Family {
    root: Arc<str>,
    /// Where the root leads now (`None` when nothing is there), and where it led when its known contents were found.
    real_path: Option<PathBuf>,
    former: BTreeSet<PathBuf>,
}

impl Scanner {
    /// Patterns must have been checked. Relative ones start at the current folder.
    pub(super) fn new(patterns: &[Pattern]) -> Self {
        let patterns = patterns.iter().map(absolute).collect();
        Self { patterns, heads: HeadCache::default(), warned: HashSet::new() }
    }

    /// Looks at everything. With `line_ends` the last line's end is searched in every root.
    pub(super) fn scan(&mut self, known: &BTreeSet<KnownPath>, line_ends: bool) -> Scan {
        let mut scan = Scan { started: Timestamp::now(), ..Scan::default() };
        let matched = self.matching_files(known, &mut scan);
        let families = self.families(matched, known, &mut scan);
        let roots: HashSet<&Path> = families.iter().filter_map(|family| family.real_path.as_deref()).collect();
        let mut listings = Listings::default();
        for family in &families {
            self.observe_siblings(family, &roots, &mut listings, &mut scan);
        }
        for family in &families {
            self.observe_root(family, line_ends, &mut scan);
        }
        self.heads.forget_unseen();
        scan
    }

    /// The number of files that match now, for a check without reading.
    pub(super) fn count(&mut self) -> usize {
        self.matching_files(&BTreeSet::new(), &mut Scan::default()).len()
    }

    /// Files that match a pattern, and the folders that are read to find them.
    fn matching_files(&mut self, known: &BTreeSet<KnownPath>, scan: &mut Scan) -> BTreeSet<Arc<str>> {
        let mut matched = BTreeSet::new();
        for pattern in self.patterns.clone() {
            scan.folders.extend(base_folder(pattern.as_str()));
            // The pattern was compiled before, so it parses again.
            let Ok(paths) = glob::glob_with(pattern.as_str(), MATCHING) else { continue };
            for path in paths {
                match path {
                    Ok(path) => matched.extend(self.matching_file(&path)),
                    Err(error) => {
                        self.warn_once(error.path(), error.error());
                        let below = known.iter().filter(|known| Path::new(&*known.path).starts_with(error.path()));
                        scan.unknown.extend(below.map(|known| Arc::clone(&known.path)));
                    }
                }
            }
        }
        matched
    }

    fn matching_file(&mut self, path: &Path) -> Option<Arc<str>> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return None,
            Err(error) => {
                self.warn_once(path, &error);
                return None;
            }
        }
        let Some(text) = path.to_str() else {
            self.warn_once(path, &io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8"));
            return None;
        };
        Some(text.into())
    }

    /// Sorts out which of the matching files are roots, and which are only what rotation made of another root.
    fn families(&self, matched: BTreeSet<Arc<str>>, known: &BTreeSet<KnownPath>, scan: &mut Scan) -> Vec<Family> {
        let mut paths = matched;
        let mut former: HashMap<Arc<str>, BTreeSet<PathBuf>> = HashMap::new();
        for known in known {
            if self.patterns.iter().any(|pattern| pattern.matches_with(&known.path, MATCHING)) {
                paths.insert(Arc::clone(&known.path));
                former.entry(Arc::clone(&known.path)).or_default().insert(PathBuf::from(&*known.real_path));
            } else {
                scan.unknown.insert(Arc::clone(&known.path));
            }
        }
        let is_root = |path: &str| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            !names::possible_roots(name).any(|root| paths.contains(format!("{folder}/{root}").as_str()))
        };
        let roots = paths.iter().filter(|path| is_root(path));
        roots
            .map(|root| {
                let real_path = fs::canonicalize(&**root).ok();
                Family { former: former.remove(root).unwrap_or_default(), real_path, root: Arc::clone(root) }
            })
            .collect()
    }

    fn observe_siblings(&mut self, family: &Family, roots: &HashSet<&Path>, listings: &mut Listings, scan: &mut Scan) {
        let mut bases = family.former.clone();
        bases.extend(family.real_path.clone());
        scan.folders.extend(Path::new(&*family.root).parent().map(Path::to_owned));
        for base in &bases {
            let (Some(folder), Some(name)) = (base.parent(), base.file_name().and_then(|name| name.to_str())) else {
                continue;
            };
            scan.folders.insert(folder.to_owned());
            let listing = match listings.of(folder) {
                Ok(listing) => listing,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.warn_once(folder, error);
                    scan.unknown.insert(Arc::clone(&family.root));
                    continue;
                }
            };
            for (sibling, role) in siblings(name, listing) {
                let path = folder.join(sibling);
                if !roots.contains(path.as_path()) {
                    scan.files.extend(self.observe(family, path, role));
                }
            }
            // A symbolic link that leads elsewhere now: what it led to before is still read to its end.
            if family.real_path.as_ref() != Some(base) && !roots.contains(base.as_path()) {
                scan.files.extend(self.observe(family, base.clone(), Role::Sibling));
            }
        }
    }

    fn observe_root(&mut self, family: &Family, line_end: bool, scan: &mut Scan) {
        let Some(path) = family.real_path.clone() else { return };
        let Some(mut observed) = self.observe(family, path, Role::Root) else { return };
        if line_end && !observed.compressed {
            observed.line_end = heads::last_line_end(&observed.path).ok();
        }
        scan.files.push(observed);
    }

    fn observe(&mut self, family: &Family, path: PathBuf, role: Role) -> Option<Observed> {
        // A file that vanished since its folder was listed is simply not there.
        let metadata = fs::metadata(&path).ok().filter(Metadata::is_file)?;
        let identity = Identity::of(&metadata);
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let compressed = path.to_str().is_some_and(names::is_compressed);
        let head = match self.heads.get(&path, identity, &metadata, compressed) {
            Ok(head) => {
                self.warned.remove(&path);
                Some(head)
            }
            Err(error) => {
                // A compressed file may just be in the making, and any file may have vanished since it was listed.
                if !compressed && error.kind() != io::ErrorKind::NotFound {
                    self.warn_once(&path, &error);
                }
                None
            }
        };
        let size = match &head {
            _ if !compressed => Some(metadata.len()),
            Some(head) if head.bytes.len() < HEAD_LENGTH => Some(head.bytes.len() as u64),
            _ => None,
        };
        let real_root = family.real_path.as_deref().and_then(Path::to_str).unwrap_or(&family.root);
        Some(Observed {
            root: Arc::clone(&family.root),
            real_root: real_root.into(),
            role,
            identity,
            compressed,
            size,
            size_modulo: head.as_ref().and_then(|head| head.size_modulo),
            modified,
            born: metadata.created().unwrap_or(modified),
            head: head.map(|head| head.bytes),
            line_end: None,
            path,
        })
    }

    fn warn_once(&mut self, path: &Path, error: &io::Error) {
        if self.warned.insert(path.to_owned()) {
            tracing::warn!(path = %path.display(), %error, "cannot be looked at; trying again at every look");
        }
    }
}

/// Folders listed once per scan.
#[derive(Default)]
struct Listings(HashMap<PathBuf, io::Result<BTreeSet<String>>>);

impl Listings {
    fn of(&mut self, folder: &Path) -> Result<&BTreeSet<String>, &io::Error> {
        self.0.entry(folder.to_owned()).or_insert_with(|| list(folder)).as_ref()
    }
}

fn list(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

/// The files of a folder that may have been made of `name` by rotation.
fn siblings<'a>(name: &'a str, listing: &'a BTreeSet<String>) -> impl Iterator<Item = (&'a str, Role)> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = if stem.is_empty() { name } else { stem };
    let from_stem = (Bound::Included(stem), Bound::Unbounded);
    let similar = listing.range::<str, _>(from_stem).take_while(move |other| other.starts_with(stem));
    let others = similar.map(String::as_str).filter(move |other| *other != name);
    others.filter_map(move |other| {
        // A compressed file beside its original is a copy, and perhaps not complete yet.
        if names::is_compressed(other)
            && listing.contains(names::uncompressed(other))
            && names::uncompressed(other) != name
        {
            return None;
        }
        match names::rotated_age(name, other) {
            Some(age) => Some((other, Role::Rotated(age))),
            None => other.starts_with(name).then_some((other, Role::Sibling)),
        }
    })
}

/// The pattern starting at the root of the file system.
fn absolute(pattern: &Pattern) -> Pattern {
    if pattern.as_str().starts_with('/') {
        return pattern.clone();
    }
    let current = std::env::current_dir().ok();
    let folder = current.as_deref().and_then(Path::to_str).map(Pattern::escape).unwrap_or_default();
    let relative = pattern.as_str().strip_prefix("./").unwrap_or(pattern.as_str());
    Pattern::new(&format!("{folder}/{relative}")).unwrap_or_else(|_| pattern.clone())
}

/// The deepest folder of a pattern that is named without wildcards, if it exists.
fn base_folder(pattern: &str) -> Option<PathBuf> {
    let literal = pattern.find(['*', '?', '[']).map_or(pattern, |index| &pattern[..index]);
    let (folder, _) = literal.rsplit_once('/')?;
    let folder = PathBuf::from(if folder.is_empty() { "/" } else { folder });
    folder.is_dir().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    fn scan(folder: &Path, patterns: &[&str]) -> Scan {
        let patterns: Vec<Pattern> =
            patterns.iter().map(|name| Pattern::new(folder.join(name).to_str().unwrap()).unwrap()).collect();
        Scanner::new(&patterns).scan(&BTreeSet::new(), true)
    }

    fn names(scan: &Scan) -> Vec<(String, bool)> {
        let name = |file: &Observed| file.path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = scan.files.iter().map(|file| (name(file), file.role == Role::Root)).collect();
        names.sort();
        names
    }

    #[test]
    fn rotated_files_belong_to_their_root_whether_they_match_or_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["app.log", "app.log.1", "app.log.lock", "app.log.2", "app-20240131.log", "other.log.1", "b.txt"] {
            fs::write(folder.path().join(name), "line\n").unwrap();
        }
        let mut compressed = flate2::write::GzEncoder::new(
            File::create(folder.path().join("app.log.2.gz")).unwrap(),
            flate2::Compression::default(),
        );
        compressed.write_all(b"half").unwrap();
        drop(compressed);
        let expected = [
            ("app-20240131.log", false),
            ("app.log", true),
            ("app.log.1", false),
            ("app.log.2", false),
            ("app.log.lock", false),
        ];
        let expected = expected.map(|(name, root)| (name.to_owned(), root));
        assert_eq!(names(&scan(folder.path(), &["app.log"])), expected);
        let all = names(&scan(folder.path(), &["*.log*"]));
        let roots: Vec<_> = all.iter().filter(|(_, root)| *root).map(|(name, _)| name.as_str()).collect();
        // What matches by itself and does not only have something put behind a root is a root.
        assert_eq!(roots, ["app-20240131.log", "app.log", "app.log.lock", "other.log.1"]);
    }
}
