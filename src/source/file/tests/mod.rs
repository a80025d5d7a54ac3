//! The file source on real files: reading, rotation while it runs, restarts.

mod compressed;
mod deciding;
mod finding;
mod in_a_row;
mod moments;
mod open_files;
mod paused;
mod random;
mod reading;
mod restarting;
mod rotating;
mod saving;
mod tails;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::time::timeout;

use super::session::{Session, Timing};
use super::{FileConfig, FileSource, FileStart};
use crate::event::Format;
use crate::source::{Input, Progress, Record, Room, Source, SourceContext};
use crate::store::Store;
use crate::store::config::{StoreConfig, StoreSettings};
use crate::store::database::Database;
use crate::store::running::UnopenedStore;
use crate::store::threads::wait_for;
use crate::units::Period;

/// The longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// As many seeds are tried at a time.
const AT_A_TIME: usize = 8;

/// A folder of logs, a store, and what the source is told of them.
struct Setup {
    logs: TempDir,
    store: Store,
    state: TempDir,
    paths: Vec<String>,
    start: FileStart,
    rotated_wait: Duration,
    once: bool,
    max_event_size: usize,
}

/// A source being driven by hand.
struct Reader {
    source: FileSource,
    /// The last position handed out per partition.
    read: BTreeMap<u32, u64>,
}

impl Setup {
    /// `paths` are relative to the folder of logs.
    fn new(paths: &[&str]) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let paths = paths.iter().map(|path| logs.path().join(path).to_str().unwrap().to_owned()).collect();
        let state = tempfile::tempdir().unwrap();
        let (store, unopened) = UnopenedStore::new(settings(state.path()));
        wait_for(unopened.open()).map_err(|failed| failed.1).unwrap();
        Self {
            logs,
            store,
            state,
            paths,
            start: FileStart::Beginning,
            rotated_wait: Duration::from_millis(250),
            once: false,
            max_event_size: 1024,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.logs.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// What logrotate's `copytruncate` does.
    fn copytruncate(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        self.truncate(from);
    }

    fn truncate(&self, name: &str) {
        OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    /// What gzip does: the copy is complete before the original goes.
    fn compress(&self, name: &str) {
        let path = self.path(name);
        let file = File::create(self.path(&format!("{name}.gz"))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        encoder.write_all(&fs::read(&path).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(path).unwrap();
    }

    fn source(&self) -> FileSource {
        let context = SourceContext {
            pipeline: "p".into(),
            name: "logs".into(),
            format: Format::Text,
            max_event_size: self.max_event_size,
            once: self.once,
            store: Some(self.store.clone()),
            base_dir: std::path::PathBuf::new(),
            meta_beside: Vec::new(),
        };
        let paths = self.paths.iter().map(|path| path.as_str().into()).collect();
        let config = FileConfig { paths, start: self.start, rotated_wait: Period(self.rotated_wait) };
        let mut source = FileSource::new(context, config).unwrap();
        source.timing = Timing {
            rescan: Duration::from_millis(20),
            glance_where_reported: Duration::from_millis(20),
            idle_rescan: 2 * PATIENCE,
            settle: Duration::from_millis(250),
            complete: Duration::from_millis(500),
            rotated_wait: self.rotated_wait,
            forget: Duration::from_millis(500),
        };
        source
    }

    async fn reader(&self) -> Reader {
        let mut source = self.source();
        source.connect().await.unwrap();
        Reader { source, read: BTreeMap::new() }
    }

    /// Beside the store's own: a transaction that is open on it keeps the store from writing, as a full disk does.
    async fn second_connection(&self) -> Database {
        Database::connect(&settings(self.state.path())).await.unwrap()
    }

    async fn checkpoint(&self) -> Option<serde_json::Value> {
        let text = self.store.load_checkpoint("logs".into()).await.unwrap();
        text.map(|text| serde_json::from_str(&text).unwrap())
    }
}

/// Runs a test with each of the first so many seeds, or with those that a variable names (`300`, or `140..150`), some at a
/// time. Returns the seeds with which it has failed.
async fn failing_seeds<T: Future<Output = ()> + 'static>(variable: &str, count: u64, test: fn(u64) -> T) -> Vec<u64> {
    let named = std::env::var(variable).ok();
    let named = named.map(|seeds| {
        let (first, end) = seeds.split_once("..").unwrap_or(("0", &seeds));
        first.parse().unwrap()..end.parse().unwrap()
    });
    let local = tokio::task::LocalSet::new();
    let outcomes = futures_util::stream::iter(named.unwrap_or(0..count)).map(|seed| {
        // A task of its own, so that a failure can be told with its seed.
        let run = local.spawn_local(test(seed));
        async move { run.await.is_err().then_some(seed) }
    });
    let failed = outcomes.buffer_unordered(AT_A_TIME).filter_map(std::future::ready).collect();
    local.run_until(failed).await
}

fn settings(folder: &Path) -> StoreSettings {
    StoreSettings::new(&StoreConfig::default(), "p", folder, folder).unwrap().unwrap()
}

impl Reader {
    async fn next(&mut self) -> Input {
        timeout(PATIENCE, self.source.read(Room::ONE_RECORD)).await.expect("nothing was read").unwrap()
    }

    /// The next record. Whatever closes meanwhile is settled, committed and released.
    async fn record(&mut self) -> Record {
        loop {
            match self.next().await {
                Input::Records(mut records) => {
                    let record = records.remove(0);
                    self.read.insert(record.partition, record.position);
                    return record;
                }
                Input::Closing { partitions, .. } => self.close(&partitions).await,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn records(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::with_capacity(count);
        for _ in 0..count {
            records.push(self.record().await);
        }
        records
    }

    /// The payloads of the next records.
    async fn lines(&mut self, count: usize) -> Vec<String> {
        self.records(count).await.iter().map(text).collect()
    }

    /// Reads on until a partition closes; everything read by then is settled.
    async fn closing(&mut self) {
        match self.next().await {
            Input::Closing { partitions, .. } => self.close(&partitions).await,
            other => panic!("{other:?}"),
        }
    }

    async fn close(&mut self, partitions: &[u32]) {
        self.commit_of(|partition| partitions.contains(&partition)).await;
        self.source.release(partitions).await.unwrap();
        self.saved().await;
    }

    /// Commits everything read.
    async fn commit(&mut self) {
        self.commit_of(|_| true).await;
        self.saved().await;
    }

    /// Waits until all that was committed is in the store.
    async fn saved(&mut self) {
        self.source.session().unwrap().save().await.unwrap();
    }

    async fn commit_of(&mut self, chosen: impl Fn(u32) -> bool) {
        let watermarks = self.read.extract_if(.., |partition, _| chosen(*partition)).collect();
        self.source.commit(Progress { watermarks, settled: Vec::new() }).await.unwrap();
    }

    /// Reads to the end of a run with `once`.
    async fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.next().await {
                Input::Records(records) => lines.extend(records.iter().map(text)),
                Input::Closing { .. } => {}
                Input::End => return lines,
                Input::Lost { .. } | Input::Away { .. } | Input::Back => panic!("files are never taken away"),
            }
        }
    }
}

fn text(record: &Record) -> String {
    match &record.defect {
        None => String::from_utf8_lossy(record.event.payload.as_deref().unwrap_or_default()).into_owned(),
        Some(defect) => format!("{defect}"),
    }
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.event.id.as_str()).collect()
}

/// The part of an id that names the content.
fn content_of(record: &Record) -> &str {
    record.event.id.rsplit_once('/').unwrap().0
}

fn touch(path: &Path, time: std::time::SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}
