//! Dead letters: the events given up on, kept durably, one JSON object a line.
//!
//! A letter is on the disk (`fdatasync`) before its ack settles. A disk that refuses is tried again for as long as the
//! process lives; meanwhile the acks stay open, the watermark stays below them, and the source comes to a halt at its
//! bound. One thread writes for all sinks, so that many letters share one sync and no worker ever waits for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::error;

use crate::ack::Ack;
use crate::event::Event;
use crate::secret::mask;

/// An event given up on, with all that is needed to understand why and to send it again.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// When it was given up.
    pub time: Timestamp,
    /// The pipeline's name.
    pub pipeline: String,
    /// Where in the pipeline it ended, for example `sinks.crm`.
    pub node: String,
    /// Why, in a word that programs can rely on.
    pub reason: Reason,
    /// Why, in a sentence for people.
    pub message: String,
    /// Attempts made.
    pub attempts: u32,
    /// The event.
    pub event: EventRecord,
    /// The request, when it could be rendered. Secrets are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestRecord>,
    /// The last answer, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<AnswerRecord>,
}

/// Why an event was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The payload is larger than `max_event_size`. Of a line, only the beginning was kept.
    TooLarge,
    /// The source can no longer read it.
    Lost,
    /// The payload is not what the source's `format` says.
    Undecodable,
    /// A template failed, or its result cannot be sent.
    Unrenderable,
    /// The receiver answered with a status that means `dead-letter`.
    Rejected,
    /// The last retry failed.
    RetriesExhausted,
    /// The receiver said that it is gone, for this event or for an earlier one.
    SinkDisabled,
}

/// An event as it is kept: the payload's own bytes, not masked, so that it can be delivered again.
#[derive(Debug, Clone, Serialize)]
pub struct EventRecord {
    /// `id`, `time`, `source`, `key`, `headers` and `meta` as in the envelope.
    #[serde(flatten)]
    pub envelope: Map<String, Value>,
    /// The payload, as text when it is UTF-8; `null` when the event had none.
    pub payload: Option<String>,
    /// How to read `payload`: `utf-8` or `base64`.
    pub payload_encoding: &'static str,
}

/// A request as it was sent.
#[derive(Debug, Clone, Serialize)]
pub struct RequestRecord {
    /// The method.
    pub method: String,
    /// The URL, secrets masked.
    pub url: String,
    /// The headers, secrets masked.
    pub headers: Map<String, Value>,
    /// The body, as text when it is UTF-8; secrets masked. Left out when it is the payload itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// The last answer to an event given up on.
#[derive(Debug, Clone, Serialize)]
pub struct AnswerRecord {
    /// The HTTP status, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was no status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The beginning of the body, secrets masked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body_excerpt: String,
}

/// A handle on the writer; all clones are one.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    sender: mpsc::Sender<(Box<DeadLetter>, Ack)>,
}

/// The writing thread. It ends when the last [`DeadLetters`] is gone and all letters are on the disk.
#[derive(Debug)]
pub struct DeadLetterWriter {
    thread: JoinHandle<()>,
}

impl DeadLetters {
    /// Opens the file, or makes it, readable by its owner only: it holds payloads.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn open(path: &Path) -> io::Result<(Self, DeadLetterWriter)> {
        let log = Log::open(path)?;
        let (sender, letters) = mpsc::channel();
        let thread = thread::Builder::new().name("dead-letters".to_owned()).spawn(move || write_all(log, &letters))?;
        Ok((Self { sender }, DeadLetterWriter { thread }))
    }

    /// Keeps a letter, then settles the ack. Does not wait: the number of letters on their way is bounded by the
    /// sources' bounds on events in flight.
    pub fn keep(&self, letter: DeadLetter, ack: Ack) {
        // Without a writer (its thread has panicked) the ack drops here, and the event fails as it must.
        self.sender.send((Box::new(letter), ack)).ok();
    }
}

impl DeadLetterWriter {
    /// Waits until everything is on the disk. Blocks; drop all [`DeadLetters`] first.
    pub fn join(self) -> thread::Result<()> {
        self.thread.join()
    }
}

impl EventRecord {
    /// The record of an event.
    pub fn new(event: &Event) -> Self {
        let envelope = match event.envelope_around(Value::Null) {
            Value::Object(mut envelope) => {
                envelope.remove("data");
                envelope
            }
            _ => Map::new(),
        };
        let Some(payload) = &event.payload else {
            return Self { envelope, payload: None, payload_encoding: "utf-8" };
        };
        match std::str::from_utf8(payload) {
            Ok(text) => Self { envelope, payload: Some(text.to_owned()), payload_encoding: "utf-8" },
            Err(_) => Self { envelope, payload: Some(BASE64.encode(payload)), payload_encoding: "base64" },
        }
    }
}

impl AnswerRecord {
    /// An answer with a status.
    pub fn status(status: u16, excerpt: &str) -> Self {
        Self { status: Some(status), error: None, body_excerpt: mask(excerpt).into_owned() }
    }

    /// No answer.
    pub fn error(error: &dyn std::error::Error) -> Self {
        Self { status: None, error: Some(mask(&error.to_string()).into_owned()), body_excerpt: String::new() }
    }
}

/// Letters that share one sync, at most: bounds the bytes held while they are written.
const LARGEST_BATCH: usize = 256;
/// The wait before a failed write is tried again.
const RETRY_WRITE: Duration = Duration::from_secs(1);

fn write_all(mut log: Log, letters: &mpsc::Receiver<(Box<DeadLetter>, Ack)>) {
    while let Ok(first) = letters.recv() {
        let mut batch = vec![first];
        batch.extend(letters.try_iter().take(LARGEST_BATCH - 1));
        let mut ended = false;
        while let Err(error) = log.append(&batch) {
            error!(path = %log.path.display(), %error, letters = batch.len(),
                "cannot keep dead letters; their events stay uncommitted, trying again");
            if ended {
                // The process ends and the disk still refuses: the acks drop unsettled, and the events will be read
                // again at the next start.
                return;
            }
            thread::sleep(RETRY_WRITE);
            ended = take_waiting(letters, &mut batch);
        }
        for (_, ack) in batch {
            ack.settle();
        }
    }
}

/// Takes the letters that wait. They are as many as the sources' bounds allow, so the batch needs no bound of its own.
/// Returns true when no more will come.
fn take_waiting(letters: &mpsc::Receiver<(Box<DeadLetter>, Ack)>, batch: &mut Vec<(Box<DeadLetter>, Ack)>) -> bool {
    loop {
        match letters.try_recv() {
            Ok(letter) => batch.push(letter),
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => return true,
        }
    }
}

/// The file, and the length up to which it is known to hold whole lines.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut length = file.metadata()?.len();
        if length > 0 && !ends_with_newline(&mut file)? {
            // A crash cut the last line short. It was not synced, so its event is not lost; it must not spoil the next.
            file.write_all(b"\n")?;
            length += 1;
        }
        Ok(Self { path: path.to_owned(), file, length })
    }

    fn append(&mut self, batch: &[(Box<DeadLetter>, Ack)]) -> io::Result<()> {
        let mut lines = Vec::new();
        for (letter, _) in batch {
            serde_json::to_writer(&mut lines, letter)?;
            lines.push(b'\n');
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // What was written of this batch goes, so that the next try does not double or split a line.
            self.file.set_len(self.length)?;
            return written;
        }
        self.length += lines.len() as u64;
        Ok(())
    }
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::Ticket;
    use crate::event::Format;
    use bytes::Bytes;

    fn letter(id: &str, payload: &'static [u8]) -> DeadLetter {
        let event = Event {
            id: id.into(),
            time: Timestamp::UNIX_EPOCH,
            source: "orders".into(),
            key: None,
            headers: Vec::new(),
            meta: Vec::new(),
            payload: Some(Bytes::from_static(payload)),
            format: Format::Json,
            content_type: None,
        };
        DeadLetter {
            time: Timestamp::UNIX_EPOCH,
            pipeline: "shop".into(),
            node: "sinks.crm".into(),
            reason: Reason::Rejected,
            message: "status 400".into(),
            attempts: 1,
            event: EventRecord::new(&event),
            request: None,
            last_answer: Some(AnswerRecord::status(400, "no")),
        }
    }

    fn ack(sender: &crate::ack::SettlementSender) -> Ack {
        Ack::new(Ticket { session: 0, partition: 0, sequence: 0 }, 0, sender.clone())
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_letter_is_on_the_disk_before_its_ack_settles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead-letters.jsonl");
        let (sender, mut settlements) = tokio::sync::mpsc::unbounded_channel();
        let (letters, writer) = DeadLetters::open(&path).unwrap();
        letters.keep(letter("orders/0/1", b"{\"a\":1}"), ack(&sender));
        assert!(settlements.blocking_recv().unwrap().settled);
        let kept = lines(&path);
        assert_eq!(kept[0]["event"]["id"], "orders/0/1");
        assert_eq!(kept[0]["event"]["payload"], "{\"a\":1}");
        assert_eq!(kept[0]["reason"], "rejected");
        drop(letters);
        writer.join().unwrap();
    }

    #[test]
    fn a_line_cut_short_by_a_crash_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead-letters.jsonl");
        std::fs::write(&path, "{\"cut").unwrap();
        let (sender, _settlements) = tokio::sync::mpsc::unbounded_channel();
        let (letters, writer) = DeadLetters::open(&path).unwrap();
        letters.keep(letter("orders/0/2", b"\xff"), ack(&sender));
        drop(letters);
        writer.join().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"]["payload_encoding"], "base64");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_disk_that_refuses_settles_nothing() {
        let (sender, mut settlements) = tokio::sync::mpsc::unbounded_channel();
        let (letters, writer) = DeadLetters::open(Path::new("/dev/full")).unwrap();
        letters.keep(letter("orders/0/3", b"{}"), ack(&sender));
        drop(letters);
        writer.join().unwrap();
        assert!(!settlements.blocking_recv().unwrap().settled);
    }
}
