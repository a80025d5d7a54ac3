//! What a dead letter says of a delivery: request and answer as they were, secrets masked.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Delivery;
use super::worker::SinkWorker;
use crate::ack::Ack;
use crate::secret::{MASK, mask};
use crate::sink::request::holds_a_secret;
use crate::sink::signing::ID_HEADER;
use crate::store::dead_letters::{DeadLetter, EventRecord, Reason, RequestRecord};

/// The letter of a delivery given up on, and the ack that settles once the letter is kept.
pub(super) fn of_delivery(delivery: Delivery, sink: &SinkWorker, reason: Reason, message: String) -> (DeadLetter, Ack) {
    let letter = DeadLetter {
        time: Timestamp::now(),
        pipeline: sink.pipeline.to_string(),
        node: format!("sinks.{}", sink.name),
        reason,
        message: mask(&message).into_owned(),
        attempts: delivery.attempts,
        event: EventRecord::new(&delivery.event),
        request: Some(request_record(&delivery, sink.webhook.method())),
        last_answer: delivery.last_answer,
    };
    (letter, delivery.ack)
}

fn request_record(delivery: &Delivery, method: &str) -> RequestRecord {
    let request = &delivery.request;
    let mut headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| {
            let shown = if holds_a_secret(name) {
                MASK.into()
            } else {
                mask(&String::from_utf8_lossy(value.as_bytes())).into()
            };
            (name.to_string(), shown)
        })
        .collect();
    headers.insert(ID_HEADER.into(), String::from_utf8_lossy(delivery.webhook_id.as_bytes()).into());
    let is_payload = delivery.event.payload.as_ref() == Some(&request.body);
    let body = (!is_payload).then(|| mask(&String::from_utf8_lossy(&request.body)).into_owned());
    RequestRecord { method: method.to_owned(), url: mask(request.url.as_str()).into_owned(), headers, body }
}
