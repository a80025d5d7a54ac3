//! Rotation: which of the files seen holds which of the known contents, and which contents are new.
//!
//! Rotation moves contents about: a rename gives a file another name, copytruncate puts a copy beside a file that
//! starts again from nothing, compression replaces a file by another one. All of it may happen while nobody looks, and
//! more than once. This module decides purely on what one look has shown; it does no I/O.
//!
//! Two contents of one path of which one begins as the other does in its first [`HEAD_LENGTH`] bytes are taken for one,
//! unless one of them is in its own file still.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use super::discovery::{Observed, Role, Scan};
use super::identity::{HEAD_LENGTH, Identity};
use super::names::{self, Age, Times};
use super::path::FilePath;
use super::registry::{Key, TrackedFile};

/// A known content as rotation sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) key: Key,
    pub(super) file: &'a TrackedFile,
    /// How far it has been read: no file that is shorter can hold it.
    pub(super) position: u64,
    /// A file that was found truncated, so that the content is certainly not in it any more.
    pub(super) displaced: Option<Identity>,
}

/// What one look means. Files are named by their index in [`Scan::files`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where the known contents are.
    pub(super) found: Vec<(Key, usize)>,
    /// Known contents that are nowhere to be seen.
    pub(super) missing: Vec<Key>,
    /// New contents; those of one path in the order in which they were written.
    pub(super) fresh: Vec<Fresh>,
    /// Files rotated away before their path was first seen: not to be read, but to be remembered as such.
    pub(super) bygone: Vec<usize>,
}

/// A new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fresh {
    pub(super) index: usize,
    /// The known content that was written next. There is one when a rotated file shows up late.
    pub(super) before: Option<Key>,
}

/// Works out what one look means. `known` is in the order of the registry; `was_there` tells whether a file made at
/// that time can have been there at the last look.
pub(super) fn plan(known: &[Known<'_>], scan: &Scan, was_there: impl Fn(SystemTime) -> bool) -> Plan {
    let mut matcher = Matcher::new(known, &scan.files);
    matcher.find_in_place();
    matcher.find_moved();
    matcher.find_shorter_copies();
    matcher.find_truncated();
    let mut plan = Plan::default();
    matcher.sort_out_new_ones(&mut plan, was_there);
    for known in known {
        match matcher.located.get(&known.key) {
            Some(index) => plan.found.push((known.key, *index)),
            None if scan.unknown.contains(&known.file.path) => {}
            None => plan.missing.push(known.key),
        }
    }
    plan
}

struct Matcher<'a> {
    known: &'a [Known<'a>],
    files: &'a [Observed],
    /// The files of each root: the rotated ones, oldest first, and last the root itself. What the root led to before
    /// comes with its own rotated files.
    families: HashMap<&'a FilePath, Vec<usize>>,
    located: HashMap<Key, usize>,
    taken: HashSet<Identity>,
}

impl<'a> Matcher<'a> {
    fn new(known: &'a [Known<'a>], files: &'a [Observed]) -> Self {
        Self { known, files, families: families(files), located: HashMap::new(), taken: HashSet::new() }
    }

    fn locate(&mut self, key: Key, index: usize) {
        self.located.insert(key, index);
        self.taken.insert(self.files[index].identity);
    }

    fn is_free(&self, index: usize) -> bool {
        !self.taken.contains(&self.files[index].identity)
    }

    /// Contents that still are in their file, whatever its name is now. Of two that were in the same file the later is
    /// the one that can still be in it.
    fn find_in_place(&mut self) {
        let mut by_identity: HashMap<Identity, Vec<usize>> = HashMap::new();
        for (index, file) in self.files.iter().enumerate() {
            by_identity.entry(file.identity).or_default().push(index);
        }
        for known in self.known.iter().rev() {
            let Some(names) = by_identity.get(&known.file.identity) else { continue };
            let own = names.iter().find(|index| self.files[**index].root == known.file.path);
            let index = *own.unwrap_or(&names[0]);
            let file = &self.files[index];
            if self.is_free(index) && (can_hold(file, known) || is_being_written(file, known)) {
                self.locate(known.key, index);
            }
        }
    }

    /// Contents that are in another file now: copied, compressed, or on a disk whose number has changed.
    fn find_moved(&mut self) {
        for known in self.known {
            if self.located.contains_key(&known.key) || known.file.fingerprint.is_empty() {
                continue;
            }
            let Some(family) = self.families.get(&known.file.path) else { continue };
            let holder = family.iter().copied().find(|index| {
                let file = &self.files[*index];
                self.is_free(*index) && file.head.is_some() && can_hold(file, known)
            });
            if let Some(holder) = holder {
                self.locate(known.key, holder);
            }
        }
    }

    /// Contents that only seem to be in their file still: it was truncated and has grown again beyond what was known of
    /// it, so that nothing in the file itself gives it away. The copy does: it begins as the content does, and goes on
    /// differently from what is in the file now, or is longer. What is known to be another content is no such copy, so this
    /// comes last.
    fn find_truncated(&mut self) {
        for known in self.known {
            let Some(live) = self.located.get(&known.key).map(|index| &self.files[*index]) else { continue };
            let Some(family) = self.families.get(&live.root).filter(|_| live.role == Role::Root) else { continue };
            let copy = family.iter().copied().find(|index| {
                let file = &self.files[*index];
                matches!(file.role, Role::Rotated(_))
                    && self.is_free(*index)
                    && has_content(file)
                    && can_hold(file, known)
                    && file.head.is_some()
                    && !is_beginning_of(file, live)
            });
            if let Some(copy) = copy {
                self.taken.remove(&live.identity);
                self.locate(known.key, copy);
            }
        }
    }

    /// Contents that are nowhere else any more, and of which there is a copy that ends before what was read: a program
    /// wrote on between copytruncate's copy and its truncation, and that was read in time.
    fn find_shorter_copies(&mut self) {
        for known in self.known.iter().rev() {
            if self.located.contains_key(&known.key) {
                continue;
            }
            let Some(family) = self.families.get(&known.file.path) else { continue };
            // Of several the youngest: the others are those of contents before.
            let copy = family.iter().copied().rev().find(|index| {
                let file = &self.files[*index];
                let begins_it = file.head.as_ref().is_some_and(|head| known.file.fingerprint.begins_with(head));
                // Of a long compressed file it is not known; it is read to its end, wherever that is.
                let ends_early = file.size.is_some_and(|size| size < known.position);
                let is_copy = matches!(file.role, Role::Rotated(_)) && known.displaced != Some(file.identity);
                is_copy && self.is_free(*index) && begins_it && ends_early
            });
            if let Some(copy) = copy {
                self.locate(known.key, copy);
            }
        }
    }

    fn sort_out_new_ones(&mut self, plan: &mut Plan, was_there: impl Fn(SystemTime) -> bool) {
        let known_paths: HashSet<&FilePath> = self.known.iter().map(|known| &known.file.path).collect();
        let mut roots: Vec<&FilePath> = self.families.keys().copied().collect();
        roots.sort_unstable();
        for root in roots {
            for index in self.families[root].clone() {
                let file = &self.files[index];
                if !self.is_free(index) || file.head.is_none() {
                    continue;
                }
                if file.role != Role::Root {
                    if !has_content(file) || self.is_copy(file) {
                        continue;
                    }
                    if !file.named && !known_paths.contains(root) && was_there(file.born) {
                        self.taken.insert(file.identity);
                        plan.bygone.push(index);
                        continue;
                    }
                }
                self.taken.insert(file.identity);
                plan.fresh.push(Fresh { index, before: self.known_after(index, root) });
            }
        }
    }

    /// The known content in the file that comes next in a family.
    fn known_after(&self, index: usize, root: &FilePath) -> Option<Key> {
        let keys: HashMap<usize, Key> = self.located.iter().map(|(key, index)| (*index, *key)).collect();
        let later = self.families[root].iter().skip_while(|other| **other != index);
        later.filter_map(|index| keys.get(index)).copied().next()
    }

    /// True when the content is that of another file already: a backup made by hand, or a copy that will be followed by
    /// a truncation.
    fn is_copy(&self, file: &Observed) -> bool {
        self.located.values().map(|index| &self.files[*index]).filter(|other| other.root == file.root).any(|other| {
            if other.role == Role::Root {
                return is_beginning_of(file, other);
            }
            let sizes = |file: &Observed| file.size_modulo.or_else(|| file.size.map(truncated));
            let long = file.head.as_ref().is_some_and(|head| head.len() == HEAD_LENGTH);
            long && file.head == other.head && sizes(file) == sizes(other)
        })
    }
}

fn families(files: &[Observed]) -> HashMap<&FilePath, Vec<usize>> {
    let mut bases: HashMap<(&FilePath, &FilePath), Vec<(usize, &Age)>> = HashMap::new();
    let mut main_files = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let of_base = bases.entry((&file.root, &file.base)).or_default();
        match &file.role {
            Role::Rotated(age) => of_base.push((index, age)),
            Role::Root | Role::Former => main_files.push(index),
            Role::Sibling => {}
        }
    }
    let mut by_base: HashMap<(&FilePath, &FilePath), Vec<usize>> = HashMap::new();
    for (base, mut rotated) in bases {
        let times = |index: usize| Times { modified: files[index].modified, born: files[index].born };
        names::sort_oldest_first(&mut rotated, |(index, age)| (age, times(*index)));
        by_base.insert(base, rotated.into_iter().map(|(index, _)| index).collect());
    }
    for index in main_files {
        by_base.entry((&files[index].root, &files[index].base)).or_default().push(index);
    }
    let mut families: HashMap<&FilePath, Vec<Vec<usize>>> = HashMap::new();
    for ((root, _), of_base) in by_base.into_iter().filter(|(_, of_base)| !of_base.is_empty()) {
        families.entry(root).or_default().push(of_base);
    }
    let in_order = families.into_iter().map(|(root, mut of_bases)| {
        // What a root leads to now is younger than all it led to before.
        of_bases.sort_by_key(|of_base| {
            let current = of_base.iter().any(|index| files[*index].base == files[*index].real_root);
            let newest = of_base.iter().map(|index| files[*index].modified).max();
            (current, newest, of_base.first().copied())
        });
        (root, of_bases.concat())
    });
    in_order.collect()
}

/// True when the file can hold the content: it begins like it and is long enough. A file that cannot be opened is given
/// the benefit of the doubt: to take its content for lost would be worse.
fn can_hold(file: &Observed, known: &Known<'_>) -> bool {
    let begins_like_it = file.head.as_ref().is_none_or(|head| known.file.fingerprint.matches(head));
    let long_enough = file.size.is_none_or(|size| size >= known.position);
    begins_like_it && long_enough && known.displaced != Some(file.identity)
}

/// True when too little of a compressed file is there to tell what it holds.
fn is_being_written(file: &Observed, known: &Known<'_>) -> bool {
    let is_short = file.head.as_ref().is_some_and(|head| head.len() < known.file.fingerprint.length());
    !file.head_is_whole && is_short && known.displaced != Some(file.identity)
}

fn has_content(file: &Observed) -> bool {
    file.head.as_ref().is_some_and(|head| !head.is_empty())
}

/// True when `copy` holds what `original` begins with, as far as heads and sizes tell.
fn is_beginning_of(copy: &Observed, original: &Observed) -> bool {
    let (Some(copy_head), Some(original_head)) = (&copy.head, &original.head) else { return true };
    let not_longer = copy.size.is_none_or(|size| original.size.is_none_or(|original| size <= original));
    not_longer && original_head.starts_with(copy_head)
}

/// The size as a compressed file tells it.
fn truncated(size: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "RFC 1952 stores sizes modulo 2^32")]
    {
        size as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::file::identity::Fingerprint;
    use crate::source::file::names::Age;
    use std::time::Duration;

    /// A content of `app.log` of which `read` was read.
    fn tracked(inode: u64, read: &str) -> TrackedFile {
        let identity = Identity { device: 1, inode, born: Some(inode) };
        TrackedFile {
            id: Some(format!("content-{inode}").into()),
            path: "app.log".into(),
            real_path: "app.log".into(),
            identity,
            origin: identity,
            generation: 0,
            fingerprint: Fingerprint::of(read.as_bytes()),
            offset: read.len() as u64,
            size: read.len() as u64,
            finished: false,
            at_rest: false,
            once_end: None,
            missing_since: None,
            stored_size: None,
        }
    }

    fn seen(inode: u64, name: &str, text: &str) -> Observed {
        let compressed = names::is_compressed(name.as_bytes());
        let head = &text.as_bytes()[..text.len().min(HEAD_LENGTH)];
        let role = names::rotated_age(b"app.log", name.as_bytes()).map_or(Role::Root, Role::Rotated);
        let number = match &role {
            Role::Rotated(Age::Count(number)) => *number,
            _ => 0,
        };
        Observed {
            root: "app.log".into(),
            real_root: "app.log".into(),
            base: "app.log".into(),
            path: name.into(),
            named: role == Role::Root,
            role,
            identity: Identity { device: 1, inode, born: Some(inode) },
            compressed,
            size: (!compressed || head.len() < HEAD_LENGTH).then_some(text.len() as u64),
            stored_size: text.len() as u64,
            head_is_whole: true,
            size_modulo: compressed.then(|| truncated(text.len() as u64)),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - number),
            born: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - number),
            head: Some(head.into()),
            line_end: None,
        }
    }

    /// What the plan says of `files`, given what is known: known contents by index, and the names of the files.
    fn says(known: &[TrackedFile], files: &[Observed]) -> (Vec<String>, Vec<Key>, Vec<String>) {
        let scan = Scan { files: files.to_vec(), ..Scan::default() };
        let known: Vec<Known<'_>> = known
            .iter()
            .enumerate()
            .map(|(key, file)| Known { key: key as Key, file, position: file.offset, displaced: None })
            .collect();
        let plan = plan(&known, &scan, |_| true);
        let name = |index: &usize| files[*index].path.display().to_string();
        assert!(plan.bygone.is_empty() || known.is_empty(), "{plan:?}");
        let found = plan.found.iter().map(|(key, index)| format!("{key}={}", name(index))).collect();
        (found, plan.missing.clone(), plan.fresh.iter().map(|fresh| name(&fresh.index)).collect())
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_file_that_grows_is_the_same_file() {
        let found = says(&[tracked(1, "one\n")], &[seen(1, "app.log", "one\ntwo\n")]);
        assert_eq!(found, (strings(&["0=app.log"]), vec![], vec![]));
    }

    #[test]
    fn a_rename_is_followed_and_the_new_file_is_new() {
        let files = [seen(1, "app.log.1", "one\ntwo\n"), seen(2, "app.log", "three\n")];
        let found = says(&[tracked(1, "one\n")], &files);
        assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])));
    }

    #[test]
    fn a_chain_of_rotations_is_read_oldest_first() {
        let files = [
            seen(4, "app.log.2.gz", "three\n"),
            seen(1, "app.log.3.gz", "one\ntwo\n"),
            seen(3, "app.log.1", "four\n"),
            seen(5, "app.log", "five\n"),
        ];
        // The content was compressed meanwhile: another file holds it.
        let found = says(&[tracked(9, "one\n")], &files);
        let fresh = strings(&["app.log.2.gz", "app.log.1", "app.log"]);
        assert_eq!(found, (strings(&["0=app.log.3.gz"]), vec![], fresh));
    }

    #[test]
    fn after_copytruncate_the_content_is_in_the_copy() {
        let copy = seen(2, "app.log.1", "one\ntwo\n");
        for regrown in ["", "x\n", "another\nand more\n"] {
            let files = [copy.clone(), seen(1, "app.log", regrown)];
            let found = says(&[tracked(1, "one\n")], &files);
            assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])), "{regrown}");
        }
    }

    #[test]
    fn a_copy_that_ends_before_what_was_read_is_no_new_content() {
        let files = [seen(2, "app.log.1", "one\ntwo\n"), seen(1, "app.log", "four\n")];
        let found = says(&[tracked(1, "one\ntwo\nthree\n")], &files);
        assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])));
        let files = [seen(2, "app.log.1", "another\n"), seen(1, "app.log", "four\n")];
        let found = says(&[tracked(1, "one\ntwo\nthree\n")], &files);
        assert_eq!(found, (vec![], vec![0], strings(&["app.log.1", "app.log"])));
    }

    #[test]
    fn equal_first_lines_do_not_hide_a_truncation() {
        let files = [seen(2, "app.log.1", "head\nold\n"), seen(1, "app.log", "head\nnew\nmore\n")];
        let found = says(&[tracked(1, "head\n")], &files);
        assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])));
    }

    #[test]
    fn what_was_empty_when_last_seen_is_read_from_the_copy() {
        let files = [seen(2, "app.log.1", "one\n"), seen(1, "app.log", "")];
        let found = says(&[tracked(1, "")], &files);
        assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])));
    }

    #[test]
    fn a_copy_without_a_truncation_is_no_new_content() {
        let files = [seen(2, "app.log.1", "one\n"), seen(1, "app.log", "one\ntwo\n")];
        let found = says(&[tracked(1, "one\n")], &files);
        assert_eq!(found, (strings(&["0=app.log"]), vec![], vec![]));
    }

    #[test]
    fn a_reused_inode_is_another_file() {
        let mut known = tracked(1, "one\n");
        known.identity.born = Some(77);
        let found = says(&[known], &[seen(1, "app.log", "two\n")]);
        assert_eq!(found, (vec![], vec![0], strings(&["app.log"])));
    }

    #[test]
    fn equal_contents_of_two_generations_are_both_read() {
        // Two rotations while nobody looked, and every file begins with the same line.
        let files =
            [seen(1, "app.log.2", "head\n"), seen(2, "app.log.1", "head\none\n"), seen(3, "app.log", "head\ntwo\n")];
        let found = says(&[tracked(1, "head\n")], &files);
        assert_eq!(found, (strings(&["0=app.log.2"]), vec![], strings(&["app.log.1", "app.log"])));
    }

    #[test]
    fn at_first_sight_rotated_files_are_bygone_unless_they_came_since() {
        let files = [seen(1, "app.log.2", "old\n"), seen(2, "app.log.1", "since\n"), seen(3, "app.log", "one\n")];
        let scan = Scan { files: files.to_vec(), ..Scan::default() };
        let last_look = SystemTime::UNIX_EPOCH + Duration::from_secs(999);
        let plan = plan(&[], &scan, |born| born < last_look);
        let fresh: Vec<usize> = plan.fresh.iter().map(|fresh| fresh.index).collect();
        assert_eq!((plan.bygone, fresh), (vec![0], vec![1, 2]));
    }

    #[test]
    fn a_rotated_file_that_shows_up_late_comes_before_what_is_newer() {
        let live = tracked(1, "three\n");
        let rotated = tracked(2, "one\n");
        let files = [seen(2, "app.log.2", "one\n"), seen(3, "app.log.1", "two\n"), seen(1, "app.log", "three\nfour\n")];
        let known = [&rotated, &live].map(|file| file.clone());
        let known: Vec<Known<'_>> = known
            .iter()
            .enumerate()
            .map(|(key, file)| Known { key: key as Key, file, position: 0, displaced: None })
            .collect();
        let scan = Scan { files: files.to_vec(), ..Scan::default() };
        assert_eq!(plan(&known, &scan, |_| true).fresh, [Fresh { index: 1, before: Some(1) }]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_or_a_folder_that_cannot_be_read_is_not_lost() {
        let mut locked = seen(1, "app.log", "one\n");
        locked.head = None;
        assert_eq!(says(&[tracked(1, "one\n")], &[locked]).0, strings(&["0=app.log"]));

        let known = tracked(1, "one\n");
        let known = [Known { key: 0, file: &known, position: 4, displaced: None }];
        let scan = Scan { unknown: ["app.log".into()].into(), ..Scan::default() };
        assert_eq!(plan(&known, &scan, |_| true), Plan::default());
    }

    #[test]
    fn other_siblings_count_only_when_they_hold_what_is_known() {
        let mut moved = seen(1, "app.log", "one\n");
        moved.role = Role::Sibling;
        let mut stranger = seen(2, "app.log", "two\n");
        stranger.role = Role::Sibling;
        assert_eq!(says(&[tracked(1, "one\n")], &[moved, stranger]), (strings(&["0=app.log"]), vec![], vec![]));
    }
}
