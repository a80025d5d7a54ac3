//! How events and headers stand in the store's JSON columns. Payloads, ids, keys and bodies have columns of their own,
//! as bytes.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::record::StoredRequest;
use crate::event::{Event, Format, MetaValue};

/// The column `event`.
#[derive(Serialize, Deserialize)]
struct EventRow<'a> {
    time: Timestamp,
    headers: Cow<'a, [(String, Value)]>,
    meta: Vec<(Cow<'a, str>, MetaRow<'a>)>,
    format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum MetaRow<'a> {
    Integer(i64),
    Text(Cow<'a, str>),
    Json(Cow<'a, Value>),
}

/// Not derived: numbers keep their digits, of which serde makes no integers in an untagged enum.
impl<'de> Deserialize<'de> for MetaRow<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) => Self::Text(text.into()),
            value => match value.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Json(Cow::Owned(value)),
            },
        })
    }
}

/// Bytes, such as a header's value: text where they are UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ValueRow<'a> {
    Text(Cow<'a, str>),
    Bytes { base64: String },
}

impl<'a> ValueRow<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(Cow::Borrowed(text)),
            Err(_) => Self::Bytes { base64: BASE64.encode(bytes) },
        }
    }

    fn into_bytes(self) -> Result<Vec<u8>, base64::DecodeError> {
        match self {
            Self::Text(text) => Ok(text.into_owned().into_bytes()),
            Self::Bytes { base64 } => BASE64.decode(base64),
        }
    }
}

/// The column `first_request`.
#[derive(Serialize, Deserialize)]
struct RequestRow<'a> {
    url: Cow<'a, str>,
    headers: Vec<(Cow<'a, str>, ValueRow<'a>)>,
    body: ValueRow<'a>,
}

/// What an event has in columns of its own.
pub(super) struct EventColumns {
    pub(super) id: String,
    pub(super) source: Arc<str>,
    pub(super) key: Option<String>,
    pub(super) payload: Option<Bytes>,
}

/// The column `event`.
pub(super) fn event_to_json(event: &Event) -> String {
    let meta = event.meta.iter().map(|(name, value)| {
        let value = match value {
            MetaValue::Text(text) => MetaRow::Text(Cow::Borrowed(text)),
            MetaValue::Integer(number) => MetaRow::Integer(*number),
            MetaValue::Json(value) => MetaRow::Json(Cow::Borrowed(value)),
        };
        (Cow::Borrowed(name.as_ref()), value)
    });
    to_json(&EventRow {
        time: event.time,
        headers: Cow::Borrowed(&event.headers),
        meta: meta.collect(),
        format: event.format,
        content_type: event.content_type.as_deref().map(Cow::Borrowed),
    })
}

/// An event out of its columns.
pub(super) fn event_from_json(json: &str, columns: EventColumns) -> serde_json::Result<Event> {
    let row: EventRow = serde_json::from_str(json)?;
    let meta = row.meta.into_iter().map(|(name, value)| {
        let value = match value {
            MetaRow::Text(text) => MetaValue::Text(text.into()),
            MetaRow::Integer(number) => MetaValue::Integer(number),
            MetaRow::Json(value) => MetaValue::Json(value.into_owned()),
        };
        (Cow::Owned(name.into_owned()), value)
    });
    Ok(Event {
        id: columns.id,
        time: row.time,
        source: columns.source,
        key: columns.key,
        headers: row.headers.into_owned(),
        meta: meta.collect(),
        payload: columns.payload,
        format: row.format,
        content_type: row.content_type.map(Cow::into_owned),
    })
}

/// The column `headers`.
pub(super) fn headers_to_json(headers: &[(String, Vec<u8>)]) -> String {
    to_json(&headers.iter().map(|(name, value)| (name, ValueRow::new(value))).collect::<Vec<_>>())
}

/// Names and values of headers.
type Headers = Vec<(String, Vec<u8>)>;

/// Headers out of their column.
pub(super) fn headers_from_json(json: &str) -> Result<Headers, Box<dyn std::error::Error>> {
    let rows: Vec<(String, ValueRow)> = serde_json::from_str(json)?;
    rows.into_iter().map(|(name, value)| Ok((name, value.into_bytes()?))).collect()
}

/// The column `first_request`.
pub(super) fn request_to_json(request: &StoredRequest) -> String {
    let headers = request.headers.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), ValueRow::new(value)));
    to_json(&RequestRow {
        url: Cow::Borrowed(&request.url),
        headers: headers.collect(),
        body: ValueRow::new(&request.body),
    })
}

/// A request out of the column `first_request`.
pub(super) fn request_from_json(json: &str) -> Result<StoredRequest, Box<dyn std::error::Error>> {
    let row: RequestRow = serde_json::from_str(json)?;
    let headers = row.headers.into_iter().map(|(name, value)| Ok((name.into_owned(), value.into_bytes()?)));
    Ok(StoredRequest {
        url: row.url.into_owned(),
        headers: headers.collect::<Result<_, base64::DecodeError>>()?,
        body: row.body.into_bytes()?.into(),
    })
}

/// JSON of a type that has nothing JSON cannot say.
pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("text keys and plain values always have a form in JSON")
}
