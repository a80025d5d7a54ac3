//! The files that `${file:…}` names, as they were when they were read: with them a pipeline changes too, as when a
//! secret is rotated.
//!
//! What they contain is hashed, as it may be secret, and not kept.

use std::collections::BTreeMap;
use std::{fs, io};

use super::fingerprint::Fingerprint;

/// The files that a pipeline file names.
#[derive(Debug, Clone, Default)]
pub struct NamedFiles {
    /// `None` for one that could not be read.
    read: BTreeMap<String, Option<Fingerprint>>,
}

impl NamedFiles {
    /// Reads the files again, and tells whether any is not as it was.
    pub fn have_changed(&self) -> bool {
        self.read.iter().any(|(path, before)| fingerprint(&fs::read_to_string(path)) != *before)
    }

    /// Reads a file and notes how it was.
    pub(super) fn read(&mut self, path: &str) -> io::Result<String> {
        let text = fs::read_to_string(path);
        self.read.insert(path.to_owned(), fingerprint(&text));
        text
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.read.extend(others.read);
    }
}

fn fingerprint(text: &io::Result<String>) -> Option<Fingerprint> {
    text.as_ref().ok().map(|text| Fingerprint::of_text(text))
}
