//! Dead letters: what is kept of an event given up on, and where it goes.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Delivery;
use super::stored::stored_request;
use crate::ack::Ack;
use crate::secret::{MASK, mask};
use crate::sink::request::holds_a_secret;
use crate::sink::signing::ID_HEADER;
use crate::sink::webhook::Webhook;
use crate::store::Store;
use crate::store::record::{Letter, Reason, RequestRecord, StoredDelivery};

/// Where the dead letters of a source or sink go.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    store: Option<Store>,
}

impl DeadLetters {
    /// Letters go into the store, if there is one.
    pub fn new(store: Option<Store>) -> Self {
        Self { store }
    }

    /// Keeps a letter; its ack settles once it is durable. Does not wait.
    pub fn keep(&self, letter: Letter, ack: Option<Ack>) {
        match &self.store {
            Some(store) => store.bury(letter, ack),
            None => drop(ack),
        }
    }
}

/// The letter of a delivery given up on, and the ack that settles once the letter is kept.
pub(super) fn of_delivery(
    delivery: Delivery,
    sink: &str,
    webhook: &Webhook,
    reason: Reason,
    message: &str,
) -> (Letter, Option<Ack>) {
    let letter = Letter {
        row: delivery.row,
        node: format!("sinks.{sink}"),
        reason,
        message: mask(message).into_owned(),
        time: Timestamp::now(),
        request: Some(stored_request(&delivery.request)),
        shown: Some(request_record(&delivery, webhook)),
        event: delivery.event,
        copy: delivery.copy,
        bucket: delivery.bucket,
        lane: delivery.lane,
        attempts: delivery.attempts,
    };
    (letter, delivery.ack)
}

/// The letter of what came out of the store and cannot be sent.
pub(super) fn of_unusable(stored: StoredDelivery, sink: &str, message: &str) -> Letter {
    Letter {
        row: stored.row,
        node: format!("sinks.{sink}"),
        reason: Reason::Unrenderable,
        message: mask(message).into_owned(),
        time: Timestamp::now(),
        event: stored.event,
        copy: stored.copy,
        request: None,
        shown: None,
        bucket: stored.bucket,
        lane: stored.lane,
        attempts: stored.attempts,
    }
}

fn request_record(delivery: &Delivery, webhook: &Webhook) -> RequestRecord {
    let request = &delivery.request;
    let all = webhook.headers(request);
    let mut headers: Map<String, Value> = all
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
    RequestRecord { method: webhook.method().to_owned(), url: mask(request.url.as_str()).into_owned(), headers, body }
}
