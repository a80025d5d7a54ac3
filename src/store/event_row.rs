//! How events and headers stand in the store's JSON columns. Payloads, ids, keys and bodies have columns of their own,
//! as bytes.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum MetaRow<'a> {
    Integer(i64),
    Text(Cow<'a, str>),
    Json(Cow<'a, Value>),
}

/// A header's value: text where it is UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum HeaderRow<'a> {
    Text(Cow<'a, str>),
    Bytes { base64: String },
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
    let rows = headers.iter().map(|(name, value)| {
        let value = match std::str::from_utf8(value) {
            Ok(text) => HeaderRow::Text(Cow::Borrowed(text)),
            Err(_) => HeaderRow::Bytes { base64: BASE64.encode(value) },
        };
        (name, value)
    });
    to_json(&rows.collect::<Vec<_>>())
}

/// Headers out of their column.
pub(super) fn headers_from_json(json: &str) -> Result<Vec<(String, Vec<u8>)>, Box<dyn std::error::Error>> {
    let rows: Vec<(String, HeaderRow)> = serde_json::from_str(json)?;
    let headers = rows.into_iter().map(|(name, value)| match value {
        HeaderRow::Text(text) => Ok((name, text.into_owned().into_bytes())),
        HeaderRow::Bytes { base64 } => Ok((name, BASE64.decode(base64)?)),
    });
    headers.collect()
}

/// JSON of a type that has nothing JSON cannot say.
pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("text keys and plain values always have a form in JSON")
}
