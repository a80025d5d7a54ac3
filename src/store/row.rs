//! Rows of the table `deliveries`: deliveries and dead letters into columns, and back.

use std::error::Error;
use std::str::FromStr as _;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::de::DeserializeOwned;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row as _};

use super::StoreError;
use super::content::{Content, content_of};
use super::event_row::{
    EventColumns, event_from_json, event_to_json, headers_from_json, headers_to_json, request_from_json,
    request_to_json, to_json,
};
use super::record::{AttemptLog, DeliveryCore, Letter, Reason, RowId, StoredDelivery, StoredRequest};
use crate::event::Event;
use crate::node::NodeName;

/// What a row counts against `max_size` beyond what is counted byte by byte: its small columns and its index entries.
const FIXED_SIZE: usize = 512;

/// The columns that [`stored_delivery`] reads.
pub const DELIVERY_COLUMNS: &str = "id, source, event_id, copy, event_key, event, payload, url, headers, body, \
                                    body_is_payload, bucket, lane, attempts, due";

/// The columns that [`letter`] reads.
pub const LETTER_COLUMNS: &str = "id, source, event_id, copy, event_key, event, payload, url, headers, body, \
                                  body_is_payload, first_request, bucket, lane, attempts, node, died, reason, message, \
                                  shown";

/// A statement on its way to either database.
pub(super) type Statement<'q> = Query<'q, Any, AnyArguments>;

/// A delivery or a letter that is not in the store yet, in the form of its row.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) node: String,
    pub(super) lane: Option<Arc<str>>,
    /// Milliseconds since 1970; `None` for letters.
    pub(super) due: Option<i64>,
    pub(super) attempts: AttemptLog,
    state: &'static str,
    event: Arc<Event>,
    content: Content,
    pub(super) copy: u32,
    event_json: String,
    request: Option<StoredRequest>,
    first_request: Option<String>,
    headers: Option<String>,
    body_is_payload: bool,
    bucket: Arc<str>,
    died: Option<i64>,
    reason: Option<&'static str>,
    message: Option<String>,
    shown: Option<String>,
}

/// What tells a row from all others of its pipeline: the node, and the source, id, copy and content of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity<'a> {
    pub(super) node: &'a str,
    pub(super) source: &'a str,
    pub(super) event_id: &'a str,
    pub(super) copy: u32,
    pub(super) content: &'a Content,
}

impl NewRow {
    /// What is bound for each row, in this order.
    pub(super) const COLUMNS: &'static str = "node, source, event_id, copy, content, state, event_key, event, payload, \
                                              url, headers, body, body_is_payload, first_request, bucket, lane, \
                                              attempts, attempts_made, due, died, reason, message, shown, size";
    /// How many [`COLUMNS`](Self::COLUMNS) are.
    pub(super) const WIDTH: usize = 24;

    /// The row of a delivery to park.
    pub(super) fn parked(node: &NodeName, delivery: StoredDelivery) -> Self {
        let StoredDelivery { core, request, due } = delivery;
        let request = Some(request);
        let parts = RequestColumns::new(request.as_ref(), &core.event);
        Self {
            node: node.to_string(),
            lane: core.lane,
            due: Some(milliseconds(due)),
            attempts: core.attempts,
            state: "parked",
            event_json: event_to_json(&core.event),
            content: content_of(&core.event),
            event: core.event,
            copy: core.copy,
            request,
            first_request: None,
            headers: parts.headers,
            body_is_payload: parts.body_is_payload,
            bucket: core.bucket,
            died: None,
            reason: None,
            message: None,
            shown: None,
        }
    }

    /// The row of a dead letter.
    pub(super) fn dead(letter: Letter) -> Self {
        let end = End::of(&letter);
        let core = letter.core;
        let parts = RequestColumns::new(letter.request.as_ref(), &core.event);
        Self {
            node: letter.node.to_string(),
            lane: core.lane,
            due: None,
            attempts: core.attempts,
            state: "dead",
            event_json: event_to_json(&core.event),
            content: content_of(&core.event),
            event: core.event,
            copy: core.copy,
            first_request: letter.first_request.as_ref().map(request_to_json),
            request: letter.request,
            headers: parts.headers,
            body_is_payload: parts.body_is_payload,
            bucket: core.bucket,
            died: Some(end.died),
            reason: Some(end.reason),
            message: Some(end.message),
            shown: end.shown,
        }
    }

    /// The row with the request of earlier attempts, where that is another one.
    #[must_use]
    pub(super) fn with_first_request(self, first: Option<&StoredRequest>) -> Self {
        Self { first_request: first.map(request_to_json), ..self }
    }

    pub(super) fn identity(&self) -> Identity<'_> {
        let Self { node, event, copy, content, .. } = self;
        Identity { node, source: &event.source, event_id: &event.id, copy: *copy, content }
    }

    /// The body, when it is not the payload.
    fn body(&self) -> Option<&Bytes> {
        self.request.as_ref().filter(|_| !self.body_is_payload).map(|request| &request.body)
    }

    /// Bytes that the row counts against `max_size`, with these attempts.
    fn size(&self, attempts: &str, first_request: Option<&str>) -> i64 {
        let texts = [&self.headers, &self.message, &self.shown].map(Option::as_deref);
        let texts: usize = texts.into_iter().chain([first_request]).flatten().map(str::len).sum();
        let url = self.request.as_ref().map_or(0, |request| request.url.len());
        let body = self.body().map_or(0, Bytes::len);
        let size = FIXED_SIZE + self.event.size() + self.event_json.len() + url + body + texts + attempts.len();
        i64::try_from(size).unwrap_or(i64::MAX)
    }

    /// About the memory that the row takes until it is written.
    pub(super) fn weight(&self) -> usize {
        self.event.size() + self.event_json.len() + self.body().map_or(0, Bytes::len) + FIXED_SIZE
    }

    /// Binds [`COLUMNS`](Self::COLUMNS), with the place in the lane that was found for it. `former` is the letter whose
    /// place it takes: the request of its first attempts is kept. Also gives the row's size.
    pub(super) fn bind<'q>(
        &self,
        statement: Statement<'q>,
        lane: Option<&str>,
        due: Option<i64>,
        attempts: &AttemptLog,
        former: Option<&Letter>,
    ) -> (Statement<'q>, i64) {
        let made = i64::from(attempts.total);
        let attempts = to_json(attempts);
        let first = former.and_then(|letter| letter.first_request_beside(self.request.as_ref()));
        let first = first.map(request_to_json).or_else(|| self.first_request.clone());
        let size = self.size(&attempts, first.as_deref());
        let statement = statement
            .bind(self.node.clone())
            .bind(self.event.source.to_string())
            .bind(self.event.id.as_bytes().to_vec())
            .bind(i64::from(self.copy))
            .bind(self.content.to_vec())
            .bind(self.state)
            .bind(self.event.key.as_ref().map(|key| key.as_bytes().to_vec()))
            .bind(self.event_json.clone())
            .bind(self.event.payload.as_ref().map(|payload| payload.to_vec()))
            .bind(self.request.as_ref().map(|request| request.url.clone()))
            .bind(self.headers.clone())
            .bind(self.body().map(|body| body.to_vec()))
            .bind(i64::from(self.body_is_payload))
            .bind(first)
            .bind(self.bucket.as_bytes().to_vec())
            .bind(lane.map(|lane| lane.as_bytes().to_vec()))
            .bind(attempts)
            .bind(made)
            .bind(due)
            .bind(self.died)
            .bind(self.reason)
            .bind(self.message.clone())
            .bind(self.shown.clone())
            .bind(size);
        (statement, size)
    }
}

/// The columns of a request that are not in it as they are; empty when it could not be rendered.
#[derive(Default)]
struct RequestColumns {
    headers: Option<String>,
    body_is_payload: bool,
}

impl RequestColumns {
    fn new(request: Option<&StoredRequest>, event: &Event) -> Self {
        let Some(request) = request else { return Self::default() };
        let body_is_payload = event.payload.as_ref() == Some(&request.body);
        Self { headers: Some(headers_to_json(&request.headers)), body_is_payload }
    }
}

/// The columns that say how a delivery died.
#[derive(Debug)]
pub(super) struct End {
    pub(super) died: i64,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) shown: Option<String>,
}

impl End {
    pub(super) fn of(letter: &Letter) -> Self {
        // PostgreSQL has no NUL in texts; in JSON it is escaped.
        let message = letter.message.replace('\0', "\u{fffd}");
        let shown = letter.shown.as_ref().map(to_json);
        Self { died: milliseconds(letter.time), reason: letter.reason.as_str(), message, shown }
    }
}

/// Milliseconds since 1970, the next full one: nothing is due before its time.
pub(super) fn milliseconds(time: Timestamp) -> i64 {
    let rounding = TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Ceil);
    time.round(rounding).unwrap_or(time).as_millisecond()
}

/// The delivery in a row with [`DELIVERY_COLUMNS`].
///
/// # Errors
/// When the row is not what the bridge writes.
pub fn stored_delivery(row: &AnyRow) -> Result<StoredDelivery, StoreError> {
    read(row, |id, row| {
        let core = core(id, row)?;
        let request = request(row, &core.event)?.ok_or("it has no request")?;
        Ok(StoredDelivery { core, request, due: time(row, "due")? })
    })
}

/// The dead letter in a row with [`LETTER_COLUMNS`].
///
/// # Errors
/// When the row is not what the bridge writes.
pub fn letter(row: &AnyRow) -> Result<Letter, StoreError> {
    read(row, |id, row| {
        let core = core(id, row)?;
        Ok(Letter {
            node: row.try_get::<&str, _>("node")?.parse()?,
            reason: reason(row.try_get("reason")?)?,
            message: row.try_get::<Option<String>, _>("message")?.unwrap_or_default(),
            time: time(row, "died")?,
            request: request(row, &core.event)?,
            first_request: row.try_get::<Option<&str>, _>("first_request")?.map(request_from_json).transpose()?,
            shown: row.try_get::<Option<&str>, _>("shown")?.map(json).transpose()?,
            core,
        })
    })
}

type Read<T> = Result<T, Box<dyn Error>>;

fn read<T>(row: &AnyRow, parts: impl FnOnce(RowId, &AnyRow) -> Read<T>) -> Result<T, StoreError> {
    let id = row.try_get("id").unwrap_or_default();
    parts(id, row).map_err(|error| StoreError::Damaged { row: id, problem: error.to_string() })
}

fn core(id: RowId, row: &AnyRow) -> Read<DeliveryCore> {
    Ok(DeliveryCore {
        row: Some(id),
        event: Arc::new(event(row)?),
        copy: copy(row)?,
        bucket: text(row, "bucket")?.into(),
        lane: optional_text(row, "lane")?.map(Into::into),
        attempts: json(row.try_get("attempts")?)?,
    })
}

fn event(row: &AnyRow) -> Read<Event> {
    let columns = EventColumns {
        id: text(row, "event_id")?,
        source: row.try_get::<&str, _>("source")?.into(),
        key: optional_text(row, "event_key")?,
        payload: row.try_get::<Option<Vec<u8>>, _>("payload")?.map(Bytes::from),
    };
    Ok(event_from_json(row.try_get("event")?, columns)?)
}

fn request(row: &AnyRow, event: &Event) -> Read<Option<StoredRequest>> {
    let Some(url) = row.try_get("url")? else { return Ok(None) };
    let headers = headers_from_json(row.try_get::<Option<&str>, _>("headers")?.ok_or("it has no headers")?)?;
    let body = match row.try_get::<i64, _>("body_is_payload")? {
        0 => row.try_get::<Option<Vec<u8>>, _>("body")?.map(Bytes::from),
        _ => event.payload.clone(),
    };
    Ok(Some(StoredRequest { url, headers, body: body.ok_or("it has no body")? }))
}

fn copy(row: &AnyRow) -> Read<u32> {
    Ok(row.try_get::<i64, _>("copy")?.try_into()?)
}

fn time(row: &AnyRow, column: &str) -> Read<Timestamp> {
    Ok(Timestamp::from_millisecond(row.try_get(column)?)?)
}

fn reason(word: &str) -> Read<Reason> {
    Reason::from_str(word).map_err(|_| format!("`{word}` is no reason").into())
}

fn text(row: &AnyRow, column: &str) -> Read<String> {
    Ok(String::from_utf8(row.try_get(column)?)?)
}

fn optional_text(row: &AnyRow, column: &str) -> Read<Option<String>> {
    Ok(row.try_get::<Option<Vec<u8>>, _>(column)?.map(String::from_utf8).transpose()?)
}

fn json<T: DeserializeOwned>(text: &str) -> Read<T> {
    Ok(serde_json::from_str(text)?)
}
