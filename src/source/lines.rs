//! Lines out of chunks of bytes, within a bound on memory: shared by the connectors that read text.
//!
//! This module does no I/O and knows neither files nor events.

use bytes::Bytes;
use memchr::memchr;

use super::Defect;

/// One line that is not empty, without its line end (`\n` or `\r\n`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Offset of the line's first byte.
    pub(super) start: u64,
    /// Offset behind the line's end.
    pub(super) end: u64,
    /// The line's bytes; of a line longer than the limit only the first `limit` bytes.
    pub(super) payload: Bytes,
    /// The line's full length in bytes.
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
    /// The chunk being split, and how much of it is done.
    chunk: Vec<u8>,
    cursor: usize,
    /// Where the line being read starts.
    line_start: u64,
    /// Its bytes from earlier chunks: one more than the limit at most, so that a `\r` can still turn out to be a part
    /// of the line's end.
    held: Vec<u8>,
    /// The number of its bytes in earlier chunks, held or not.
    length: u64,
    ends_with_carriage_return: bool,
}

impl LineSplitter {
    /// A splitter for bytes from `offset` on. Lines longer than `limit` bytes are cut.
    pub(super) fn new(limit: usize, offset: u64) -> Self {
        Self {
            limit,
            chunk: Vec::new(),
            cursor: 0,
            line_start: offset,
            held: Vec::new(),
            length: 0,
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
        self.held = Vec::new();
        self.ends_with_carriage_return = false;
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

    /// True when the unfinished line is too long already, so that its bytes are counted and no longer kept.
    pub(super) fn is_skipping(&self) -> bool {
        self.length > self.held.len() as u64
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
        let carriage_return = in_chunk.last().map_or(self.ends_with_carriage_return, |byte| *byte == b'\r');
        let size = length - u64::from(carriage_return);
        let kept = usize::try_from(size).unwrap_or(usize::MAX).min(self.limit);
        let payload = if self.held.is_empty() {
            Bytes::copy_from_slice(&in_chunk[..kept])
        } else {
            let missing = kept.saturating_sub(self.held.len());
            self.held.extend_from_slice(&in_chunk[..missing]);
            self.held.truncate(kept);
            Bytes::copy_from_slice(&self.held)
        };
        let start = self.line_start;
        let end = start + length + terminator;
        self.line_start = end;
        self.rewind();
        Line { start, end, payload, size }
    }

    fn hold_rest(&mut self) {
        let rest = &self.chunk[self.cursor..];
        let Some(last) = rest.last() else { return };
        let room = (self.limit + 1).saturating_sub(self.held.len());
        self.ends_with_carriage_return = *last == b'\r';
        self.held.extend_from_slice(&rest[..room.min(rest.len())]);
        self.length += rest.len() as u64;
        self.cursor = self.chunk.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 8;

    /// Splits `text`, cut into chunks at `cuts`.
    fn split(text: &[u8], cuts: &[usize]) -> Vec<Line> {
        let mut splitter = LineSplitter::new(LIMIT, 0);
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
            assert!(splitter.held.len() <= LIMIT + 1, "memory is bounded");
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
        let mut splitter = LineSplitter::new(LIMIT, 100);
        splitter.feed(b"one\ntw".to_vec());
        assert_eq!(splitter.next_line().unwrap().end, 104);
        assert_eq!(splitter.next_line(), None);
        assert_eq!(splitter.position(), 106);
        splitter.rewind();
        assert_eq!(splitter.position(), 104);
        splitter.feed(b"two\n".to_vec());
        assert_eq!(&splitter.next_line().unwrap().payload[..], b"two");
    }

    proptest! {
        /// The lines do not depend on where the chunks are cut.
        #[test]
        fn chunks_do_not_matter(
            text in prop::collection::vec(prop::sample::select(b"ab\r\n".as_slice()), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..10),
        ) {
            prop_assert_eq!(split(&text, &cuts), expected(&text));
        }
    }
}
