//! From a Kafka message to a record of the bridge. One copy of the payload, none of the topic's name.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use serde_json::Value;

use crate::event::{Event, Format, Meta, MetaValue, text_or_base64};
use crate::source::{Defect, Record, SourceContext};

/// What all records of a source have in common.
#[derive(Debug, Clone)]
pub(super) struct RecordMaker {
    source: Arc<str>,
    format: Format,
    max_event_size: usize,
}

impl RecordMaker {
    pub(super) fn new(context: &SourceContext) -> Self {
        Self { source: context.name.clone(), format: context.format, max_event_size: context.max_event_size }
    }

    /// `topic` is the message's topic and `number` the bridge's own number for its partition.
    ///
    /// A payload over the limit is kept whole: it has been fetched already, the broker bounds it (`message.max.bytes`),
    /// and only a whole payload can be replayed.
    pub(super) fn record(&self, message: &BorrowedMessage<'_>, topic: &Arc<str>, number: u32) -> Record {
        let event = self.event(message, topic);
        let size = event.size();
        let too_large = size > self.max_event_size;
        Record {
            event,
            partition: number,
            // Offsets of messages are never negative; what is committed is the offset to read next.
            position: message.offset().unsigned_abs() + 1,
            defect: too_large.then_some(Defect::TooLarge { size: size as u64, limit: self.max_event_size }),
        }
    }

    fn event(&self, message: &BorrowedMessage<'_>, topic: &Arc<str>) -> Event {
        let (partition, offset) = (message.partition(), message.offset());
        let mut headers = Vec::new();
        let mut content_type = None;
        for header in message.headers().into_iter().flat_map(Headers::iter) {
            let value = header.value.map(text_or_base64);
            if content_type.is_none() && header.key.eq_ignore_ascii_case("content-type") {
                content_type.clone_from(&value);
            }
            headers.push((header.key.to_owned(), value.map_or(Value::Null, Value::String)));
        }
        let time = message.timestamp().to_millis().and_then(|millis| Timestamp::from_millisecond(millis).ok());
        Event {
            id: format!("{topic}/{partition}/{offset}"),
            time: time.unwrap_or_else(Timestamp::now),
            source: self.source.clone(),
            key: message.key().map(text_or_base64),
            headers,
            meta: meta(topic.clone(), partition, offset),
            payload: message.payload().map(Bytes::copy_from_slice),
            format: self.format,
            content_type,
        }
    }
}

/// Where a message stands.
pub(super) fn meta(topic: Arc<str>, partition: i32, offset: i64) -> Meta {
    vec![
        ("topic".into(), MetaValue::Text(topic)),
        ("partition".into(), MetaValue::Integer(partition.into())),
        ("offset".into(), MetaValue::Integer(offset)),
    ]
}
