//! The event: one record read from a source, and the envelope that expressions see.
//!
//! This module knows no connector, no sink and no expression language. It must not do I/O.

mod repair;
mod reserved;

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use reserved::read as read_json;

/// One record read from a source.
///
/// An event is immutable once a source has made it: it is shared (`Arc<Event>`) by all its deliveries.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Stable across restarts and unique within its source, for example `orders/3/1042`.
    pub id: String,
    /// When the event happened as far as its source knows, otherwise when it was read.
    pub time: Timestamp,
    /// Name of the source in the pipeline file.
    pub source: Arc<str>,
    /// The record's key, if it has one; see [`text_or_base64`] for keys that are not UTF-8.
    pub key: Option<String>,
    /// Headers in the order the source gave them. A name may occur more than once.
    pub headers: Vec<(String, Value)>,
    /// Where the event came from, in the words of its connector (topic, partition, path, …).
    pub meta: Meta,
    /// The payload's bytes, untouched; `None` for a record without one (a Kafka tombstone).
    pub payload: Option<Bytes>,
    /// What `data` is in the envelope.
    pub format: Format,
    /// The content type that the message itself carried, if any.
    pub content_type: Option<String>,
}

/// Where an event came from, in the words of its connector.
pub type Meta = Vec<(Cow<'static, str>, MetaValue)>;

/// A value of [`Meta`]; text is shared because most of it repeats from event to event.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaValue {
    /// Text that many events share, such as a topic.
    Text(Arc<str>),
    /// A number, such as an offset.
    Integer(i64),
    /// Anything else.
    Json(Value),
}

/// The member of [`Event::meta`] that names the transform which made the event.
const TRANSFORM: &str = "transform";

/// The members of the envelope, in the order in which it shows them.
pub const ENVELOPE: [&str; 7] = ["id", "time", "source", "key", "headers", "meta", "data"];

/// How a source's payloads are read when an expression asks for `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The payload is JSON text; `data` is its value. In `data`, half of a surrogate pair that stands alone (`\ud83d`)
    /// is U+FFFD. Numbers keep the digits in which they are written.
    #[default]
    Json,
    /// The payload is UTF-8 text; `data` is a string.
    Text,
    /// The payload is opaque; `data` is a string in base64.
    Bytes,
}

/// Why a payload could not be shown as `data`.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The source's format is `json`, the payload is not.
    #[error("the payload is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The source's format is `text`, the payload is not UTF-8.
    #[error("the payload is not UTF-8 text: {0}")]
    Text(#[from] std::str::Utf8Error),
}

impl Format {
    /// The content type of a payload that goes out untouched and whose message names none.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Bytes => "application/octet-stream",
        }
    }
}

impl Event {
    /// The number of payload bytes, as counted against the bounds on events in flight.
    pub fn size(&self) -> usize {
        self.payload.as_ref().map_or(0, Bytes::len)
    }

    /// The JSON view that filters and templates see: `id, time, source, key, headers, meta, data`.
    ///
    /// # Errors
    /// When the payload is not what the source's `format` says.
    pub fn envelope(&self) -> Result<Value, DecodeError> {
        let data = self.data()?;
        Ok(self.envelope_around(data))
    }

    /// The envelope with `data` given by the caller: for dead letters, whose payload may not decode.
    pub fn envelope_around(&self, data: Value) -> Value {
        let mut envelope = Map::with_capacity(7);
        envelope.insert("id".into(), Value::String(self.id.clone()));
        envelope.insert("time".into(), Value::String(self.time.to_string()));
        envelope.insert("source".into(), Value::String(self.source.to_string()));
        envelope.insert("key".into(), self.key.clone().into());
        envelope.insert("headers".into(), Value::Object(self.headers.iter().cloned().collect()));
        let meta = self.meta.iter().map(|(name, value)| (name.to_string(), value.to_json()));
        envelope.insert("meta".into(), Value::Object(meta.collect()));
        envelope.insert("data".into(), data);
        Value::Object(envelope)
    }

    /// The event that a transform makes of this one: with an id and a payload of its own, which is JSON.
    pub fn derived(&self, id: String, transform: &Arc<str>, payload: Bytes) -> Self {
        let mut meta = self.meta.clone();
        meta.retain(|(name, _)| name != TRANSFORM);
        meta.push((Cow::Borrowed(TRANSFORM), MetaValue::Text(Arc::clone(transform))));
        Self { id, meta, payload: Some(payload), format: Format::Json, content_type: None, ..self.clone() }
    }

    /// Whether a transform made it: then its format is its own, and not that of its source.
    pub fn is_derived(&self) -> bool {
        self.meta.iter().any(|(name, _)| name == TRANSFORM)
    }

    /// The format in which the payload can be read: its own, or else text, or else bytes. In that one there is an
    /// envelope.
    pub fn readable_format(&self) -> Format {
        match (self.data(), &self.payload) {
            (Ok(_), _) | (_, None) => self.format,
            (Err(_), Some(payload)) if std::str::from_utf8(payload).is_ok() => Format::Text,
            (Err(_), Some(_)) => Format::Bytes,
        }
    }

    fn data(&self) -> Result<Value, DecodeError> {
        let Some(payload) = &self.payload else {
            return Ok(Value::Null);
        };
        Ok(match self.format {
            Format::Json => json_value(payload)?,
            Format::Text => Value::String(std::str::from_utf8(payload)?.to_owned()),
            Format::Bytes => Value::String(BASE64.encode(payload)),
        })
    }
}

impl MetaValue {
    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.to_string()),
            Self::Integer(number) => Value::from(*number),
            Self::Json(value) => value.clone(),
        }
    }
}

/// The value of JSON text, as it is read of a payload. What no value can hold is replaced where it stands.
///
/// # Errors
/// When it is no JSON.
pub fn json_value(payload: &[u8]) -> Result<Value, serde_json::Error> {
    let strict = match reserved::read(payload) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let Some(repaired) = repair::repaired(payload) else { return Err(strict) };
    // What is still wrong is told with its place in the payload itself.
    reserved::read(&repaired).map_err(|error| serde_json::from_slice::<IgnoredAny>(payload).err().unwrap_or(error))
}

/// An envelope on its way through filters to the templates, decoded at most once for each event.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope(Value);

impl Envelope {
    /// Wraps an envelope made by [`Event::envelope`].
    pub fn new(envelope: Value) -> Self {
        Self(envelope)
    }

    /// The envelope, for a filter.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    /// The envelope, for rendering.
    pub fn into_value(self) -> Value {
        self.0
    }
}

/// Bytes as text when they are UTF-8, otherwise in base64: keys and header values need not be text.
pub fn text_or_base64(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => BASE64.encode(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(format: Format, payload: Option<&'static [u8]>) -> Event {
        Event {
            id: "orders/0/7".into(),
            time: Timestamp::UNIX_EPOCH,
            source: "orders".into(),
            key: Some("o-1".into()),
            headers: vec![("trace".into(), json!("a")), ("trace".into(), json!("b"))],
            meta: vec![("topic".into(), MetaValue::Text("orders".into())), ("offset".into(), MetaValue::Integer(7))],
            payload: payload.map(Bytes::from_static),
            format,
            content_type: None,
        }
    }

    #[test]
    fn the_envelope_shows_the_whole_event() {
        let envelope = event(Format::Json, Some(br#"{"total":12.5}"#)).envelope().unwrap();
        assert_eq!(
            envelope,
            json!({
                "id": "orders/0/7", "time": "1970-01-01T00:00:00Z", "source": "orders", "key": "o-1",
                "headers": {"trace": "b"}, "meta": {"topic": "orders", "offset": 7}, "data": {"total": 12.5},
            })
        );
    }

    #[test]
    fn a_payload_is_read_as_its_format_says() {
        assert_eq!(event(Format::Text, Some(b"hi")).envelope().unwrap()["data"], json!("hi"));
        assert_eq!(event(Format::Bytes, Some(b"\xff")).envelope().unwrap()["data"], json!("/w=="));
        assert_eq!(event(Format::Json, None).envelope().unwrap()["data"], Value::Null);
        assert!(event(Format::Json, Some(b"{")).envelope().is_err());
        assert!(event(Format::Text, Some(b"\xff")).envelope().is_err());
    }

    #[test]
    fn what_no_value_can_hold_does_not_make_the_payload_undecodable() {
        let payload = br#"{"name": "x\ud83d", "huge": 1e400, "id": 7}"#;
        let odd = event(Format::Json, Some(payload));
        assert_eq!(
            odd.envelope().unwrap()["data"],
            serde_json::from_str::<Value>(r#"{"name": "x\ufffd", "huge": 1e400, "id": 7}"#).unwrap()
        );
        assert_eq!((odd.readable_format(), odd.payload.as_deref()), (Format::Json, Some(&payload[..])));
        let error = event(Format::Json, Some(b"[1e400,\n\"\\ud83d\", 1,]")).envelope().unwrap_err().to_string();
        assert!(error.contains("line 2 column 13"), "{error}");
    }

    #[test]
    fn every_payload_can_be_read_in_some_format() {
        let cases = [
            (Format::Json, Some(&b"{}"[..]), Format::Json, json!({})),
            (Format::Json, None, Format::Json, Value::Null),
            (Format::Json, Some(b"{\"n\": "), Format::Text, json!("{\"n\": ")),
            (Format::Json, Some(b"{\xff"), Format::Bytes, json!("e/8=")),
            (Format::Text, Some(b"hi"), Format::Text, json!("hi")),
            (Format::Text, Some(b"\xff"), Format::Bytes, json!("/w==")),
            (Format::Bytes, Some(b"hi"), Format::Bytes, json!("aGk=")),
        ];
        for (format, payload, readable, data) in cases {
            let mut event = event(format, payload);
            event.format = event.readable_format();
            assert_eq!((event.format, &event.envelope().unwrap()["data"]), (readable, &data), "{payload:?}");
        }
    }
}
