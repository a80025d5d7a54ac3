//! What is compressed of a content being read: the file that it is in, or what was made of it while it was open.
//!
//! As the tail, it does no I/O.

use tokio::time::Instant;

use super::{Tail, TailState};
use crate::source::file::content::Content;
use crate::source::file::identity::Identity;

/// A compressed file that ends too early.
#[derive(Debug, Clone, Copy)]
pub(in crate::source::file) struct BrokenOff {
    pub(in crate::source::file) file: Identity,
    /// Its own size.
    pub(in crate::source::file) stored_size: u64,
    /// When that was seen first.
    pub(in crate::source::file) since: Instant,
}

impl Tail {
    /// True when the file that it is in now is compressed.
    pub(in crate::source::file) fn is_compressed(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.compressed)
    }

    /// True when it is read through a decompressor. What was compressed after it was opened is not: a program may still
    /// hold the original, which is deleted, and write to it.
    pub(in crate::source::file) fn reads_compressed(&self) -> bool {
        self.content.as_ref().map_or_else(|| self.is_compressed(), Content::is_compressed)
    }

    /// True when the original is open of what is only to be found compressed by now.
    pub(in crate::source::file) fn holds_original(&self) -> bool {
        self.content.as_ref().is_some_and(|open| !open.is_compressed())
    }

    /// When the original was read to its end and there is more in what was compressed, that is read on: the original had
    /// been replaced before. Returns true when that is so.
    pub(in crate::source::file) fn goes_on_compressed(&mut self) -> bool {
        let has_more = self.chunk.compressed_size.is_some_and(|size| u64::from(size) > self.size % (1 << 32));
        if !has_more || !self.holds_original() || !self.is_compressed() {
            return false;
        }
        self.content = None;
        self.state = TailState::Reading;
        true
    }

    /// Closes a compressed file that ends too early until there is more of it. Returns true the first time.
    pub(in crate::source::file) fn break_off(&mut self) -> bool {
        let is_first = self.broken_off.is_none();
        if let Some(content) = self.content.take() {
            let (file, stored_size) = (content.identity(), content.stored_size().unwrap_or(0));
            let is_same = |former: &BrokenOff| (former.file, former.stored_size) == (file, stored_size);
            if !self.broken_off.as_ref().is_some_and(is_same) {
                self.broken_off = Some(BrokenOff { file, stored_size, since: Instant::now() });
            }
        }
        self.splitter.rewind();
        is_first
    }
}
