//! Lines out of chunks of bytes, within a bound on memory: shared by the connectors that read text.
//!
//! This module does no I/O and knows neither files nor events.

use bytes::Bytes;
use memchr::memchr;

use super::Defect;
use crate::event::Format;

/// What some programs put at the beginning of a text in UTF-8; it is no part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// As many NULs before a line may be read again when the line has no end yet. There may be gigabytes of them, which take
/// no room on the disk.
const NULS_READ_AGAIN: u64 = 64 * 1024;

/// True for the beginning of a text in UTF-16, by its byte order mark. No lines can be made of it. With the format
/// `bytes` nothing is text.
pub(super) fn is_utf16(head: &[u8], format: Format) -> bool {
    is_text(format) && (head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF"))
}

/// One line that is not empty, without its line end (`\n` or `\r\n`), without NULs before its text, and without the
/// byte order mark of UTF-8 before the first line. A file that is truncated while a program writes to it without
/// `O_APPEND` gets NULs up to where that program was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Offset of the line's first byte.
    pub(super) start: u64,
    /// Offset behind the line's end.
    pub(super) end: u64,
    /// The line's bytes; of a line longer than the limit only the first `limit` bytes.
    pub(super) payload: Bytes,
    /// The full length of its text in bytes.
    pub(super) size: u64,
}

impl Line {
    /// What keeps the line from being delivered.
    pub(super) fn defect(&self, limit: usize) -> Option<Defect> {
        (self.size > limit as u64).then_some(Defect::TooLarge { size: self.size, limit })
    }
}

/// Splits chunks into lines. Of a line longer than the limit it keeps no more than the limit.
///
/// Every line is copied out of its chunk. A slice would save the copy but keep the whole chunk alive for as long as one
/// slow event of it is open: thousands of stragglers from as many chunks would hold a thousand times what is counted
/// against the bound on bytes in flight.
#[derive(Debug)]
pub(super) struct LineSplitter {
    limit: usize,
    /// Lines are text: NULs before one and the byte order mark are no part of it.
    is_text: bool,
    /// The chunk being split, and how much of it is done.
    chunk: Vec<u8>,
    cursor: usize,
    /// Where the line being read starts.
    line_start: u64,
    /// Its text from earlier chunks: a few bytes more than the limit at most, so that a `\r` can still turn out to be a
    /// part of the line's end, and a byte order mark be taken off.
    held: Vec<u8>,
    /// The number of its bytes in earlier chunks, held or not.
    length: u64,
    /// As many of them are NULs before its text, which are not held.
    nuls: u64,
    ends_with_carriage_return: bool,
}

impl LineSplitter {
    /// A splitter for bytes from `offset` on. Lines longer than `limit` bytes are cut. With the format `bytes` all bytes
    /// of a line are its payload.
    pub(super) fn new(limit: usize, offset: u64, format: Format) -> Self {
        Self {
            limit,
            is_text: is_text(format),
            chunk: Vec::new(),
            cursor: 0,
            line_start: offset,
            held: Vec::new(),
            length: 0,
            nuls: 0,
            ends_with_carriage_return: false,
        }
    }

    /// Takes the next chunk. The one before must have been used up: `next_line` has returned `None`.
    pub(super) fn feed(&mut self, chunk: Vec<u8>) {
        debug_assert_eq!(self.cursor, self.chunk.len(), "the chunk before has not been used up");
        self.chunk = chunk;
        self.cursor = 0;
    }

    /// The next line that has its end in the chunk, or `None` when the chunk is used up. Empty lines are passed over.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        while let Some(index) = memchr(b'\n', &self.chunk[self.cursor..]) {
            let end_in_chunk = self.cursor + index;
            let line = self.complete(end_in_chunk, 1);
            self.cursor = end_in_chunk + 1;
            if line.size > 0 {
                return Some(line);
            }
        }
        self.hold_rest();
        None
    }

    /// What is left when no more chunks will come: the last line, if it has no end.
    pub(super) fn finish(&mut self) -> Option<Line> {
        self.hold_rest();
        let line = self.complete(self.cursor, 0);
        (line.size > 0).then_some(line)
    }

    /// Forgets the beginning of the unfinished line; its bytes must be fed again, from [`position`](Self::position).
    pub(super) fn rewind(&mut self) {
        self.length = 0;
        self.nuls = 0;
        self.held = Vec::new();
        self.ends_with_carriage_return = false;
    }

    /// Makes no line of what is left of the chunk, nor of what was held; once the chunk is used up.
    pub(super) fn discard(&mut self) {
        self.hold_rest();
        self.line_start = self.position();
        self.rewind();
    }

    /// The offset of the next byte to feed, once the chunk is used up.
    pub(super) fn position(&self) -> u64 {
        self.line_start + self.length
    }

    /// The offset of the first byte that does not belong to a finished line.
    pub(super) fn line_start(&self) -> u64 {
        self.line_start
    }

    /// True when the beginning of a line is held.
    pub(super) fn has_partial_line(&self) -> bool {
        self.length > 0
    }

    /// True when the unfinished line is too long already, or has many NULs before it, so that its bytes are counted and
    /// not kept.
    pub(super) fn is_skipping(&self) -> bool {
        self.length - self.nuls > self.limit as u64 + 1 || self.nuls > NULS_READ_AGAIN
    }

    /// Gives the buffer of the used-up chunk back, to be filled again.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.cursor = 0;
        std::mem::take(&mut self.chunk)
    }

    /// Ends the line at `end_in_chunk` and starts the next one `terminator` bytes behind it.
    fn complete(&mut self, end_in_chunk: usize, terminator: u64) -> Line {
        let in_chunk = &self.chunk[self.cursor..end_in_chunk];
        let length = self.length + in_chunk.len() as u64;
        let text = if self.is_before_text() { without_nuls(in_chunk) } else { in_chunk };
        let nuls = self.nuls + (in_chunk.len() - text.len()) as u64;
        let is_first = self.is_text && self.line_start == 0 && nuls == 0;
        let marked = is_first && self.held.iter().chain(text).take(BYTE_ORDER_MARK.len()).eq(BYTE_ORDER_MARK);
        let mark = if marked { BYTE_ORDER_MARK.len() } else { 0 };
        let carriage_return = text.last().map_or(self.ends_with_carriage_return, |byte| *byte == b'\r');
        let size = length - nuls - mark as u64 - u64::from(carriage_return);
        let kept = mark + usize::try_from(size).unwrap_or(usize::MAX).min(self.limit);
        let payload = if self.held.is_empty() {
            Bytes::copy_from_slice(&text[mark..kept])
        } else {
            let missing = kept.saturating_sub(self.held.len());
            self.held.extend_from_slice(&text[..missing]);
            Bytes::copy_from_slice(&self.held[mark..kept])
        };
        let start = self.line_start;
        let end = start + length + terminator;
        self.line_start = end;
        self.rewind();
        Line { start, end, payload, size }
    }

    /// True when nothing but NULs has been read of a line of text.
    fn is_before_text(&self) -> bool {
        self.is_text && self.length == self.nuls
    }

    fn hold_rest(&mut self) {
        let rest = &self.chunk[self.cursor..];
        let text = if self.is_before_text() { without_nuls(rest) } else { rest };
        self.nuls += (rest.len() - text.len()) as u64;
        self.length += rest.len() as u64;
        if let Some(last) = text.last() {
            self.ends_with_carriage_return = *last == b'\r';
            let most = self.limit.saturating_add(1 + BYTE_ORDER_MARK.len());
            let room = most.saturating_sub(self.held.len());
            self.held.extend_from_slice(&text[..room.min(text.len())]);
        }
        self.cursor = self.chunk.len();
    }
}

fn is_text(format: Format) -> bool {
    format != Format::Bytes
}

/// What follows the NULs at the beginning.
fn without_nuls(bytes: &[u8]) -> &[u8] {
    let text = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    &bytes[text..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 8;

    /// Splits `text`, cut into chunks at `cuts`.
    fn split(text: &[u8], cuts: &[usize]) -> Vec<Line> {
        let mut splitter = LineSplitter::new(LIMIT, 0, Format::Text);
        let mut lines = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        for range in cuts.windows(2) {
            splitter.feed(text[range[0]..range[1]].to_vec());
            while let Some(line) = splitter.next_line() {
                lines.push(line);
            }
            assert_eq!(splitter.position(), range[1] as u64);
            assert!(splitter.held.len() <= LIMIT + 4, "memory is bounded");
        }
        lines.extend(splitter.finish());
        lines
    }

    /// What the lines of `text` are, found the simple way.
    fn expected(text: &[u8]) -> Vec<Line> {
        let mut start = 0;
        let mut lines = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let end = start + line.len();
            let body = line.strip_suffix(b"\n").unwrap_or(line);
            let body = body.strip_suffix(b"\r").unwrap_or(body);
            let body = match body.strip_prefix(BYTE_ORDER_MARK) {
                Some(text) if start == 0 => text,
                _ => without_nuls(body),
            };
            if !body.is_empty() {
                let payload = Bytes::copy_from_slice(&body[..body.len().min(LIMIT)]);
                lines.push(Line { start: start as u64, end: end as u64, payload, size: body.len() as u64 });
            }
            start = end;
        }
        lines
    }

    #[test]
    fn lines_have_their_ends_taken_off_and_empty_ones_are_passed_over() {
        let lines = split(b"one\r\n\r\n\ntwo\nthree", &[]);
        let texts: Vec<&[u8]> = lines.iter().map(|line| &line.payload[..]).collect();
        assert_eq!(texts, [&b"one"[..], b"two", b"three"]);
        assert_eq!((lines[1].start, lines[1].end), (8, 12));
    }

    #[test]
    fn a_line_over_the_limit_keeps_its_beginning_and_its_size() {
        let lines = split(b"12345678\r\n123456789\r\nrest\n", &[4, 11, 19]);
        assert_eq!(lines[0].defect(LIMIT), None);
        assert_eq!(lines[1].defect(LIMIT), Some(Defect::TooLarge { size: 9, limit: LIMIT }));
        assert_eq!(&lines[1].payload[..], b"12345678");
        assert_eq!(&lines[2].payload[..], b"rest");
    }

    #[test]
    fn an_unfinished_line_can_be_read_again() {
        let mut splitter = LineSplitter::new(LIMIT, 100, Format::Text);
        splitter.feed(b"one\ntw".to_vec());
        assert_eq!(splitter.next_line().unwrap().end, 104);
        assert_eq!(splitter.next_line(), None);
        assert_eq!(splitter.position(), 106);
        splitter.rewind();
        assert_eq!(splitter.position(), 104);
        splitter.feed(b"two\n".to_vec());
        assert_eq!(&splitter.next_line().unwrap().payload[..], b"two");
    }

    #[test]
    fn what_is_before_the_text_is_no_part_of_it() {
        let nuls = vec![0; 100];
        let lines = split(&[BYTE_ORDER_MARK, b"12345678\r\n", &nuls, b"two\0\r\n", &nuls].concat(), &[1, 2, 7, 50, 80]);
        assert_eq!(lines.len(), 2, "NULs alone are no line");
        assert_eq!((&lines[0].payload[..], lines[0].defect(LIMIT)), (&b"12345678"[..], None));
        assert_eq!((&lines[1].payload[..], lines[1].start, lines[1].size), (&b"two\0"[..], 13, 4));
    }

    #[test]
    fn where_nothing_is_text_all_bytes_are_the_records() {
        let line = [BYTE_ORDER_MARK, b"\0\0x"].concat();
        let mut splitter = LineSplitter::new(LIMIT, 0, Format::Bytes);
        splitter.feed([&line[..], b"\n\0y\n"].concat());
        let payloads: Vec<Bytes> = std::iter::from_fn(|| splitter.next_line()).map(|line| line.payload).collect();
        assert_eq!(payloads, [line, b"\0y".to_vec()]);
        assert!(!is_utf16(b"\xFF\xFE", Format::Bytes));
    }

    proptest! {
        /// The lines do not depend on where the chunks are cut.
        #[test]
        fn chunks_do_not_matter(
            mark in any::<bool>(),
            text in prop::collection::vec(prop::sample::select(b"ab\0\0\r\n".as_slice()), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..10),
        ) {
            let text = if mark { [BYTE_ORDER_MARK, &text].concat() } else { text };
            prop_assert_eq!(split(&text, &cuts), expected(&text));
        }
    }
}
