//! The registry: every content that is known, how far it is confirmed, and by what it is recognised. It is what the
//! checkpoint holds.
//!
//! A *content* is a sequence of bytes that was written under one path: rotation moves it to another name, into a copy
//! or into a `.gz`, and it stays the same content with the same id. This module does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::identity::{Fingerprint, Identity, Mark, file_id};
use super::path::FilePath;

/// File systems take their times from a clock that moves in steps, of some milliseconds at most.
const CLOCK_STEP: SignedDuration = SignedDuration::from_millis(20);

/// Keys leave room for contents that turn out to be older than one that is known.
const KEY_STEP: Key = 1 << 20;

/// A content's number in the registry. Of two contents of one path the later has the higher number.
pub(super) type Key = u64;

/// What is kept in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// When the paths were last looked at.
    looked_at: Option<Timestamp>,
    files: Vec<TrackedFile>,
}

/// One content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrackedFile {
    /// The first part of its events' ids; `None` until its first line is complete.
    pub(super) id: Option<Arc<str>>,
    /// The path it was written under.
    pub(super) path: FilePath,
    /// The same with symbolic links resolved: its rotated siblings are beside this one.
    pub(super) real_path: FilePath,
    /// The file that holds it now.
    pub(super) identity: Identity,
    /// The file it was first seen in.
    pub(super) origin: Identity,
    /// How many contents that file held before.
    pub(super) generation: u32,
    pub(super) fingerprint: Fingerprint,
    /// What it has where it was read to: a file that begins as it does and has something else there is another one.
    pub(super) mark: Option<Mark>,
    /// Everything below is confirmed.
    pub(super) offset: u64,
    /// The largest size seen.
    pub(super) size: u64,
    /// Rotated away and confirmed to its end. It is remembered as long as it exists, so as not to be read again.
    pub(super) finished: bool,
    /// The size of the compressed file that held it when it was read as far as that goes. What is added is read, too.
    pub(super) stored_size: Option<u64>,
    /// Rotated away, read and confirmed to its end, and not written to for a while: it is only kept open in case that it
    /// is written to once more. When it is gone after a restart, nothing is taken for lost.
    pub(super) at_rest: bool,
    /// With `once`: where this run ends. `None` for contents that came later and are none of its business.
    #[serde(skip)]
    pub(super) once_end: Option<u64>,
    /// Since when it has not been found anywhere.
    #[serde(skip)]
    pub(super) missing_since: Option<Instant>,
}

/// A path under which contents were written; it is looked after even when no file is there now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KnownPath {
    pub(super) path: FilePath,
    pub(super) real_path: FilePath,
}

/// What tells whether a registry has changed, but for when the paths were last looked at: what was seen at each look is in
/// the registry, so that an earlier look is as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

/// All known contents.
#[derive(Debug, Default)]
pub(super) struct Registry {
    files: BTreeMap<Key, TrackedFile>,
    next_key: Key,
    looked_at: Option<Timestamp>,
    /// True once this process has looked.
    has_looked: bool,
}

impl Registry {
    /// The registry as the checkpoint has it; an empty one at the source's first run.
    pub(super) fn new(checkpoint: Option<Checkpoint>) -> Self {
        let mut registry = Self { next_key: KEY_STEP, ..Self::default() };
        if let Some(checkpoint) = checkpoint {
            registry.looked_at = checkpoint.looked_at;
            for file in checkpoint.files {
                registry.add(file);
            }
        }
        registry
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { looked_at: self.looked_at, files: self.files.values().cloned().collect() }
    }

    pub(super) fn digest(&self) -> Digest {
        let mut sha256 = Sha256::new();
        sha256.update([u8::from(self.looked_at.is_some())]);
        for file in self.files.values() {
            // A file that cannot be written as JSON is no file that is saved.
            sha256.update(serde_json::to_vec(file).unwrap_or_default());
            sha256.update([0]);
        }
        Digest(sha256.finalize().into())
    }

    /// True until the paths have been looked at for the first time ever.
    pub(super) fn is_first_run(&self) -> bool {
        self.looked_at.is_none()
    }

    /// True when a file of this age can have been there when the paths were last looked at.
    pub(super) fn was_there(&self, born: SystemTime) -> bool {
        let born = Timestamp::try_from(born).unwrap_or(Timestamp::MAX);
        self.looked_at.is_none_or(|looked_at| born < looked_at - CLOCK_STEP)
    }

    /// True once the paths have been looked at in this run.
    pub(super) fn has_looked(&self) -> bool {
        self.has_looked
    }

    pub(super) fn set_looked_at(&mut self, time: Timestamp) {
        self.looked_at = Some(time);
        self.has_looked = true;
    }

    /// Adds a content that is newer than all others.
    pub(super) fn add(&mut self, file: TrackedFile) -> Key {
        let key = self.next_key;
        self.next_key += KEY_STEP;
        self.files.insert(key, file);
        key
    }

    /// Adds a content that is older than the one with the key `newer`, and newer than all before that.
    pub(super) fn add_before(&mut self, newer: Key, file: TrackedFile) -> Key {
        let before = self.files.range(..newer).next_back().map_or(0, |(key, _)| key + 1);
        let key = if before < newer { before } else { self.next_key };
        self.next_key = self.next_key.max(key + KEY_STEP);
        self.files.insert(key, file);
        key
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.files.remove(&key);
    }

    pub(super) fn get(&self, key: Key) -> Option<&TrackedFile> {
        self.files.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut TrackedFile> {
        self.files.get_mut(&key)
    }

    pub(super) fn known_paths(&self) -> BTreeSet<KnownPath> {
        let paths = self.files.values().map(|file| (file.path.clone(), file.real_path.clone()));
        paths.map(|(path, real_path)| KnownPath { path, real_path }).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &TrackedFile)> {
        self.files.iter().map(|(key, file)| (*key, file))
    }

    /// The number for a new content in a file: how many contents it is known to have held.
    pub(super) fn next_generation(&self, identity: Identity) -> u32 {
        let known = self.files.values().filter(|file| file.origin == identity);
        known.map(|file| file.generation + 1).max().unwrap_or(0)
    }

    /// Gives a content its id, derived from its first line. Returns false when it has one already.
    pub(super) fn name(&mut self, key: Key, first_line: &[u8]) -> bool {
        let Some(file) = self.files.get(&key).filter(|file| file.id.is_none()) else { return false };
        let derived = file_id(file.origin, file.generation, first_line);
        // Without times of birth an inode that was reused can lead to an id that is taken.
        let mut id = derived.clone();
        let mut number = 1;
        while self.files.values().any(|file| file.id.as_deref() == Some(&*id)) {
            id = format!("{derived}-{number}");
            number += 1;
        }
        if let Some(file) = self.files.get_mut(&key) {
            file.id = Some(id.into());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64) -> TrackedFile {
        TrackedFile {
            id: None,
            path: "app.log".into(),
            real_path: "app.log".into(),
            identity: Identity { device: 1, inode, born: None },
            origin: Identity { device: 1, inode, born: None },
            generation: 0,
            fingerprint: Fingerprint::of(b"one\n"),
            mark: None,
            offset: 4,
            size: 4,
            finished: false,
            stored_size: None,
            at_rest: false,
            once_end: None,
            missing_since: None,
        }
    }

    #[test]
    fn an_id_that_is_taken_gets_a_number() {
        let mut registry = Registry::new(None);
        let first = registry.add(file(7));
        let second = registry.add(file(7));
        assert!(registry.name(first, b"one\n") && registry.name(second, b"one\n"));
        assert!(!registry.name(second, b"other\n"), "an id never changes");
        let ids: Vec<_> = registry.iter().filter_map(|(_, file)| file.id.clone()).collect();
        assert_eq!(*ids[1], *format!("{}-1", ids[0]));
    }

    #[test]
    fn a_content_can_be_put_before_another() {
        let mut registry = Registry::new(None);
        let first = registry.add(file(1));
        let last = registry.add(file(9));
        for inode in 2..=3 {
            registry.add_before(last, file(inode));
        }
        registry.add_before(first, file(0));
        let order: Vec<u64> = registry.iter().map(|(_, file)| file.identity.inode).collect();
        assert_eq!(order, [0, 1, 2, 3, 9]);
    }

    #[test]
    fn a_new_content_in_the_same_file_is_the_next_generation() {
        let mut registry = Registry::new(None);
        registry.add(file(7));
        assert_eq!(registry.next_generation(file(7).identity), 1);
        assert_eq!(registry.next_generation(file(8).identity), 0);
    }

    #[test]
    fn the_checkpoint_brings_everything_back() {
        let mut registry = Registry::new(None);
        assert!(registry.is_first_run());
        let key = registry.add(file(7));
        registry.name(key, b"one\n");
        registry.set_looked_at(Timestamp::now());
        let text = serde_json::to_string(&registry.checkpoint()).unwrap();
        let back = Registry::new(Some(serde_json::from_str(&text).unwrap()));
        assert_eq!(back.checkpoint(), registry.checkpoint());
        assert!(!back.is_first_run());
    }
}
