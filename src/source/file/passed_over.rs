//! What a look at the paths passes over, and why. That is said once of each file.
//!
//! This module does no I/O but log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::path::shown;

/// What this look and the last one have passed over, and why.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    now: BTreeMap<PathBuf, String>,
    before: BTreeMap<PathBuf, String>,
}

impl PassedOver {
    /// A new look begins.
    pub(super) fn begin_look(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// As can be expected of the file.
    pub(super) fn add(&mut self, path: &Path, reason: &str) {
        if self.note(path, reason) {
            tracing::info!(path = %shown(path), reason, "passed over");
        }
    }

    /// Although somebody may count on its lines.
    pub(super) fn add_with_warning(&mut self, path: &Path, reason: &str) {
        if self.note(path, reason) {
            tracing::warn!(path = %shown(path), reason, "passed over");
        }
    }

    /// Without a word. Returns true when that was not so at the last look.
    pub(super) fn note(&mut self, path: &Path, reason: &str) -> bool {
        self.now.insert(path.to_owned(), reason.to_owned());
        self.before.get(path).is_none_or(|last| last != reason)
    }

    /// What this look has passed over.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.now.keys()
    }

    /// What this look has passed over, and why.
    pub(super) fn take(&mut self) -> BTreeMap<PathBuf, String> {
        std::mem::take(&mut self.now)
    }
}
