//! The parts of one attempt: what is sent where, under which id, and when. What applies itself to an attempt, as a
//! [signer](super::signing) does, reads them and adds its headers.
//!
//! The id and the time are those of the [Standard Webhooks specification 1.0.0][spec], with or without a signature. This
//! module must not send anything or read a clock.
//!
//! [spec]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use sha2::{Digest as _, Sha256};

/// The header that names the event: the same for every attempt, so that receivers can drop duplicates by it.
pub const ID_HEADER: &str = "webhook-id";

/// The header with the time of the attempt, in whole seconds since 1970-01-01T00:00:00Z.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";

/// The headers that every attempt sets, those that the HTTP client sets itself, and the one that has a key of its own.
const RESERVED_HEADERS: [&str; 6] =
    [ID_HEADER, TIMESTAMP_HEADER, "content-length", "transfer-encoding", "connection", "content-type"];

/// Whether the bridge sets a header at every attempt, signed or not.
pub(super) fn is_reserved(header: &HeaderName) -> bool {
    RESERVED_HEADERS.iter().any(|reserved| header == reserved)
}

/// The parts of one attempt.
#[derive(Debug)]
pub struct AttemptParts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URL.
    pub url: &'a Url,
    /// The value of `webhook-id`, as made by [`webhook_id`].
    pub id: &'a HeaderValue,
    /// When the attempt is made.
    pub time: Timestamp,
    /// The headers, but for those that the HTTP client adds.
    pub headers: HeaderMap,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> AttemptParts<'a> {
    /// The parts of an attempt with these headers and those that every attempt has: its id and its time.
    pub fn new(
        method: &'a Method,
        url: &'a Url,
        mut headers: HeaderMap,
        body: &'a [u8],
        id: &'a HeaderValue,
        time: Timestamp,
    ) -> Self {
        headers.insert(HeaderName::from_static(ID_HEADER), id.clone());
        headers.insert(HeaderName::from_static(TIMESTAMP_HEADER), time.as_second().into());
        Self { method, url, id, time, headers, body }
    }
}

/// The bytes that stay as they are in a `webhook-id`. The rest is percent-encoded, first of all `.`, which would let an
/// id reach into the signed timestamp (specification, "Signature scheme"), and `~`, which marks a shortened id.
const ESCAPED_IN_ID: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b':').remove(b'/').remove(b'@').remove(b'+').remove(b'#');

/// No `webhook-id` is longer, in bytes: servers refuse requests whose headers add up to some KiB.
const LONGEST_ID: usize = 256;

/// The value of `webhook-id` for an event: header-safe, without `.`, at most 256 bytes, and different for different ids.
///
/// ASCII letters, digits and `-_:/@+#` stay as they are; everything else is percent-encoded as UTF-8. When the result is
/// longer than 256 bytes, its end is replaced by `~` and the SHA-256 of the whole event id in base64url.
pub fn webhook_id(event_id: &str) -> String {
    let mut id = utf8_percent_encode(event_id, ESCAPED_IN_ID).to_string();
    if id.len() <= LONGEST_ID {
        return id;
    }
    let digest = BASE64_URL.encode(Sha256::digest(event_id));
    id.truncate(LONGEST_ID - 1 - digest.len());
    // An escape has three bytes; one that was cut in two is left out whole.
    if let Some(percent) = id.rfind('%').filter(|percent| percent + 3 > id.len()) {
        id.truncate(percent);
    }
    id.push('~');
    id.push_str(&digest);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_header_safe_and_readable() {
        assert_eq!(webhook_id("orders/3/1042"), "orders/3/1042");
        assert_eq!(webhook_id("orders/3/1042#7"), "orders/3/1042#7");
        assert_eq!(webhook_id("shop.orders/3/1042"), "shop%2Eorders/3/1042");
        assert_eq!(webhook_id("a b\r\nc~%é"), "a%20b%0D%0Ac%7E%25%C3%A9");
        assert_eq!(webhook_id(&"x".repeat(256)), "x".repeat(256));
    }

    #[test]
    fn a_long_id_is_shortened_between_escapes() {
        let long = webhook_id(&format!("{}{}", "x".repeat(211), "é".repeat(100)));
        let (readable, digest) = long.split_once('~').unwrap();
        assert_eq!((readable, digest.len()), ("x".repeat(211).as_str(), 43));
        assert_ne!(webhook_id(&"y".repeat(300)), webhook_id(&"y".repeat(301)));
    }

    proptest! {
        #[test]
        fn any_id_becomes_a_short_safe_one(event_id in "\\PC{0,400}") {
            let id = webhook_id(&event_id);
            prop_assert!(id.len() <= LONGEST_ID);
            prop_assert!(id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.'));
            if !id.contains('~') {
                let decoded = percent_encoding::percent_decode_str(&id).decode_utf8().unwrap().into_owned();
                prop_assert_eq!(decoded, event_id);
            }
        }
    }
}
