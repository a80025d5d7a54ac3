//! What an event says, in one number: two events with one id are the same only when this is the same, too.
//!
//! Ids are others' to choose: publishers use a message-id twice, and a topic that was deleted and made anew counts its
//! offsets from 0 again. What is read again after a crash says the same, so it is recognised.

use sha2::{Digest as _, Sha256};

use crate::event::Event;

/// The digest of an event's content.
pub(super) type Content = [u8; 32];

/// The digest of an event's key, headers and payload. Headers that begin with `x-` are left out: brokers add some to a
/// message that they deliver again, such as a count of the deliveries.
pub(super) fn content_of(event: &Event) -> Content {
    let mut hash = Sha256::new();
    part(&mut hash, event.key.as_deref().map(str::as_bytes));
    for (name, value) in event.headers.iter().filter(|(name, _)| !is_of_a_broker(name)) {
        part(&mut hash, Some(name.as_bytes()));
        part(&mut hash, Some(value.to_string().as_bytes()));
    }
    part(&mut hash, None);
    part(&mut hash, event.payload.as_deref());
    hash.finalize().into()
}

/// Adds a part with its length, so that no two lists of parts look alike.
fn part(hash: &mut Sha256, bytes: Option<&[u8]>) {
    hash.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_be_bytes());
    hash.update(bytes.unwrap_or_default());
}

fn is_of_a_broker(header: &str) -> bool {
    header.get(..2).is_some_and(|beginning| beginning.eq_ignore_ascii_case("x-"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::event::Format;

    fn event(key: Option<&str>, headers: &[(&str, &str)], payload: Option<&'static str>) -> Event {
        Event {
            id: "m-1".into(),
            time: Timestamp::UNIX_EPOCH,
            source: "orders".into(),
            key: key.map(str::to_owned),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect(),
            meta: Vec::new(),
            payload: payload.map(|text| Bytes::from_static(text.as_bytes())),
            format: Format::Json,
            content_type: None,
        }
    }

    #[test]
    fn what_says_something_else_is_something_else() {
        let all = [
            event(None, &[], None),
            event(None, &[], Some("")),
            event(None, &[], Some("a")),
            event(Some(""), &[], Some("a")),
            event(Some("a"), &[], Some("")),
            event(Some("a"), &[], None),
            event(None, &[("a", "")], Some("")),
            event(None, &[("", "a")], Some("")),
            event(None, &[("a", ""), ("a", "")], Some("")),
        ];
        let digests: std::collections::HashSet<Content> = all.iter().map(content_of).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn what_a_broker_or_a_later_reading_adds_makes_no_other_event() {
        let first = event(Some("k"), &[("type", "paid")], Some("{}"));
        let mut again = event(Some("k"), &[("X-Delivery-Count", "2"), ("type", "paid"), ("x-death", "…")], Some("{}"));
        again.time = Timestamp::MAX;
        again.meta.push(("redelivered".into(), crate::event::MetaValue::Json(true.into())));
        assert_eq!(content_of(&first), content_of(&again));
    }
}
