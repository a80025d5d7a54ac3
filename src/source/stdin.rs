//! The stdin connector: lines of standard input, for `command | bridge run pipeline.toml`.
//!
//! Standard input can be read once only and has no identity that would outlive the process. So an event's id is
//! `stdin/<a UUID of this run>/<byte offset>`: unique, and stable for all attempts of this run, but not across runs.
//! Nothing can be committed either: what was in flight when the process dies is for whoever feeds it to send again.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::lines::{Line, LineSplitter, is_utf16};
use super::{Input, Progress, Record, Room, Source, SourceContext, SourceError};
use crate::event::{Event, Meta, MetaValue};
use crate::off_worker::{Panic, caught};
use crate::problem::Problem;

/// Bytes per read.
const CHUNK_SIZE: usize = 64 * 1024;

/// Chunks that may be read ahead; a full channel makes the writer at the other end of the pipe wait.
const CHUNKS_AHEAD: usize = 4;

/// All of standard input is one sequence.
const PARTITION: u32 = 0;

/// Reads the lines of standard input; the pipeline ends when the input ends and everything is delivered.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdinConfig {}

impl StdinConfig {
    /// The `meta` of an event that nothing was read for: the first line.
    pub fn meta_of_tests(&self) -> Meta {
        meta(0)
    }
}

/// Why standard input cannot be read (again).
#[derive(Debug, thiserror::Error)]
enum StdinError {
    #[error(
        "standard input cannot be read a second time: the events in flight were not confirmed and are lost to this run; \
         feed the input again to deliver them"
    )]
    ReadTwice,
    #[error("standard input cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the thread that reads standard input cannot be started: {0}")]
    Thread(io::Error),
    #[error("standard input is text in UTF-16, and only UTF-8 can be read: convert it, `iconv -f UTF-16 -t UTF-8`")]
    Utf16,
    #[error("standard input was read before it was connected")]
    NotConnected,
}

/// What the reading thread sends: what was read, or its panic.
type Chunk = Result<io::Result<Vec<u8>>, Panic>;

/// The source of `type = "stdin"`.
pub struct StdinSource {
    context: SourceContext,
    /// Taken by the first `connect`.
    input: Option<Box<dyn Read + Send>>,
    chunks: Option<mpsc::Receiver<Chunk>>,
    splitter: LineSplitter,
    run: Uuid,
    /// When the chunk being split was read.
    time: Timestamp,
}

impl StdinSource {
    /// A source over the process's standard input. Does no I/O.
    ///
    /// # Errors
    /// None today; the signature is that of all connectors.
    pub fn new(context: SourceContext, _config: StdinConfig) -> Result<Self, Vec<Problem>> {
        Ok(Self::over(context, io::stdin()))
    }

    pub(crate) fn over(context: SourceContext, input: impl Read + Send + 'static) -> Self {
        Self {
            splitter: LineSplitter::new(context.max_event_size, 0, context.format),
            context,
            input: Some(Box::new(input)),
            chunks: None,
            run: Uuid::new_v4(),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    fn record(&self, line: Line) -> Record {
        let defect = line.defect(self.context.max_event_size);
        let event = Event {
            id: format!("stdin/{}/{}", self.run, line.start),
            time: self.time,
            source: Arc::clone(&self.context.name),
            key: None,
            headers: Vec::new(),
            meta: meta(line.start),
            payload: Some(line.payload),
            format: self.context.format,
            content_type: None,
        };
        Record { event, partition: PARTITION, position: line.end, defect }
    }
}

/// Where a line stands.
fn meta(offset: u64) -> Meta {
    vec![("offset".into(), MetaValue::Integer(i64::try_from(offset).unwrap_or(i64::MAX)))]
}

impl Source for StdinSource {
    const READS_PARTITIONS_ALONE: bool = true;

    async fn connect(&mut self) -> Result<(), SourceError> {
        let input = self.input.take().ok_or_else(|| SourceError::permanent(StdinError::ReadTwice))?;
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        // A thread of its own and not tokio's stdin: that one reads on a thread of the runtime, which then cannot shut
        // down before somebody presses return. This thread dies with the process wherever it waits.
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn(move || {
                // A closed channel is the end of the input, which a panic is not.
                let panics = sender.clone();
                if let Err(panic) = caught(|| send_chunks(input, &sender)) {
                    panics.blocking_send(Err(panic)).ok();
                }
            })
            .map_err(|error| SourceError::permanent(StdinError::Thread(error)))?;
        self.chunks = Some(receiver);
        Ok(())
    }

    async fn read(&mut self, room: Room) -> Result<Input, SourceError> {
        loop {
            let lines = room.fill(|| {
                let line = self.splitter.next_line()?;
                Some(self.record(line))
            });
            if !lines.is_empty() {
                return Ok(Input::Records(lines));
            }
            let chunks = self.chunks.as_mut().ok_or_else(|| SourceError::permanent(StdinError::NotConnected))?;
            match chunks.recv().await {
                Some(Ok(Ok(chunk))) if self.splitter.position() == 0 && is_utf16(&chunk, self.context.format) => {
                    return Err(SourceError::permanent(StdinError::Utf16));
                }
                Some(Ok(Ok(chunk))) => {
                    self.time = Timestamp::now();
                    self.splitter.feed(chunk);
                }
                Some(Err(panic)) => resume_unwind(panic),
                Some(Ok(Err(error))) => return Err(SourceError::permanent(StdinError::Read(error))),
                None => {
                    let last = self.splitter.finish().map(|line| Input::Records(vec![self.record(line)]));
                    return Ok(last.unwrap_or(Input::End));
                }
            }
        }
    }

    async fn commit(&mut self, _progress: Progress) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&mut self) {
        self.chunks = None;
    }

    async fn probe(&mut self) -> Result<String, SourceError> {
        Ok("standard input is read when the pipeline runs".into())
    }
}

/// Reads until the end of the input, an error, or the source's end.
fn send_chunks(mut input: impl Read, chunks: &mpsc::Sender<Chunk>) {
    let mut buffer = vec![0; CHUNK_SIZE];
    loop {
        let chunk = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => Ok(buffer[..length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if chunks.blocking_send(Ok(chunk)).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Defect;

    fn source(input: impl Read + Send + 'static) -> StdinSource {
        let context = SourceContext { max_event_size: 8, ..SourceContext::for_tests("p", "in") };
        StdinSource::over(context, input)
    }

    async fn next(source: &mut StdinSource) -> Option<Record> {
        match source.read(Room::ONE_RECORD).await.unwrap() {
            Input::Records(mut records) => records.pop(),
            Input::End => None,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn every_line_is_an_event_and_the_end_is_the_end() {
        let mut source = source(&b"one\r\n\n123456789\nlast"[..]);
        source.connect().await.unwrap();
        let one = next(&mut source).await.unwrap();
        assert_eq!((one.event.payload.as_deref(), one.position), (Some(&b"one"[..]), 5));
        assert_eq!(one.event.id, format!("stdin/{}/0", source.run));
        let long = next(&mut source).await.unwrap();
        assert_eq!(long.defect, Some(Defect::TooLarge { size: 9, limit: 8 }));
        let last = next(&mut source).await.unwrap();
        assert_eq!(last.event.payload.as_deref(), Some(&b"last"[..]), "the last line needs no newline");
        assert!(next(&mut source).await.is_none());
    }

    #[tokio::test]
    async fn lines_that_are_at_hand_come_together_as_far_as_there_is_room() {
        let mut source = source(&b"one\ntwo\n3\n4\n5\nsix"[..]);
        source.connect().await.unwrap();
        let mut bunches = Vec::new();
        for room in [(2, 100), (9, 2), (9, 1), (9, 9)] {
            let Input::Records(records) = source.read(Room::new(room.0, room.1).unwrap()).await.unwrap() else {
                panic!("there are lines left")
            };
            bunches.push(records.into_iter().map(|record| record.event.payload.unwrap()).collect::<Vec<_>>());
        }
        assert_eq!(bunches, [vec!["one", "two"], vec!["3", "4"], vec!["5"], vec!["six"]]);
        assert!(next(&mut source).await.is_none());
    }

    #[tokio::test]
    async fn it_cannot_be_read_twice_and_says_so() {
        let mut source = source(&b"one\n"[..]);
        source.connect().await.unwrap();
        next(&mut source).await.unwrap();
        let error = source.connect().await.unwrap_err();
        assert!(matches!(error, SourceError::Permanent(_)), "{error}");
        assert!(error.to_string().contains("not confirmed"), "{error}");
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_panic_of_the_reading_thread_is_not_the_end_of_the_input() {
        struct Buggy;
        impl Read for Buggy {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("a bug")
            }
        }
        let mut source = source(Buggy);
        source.connect().await.unwrap();
        source.read(Room::ONE_RECORD).await.ok();
    }

    #[tokio::test]
    async fn an_error_of_the_input_is_not_its_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut source = source(Broken);
        source.connect().await.unwrap();
        assert!(source.read(Room::ONE_RECORD).await.unwrap_err().to_string().contains("broken"));
    }
}
