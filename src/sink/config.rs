//! The keys of sinks in the pipeline file, by type. Nothing is checked or compiled here.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::presets::Preset;
use super::signing::SigningConfig;
use crate::interpolated::InterpolatedText;
use crate::jq::{ProgramText, ValueText};
use crate::units::{ByteSize, Period};

/// The keys of one type of sink. A new type adds a variant here; schema and reference follow.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TypeConfig {
    /// `type = "webhook"`
    Webhook(Box<WebhookConfig>),
}

/// Sends each event as one HTTP request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("dependentSchemas" = serde_json::json!({
    "template": { "properties": { "body": false, "jq": false } },
    "jq": { "properties": { "body": false } },
    "form": { "properties": { "template": false, "body": false, "jq": false, "content_type": false } },
})))]
pub struct WebhookConfig {
    /// What is known of a receiver that many use: its content type, what its answers mean, its rate limit, and what it
    /// refuses. Keys of the sink go before those of the preset; `bridge presets NAME` shows them.
    pub preset: Option<Preset>,
    /// The request's URL, `http` or `https`. It may be a template; values are percent-encoded. `{ jq = "…" }` gives the
    /// whole URL, which is checked and not encoded: `@uri` encodes a value.
    #[schemars(example = &"https://crm.example/hooks/{{data.region}}")]
    pub url: ValueText,
    /// The request's method: `POST`, `PUT`, `PATCH`, `GET` or `DELETE`. It may be a template or a program (`{ jq = "…" }`) that
    /// gives one of them. `GET` and `DELETE` have a body only where `template`, `body`, `jq` or `form` makes one.
    #[serde(default = "default_method")]
    #[schemars(example = &"{{#if data.deleted}}DELETE{{else}}PUT{{/if}}")]
    pub method: ValueText,
    /// Parameters that are put to the URL's query, in this order. Values may be templates, or programs (`{ jq = "…" }`); they
    /// are percent-encoded.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ValueText>", extend("examples" = [{ "region": "{{data.region}}" }]))]
    pub query: IndexMap<String, ValueText>,
    /// Further request headers. Values may be templates, or programs (`{ jq = "…" }`); a line break in one is a dead letter.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"X-Tenant": "{{data.tenant}}"}))]
    pub headers: BTreeMap<String, ValueText>,
    /// Name of the template that renders the body. Without it, `body` and `jq`, the payload goes out byte for byte.
    #[schemars(example = &"slack")]
    pub template: Option<String>,
    /// The body's template, inline.
    #[schemars(example = &r#"{"id": "{{id}}", "order": {{json data}}}"#)]
    pub body: Option<InterpolatedText>,
    /// The body's program in jq, inline: `.` is the envelope, and its one result is the body as JSON.
    #[schemars(example = &"{ id, order: .data }")]
    pub jq: Option<ProgramText>,
    /// A body of the content type `application/x-www-form-urlencoded`, with these fields in this order. Values may be
    /// templates, or programs (`{ jq = "…" }`); they are encoded.
    #[schemars(with = "Option<BTreeMap<String, ValueText>>")]
    #[schemars(extend("examples" = [{ "To": "{{data.phone}}", "Body": "Order {{data.id}}" }]))]
    pub form: Option<IndexMap<String, ValueText>>,
    /// Headers and members of `query` and `form` whose value is empty, null or missing from the event are left out, also where
    /// a program gives `""` or `null`. One that must be there is a program that asks for it: `{ jq = "need(.data.phone)" }`.
    /// Without this key what is empty is sent, and what is null or missing makes the event `unrenderable`.
    #[serde(default)]
    pub omit_empty: bool,
    /// The content type that goes with `body` or `jq` (default `application/json`), or instead of the payload's own.
    #[schemars(example = &"application/json")]
    pub content_type: Option<String>,
    /// The largest body that is sent; an event that gives a larger one is `unrenderable`. Without it there is no limit but
    /// that of templates, 16 MiB.
    #[schemars(extend("x-minimum" = "0B", "x-maximum" = "1GiB"))]
    pub max_body_size: Option<ByteSize>,
    /// What the receiver would refuse of a JSON body: an event for which one holds is `unrenderable`, and nothing is sent.
    #[serde(default)]
    #[schemars(extend("examples" = [[{
        "when": "length($.text) > 2000", "because": "the receiver takes at most 2000 characters",
    }]]))]
    pub checks: Vec<CheckConfig>,
    /// The longest an attempt may take, from the connection to the answer's last byte.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub timeout: Period,
    /// The longest that connecting (with DNS and TLS) may take.
    #[serde(default = "default_connect_timeout")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub connect_timeout: Period,
    /// No connection is used for longer: the next request opens another, and so follows a change of DNS. An idle
    /// connection is closed after 90 s.
    #[serde(default = "default_max_connection_age")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1d"))]
    pub max_connection_age: Period,
    /// As much of an answer's body is read; the rest closes the connection.
    #[serde(default = "default_max_response_size")]
    #[schemars(extend("x-minimum" = "0B", "x-maximum" = "256MiB"))]
    pub max_response_size: ByteSize,
    /// Signs each request. Without it requests carry `webhook-id` and `webhook-timestamp` only.
    pub signing: Option<SigningConfig>,
}

/// Something in a JSON body that the receiver would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// A filter expression (RFC 9535) over the body, where `$` is the JSON in it.
    #[schemars(extend("contentMediaType" = "text/x-jsonpath-filter"))]
    #[schemars(example = &"length($.text) > 2000")]
    pub when: InterpolatedText,
    /// Why the body is refused then, in one sentence.
    #[schemars(example = &"the receiver takes at most 2000 characters")]
    pub because: String,
}

/// The methods of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// POST
    #[default]
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// GET
    Get,
    /// DELETE
    Delete,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 5] = [Self::Post, Self::Put, Self::Patch, Self::Get, Self::Delete];

    /// The method of a name, which is in upper case (RFC 9110, 9.1).
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Get => "GET",
            Self::Delete => "DELETE",
        }
    }

    /// Whether the payload is its body where no other is configured. A body of GET or DELETE has no meaning of its own
    /// (RFC 9110, 9.3.1 and 9.3.5).
    pub fn carries_the_payload(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
            Method::Get => Self::GET,
            Method::Delete => Self::DELETE,
        }
    }
}

fn default_method() -> ValueText {
    Method::default().as_str().into()
}

fn default_timeout() -> Period {
    Period::from_secs(15)
}

fn default_connect_timeout() -> Period {
    Period::from_secs(5)
}

fn default_max_connection_age() -> Period {
    Period::from_secs(5 * 60)
}

fn default_max_response_size() -> ByteSize {
    ByteSize::kib(64)
}
