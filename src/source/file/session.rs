//! A session: everything between one `connect` and the next. It hands out what the `jobs` bring, and keeps track of what
//! is confirmed.
//!
//! Fairness: contents with something to read wait in a queue and are read a chunk at a time. Memory: one chunk in all,
//! plus the beginning of an over-long line for each file that ends within one. Descriptors: one per file that may still
//! grow, so that a file that is renamed or deleted can be read to its end; where those are too many, `open_files` decides.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::FileStart;
use super::checkpoint::Saver;
use super::content::FileLocation;
use super::discovery::Scanner;
use super::glance::Glance;
use super::identity::Identity;
use super::jobs::Done;
use super::records::{line_record, lost_record};
use super::registry::{Key, Registry};
use super::tail::{Next, Tail};
use super::watch::Watch;
use crate::descriptors::{Budget, Purpose, Share};
use crate::off_worker::Answer;
use crate::source::lines::Line;
use crate::source::{Input, Progress, Room, SourceContext, SourceError};

/// How often things are done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// Time between looks at the paths when no change is reported, as some file systems report none. When nothing is
    /// expected, it is the time between glances.
    pub(super) rescan: Duration,
    /// Time between glances where every change is reported.
    pub(super) glance_where_reported: Duration,
    /// Time between looks when all glances in between show no change.
    pub(super) idle_rescan: Duration,
    /// How long a rotated file must not have been written to before its last line is taken as it is, and how long a
    /// content is looked for before it is taken for lost.
    pub(super) settle: Duration,
    /// How long a compressed file that ends too early must not have grown before its rest is taken for lost.
    pub(super) complete: Duration,
    /// How long a rotated file that is read to its end is kept open in case that more is written to it.
    pub(super) rotated_wait: Duration,
    /// How long a finished content that has vanished is still remembered.
    pub(super) forget: Duration,
}

impl Timing {
    pub(super) fn new(rotated_wait: Duration) -> Self {
        Self {
            rescan: Duration::from_secs(1),
            glance_where_reported: Duration::from_secs(5),
            idle_rescan: Duration::from_secs(30),
            settle: Duration::from_secs(5),
            rotated_wait,
            complete: Duration::from_secs(60),
            forget: Duration::from_secs(60),
        }
    }
}

/// Why what was written between copytruncate's copy and its truncation cannot be read any more.
pub(super) const SHORTER_COPY: &str = "its file was truncated, and the rotated copy ends before that";

/// One connection's state.
pub(super) struct Session {
    pub(super) context: SourceContext,
    pub(super) start: FileStart,
    pub(super) timing: Timing,
    pub(super) registry: Registry,
    pub(super) tails: BTreeMap<Key, Tail>,
    /// Which content is in which file, as far as known, for reported changes.
    pub(super) places: HashMap<PathBuf, Key>,
    pub(super) watch: Watch,
    pub(super) saver: Saver,
    pub(super) next_partition: u32,
    /// Contents that are found but not open.
    pub(super) to_open: VecDeque<Key>,
    /// Contents whose file is open and has been replaced by another one at its path.
    pub(super) to_compare: Vec<(Key, FileLocation)>,
    /// Files that have replaced others: where the lines begin that those did not have.
    pub(super) replacements: HashMap<Identity, u64>,
    /// How many files may be open.
    pub(super) open_files: Share,
    /// True once it was said that not all files can be open.
    pub(super) told_of_limit: bool,
    /// Chunks read so far.
    pub(super) reads: u64,
    /// `None` while it is lent to a job.
    pub(super) scanner: Option<Scanner>,
    pub(super) queue: VecDeque<Key>,
    /// The content whose chunk is being split into lines.
    pub(super) current: Option<Key>,
    pub(super) ready: VecDeque<Input>,
    pub(super) job: Option<Answer<Done>>,
    pub(super) next_scan: Instant,
    /// What the last look has seen, when a glance can show that it is still so.
    pub(super) glance: Option<Glance>,
    pub(super) next_glance: Instant,
    /// The buffer for the next chunk.
    pub(super) buffer: Vec<u8>,
}

impl Session {
    pub(super) fn new(
        context: SourceContext,
        start: FileStart,
        timing: Timing,
        saver: Saver,
        scanner: Scanner,
        registry: Registry,
    ) -> Self {
        Self {
            context,
            start,
            timing,
            registry,
            tails: BTreeMap::new(),
            places: HashMap::new(),
            watch: Watch::new(),
            saver,
            next_partition: 0,
            to_open: VecDeque::new(),
            to_compare: Vec::new(),
            replacements: HashMap::new(),
            open_files: Budget::of_process().share(Purpose::Files),
            told_of_limit: false,
            reads: 0,
            scanner: Some(scanner),
            queue: VecDeque::new(),
            current: None,
            ready: VecDeque::new(),
            job: None,
            next_scan: Instant::now(),
            glance: None,
            next_glance: Instant::now(),
            buffer: Vec::new(),
        }
    }

    /// Looks at the paths for the first time and saves what is new.
    pub(super) async fn connect(&mut self) -> Result<(), SourceError> {
        self.scan().await?;
        self.save().await
    }

    /// Ends the session; what is known lives on in the next one. A save that is under way comes before those of the
    /// next session.
    pub(super) fn end(self) -> Registry {
        self.registry
    }

    pub(super) async fn read(&mut self, room: Room) -> Result<Input, SourceError> {
        loop {
            if let Some(input) = self.next_input(room) {
                return Ok(input);
            }
            if self.is_at_end() {
                return Ok(Input::End);
            }
            self.work(true).await?;
        }
    }

    /// Follows rotation without reading, so that files stay open that would vanish otherwise.
    pub(super) async fn read_paused(&mut self) -> Result<Input, SourceError> {
        loop {
            self.work(false).await?;
        }
    }

    /// Takes note of what is confirmed. It is saved while reading goes on.
    pub(super) fn commit(&mut self, progress: Progress) {
        let keys: HashMap<u32, Key> = self.tails.iter().map(|(key, tail)| (tail.partition, *key)).collect();
        for (partition, position) in progress.watermarks {
            let Some(key) = keys.get(&partition) else { continue };
            let (Some(tail), Some(file)) = (self.tails.get(key), self.registry.get_mut(*key)) else { continue };
            // Empty lines behind the last record are passed with it.
            file.offset = if position == tail.last_position { tail.unread_from() } else { position };
            let confirmed = tail.has_ended() && file.offset >= tail.last_position;
            file.finished |= confirmed && Self::is_over(tail);
        }
        self.save_positions();
    }

    /// Forgets contents that have ended and are confirmed.
    pub(super) fn release(&mut self, partitions: &[u32]) {
        let released = self.tails.iter().filter(|(_, tail)| partitions.contains(&tail.partition));
        for key in released.map(|(key, _)| *key).collect::<Vec<Key>>() {
            let (Some(tail), Some(file)) = (self.tails.remove(&key), self.registry.get_mut(key)) else { continue };
            // Lost contents too: a damaged file is still there, and must not be taken for a new one.
            file.offset = tail.unread_from();
            file.finished = true;
        }
        self.save_positions();
    }

    /// Saves the registry as it is now, and waits until that is durable. Cancel safe.
    pub(super) async fn save(&mut self) -> Result<(), SourceError> {
        self.saver.finish(&self.registry).await
    }

    pub(super) fn save_positions(&mut self) {
        self.saver.note_positions();
        self.saver.start(&self.registry);
    }

    /// True for a content that ends because its file does, not because this run does.
    fn is_over(tail: &Tail) -> bool {
        (!tail.live || tail.is_compressed()) && tail.broken_off.is_none()
    }

    /// What can be handed out without any work.
    pub(super) fn next_input(&mut self, room: Room) -> Option<Input> {
        loop {
            if self.saver.holds_up_reading() {
                return None;
            }
            if let Some(input) = self.ready.pop_front() {
                return Some(input);
            }
            let key = self.current?;
            let (Some(tail), Some(file)) = (self.tails.get_mut(&key), self.registry.get(key)) else {
                self.current = None;
                continue;
            };
            let mut is_used_up = false;
            let lines = room.fill(|| {
                let line = tail.next_line();
                is_used_up = line.is_none();
                line.map(|line| line_record(&self.context, file, tail.partition, tail.time, line))
            });
            if is_used_up {
                self.finish_chunk(key);
            }
            if !lines.is_empty() {
                return Some(Input::Records(lines));
            }
        }
    }

    fn finish_chunk(&mut self, key: Key) {
        self.current = None;
        let Some(tail) = self.tails.get_mut(&key) else { return };
        let (next, buffer) = tail.finish_chunk();
        self.buffer = buffer;
        match next {
            Next::More { stay: true } => {
                tail.queued = true;
                self.queue.push_front(key);
            }
            Next::More { stay: false } => self.enqueue(key),
            Next::Wait if tail.goes_on_compressed() => self.open_later(key),
            Next::Wait => self.wake_newer(key),
            Next::End(last) => self.end_tail(key, last),
        }
    }

    /// Hands out a content's last line, which may have no end, and closes its partition.
    fn end_tail(&mut self, key: Key, last: Option<Line>) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        if last.is_some() {
            // When it is the first line too, it is all there is to name the content by.
            self.saver.note_ids(self.registry.name(key, tail.head()));
        }
        if let (Some(line), Some(file)) = (last, self.registry.get(key)) {
            let record = line_record(&self.context, file, tail.partition, tail.time, line);
            self.ready.push_back(Input::Records(vec![record]));
        }
        if tail.goes_on_compressed() {
            return self.open_later(key);
        }
        if self.registry.get(key).is_some_and(|file| tail.ends_in_a_shorter_copy(file)) {
            return self.lose(key, SHORTER_COPY, false);
        }
        self.close_partition(key);
    }

    /// What is left of a content cannot be read any more, and that is said where it is seen: in the log, and as a dead
    /// letter. `unseen` is true when it may have grown since anybody looked.
    pub(super) fn lose(&mut self, key: Key, why: &str, unseen: bool) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        tail.live = false;
        tail.broken_off = None;
        tail.end();
        self.saver.note_ids(self.registry.name(key, tail.head()));
        let Some(file) = self.registry.get(key) else { return };
        let (source, path) = (&self.context.name, &file.path);
        let start = tail.unread_from();
        let end = (file.size > start).then_some(file.size);
        if end.is_some() || unseen {
            let reason = match end {
                Some(end) => format!("bytes {start} to {end} of {path} were not read: {why}"),
                None => format!("what was written to {path} after byte {start}, if anything, was not read: {why}"),
            };
            tracing::error!(%source, %path, start, end, "lost a part of a file, which becomes a dead letter: {reason}");
            tail.last_position = end.unwrap_or(start);
            let record = lost_record(&self.context, file, tail.partition, start, end, reason);
            self.ready.push_back(Input::Records(vec![record]));
        } else {
            tracing::warn!(%source, %path, offset = start, "a file is gone, and all that was seen of it was read: {why}");
        }
        self.close_partition(key);
    }

    /// Makes no events of a chunk of text in UTF-16, of which there can be no lines. The first time that is said, in the
    /// log and as a dead letter.
    pub(super) fn pass_over(&mut self, key: Key) {
        let (Some(tail), Some(size)) = (self.tails.get_mut(&key), self.registry.get(key).map(|file| file.size)) else {
            return;
        };
        let is_new = tail.unread_from() == 0;
        let (at_end, buffer) = tail.discard_chunk();
        self.buffer = buffer;
        if is_new {
            tail.last_position = size.max(tail.position());
            self.saver.note_ids(self.registry.name(key, tail.head()));
            let Some(file) = self.registry.get(key) else { return };
            let (source, path, end) = (&self.context.name, &file.path, tail.last_position);
            let reason = format!(
                "{path} begins as a text in UTF-16, and only UTF-8 can be read: none of it is, nor what is added to it; \
                 write it in UTF-8, or convert it: `iconv -f UTF-16 -t UTF-8`"
            );
            tracing::error!(%source, %path, "a file cannot be read, which becomes a dead letter: {reason}");
            let record = lost_record(&self.context, file, tail.partition, 0, Some(end), reason);
            self.ready.push_back(Input::Records(vec![record]));
        }
        self.go_on_behind_discarded(key, at_end);
    }

    /// Makes no events of a chunk of what is compressed in a way that is not read. A look at the paths passes that over,
    /// but this was empty then. All of it may have been read before it was compressed: it is not said to be lost.
    pub(super) fn pass_over_compressed(&mut self, key: Key, reason: &str) {
        let (Some(tail), Some(file)) = (self.tails.get_mut(&key), self.registry.get(key)) else { return };
        if tail.unread_from() == 0 {
            tracing::warn!(source = %self.context.name, path = %file.path, reason, "passed over");
        }
        let (at_end, buffer) = tail.discard_chunk();
        self.buffer = buffer;
        self.go_on_behind_discarded(key, at_end);
    }

    fn go_on_behind_discarded(&mut self, key: Key, at_end: bool) {
        if !at_end {
            return self.enqueue(key);
        }
        let Some(tail) = self.tails.get_mut(&key) else { return };
        if tail.ends_here() {
            tail.end();
            return self.close_partition(key);
        }
        self.wake_newer(key);
    }

    pub(super) fn close_partition(&mut self, key: Key) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        // Nothing more is read of it.
        tail.content = None;
        if Self::is_over(tail) {
            self.ready.push_back(Input::Closing { partitions: vec![tail.partition], within: None });
        }
        self.wake_newer(key);
    }

    /// With `once`, true when everything up to the end seen at the start was handed out.
    fn is_at_end(&self) -> bool {
        let all_out = self.current.is_none() && self.ready.is_empty();
        self.context.once && all_out && self.tails.values().all(Tail::has_ended)
    }

    pub(super) fn enqueue(&mut self, key: Key) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        if !tail.queued && !tail.has_ended() {
            tail.queued = true;
            self.queue.push_back(key);
        }
    }

    /// Newer contents of the same path may be read once this one has been.
    fn wake_newer(&mut self, key: Key) {
        if !self.tails.get(&key).is_some_and(Tail::lets_newer_pass) {
            return;
        }
        let waiting = self.tails.range(key..).filter(|(_, tail)| tail.older.contains(&key));
        for (key, begun) in waiting.map(|(key, tail)| (*key, tail.has_begun())).collect::<Vec<_>>() {
            if !begun {
                // While it waited there may have been another rotation, and what is in its file now be newer still.
                self.next_scan = Instant::now();
            }
            self.enqueue(key);
        }
    }
}
