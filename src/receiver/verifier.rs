//! Verifies Standard Webhooks signatures the way a receiver does, and says precisely why one is wrong.
//!
//! The rules are those of the [specification 1.0.0][spec], "Verifying signatures".
//!
//! [spec]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use std::fmt;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::Mac as _;
use jiff::Timestamp;

use crate::problem::Problem;
use crate::secret::Secret;
use crate::sink::parts::{ID_HEADER, TIMESTAMP_HEADER};
use crate::sink::signing::{self, Key, SIGNATURE_HEADER, SIGNATURE_VERSION};

/// How far the timestamp may be from the receiver's clock, in seconds: as in the reference libraries.
const TOLERANCE: i64 = 5 * 60;

/// Verifies requests with any of several secrets.
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<Key>,
}

/// Why a request is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The request lacks one of the three headers, or it is empty.
    #[error("the request has no `{0}`")]
    Missing(&'static str),
    /// A header has bytes outside visible ASCII.
    #[error("`{0}` is not plain text")]
    NotText(&'static str),
    /// The timestamp is not a whole number.
    #[error("`webhook-timestamp` is not a number of seconds")]
    NotSeconds,
    /// The timestamp is too old; it may be a replay.
    #[error("`webhook-timestamp` is {0} s in the past; at most 300 s are allowed")]
    TooOld(i64),
    /// The timestamp is too far ahead.
    #[error("`webhook-timestamp` is {0} s in the future; at most 300 s are allowed")]
    TooNew(i64),
    /// No signature is of a version that symmetric secrets make.
    #[error("`webhook-signature` has no `v1` signature")]
    NoKnownVersion,
    /// There are `v1` signatures, and none is made with one of the secrets over this id, timestamp and body.
    #[error("no `v1` signature matches: the secret is another, or the id, timestamp or body were changed on the way")]
    Mismatch,
}

impl Verifier {
    /// Checks the secrets, `whsec_` and base64. Their values are registered with [`crate::secret::mask`].
    ///
    /// # Errors
    /// One problem for each secret that cannot be used, or one for all of them when none is left.
    pub fn new(secrets: &[Secret]) -> Result<Self, Vec<Problem>> {
        Ok(Self { keys: signing::keys(secrets)? })
    }

    /// Whether one of the signatures was made with one of the secrets, within five minutes of `now`.
    /// Signatures are compared in constant time.
    ///
    /// # Errors
    /// The first reason that was found not to trust the request.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), VerifyError> {
        let id = text(headers, ID_HEADER)?;
        let timestamp = text(headers, TIMESTAMP_HEADER)?;
        let signatures = text(headers, SIGNATURE_HEADER)?;
        check_time(timestamp, now)?;

        let mut known = signatures
            .split(' ')
            .filter_map(|signature| {
                let (version, encoded) = signature.split_once(',')?;
                (version == SIGNATURE_VERSION).then_some(encoded)
            })
            .peekable();
        if known.peek().is_none() {
            return Err(VerifyError::NoKnownVersion);
        }
        let macs: Vec<Key> = self.keys.iter().map(|key| signing::mac_over(key, id, timestamp, body)).collect();
        let matches = |encoded: &str| {
            let Ok(signature) = BASE64.decode(encoded) else {
                return false;
            };
            macs.iter().any(|mac| mac.clone().verify_slice(&signature).is_ok())
        };
        if known.any(matches) { Ok(()) } else { Err(VerifyError::Mismatch) }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("secrets", &self.keys.len()).finish()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, VerifyError> {
    let value = headers.get(name).filter(|value| !value.is_empty()).ok_or(VerifyError::Missing(name))?;
    value.to_str().map_err(|_| VerifyError::NotText(name))
}

fn check_time(timestamp: &str, now: Timestamp) -> Result<(), VerifyError> {
    let sent: i64 = timestamp.parse().map_err(|_| VerifyError::NotSeconds)?;
    let age = now.as_second().saturating_sub(sent);
    match age {
        _ if age > TOLERANCE => Err(VerifyError::TooOld(age)),
        _ if age < -TOLERANCE => Err(VerifyError::TooNew(age.saturating_neg())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::parts::webhook_id;
    use crate::sink::signing::{Signer, SigningConfig, SigningScheme};
    use proptest::prelude::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const SENT: i64 = 1_614_265_330;

    fn secrets(secrets: &[&str]) -> Vec<Secret> {
        secrets.iter().map(|secret| Secret::new(*secret)).collect()
    }

    fn signed_with(with: &[&str], id: &str, body: &[u8]) -> HeaderMap {
        let config = SigningConfig { scheme: SigningScheme::StandardWebhooks, secrets: secrets(with) };
        let signature = Signer::new(&config).unwrap().sign(id, SENT, body);
        HeaderMap::from_iter([
            (ID_HEADER.parse().unwrap(), id.parse().unwrap()),
            (TIMESTAMP_HEADER.parse().unwrap(), SENT.into()),
            (SIGNATURE_HEADER.parse().unwrap(), signature.parse().unwrap()),
        ])
    }

    fn verify(headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), VerifyError> {
        Verifier::new(&secrets(&[SECRET])).unwrap().verify(headers, body, Timestamp::from_second(now).unwrap())
    }

    #[test]
    fn one_right_signature_among_several_is_enough() {
        assert_eq!(verify(&signed_with(&[OTHER, SECRET], "a", b"{}"), b"{}", SENT), Ok(()));
        assert_eq!(verify(&signed_with(&[OTHER], "a", b"{}"), b"{}", SENT), Err(VerifyError::Mismatch));

        let rotated = Verifier::new(&secrets(&[OTHER, SECRET])).unwrap();
        let now = Timestamp::from_second(SENT).unwrap();
        assert_eq!(rotated.verify(&signed_with(&[SECRET], "a", b"{}"), b"{}", now), Ok(()));
    }

    #[test]
    fn each_missing_or_unreadable_header_is_named() {
        for name in [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER] {
            let mut headers = signed_with(&[SECRET], "a", b"");
            headers.insert(name, axum::http::HeaderValue::from_bytes(b"\xff").unwrap());
            assert_eq!(verify(&headers, b"", SENT), Err(VerifyError::NotText(name)));
            headers.remove(name);
            assert_eq!(verify(&headers, b"", SENT), Err(VerifyError::Missing(name)));
        }
    }

    #[test]
    fn the_timestamp_must_be_within_five_minutes() {
        let mut headers = signed_with(&[SECRET], "a", b"");
        assert_eq!(verify(&headers, b"", SENT + 300), Ok(()));
        assert_eq!(verify(&headers, b"", SENT - 300), Ok(()));
        assert_eq!(verify(&headers, b"", SENT + 301), Err(VerifyError::TooOld(301)));
        assert_eq!(verify(&headers, b"", SENT - 301), Err(VerifyError::TooNew(301)));
        for text in [i64::MIN, i64::MAX] {
            headers.insert(TIMESTAMP_HEADER, text.into());
            assert!(verify(&headers, b"", SENT).is_err());
        }
        headers.insert(TIMESTAMP_HEADER, "hello".parse().unwrap());
        assert_eq!(verify(&headers, b"", SENT), Err(VerifyError::NotSeconds));
    }

    #[test]
    fn only_whole_v1_signatures_count() {
        let mut headers = signed_with(&[SECRET], "a", b"");
        let right = headers[SIGNATURE_HEADER].to_str().unwrap().to_owned();
        for (signature, error) in [
            (right.replace("v1,", "v1a,"), VerifyError::NoKnownVersion),
            ("v1".to_owned(), VerifyError::NoKnownVersion),
            ("v1,".to_owned(), VerifyError::Mismatch),
            (right[..right.len() - 8].to_owned(), VerifyError::Mismatch),
            ("v1,not base64!".to_owned(), VerifyError::Mismatch),
        ] {
            headers.insert(SIGNATURE_HEADER, signature.parse().unwrap());
            assert_eq!(verify(&headers, b"", SENT), Err(error), "{signature}");
        }
    }

    proptest! {
        #[test]
        fn what_was_signed_verifies_and_nothing_else(
            event_id in "\\PC{1,40}",
            body in proptest::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let id = webhook_id(&event_id);
            let mut headers = signed_with(&[SECRET, OTHER], &id, &body);
            prop_assert_eq!(verify(&headers, &body, SENT), Ok(()));

            let mut tampered = body.clone();
            tampered[at.index(body.len())] ^= 1_u8 << bit;
            prop_assert_eq!(verify(&headers, &tampered, SENT), Err(VerifyError::Mismatch));

            headers.insert(TIMESTAMP_HEADER, (SENT + 1).into());
            prop_assert_eq!(verify(&headers, &body, SENT), Err(VerifyError::Mismatch));
            headers.insert(TIMESTAMP_HEADER, SENT.into());
            headers.insert(ID_HEADER, format!("{id}x").parse().unwrap());
            prop_assert_eq!(verify(&headers, &body, SENT), Err(VerifyError::Mismatch));
        }
    }
}
