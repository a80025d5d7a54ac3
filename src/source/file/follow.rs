//! Following: what a look at the paths changes in a session. New contents are taken up, moved ones followed, and what
//! has vanished is given up in the end.
//!
//! Which file holds what is decided in `rotation`; this module only acts on it. It does no I/O but log.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use tokio::time::Instant;

use super::FileStart;
use super::content::{Content, FileLocation};
use super::discovery::Scan;
use super::identity::{Fingerprint, Identity, first_line};
use super::names;
use super::observed::{Observed, Role};
use super::path::{FilePath, shown};
use super::registry::{Key, TrackedFile};
use super::rotation::{self, Known, Plan};
use super::session::{SHORTER_COPY, Session, Timing};
use super::tail::Tail;
use crate::units::Period;

/// With `once`: read to the end of the file, which cannot grow or may be read as far as it goes.
const TO_ITS_END: u64 = u64::MAX;

impl Session {
    /// Acts on what a look at the paths has shown.
    pub(super) fn apply_scan(&mut self, scan: &Scan) {
        let plan = self.plan(scan);
        let first_look = !self.registry.has_looked();
        self.drop_truncated(scan, &plan);
        for (key, index) in &plan.found {
            self.follow(*key, &scan.files[*index], scan);
        }
        // Before new contents are taken up, as those have to wait for older ones.
        for key in &plan.missing {
            self.miss(*key, scan);
        }
        // Looks after the first one of a run with `once` only serve to find again what that run has to read.
        if first_look || !self.context.once {
            for index in &plan.bygone {
                self.remember(&scan.files[*index]);
            }
            for fresh in &plan.fresh {
                let seen = &scan.files[fresh.index];
                if !self.is_to_compare(seen, scan) {
                    self.take_up(seen, fresh.before);
                }
            }
        }
        self.look_after_rotated(&plan.missing);
        self.saver.note_ids(self.registry.is_first_run());
        if first_look && self.tails.is_empty() {
            tracing::info!(source = %self.context.name, "no file matches yet; waiting for one");
        }
        self.registry.set_looked_at(scan.started);
        self.places = self.tails.iter().filter_map(|(key, tail)| Some((tail.place.clone()?.path, *key))).collect();
        self.watch.set_folders(&scan.folders);
    }

    fn plan(&self, scan: &Scan) -> Plan {
        let known: Vec<Known<'_>> = self.registry.iter().map(|(key, file)| self.known(key, file)).collect();
        rotation::plan(&known, scan, |born| self.registry.was_there(born))
    }

    fn known<'a>(&self, key: Key, file: &'a TrackedFile) -> Known<'a> {
        let tail = self.tails.get(&key);
        Known {
            key,
            file,
            position: tail.map_or(file.offset, Tail::position),
            displaced: tail.and_then(|tail| tail.displaced),
        }
    }

    /// Closes files that are still there but do not hold the content any more. Files that are gone stay open: there is
    /// no other way to them.
    fn drop_truncated(&mut self, scan: &Scan, plan: &Plan) {
        let seen: HashSet<Identity> = scan.files.iter().map(|file| file.identity).collect();
        let located: HashMap<Key, Identity> =
            plan.found.iter().map(|(key, index)| (*key, scan.files[*index].identity)).collect();
        for (key, tail) in &mut self.tails {
            let Some(open) = tail.file() else { continue };
            if !tail.has_ended() && seen.contains(&open) && located.get(key) != Some(&open) {
                tail.displace();
            }
        }
    }

    /// A known content was found. `missing_since` is kept for a copy that ends too early until it was looked at twice.
    fn follow(&mut self, key: Key, seen: &Observed, scan: &Scan) {
        self.adopt_path(key, seen, scan);
        let first_look = !self.registry.has_looked();
        let (read, is_certain) = self.tails.get(&key).map_or((0, false), |tail| (tail.position(), tail.was_open));
        let Some(file) = self.registry.get_mut(key) else { return };
        let live = seen.role == Role::Root && seen.root == file.path;
        let grown = has_grown(file, seen, live);
        file.identity = seen.identity;
        if let Some(head) = seen.head.as_ref().filter(|head| head.len() > file.fingerprint.length()) {
            file.fingerprint = Fingerprint::of(head);
        }
        if live {
            file.real_path = seen.real_root.clone();
        }
        // What only begins alike so far may be another file; its size is noted when it is read.
        if !seen.compressed && is_certain {
            file.size = file.size.max(seen.size.unwrap_or(0));
        }
        if file.finished {
            if !grown || (self.context.once && !first_look) {
                file.missing_since = None;
                return;
            }
            file.finished = false;
            // Until more of it was read.
            file.at_rest = true;
            tracing::info!(path = %shown(&seen.path), "written to after it was done with; reading on");
        }
        let holds_original = seen.compressed && self.tails.get(&key).is_some_and(Tail::holds_original);
        if !live && !holds_original && seen.size.is_some_and(|size| size < file.offset.max(read)) {
            return self.end_with_shorter_copy(key, seen);
        }
        file.missing_since = None;
        if self.context.once && first_look {
            file.once_end = Some(if live { seen.size.unwrap_or(TO_ITS_END) } else { TO_ITS_END });
        }
        self.attach(key, seen, live);
    }

    /// A content is nowhere but in a copy that ends before what was read of it.
    fn end_with_shorter_copy(&mut self, key: Key, seen: &Observed) {
        let Some(file) = self.registry.get_mut(key) else { return };
        // The copy may have been looked at before it was complete, and the truncation after that.
        if file.missing_since.replace(Instant::now()).is_none() {
            self.next_scan = Instant::now();
            self.tail(key);
            return;
        }
        file.missing_since = None;
        let size = file.size;
        let Some(tail) = self.tail(key).filter(|tail| !tail.has_ended() && !tail.is_in_use()) else { return };
        tail.live = false;
        if size > tail.unread_from() {
            return self.lose(key, SHORTER_COPY, false);
        }
        let (copy, offset) = (shown(&seen.path), tail.unread_from());
        tracing::info!(%copy, offset, "truncated; the copy ends before what was read, so that nothing is missing");
        tail.end();
        self.close_partition(key);
    }

    /// A content found under another path has been moved there, unless something new has taken its place.
    fn adopt_path(&mut self, key: Key, seen: &Observed, scan: &Scan) {
        let Some(file) = self.registry.get_mut(key).filter(|file| file.path != seen.root) else { return };
        if !scan.files.iter().any(|other| other.role == Role::Root && other.root == file.path) {
            tracing::info!(from = %file.path, to = %seen.root, "a file was moved; reading on where it was left");
            file.path = seen.root.clone();
            file.real_path = seen.real_root.clone();
        }
    }

    /// Connects a content's tail with the file it was found in.
    fn attach(&mut self, key: Key, seen: &Observed, live: bool) {
        let Some(tail) = self.tail(key) else { return };
        if tail.has_ended() {
            return;
        }
        if tail.live && !live {
            tracing::info!(path = %seen.root, now = %shown(&seen.path), "rotated; its rest is read first");
        }
        tail.set_live(live);
        tail.displaced = None;
        let place = FileLocation { path: seen.path.clone(), identity: seen.identity, compressed: seen.compressed };
        let is_replaced = |open: &Content| !open.is_compressed() && open.identity() != seen.identity;
        if !seen.compressed && tail.content.as_ref().is_some_and(is_replaced) {
            // There may be more in its new file: what is newer has to wait.
            tail.look_again();
            self.to_compare.push((key, place));
            return;
        }
        tail.set_head(seen.head.as_deref().unwrap_or_default());
        tail.place = Some(place);
        tail.must_stay_open = false;
        tail.compressed_size = seen.size_modulo;
        if tail.content.is_none() && !tail.set_aside {
            if !self.still_breaks_off(key, seen) {
                self.open_later(key);
            }
        } else if seen.size != Some(tail.size) {
            self.enqueue(key);
        }
    }

    /// The content's tail, made if it has none yet.
    fn tail(&mut self, key: Key) -> Option<&mut Tail> {
        let file = self.registry.get(key)?;
        if !self.tails.contains_key(&key) {
            // A run with `once` leaves to others what came after its start.
            if self.context.once && file.once_end.is_none() {
                return None;
            }
            let mut tail = Tail::new(self.next_partition, file, self.context.max_event_size, self.context.format);
            let same_path = |other: &Key| self.registry.get(*other).is_some_and(|other| other.path == file.path);
            tail.older = self.tails.range(..key).map(|(other, _)| *other).filter(same_path).collect();
            self.next_partition += 1;
            self.tails.insert(key, tail);
        }
        self.tails.get_mut(&key)
    }

    /// A file from before its path was first seen: not read, and never to be mistaken for a new one.
    fn remember(&mut self, seen: &Observed) {
        let path = shown(&seen.path);
        tracing::info!(%path, "passed over: it was there before the first start, and is not read from its beginning");
        let size = seen.size.or(seen.size_modulo.map(u64::from)).unwrap_or(0);
        let file = TrackedFile { offset: size, size, finished: true, ..self.new_file(seen) };
        self.registry.add(file);
    }

    /// True when a file has taken the place of one that is open and not to be seen any more: what it has to do with that
    /// is found out first. It may have been rotated since; where the beginning of what is open is known, that was found by
    /// it.
    fn is_to_compare(&mut self, seen: &Observed, scan: &Scan) -> bool {
        let may_replace = |file: &TrackedFile| match seen.role {
            Role::Root => true,
            Role::Rotated(_) => file.fingerprint.is_empty(),
            Role::Former | Role::Sibling => false,
        };
        if seen.compressed || self.replacements.contains_key(&seen.identity) {
            return false;
        }
        let registry = &self.registry;
        let of_path = |key: &Key| registry.get(*key).filter(|file| file.path == seen.root);
        let mut newest = self.tails.iter().rev().filter_map(|(key, tail)| Some((key, tail, of_path(key)?)));
        let Some((key, tail, _)) = newest.next().filter(|(_, _, file)| may_replace(file)) else { return false };
        let Some(open) = tail.content.as_ref().filter(|open| !open.is_compressed()) else { return false };
        if tail.has_ended() || scan.files.iter().any(|file| file.identity == open.identity()) {
            return false;
        }
        let place = FileLocation { path: seen.path.clone(), identity: seen.identity, compressed: false };
        self.to_compare.push((*key, place));
        true
    }

    /// A content never seen before, written before the one with the key `before`, otherwise after all others.
    fn take_up(&mut self, seen: &Observed, before: Option<Key>) {
        let at_end = self.registry.is_first_run() && self.start == FileStart::End;
        if at_end && seen.compressed {
            return self.remember(seen);
        }
        let live = seen.role == Role::Root;
        let mut file = self.new_file(seen);
        if at_end {
            file.offset = seen.line_end.unwrap_or(0);
        }
        if let Some(from) = self.replacements.remove(&seen.identity) {
            file.offset = from;
        }
        if self.context.once {
            file.once_end = Some(if live { seen.size.unwrap_or(TO_ITS_END) } else { TO_ITS_END });
        }
        let start = file.offset;
        let key = match before {
            Some(newer) => self.registry.add_before(newer, file),
            None => self.registry.add(file),
        };
        let registry = &self.registry;
        let same_path = |key: &Key| registry.get(*key).is_some_and(|other| other.path == seen.root);
        for (_, newer) in self.tails.range_mut(key..).filter(|(key, _)| same_path(key)) {
            newer.older.push(key);
        }
        if let Some(line) = seen.head.as_deref().and_then(first_line) {
            self.registry.name(key, line);
        }
        self.saver.note_ids(true);
        tracing::info!(source = %self.context.name, path = %shown(&seen.path), offset = start, "reading");
        if !seen.compressed && names::is_compressed(seen.path.as_os_str().as_bytes()) {
            tracing::info!(path = %shown(&seen.path), "its name says that it is compressed, but it holds text; reading it as such");
        }
        self.attach(key, seen, live);
    }

    fn new_file(&self, seen: &Observed) -> TrackedFile {
        TrackedFile {
            id: None,
            path: seen.root.clone(),
            real_path: seen.real_root.clone(),
            identity: seen.identity,
            origin: seen.identity,
            generation: self.registry.next_generation(seen.identity),
            fingerprint: Fingerprint::of(seen.head.as_deref().unwrap_or_default()),
            mark: None,
            offset: 0,
            size: seen.size.unwrap_or(0),
            finished: false,
            stored_size: None,
            at_rest: false,
            once_end: None,
            missing_since: None,
        }
    }

    /// A known content was not found. It may be on its way from one name to another, so it is given time.
    fn miss(&mut self, key: Key, scan: &Scan) {
        let first_look = !self.registry.has_looked();
        let Some(file) = self.registry.get_mut(key) else { return };
        if first_look && self.context.once && !file.finished {
            file.once_end = Some(TO_ITS_END);
        }
        let missing_since = *file.missing_since.get_or_insert_with(Instant::now);
        if file.finished {
            if missing_since.elapsed() >= self.timing.forget {
                self.registry.remove(key);
            }
            return;
        }
        let replaced = scan.files.iter().any(|other| other.role == Role::Root && other.root == file.path);
        let nothing_unseen = file.size == 0 || file.at_rest;
        let Some(tail) = self.tail(key) else { return };
        tail.set_live(false);
        // What is missing is known once the lines of its last chunk are out.
        if tail.has_ended() || tail.content.is_some() || tail.is_in_use() {
            return;
        }
        // What was open until now was read as it was written. What vanished while nobody looked may have grown; but
        // when nothing has taken its place it was more likely a file that was done with, and when it was empty, whatever
        // rotated file has what it became is read as a new one.
        let unseen = replaced && !tail.was_open && !nothing_unseen;
        if missing_since.elapsed() >= self.timing.settle {
            self.lose(key, "its file was truncated, removed or replaced, and no rotated file has it", unseen);
        }
    }

    /// Reads on in files that were rotated away and decides when they are done with.
    fn look_after_rotated(&mut self, missing: &[Key]) {
        let mut newest: HashMap<FilePath, Key> = HashMap::new();
        for (key, file) in self.registry.iter() {
            newest.insert(file.path.clone(), key);
        }
        let mut rotated = Vec::new();
        let mut has_news = false;
        for (key, tail) in &mut self.tails {
            let Some(file) = self.registry.get_mut(*key) else { continue };
            if newest.get(&file.path).is_some_and(|newest| newest > key) {
                tail.supersede();
            }
            if tail.live || tail.file().is_none() {
                continue;
            }
            let gone = missing.contains(key);
            if tail.superseded || gone {
                let Timing { settle, rotated_wait, .. } = self.timing;
                let at_rest = file.offset >= file.size && tail.is_quiet(settle);
                has_news |= std::mem::replace(&mut file.at_rest, at_rest) != at_rest;
                if !tail.is_final && tail.is_done_with(settle, rotated_wait) {
                    tail.is_final = true;
                    tell_of_end(file, gone || tail.is_compressed(), rotated_wait);
                }
            }
            rotated.push(*key);
        }
        if has_news {
            self.save_positions();
        }
        for key in rotated {
            self.enqueue(key);
        }
    }
}

/// Says that a rotated file is done with, and what that means when it has no name by which it could be found again.
fn tell_of_end(file: &TrackedFile, is_nameless: bool, rotated_wait: Duration) {
    let (path, rotated_wait) = (&file.path, Period(rotated_wait));
    if is_nameless {
        tracing::info!(%path, %rotated_wait, "a rotated file was not written to for a while and is closed; it was deleted, \
            compressed or moved, and what is written to it from now on is not read");
    } else {
        tracing::info!(%path, %rotated_wait, "a rotated file was not written to for a while and is closed; it is read on if it grows");
    }
}

/// True when there is more in a file than was confirmed when it was done with, or when it is back at its path.
fn has_grown(file: &TrackedFile, seen: &Observed, live: bool) -> bool {
    if !seen.compressed {
        return live || seen.size.is_some_and(|size| size > file.offset);
    }
    if seen.identity == file.identity {
        return file.stored_size.is_some_and(|size| seen.stored_size > size);
    }
    // A program may have gone on writing until the file was compressed. The sizes are those of RFC 1952, modulo 2³².
    seen.size_modulo.is_some_and(|size| u64::from(size) != file.offset % (1 << 32))
}
