//! Signatures of outgoing webhooks, after the [Standard Webhooks specification 1.0.0][spec].
//!
//! What is signed is `{webhook-id}.{webhook-timestamp}.{body}`, over the exact bytes that are sent. A signer adds its own
//! headers to an attempt and names them, so that no sink sets them; it must not send anything or read a clock.
//!
//! [spec]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::parts::AttemptParts;
use crate::problem::Problem;
use crate::secret::{self, Secret};

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
    /// The headers that a signer sets, in lower case. No sink may set them, signed or not: its receiver would take them
    /// for a signature.
    pub const RESERVED_HEADERS: [&str; 1] = [SIGNATURE_HEADER];

    /// Checks the secrets and prepares them for signing. Their values are registered with [`secret::mask`].
    ///
    /// # Errors
    /// One problem for each secret that cannot be used, or one for all of them when none is left.
    pub fn new(config: &SigningConfig) -> Result<Self, Vec<Problem>> {
        match config.scheme {
            SigningScheme::StandardWebhooks => Ok(Self { keys: keys(&config.secrets)? }),
        }
    }

    /// Adds the signature of an attempt to its headers.
    pub fn apply(&self, parts: &mut AttemptParts<'_>) {
        let signature = self.sign(parts.id.to_str().unwrap_or_default(), parts.time.as_second(), parts.body);
        // A signature is base64 behind `v1,`, which a header can always hold.
        if let Ok(signature) = HeaderValue::try_from(signature) {
            parts.headers.insert(HeaderName::from_static(SIGNATURE_HEADER), signature);
        }
    }

    /// The value of `webhook-signature`: one `v1,<base64>` for each secret, in their order, separated by spaces.
    ///
    /// `id` is the value of `webhook-id`, `timestamp` that of `webhook-timestamp`.
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
    use jiff::Timestamp;
    use reqwest::header::{CONTENT_TYPE, HeaderMap};
    use reqwest::{Method, Url};

    use super::*;

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
    fn a_signer_sets_no_header_that_it_does_not_reserve() {
        let (url, id) = (Url::parse("https://x/").unwrap(), HeaderValue::from_static("a"));
        let before = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
        let mut parts = AttemptParts::new(&Method::POST, &url, before, b"{}", &id, Timestamp::UNIX_EPOCH);
        let unsigned = parts.headers.clone();
        let signer = signer(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).unwrap();
        signer.apply(&mut parts);
        assert_eq!(parts.headers[SIGNATURE_HEADER], signer.sign("a", 0, b"{}"));
        let changed = parts.headers.iter().filter(|(name, value)| unsigned.get(*name) != Some(*value));
        assert!(changed.map(|(name, _)| name.as_str()).eq(Signer::RESERVED_HEADERS));
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
}
