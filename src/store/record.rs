//! What the store keeps of a delivery: its event, its rendered request, and every attempt that was made.
//!
//! These are plain data. They hold payloads and rendered requests as they are, so that they can be sent again, and
//! therefore must never be printed: what is shown of them was masked when it was written ([`RequestRecord`],
//! [`AttemptRecord`]). Headers that do not depend on the event are not among them: they come from the pipeline file at
//! each attempt, and no credential of that file is written to the disk with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::event::Event;
use crate::node::NodeName;
use crate::secret::mask;

/// The store's own number of a delivery or dead letter.
pub type RowId = i64;

/// One event for one sink, wherever that delivery stands: in memory, parked in the store, or dead.
#[derive(Clone)]
pub struct DeliveryCore {
    /// Its number in the store; `None` until it is there.
    pub row: Option<RowId>,
    /// The event.
    pub event: Arc<Event>,
    /// 0, or a number that tells apart the deliveries of an event that reaches the sink on several paths.
    pub copy: u32,
    /// The rate limit's bucket, `""` when the sink has but one.
    pub bucket: Arc<str>,
    /// The value of `order_by`: deliveries with the same value go one at a time, in order. `None` without `order_by`.
    pub lane: Option<Arc<str>>,
    /// The attempts made.
    pub attempts: AttemptLog,
}

impl DeliveryCore {
    /// A delivery of which no attempt has been made, in the only bucket of its sink and in no lane.
    pub fn new(event: Arc<Event>, copy: u32) -> Self {
        Self { row: None, event, copy, bucket: Arc::default(), lane: None, attempts: AttemptLog::default() }
    }
}

/// A delivery as the store keeps it.
#[derive(Clone)]
pub struct StoredDelivery {
    /// What it is.
    pub core: DeliveryCore,
    /// What every attempt sends.
    pub request: StoredRequest,
    /// When the next attempt may be made.
    pub due: Timestamp,
}

/// A rendered request, without the headers that are the same for all events.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// The URL.
    pub url: String,
    /// Names and values of the headers that depend on the event, the content type among them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
}

/// The attempts of a delivery. Only failed ones are recorded: one that succeeds ends the delivery.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AttemptLog {
    /// Attempts made, ever.
    pub total: u32,
    /// Attempts made since the delivery began, or since it was last replayed: what the retry policy counts.
    pub round: u32,
    /// When the first attempt of the round began: what `max_elapsed` counts from.
    pub first: Option<Timestamp>,
    /// The last attempts, oldest first; at most [`AttemptLog::KEPT`].
    pub records: Vec<AttemptRecord>,
}

impl AttemptLog {
    /// Attempts of which a record is kept. Older ones are only counted.
    pub const KEPT: usize = 20;

    /// Notes an attempt that was made.
    pub fn push(&mut self, record: AttemptRecord) {
        if self.records.len() >= Self::KEPT {
            self.records.remove(0);
        }
        self.records.push(record);
    }

    /// This log, continued by the attempts of a later one: of an event that was given up, read again, and given up
    /// again. A log that ends with these very attempts is the same one, and stays as it is.
    #[must_use]
    pub fn continued_by(mut self, later: Self) -> Self {
        if self.records.ends_with(&later.records) {
            return self;
        }
        self.total = self.total.saturating_add(later.total);
        self.round = later.round;
        self.first = later.first;
        for record in later.records {
            self.push(record);
        }
        self
    }
}

/// One attempt that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// When it began.
    pub time: Timestamp,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// The HTTP status, when there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was no answer; secrets masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Headers of the answer that tell a person what to do, by name; secrets masked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The beginning of the answer's body; secrets masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body_excerpt: String,
}

impl AttemptRecord {
    /// An attempt that was answered.
    pub fn answered(time: Timestamp, latency: Duration, status: u16, excerpt: &str) -> Self {
        let body_excerpt = mask(excerpt).into_owned();
        let (status, headers) = (Some(status), BTreeMap::new());
        Self { time, latency_ms: milliseconds(latency), status, error: None, headers, body_excerpt }
    }

    /// The same attempt, with these headers of the answer.
    #[must_use]
    pub fn with_headers(self, headers: &[(String, String)]) -> Self {
        let masked = headers.iter().map(|(name, value)| (name.clone(), mask(value).into_owned()));
        Self { headers: masked.collect(), ..self }
    }

    /// An attempt without an answer.
    pub fn unanswered(time: Timestamp, latency: Duration, message: &str) -> Self {
        let error = Some(mask(message).into_owned());
        let (headers, body_excerpt) = (BTreeMap::new(), String::new());
        Self { time, latency_ms: milliseconds(latency), status: None, error, headers, body_excerpt }
    }
}

fn milliseconds(latency: Duration) -> u64 {
    u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)
}

/// An event given up on, with all that is needed to understand why and to send it again.
#[derive(Clone)]
pub struct Letter {
    /// The delivery. What ends before it reaches a sink is in no bucket and no lane.
    pub core: DeliveryCore,
    /// Where in the pipeline it ended, for example `sinks.crm`.
    pub node: NodeName,
    /// Why, in a word that programs can rely on.
    pub reason: Reason,
    /// Why, in a sentence for people; secrets masked.
    pub message: String,
    /// When it was given up.
    pub time: Timestamp,
    /// The request as it can be sent again, when it could be rendered: that of the last attempts.
    pub request: Option<StoredRequest>,
    /// The request of the first attempts, where that is another one: a replay has rendered the event anew since.
    pub first_request: Option<StoredRequest>,
    /// The request as it may be shown: all headers, secrets masked.
    pub shown: Option<RequestRecord>,
}

impl Letter {
    /// The request of the first attempts, or the one that would have been sent if there had been any.
    pub fn first_sent(&self) -> Option<&StoredRequest> {
        self.first_request.as_ref().or(self.request.as_ref())
    }

    /// What is to be kept of the first attempts when this request takes the place of the letter's; `None` when there
    /// were none, or when it is theirs.
    pub fn first_request_beside(&self, next: Option<&StoredRequest>) -> Option<&StoredRequest> {
        let was_sent = self.first_request.is_some() || self.core.attempts.total > 0;
        self.first_sent().filter(|first| was_sent && Some(*first) != next)
    }
}

/// Why an event was given up. Its name is a word that programs can rely on, such as `retries-exhausted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Reason {
    /// The payload is larger than `max_event_size`. Of a line, only the beginning was kept.
    TooLarge,
    /// The source can no longer read it.
    Lost,
    /// The payload is not what the source's `format` says.
    Undecodable,
    /// A template failed, or its result cannot be sent.
    Unrenderable,
    /// The receiver answered with a status that means `dead-letter`.
    Rejected,
    /// The last retry failed.
    RetriesExhausted,
    /// The receiver said that it is gone, for this event or for an earlier one.
    SinkDisabled,
    /// A reload removed the sink, and there was no store for what it had open.
    SinkRemoved,
    /// It was parked, and its row in the store can no longer be read.
    Damaged,
}

impl Reason {
    /// The word that programs can rely on.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A request as it may be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The method.
    pub method: String,
    /// The URL, secrets masked.
    pub url: String,
    /// The headers, secrets masked.
    pub headers: Map<String, Value>,
    /// The body, as text when it is UTF-8; secrets masked. Left out when it is the payload itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl std::fmt::Debug for StoredRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredRequest").field("body_size", &self.body.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DeliveryCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryCore").field("row", &self.row).field("event", &self.event.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for StoredDelivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredDelivery").field("core", &self.core).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").field("node", &self.node).field("core", &self.core).finish_non_exhaustive()
    }
}
