//! One open content, read in chunks: a plain file or what a `.gz` holds.
//!
//! It does blocking I/O and runs on a blocking thread; a chunk is large enough to make the hop there worth its price. It
//! decides nothing but whether what it has read is what it was asked for.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use super::gzip::GzipReader;
use super::heads::read_up_to;
use super::identity::{HEAD_LENGTH, Identity, Mark};

/// Bytes per chunk.
pub(super) const CHUNK_SIZE: usize = 256 * 1024;

/// Where a content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileLocation {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) compressed: bool,
}

/// An open content. A file that is open stays readable when it is renamed or deleted.
#[derive(Debug)]
pub(super) struct Content {
    identity: Identity,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Plain(File),
    Compressed { gzip: GzipReader<BufReader<File>>, modified: SystemTime, stored_size: u64, position: u64 },
}

/// By what a content is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    /// What it begins with.
    pub(super) head: Vec<u8>,
    /// What it has further on.
    pub(super) mark: Option<Mark>,
    /// True when the file may be a copy that ends before the mark, or even within the head.
    pub(super) may_end_early: bool,
}

/// What a read has brought.
#[derive(Debug)]
pub(super) enum Chunk {
    Bytes {
        bytes: Vec<u8>,
        /// True when there was nothing behind these bytes.
        end_of_file: bool,
        /// The content's size as far as it is known.
        size: u64,
        /// When the file was last written to.
        modified: SystemTime,
        /// By what the content is known to go on behind these bytes; `None` when there is nothing new to know it by.
        mark: Option<Mark>,
    },
    /// The content asked for is not in the file, or not any more: it was truncated.
    Displaced,
}

/// What a file that has replaced another one has to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// It has all the bytes of the former file, and perhaps more behind them.
    Continues,
    /// It is another content, which begins at this offset; before that it has the former file's lines.
    Differs { from: u64 },
}

impl Content {
    /// Opens the file at `place`.
    ///
    /// # Errors
    /// `NotFound` also when another file is there by now.
    pub(super) fn open(place: &FileLocation) -> io::Result<Self> {
        let file = File::open(&place.path)?;
        if Identity::of(&file.metadata()?) != place.identity {
            return Err(io::ErrorKind::NotFound.into());
        }
        let reader = if place.compressed {
            let metadata = file.metadata()?;
            let (modified, stored_size) = (metadata.modified()?, metadata.len());
            Reader::Compressed { gzip: GzipReader::new(BufReader::new(file)), modified, stored_size, position: 0 }
        } else {
            Reader::Plain(file)
        };
        Ok(Self { identity: place.identity, reader })
    }

    /// The file that is open.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.stored_size().is_some()
    }

    /// The size of a compressed file itself when it was opened.
    pub(super) fn stored_size(&self) -> Option<u64> {
        match self.reader {
            Reader::Plain(_) => None,
            Reader::Compressed { stored_size, .. } => Some(stored_size),
        }
    }

    /// Reads a chunk from `position` into `buffer`. A compressed content can only be read onwards.
    pub(super) fn read_chunk(&mut self, position: u64, expected: &Expected, buffer: Vec<u8>) -> io::Result<Chunk> {
        match &mut self.reader {
            Reader::Plain(file) => read_plain(file, position, expected, buffer),
            Reader::Compressed { gzip, modified, position: at, .. } => {
                let mut bytes = buffer;
                while *at < position && !gzip.is_at_end() {
                    bytes.clear();
                    let behind = usize::try_from(position - *at).unwrap_or(CHUNK_SIZE).min(CHUNK_SIZE);
                    gzip.read(&mut bytes, behind)?;
                    *at += bytes.len() as u64;
                }
                bytes.clear();
                gzip.read(&mut bytes, CHUNK_SIZE)?;
                *at += bytes.len() as u64;
                let end_of_file = gzip.is_at_end();
                Ok(Chunk::Bytes { bytes, end_of_file, size: *at, modified: *modified, mark: None })
            }
        }
    }
}

impl Content {
    /// Compares a plain file that is open with the one that has replaced it.
    pub(super) fn compare(&self, replacement: &FileLocation) -> io::Result<Agreement> {
        let Reader::Plain(file) = &self.reader else { return Ok(Agreement::Continues) };
        let other = Content::open(replacement)?;
        let Reader::Plain(other) = &other.reader else { return Ok(Agreement::Differs { from: 0 }) };
        // Moved to where nobody looks: what is at its path now is something else, however it begins.
        if file.metadata()?.nlink() > 0 {
            return Ok(Agreement::Differs { from: 0 });
        }
        let (mut left, mut right) = (vec![0; CHUNK_SIZE], vec![0; CHUNK_SIZE]);
        let (mut position, mut line_end) = (0, 0);
        loop {
            let length = read_up_to(file, position, &mut left)?;
            if length == 0 {
                return Ok(Agreement::Continues);
            }
            let other_length = read_up_to(other, position, &mut right)?;
            let pairs = left[..length].iter().zip(&right[..other_length]);
            let same = pairs.take_while(|(left, right)| left == right).count();
            if let Some(end) = memchr::memrchr(b'\n', &left[..same]) {
                line_end = position + end as u64 + 1;
            }
            if same < length {
                // What agrees in less than a head may agree by chance.
                let from = if position + same as u64 >= HEAD_LENGTH as u64 { line_end } else { 0 };
                return Ok(Agreement::Differs { from });
            }
            position += same as u64;
        }
    }
}

fn read_plain(file: &File, position: u64, expected: &Expected, mut buffer: Vec<u8>) -> io::Result<Chunk> {
    let available = file.metadata()?.len().saturating_sub(position);
    buffer.resize(usize::try_from(available).unwrap_or(CHUNK_SIZE).min(CHUNK_SIZE), 0);
    let length = read_up_to(file, position, &mut buffer)?;
    buffer.truncate(length);

    let line_end = memchr::memrchr(b'\n', &buffer).map(|end| position + end as u64 + 1);
    let mark = match line_end.or(expected.mark.is_none().then_some(position)) {
        Some(end) => mark_at(file, end)?,
        None => None,
    };

    // Looked at after the bytes were read: a truncation before that would show here.
    let metadata = file.metadata()?;
    let head = &expected.head;
    let mut current_head = [0; HEAD_LENGTH];
    let current_head = &mut current_head[..head.len().min(HEAD_LENGTH)];
    let read = read_up_to(file, 0, current_head)?;
    let is_short = metadata.len() < position + length as u64 || (read < head.len() && !expected.may_end_early);
    if is_short || current_head[..read] != head[..read] || !has_mark(file, metadata.len(), expected)? {
        return Ok(Chunk::Displaced);
    }
    let size = metadata.len();
    let end_of_file = position + length as u64 >= size;
    Ok(Chunk::Bytes { bytes: buffer, end_of_file, size, modified: metadata.modified()?, mark })
}

/// The mark of a line that ends here; `None` when none does.
fn mark_at(file: &File, end: u64) -> io::Result<Option<Mark>> {
    let mut bytes = vec![0; usize::try_from(end).unwrap_or(Mark::LENGTH).min(Mark::LENGTH)];
    let length = read_up_to(file, end - bytes.len() as u64, &mut bytes)?;
    Ok((length == bytes.len() && bytes.last() == Some(&b'\n')).then(|| Mark::of(end, &bytes)))
}

fn has_mark(file: &File, size: u64, expected: &Expected) -> io::Result<bool> {
    let Some(mark) = &expected.mark else { return Ok(true) };
    if size < mark.end() {
        return Ok(expected.may_end_early);
    }
    let (start, length) = mark.place();
    let mut bytes = vec![0; length];
    let read = read_up_to(file, start, &mut bytes)?;
    Ok(mark.matches(&bytes[..read]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    fn place(path: PathBuf, compressed: bool) -> FileLocation {
        let identity = Identity::of(&fs::metadata(&path).unwrap());
        FileLocation { path, identity, compressed }
    }

    fn expected(head: &[u8]) -> Expected {
        Expected { head: head.to_vec(), ..Expected::default() }
    }

    fn bytes(chunk: Chunk) -> (Vec<u8>, bool, u64) {
        match chunk {
            Chunk::Bytes { bytes, end_of_file, size, .. } => (bytes, end_of_file, size),
            Chunk::Displaced => panic!("displaced"),
        }
    }

    #[test]
    fn a_truncated_file_is_noticed_even_when_it_has_grown_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "one\ntwo\n").unwrap();
        let mut content = Content::open(&place(path.clone(), false)).unwrap();
        let read = content.read_chunk(4, &expected(b"one\n"), Vec::new()).unwrap();
        assert_eq!(bytes(read), (b"two\n".to_vec(), true, 8));
        for text in ["", "one", "another one\n"] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(content.read_chunk(8, &expected(b"one\ntwo\n"), Vec::new()).unwrap(), Chunk::Displaced),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_that_only_begins_alike_is_not_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let header = format!("{}\n", "h".repeat(2000));
        fs::write(&path, format!("{header}one\ntwo")).unwrap();
        let head = &header.as_bytes()[..HEAD_LENGTH];
        let read = |text: &str, position: u64, expected: &Expected| {
            fs::write(&path, text).unwrap();
            Content::open(&place(path.clone(), false)).unwrap().read_chunk(position, expected, Vec::new()).unwrap()
        };
        let Chunk::Bytes { mark, .. } = read(&format!("{header}one\ntwo"), 0, &expected(head)) else { panic!() };
        let known = Expected { head: head.to_vec(), mark: mark.clone(), may_end_early: false };
        assert_eq!(mark.unwrap().end(), header.len() as u64 + 4, "the last line's end");
        let position = header.len() as u64 + 4;
        let goes_on = read(&format!("{header}one\nTWO\n"), position, &known);
        assert_eq!(bytes(goes_on).0, b"TWO\n", "what was not read of a line may change");
        for other in [format!("{header}ONE\ntwo\nthree\n"), format!("{header}ab\n"), format!("{header}x\n{header}")] {
            assert!(matches!(read(&other, position, &known), Chunk::Displaced), "{other}");
        }
        let copy = Expected { may_end_early: true, ..known };
        assert_eq!(bytes(read(&format!("{header}on"), header.len() as u64, &copy)).0, b"on");
        assert!(matches!(read(&format!("{header}ONE\n"), header.len() as u64, &copy), Chunk::Displaced));
        let short_copy = Expected { head: b"one\ntwo\n".to_vec(), mark: None, may_end_early: true };
        assert_eq!(bytes(read("one\n", 0, &short_copy)).0, b"one\n");
        assert!(matches!(read("two\n", 0, &short_copy), Chunk::Displaced));
        assert!(matches!(read("one\n", 0, &Expected { may_end_early: false, ..short_copy }), Chunk::Displaced));
    }

    #[test]
    fn a_compressed_content_is_read_from_any_position() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::default());
        let text = "0123456789".repeat(CHUNK_SIZE / 10 + 100);
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let mut content = Content::open(&place(path, true)).unwrap();
        let (first, end, _) = bytes(content.read_chunk(10, &expected(b""), Vec::new()).unwrap());
        assert!(first == text.as_bytes()[10..10 + CHUNK_SIZE] && !end);
        let (rest, end, size) = bytes(content.read_chunk(10 + CHUNK_SIZE as u64, &expected(b""), first).unwrap());
        assert!(rest == text.as_bytes()[10 + CHUNK_SIZE..] && end && size == text.len() as u64);
    }

    #[test]
    fn a_replacement_is_compared_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.log"), folder.path().join("b.log"));
        fs::write(&path, "one\ntwo\n").unwrap();
        let content = Content::open(&place(path.clone(), false)).unwrap();
        let long = format!("{}\n", "x".repeat(HEAD_LENGTH));
        let end = long.len() as u64;
        fs::write(&path, format!("{long}one\ntwo\n")).unwrap();
        fs::write(&other, "").unwrap();
        assert_eq!(content.compare(&place(other.clone(), false)).unwrap(), Agreement::Differs { from: 0 });
        fs::remove_file(&path).unwrap();
        for (text, expected) in [
            (format!("{long}one\ntwo\n"), Agreement::Continues),
            (format!("{long}one\ntwo\nthree\n"), Agreement::Continues),
            (format!("{long}one\ntwenty\n"), Agreement::Differs { from: end + 4 }),
            (long.clone(), Agreement::Differs { from: end }),
            ("xxx\n".to_owned(), Agreement::Differs { from: 0 }),
        ] {
            fs::write(&other, &text).unwrap();
            assert_eq!(content.compare(&place(other.clone(), false)).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn only_the_file_that_was_meant_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "one\n").unwrap();
        let meant = place(path.clone(), false);
        fs::rename(&path, folder.path().join("a.log.1")).unwrap();
        fs::write(&path, "two\n").unwrap();
        assert_eq!(Content::open(&meant).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
