//! An AMQP message as an event.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::ShortString;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fields;
use crate::event::{Event, Format, Meta, MetaValue};
use crate::source::{Defect, Record, SourceContext};

/// What all events of one source have in common.
#[derive(Debug)]
pub(super) struct Origin {
    source: Arc<str>,
    queue: Arc<str>,
    format: Format,
    max_event_size: usize,
}

impl Origin {
    pub(super) fn new(context: &SourceContext, queue: &str) -> Self {
        Self {
            source: context.name.clone(),
            queue: queue.into(),
            format: context.format,
            max_event_size: context.max_event_size,
        }
    }

    /// The record of one message. Its position is the delivery tag, which counts within `partition`, the channel.
    pub(super) fn record(&self, delivery: Delivery, partition: u32, now: Timestamp) -> Record {
        let Delivery { delivery_tag, exchange, routing_key, redelivered, properties, data, .. } = delivery;
        let size = data.len();
        let defect =
            (size > self.max_event_size).then_some(Defect::TooLarge { size: size as u64, limit: self.max_event_size });
        let event = Event {
            // Without a message-id nothing in AMQP tells a message from another: a delivery tag counts on one channel.
            id: text(properties.message_id()).unwrap_or_else(|| Uuid::new_v4().to_string()),
            time: properties.timestamp().and_then(fields::timestamp).unwrap_or(now),
            source: self.source.clone(),
            key: text(&Some(routing_key.clone())),
            headers: properties.headers().iter().flat_map(fields::table_to_json).collect(),
            meta: meta(exchange.as_str(), routing_key.as_str(), self.queue.clone(), redelivered, &properties),
            payload: Some(Bytes::from(data)),
            format: self.format,
            content_type: text(properties.content_type()),
        };
        Record { event, partition, position: delivery_tag, defect }
    }
}

/// How a message came into its queue.
pub(super) fn meta(
    exchange: &str,
    routing_key: &str,
    queue: Arc<str>,
    redelivered: bool,
    properties: &BasicProperties,
) -> Meta {
    vec![
        ("exchange".into(), MetaValue::Text(exchange.into())),
        ("routing_key".into(), MetaValue::Text(routing_key.into())),
        ("queue".into(), MetaValue::Text(queue)),
        ("redelivered".into(), MetaValue::Json(redelivered.into())),
        ("properties".into(), MetaValue::Json(properties_to_json(properties))),
    ]
}

/// The properties that the message has, under their names in AMQP 0-9-1 with `_` for `-`.
fn properties_to_json(properties: &BasicProperties) -> Value {
    let string = |value: &Option<ShortString>| value.as_ref().map(|text| Value::from(text.as_str()));
    let all = [
        ("content_type", string(properties.content_type())),
        ("content_encoding", string(properties.content_encoding())),
        ("delivery_mode", properties.delivery_mode().map(Value::from)),
        ("priority", properties.priority().map(Value::from)),
        ("correlation_id", string(properties.correlation_id())),
        ("reply_to", string(properties.reply_to())),
        ("expiration", string(properties.expiration())),
        ("message_id", string(properties.message_id())),
        ("timestamp", properties.timestamp().map(fields::timestamp_to_json)),
        ("type", string(properties.kind())),
        ("user_id", string(properties.user_id())),
        ("app_id", string(properties.app_id())),
        ("cluster_id", string(properties.cluster_id())),
    ];
    let present = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

/// Text that says something; an empty string is as good as none.
fn text(value: &Option<ShortString>) -> Option<String> {
    value.as_ref().filter(|text| !text.as_str().is_empty()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn origin(max_event_size: usize) -> Origin {
        Origin { source: "legacy".into(), queue: "orders".into(), format: Format::Json, max_event_size }
    }

    fn delivery(properties: BasicProperties) -> Delivery {
        let mut delivery = Delivery::mock(7, "shop".into(), "order.paid".into(), true, b"{\"a\":1}".to_vec());
        delivery.properties = properties;
        delivery
    }

    #[test]
    fn a_message_shows_all_it_carries() {
        let properties = BasicProperties::default()
            .with_message_id("m-1".into())
            .with_content_type("application/json".into())
            .with_type("order.paid".into())
            .with_delivery_mode(2)
            .with_timestamp(1_700_000_000);
        let record = origin(100).record(delivery(properties), 3, Timestamp::UNIX_EPOCH);
        assert_eq!((record.partition, record.position, record.defect), (3, 7, None));
        assert_eq!(record.event.content_type.as_deref(), Some("application/json"));
        assert_eq!(
            record.event.envelope().unwrap(),
            json!({
                "id": "m-1", "time": "2023-11-14T22:13:20Z", "source": "legacy", "key": "order.paid", "headers": {},
                "meta": {
                    "exchange": "shop", "routing_key": "order.paid", "queue": "orders", "redelivered": true,
                    "properties": {
                        "content_type": "application/json", "delivery_mode": 2, "message_id": "m-1",
                        "timestamp": "2023-11-14T22:13:20Z", "type": "order.paid",
                    },
                },
                "data": {"a": 1},
            })
        );
    }

    #[test]
    fn a_message_without_id_and_time_gets_them_on_receipt() {
        let properties = || BasicProperties::default().with_timestamp(1_700_000_000_000).with_message_id("".into());
        let first = origin(100).record(delivery(properties()), 0, Timestamp::UNIX_EPOCH).event;
        let again = origin(100).record(delivery(properties()), 0, Timestamp::UNIX_EPOCH).event;
        assert_eq!(first.time, Timestamp::UNIX_EPOCH, "a timestamp beyond the calendar is no time");
        assert_ne!(first.id, again.id);
        assert!(Uuid::parse_str(&first.id).is_ok());
    }

    #[test]
    fn a_payload_over_the_limit_is_kept_and_marked() {
        let record = origin(6).record(delivery(BasicProperties::default()), 0, Timestamp::UNIX_EPOCH);
        assert_eq!(record.defect, Some(Defect::TooLarge { size: 7, limit: 6 }));
        assert_eq!(record.event.size(), 7);
    }
}
