//! Discovery: one look at the paths. It finds the files that match, and beside each of them the files that rotation may
//! have made of it.
//!
//! It only reports what it sees; what that means is decided in `rotation`. It does blocking I/O and runs on a blocking
//! thread.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use super::compression::{may_become_unread, no_lines};
use super::heads::{Head, HeadCache, HeadReading, Question};
use super::identity::{HEAD_LENGTH, Identity};
use super::names;
use super::observed::{Observed, Role};
use super::passed_over::PassedOver;
use super::path::{FilePath, shown};
use super::pattern::PathPattern;
use super::registry::KnownPath;
use super::siblings::{Listings, siblings};
use super::walk::walk;

/// Why a compressed file is not read yet.
const INCOMPLETE: &str = "it is compressed, and so far empty or incomplete; waiting for the rest";

/// As often is a family looked at that is rotated while that is done.
const ATTEMPTS: usize = 4;

/// Looks at the paths, again and again.
#[derive(Debug)]
pub(super) struct Scanner {
    patterns: Vec<PathPattern>,
    heads: HeadCache,
    /// What was complained about already.
    warned: HashSet<PathBuf>,
    passed_over: PassedOver,
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
    pub(super) unknown: HashSet<FilePath>,
    /// The folders in which changes are of interest.
    pub(super) folders: BTreeSet<PathBuf>,
}

/// A root on its way through a scan.
struct Family {
    root: FilePath,
    /// Where the root leads now (`None` when nothing is there), and where it led when its known contents were found.
    real_path: Option<FilePath>,
    former: BTreeSet<FilePath>,
}

/// What a scan needs to know of all families while it looks at one of them.
struct ScanContext {
    /// Where the roots lead.
    roots: HashSet<FilePath>,
    /// Where everything leads that a pattern names.
    named: HashSet<PathBuf>,
    listings: Listings,
    line_ends: bool,
}

impl Scanner {
    /// Patterns must have been checked. Relative ones start at the current folder.
    pub(super) fn new(patterns: &[PathPattern]) -> Self {
        let patterns = patterns.iter().map(PathPattern::absolute).collect();
        Self { patterns, heads: HeadCache::default(), warned: HashSet::new(), passed_over: PassedOver::default() }
    }

    /// Looks at everything. With `line_ends` the last line's end is searched in every file that a pattern names.
    pub(super) fn scan(&mut self, known: &BTreeSet<KnownPath>, line_ends: bool) -> Scan {
        let mut scan = Scan { started: Timestamp::now(), ..Scan::default() };
        self.passed_over.begin_look();
        let matched = self.matching_files(known, &mut scan);
        let mut context = ScanContext {
            roots: HashSet::new(),
            named: matched.iter().map(|path| real_path(path)).collect(),
            listings: Listings::default(),
            line_ends,
        };
        let families = self.families(matched, known, &mut scan);
        context.roots = families.iter().filter_map(|family| family.real_path.clone()).collect();
        for family in &families {
            self.observe_family(family, &mut context, &mut scan);
        }
        self.pass_over_twins(&scan);
        self.heads.forget_unseen();
        scan
    }

    /// What the last look has passed over.
    pub(super) fn passed_over(&self) -> impl Iterator<Item = &PathBuf> {
        self.passed_over.paths()
    }

    /// The files that match now, and what is passed over and why, for a check without reading.
    pub(super) fn look(&mut self) -> (usize, BTreeMap<PathBuf, String>) {
        let mut files = self.matching_files(&BTreeSet::new(), &mut Scan::default());
        files.retain(|path| {
            let question = Question { named_compressed: is_named_compressed(path), line_end: false };
            let head = self.heads.look(path, question).and_then(|look| look.head.ok());
            let reason = head.and_then(|head| no_lines(&head.bytes).filter(|_| !head.compressed));
            if let Some(reason) = &reason {
                self.passed_over.note(path, reason);
            }
            reason.is_none()
        });
        (files.len(), self.passed_over.take())
    }

    /// Files that match a pattern, and the folders that are read to find them.
    fn matching_files(&mut self, known: &BTreeSet<KnownPath>, scan: &mut Scan) -> BTreeSet<FilePath> {
        let walked = walk(&self.patterns);
        for (path, error) in &walked.failed {
            self.warn_once(path, error);
            let below = known.iter().filter(|known| known.path.starts_with(path));
            scan.unknown.extend(below.map(|known| known.path.clone()));
        }
        scan.folders.extend(walked.folders);
        for (path, reason) in walked.passed_over {
            self.passed_over.add(&path, &reason);
        }
        walked.files.into_iter().map(FilePath::from).collect()
    }

    /// Sorts out which of the matching files are roots, and which are only what rotation made of another root.
    fn families(&self, matched: BTreeSet<FilePath>, known: &BTreeSet<KnownPath>, scan: &mut Scan) -> Vec<Family> {
        let mut paths = matched;
        let mut former: HashMap<FilePath, BTreeSet<FilePath>> = HashMap::new();
        for known in known {
            if self.patterns.iter().any(|pattern| pattern.matches(&known.path)) {
                paths.insert(known.path.clone());
                former.entry(known.path.clone()).or_default().insert(known.real_path.clone());
            } else {
                scan.unknown.insert(known.path.clone());
            }
        }
        let is_root = |path: &FilePath| {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return true };
            let mut possible = names::possible_roots(name.as_bytes());
            !possible.any(|root| paths.contains(&FilePath::from(folder.join(OsStr::from_bytes(root)))))
        };
        let roots = paths.iter().filter(|path| is_root(path));
        roots
            .map(|root| {
                let real_path = fs::canonicalize(&**root).ok().map(FilePath::from);
                Family { former: former.remove(root).unwrap_or_default(), real_path, root: root.clone() }
            })
            .collect()
    }

    /// Looks at the rotated files of a root and then at the root itself; once more when they are rotated meanwhile.
    fn observe_family(&mut self, family: &Family, context: &mut ScanContext, scan: &mut Scan) {
        let first = scan.files.len();
        for attempt in 1..=ATTEMPTS {
            self.observe_siblings(family, context, scan);
            let path = family.real_path.as_ref();
            let root = path.and_then(|path| self.observe(family, path, path.to_path_buf(), Role::Root, context));
            let Some(root) = root else { return };
            // All of them are compared, also behind one that has changed.
            let compared = scan.files[first..].iter_mut().map(|file| file.compare_with_root(&root));
            let changed = compared.filter(|is_as_seen| !is_as_seen).count();
            if changed == 0 || attempt == ATTEMPTS {
                scan.files.push(root);
                return;
            }
            scan.files.truncate(first);
            context.listings.forget();
        }
    }

    fn observe_siblings(&mut self, family: &Family, context: &mut ScanContext, scan: &mut Scan) {
        let mut bases = family.former.clone();
        bases.extend(family.real_path.clone());
        scan.folders.extend(family.root.parent().map(Path::to_owned));
        for base in &bases {
            let (Some(folder), Some(name)) = (base.parent(), base.file_name()) else { continue };
            let listing = match context.listings.of(folder) {
                Ok(listing) => listing,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.warn_once(folder, error);
                    scan.unknown.insert(family.root.clone());
                    continue;
                }
            };
            scan.folders.insert(folder.to_owned());
            let siblings: Vec<_> = siblings(name, listing).map(|(name, role)| (folder.join(name), role)).collect();
            for (path, role) in siblings {
                let Some(role) = role else {
                    if context.named.contains(&path) {
                        self.passed_over.add(&path, "what it was compressed from is still there, and is read");
                    }
                    continue;
                };
                if !context.roots.contains(&FilePath::from(path.as_path())) {
                    scan.files.extend(self.observe(family, base, path, role, context));
                }
            }
            // A symbolic link that leads elsewhere now: what it led to before is still read to its end, and what has
            // taken its place since is read, too.
            if family.real_path.as_ref() != Some(base) && !context.roots.contains(base) {
                scan.files.extend(self.observe(family, base, base.to_path_buf(), Role::Former, context));
            }
        }
    }

    fn observe(
        &mut self,
        family: &Family,
        base: &FilePath,
        path: PathBuf,
        role: Role,
        context: &ScanContext,
    ) -> Option<Observed> {
        let named_compressed = is_named_compressed(&path);
        let named = context.named.contains(&path);
        let question = Question { named_compressed, line_end: context.line_ends && named };
        // A file that vanished since its folder was listed is simply not there.
        let HeadReading { metadata, identity, head, line_end } = self.heads.look(&path, question)?;
        if head.as_ref().is_ok_and(|head| self.is_compressed_otherwise(&path, head, named)) {
            return None;
        }
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let head = match head {
            // The little there is of a rotated file does not tell whether it is a known content.
            Ok(head) if !head.whole && role != Role::Root => {
                self.passed_over.add(&path, INCOMPLETE);
                None
            }
            Ok(head) => {
                self.warned.remove(&path);
                Some(head)
            }
            Err(error) => {
                // A compressed file may just be in the making.
                if named_compressed && error.kind() == io::ErrorKind::UnexpectedEof {
                    self.passed_over.add(&path, INCOMPLETE);
                } else if error.kind() != io::ErrorKind::ResourceBusy {
                    self.warn_once(&path, &error);
                }
                None
            }
        };
        let compressed = head.as_ref().map_or(named_compressed, |head| head.compressed);
        let size = match &head {
            _ if !compressed => Some(metadata.len()),
            Some(head) if head.whole && head.bytes.len() < HEAD_LENGTH => Some(head.bytes.len() as u64),
            _ => None,
        };
        Some(Observed {
            root: family.root.clone(),
            real_root: family.real_path.as_ref().unwrap_or(&family.root).clone(),
            base: base.clone(),
            role,
            named,
            identity,
            compressed,
            size,
            stored_size: metadata.len(),
            head_is_whole: head.as_ref().is_none_or(|head| head.whole),
            size_modulo: head.as_ref().and_then(|head| head.size_modulo),
            modified,
            born: metadata.created().unwrap_or(modified),
            head: head.map(|head| head.bytes),
            line_end,
            begins_root: None,
            path,
        })
    }

    fn warn_once(&mut self, path: &Path, error: &io::Error) {
        if self.warned.insert(path.to_owned()) {
            tracing::warn!(path = %shown(path), %error, "cannot be looked at; trying again at every look");
        }
    }

    /// True when a file is compressed with anything but gzip, or may turn out to be. That no line of it is read is a
    /// warning when a pattern names it.
    fn is_compressed_otherwise(&mut self, path: &Path, head: &Head, named: bool) -> bool {
        if head.compressed {
            return false;
        }
        match no_lines(&head.bytes) {
            Some(reason) if named => self.passed_over.add_with_warning(path, &reason),
            Some(reason) => self.passed_over.add(path, &reason),
            None if may_become_unread(path.as_os_str().as_bytes(), &head.bytes) => {
                self.passed_over.add(path, INCOMPLETE);
            }
            None => return false,
        }
        true
    }

    /// Of several names of one file one is read.
    fn pass_over_twins(&mut self, scan: &Scan) {
        let mut roots: HashMap<Identity, &FilePath> = HashMap::new();
        for file in scan.files.iter().filter(|file| file.role == Role::Root) {
            if let Some(first) = roots.insert(file.identity, &file.root) {
                roots.insert(file.identity, first);
                self.passed_over.add(&file.root, &format!("it is the same file as {first}"));
            }
        }
    }
}

fn is_named_compressed(path: &Path) -> bool {
    names::is_compressed(path.as_os_str().as_bytes())
}

/// The path with symbolic links resolved, or as it is when nothing is there any more.
fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    fn scan(folder: &Path, patterns: &[&str]) -> Scan {
        let patterns: Vec<PathPattern> =
            patterns.iter().flat_map(|pattern| PathPattern::parse(*pattern, folder).unwrap()).collect();
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
