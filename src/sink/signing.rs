//! Signatures of outgoing webhooks, after the Standard Webhooks specification 1.0.0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

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
