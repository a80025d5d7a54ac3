//! A session: everything between one `connect` and the next. It runs one blocking job at a time (a look at the paths,
//! opening files, reading a chunk, saving the checkpoint) and hands out what comes of it.
//!
//! Fairness: contents with something to read wait in a queue and are read a chunk at a time. Memory: one chunk in all,
//! plus the beginning of an over-long line for each file that ends within one. Descriptors: one per file that may still
//! grow, so that a file that is renamed or deleted can be read to its end; their number is not bounded here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::content::{Chunk, Content, Place};
use super::discovery::{Scan, Scanner};
use super::identity::Fingerprint;
use super::identity::first_line;
use super::records::{line_record, lost_record};
use super::registry::{Checkpoint, Key, Registry};
use super::tail::{Next, Tail};
use super::watch::Watch;
use super::{FileStart, checkpoint_error};
use crate::source::{Input, Progress, SourceContext, SourceError};
use crate::store::checkpoints::{CheckpointError, CheckpointFile};

/// How often things are done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// Time between looks at the paths when no change is reported: some file systems report none.
    pub(super) rescan: Duration,
    /// How long a rotated file must not have been written to before its last line is taken as it is, and how long a
    /// content is looked for before it is taken for lost.
    pub(super) settle: Duration,
    /// How long a finished content that has vanished is still remembered.
    pub(super) forget: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { rescan: Duration::from_secs(1), settle: Duration::from_secs(5), forget: Duration::from_secs(60) }
    }
}

/// Reported changes lead to a look at the paths this soon, so that a burst of them leads to one.
const CHANGE_DELAY: Duration = Duration::from_millis(50);

/// Looking at the paths takes no more than one part in so many of the time, however many files there are.
const SCAN_SHARE: u32 = 20;

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
    /// True while there is something in the registry that must be on disk before the next record is handed out.
    pub(super) unsaved: bool,
    pub(super) next_partition: u32,
    /// Contents that are found but not open.
    pub(super) to_open: Vec<Key>,
    checkpoint: Arc<CheckpointFile<Checkpoint>>,
    /// `None` while it is lent to a job.
    scanner: Option<Scanner>,
    queue: VecDeque<Key>,
    /// The content whose chunk is being split into lines.
    current: Option<Key>,
    ready: VecDeque<Input>,
    job: Option<JoinHandle<Done>>,
    saving: bool,
    next_scan: Instant,
    /// The buffer for the next chunk.
    buffer: Vec<u8>,
}

/// What a job brings back.
enum Done {
    Scanned(Scanner, Scan, Duration),
    Opened(Vec<(Key, io::Result<Content>)>),
    Read(Key, Content, io::Result<Chunk>),
    Saved(Result<(), CheckpointError>),
}

impl Session {
    pub(super) fn new(
        context: SourceContext,
        start: FileStart,
        timing: Timing,
        checkpoint: Arc<CheckpointFile<Checkpoint>>,
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
            unsaved: false,
            next_partition: 0,
            to_open: Vec::new(),
            checkpoint,
            scanner: Some(scanner),
            queue: VecDeque::new(),
            current: None,
            ready: VecDeque::new(),
            job: None,
            saving: false,
            next_scan: Instant::now(),
            buffer: Vec::new(),
        }
    }

    /// Looks at the paths for the first time and saves what is new.
    pub(super) async fn connect(&mut self) -> Result<(), SourceError> {
        self.start_scan();
        self.finish_job().await?;
        self.save().await
    }

    /// Ends the session; what is known lives on in the next one.
    pub(super) async fn end(mut self) -> Registry {
        // A save that is still running could replace a later one of the next session.
        self.finish_job().await.ok();
        self.registry
    }

    pub(super) async fn read(&mut self) -> Result<Input, SourceError> {
        loop {
            if let Some(input) = self.next_input() {
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

    pub(super) async fn commit(&mut self, progress: Progress) -> Result<(), SourceError> {
        let keys: HashMap<u32, Key> = self.tails.iter().map(|(key, tail)| (tail.partition, *key)).collect();
        for (partition, position) in progress.watermarks {
            let Some(key) = keys.get(&partition) else { continue };
            let (Some(tail), Some(file)) = (self.tails.get(key), self.registry.get_mut(*key)) else { continue };
            // Empty lines behind the last record are passed with it.
            file.offset = if position == tail.last_position { tail.unread_from() } else { position };
            let confirmed = tail.has_ended() && file.offset >= tail.last_position;
            file.finished |= confirmed && Self::is_over(tail);
        }
        self.save().await
    }

    /// Forgets contents that have ended and are confirmed.
    pub(super) async fn release(&mut self, partitions: &[u32]) -> Result<(), SourceError> {
        let released = self.tails.iter().filter(|(_, tail)| partitions.contains(&tail.partition));
        for key in released.map(|(key, _)| *key).collect::<Vec<Key>>() {
            let Some(tail) = self.tails.remove(&key) else { continue };
            if tail.was_lost() {
                self.registry.remove(key);
            } else if let Some(file) = self.registry.get_mut(key) {
                file.offset = tail.unread_from();
                file.finished = true;
            }
        }
        self.save().await
    }

    /// Saves the registry as it is now.
    pub(super) async fn save(&mut self) -> Result<(), SourceError> {
        self.finish_job().await?;
        self.start_save();
        self.finish_job().await
    }

    /// True for a content that ends because its file does, not because this run does.
    fn is_over(tail: &Tail) -> bool {
        !tail.live || tail.content.as_ref().is_some_and(Content::is_compressed)
    }

    fn next_input(&mut self) -> Option<Input> {
        loop {
            // An id must be on disk before it is used: after a crash the same bytes get the same id again.
            if self.unsaved || self.saving {
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
            if let Some(line) = tail.next_line() {
                let record = line_record(&self.context, file, tail.partition, tail.time, line);
                return Some(Input::Record(Box::new(record)));
            }
            self.finish_chunk(key);
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
            Next::Wait => self.wake_newer(key),
            Next::End(last) => self.end_tail(key, last, None),
        }
    }

    /// Hands out a tail's last record, if any, and closes its partition.
    fn end_tail(&mut self, key: Key, last: Option<crate::source::lines::Line>, lost: Option<(Option<u64>, String)>) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        if last.is_some() || lost.is_some() {
            // What is there is the first line, finished or not.
            self.unsaved |= self.registry.name(key, tail.head());
        }
        let Some(file) = self.registry.get(key) else { return };
        if let Some(line) = last {
            let record = line_record(&self.context, file, tail.partition, tail.time, line);
            self.ready.push_back(Input::Record(Box::new(record)));
        }
        if let Some((end, reason)) = lost {
            let start = tail.unread_from();
            tail.last_position = end.unwrap_or(start);
            let record = lost_record(&self.context, file, tail.partition, start, end, reason);
            self.ready.push_back(Input::Record(Box::new(record)));
        }
        if Self::is_over(tail) {
            self.ready.push_back(Input::Closing { partitions: vec![tail.partition], within: None });
        }
        self.wake_newer(key);
    }

    /// What is left of a content cannot be read any more, and that is said where it is seen: in the log, and as a dead
    /// letter. `unseen` is true when it may have grown since anybody looked.
    pub(super) fn lose(&mut self, key: Key, why: &str, unseen: bool) {
        let (Some(tail), Some(file)) = (self.tails.get_mut(&key), self.registry.get(key)) else { return };
        let (start, end) = (tail.unread_from(), file.size);
        let path = Arc::clone(&file.path);
        tail.live = false;
        tail.end(true);
        let lost = if end > start {
            let reason = format!("bytes {start} to {end} of {path} were not read: {why}");
            Some((Some(end), reason))
        } else if unseen {
            let reason = format!("what was written to {path} after byte {start}, if anything, was not read: {why}");
            Some((None, reason))
        } else {
            None
        };
        match &lost {
            Some((end, _)) => tracing::error!(
                source = %self.context.name, %path, start, end, why,
                "lost a part of a file; it is kept as a dead letter without a payload"
            ),
            None => tracing::warn!(
                source = %self.context.name, %path, offset = start, why,
                "a file is gone; everything that was seen of it was read"
            ),
        }
        self.end_tail(key, None, lost);
    }

    /// With `once`, true when everything up to the end seen at the start was handed out.
    fn is_at_end(&self) -> bool {
        let all_out = self.current.is_none() && self.ready.is_empty() && !self.unsaved && !self.saving;
        self.context.once && all_out && self.tails.values().all(Tail::has_ended)
    }

    /// Does one step of work, or waits until there is some. Cancel safe: a job that is not waited for to its end is
    /// waited for in the next call.
    async fn work(&mut self, reading: bool) -> Result<(), SourceError> {
        if self.job.is_none() {
            self.note_changes();
            self.start_job(reading);
        }
        if self.job.is_some() {
            return self.finish_job().await;
        }
        tokio::select! {
            () = self.watch.changed() => {}
            () = sleep_until(self.next_scan) => {}
        }
        Ok(())
    }

    /// Waits for the running job, if there is one. Cancel safe.
    async fn finish_job(&mut self) -> Result<(), SourceError> {
        let Some(job) = &mut self.job else { return Ok(()) };
        let done = job.await;
        self.job = None;
        match done.map_err(SourceError::transient)? {
            Done::Scanned(scanner, scan, took) => {
                self.scanner = Some(scanner);
                self.next_scan = Instant::now() + self.timing.rescan.max(took * SCAN_SHARE);
                self.apply_scan(&scan);
            }
            Done::Opened(opened) => opened.into_iter().for_each(|(key, content)| self.opened(key, content)),
            Done::Read(key, content, chunk) => self.chunk_read(key, content, chunk),
            Done::Saved(result) => {
                self.saving = false;
                self.unsaved |= result.is_err();
                result.map_err(checkpoint_error)?;
            }
        }
        Ok(())
    }

    fn start_job(&mut self, reading: bool) {
        if self.unsaved {
            return self.start_save();
        }
        if Instant::now() >= self.next_scan {
            return self.start_scan();
        }
        if !self.to_open.is_empty() {
            return self.start_opening();
        }
        if reading && self.current.is_none() {
            self.start_reading();
        }
    }

    fn start_scan(&mut self) {
        let Some(mut scanner) = self.scanner.take() else { return };
        let known = self.registry.known_paths();
        let line_ends = self.registry.is_first_run() && self.start == FileStart::End;
        self.job = Some(spawn_blocking(move || {
            let started = Instant::now();
            let scan = scanner.scan(&known, line_ends);
            Done::Scanned(scanner, scan, started.elapsed())
        }));
    }

    fn start_save(&mut self) {
        let (checkpoint, state) = (Arc::clone(&self.checkpoint), self.registry.checkpoint());
        self.unsaved = false;
        self.saving = true;
        self.job = Some(spawn_blocking(move || Done::Saved(checkpoint.save(&state))));
    }

    fn start_opening(&mut self) {
        let tails = &self.tails;
        let place = |key: Key| tails.get(&key).and_then(|tail| tail.place.clone());
        let places: Vec<(Key, Place)> =
            self.to_open.drain(..).filter_map(|key| place(key).map(|place| (key, place))).collect();
        self.job = Some(spawn_blocking(move || {
            Done::Opened(places.into_iter().map(|(key, place)| (key, Content::open(&place))).collect())
        }));
    }

    fn opened(&mut self, key: Key, content: io::Result<Content>) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        match content {
            Ok(content) => {
                tail.content = Some(content);
                tail.was_open = true;
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

    fn start_reading(&mut self) {
        while let Some(key) = self.queue.pop_front() {
            let newer_may_pass = |key: &Key| self.tails.get(key).is_none_or(Tail::lets_newer_pass);
            let allowed = self.tails.get(&key).is_some_and(|tail| tail.older.iter().all(newer_may_pass));
            let Some(tail) = self.tails.get_mut(&key) else { continue };
            tail.queued = false;
            // Whatever keeps it from being read now puts it into the queue again when it is over.
            if !allowed || tail.has_ended() {
                continue;
            }
            let Some(mut content) = tail.content.take() else { continue };
            let (position, head, buffer) = (tail.position(), tail.head().to_vec(), std::mem::take(&mut self.buffer));
            self.job = Some(spawn_blocking(move || {
                let chunk = content.read_chunk(position, &head, buffer);
                Done::Read(key, content, chunk)
            }));
            return;
        }
    }

    fn chunk_read(&mut self, key: Key, content: Content, chunk: io::Result<Chunk>) {
        let (Some(tail), Some(file)) = (self.tails.get_mut(&key), self.registry.get_mut(key)) else { return };
        tail.content = Some(content);
        match chunk {
            Ok(Chunk::Bytes { bytes, end_of_file, size, modified }) => {
                file.size = file.size.max(size);
                if tail.feed(bytes, end_of_file, size, modified) {
                    file.fingerprint = Fingerprint::of(tail.head());
                }
                if let Some(line) = first_line(tail.head()) {
                    self.unsaved |= self.registry.name(key, line);
                }
                self.current = Some(key);
            }
            Ok(Chunk::Displaced) => {
                tracing::info!(path = %file.path, offset = tail.unread_from(), "truncated; looking for what was in it");
                tail.displace();
                self.next_scan = Instant::now();
            }
            Err(error) => self.read_failed(key, &error),
        }
    }

    /// Tries again at the next look. Only a compressed file that stays unreadable is given up: it is damaged.
    fn read_failed(&mut self, key: Key, error: &io::Error) {
        let (Some(tail), Some(file)) = (self.tails.get_mut(&key), self.registry.get(key)) else { return };
        let compressed = tail.place.as_ref().is_some_and(|place| place.compressed);
        let since = tail.failing_since;
        if since.is_none() {
            tracing::warn!(path = %file.path, %error, "cannot be read; trying again at every look");
        }
        let since = *tail.failing_since.get_or_insert_with(Instant::now);
        tail.close();
        if since.elapsed() < self.timing.settle {
            return;
        }
        if compressed {
            self.lose(key, &format!("it is compressed and damaged ({error})"), true);
        } else if self.context.once {
            tracing::error!(path = %file.path, %error, "given up for this run; the next one reads on");
            tail.end(false);
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
