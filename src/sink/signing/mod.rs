//! Signatures of outgoing webhooks, by any of several schemes.
//!
//! A scheme is data: what is signed, in which header and how it is written (`table`). [`SchemeName`] names one, `custom`
//! makes one of the pipeline file's keys ([`SigningConfig`]), and `scheme` checks both alike. What is signed and what is
//! sent are patterns (`pattern`); secrets become keys once (`keys`). The [`Signer`] signs the exact bytes that are sent, adds
//! its own headers to an attempt and names them, so that no sink sets them. It must not send anything or read a clock.

mod config;
mod encoding;
mod keys;
mod pattern;
mod scheme;
mod table;
#[cfg(test)]
mod vectors;

use std::fmt;
use std::sync::Arc;

use reqwest::header::HeaderValue;
use url::Position;

use super::parts::AttemptParts;
use crate::problem::Problem;

pub use config::{HmacAlgorithm, SigningConfig};
pub use encoding::Encoding;
pub(crate) use keys::{Key, keys};
pub(crate) use pattern::{Field, Pattern, Piece};
pub(crate) use scheme::{Scheme, Signed};
pub use table::SchemeName;

/// The header with the signatures of Standard Webhooks. No sink may set it, signed or not: its receiver would take it for a
/// signature.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The headers with the signatures of all schemes that have a name, in lower case.
pub fn signature_headers() -> impl Iterator<Item = &'static str> {
    table::SCHEMES.iter().map(|entry| entry.layout.header)
}

/// Signs requests with the secrets of a [`SigningConfig`].
#[derive(Clone)]
pub struct Signer {
    scheme: Arc<Scheme>,
    /// Never none; one, where the scheme has no room for more.
    keys: Vec<Key>,
}

impl Signer {
    /// Checks the scheme and the secrets, and prepares them for signing. The secrets are registered with
    /// [`crate::secret::mask`].
    ///
    /// # Errors
    /// One problem for each value that cannot be used, or one for all secrets when none is left.
    pub fn new(config: &SigningConfig) -> Result<Self, Vec<Problem>> {
        let keys = keys::private_keys(&config.secrets, config.key_form());
        let scheme = Scheme::of(config);
        match (scheme, keys) {
            (Ok(scheme), Ok(mut keys)) => {
                if scheme.separator.is_none() {
                    keys.truncate(1);
                }
                Ok(Self { scheme: Arc::new(scheme), keys })
            }
            (scheme, keys) => Err(scheme.err().into_iter().chain(keys.err()).flatten().collect()),
        }
    }

    /// Adds the signature of an attempt to its headers.
    pub fn apply(&self, parts: &mut AttemptParts<'_>) {
        let timestamp = parts.time.as_second().to_string();
        let signed = Signed {
            method: parts.method.as_str(),
            path: &parts.url[Position::BeforePath..Position::AfterQuery],
            id: parts.id.to_str().unwrap_or_default(),
            timestamp: &timestamp,
            body: parts.body,
        };
        // What a scheme writes around a signature was checked to be a header's value.
        if let Ok(value) = HeaderValue::try_from(self.value(&signed)) {
            parts.headers.insert(self.scheme.header.clone(), value);
        }
        if let Some(name) = &self.scheme.timestamp_header {
            parts.headers.insert(name.clone(), parts.time.as_second().into());
        }
    }

    /// The value of the header with the signature: the one element that holds it occurs once for each secret.
    fn value(&self, signed: &Signed<'_>) -> String {
        let separator = self.scheme.separator.as_deref().unwrap_or_default();
        let mut value = String::with_capacity(32 + self.keys.len() * 96);
        for element in &self.scheme.elements {
            let times = if element.names(Field::Signature) { self.keys.as_slice() } else { &self.keys[..1] };
            for key in times {
                if !value.is_empty() {
                    value.push_str(separator);
                }
                self.write_element(element, key, signed, &mut value);
            }
        }
        value
    }

    fn write_element(&self, element: &Pattern, key: &Key, signed: &Signed<'_>, value: &mut String) {
        for piece in element.pieces() {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Field(Field::Signature) => {
                    let signature = key.over(self.scheme.content_of(signed)).sign();
                    self.scheme.encoding.encode_into(signature.as_bytes(), value);
                }
                Piece::Field(field) => value.push_str(signed.text(*field)),
            }
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("secrets", &self.keys.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use reqwest::header::{CONTENT_TYPE, HeaderMap};
    use reqwest::{Method, Url};

    use super::*;
    use crate::secret::Secret;

    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn config(scheme: &str, secrets: &[&str]) -> SigningConfig {
        let secrets = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        SigningConfig::named(SchemeName::of_name(scheme).unwrap(), secrets)
    }

    /// The value of the header with the signature, of a `POST /a?b=c` with the id `id` at the time 1.
    fn value(config: &SigningConfig) -> String {
        let signed = Signed { method: "POST", path: "/a?b=c", id: "id", timestamp: "1", body: b"\xff" };
        Signer::new(config).unwrap().value(&signed)
    }

    #[test]
    fn every_secret_signs_in_order_and_empty_ones_are_left_out() {
        let each = [FIRST, SECOND].map(|secret| value(&config("standard-webhooks", &[secret])));
        assert_eq!(value(&config("standard-webhooks", &[FIRST, "", SECOND])), each.join(" "));
        let stripe = [FIRST, SECOND].map(|secret| value(&config("stripe", &[secret])));
        let second = stripe[1].strip_prefix("t=1,").unwrap();
        assert_eq!(value(&config("stripe", &[FIRST, SECOND])), format!("{},{second}", stripe[0]));
    }

    #[test]
    fn the_first_secret_signs_where_there_is_room_for_one() {
        for scheme in ["github", "slack", "shopify"] {
            let both = config(scheme, &["", FIRST, SECOND]);
            assert!(!both.has_room_for_several());
            assert_eq!(value(&both), value(&config(scheme, &[FIRST])), "{scheme}");
        }
    }

    #[test]
    fn a_custom_scheme_signs_and_sends_what_it_names() {
        let custom = |content: &str, value: &str, separator: Option<&str>| SigningConfig {
            header: Some("X-Signature".into()),
            content: Some(content.into()),
            value: Some(value.into()),
            separator: separator.map(str::to_owned),
            ..config("custom", &[FIRST, SECOND])
        };
        let all =
            custom("{{method}} {{path}} {{id}} {{timestamp}} {{body}}", "{{id}};{{signature}};{{timestamp}}", None);
        // Computed by Python's hmac.
        let signature = "77ffae0765d6a5f3532629a0a179b568e14721102a1a1dc57485964d113fb8c0";
        assert_eq!(value(&all), format!("id;{signature};1"));
        let list = custom("{{body}}", "t={{timestamp}}, s={{signature}}", Some(", "));
        let alone = value(&config("github", &[FIRST])).replace("sha256", "s");
        let other = value(&config("github", &[SECOND])).replace("sha256", "s");
        assert_eq!(value(&list), format!("t=1, {alone}, {other}"));
    }

    #[test]
    fn a_signer_sets_no_header_that_it_does_not_reserve() {
        let secret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=";
        let (url, id) = (Url::parse("https://x/").unwrap(), HeaderValue::from_static("a"));
        for scheme in SchemeName::all() {
            let secret = if scheme.name().ends_with("ed25519") { secret } else { FIRST };
            let mut config = config(scheme.name(), &[secret]);
            config.header = (scheme == SchemeName::CUSTOM).then(|| "X-Signature".into());
            let before = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
            let mut parts = AttemptParts::new(&Method::POST, &url, before, b"{}", &id, Timestamp::UNIX_EPOCH);
            let unsigned = parts.headers.clone();
            Signer::new(&config).unwrap().apply(&mut parts);
            let changed = parts.headers.iter().filter(|(name, value)| unsigned.get(*name) != Some(*value));
            let mut changed: Vec<_> = changed.map(|(name, _)| name.clone()).collect();
            let mut reserved = config.headers();
            changed.sort_by(|one, other| one.as_str().cmp(other.as_str()));
            reserved.sort_by(|one, other| one.as_str().cmp(other.as_str()));
            assert_eq!(changed, reserved, "{scheme:?}");
        }
    }

    #[test]
    fn faults_of_the_scheme_and_of_the_secrets_are_reported_together() {
        let wrong = SigningConfig { header: None, ..config("custom", &["hunter2"]) };
        let paths: Vec<_> =
            Signer::new(&wrong).unwrap_err().into_iter().map(|problem| problem.path.join(".")).collect();
        assert_eq!(paths, ["header", "secrets.0"]);
        let shown = format!("{:?}", Signer::new(&config("stripe", &[FIRST, SECOND])).unwrap());
        assert_eq!(shown, "Signer { secrets: 2 }");
    }
}
