//! The file source for real: a writer, the real `logrotate`, and a bridge that is killed again and again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use webhook_bridge::receiver::Behaviour;

use crate::delivery::{Site, number, numbered, numbers};
use crate::support::{Bridge, wait_until};

/// Appends numbered lines as a program does that keeps its log open, and opens it anew when told (as by SIGHUP).
struct Writer {
    file: Arc<Mutex<File>>,
    path: PathBuf,
    written: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(path: &Path) -> Self {
        let file = Arc::new(Mutex::new(open(path)));
        let (written, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (file, written, stop) = (file.clone(), written.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let n = written.load(Ordering::Relaxed) + 1;
                    let line = format!("{{\"n\":{n},\"text\":\"an event of some length, number {n}\"}}\n");
                    file.lock().unwrap().write_all(line.as_bytes()).unwrap();
                    written.store(n, Ordering::Relaxed);
                    // The pace of the writer, not a wait for something.
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        });
        Self { file, path: path.to_owned(), written, stop, thread: Some(thread) }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Does something while nothing is written.
    fn paused(&self, then: impl FnOnce()) {
        let _nobody_writes = self.file.lock().unwrap();
        then();
    }

    fn reopen(&self) {
        *self.file.lock().unwrap() = open(&self.path);
    }

    fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.written()
    }
}

fn open(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

/// Rotates once, whatever the size and age of the log.
fn logrotate(folder: &Path, options: &str) {
    let log = folder.join("logs/events.jsonl");
    let config = folder.join("logrotate.conf");
    std::fs::write(&config, format!("{} {{\n rotate 50\n{options}\n}}\n", log.display())).unwrap();
    let status = folder.join("logrotate.status");
    let output = Command::new("logrotate").args(["-f", "-s"]).args([&status, &config]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How often each number came.
fn tally(site: &mut Site, counts: &mut BTreeMap<u64, u64>) {
    for request in site.received() {
        *counts.entry(number(&request)).or_default() += 1;
    }
}

const CYCLES: u64 = 4;
/// Events that may be open, and so be delivered twice after each crash.
const MAX_IN_FLIGHT: u64 = 64;

/// Lets a writer write, logrotate rotate and the bridge crash in turns, and counts what arrives.
async fn nothing_is_missing_after(options: &str, rotate: impl Fn(&Writer, &mut dyn FnMut())) {
    let mut site = Site::start(Behaviour { delay: Duration::from_millis(2), ..Behaviour::default() }).await;
    let folder = site.folder.path().to_owned();
    std::fs::create_dir(folder.join("logs")).unwrap();
    let config = site.file_pipeline("concurrency = 16").replace(
        "paths = [\"events.jsonl\"]",
        &format!("max_in_flight = {MAX_IN_FLIGHT}\npaths = [\"logs/events.jsonl*\"]"),
    );
    let mut writer = Writer::start(&folder.join("logs/events.jsonl"));
    let mut counts = BTreeMap::new();
    for cycle in 1..=CYCLES {
        let bridge = Bridge::run(&folder, &config);
        let goal = cycle * 400;
        wait_until("a part is written", || writer.written() >= goal).await;
        rotate(&writer, &mut || logrotate(&folder, options));
        wait_until("a part is delivered", || site.receiver.requests() >= goal - 200).await;
        rotate(&writer, &mut || logrotate(&folder, options));
        bridge.kill();
        rotate(&writer, &mut || logrotate(&folder, options));
        tally(&mut site, &mut counts);
    }
    let last = writer.stop();
    let bridge = Bridge::run(&folder, &config);
    wait_until("everything is delivered", || {
        tally(&mut site, &mut counts);
        counts.len() as u64 >= last
    })
    .await;
    assert!(bridge.stop().success());
    tally(&mut site, &mut counts);
    let missing: Vec<u64> = (1..=last).filter(|n| !counts.contains_key(n)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert_eq!(counts.len() as u64, last, "nothing was made up");
    let twice = counts.values().map(|count| count - 1).sum::<u64>();
    // What was open, and what 20 ms between commits may have settled.
    assert!(twice <= CYCLES * (MAX_IN_FLIGHT + 1000), "{twice} of {last} events came again");
    let letters = site.dead_letters();
    assert!(letters.is_empty(), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs logrotate"]
async fn rotation_by_rename_loses_nothing_across_crashes() {
    nothing_is_missing_after(" create", |writer, rotate| {
        rotate();
        writer.reopen();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs logrotate"]
async fn rotation_with_compression_loses_nothing_across_crashes() {
    nothing_is_missing_after(" create\n compress\n delaycompress", |writer, rotate| {
        rotate();
        writer.reopen();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs logrotate"]
async fn rotation_by_copytruncate_loses_nothing_across_crashes() {
    // What is written between logrotate's copy and its truncation is lost by logrotate itself: so nothing is.
    nothing_is_missing_after(" copytruncate", |writer, rotate| writer.paused(rotate)).await;
}

/// A third of a compressed file that nobody seems to write any more is told of; the other thirds come all the same, the
/// last one after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_compressed_file_is_delivered_however_late_it_comes() {
    const COUNT: usize = 4000;
    let mut site = Site::start(Behaviour::default()).await;
    let folder = site.folder.path().to_owned();
    let config = site.file_pipeline("concurrency = 16").replace("events.jsonl", "events.jsonl.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all((numbered(COUNT).join("\n") + "\n").as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let third = whole.len() / 3;
    let mut file = open(&folder.join("events.jsonl.gz"));
    file.write_all(&whole[..third]).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();

    let bridge = Bridge::run(&folder, &config);
    wait_until("a letter tells what is missing", || site.dead_letters().len() == 1).await;
    let first = site.receiver.requests();
    file.write_all(&whole[third..2 * third]).unwrap();
    wait_until("more is delivered", || site.receiver.requests() > first + COUNT as u64 / 10).await;
    assert!(bridge.stop().success());
    let bridge = Bridge::run(&folder, &config);
    file.write_all(&whole[2 * third..]).unwrap();
    wait_until("everything is delivered", || site.receiver.requests() >= COUNT as u64).await;
    assert!(bridge.stop().success());
    let mut numbers = numbers(&site.received());
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=COUNT as u64));
    assert_eq!(site.dead_letters().len(), 1);
}

/// What comes from a variable is text: its folder is read, and none that it would match as a pattern.
#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_from_a_variable_stands_for_itself() {
    let mut site = Site::start(Behaviour::default()).await;
    let folder = site.folder.path().to_owned();
    for (n, name) in ["{lo[g]s,*}", "logs", "lo[g]s"].iter().enumerate() {
        std::fs::create_dir(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("a.jsonl"), format!("{{\"n\":{}}}\n", n + 1)).unwrap();
    }
    let config = site.file_pipeline("").replace("events.jsonl", "${var:LOGS}/*.jsonl");
    let logs = folder.join("{lo[g]s,*}");
    let bridge = Bridge::run_in(&[("LOGS", logs.to_str().unwrap())], &folder, &config, &["--once"], Stdio::null());
    assert!(bridge.wait().success());
    assert_eq!(numbers(&site.received()), [1]);
    let log = std::fs::read_to_string(folder.join("bridge.log")).unwrap();
    assert!(log.contains("stands for itself, and is no wildcard"), "{log}");
}
