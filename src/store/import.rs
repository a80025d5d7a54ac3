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
            // What is no text is damaged, which the source will say. PostgreSQL has no NUL in texts.
            let text = String::from_utf8_lossy(&text).replace('\0', "\u{fffd}");
            store.save_checkpoint(Arc::clone(&source), text).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::config::{StoreConfig, StoreSettings};
    use crate::store::database::Database;
    use crate::store::row::{LETTER_COLUMNS, letter};
    use crate::store::thread::StoreThread;

    /// As the former version wrote it.
    const CHECKPOINT: &str = r#"{"version":1,"state":{"looked_at":"2026-11-20T10:00:00Z","files":[]}}"#;
    const REJECTED: &str = r#"{"time":"2026-11-21T11:25:05.122Z","pipeline":"p","node":"sinks.crm","reason":"rejected","message":"the receiver answered 400","attempts":3,"event":{"id":"orders/0/7","time":"2026-11-21T11:25:05.007Z","source":"orders","key":"o-3","headers":{"trace":"a"},"meta":{"topic":"orders","partition":0,"offset":7},"payload":"{\"id\":3}","payload_encoding":"utf-8"},"request":{"method":"POST","url":"http://h/***","headers":{"content-type":"application/json"},"body":"{}"},"last_answer":{"status":400,"body_excerpt":"no such order"}}"#;
    const TOO_LARGE: &str = r#"{"time":"2026-11-21T11:26:00Z","pipeline":"p","node":"sources.orders","reason":"too-large","message":"too large","attempts":0,"event":{"id":"orders/0/8","time":"2026-11-21T11:25:59Z","source":"orders","key":null,"headers":{},"meta":{},"payload":"/wA=","payload_encoding":"base64"}}"#;
    const LOST: &str = r#"{"time":"2026-11-21T11:26:00Z","pipeline":"p","node":"sources.logs","reason":"lost","message":"lost","attempts":0,"event":{"id":"a/8-lost","time":"2026-11-21T11:25:59Z","source":"logs","key":null,"headers":{},"meta":{},"payload":null,"payload_encoding":"utf-8"}}"#;

    struct State {
        folder: tempfile::TempDir,
        store: Store,
        settings: StoreSettings,
    }

    impl State {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            let settings = StoreSettings::new(&StoreConfig::default(), "p", path, path).unwrap().unwrap();
            let (store, thread) = StoreThread::new(settings.clone());
            thread.start().unwrap();
            Self { folder, store, settings }
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn has(&self, name: &str) -> bool {
            self.folder.path().join(name).exists()
        }

        async fn import(&self) {
            let formats = HashMap::from([("orders".into(), Format::Text)]);
            import(&self.store, self.folder.path(), &formats).await.unwrap();
        }

        async fn checkpoint(&self, source: &str) -> Option<String> {
            self.store.load_checkpoint(source.into()).await.unwrap()
        }

        async fn letters(&self) -> Vec<Letter> {
            let mut database = Database::connect(&self.settings).await.unwrap();
            let statement = format!("SELECT {LETTER_COLUMNS} FROM deliveries WHERE state = 'dead' ORDER BY id");
            let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_all(database.connection()).await.unwrap();
            rows.iter().map(|row| letter(row).unwrap()).collect()
        }
    }

    #[tokio::test]
    async fn nothing_is_left_behind() {
        let state = State::new();
        state.write("checkpoints/audit.json", CHECKPOINT);
        state.write("checkpoints/a%2Fb.json", "{ damaged");
        state.write("checkpoints/.tmpAbC123", "{\"ver");
        state.write(DEAD_LETTERS, &format!("{REJECTED}\n{TOO_LARGE}\n{LOST}\n"));
        state.import().await;
        assert_eq!(state.checkpoint("audit").await.as_deref(), Some(CHECKPOINT));
        assert_eq!(state.checkpoint("a/b").await.as_deref(), Some("{ damaged"), "for its source to refuse");
        assert_eq!(state.letters().await.len(), 3);
        for gone in [CHECKPOINTS, DEAD_LETTERS, UNREADABLE] {
            assert!(!state.has(gone), "{gone} is still there");
        }
        state.import().await;
        assert_eq!(state.letters().await.len(), 3);
    }

    #[tokio::test]
    async fn a_letter_keeps_what_its_line_said() {
        let state = State::new();
        state.write(DEAD_LETTERS, &format!("{REJECTED}\n{TOO_LARGE}\n"));
        state.import().await;
        let letters = state.letters().await;
        let rejected = &letters[0];
        assert_eq!((&*rejected.node, rejected.reason), ("sinks.crm", Reason::Rejected));
        assert_eq!(rejected.message, "the receiver answered 400");
        assert_eq!(rejected.time.to_string(), "2026-11-21T11:25:05.122Z");
        assert!(rejected.request.is_none(), "it was kept as it may be shown only");
        assert_eq!(rejected.shown.as_ref().unwrap().url, "http://h/***");
        assert_eq!(rejected.attempts.total, 3);
        assert_eq!(rejected.attempts.records[0].status, Some(400));
        assert_eq!(rejected.attempts.records[0].body_excerpt, "no such order");
        let event = &rejected.event;
        assert_eq!((&*event.id, &*event.source, event.key.as_deref()), ("orders/0/7", "orders", Some("o-3")));
        assert_eq!(event.headers, [("trace".to_owned(), "a".into())]);
        assert_eq!(event.meta[0], ("topic".into(), MetaValue::Text("orders".into())));
        assert_eq!(event.meta[2], ("offset".into(), MetaValue::Integer(7)));
        assert_eq!((event.payload.as_deref(), event.format), (Some(&b"{\"id\":3}"[..]), Format::Text));
        assert_eq!(letters[1].event.payload.as_deref(), Some(&b"\xff\x00"[..]));
    }

    #[tokio::test]
    async fn an_import_that_was_cut_off_is_repeated_without_doubles() {
        let state = State::new();
        state.write(DEAD_LETTERS, &format!("{REJECTED}\n"));
        state.import().await;
        state.write(DEAD_LETTERS, &format!("{REJECTED}\n{LOST}\n"));
        state.write("checkpoints/audit.json", CHECKPOINT);
        state.import().await;
        let ids: Vec<String> = state.letters().await.iter().map(|letter| letter.event.id.clone()).collect();
        assert_eq!(ids, ["orders/0/7", "a/8-lost"]);
    }

    #[tokio::test]
    async fn a_line_that_is_no_letter_is_put_aside() {
        let state = State::new();
        state.write(DEAD_LETTERS, &format!("{REJECTED}\n{{\"time\":\n\n{LOST}\n{}", &TOO_LARGE[..40]));
        state.import().await;
        assert_eq!(state.letters().await.len(), 2);
        let aside = fs::read_to_string(state.folder.path().join(UNREADABLE)).unwrap();
        assert_eq!(aside, format!("{{\"time\":\n{}\n", &TOO_LARGE[..40]));
        assert!(!state.has(DEAD_LETTERS));
    }

    #[tokio::test]
    async fn what_is_somebody_elses_stays() {
        let state = State::new();
        state.write("checkpoints/audit.json.bak", "kept by hand");
        state.import().await;
        assert!(state.has("checkpoints/audit.json.bak"));
    }
}
