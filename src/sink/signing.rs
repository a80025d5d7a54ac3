//! Signatures of outgoing webhooks, after the [Standard Webhooks specification 1.0.0][spec].
//!
//! What is signed is `{webhook-id}.{webhook-timestamp}.{body}`, over the exact bytes that are sent. This module makes
//! header values; it must not send anything, read a clock, or decide which headers a request carries.
//!
//! [spec]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::problem::Problem;
use crate::secret::{self, Secret};

/// The header that names the event: the same for every attempt, so that receivers can drop duplicates by it.
pub const ID_HEADER: &str = "webhook-id";

/// The header with the time of the attempt, in whole seconds since 1970-01-01T00:00:00Z.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";

/// The header with the signatures, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How requests are signed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningConfig {
    /// The scheme.
    #[serde(default)]
    pub scheme: SigningScheme,
    /// The secrets, each as `whsec_` and base64. Every one signs, so that a receiver can move from one to the next
    /// without a gap. Empty strings are left out, so that an optional one may come from `${env:NAME:-}`.
    #[schemars(length(min = 1))]
    #[schemars(example = ["${env:CRM_SECRET}", "${env:CRM_SECRET_PREVIOUS:-}"])]
    pub secrets: Vec<Secret>,
}

/// A signing scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SigningScheme {
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature` (`v1`, HMAC-SHA256).
    #[default]
    StandardWebhooks,
}

/// The identifier of HMAC-SHA256 signatures (specification, "Signature scheme").
pub(crate) const SIGNATURE_VERSION: &str = "v1";

/// HMAC-SHA256 that has already taken in its secret; cloning it costs less than keying it anew for every request.
pub(crate) type Key = Hmac<Sha256>;

/// Signs requests with every secret of a [`SigningConfig`].
#[derive(Clone)]
pub struct Signer {
    keys: Vec<Key>,
}

impl Signer {
    /// Checks the secrets and prepares them for signing. Their values are registered with [`secret::mask`].
    ///
    /// # Errors
    /// One problem for each secret that cannot be used, or one for all of them when none is left.
    pub fn new(config: &SigningConfig) -> Result<Self, Vec<Problem>> {
        match config.scheme {
            SigningScheme::StandardWebhooks => Ok(Self { keys: keys(&config.secrets)? }),
        }
    }

    /// The value of `webhook-signature`: one `v1,<base64>` for each secret, in their order, separated by spaces.
    ///
    /// `id` is the value of `webhook-id` as made by [`webhook_id`], `timestamp` that of `webhook-timestamp`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let timestamp = timestamp.to_string();
        let mut header = String::with_capacity(self.keys.len() * 48);
        for key in &self.keys {
            if !header.is_empty() {
                header.push(' ');
            }
            header.push_str(SIGNATURE_VERSION);
            header.push(',');
            let signature = mac_over(key, id, &timestamp, body).finalize().into_bytes();
            BASE64.encode_string(signature, &mut header);
        }
        header
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("secrets", &self.keys.len()).finish()
    }
}

/// The bytes that stay as they are in a `webhook-id`. The rest is percent-encoded, first of all `.`, which would let an
/// id reach into the signed timestamp (specification, "Signature scheme"), and `~`, which marks a shortened id.
const ESCAPED_IN_ID: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b':').remove(b'/').remove(b'@').remove(b'+');

/// No `webhook-id` is longer, in bytes: servers refuse requests whose headers add up to some KiB.
const LONGEST_ID: usize = 256;

/// The value of `webhook-id` for an event: header-safe, without `.`, at most 256 bytes, and different for different ids.
///
/// ASCII letters, digits and `-_:/@+` stay as they are; everything else is percent-encoded as UTF-8. When the result is
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

/// The keyed MAC over the signed content.
pub(crate) fn mac_over(key: &Key, id: &str, timestamp: &str, body: &[u8]) -> Key {
    key.clone().chain_update(id).chain_update(b".").chain_update(timestamp).chain_update(b".").chain_update(body)
}

/// The keys of all secrets that are not empty; problems are named `secrets` and the index.
pub(crate) fn keys(secrets: &[Secret]) -> Result<Vec<Key>, Vec<Problem>> {
    let mut keys = Vec::new();
    let mut problems = Vec::new();
    for (index, secret) in secrets.iter().enumerate() {
        // A secret that was read from a file often ends in a line break.
        let text = secret.expose().trim();
        if text.is_empty() {
            continue;
        }
        match key(text) {
            Ok(key) => keys.push(key),
            Err(error) => {
                let path = ["secrets".to_owned(), index.to_string()];
                problems.push(Problem::new(path, &error).with_help(error.help()));
            }
        }
    }
    if keys.is_empty() && problems.is_empty() {
        let problem = Problem::new(["secrets"], "no secret is left to sign with: every one is empty");
        problems.push(problem.with_help("give at least one, as `whsec_` and base64"));
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

const SECRET_PREFIX: &str = "whsec_";

/// Shorter secrets, in bytes, are refused. The specification asks producers to make 24 to 64 bytes, but the reference
/// libraries take any length and receivers with a secret of 16 bytes exist; below that, guessing comes into reach.
const SHORTEST_SECRET: usize = 16;

/// Base64 with or without padding, as secrets are found in the wild.
const BASE64_PADDED_OR_NOT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a secret cannot be used. The texts show no part of it.
#[derive(Debug, PartialEq, thiserror::Error)]
enum SecretError {
    #[error("the secret is an ed25519 key; only symmetric secrets are supported")]
    Asymmetric,
    #[error("the secret is not base64")]
    NotBase64,
    #[error("the secret has only {0} bytes, which can be guessed")]
    TooShort(usize),
}

impl SecretError {
    fn help(&self) -> &'static str {
        match self {
            Self::Asymmetric => "use a secret of the form `whsec_` and base64",
            Self::NotBase64 => "write the secret as `whsec_` and base64 (A-Z a-z 0-9 + /)",
            Self::TooShort(_) => "use 24 to 64 random bytes, for example `whsec_$(openssl rand -base64 32)`",
        }
    }
}

/// Reads a secret as the reference libraries do: the prefix may be missing, the rest is base64.
fn key(text: &str) -> Result<Key, SecretError> {
    secret::register(text);
    if text.starts_with("whsk_") || text.starts_with("whpk_") {
        return Err(SecretError::Asymmetric);
    }
    let encoded = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
    secret::register(encoded);
    let bytes = BASE64_PADDED_OR_NOT.decode(encoded).map_err(|_| SecretError::NotBase64)?;
    if let Ok(decoded) = std::str::from_utf8(&bytes) {
        secret::register(decoded);
    }
    if bytes.len() < SHORTEST_SECRET {
        return Err(SecretError::TooShort(bytes.len()));
    }
    Ok(Key::new_from_slice(&bytes).expect("HMAC takes keys of any length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signer(secrets: &[&str]) -> Result<Signer, Vec<Problem>> {
        let secrets = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        Signer::new(&SigningConfig { scheme: SigningScheme::StandardWebhooks, secrets })
    }

    fn messages(secrets: &[&str]) -> Vec<String> {
        signer(secrets).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn signatures_equal_those_of_the_reference_libraries() {
        // From the test suites of the specification's JavaScript and Rust libraries.
        let javascript = signer(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).unwrap();
        assert_eq!(
            javascript.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        let rust = signer(&["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]).unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            rust.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn every_secret_signs_in_order_and_empty_ones_are_left_out() {
        let (first, second) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n");
        let each = [first, second].map(|secret| signer(&[secret]).unwrap().sign("a", 1, b"\xff"));
        assert_eq!(signer(&[first, "", second]).unwrap().sign("a", 1, b"\xff"), each.join(" "));
    }

    #[test]
    fn padding_may_be_missing() {
        let padded = signer(&["whsec_MDEyMzQ1Njc4OWFiY2RlZmc="]).unwrap().sign("a", 1, b"");
        assert_eq!(signer(&["whsec_MDEyMzQ1Njc4OWFiY2RlZmc"]).unwrap().sign("a", 1, b""), padded);
    }

    #[test]
    fn every_unusable_secret_is_reported_at_its_place() {
        assert_eq!(
            messages(&["whsec_not base64!", "", "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ="]),
            [
                "secrets.0: the secret is not base64",
                "secrets.2: the secret is an ed25519 key; only symmetric secrets are supported",
                "secrets.3: the secret has only 5 bytes, which can be guessed",
            ]
        );
        assert_eq!(messages(&["", " "]), ["secrets: no secret is left to sign with: every one is empty"]);
        assert_eq!(messages(&[]).len(), 1);
    }

    #[test]
    fn no_form_of_a_secret_shows() {
        let signer = signer(&["whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjI="]).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer { secrets: 1 }");
        let log = "k=aHVudGVyMi1odW50ZXIyLWh1bnRlcjI= d=hunter2-hunter2-hunter2";
        assert_eq!(secret::mask(log), "k=*** d=***");
    }

    #[test]
    fn ids_are_header_safe_and_readable() {
        assert_eq!(webhook_id("orders/3/1042"), "orders/3/1042");
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
