//! The file source against the real logrotate, with a program that keeps writing and a bridge that comes and goes.

#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use webhook_bridge::event::Format;
use webhook_bridge::source::file::{FileConfig, FileSource, FileStart};
use webhook_bridge::source::{Defect, Input, Progress, Room, Source, SourceContext};
use webhook_bridge::store::Store;
use webhook_bridge::store::config::{StoreConfig, StoreSettings};
use webhook_bridge::store::running::UnopenedStore;
use webhook_bridge::units::Period;

const ROTATIONS: usize = 12;

/// The longest wait for the last lines.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the program stops writing to the file that was rotated away.
#[derive(Clone, Copy, PartialEq)]
enum Writing {
    /// It goes on writing to the renamed file until it is told to reopen, as programs do.
    GoesOn,
    /// It holds its writes while logrotate runs. What is written between copytruncate's copy and its truncation is lost
    /// by logrotate itself, and so is what is written to a file after it was compressed.
    Pauses,
}

/// A program that writes numbered lines.
struct Program {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    /// Held while a line is written.
    writing: Arc<Mutex<()>>,
}

impl Program {
    fn start(path: PathBuf) -> Self {
        let program = Self {
            thread: None,
            stop: Arc::default(),
            reopen: Arc::default(),
            written: Arc::default(),
            writing: Arc::default(),
        };
        let (stop, reopen) = (Arc::clone(&program.stop), Arc::clone(&program.reopen));
        let (written, writing) = (Arc::clone(&program.written), Arc::clone(&program.writing));
        let open = move || OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let mut file: File = open();
            while !stop.load(Ordering::SeqCst) {
                let guard = writing.lock().unwrap();
                if reopen.swap(false, Ordering::SeqCst) {
                    file = open();
                }
                let number = written.load(Ordering::SeqCst);
                file.write_all(format!("{number} {}\n", "x".repeat(number % 200)).as_bytes()).unwrap();
                written.store(number + 1, Ordering::SeqCst);
                drop(guard);
                // Some thousand lines a second.
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self { thread: Some(thread), ..program }
    }

    fn stop(&mut self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.written.load(Ordering::SeqCst)
    }
}

/// The bridge's side: what was read, across all its lives.
struct Bridge {
    source: Option<FileSource>,
    store: Store,
    pattern: String,
    read: BTreeMap<u32, u64>,
    ids: HashMap<usize, String>,
    /// True when logrotate itself may lose what was seen.
    bears_loss: bool,
}

impl Bridge {
    async fn start(&mut self) {
        let context = SourceContext {
            pipeline: "p".into(),
            name: "logs".into(),
            format: Format::Text,
            max_event_size: 1024,
            once: false,
            store: Some(self.store.clone()),
            base_dir: std::path::PathBuf::new(),
            meta_beside: Vec::new(),
        };
        let rotated_wait = Period::from_secs(60);
        let config =
            FileConfig { paths: vec![self.pattern.as_str().into()], start: FileStart::Beginning, rotated_wait };
        let mut source = FileSource::new(context, config).unwrap();
        source.connect().await.unwrap();
        self.source = Some(source);
        self.read.clear();
    }

    async fn commit(&mut self) {
        let watermarks = std::mem::take(&mut self.read).into_iter().collect();
        let Some(source) = &mut self.source else { return };
        source.commit(Progress { watermarks, settled: Vec::new() }).await.unwrap();
    }

    /// Reads until nothing more comes for a moment or `limit` lines were read.
    async fn read(&mut self, limit: usize) {
        for _ in 0..limit {
            let Some(source) = &mut self.source else { return };
            let Ok(input) = timeout(Duration::from_millis(300), source.read(Room::ONE_RECORD)).await else { return };
            match input.unwrap() {
                Input::Records(mut records) => {
                    let record = records.remove(0);
                    if self.bears_loss && matches!(record.defect, Some(Defect::Lost(_))) {
                        self.read.insert(record.partition, record.position);
                        continue;
                    }
                    assert_eq!(record.defect, None, "{record:?}");
                    self.read.insert(record.partition, record.position);
                    let payload = String::from_utf8(record.event.payload.unwrap().to_vec()).unwrap();
                    let number = payload.split(' ').next().unwrap().parse().unwrap();
                    let id = self.ids.entry(number).or_insert_with(|| record.event.id.clone());
                    assert_eq!(*id, record.event.id, "line {number} got a second id");
                }
                Input::Closing { partitions, .. } => {
                    self.commit().await;
                    self.source.as_mut().unwrap().release(&partitions).await.unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn rotate(folder: &Path, options: &str) {
    let config = folder.join("logrotate.conf");
    let log = folder.join("app.log");
    let text = format!("\"{}\" {{\n  rotate 1000\n  missingok\n{options}\n}}\n", log.display());
    fs::write(&config, text).unwrap();
    let state = folder.join("logrotate.state");
    let output = Command::new("logrotate").arg("-f").arg("-s").arg(state).arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn nothing_is_missing(options: &str, writing: Writing, pattern: &str) {
    let logs = tempfile::tempdir().unwrap();
    let mut program = Program::start(logs.path().join("app.log"));
    let pattern = logs.path().join(pattern).to_str().unwrap().to_owned();
    let state = tempfile::tempdir().unwrap();
    let settings = StoreSettings::new(&StoreConfig::default(), "p", state.path(), state.path()).unwrap().unwrap();
    let (store, unopened) = UnopenedStore::new(settings);
    unopened.open().await.map_err(|failed| failed.1).unwrap();
    // What is written between copytruncate's copy and its truncation is lost by logrotate, whether it was seen or not.
    let bears_loss = writing == Writing::GoesOn && options.contains("copytruncate");
    let mut bridge = Bridge { source: None, store, pattern, read: BTreeMap::new(), ids: HashMap::new(), bears_loss };
    bridge.start().await;
    for round in 0..ROTATIONS {
        bridge.read(if round % 3 == 0 { 200 } else { 5_000 }).await;
        if round % 2 == 0 {
            bridge.commit().await;
        }
        // The bridge is there for some rotations, away for others, and away for several in a row.
        if round % 4 >= 2 {
            bridge.source = None;
        }
        let pause = (writing == Writing::Pauses).then(|| program.writing.lock().unwrap());
        rotate(logs.path(), options);
        // What a postrotate script does.
        program.reopen.store(true, Ordering::SeqCst);
        drop(pause);
        if bridge.source.is_none() && round % 4 == 3 {
            bridge.start().await;
        }
    }
    let written = program.stop();
    if bridge.source.is_none() {
        bridge.start().await;
    }
    let started = Instant::now();
    let is_complete = |bridge: &Bridge| match bears_loss {
        true => bridge.ids.contains_key(&(written - 1)),
        false => bridge.ids.len() == written,
    };
    while !is_complete(&bridge) && started.elapsed() < PATIENCE {
        bridge.read(usize::MAX).await;
    }
    if bears_loss {
        assert!(bridge.ids.contains_key(&(written - 1)), "reading has stopped before the last line");
        return;
    }
    let missing: Vec<usize> = (0..written).filter(|number| !bridge.ids.contains_key(number)).collect();
    assert!(missing.is_empty(), "{} of {written} lines are missing, the first is {:?}", missing.len(), missing.first());
    let mut ids: Vec<&String> = bridge.ids.values().collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), written, "two lines share an id");
}

#[tokio::test]
#[ignore = "needs logrotate"]
async fn rename_and_create() {
    nothing_is_missing("  create", Writing::GoesOn, "app.log").await;
}

#[tokio::test]
#[ignore = "needs logrotate"]
async fn rename_with_delayed_compression() {
    nothing_is_missing("  nocreate\n  compress\n  delaycompress", Writing::GoesOn, "app.log*").await;
}

#[tokio::test]
#[ignore = "needs logrotate"]
async fn rename_with_compression() {
    nothing_is_missing("  create\n  compress", Writing::Pauses, "app.log").await;
}

#[tokio::test]
#[ignore = "needs logrotate"]
async fn rename_with_dates() {
    // Each rotation needs a name of its own, and the finest date there is has seconds.
    nothing_is_missing(
        "  create\n  dateext\n  dateformat -%Y%m%d-%s\n  compress\n  firstaction\n  sleep 1\n  endscript",
        Writing::Pauses,
        "app.log",
    )
    .await;
}

#[tokio::test]
#[ignore = "needs logrotate"]
async fn copytruncate() {
    nothing_is_missing("  copytruncate", Writing::Pauses, "app.log").await;
}

#[tokio::test]
#[ignore = "needs logrotate"]
async fn copytruncate_with_compression() {
    nothing_is_missing("  copytruncate\n  compress", Writing::Pauses, "app.log*").await;
}

/// No line comes again under another id, although copies may end before what was read.
#[tokio::test]
#[ignore = "needs logrotate"]
async fn copytruncate_beside_a_busy_program() {
    nothing_is_missing("  copytruncate", Writing::GoesOn, "app.log*").await;
}
