//! Open files: which contents are open when the limit on open files does not allow all of them.
//!
//! What is open can be read to its end even when its file is deleted, so all are open that may be. Beyond that, the one
//! read longest ago is closed when another has to be read. A file without a name is never closed, as it could not be
//! opened again. What was closed is opened again when there may be more in it; that it is the same file, and was not
//! truncated, is checked then as it is whenever a content is opened and read.
//!
//! This module must not decide what is read next.

use std::fs;

use super::content::{Content, FileLocation};
use super::identity::Identity;
use super::jobs::{Done, FILE_IO};
use super::registry::Key;
use super::session::Session;
use crate::off_worker::in_turn;

/// As many files are closed by one job, at most.
const BATCH: usize = 16;

impl Session {
    /// Puts a content in the line of those that wait to be opened.
    pub(super) fn open_later(&mut self, key: Key) {
        let Some(tail) = self.tails.get_mut(&key).filter(|tail| !tail.waits_to_open) else { return };
        tail.waits_to_open = true;
        self.to_open.push_back(key);
    }

    /// Opens what waits for it, within what may be open, and closes what is over that, or stands in the way while
    /// `reading`. Returns false when there is nothing to do, or nothing can be closed.
    pub(super) fn start_opening(&mut self, reading: bool) -> bool {
        let granted = self.open_files.granted();
        if self.to_open.is_empty() && granted >= self.tails.len() {
            return false;
        }
        let open = self.tails.values().filter(|tail| tail.content.is_some()).count();
        if open > granted {
            return self.start_closing(open - granted);
        }
        if self.to_open.is_empty() {
            return false;
        }
        if open == granted {
            self.tell_of_limit(granted);
            return reading && self.start_closing(self.to_open.len());
        }
        self.open_first(granted - open);
        true
    }

    /// Opens one more when nothing that is open can be read or closed, even if that is one more than may be: to wait
    /// could take for ever.
    pub(super) fn start_opening_the_next(&mut self) {
        if !self.start_opening(true) && !self.to_open.is_empty() {
            self.open_first(1);
        }
    }

    /// Takes note of a file that was closed, or had to stay open.
    pub(super) fn closed(&mut self, key: Key, kept: Option<Content>) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        if kept.is_some() {
            tail.content = kept;
            tail.must_stay_open = true;
            return;
        }
        tail.set_aside();
        if !tail.is_caught_up() {
            self.enqueue(key);
        }
    }

    fn open_first(&mut self, count: usize) {
        let keys = self.to_open.drain(..count.min(self.to_open.len()));
        let mut places: Vec<(Key, FileLocation)> = Vec::new();
        for key in keys {
            let Some(tail) = self.tails.get_mut(&key) else { continue };
            tail.waits_to_open = false;
            if tail.content.is_none() && !tail.has_ended() {
                places.extend(tail.place.clone().map(|place| (key, place)));
            }
        }
        self.job = Some(in_turn(&FILE_IO, move || {
            Done::Opened(places.into_iter().map(|(key, place)| (key, Content::open(&place))).collect())
        }));
    }

    /// Closes up to `count` files, those first in which there is nothing more for now. Returns false when none can be
    /// closed.
    fn start_closing(&mut self, count: usize) -> bool {
        let mut candidates: Vec<(bool, Option<u64>, Key)> =
            self.tails.keys().filter_map(|key| self.closing_candidate(*key)).collect();
        candidates.sort_unstable();
        candidates.truncate(count.min(BATCH));
        let mut closing = Vec::new();
        for (_, _, key) in candidates {
            let Some(tail) = self.tails.get_mut(&key) else { continue };
            if let (Some(content), Some(place)) = (tail.content.take(), tail.place.clone()) {
                closing.push((key, content, place));
            }
        }
        if closing.is_empty() {
            return false;
        }
        self.job = Some(in_turn(&FILE_IO, move || Done::Closed(closing.into_iter().map(close).collect())));
        true
    }

    /// The content with what decides when it is closed; `None` when it has to stay open. What was opened to be read is
    /// read first, and a compressed content cannot be read on from where it was left.
    fn closing_candidate(&self, key: Key) -> Option<(bool, Option<u64>, Key)> {
        let tail = self.tails.get(&key).filter(|tail| tail.content.is_some() && !tail.must_stay_open)?;
        let waits_for_others = !self.may_be_read(tail);
        let was_read = tail.last_read.is_some() && !tail.is_compressed() && self.queue.front() != Some(&key);
        (tail.place.is_some() && (was_read || waits_for_others)).then(|| (!tail.is_caught_up(), tail.last_read, key))
    }

    fn tell_of_limit(&mut self, granted: usize) {
        if std::mem::replace(&mut self.told_of_limit, true) {
            return;
        }
        let (source, files, limit) = (&self.context.name, self.tails.len(), self.open_files.limit());
        tracing::warn!(%source, files, open = granted, limit,
            "not all files can be open at once, as the limit of open files (`ulimit -n`, LimitNOFILE=) is {limit}: those that \
             do not grow are closed until they do, and what is written to one that is deleted meanwhile is lost");
    }
}

/// Closes a file that has its name still.
fn close((key, content, place): (Key, Content, FileLocation)) -> (Key, Option<Content>) {
    let named = fs::metadata(&place.path).is_ok_and(|metadata| Identity::of(&metadata) == content.identity());
    (key, (!named).then_some(content))
}
