//! Jobs: the blocking work of a session, one at a time on a blocking thread, and what is done with what they bring.
//! Beside a job there may be a save, which the store's keeper carries out.
//!
//! A job or save in progress belongs to the session and not to whoever waits for it, so that waiting can be broken off
//! at any time without losing what it brings.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::FileStart;
use super::compression::no_lines;
use super::content::{Agreement, Chunk, Content, Expected, FileLocation};
use super::discovery::{Scan, Scanner};
use super::glance::Glance;
use super::identity::{Fingerprint, first_line};
use super::path::shown;
use super::registry::Key;
use super::session::Session;
use super::tail::Tail;
use crate::descriptors::{is_shortage, shortage};
use crate::off_worker::{Answer, in_turn};
use crate::source::SourceError;
use crate::source::lines::is_utf16;
use crate::turns::Turns;

/// Reported changes lead to a look at the paths this soon, so that a burst of them leads to one.
const CHANGE_DELAY: Duration = Duration::from_millis(50);

/// Looking at the paths takes no more than one part in so many of the time, however many files there are.
const SCAN_SHARE: u32 = 20;

/// The jobs of all file sources of the process that are done at the same time, unless they hang: each takes a thread, and
/// there may be a thousand sources.
pub(super) static FILE_IO: Turns = Turns::new(4);

/// What a job brings back.
pub(super) enum Done {
    Scanned(Scanner, Scan, Option<Glance>, Duration),
    /// Whether nothing has changed.
    Glanced(Glance, bool),
    Opened(Vec<(Key, io::Result<Content>)>),
    /// What had to stay open comes back.
    Closed(Vec<(Key, Option<Content>)>),
    Compared(Key, Content, FileLocation, io::Result<Agreement>),
    Read(Key, Content, io::Result<Chunk>),
}

impl Session {
    /// Does one step of work, or waits until there is some. Cancel safe: what is not waited for to its end is waited for
    /// in the next call.
    pub(super) async fn work(&mut self, reading: bool) -> Result<(), SourceError> {
        self.saver.start(&self.registry);
        if self.job.is_none() {
            self.note_changes();
            self.start_job(reading && !self.saver.holds_up_reading());
        }
        let (idle, next_look) = (self.job.is_none(), self.next_look());
        tokio::select! {
            saved = self.saver.ended() => saved,
            done = ended(&mut self.job) => self.job_ended(done),
            () = self.watch.changed(), if idle => Ok(()),
            () = sleep_until(next_look), if idle => Ok(()),
        }
    }

    /// Looks at the paths once. Cancel safe.
    pub(super) async fn scan(&mut self) -> Result<(), SourceError> {
        self.start_scan();
        let done = ended(&mut self.job).await;
        self.job_ended(done)
    }

    fn job_ended(&mut self, done: io::Result<Done>) -> Result<(), SourceError> {
        self.job = None;
        match done.map_err(SourceError::transient)? {
            Done::Scanned(scanner, scan, glance, took) => {
                self.scanner = Some(scanner);
                self.next_scan = Instant::now() + self.timing.rescan.max(took * SCAN_SHARE);
                self.apply_scan(&scan);
                self.open_files.want(self.tails.len());
                self.put_off_the_next_look(glance, took);
            }
            Done::Glanced(_, false) => self.next_scan = Instant::now(),
            Done::Glanced(glance, true) => {
                let is_reported = glance.is_reported() && self.watch.sees_all();
                let pause = if is_reported { self.timing.glance_where_reported } else { self.timing.rescan };
                self.glance = Some(glance);
                self.next_glance = Instant::now() + pause;
            }
            Done::Opened(opened) => opened.into_iter().for_each(|(key, content)| self.opened(key, content)),
            Done::Closed(closed) => closed.into_iter().for_each(|(key, kept)| self.closed(key, kept)),
            Done::Compared(key, content, place, agreement) => self.compared(key, content, place, agreement),
            Done::Read(key, content, chunk) => self.chunk_read(key, content, chunk),
        }
        Ok(())
    }

    fn start_job(&mut self, reading: bool) {
        if Instant::now() >= self.next_look() {
            return self.start_look();
        }
        if self.current.is_none() && self.start_comparing() {
            return;
        }
        if self.start_opening(reading) || !reading || self.current.is_some() {
            return;
        }
        self.start_reading();
        if self.job.is_none() {
            self.start_opening_the_next();
        }
    }

    /// When the next look or glance is due.
    fn next_look(&self) -> Instant {
        self.glance.as_ref().map_or(self.next_scan, |_| self.next_scan.min(self.next_glance))
    }

    /// Looks at the paths; if that is not due yet, and only glances are needed, it is done with one.
    fn start_look(&mut self) {
        let may_glance = Instant::now() < self.next_scan && self.expects_nothing();
        let Some(glance) = self.glance.take().filter(|_| may_glance) else { return self.start_scan() };
        self.job = Some(in_turn(&FILE_IO, move || {
            let still_holds = glance.still_holds();
            Done::Glanced(glance, still_holds)
        }));
    }

    /// Lets glances do until much later, unless another look was asked for meanwhile or something is expected of it.
    fn put_off_the_next_look(&mut self, glance: Option<Glance>, took: Duration) {
        let now = Instant::now();
        if self.next_scan <= now || !self.expects_nothing() {
            return;
        }
        self.glance = glance;
        if self.glance.is_some() {
            self.next_glance = self.next_scan;
            self.next_scan = now + self.timing.idle_rescan.max(took * SCAN_SHARE);
        }
    }

    /// True when all contents are in the files at their paths and can be read, so that a look shows nothing new unless
    /// something changes. What was rotated away, is missing or incomplete is given up at a look, and what cannot be read
    /// tried again.
    fn expects_nothing(&self) -> bool {
        let in_place = |tail: &Tail| {
            tail.live && tail.place.is_some() && tail.failing_since.is_none() && tail.broken_off.is_none()
        };
        !self.context.once
            && self.to_compare.is_empty()
            && self.replacements.is_empty()
            && self.tails.values().all(in_place)
            && self.registry.iter().all(|(_, file)| file.missing_since.is_none())
    }

    fn start_scan(&mut self) {
        self.glance = None;
        let Some(mut scanner) = self.scanner.take() else { return };
        let known = self.registry.known_paths();
        let line_ends = self.registry.is_first_run() && self.start == FileStart::End;
        self.job = Some(in_turn(&FILE_IO, move || {
            let started = Instant::now();
            let scan = scanner.scan(&known, line_ends);
            let glance = Glance::after(&scan, scanner.passed_over());
            Done::Scanned(scanner, scan, glance, started.elapsed())
        }));
    }

    pub(super) fn opened(&mut self, key: Key, content: io::Result<Content>) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        match content {
            Ok(content) => {
                tail.opened(content);
                self.enqueue(key);
            }
            // Moved on since it was seen: the next look finds it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tail.place = None;
                self.scan_soon();
            }
            Err(error) => self.read_failed(key, &error),
        }
    }

    /// Begins to compare a file that is open with the one that has replaced it. Returns false when there is none.
    fn start_comparing(&mut self) -> bool {
        while let Some((key, place)) = self.to_compare.pop() {
            let Some(content) = self.tails.get_mut(&key).and_then(|tail| tail.content.take()) else { continue };
            self.job = Some(in_turn(&FILE_IO, move || {
                let agreement = content.compare(&place);
                Done::Compared(key, content, place, agreement)
            }));
            return true;
        }
        false
    }

    /// A file whose lines go on where the former one's end is the same content. Otherwise it is another one, of which the
    /// lines that both have are not read again; what is unread of the former file comes first.
    fn compared(&mut self, key: Key, content: Content, place: FileLocation, agreement: io::Result<Agreement>) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        tail.content = Some(content);
        let path = shown(&place.path);
        match agreement {
            Ok(Agreement::Continues) => {
                tracing::info!(%path, "replaced by a file that goes on where it ends; reading on in that");
                tail.close();
                // Nothing may have been read yet by which the next look could find it.
                if let Some(file) = self.registry.get_mut(key) {
                    file.identity = place.identity;
                }
                tail.place = Some(place);
                self.open_later(key);
            }
            Ok(Agreement::Differs { from }) => {
                tracing::info!(%path, from, "replaced by another file; its lines are read from there on");
                tail.displaced = Some(place.identity);
                tail.set_live(false);
                self.replacements.insert(place.identity, from);
                self.next_scan = Instant::now();
            }
            // Replaced again, or out of reach: the next look shows it.
            Err(error) => tracing::debug!(%path, %error, "cannot be compared with what it has replaced yet"),
        }
        self.enqueue(key);
    }

    fn start_reading(&mut self) {
        while let Some(key) = self.queue.pop_front() {
            let allowed = self.tails.get(&key).is_some_and(|tail| self.may_be_read(tail));
            let Some(tail) = self.tails.get_mut(&key) else { continue };
            tail.queued = false;
            // Whatever keeps it from being read now puts it into the queue again when it is over.
            if !allowed || tail.has_ended() {
                continue;
            }
            let Some(mut content) = tail.content.take() else {
                if tail.set_aside {
                    self.open_later(key);
                }
                continue;
            };
            let mark = self.registry.get(key).and_then(|file| file.mark.clone());
            let expected = Expected { head: tail.head().to_vec(), mark, may_end_early: !tail.live };
            let (position, buffer) = (tail.position(), std::mem::take(&mut self.buffer));
            self.job = Some(in_turn(&FILE_IO, move || {
                let chunk = content.read_chunk(position, &expected, buffer);
                Done::Read(key, content, chunk)
            }));
            return;
        }
    }

    /// True when what was written before it has been read.
    pub(super) fn may_be_read(&self, tail: &Tail) -> bool {
        tail.older.iter().all(|older| self.tails.get(older).is_none_or(Tail::lets_newer_pass))
    }

    fn chunk_read(&mut self, key: Key, content: Content, chunk: io::Result<Chunk>) {
        let (Some(tail), Some(file)) = (self.tails.get_mut(&key), self.registry.get_mut(key)) else { return };
        tail.content = Some(content);
        self.reads += 1;
        tail.last_read = Some(self.reads);
        match chunk {
            Ok(Chunk::Bytes { bytes, end_of_file, size, modified, mark }) => {
                tail.was_open = true;
                file.size = file.size.max(size);
                file.at_rest &= bytes.is_empty();
                if mark.as_ref().is_some_and(|mark| file.mark.as_ref().is_none_or(|last| mark.end() > last.end())) {
                    file.mark = mark;
                }
                if end_of_file {
                    file.stored_size = tail.content.as_ref().and_then(Content::stored_size);
                    tail.broken_off = None;
                }
                if tail.feed(bytes, end_of_file, size, modified) {
                    file.fingerprint = Fingerprint::of(tail.head());
                }
                if is_utf16(tail.head(), self.context.format) {
                    return self.pass_over(key);
                }
                if let Some(reason) = no_lines(tail.head()).filter(|_| !tail.reads_compressed()) {
                    return self.pass_over_compressed(key, &reason);
                }
                if let Some(line) = first_line(tail.head()) {
                    self.saver.note_ids(self.registry.name(key, line));
                }
                self.current = Some(key);
            }
            Ok(Chunk::Displaced) => {
                tracing::info!(path = %file.path, offset = tail.unread_from(), "truncated, or another file with the same beginning; looking for what was in it");
                tail.displace();
                self.next_scan = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && tail.is_compressed() => {
                self.wait_for_rest(key)
            }
            Err(error) => self.read_failed(key, &error),
        }
    }

    /// Tries again at the next look. Only a compressed file that stays unreadable is given up: it is damaged.
    fn read_failed(&mut self, key: Key, error: &io::Error) {
        let (Some(tail), Some(file)) = (self.tails.get_mut(&key), self.registry.get(key)) else { return };
        let compressed = tail.place.as_ref().is_some_and(|place| place.compressed);
        let since = tail.failing_since;
        match since {
            Some(_) => {}
            None if is_shortage(error) => {
                tracing::warn!(path = %file.path, "cannot be opened now, trying again: {}", shortage());
            }
            None => tracing::warn!(path = %file.path, %error, "cannot be read; trying again at every look"),
        }
        let since = *tail.failing_since.get_or_insert_with(Instant::now);
        tail.close();
        if since.elapsed() < self.timing.settle {
            return;
        }
        if is_shortage(error) {
            return;
        }
        if compressed {
            self.lose(key, &format!("it is compressed and damaged ({error})"), true);
        } else if self.context.once {
            tracing::error!(path = %file.path, %error, "given up for this run; the next one reads on");
            tail.end();
        }
    }

    fn note_changes(&mut self) {
        let changes = self.watch.take_changes();
        for path in changes.written {
            if let Some(key) = self.places.get(&path).copied() {
                self.enqueue(key);
            }
        }
        if changes.names {
            self.scan_soon();
        }
    }

    fn scan_soon(&mut self) {
        self.next_scan = self.next_scan.min(Instant::now() + CHANGE_DELAY);
    }
}

/// Waits for the end of a job; for ever when there is none. Cancel safe.
async fn ended(job: &mut Option<Answer<Done>>) -> io::Result<Done> {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}
