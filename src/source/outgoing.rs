//! What can be sent through a source's connection: today, dead letters. Each broker's connector says how it does that
//! in a file of its own (`kafka::producer`, `amqp::publisher`).

use bytes::Bytes;
use serde_json::Value;

use crate::secret::mask;

/// A message for a broker.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingMessage {
    /// The id of the event that it carries.
    pub id: String,
    /// The key, where the broker knows keys.
    pub key: Option<String>,
    /// Headers, in this order. A name may occur more than once.
    pub headers: Vec<(String, Value)>,
    /// The payload; `None` for an event without one.
    pub payload: Option<Bytes>,
    /// The content type, if the event has its own.
    pub content_type: Option<String>,
}

/// Why a message is not known to be kept where it was sent. It may be there all the same. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SendError(String);

impl SendError {
    /// An error in these words.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self(mask(&reason.to_string()).into_owned())
    }
}
