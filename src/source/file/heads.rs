//! The first bytes of files, by which contents are recognised, and where their last line ends.
//!
//! This module does blocking I/O and decides nothing.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use memchr::memrchr;

use super::gzip::GzipReader;
use super::identity::{HEAD_LENGTH, Identity};

/// Bytes per step of the search for the last line's end.
const STEP: usize = 64 * 1024;

/// The beginning of a content.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// True when it was read through a decompressor.
    pub(super) compressed: bool,
    /// At most [`HEAD_LENGTH`] bytes.
    pub(super) bytes: Arc<[u8]>,
    /// False when there are fewer because no more can be decompressed, not because that is all.
    pub(super) whole: bool,
    /// The content's size modulo 2³² as a compressed file tells it (RFC 1952, ISIZE).
    pub(super) size_modulo: Option<u32>,
}

/// Heads of files that have not changed since they were read.
#[derive(Debug, Default)]
pub(super) struct HeadCache(HashMap<Identity, CachedHead>);

#[derive(Debug)]
struct CachedHead {
    head: Head,
    named_compressed: bool,
    size: u64,
    modified: SystemTime,
    seen: bool,
}

impl HeadCache {
    /// The head of a file with this metadata, read only when the file has changed. What is `named_compressed` and holds
    /// text all the same is taken for text.
    pub(super) fn get(
        &mut self,
        path: &Path,
        identity: Identity,
        metadata: &Metadata,
        named_compressed: bool,
    ) -> io::Result<Head> {
        let (size, modified) = (metadata.len(), metadata.modified()?);
        if let Some(cached) = self.0.get_mut(&identity)
            && (cached.size, cached.modified, cached.named_compressed) == (size, modified, named_compressed)
        {
            cached.seen = true;
            return Ok(cached.head.clone());
        }
        let plain = plain_head(path)?;
        let head = if named_compressed && !is_text(&plain.bytes) { compressed_head(path)? } else { plain };
        self.0.insert(identity, CachedHead { head: head.clone(), named_compressed, size, modified, seen: true });
        Ok(head)
    }

    /// Drops what was not asked for since the last call.
    pub(super) fn forget_unseen(&mut self) {
        self.0.retain(|_, cached| std::mem::take(&mut cached.seen));
    }
}

/// The offset behind the last newline of a plain file; 0 when it has none.
pub(super) fn last_line_end(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; STEP];
    while end > 0 {
        let start = end.saturating_sub(STEP as u64);
        // The difference is at most STEP, which is a usize.
        let step = &mut buffer[..usize::try_from(end - start).unwrap_or(STEP)];
        file.read_exact_at(step, start)?;
        if let Some(index) = memrchr(b'\n', step) {
            return Ok(start + index as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn plain_head(path: &Path) -> io::Result<Head> {
    let mut bytes = Vec::with_capacity(HEAD_LENGTH);
    File::open(path)?.take(HEAD_LENGTH as u64).read_to_end(&mut bytes)?;
    Ok(Head { compressed: false, bytes: bytes.into(), whole: true, size_modulo: None })
}

/// True for what begins with text: anything compressed has control characters soon, gzip as its very first byte.
fn is_text(head: &[u8]) -> bool {
    let is_binary = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    !head.is_empty() && !head.iter().any(is_binary)
}

fn compressed_head(path: &Path) -> io::Result<Head> {
    let file = File::open(path)?;
    let mut trailer = [0; 4];
    let trailer_start = file.metadata()?.len().checked_sub(4);
    file.read_exact_at(&mut trailer, trailer_start.ok_or(io::ErrorKind::UnexpectedEof)?)?;
    let mut bytes = Vec::with_capacity(HEAD_LENGTH);
    let mut gzip = GzipReader::new(BufReader::new(file));
    let mut whole = true;
    while whole && bytes.len() < HEAD_LENGTH && !gzip.is_at_end() {
        let missing = HEAD_LENGTH - bytes.len();
        match gzip.read(&mut bytes, missing) {
            Err(error) if bytes.is_empty() => return Err(error),
            read => whole = read.is_ok(),
        }
    }
    // Zeros behind the last member hide its size.
    let size_modulo = (trailer != [0; 4] || bytes.is_empty()).then(|| u32::from_le_bytes(trailer));
    Ok(Head { compressed: true, bytes: bytes.into(), whole, size_modulo })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    fn head(path: &Path, compressed: bool) -> io::Result<Head> {
        let metadata = fs::metadata(path).unwrap();
        HeadCache::default().get(path, Identity::of(&metadata), &metadata, compressed)
    }

    #[test]
    fn the_end_to_start_from_is_behind_the_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let long = "x".repeat(2 * STEP);
        for (text, expected) in [("", 0), ("one\ntwo\nthr", 8), ("none", 0), (&*format!("one\n{long}"), 4)] {
            fs::write(&path, text).unwrap();
            assert_eq!(last_line_end(&path).unwrap(), expected);
        }
    }

    #[test]
    fn the_content_of_a_compressed_file_is_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log.1.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::default());
        encoder.write_all(b"one\ntwo\n").unwrap();
        encoder.finish().unwrap();
        let read = head(&path, true).unwrap();
        assert_eq!((&*read.bytes, read.size_modulo), (&b"one\ntwo\n"[..], Some(8)));
        fs::write(&path, "not compressed\n").unwrap();
        let read = head(&path, true).unwrap();
        assert_eq!((&*read.bytes, read.compressed), (&b"not compressed\n"[..], false));
        for neither in [&b"\xfd7zXZ\0\0"[..], b"", b"\x1f\x8b"] {
            fs::write(&path, neither).unwrap();
            assert!(head(&path, true).is_err());
        }
    }
}
