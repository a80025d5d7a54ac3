//! Templates: Handlebars, compiled at load, with the escaping that the place of use asks for.

use schemars::JsonSchema;
use serde::Deserialize;

/// A body that sinks refer to by name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateConfig {
    /// The content type of the rendered body. In JSON types values are JSON-escaped, and the rendered body is checked
    /// to be JSON; in others they are inserted as they are.
    #[serde(default = "default_content_type")]
    pub content_type: String,
    /// The Handlebars template. It sees the envelope: `id, time, source, key, headers, meta, data`.
    pub body: String,
}

/// The content type of a template that names none.
pub fn default_content_type() -> String {
    "application/json".into()
}
