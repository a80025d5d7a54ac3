//! The keys of sinks in the pipeline file, by type. Nothing is checked or compiled here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::signing::SigningConfig;
use crate::interpolated::InterpolatedText;
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
#[schemars(extend("dependentSchemas" = serde_json::json!({ "template": { "properties": { "body": false } } })))]
pub struct WebhookConfig {
    /// The request's URL, `http` or `https`. It may be a template; values are percent-encoded.
    #[schemars(example = &"https://crm.example/hooks/{{data.region}}")]
    pub url: InterpolatedText,
    /// The request's method.
    #[serde(default)]
    pub method: Method,
    /// Further request headers. Values may be templates; a line break in one is a dead letter.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"X-Tenant": "{{data.tenant}}"}))]
    pub headers: BTreeMap<String, InterpolatedText>,
    /// Name of the template that renders the body. Without it and `body`, the payload goes out byte for byte.
    #[schemars(example = &"slack")]
    pub template: Option<String>,
    /// The body's template, inline. Without it and `template`, the payload goes out byte for byte.
    #[schemars(example = &r#"{"id": "{{id}}", "order": {{json data}}}"#)]
    pub body: Option<InterpolatedText>,
    /// The content type that goes with `body` (default `application/json`), or instead of the payload's own.
    #[schemars(example = &"application/json")]
    pub content_type: Option<String>,
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

/// The methods that carry a body.
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
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
        }
    }
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
