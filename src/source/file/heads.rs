//! How files begin, by which contents are recognised, and where their last line ends.
//!
//! A name can be given to another file, and a file be truncated, at any moment. What is said here of a file is of one file
//! and one moment: it is opened once, and asked for its state before and after its bytes were read. This module does
//! blocking I/O and decides nothing.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use memchr::memrchr;

use super::compression::unread_compression;
use super::gzip::GzipReader;
use super::identity::{HEAD_LENGTH, Identity};

/// The coarsest times of file systems come in steps of two seconds: within one, a file can change and keep its time.
pub(super) const COARSEST_STEP: Duration = Duration::from_secs(2);

/// As often is a file looked at that changes while that is done.
const ATTEMPTS: usize = 4;

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

/// A file as it was at one moment.
#[derive(Debug)]
pub(super) struct HeadReading {
    pub(super) metadata: Metadata,
    pub(super) identity: Identity,
    /// `ResourceBusy` when it changes too fast for anything to be said of it.
    pub(super) head: io::Result<Head>,
    /// The offset behind the last newline, if that was asked for and the file is not compressed.
    pub(super) line_end: Option<u64>,
}

/// What is of interest in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// What is named as if it were compressed and holds text all the same is taken for text.
    pub(super) named_compressed: bool,
    pub(super) line_end: bool,
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
    /// Looks at the file of this name; `None` when there is none, or none any more.
    pub(super) fn look(&mut self, path: &Path, question: Question) -> Option<HeadReading> {
        // What is no plain file must not be opened: a FIFO would wait for its writer.
        let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
        let cached = self.cached(&metadata, question.named_compressed);
        if let Some(head) = cached.filter(|_| !question.line_end) {
            return Some(HeadReading { identity: Identity::of(&metadata), metadata, head: Ok(head), line_end: None });
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                return Some(HeadReading {
                    identity: Identity::of(&metadata),
                    metadata,
                    head: Err(error),
                    line_end: None,
                });
            }
        };
        let look = look_into(&file, question)?;
        self.keep(&look, question.named_compressed);
        Some(look)
    }

    /// Drops what was not asked for since the last call.
    pub(super) fn forget_unseen(&mut self) {
        self.0.retain(|_, cached| std::mem::take(&mut cached.seen));
    }

    fn cached(&mut self, metadata: &Metadata, named_compressed: bool) -> Option<Head> {
        let cached = self.0.get_mut(&Identity::of(metadata))?;
        let now = (metadata.len(), metadata.modified().ok()?, named_compressed);
        if (cached.size, cached.modified, cached.named_compressed) != now {
            return None;
        }
        cached.seen = true;
        Some(cached.head.clone())
    }

    /// Keeps a head for as long as the file does not change, if that can be told by its time.
    fn keep(&mut self, look: &HeadReading, named_compressed: bool) {
        let (Ok(head), Ok(modified)) = (&look.head, look.metadata.modified()) else { return };
        if modified.elapsed().is_ok_and(|age| age > COARSEST_STEP) {
            let (head, size) = (head.clone(), look.metadata.len());
            self.0.insert(look.identity, CachedHead { head, named_compressed, size, modified, seen: true });
        }
    }
}

fn look_into(file: &File, question: Question) -> Option<HeadReading> {
    let mut before = file.metadata().ok().filter(Metadata::is_file)?;
    for _ in 0..ATTEMPTS {
        let head = head(file, question.named_compressed);
        let plain = head.as_ref().is_ok_and(|head| !head.compressed);
        let line_end = (question.line_end && plain).then(|| last_line_end(file).ok()).flatten();
        let after = file.metadata().ok()?;
        // A plain file that was empty, filled and emptied again may have the same size and time before and after that.
        let length = head.as_ref().map_or(0, |head| head.bytes.len());
        let is_as_long = !plain || length as u64 == before.len().min(HEAD_LENGTH as u64);
        if is_as_long && is_of_one_moment(&before, &after, length) {
            return Some(HeadReading { identity: Identity::of(&before), metadata: before, head, line_end });
        }
        before = after;
    }
    let head = Err(io::ErrorKind::ResourceBusy.into());
    Some(HeadReading { identity: Identity::of(&before), metadata: before, head, line_end: None })
}

/// True when a head of this length, read between the two states of a file, belongs to both of them. A whole head stays as
/// it is while the file grows.
fn is_of_one_moment(before: &Metadata, after: &Metadata, head_length: usize) -> bool {
    let state = |metadata: &Metadata| (metadata.len(), metadata.modified().ok());
    let has_grown = after.len() >= before.len() && before.len() >= HEAD_LENGTH as u64;
    state(before) == state(after) || (has_grown && head_length == HEAD_LENGTH)
}

/// The offset behind the last newline of a plain file; 0 when it has none.
fn last_line_end(file: &File) -> io::Result<u64> {
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

fn head(file: &File, named_compressed: bool) -> io::Result<Head> {
    let mut bytes = vec![0; HEAD_LENGTH];
    let length = read_up_to(file, 0, &mut bytes)?;
    bytes.truncate(length);
    if named_compressed && !is_text(&bytes) && unread_compression(&bytes).is_none() {
        return compressed_head(file);
    }
    Ok(Head { compressed: false, bytes: bytes.into(), whole: true, size_modulo: None })
}

/// Reads at `position` until the buffer is full or the file ends. Returns the number of bytes read.
pub(super) fn read_up_to(file: &File, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], position + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// True for what begins with text: anything compressed has control characters soon, gzip as its very first byte.
fn is_text(head: &[u8]) -> bool {
    let is_binary = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    !head.is_empty() && !head.iter().any(is_binary)
}

fn compressed_head(mut file: &File) -> io::Result<Head> {
    file.rewind()?;
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
    use std::sync::atomic::{AtomicBool, Ordering};

    fn look(path: &Path, named_compressed: bool, line_end: bool) -> HeadReading {
        HeadCache::default().look(path, Question { named_compressed, line_end }).unwrap()
    }

    fn head(path: &Path, named_compressed: bool) -> io::Result<Head> {
        look(path, named_compressed, false).head
    }

    #[test]
    fn the_end_to_start_from_is_behind_the_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let long = "x".repeat(2 * STEP);
        for (text, expected) in [("", 0), ("one\ntwo\nthr", 8), ("none", 0), (&*format!("one\n{long}"), 4)] {
            fs::write(&path, text).unwrap();
            assert_eq!(look(&path, false, true).line_end, Some(expected));
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
        for neither in [&b"\x7fELF\0\0"[..], b"", b"\x1f\x8b"] {
            fs::write(&path, neither).unwrap();
            assert!(head(&path, true).is_err());
        }
    }

    /// As rotation does, over and over: each file keeps what it holds, and its name goes round.
    #[test]
    fn a_file_that_changes_its_name_meanwhile_is_not_taken_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize| folder.path().join(number.to_string());
        let mut texts = HashMap::new();
        for number in 1..=3 {
            let text = format!("the text of {number}\n");
            fs::write(path(number), &text).unwrap();
            // Long ago, so that what is known of it is kept.
            File::options().write(true).open(path(number)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            texts.insert(Identity::of(&fs::metadata(path(number)).unwrap()), text);
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for (from, to) in [(3, 0), (2, 3), (1, 2), (0, 1)] {
                        fs::rename(path(from), path(to)).unwrap();
                    }
                }
            });
            let mut cache = HeadCache::default();
            let looks = (0..=3).cycle().take(20_000).filter_map(|number| {
                cache.look(&path(number), Question { named_compressed: false, line_end: number == 0 })
            });
            let wrong = looks.filter(|look| look.head.as_ref().unwrap().bytes[..] != *texts[&look.identity].as_bytes());
            let wrong = wrong.count();
            done.store(true, Ordering::Relaxed);
            assert_eq!(wrong, 0);
        });
    }

    /// As copytruncate does: what is said of the size belongs to what is said of the beginning.
    #[test]
    fn a_file_that_is_truncated_meanwhile_is_seen_before_or_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Each text has a length of its own, as the times of files may come in coarse steps.
                for number in (1..HEAD_LENGTH).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                    fs::write(&path, "s".repeat(number)).unwrap();
                    fs::write(&path, "l".repeat(HEAD_LENGTH + number)).unwrap();
                }
            });
            let looks = (0..20_000).map(|_| look(&path, false, false));
            let wrong = looks.filter(|look| {
                let letter = if look.metadata.len() < HEAD_LENGTH as u64 { b's' } else { b'l' };
                look.head.as_ref().is_ok_and(|head| head.bytes.iter().any(|byte| *byte != letter))
            });
            let wrong = wrong.count();
            done.store(true, Ordering::Relaxed);
            assert_eq!(wrong, 0);
        });
    }
}
