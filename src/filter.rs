//! Filters: an RFC 9535 filter expression over the envelope, parsed once.

use schemars::JsonSchema;
use serde::Deserialize;

/// Lets through the events for which an expression holds. Those it turns away leave by `<name>.unmatched`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// Names of sources or filters whose events come in; `<filter>.unmatched` takes what a filter turns away.
    #[schemars(length(min = 1))]
    pub from: Vec<String>,
    /// An RFC 9535 filter expression over the envelope, for example
    /// `$.data.type == 'order.paid' && $.data.total >= 100`. A query alone holds when it finds something.
    pub when: String,
}
