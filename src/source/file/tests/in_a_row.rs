//! Several rotations by copytruncate in a row beside a bridge that looks, reads, commits and is killed. The rotations run in
//! a thread of their own, so that a look at the paths falls between any two of their steps. Whatever happens: every line
//! is read, under one id, and only what was in no copy is said to be lost.
//!
//! A seed repeats what is done, not when; `FILE_ROWS=300` tries many.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::event::MetaValue;
use crate::source::Defect;

/// Lives of the bridge before the last one.
const LIVES: usize = 25;

/// A rotation takes longer on a busy machine than in the other tests.
const SETTLE: Duration = Duration::from_millis(1500);

/// The program that writes and the one that rotates.
struct Writer {
    folder: PathBuf,
    random: StdRng,
    /// With this every content begins.
    header: &'static str,
    /// The program does not wait for the truncation.
    is_busy: bool,
    written: usize,
    copies: usize,
    /// Lines that are in no copy.
    missing: Vec<usize>,
    /// Where these were in their files.
    gaps: Vec<Range<u64>>,
    steps: Vec<String>,
}

impl Writer {
    fn new(folder: &Path, seed: u64) -> Self {
        let header = if seed % 4 < 2 { "" } else { "a header\n" };
        File::create(folder.join("a.log")).unwrap();
        Self {
            folder: folder.to_owned(),
            random: StdRng::seed_from_u64(seed),
            header,
            is_busy: seed.is_multiple_of(3),
            written: 0,
            copies: 0,
            missing: Vec::new(),
            gaps: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn run(mut self, stop: &AtomicBool) -> Self {
        while !stop.load(Ordering::Relaxed) && self.copies < 40 {
            if self.random.random_bool(0.6) {
                self.write(80);
            } else {
                (0..self.random.random_range(1..4)).for_each(|_| self.rotate());
            }
            self.pause();
        }
        self
    }

    fn open(&self) -> File {
        OpenOptions::new().append(true).open(self.folder.join("a.log")).unwrap()
    }

    fn write(&mut self, most: usize) {
        let mut file = self.open();
        let mut text = String::new();
        if file.metadata().unwrap().len() == 0 {
            text.push_str(self.header);
        }
        let end = self.written + self.random.random_range(1..=most);
        text.extend((self.written..end).map(|number| format!("{number} {}\n", number * 7919 % 10_007)));
        self.steps.push(format!("write {}..{end}", self.written));
        self.written = end;
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&mut self) {
        let path = |number: usize| self.folder.join(format!("a.log.{number}"));
        for number in (1..=self.copies).rev() {
            fs::rename(path(number), path(number + 1)).unwrap();
        }
        self.copies += 1;
        let copied = fs::copy(self.folder.join("a.log"), path(1)).unwrap();
        self.pause();
        if self.is_busy && copied > 0 && self.random.random_bool(0.5) {
            let first = self.written;
            self.write(10);
            self.missing.extend(first..self.written);
            self.pause();
        }
        let file = self.open();
        let size = file.metadata().unwrap().len();
        file.set_len(0).unwrap();
        self.gaps.push(copied..size);
        self.steps.push(format!("copy {copied} of {size}"));
    }

    fn pause(&mut self) {
        if self.random.random_bool(0.5) {
            thread::sleep(Duration::from_micros(self.random.random_range(0..30_000)));
        }
    }
}

/// What was read in all lives.
#[derive(Default)]
struct Seen {
    ids: HashMap<usize, String>,
    losses: Vec<Range<u64>>,
}

impl Seen {
    fn note(&mut self, record: &Record) {
        if matches!(record.defect, Some(Defect::Lost(_))) {
            self.losses.push(number(record, "offset")..number(record, "end"));
            return;
        }
        assert_eq!(record.defect, None, "{record:?}");
        let line = text(record);
        let Ok(number) = line.split(' ').next().unwrap().parse() else { return };
        let id = record.event.id.clone();
        let same = self.ids.entry(number).or_insert_with(|| id.clone());
        assert_eq!(*same, id, "line {number} got a second id");
    }

    /// Reads until so many records have come, or none for so long.
    async fn read(&mut self, reader: &mut Reader, most: usize, patience: Duration) {
        for _ in 0..most {
            let Ok(input) = timeout(patience, reader.source.read(Room::ONE_RECORD)).await else { return };
            match input.unwrap() {
                Input::Records(mut records) => {
                    let record = records.remove(0);
                    self.note(&record);
                    reader.read.insert(record.partition, record.position);
                }
                Input::Closing { partitions, .. } => reader.close(&partitions).await,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn number(record: &Record, name: &str) -> u64 {
    let value = record.event.meta.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let Some(MetaValue::Integer(number)) = value else { panic!("no {name}: {record:?}") };
    u64::try_from(*number).unwrap()
}

async fn start(setup: &Setup) -> Reader {
    let mut source = setup.source();
    source.timing.settle = SETTLE;
    source.connect().await.unwrap();
    Reader { source, read: BTreeMap::new() }
}

async fn row(seed: u64) {
    let setup = Setup::new(&[if seed.is_multiple_of(2) { "a.log*" } else { "a.log" }]);
    let writer = Writer::new(setup.logs.path(), seed);
    let mut random = StdRng::seed_from_u64(!seed);
    let mut seen = Seen::default();
    // The first look is before the first rotation: what is older is not read under every pattern.
    let mut reader = start(&setup).await;
    let stop = Arc::new(AtomicBool::new(false));
    let thread = thread::spawn({
        let stop = Arc::clone(&stop);
        move || writer.run(&stop)
    });
    for _ in 0..LIVES {
        for _ in 0..random.random_range(0..4) {
            let patience = Duration::from_millis(random.random_range(1..80));
            seen.read(&mut reader, random.random_range(1..60), patience).await;
            if random.random_bool(0.6) {
                reader.commit().await;
            }
        }
        drop(reader);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
        reader = start(&setup).await;
    }
    stop.store(true, Ordering::Relaxed);
    let writer = tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    // For as long as something may yet be taken for lost.
    seen.read(&mut reader, usize::MAX, 2 * SETTLE).await;
    let is_read = |line: &usize| seen.ids.contains_key(line) || writer.missing.contains(line);
    let unread: Vec<usize> = (0..writer.written).filter(|line| !is_read(line)).collect();
    assert!(unread.is_empty(), "{unread:?} were not read: {:?}", writer.steps);
    let is_in_a_gap = |loss: &Range<u64>| writer.gaps.iter().any(|gap| gap.start <= loss.start && loss.end <= gap.end);
    let in_a_copy: Vec<_> = seen.losses.iter().filter(|loss| !is_in_a_gap(loss)).collect();
    assert!(in_a_copy.is_empty(), "{in_a_copy:?} are in a copy: {:?}", writer.steps);
}

#[tokio::test]
async fn rotations_in_a_row_at_any_moment_lose_nothing_and_nothing_is_falsely_said_to_be_lost() {
    let failed = failing_seeds("FILE_ROWS", 8, row).await;
    assert!(failed.is_empty(), "rows {failed:?} failed");
}
