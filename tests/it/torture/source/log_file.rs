//! A log file that is written to and rotated by `copytruncate`, in the steps in which logrotate does it: older copies
//! are renamed, the file is copied, and then truncated. All by one task, so that it is known what was written between.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use super::Event;

pub(in crate::torture) struct LogFile {
    path: PathBuf,
    /// The pattern of the source names the copies, too.
    names_copies: bool,
    /// There are so many copies. None is removed: a bridge that is killed again and again falls behind.
    copies: usize,
    /// The bytes of the last copy.
    copied: u64,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, names_copies: bool) -> Self {
        File::create(&path).unwrap();
        Self { path, names_copies, copies: 0, copied: 0 }
    }

    pub(super) fn pattern(&self) -> String {
        format!("{}{}", self.path.display(), if self.names_copies { "*" } else { "" })
    }

    /// Whether copies are read from a first start on. Otherwise only those are that appear after it.
    pub(in crate::torture) fn names_copies(&self) -> bool {
        self.names_copies
    }

    pub(super) fn write(&self, events: &[Event]) {
        let lines: String = events.iter().map(|event| format!("{}\n", event.payload)).collect();
        File::options().append(true).open(&self.path).unwrap().write_all(lines.as_bytes()).unwrap();
    }

    pub(in crate::torture) fn copy(&mut self) {
        for number in (1..=self.copies).rev() {
            fs::rename(self.copy_path(number), self.copy_path(number + 1)).unwrap();
        }
        self.copies += 1;
        self.copied = fs::copy(&self.path, self.copy_path(1)).unwrap();
    }

    /// Returns the bytes that the file had and the copy has not.
    pub(in crate::torture) fn truncate(&mut self) -> Range<u64> {
        let file = File::options().write(true).open(&self.path).unwrap();
        let size = file.metadata().unwrap().len();
        file.set_len(0).unwrap();
        self.copied..size
    }

    fn copy_path(&self, number: usize) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }
}
