//! The stdin connector: lines of standard input, for `command | bridge run pipeline.toml`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Reads the lines of standard input; the pipeline ends when the input ends and everything is delivered.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdinConfig {}
