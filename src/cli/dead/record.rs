//! A dead letter as one JSON object, for `bridge dead export` and `bridge dead show --format json`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::event::Event;
use crate::secret::mask;
use crate::store::record::{AttemptRecord, Letter, Reason, RequestRecord, RowId};

/// A dead letter as programs see it. Secrets are masked in all but the event, which can be delivered again.
#[derive(Debug, Serialize)]
pub(super) struct LetterRecord {
    id: Option<RowId>,
    time: Timestamp,
    pipeline: String,
    node: String,
    reason: Reason,
    message: String,
    /// How many were made; the last of them are in `attempt_log`.
    attempts: u32,
    event: EventRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_answer: Option<AnswerRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempt_log: Vec<AttemptRecord>,
}

#[derive(Debug, Serialize)]
struct EventRecord {
    /// `id`, `time`, `source`, `key`, `headers` and `meta` as in the envelope.
    #[serde(flatten)]
    envelope: Map<String, Value>,
    /// The payload, as text when it is UTF-8; `null` when the event had none.
    payload: Option<String>,
    /// How to read `payload`: `utf-8` or `base64`.
    payload_encoding: &'static str,
}

#[derive(Debug, Serialize)]
struct AnswerRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    body_excerpt: String,
}

impl LetterRecord {
    /// The record of a letter, as one line. The store holds what may be shown masked already; it is masked again, as
    /// more may have been declared secret since.
    pub(super) fn line(letter: &Letter, pipeline: &str) -> Result<String, serde_json::Error> {
        let attempts: Vec<_> = letter.core.attempts.records.iter().map(masked_attempt).collect();
        let last_answer = attempts.last().cloned().map(|attempt| {
            let AttemptRecord { status, error, headers, body_excerpt, .. } = attempt;
            AnswerRecord { status, error, headers, body_excerpt }
        });
        let record = Self {
            id: letter.core.row,
            time: letter.time,
            pipeline: pipeline.to_owned(),
            node: letter.node.to_string(),
            reason: letter.reason,
            message: mask(&letter.message).into_owned(),
            attempts: letter.core.attempts.total,
            event: EventRecord::new(&letter.core.event),
            request: letter.shown.as_ref().map(masked_request),
            last_answer,
            attempt_log: attempts,
        };
        serde_json::to_string(&record)
    }
}

impl EventRecord {
    fn new(event: &Event) -> Self {
        let envelope = match event.envelope_around(Value::Null) {
            Value::Object(mut envelope) => {
                envelope.remove("data");
                envelope
            }
            _ => Map::new(),
        };
        let Some(payload) = &event.payload else {
            return Self { envelope, payload: None, payload_encoding: "utf-8" };
        };
        match std::str::from_utf8(payload) {
            Ok(text) => Self { envelope, payload: Some(text.to_owned()), payload_encoding: "utf-8" },
            Err(_) => Self { envelope, payload: Some(BASE64.encode(payload)), payload_encoding: "base64" },
        }
    }
}

/// An attempt with its secrets masked.
pub(super) fn masked_attempt(attempt: &AttemptRecord) -> AttemptRecord {
    AttemptRecord {
        error: attempt.error.as_deref().map(|error| mask(error).into_owned()),
        headers: attempt.headers.iter().map(|(name, value)| (name.clone(), mask(value).into_owned())).collect(),
        body_excerpt: mask(&attempt.body_excerpt).into_owned(),
        ..attempt.clone()
    }
}

/// A request with its secrets masked.
pub(super) fn masked_request(request: &RequestRecord) -> RequestRecord {
    let headers = request.headers.iter().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.clone(), |text| mask(text).into());
        (name.clone(), value)
    });
    RequestRecord {
        method: request.method.clone(),
        url: mask(&request.url).into_owned(),
        headers: headers.collect(),
        body: request.body.as_deref().map(|body| mask(body).into_owned()),
    }
}
