//! What former versions kept in files, brought into the store: the checkpoints of file sources and the dead letters.
//!
//! A file is removed once the store has all of it, so that a crash half way repeats the import and loses nothing: a
//! checkpoint takes the place of its like, and a letter that is there already stays one letter, though its attempts
//! then count twice. It does blocking I/O, before anything else runs. It must not judge a checkpoint: its source does.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::record::{AttemptLog, AttemptRecord, Letter, Reason, RequestRecord};
use super::{Store, StoreError};
use crate::ack::{Ack, Ticket};
use crate::event::{Event, Format, MetaValue};

const CHECKPOINTS: &str = "checkpoints";
const DEAD_LETTERS: &str = "dead-letters.jsonl";
/// Takes the lines of [`DEAD_LETTERS`] that are no letters.
const UNREADABLE: &str = "dead-letters.unreadable.jsonl";
/// Letters on their way to the store at once.
const BATCH: usize = 256;

/// Why something could not be brought into the store. What is there already is there twice, and harmless.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read, or not be removed.
    #[error("cannot bring {path} into the store: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Brings the files of a pipeline's state folder into the store and removes them. `formats` says how today's sources
/// read their payloads, which the files do not tell.
///
/// # Errors
/// When a file cannot be read or removed, or the store cannot be written. Nothing may run then: a file that stays
/// would later put an old position in the place of a new one.
pub async fn import(store: &Store, folder: &Path, formats: &HashMap<Arc<str>, Format>) -> Result<(), ImportError> {
    import_checkpoints(store, &folder.join(CHECKPOINTS)).await?;
    import_letters(store, folder, formats).await
}

async fn import_checkpoints(store: &Store, folder: &Path) -> Result<(), ImportError> {
    let failed = failed_at(folder);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(&failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(&failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(source) = name.strip_suffix(".json") {
            let source: Arc<str> = percent_decode_str(source).decode_utf8_lossy().into();
            let text = fs::read(entry.path()).map_err(failed_at(&entry.path()))?;
            // What is no text is damaged, which the source will say.
            store.save_checkpoint(Arc::clone(&source), String::from_utf8_lossy(&text).into_owned()).await?;
            info!(%source, path = %entry.path().display(), "the checkpoint is in the store now; its file is removed");
        } else if !name.starts_with(".tmp") {
            // Not ours: only a crash in the middle of a save leaves such a file.
            continue;
        }
        remove(&entry.path())?;
    }
    // A folder that holds something of somebody else's stays.
    fs::remove_dir(folder).ok();
    Ok(())
}

async fn import_letters(store: &Store, folder: &Path, formats: &HashMap<Arc<str>, Format>) -> Result<(), ImportError> {
    let path = folder.join(DEAD_LETTERS);
    let failed = failed_at(&path);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(&failed)?,
    };
    let mut lines = BufReader::new(file).split(b'\n');
    let (mut letters, mut unreadable) = (0, 0);
    loop {
        let batch: Vec<Vec<u8>> = lines.by_ref().take(BATCH).collect::<Result<_, _>>().map_err(&failed)?;
        if batch.is_empty() {
            break;
        }
        let mut kept = Vec::new();
        for line in batch.iter().filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<OldLetter>(line) {
                Ok(letter) => kept.push(letter.into_letter(formats)),
                Err(error) => {
                    error!(path = %path.display(), %error, "a line is no dead letter; it is put into {UNREADABLE}");
                    put_aside(&folder.join(UNREADABLE), line)?;
                    unreadable += 1;
                }
            }
        }
        letters += kept.len();
        bury_all(store, kept).await?;
    }
    remove(&path)?;
    info!(path = %path.display(), letters, unreadable, "the dead letters are in the store now; their file is removed");
    Ok(())
}

/// Keeps letters and waits until they are durable.
async fn bury_all(store: &Store, letters: Vec<Letter>) -> Result<(), StoreError> {
    let (sender, mut settlements) = mpsc::unbounded_channel();
    for (letter, sequence) in letters.into_iter().zip(0..) {
        let ticket = Ticket { session: 0, partition: 0, sequence };
        store.bury(letter, Some(Ack::new(ticket, 0, sender.clone())));
    }
    drop(sender);
    while let Some(settlement) = settlements.recv().await {
        if !settlement.settled {
            return Err(StoreError::Closed);
        }
    }
    Ok(())
}

/// Removes a file, and sees to it that a power failure does not bring it back.
fn remove(path: &Path) -> Result<(), ImportError> {
    let removed = fs::remove_file(path).and_then(|()| match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    });
    removed.map_err(failed_at(path))
}

fn put_aside(path: &Path, line: &[u8]) -> Result<(), ImportError> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(&[line, b"\n"].concat())?;
        file.sync_all()
    });
    written.map_err(failed_at(path))
}

fn failed_at(path: &Path) -> impl Fn(io::Error) -> ImportError + use<> {
    let path = path.to_owned();
    move |error| ImportError::File { path: path.clone(), error }
}

/// A line of [`DEAD_LETTERS`].
#[derive(Deserialize)]
struct OldLetter {
    time: Timestamp,
    node: String,
    reason: Reason,
    message: String,
    attempts: u32,
    event: OldEvent,
    /// As it may be shown only: it cannot be sent again as it was.
    request: Option<RequestRecord>,
    last_answer: Option<OldAnswer>,
}

#[derive(Deserialize)]
struct OldEvent {
    id: String,
    time: Timestamp,
    source: Arc<str>,
    key: Option<String>,
    headers: Map<String, Value>,
    meta: Map<String, Value>,
    payload: Option<String>,
    payload_encoding: Encoding,
}

#[derive(Clone, Copy, Deserialize)]
enum Encoding {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

#[derive(Deserialize)]
struct OldAnswer {
    status: Option<u16>,
    error: Option<String>,
    #[serde(default)]
    body_excerpt: String,
}

impl OldLetter {
    fn into_letter(self, formats: &HashMap<Arc<str>, Format>) -> Letter {
        let last_answer = self.last_answer.map(|answer| AttemptRecord {
            time: self.time,
            latency_ms: 0,
            status: answer.status,
            error: answer.error,
            body_excerpt: answer.body_excerpt,
        });
        let records = last_answer.into_iter().collect();
        let format = formats.get(&self.event.source).copied().unwrap_or_default();
        Letter {
            row: None,
            node: self.node,
            reason: self.reason,
            message: self.message,
            time: self.time,
            event: Arc::new(self.event.into_event(format)),
            copy: 0,
            request: None,
            shown: self.request,
            bucket: "".into(),
            lane: None,
            attempts: AttemptLog { total: self.attempts, round: self.attempts, first: None, records },
        }
    }
}

impl OldEvent {
    fn into_event(self, format: Format) -> Event {
        let encoding = self.payload_encoding;
        let payload = self.payload.map(|text| match encoding {
            Encoding::Utf8 => Bytes::from(text),
            // The bridge wrote it as base64; what is not is kept as it stands.
            Encoding::Base64 => Bytes::from(BASE64.decode(&text).unwrap_or(text.into_bytes())),
        });
        Event {
            id: self.id,
            time: self.time,
            source: self.source,
            key: self.key,
            headers: self.headers.into_iter().collect(),
            meta: self.meta.into_iter().map(|(name, value)| (name.into(), meta_value(value))).collect(),
            payload,
            format,
            content_type: None,
        }
    }
}

fn meta_value(value: Value) -> MetaValue {
    match value {
        Value::String(text) => MetaValue::Text(text.into()),
        Value::Number(number) if number.is_i64() => MetaValue::Integer(number.as_i64().unwrap_or_default()),
        other => MetaValue::Json(other),
    }
}
