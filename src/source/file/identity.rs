//! What makes a file the same file: device, inode and birth while it stays where it is; its first bytes, and the last ones
//! that were read, when its content has moved into another file (a copy, a `.gz`) or nobody has looked for a while.
//!
//! This module does no I/O.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memchr;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The number of bytes at a file's beginning that its content is known by.
pub(super) const HEAD_LENGTH: usize = 1024;

/// As many beginnings are kept of one content.
const MOST_BEGINNINGS: usize = 32;

/// Hex digits of a file id: 64 bits are plenty, as they only have to tell the files of one source apart.
const ID_DIGITS: usize = 16;

/// A file as the file system knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// When the inode was made, in nanoseconds since 1970; `None` where the file system does not say. Inodes are reused
    /// as soon as a file is deleted: the time of birth tells the new file from the old.
    pub(super) born: Option<u64>,
}

/// The hash of a file's first bytes, as many as there were when it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    length: usize,
    sha256: String,
    /// The same of its beginnings to the ends of lines, by which a copy that ends early is recognised.
    beginnings: Vec<(usize, u64)>,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), born: metadata.created().ok().and_then(nanoseconds) }
    }
}

impl Fingerprint {
    /// The fingerprint of a content that begins with `head`, which has [`HEAD_LENGTH`] bytes or is all there is.
    pub(super) fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(HEAD_LENGTH)];
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', head).map(|end| end + 1).collect();
        // Of many short lines not every one.
        let step = ends.len().div_ceil(MOST_BEGINNINGS).max(1);
        let ends = ends.into_iter().step_by(step);
        let beginnings = ends.map(|length| (length, short_hash(&head[..length]))).collect();
        Self { length: head.len(), sha256: hex(&Sha256::digest(head)), beginnings }
    }

    /// True when a content that begins with `head` can be this one, grown or not. The fingerprint of an empty file
    /// matches everything.
    pub(super) fn matches(&self, head: &[u8]) -> bool {
        head.get(..self.length).is_some_and(|head| hex(&Sha256::digest(head)) == self.sha256)
    }

    /// True when `head` is the head of a content with which this one may begin: they agree in every line that both are
    /// known to have.
    pub(super) fn begins_with(&self, head: &[u8]) -> bool {
        if head.len() >= self.length {
            return self.matches(head);
        }
        let known = self.beginnings.iter().rev().find(|(length, _)| *length <= head.len());
        known.is_some_and(|(length, hash)| *hash == short_hash(&head[..*length]))
    }

    /// True when it was taken of an empty file, so that it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }
}

/// The last bytes before the end of a line that was read: by them a file is known to go on where reading was left, and not
/// only to begin alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Where the line ends.
    end: u64,
    length: usize,
    hash: u64,
}

impl Mark {
    /// The mark of a content that has `bytes` before `end`: [`Mark::LENGTH`] bytes, or all that there are.
    pub(super) fn of(end: u64, bytes: &[u8]) -> Self {
        Self { end, length: bytes.len(), hash: short_hash(bytes) }
    }

    /// As many bytes are looked at.
    pub(super) const LENGTH: usize = HEAD_LENGTH;

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Where its bytes begin, and how many there are.
    pub(super) fn place(&self) -> (u64, usize) {
        (self.end.saturating_sub(self.length as u64), self.length)
    }

    /// True when these bytes, from its place in another file, are the same.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.length && short_hash(bytes) == self.hash
    }
}

/// The name under which a content's events are known for ever, wherever the content moves.
///
/// It is derived from what does not change: the file, how many contents the file had before this one (copytruncate
/// starts a new content in the same file), and the first line.
pub(super) fn file_id(identity: Identity, generation: u32, first_line: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(identity.device.to_le_bytes());
    hash.update(identity.inode.to_le_bytes());
    hash.update(identity.born.unwrap_or_default().to_le_bytes());
    hash.update(generation.to_le_bytes());
    hash.update(first_line);
    let mut id = hex(&hash.finalize());
    id.truncate(ID_DIGITS);
    id
}

/// The first line in `head` with its end, or [`HEAD_LENGTH`] bytes of it; `None` while it may still grow.
pub(super) fn first_line(head: &[u8]) -> Option<&[u8]> {
    match memchr(b'\n', head) {
        Some(end) => Some(&head[..=end]),
        None => head.get(..HEAD_LENGTH),
    }
}

fn short_hash(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn nanoseconds(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_follows_its_content_as_it_grows() {
        let fingerprint = Fingerprint::of(b"one\n");
        assert!(fingerprint.matches(b"one\n") && fingerprint.matches(b"one\ntwo\n"));
        assert!(!fingerprint.matches(b"one") && !fingerprint.matches(b"two\none\n"));
        assert!(Fingerprint::of(b"").matches(b"anything"));
        let long = vec![b'x'; HEAD_LENGTH + 1];
        assert_eq!(Fingerprint::of(&long), Fingerprint::of(&long[1..]));
    }

    #[test]
    fn a_shorter_copy_is_recognised_by_its_beginning() {
        let text: String = (0..300).map(|number| format!("line {number}\n")).collect();
        let fingerprint = Fingerprint::of(text.as_bytes());
        for length in 40..text.len() {
            let copy = &text.as_bytes()[..length.min(HEAD_LENGTH)];
            assert!(fingerprint.begins_with(copy), "{length}");
            let mut other = copy.to_vec();
            other[10] ^= 1;
            assert!(!fingerprint.begins_with(&other), "{length}");
        }
        let fingerprint = Fingerprint::of(b"a header of some length\none\nmore\n");
        assert!(!fingerprint.begins_with(b"a header of some length\ntwo\n"));
        assert!(fingerprint.begins_with(b"a header of some length\n"));
        assert!(!fingerprint.begins_with(b""));
    }

    #[test]
    fn an_id_tells_files_and_their_contents_apart_and_repeats_itself() {
        let identity = Identity { device: 1, inode: 2, born: Some(3) };
        let id = file_id(identity, 0, b"one\n");
        assert_eq!(id, file_id(identity, 0, b"one\n"));
        assert_eq!(id.len(), ID_DIGITS);
        let others = [
            file_id(identity, 1, b"one\n"),
            file_id(identity, 0, b"two\n"),
            file_id(Identity { inode: 9, ..identity }, 0, b"one\n"),
            file_id(Identity { born: None, ..identity }, 0, b"one\n"),
        ];
        assert!(!others.contains(&id));
    }

    #[test]
    fn the_first_line_is_known_once_it_cannot_change_any_more() {
        assert_eq!(first_line(b"one\ntw"), Some(&b"one\n"[..]));
        assert_eq!(first_line(b"on"), None);
        assert_eq!(first_line(&[b'x'; HEAD_LENGTH]).map(<[u8]>::len), Some(HEAD_LENGTH));
    }
}
