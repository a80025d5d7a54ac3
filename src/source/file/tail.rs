//! A tail: one content being read in this connection, from its last confirmed byte to its end.
//!
//! It decides what follows a chunk and when a rotated file is done with. It does no I/O: chunks are read by jobs of the
//! session and fed in here.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;

use self::compressed::BrokenOff;
use super::content::{Content, FileLocation};
use super::identity::{HEAD_LENGTH, Identity};
use super::registry::{Key, TrackedFile};
use crate::event::Format;
use crate::source::lines::{Line, LineSplitter};

mod compressed;

/// A content being read.
#[derive(Debug)]
pub(super) struct Tail {
    /// The number the driver knows it by.
    pub(super) partition: u32,
    /// Where it is; `None` while it is being looked for.
    pub(super) place: Option<FileLocation>,
    /// `None` while it is not open, or lent to a job.
    pub(super) content: Option<Content>,
    /// Contents of the same path that are read before this one.
    pub(super) older: Vec<Key>,
    /// True while it is in the file at its path: it may grow for ever.
    pub(super) live: bool,
    /// True once its path has a newer content.
    pub(super) superseded: bool,
    /// The file that was found truncated, until the content is found again elsewhere.
    pub(super) displaced: Option<Identity>,
    /// True when it was read in this connection, so that little can have happened unseen.
    pub(super) was_open: bool,
    /// True when it was closed only so that others could be opened: it is opened again when there may be more in it.
    pub(super) set_aside: bool,
    /// True when it waits to be opened.
    pub(super) waits_to_open: bool,
    /// True when its file had no name any more when it was to be closed: it could not be opened again.
    pub(super) must_stay_open: bool,
    /// A number that is the higher the later it was read; `None` when it was not read since it was opened.
    pub(super) last_read: Option<u64>,
    /// True when it waits in the session's queue.
    pub(super) queued: bool,
    /// Set when no more can come: its last line is then complete as it is.
    pub(super) is_final: bool,
    /// With `once`: where this run ends.
    pub(super) once_end: Option<u64>,
    /// Since when reading it fails.
    pub(super) failing_since: Option<Instant>,
    /// While the original is open of what is only to be found compressed: the size of that, modulo 2³².
    pub(super) compressed_size: Option<u32>,
    /// Where its compressed file ended too early when it was read last.
    pub(super) broken_off: Option<BrokenOff>,
    /// The position of its last record.
    pub(super) last_position: u64,
    /// Its file's size when it was last read.
    pub(super) size: u64,
    /// When its chunk was read: the time of its events.
    pub(super) time: Timestamp,
    state: TailState,
    splitter: LineSplitter,
    head: Vec<u8>,
    chunk: ChunkState,
    modified: SystemTime,
    grown_at: Instant,
    /// When it was found to be at its path no more, after it had been.
    rotated_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TailState {
    /// There may be more to read.
    Reading,
    /// Everything there was has been read; `partial` when the last line has no end yet.
    CaughtUp { partial: bool },
    /// Everything has been read and nothing more will be.
    Ended,
}

#[derive(Debug, Clone, Copy, Default)]
struct ChunkState {
    /// True from when it was read until its lines are used up.
    in_use: bool,
    end_of_file: bool,
    had_line: bool,
    /// True when its file was closed while it was in use: what follows it is to be read elsewhere.
    was_closed: bool,
    /// [`Tail::compressed_size`] when it was read.
    compressed_size: Option<u32>,
}

/// What follows a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more. `stay` when the unfinished line is held in memory, which only one content at a time should do.
    More { stay: bool },
    /// There is no more for now.
    Wait,
    /// That was all; the last line may come without an end.
    End(Option<Line>),
}

impl Tail {
    /// A tail that starts at the last confirmed byte.
    pub(super) fn new(partition: u32, file: &TrackedFile, max_line: usize, format: Format) -> Self {
        Self {
            partition,
            place: None,
            content: None,
            older: Vec::new(),
            live: false,
            superseded: false,
            displaced: None,
            was_open: false,
            set_aside: false,
            waits_to_open: false,
            must_stay_open: false,
            last_read: None,
            queued: false,
            is_final: false,
            once_end: file.once_end,
            failing_since: None,
            compressed_size: None,
            broken_off: None,
            last_position: file.offset,
            size: 0,
            time: Timestamp::UNIX_EPOCH,
            state: TailState::Reading,
            splitter: LineSplitter::new(max_line, file.offset, format),
            head: Vec::new(),
            chunk: ChunkState::default(),
            modified: SystemTime::now(),
            grown_at: Instant::now(),
            rotated_at: None,
        }
    }

    /// The offset of the next byte to read.
    pub(super) fn position(&self) -> u64 {
        self.splitter.position()
    }

    /// The offset of the first byte of which no record was made.
    pub(super) fn unread_from(&self) -> u64 {
        self.splitter.line_start().max(self.last_position)
    }

    /// What the content is known to begin with.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Sets what the content begins with, when that is not known from reading it.
    pub(super) fn set_head(&mut self, head: &[u8]) {
        if self.head.is_empty() {
            self.head = head.to_vec();
        }
    }

    /// Takes a chunk read at [`position`](Self::position). Returns true when more of the content's head became known.
    pub(super) fn feed(&mut self, bytes: Vec<u8>, end_of_file: bool, size: u64, modified: SystemTime) -> bool {
        if size != self.size {
            self.grown_at = Instant::now();
        }
        self.size = size;
        self.modified = modified;
        if end_of_file {
            self.failing_since = None;
        }
        self.time = Timestamp::now();
        let compressed_size = self.compressed_size;
        self.chunk = ChunkState { in_use: true, end_of_file, compressed_size, ..ChunkState::default() };
        let head_grew = self.extend_head(&bytes);
        self.splitter.feed(bytes);
        head_grew
    }

    /// The next line of the chunk.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        if self.once_end.is_some_and(|end| self.splitter.line_start() >= end) {
            return None;
        }
        let line = self.splitter.next_line()?;
        self.chunk.had_line = true;
        self.failing_since = None;
        self.last_position = line.end;
        Some(line)
    }

    /// Makes no lines of the chunk, and gives its buffer back. Returns true when there was nothing behind it.
    pub(super) fn discard_chunk(&mut self) -> (bool, Vec<u8>) {
        self.chunk.in_use = false;
        self.splitter.discard();
        self.last_position = self.last_position.max(self.splitter.line_start());
        if self.chunk.end_of_file {
            self.state = TailState::CaughtUp { partial: false };
        }
        (self.chunk.end_of_file, self.splitter.take_buffer())
    }

    /// True while there may be lines to hand out of the chunk that was read last.
    pub(super) fn is_in_use(&self) -> bool {
        self.chunk.in_use
    }

    /// True when what is at the end now is the end.
    pub(super) fn ends_here(&self) -> bool {
        self.reads_compressed() || self.is_final || self.once_end.is_some()
    }

    /// Says what follows the chunk whose lines are used up, and gives its buffer back.
    pub(super) fn finish_chunk(&mut self) -> (Next, Vec<u8>) {
        self.chunk.in_use = false;
        let past_once_end = self.once_end.is_some_and(|end| self.splitter.line_start() >= end);
        let buffer = self.splitter.take_buffer();
        let compressed = self.reads_compressed();
        if past_once_end {
            self.end();
            return (Next::End(None), buffer);
        }
        // Its end of the file says nothing of the file that is read next.
        if self.chunk.was_closed {
            self.splitter.rewind();
            return (Next::More { stay: false }, buffer);
        }
        if !self.chunk.end_of_file {
            let stay = !self.chunk.had_line;
            // A plain file can be read again from the line's start, so that nothing of it is held while others are
            // read. That would never end for a line longer than a chunk.
            if !stay && !compressed {
                self.splitter.rewind();
            }
            return (Next::More { stay }, buffer);
        }
        if self.ends_here() {
            let last = self.splitter.finish();
            self.last_position = last.as_ref().map_or(self.last_position, |line| line.end);
            self.end();
            return (Next::End(last), buffer);
        }
        self.state = TailState::CaughtUp { partial: self.splitter.has_partial_line() };
        // The beginning of an over-long line is kept: it may have gigabytes behind it.
        if !self.splitter.is_skipping() {
            self.splitter.rewind();
        }
        (Next::Wait, buffer)
    }

    /// Notes whether it is in the file at its path.
    pub(super) fn set_live(&mut self, live: bool) {
        if self.live && !live {
            self.rotated_at = Some(Instant::now());
        }
        self.live = live;
    }

    /// True when it was read to the end of a copy, and more was seen in the file that was copied.
    pub(super) fn ends_in_a_shorter_copy(&self, file: &TrackedFile) -> bool {
        let is_copy = !self.live && file.identity != file.origin && self.once_end.is_none();
        is_copy && file.size > self.unread_from().max(self.position())
    }

    /// Nothing more will be read.
    pub(super) fn end(&mut self) {
        self.state = TailState::Ended;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == TailState::Ended
    }

    /// True once anything of it was read in this connection.
    pub(super) fn has_begun(&self) -> bool {
        self.time != Timestamp::UNIX_EPOCH
    }

    /// True when newer contents of the same path may be read.
    pub(super) fn lets_newer_pass(&self) -> bool {
        matches!(self.state, TailState::CaughtUp { partial: false } | TailState::Ended)
    }

    /// Its path has a newer content: whether there is more in the old one must be looked at once more, because all of
    /// it was written before.
    pub(super) fn supersede(&mut self) {
        if !self.superseded {
            self.superseded = true;
            self.look_again();
        }
    }

    /// There may be more than was read: newer contents wait until it has been looked for.
    pub(super) fn look_again(&mut self) {
        if matches!(self.state, TailState::CaughtUp { .. }) {
            self.state = TailState::Reading;
        }
    }

    /// The content is not in the file that is open any more.
    pub(super) fn displace(&mut self) {
        self.displaced = self.file();
        self.close();
    }

    /// The file that is open, or will be when it is opened again.
    pub(super) fn file(&self) -> Option<Identity> {
        let aside = self.place.as_ref().filter(|_| self.set_aside).map(|place| place.identity);
        self.content.as_ref().map(Content::identity).or(aside)
    }

    /// Closes the content until a look at the paths finds it again. It is read on from the last line's start. The lines of
    /// a chunk that is in use come first: one of them may have begun in an earlier chunk.
    pub(super) fn close(&mut self) {
        self.content = None;
        self.place = None;
        self.set_aside = false;
        if self.chunk.in_use {
            self.chunk.was_closed = true;
        } else {
            self.splitter.rewind();
        }
        self.look_again();
    }

    /// Notes that the file was closed although it is where it was, and may grow.
    pub(super) fn set_aside(&mut self) {
        self.set_aside = true;
        // What is written to it now may be gone before anybody sees it.
        self.was_open = false;
    }

    /// Takes the content that was opened.
    pub(super) fn opened(&mut self, content: Content) {
        self.content = Some(content);
        self.set_aside = false;
        self.must_stay_open = false;
        self.last_read = None;
    }

    /// True when everything there was has been read.
    pub(super) fn is_caught_up(&self) -> bool {
        matches!(self.state, TailState::CaughtUp { .. })
    }

    /// True when everything was read and nothing was written for `settle`, going by the file's time or, where clocks
    /// differ, by what was seen.
    pub(super) fn is_quiet(&self, settle: Duration) -> bool {
        let by_its_time = self.modified.elapsed().is_ok_and(|age| age >= settle);
        matches!(self.state, TailState::CaughtUp { .. }) && (by_its_time || self.grown_at.elapsed() >= settle)
    }

    /// True when nothing more is expected in a file that was rotated away. What has a last line without its end holds up
    /// what is newer, so that it is not waited for longer than `settle`. What was rotated long ago, before this
    /// connection, is known by the time of its last change.
    pub(super) fn is_done_with(&self, settle: Duration, rotated_wait: Duration) -> bool {
        if matches!(self.state, TailState::CaughtUp { partial: true }) {
            return self.is_quiet(settle.min(rotated_wait));
        }
        self.is_quiet(rotated_wait) && self.rotated_at.is_none_or(|at| at.elapsed() >= rotated_wait)
    }

    fn extend_head(&mut self, bytes: &[u8]) -> bool {
        let known = self.head.len();
        let Some(new) = (known as u64).checked_sub(self.position()).and_then(|skip| usize::try_from(skip).ok()) else {
            return false;
        };
        if known < HEAD_LENGTH && new < bytes.len() {
            self.head.extend(bytes[new..].iter().take(HEAD_LENGTH - known));
        }
        self.head.len() > known
    }
}
