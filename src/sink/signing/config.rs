//! The keys of `[sinks.NAME.signing]`. Nothing is checked here.

use reqwest::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use strum::{EnumString, IntoStaticStr, VariantNames};

use super::encoding::Encoding;
use super::keys::{self, Hash, KeyForm};
use super::pattern::Field;
use super::scheme::Scheme;
use super::table::{Layout, SCHEMES, SchemeName};
use crate::secret::Secret;

/// How requests are signed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    extend("if" = json!({
        "properties": { "scheme": { "enum": SCHEMES.iter().map(|entry| entry.name).collect::<Vec<_>>() } },
        "required": ["scheme"],
    })),
    extend("then" = json!({
        "properties": CUSTOM_KEYS.iter().map(|key| ((*key).to_owned(), json!(false))).collect::<serde_json::Map<_, _>>(),
    })),
)]
pub struct SigningConfig {
    /// The scheme. `docs/verify-signatures.md` shows how receivers verify each.
    #[serde(default)]
    pub scheme: SchemeName,
    /// The secrets, in the form that the scheme asks for: by default `whsec_` and base64. Where the scheme has room for several signatures, every one signs, so that a receiver can move from one
    /// to the next without a gap; elsewhere the first does. Empty strings are left out, so that an optional one may come
    /// from `${env:NAME:-}`.
    #[schemars(length(min = 1))]
    #[schemars(example = ["${env:CRM_SECRET}", "${env:CRM_SECRET_PREVIOUS:-}"])]
    pub secrets: Vec<Secret>,
    /// Of `custom`: the algorithm (default `hmac-sha256`).
    pub algorithm: Option<HmacAlgorithm>,
    /// Of `custom`: what is signed. It may name `{{method}}`, `{{path}}` (with the query), `{{id}}` (`webhook-id`),
    /// `{{timestamp}}` (of the attempt, in seconds) and `{{body}}` (default `{{body}}`).
    #[schemars(example = &"{{timestamp}}.{{body}}")]
    pub content: Option<String>,
    /// Of `custom`, and needed there: the header with the signature.
    #[schemars(example = &"X-Signature")]
    pub header: Option<String>,
    /// Of `custom`: the value of that header. It names `{{signature}}` once, and may name `{{timestamp}}` and `{{id}}`
    /// (default `{{signature}}`).
    #[schemars(example = &"t={{timestamp}},v1={{signature}}")]
    pub value: Option<String>,
    /// Of `custom`: how the signature is written (default `hex`).
    pub encoding: Option<Encoding>,
    /// Of `custom`: `value` is a list with this between its elements, `,`, `;`, `|` or a blank, and the element with the
    /// signature is repeated for every secret. Without it, the first secret signs.
    #[schemars(example = &",")]
    pub separator: Option<String>,
}

/// The algorithm of a scheme of one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, EnumString, IntoStaticStr, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum HmacAlgorithm {
    /// HMAC with SHA-1, for receivers that know no other.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
}

/// The keys that only `scheme = "custom"` has.
pub(super) const CUSTOM_KEYS: [&str; 6] = ["algorithm", "content", "header", "value", "encoding", "separator"];

impl SigningConfig {
    /// A scheme that has a name, with these secrets.
    pub fn named(scheme: SchemeName, secrets: Vec<Secret>) -> Self {
        Self { scheme, secrets, ..Self::default() }
    }

    /// Whether every secret signs, or the first alone.
    pub fn has_room_for_several(&self) -> bool {
        match self.scheme.entry() {
            Some(entry) => entry.layout.separator.is_some(),
            None => self.separator.is_some(),
        }
    }

    /// The places of the secrets that are not empty.
    pub fn present_secrets(&self) -> impl Iterator<Item = usize> {
        keys::present(&self.secrets).map(|(index, _)| index)
    }

    /// Whether the body is a part of what is signed, as far as that can be said.
    pub fn covers_the_body(&self) -> bool {
        Scheme::of(self).map_or(true, |scheme| scheme.content.names(Field::Body))
    }

    /// The headers that signing sets; a name that is none is left out.
    pub(crate) fn headers(&self) -> Vec<HeaderName> {
        let names = match self.scheme.entry() {
            Some(entry) => [Some(entry.layout.header), entry.layout.timestamp_header],
            None => [self.header.as_deref(), None],
        };
        names.into_iter().flatten().filter_map(|name| HeaderName::try_from(name).ok()).collect()
    }

    /// What its secrets are.
    pub(crate) fn key_form(&self) -> KeyForm {
        self.scheme.entry().map_or(KeyForm::Text(self.hash()), |entry| entry.layout.keys)
    }

    /// The scheme that its keys make, if it has a header.
    pub(super) fn custom(&self) -> Option<Layout<'_>> {
        Some(Layout {
            keys: KeyForm::Text(self.hash()),
            content: self.content.as_deref().unwrap_or("{{body}}"),
            header: self.header.as_deref()?,
            value: self.value.as_deref().unwrap_or("{{signature}}"),
            encoding: self.encoding.unwrap_or(Encoding::Hex),
            separator: self.separator.as_deref(),
            timestamp_header: None,
        })
    }

    /// The keys of [`CUSTOM_KEYS`] that are set.
    pub(super) fn custom_keys(&self) -> impl Iterator<Item = &'static str> {
        let are_set = [
            self.algorithm.is_some(),
            self.content.is_some(),
            self.header.is_some(),
            self.value.is_some(),
            self.encoding.is_some(),
            self.separator.is_some(),
        ];
        CUSTOM_KEYS.into_iter().zip(are_set).filter(|(_, is_set)| *is_set).map(|(key, _)| key)
    }

    fn hash(&self) -> Hash {
        match self.algorithm {
            Some(HmacAlgorithm::HmacSha1) => Hash::Sha1,
            Some(HmacAlgorithm::HmacSha256) | None => Hash::Sha256,
            Some(HmacAlgorithm::HmacSha512) => Hash::Sha512,
        }
    }
}
