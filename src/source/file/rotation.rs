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

use super::discovery::Scan;
use super::families::families;
use super::identity::{HEAD_LENGTH, Identity, Mark};
use super::observed::{Observed, Role};
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

impl Known<'_> {
    /// As far it is certain to have gone: it was read, or recognised by that.
    fn seen_to(&self) -> u64 {
        let marked = self.file.mark.as_ref().map_or(0, Mark::end);
        self.position.max(self.file.fingerprint.length() as u64).max(marked)
    }
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
    /// The files of each root, oldest first.
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

    /// Contents that are nowhere else any more, and of which there is a copy that ends before what was seen: a program
    /// wrote on between copytruncate's copy and its truncation.
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
                let ends_early = file.size.is_some_and(|size| size < known.seen_to());
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
        let located: HashSet<usize> = self.located.values().copied().collect();
        let family = self.families.get(&file.root).into_iter().flatten();
        family.map(|index| (located.contains(index), &self.files[*index])).any(|(is_known, other)| {
            if other.role == Role::Root {
                return if is_known { is_beginning_of(file, other) } else { is_certainly_beginning_of(file, other) };
            }
            let sizes = |file: &Observed| file.size_modulo.or_else(|| file.size.map(truncated));
            let long = file.head.as_ref().is_some_and(|head| head.len() == HEAD_LENGTH);
            is_known && long && file.head == other.head && sizes(file) == sizes(other)
        })
    }
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

/// True when `copy` holds what `original` begins with, as far as heads, ends and sizes tell.
fn is_beginning_of(copy: &Observed, original: &Observed) -> bool {
    let (Some(copy_head), Some(original_head)) = (&copy.head, &original.head) else { return true };
    let not_longer = copy.size.is_none_or(|size| original.size.is_none_or(|original| size <= original));
    not_longer && original_head.starts_with(copy_head) && copy.begins_root != Some(false)
}

/// The same of an original of which nothing was known before: to take two files for one would leave out the lines of the
/// copy, so that it must be certain. What was made before the original is no copy of it.
fn is_certainly_beginning_of(copy: &Observed, original: &Observed) -> bool {
    let is_whole = copy.head_is_whole && copy.size.is_some_and(|size| size <= HEAD_LENGTH as u64);
    let is_older = copy.identity.born.zip(original.identity.born).is_some_and(|(copy, original)| copy < original);
    original.head.is_some()
        && !is_older
        && (is_whole || copy.begins_root == Some(true))
        && is_beginning_of(copy, original)
}

/// The size as a compressed file tells it.
fn truncated(size: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "RFC 1952 stores sizes modulo 2^32")]
    {
        size as u32
    }
}
