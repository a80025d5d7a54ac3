//! What a look at the paths says of one file.
//!
//! It reads the little that tells a copy from another file with the same beginning, and decides nothing else.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::heads::read_up_to;
use super::identity::{HEAD_LENGTH, Identity};
use super::names::Age;
use super::path::FilePath;

/// One file that was seen.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// The path that matched the source's patterns, or its rotated sibling's.
    pub(super) root: FilePath,
    /// The same with symbolic links resolved.
    pub(super) real_root: FilePath,
    /// The path beside which it was found: that of `real_root`, or of what the root led to before.
    pub(super) base: FilePath,
    /// Where the file is.
    pub(super) path: PathBuf,
    pub(super) role: Role,
    /// True when a pattern names it, so that it is read whatever its age.
    pub(super) named: bool,
    pub(super) identity: Identity,
    pub(super) compressed: bool,
    /// The content's size; of a compressed file only known when it is small.
    pub(super) size: Option<u64>,
    /// The file's own size, compressed or not.
    pub(super) stored_size: u64,
    /// The content's size modulo 2³² as a compressed file tells it (RFC 1952, ISIZE).
    pub(super) size_modulo: Option<u32>,
    pub(super) modified: SystemTime,
    /// When the file was made, as far as the file system says; otherwise when it was last changed.
    pub(super) born: SystemTime,
    /// The content's first bytes, at most [`HEAD_LENGTH`]; `None` when they cannot be read.
    pub(super) head: Option<Arc<[u8]>>,
    /// False when the head is short because no more of it can be decompressed yet.
    pub(super) head_is_whole: bool,
    /// The offset behind the last line's end; found on request and only for what a pattern names.
    pub(super) line_end: Option<u64>,
    /// Of a rotated file with a long head that the root has, too: whether its last bytes are those that the root has there.
    /// `None` where that was not to be found out.
    pub(super) begins_root: Option<bool>,
}

/// What a file is to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// It is the root.
    Root,
    /// Its name is that of a file rotated away.
    Rotated(Age),
    /// The root, a symbolic link, led here before. What is there now may have been written since.
    Former,
    /// Its name begins with the root's. It is of interest only if it turns out to be a known file.
    Sibling,
}

impl Observed {
    /// Finds out whether what begins as the root does, and is not longer, also ends with what the root has there: logs with
    /// a long header all begin alike. Neither of them is compressed.
    pub(super) fn compare_with_root(&mut self, root: &Self) {
        let (Some(head), Some(size)) = (&self.head, self.size) else { return };
        let begins_alike =
            head.len() == HEAD_LENGTH && self.head == root.head && root.size.is_some_and(|of_root| size <= of_root);
        if begins_alike && !self.compressed && !root.compressed && self.identity != root.identity {
            self.begins_root = self.ends_as_root_does(root, size).ok();
        }
    }

    fn ends_as_root_does(&self, root: &Self, size: u64) -> io::Result<bool> {
        let start = size.saturating_sub(HEAD_LENGTH as u64);
        let end = |file: &Self| {
            let opened = File::open(&file.path)?;
            if Identity::of(&opened.metadata()?) != file.identity {
                return Err(io::ErrorKind::NotFound.into());
            }
            let mut bytes = vec![0; HEAD_LENGTH];
            let length = read_up_to(&opened, start, &mut bytes)?;
            // It may have grown since.
            bytes.truncate(length.min(usize::try_from(size - start).unwrap_or(length)));
            Ok::<_, io::Error>(bytes)
        };
        Ok(end(self)? == end(root)?)
    }
}
