//! The webhook sink: makes exactly one attempt. It must not wait, retry or decide what an answer means.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::signing::SigningConfig;
use crate::units::{ByteSize, Period};

/// Sends each event as one HTTP request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The request's URL, `http` or `https`. It may be a template; values are percent-encoded.
    pub url: String,
    /// The request's method.
    #[serde(default)]
    pub method: Method,
    /// Further request headers. Values may be templates; a line break in one is a dead letter.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Name of the template that renders the body. Without it and `body`, the payload goes out byte for byte.
    pub template: Option<String>,
    /// The body's template, inline.
    pub body: Option<String>,
    /// The content type that goes with `body` (default `application/json`), or instead of the payload's own.
    pub content_type: Option<String>,
    /// The longest an attempt may take, from the connection to the answer's last byte.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// The longest that connecting (with DNS and TLS) may take.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Period,
    /// As much of an answer's body is read; the rest closes the connection.
    #[serde(default = "default_max_response_size")]
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

fn default_timeout() -> Period {
    Period::from_secs(15)
}

fn default_connect_timeout() -> Period {
    Period::from_secs(5)
}

fn default_max_response_size() -> ByteSize {
    ByteSize::kib(64)
}
