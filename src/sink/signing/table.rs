//! The schemes that have a name, each as one entry of one table. `scheme = "custom"` makes such an entry of the keys in the
//! pipeline file.
//!
//! A new scheme is an entry here, with a published example in `vectors.rs` and a section in `docs/verify-signatures.md`.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encoding::Encoding;
use super::keys::{Hash, KeyForm};

/// What a scheme is made of, as text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout<'a> {
    /// What its secrets are, and what is made with them.
    pub keys: KeyForm,
    /// What is signed.
    pub content: &'a str,
    /// The header with the signature.
    pub header: &'a str,
    /// The value of that header, with one signature.
    pub value: &'a str,
    /// How the signature is written in it.
    pub encoding: Encoding,
    /// What stands between the elements of the value, where that is a list: then the element with the signature occurs
    /// once for each secret. Without it, there is room for one signature.
    pub separator: Option<&'a str>,
    /// A header with the timestamp that is signed, where receivers ask for another one than `webhook-timestamp`.
    pub timestamp_header: Option<&'a str>,
}

/// A scheme with a name.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: &'static str,
    /// What it is, in one sentence for the reference.
    pub summary: &'static str,
    pub layout: Layout<'static>,
}

pub(super) const SCHEMES: [Entry; 6] = [
    Entry {
        // https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
        name: "standard-webhooks",
        summary: "Standard Webhooks with symmetric secrets: `webhook-signature` with `v1`, HMAC-SHA256 over id, timestamp \
                  and body. Secrets are `whsec_` and base64.",
        layout: Layout {
            keys: KeyForm::Whsec(Hash::Sha256),
            content: "{{id}}.{{timestamp}}.{{body}}",
            header: "webhook-signature",
            value: "v1,{{signature}}",
            encoding: Encoding::Base64,
            separator: Some(" "),
            timestamp_header: None,
        },
    },
    Entry {
        name: "standard-webhooks-ed25519",
        summary: "Standard Webhooks with key pairs: `webhook-signature` with `v1a`, Ed25519 over id, timestamp and body. \
                  Secrets are `whsk_` and base64; receivers verify with the public key, `whpk_` and base64.",
        layout: Layout {
            keys: KeyForm::Ed25519,
            content: "{{id}}.{{timestamp}}.{{body}}",
            header: "webhook-signature",
            value: "v1a,{{signature}}",
            encoding: Encoding::Base64,
            separator: Some(" "),
            timestamp_header: None,
        },
    },
    Entry {
        // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        name: "github",
        summary: "As GitHub signs: `X-Hub-Signature-256`, HMAC-SHA256 over the body. One secret signs, any text.",
        layout: Layout {
            keys: KeyForm::Text(Hash::Sha256),
            content: "{{body}}",
            header: "x-hub-signature-256",
            value: "sha256={{signature}}",
            encoding: Encoding::Hex,
            separator: None,
            timestamp_header: None,
        },
    },
    Entry {
        // https://docs.stripe.com/webhooks/signature
        name: "stripe",
        summary: "As Stripe signs: `Stripe-Signature` with `t` and `v1`, HMAC-SHA256 over timestamp and body. Secrets are \
                  any text, `whsec_` being a part of it.",
        layout: Layout {
            keys: KeyForm::Text(Hash::Sha256),
            content: "{{timestamp}}.{{body}}",
            header: "stripe-signature",
            value: "t={{timestamp}},v1={{signature}}",
            encoding: Encoding::Hex,
            separator: Some(","),
            timestamp_header: None,
        },
    },
    Entry {
        // https://docs.slack.dev/authentication/verifying-requests-from-slack
        name: "slack",
        summary: "As Slack signs: `X-Slack-Signature` with `v0` and `X-Slack-Request-Timestamp`, HMAC-SHA256 over timestamp \
                  and body. One secret signs, any text.",
        layout: Layout {
            keys: KeyForm::Text(Hash::Sha256),
            content: "v0:{{timestamp}}:{{body}}",
            header: "x-slack-signature",
            value: "v0={{signature}}",
            encoding: Encoding::Hex,
            separator: None,
            timestamp_header: Some("x-slack-request-timestamp"),
        },
    },
    Entry {
        // https://shopify.dev/docs/apps/build/webhooks/subscribe/https
        name: "shopify",
        summary: "As Shopify signs: `X-Shopify-Hmac-Sha256`, HMAC-SHA256 over the body, in base64. One secret signs, any \
                  text.",
        layout: Layout {
            keys: KeyForm::Text(Hash::Sha256),
            content: "{{body}}",
            header: "x-shopify-hmac-sha256",
            value: "{{signature}}",
            encoding: Encoding::Base64,
            separator: None,
            timestamp_header: None,
        },
    },
];

const CUSTOM: &str = "custom";
const CUSTOM_SUMMARY: &str = "A scheme of your own: an HMAC over `content`, sent in `header`. One secret signs, any text; \
                              with `separator` every one does.";

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| SCHEMES.iter().map(|e| e.name).chain([CUSTOM]).collect());

/// The name of a signing scheme.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SchemeName(&'static str);

impl SchemeName {
    /// The scheme whose parts stand in the pipeline file.
    pub const CUSTOM: Self = Self(CUSTOM);

    /// The names of all schemes.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        NAMES.iter().map(|name| Self(name))
    }

    /// The scheme of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::all().find(|known| known.0 == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Its entry; `None` for `custom`.
    pub(super) fn entry(self) -> Option<&'static Entry> {
        SCHEMES.iter().find(|entry| entry.name == self.0)
    }
}

/// Standard Webhooks with symmetric secrets.
impl Default for SchemeName {
    fn default() -> Self {
        Self(SCHEMES[0].name)
    }
}

impl fmt::Debug for SchemeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for SchemeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for SchemeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::of_name(&name).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

impl JsonSchema for SchemeName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SchemeName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let named = SCHEMES.iter().map(|entry| (entry.name, entry.summary));
        let words = named
            .chain([(CUSTOM, CUSTOM_SUMMARY)])
            .map(|(name, summary)| serde_json::json!({ "description": summary, "type": "string", "const": name }));
        json_schema!({ "oneOf": words.collect::<Vec<_>>() })
    }
}
