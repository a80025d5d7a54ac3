//! Records as sources hand them over: each with its place in the source, several at a time.

use crate::event::Event;

/// A record with its place in the source.
#[derive(Debug)]
pub struct Record {
    /// The event.
    pub event: Event,
    /// A number of the connector's choice for the sequence this record belongs to: a topic partition, a file, a
    /// channel. Positions are committed per partition. A number is never reused for another sequence while the
    /// connection lasts.
    pub partition: u32,
    /// What to commit once this record and all before it in its partition have settled: the next Kafka offset, the
    /// byte after the line, the delivery tag.
    pub position: u64,
    /// Set when the event cannot be delivered as it is; it becomes a dead letter.
    pub defect: Option<Defect>,
}

/// Why a record that was read is not fit for delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Larger than `max_event_size`. The event holds as much of the payload as its source could afford to keep.
    #[error("the payload has {size} bytes, more than max_event_size = {limit}")]
    TooLarge {
        /// The payload's full size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// Bytes that can no longer be read, for example a part of a file that was truncated before it was read.
    #[error("lost: {0}")]
    Lost(String),
}

/// What the driver takes at once. There is always room for one record, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    /// Room for a single record.
    pub const ONE_RECORD: Self = Self { records: 1, bytes: usize::MAX };

    /// Room for this many records and payload bytes, or `None` when either is zero.
    pub fn new(records: usize, bytes: usize) -> Option<Self> {
        (records > 0 && bytes > 0).then_some(Self { records, bytes })
    }

    /// Takes what `next` returns, until there is no more room or `next` returns `None`. The record that reaches the
    /// bound on bytes is still taken. `next` is not called for a record for which there is no room.
    pub fn fill(self, mut next: impl FnMut() -> Option<Record>) -> Vec<Record> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < self.records && bytes < self.bytes {
            let Some(record) = next() else { break };
            bytes += record.event.size();
            records.push(record);
        }
        records
    }

    /// The same for a `next` that can fail. The records before an error are dropped with it: this is for sources that
    /// read them again over their next connection.
    ///
    /// # Errors
    /// The first error of `next`.
    pub fn try_fill<E>(self, mut next: impl FnMut() -> Result<Option<Record>, E>) -> Result<Vec<Record>, E> {
        let mut failure = None;
        let records = self.fill(|| {
            next().unwrap_or_else(|error| {
                failure = Some(error);
                None
            })
        });
        failure.map_or(Ok(records), Err)
    }
}
