//! What a `.gz` holds: its members one after the other, and nothing for the zeros that may fill it up, as `zcat` does.
//!
//! What comes before a fault is read, whatever follows. This module must not know where its bytes come from.

use std::io::{self, BufRead, Read as _};

use flate2::bufread::GzDecoder;

/// Reads the content of a compressed file onwards.
#[derive(Debug)]
pub(super) struct GzipReader<R: BufRead> {
    state: GzipState<R>,
}

#[derive(Debug)]
enum GzipState<R: BufRead> {
    Between(R),
    Member(Box<GzDecoder<R>>),
    /// Its end, or a fault was met before. A decoder that has met one must not be asked again: when there is more by then,
    /// it never returns.
    Over(Option<(io::ErrorKind, String)>),
}

impl<R: BufRead> GzipReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { state: GzipState::Between(input) }
    }

    /// Adds up to `most` bytes; fewer only at the end, or before a fault that the next call reports.
    ///
    /// # Errors
    /// When the input cannot be read, ends too early (`UnexpectedEof`) or is damaged (`InvalidData`).
    pub(super) fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<()> {
        let before = bytes.len();
        while bytes.len() - before < most {
            match self.read_some(bytes, most - (bytes.len() - before)) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The next call finds the same.
                Err(_) if bytes.len() > before => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// True when there is nothing more, and nothing was wrong.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.state, GzipState::Over(None))
    }

    /// Reads something, or moves on; returns false at the end.
    fn read_some(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<bool> {
        match &mut self.state {
            GzipState::Over(None) => Ok(false),
            GzipState::Over(Some((kind, fault))) => Err(io::Error::new(*kind, fault.clone())),
            GzipState::Between(input) => {
                let next = input.fill_buf()?;
                match next.iter().position(|byte| *byte != 0) {
                    None if next.is_empty() => self.state = GzipState::Over(None),
                    None => {
                        let zeros = next.len();
                        input.consume(zeros);
                    }
                    Some(zeros) if next[zeros] == 0x1f => {
                        input.consume(zeros);
                        self.begin_member();
                    }
                    Some(_) => {
                        let fault = "what follows there is no gzip data".to_owned();
                        self.state = GzipState::Over(Some((io::ErrorKind::InvalidData, fault)));
                    }
                }
                Ok(true)
            }
            GzipState::Member(decoder) => {
                match decoder.by_ref().take(most as u64).read_to_end_or_fault(bytes) {
                    (_, Some(error)) => {
                        let kind = match error.kind() {
                            io::ErrorKind::InvalidInput => io::ErrorKind::InvalidData,
                            kind => kind,
                        };
                        self.state = GzipState::Over(Some((kind, error.to_string())));
                    }
                    (0, None) => self.end_member(),
                    (_, None) => {}
                }
                Ok(true)
            }
        }
    }

    fn begin_member(&mut self) {
        self.state = match std::mem::replace(&mut self.state, GzipState::Over(None)) {
            GzipState::Between(input) => GzipState::Member(Box::new(GzDecoder::new(input))),
            other => other,
        };
    }

    fn end_member(&mut self) {
        self.state = match std::mem::replace(&mut self.state, GzipState::Over(None)) {
            GzipState::Member(decoder) => GzipState::Between(decoder.into_inner()),
            other => other,
        };
    }
}

/// Reading that keeps what came before an error.
trait ReadToFault {
    /// The number of bytes added, and what ended it if that was not the end.
    fn read_to_end_or_fault(self, bytes: &mut Vec<u8>) -> (usize, Option<io::Error>);
}

impl<R: io::Read> ReadToFault for R {
    fn read_to_end_or_fault(mut self, bytes: &mut Vec<u8>) -> (usize, Option<io::Error>) {
        let before = bytes.len();
        // What was read before an error has been added.
        let error = self.read_to_end(bytes).err();
        (bytes.len() - before, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn member(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// What is read before the end or the fault, and the fault.
    fn read(bytes: &[u8]) -> (String, Option<io::ErrorKind>) {
        let mut reader = GzipReader::new(bytes);
        let mut text = Vec::new();
        let fault = loop {
            match reader.read(&mut text, 7) {
                Ok(()) if reader.is_at_end() => break None,
                Ok(()) => {}
                Err(error) => break Some(error.kind()),
            }
        };
        (String::from_utf8(text).unwrap(), fault)
    }

    #[test]
    fn members_and_zeros_behind_them_are_read_as_zcat_does() {
        let both = [member("one\n"), member("two and more\n"), vec![0; 700]].concat();
        assert_eq!(read(&both), ("one\ntwo and more\n".to_owned(), None));
        assert_eq!(read(&[]), (String::new(), None));
    }

    #[test]
    fn what_comes_before_a_fault_is_read() {
        let text: String = (0..2000).map(|number| format!("line {number}\n")).collect();
        let whole = member(&text);
        let (half, fault) = read(&whole[..whole.len() / 2]);
        assert!(text.starts_with(&half) && half.len() > 1000 && fault == Some(io::ErrorKind::UnexpectedEof));
        let mut growing = tempfile::NamedTempFile::new().unwrap();
        growing.write_all(&whole[..whole.len() / 2]).unwrap();
        let mut reader = GzipReader::new(io::BufReader::new(growing.reopen().unwrap()));
        let mut read_before = Vec::new();
        reader.read(&mut read_before, usize::MAX).unwrap();
        growing.write_all(&whole[whole.len() / 2..]).unwrap();
        let fault = reader.read(&mut read_before, usize::MAX).unwrap_err();
        assert_eq!((read_before.len(), fault.kind()), (half.len(), io::ErrorKind::UnexpectedEof));
        let garbage = [&whole[..], b"garbage"].concat();
        assert_eq!(read(&garbage), (text, Some(io::ErrorKind::InvalidData)));
    }
}
