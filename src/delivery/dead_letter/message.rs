//! A dead letter as a message for a broker: the event as it came, with headers that say what happened to it.

use serde_json::Value;

use crate::secret::mask;
use crate::source::outgoing::OutgoingMessage;
use crate::store::record::Letter;

/// The message of a letter. A letter that was sent on, read again and given up again has the headers of the last time
/// only.
pub fn message_of(letter: &Letter, pipeline: &str) -> OutgoingMessage {
    let event = &letter.core.event;
    let own = own_headers(letter, pipeline);
    let is_own = |name: &str| own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) || name == STATUS;
    let mut headers: Vec<_> = event.headers.iter().filter(|(name, _)| !is_own(name)).cloned().collect();
    headers.extend(own);
    OutgoingMessage {
        id: event.id.clone(),
        key: event.key.clone(),
        headers,
        payload: event.payload.clone(),
        content_type: event.content_type.clone(),
    }
}

const STATUS: &str = "bridge-status";

fn own_headers(letter: &Letter, pipeline: &str) -> Vec<(String, Value)> {
    let status = letter.core.attempts.records.iter().rev().find_map(|record| record.status);
    let headers = [
        ("bridge-reason", letter.reason.as_str().to_owned()),
        ("bridge-message", mask(&letter.message).into_owned()),
        ("bridge-node", letter.node.to_string()),
        ("bridge-pipeline", pipeline.to_owned()),
        ("bridge-event-id", letter.core.event.id.clone()),
        ("bridge-attempts", letter.core.attempts.total.to_string()),
        ("bridge-time", letter.time.to_string()),
    ];
    let status = status.map(|status| (STATUS, status.to_string()));
    headers.into_iter().chain(status).map(|(name, value)| (name.to_owned(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::json;

    use super::super::tests::letter;
    use super::*;
    use crate::store::record::AttemptRecord;

    fn header<'a>(message: &'a OutgoingMessage, name: &str) -> Vec<&'a Value> {
        message.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect()
    }

    #[test]
    fn a_message_is_the_event_and_what_happened_to_it() {
        let mut letter = letter();
        letter.core.attempts.total = 2;
        let answered = AttemptRecord::answered(Timestamp::UNIX_EPOCH, Duration::ZERO, 400, "no");
        letter.core.attempts.push(answered);
        let message = message_of(&letter, "shop");
        assert_eq!((message.id.as_str(), message.key.as_deref()), ("orders/0/7", Some("o-1")));
        assert_eq!(message.payload, letter.core.event.payload);
        let expected = [
            ("trace", "t"),
            ("bridge-reason", "rejected"),
            ("bridge-message", "the receiver answered 400"),
            ("bridge-node", "sinks.crm"),
            ("bridge-pipeline", "shop"),
            ("bridge-event-id", "orders/0/7"),
            ("bridge-attempts", "2"),
            ("bridge-time", "1970-01-01T00:00:00Z"),
            ("bridge-status", "400"),
        ];
        assert_eq!(message.headers, expected.map(|(name, value)| (name.to_owned(), json!(value))));
    }

    #[test]
    fn a_letter_that_dies_again_says_so_once() {
        let mut letter = letter();
        let again = [("bridge-reason", "lost"), ("Bridge-Node", "sources.a"), ("bridge-status", "500")];
        let headers = again.map(|(name, value)| (name.to_owned(), json!(value)));
        std::sync::Arc::make_mut(&mut letter.core.event).headers.extend(headers);
        let message = message_of(&letter, "shop");
        assert_eq!(header(&message, "bridge-reason"), [&json!("rejected")]);
        assert_eq!(header(&message, "Bridge-Node").len(), 0);
        assert_eq!(header(&message, "bridge-status").len(), 0, "this time there was no answer");
    }
}
