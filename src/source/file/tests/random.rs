//! Random histories of writing, rotating, replacing, reading, committing and restarting. Whatever happens, every line is read, a
//! line and its id belong together for ever, and with renames no line comes before an earlier one when first read.
//!
//! `FILE_HISTORIES=300` tries many.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// The writer's side, and what has been read of it.
struct History {
    setup: Setup,
    random: StdRng,
    written: usize,
    rotated: usize,
    /// The first line of a file is the same for all files in half of the histories.
    header: bool,
    /// Half of the histories know copytruncate.
    copies: bool,
    empty: bool,
    /// True while all that is written is confirmed.
    confirmed: bool,
    ids: HashMap<String, String>,
    lines: HashMap<String, String>,
    in_order: Vec<usize>,
    /// What was done, for the message of a failure.
    steps: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            setup: Setup::new(&["a.log"]),
            random: StdRng::seed_from_u64(seed),
            written: 0,
            rotated: 0,
            header: seed.is_multiple_of(2),
            copies: seed % 4 < 2,
            empty: true,
            confirmed: false,
            ids: HashMap::new(),
            lines: HashMap::new(),
            in_order: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn write(&mut self) {
        self.confirmed = false;
        let mut text = String::new();
        if std::mem::take(&mut self.empty) && self.header {
            text.push_str("header\n");
        }
        for _ in 0..self.random.random_range(1..4) {
            let padding = "x".repeat(self.random.random_range(0..300));
            text.push_str(&format!("{} {padding}\n", self.written));
            self.written += 1;
        }
        self.setup.append("a.log", &text);
        self.steps.push(format!("written up to {}", self.written));
    }

    fn rotate(&mut self) {
        if !self.setup.path("a.log").exists() {
            return;
        }
        for number in (1..=self.rotated).rev() {
            for ending in ["", ".gz"] {
                let from = format!("a.log.{number}{ending}");
                if self.setup.path(&from).exists() {
                    self.setup.rename(&from, &format!("a.log.{}{ending}", number + 1));
                }
            }
        }
        self.rotated += 1;
        self.steps.push("rotate".into());
        if self.copies && self.random.random_bool(0.5) {
            self.steps.push("by copy".into());
            self.setup.copytruncate("a.log", "a.log.1");
            if self.confirmed && self.random.random_bool(0.5) {
                self.shorten_copy();
            }
        } else {
            self.setup.rename("a.log", "a.log.1");
            if self.random.random_bool(0.5) {
                self.setup.write("a.log", "");
            }
        }
        self.empty = true;
    }

    /// The copy was made before the last line was written, which was read before the truncation.
    fn shorten_copy(&mut self) {
        let text = fs::read_to_string(self.setup.path("a.log.1")).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        if lines.len() > 2 {
            self.steps.push("shorter".into());
            self.setup.write("a.log.1", lines[..lines.len() - 1].concat());
        }
    }

    /// As rsync does: a copy takes the place of the file, with lines behind it.
    fn replace(&mut self) {
        if !self.setup.path("a.log").exists() || self.empty {
            return;
        }
        self.steps.push("replace".into());
        fs::copy(self.setup.path("a.log"), self.setup.path("new")).unwrap();
        self.setup.append("new", &format!("{} replaced\n", self.written));
        self.written += 1;
        self.confirmed = false;
        self.setup.rename("new", "a.log");
    }

    fn compress(&mut self) {
        let number = self.random.random_range(1..self.rotated.max(1) + 1);
        let name = format!("a.log.{number}");
        if self.setup.path(&name).exists() {
            self.setup.compress(&name);
            self.steps.push(format!("compress {number}"));
        }
    }

    fn note(&mut self, record: &Record) {
        self.steps.push(format!("read {}", record.event.id));
        assert_eq!(record.defect, None, "{record:?} {:?}", self.steps);
        let line = text(record);
        let id = record.event.id.clone();
        if line != "header" {
            let same = self.ids.entry(line.clone()).or_insert_with(|| id.clone());
            assert_eq!(*same, id, "a line got a second id: {line} {:?}", self.steps);
            let number = line.split(' ').next().unwrap().parse().unwrap();
            if !self.in_order.contains(&number) {
                self.in_order.push(number);
            }
        }
        let same = self.lines.entry(id.clone()).or_insert_with(|| line.clone());
        assert_eq!(*same, line, "an id stands for two lines: {id} {:?}", self.steps);
    }

    async fn run(mut self) {
        self.write();
        let mut reader = self.setup.reader().await;
        for _ in 0..40 {
            match self.random.random_range(0..10) {
                0..3 => self.write(),
                3 => self.rotate(),
                4 => self.compress(),
                5 => {
                    // As much as there is, or a part of it.
                    for _ in 0..self.random.random_range(1..8) {
                        match timeout(Duration::from_millis(40), reader.record()).await {
                            Ok(record) => self.note(&record),
                            Err(_) => break,
                        }
                    }
                }
                6 => {
                    self.steps.push("commit".into());
                    reader.commit().await;
                    self.confirmed = self.in_order.len() == self.written;
                }
                7 => {
                    self.steps.push("down".into());
                    drop(reader);
                    // Things happen while nobody looks.
                    for _ in 0..self.random.random_range(0..4) {
                        match self.random.random_range(0..5) {
                            0 | 1 => self.write(),
                            2 => self.rotate(),
                            3 => self.replace(),
                            _ => self.compress(),
                        }
                    }
                    self.steps.push("up".into());
                    reader = self.setup.reader().await;
                }
                8 => self.replace(),
                _ => {
                    self.steps.push("reconnect".into());
                    reader.read.clear();
                    reader.source.connect().await.unwrap();
                }
            }
        }
        while self.in_order.len() < self.written {
            let record = timeout(PATIENCE, reader.record()).await;
            let record = record.unwrap_or_else(|_| {
                panic!("lines are missing: {:?} of {} {:?}", self.in_order, self.written, self.steps)
            });
            self.note(&record);
        }
        // A file that is filled, copied and truncated between two looks is the same empty file at both, so that its
        // content can only be found afterwards. With renames there is no such doubt.
        if self.copies {
            self.in_order.sort_unstable();
        }
        assert_eq!(self.in_order, (0..self.written).collect::<Vec<_>>(), "lines came out of order {:?}", self.steps);
    }
}

#[tokio::test]
async fn whatever_happens_every_line_is_read_in_order_under_one_id() {
    let failed = failing_seeds("FILE_HISTORIES", 12, |seed| History::new(seed).run()).await;
    assert!(failed.is_empty(), "histories {failed:?} failed");
}
