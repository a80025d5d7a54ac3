//! The file connector: lines of files that grow, through rotation and restarts.

#[allow(dead_code)]
mod content;
#[allow(dead_code)]
mod discovery;
mod heads;
mod identity;
mod names;
#[allow(dead_code)]
mod registry;
#[allow(dead_code)]
mod rotation;
#[allow(dead_code)]
mod watch;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reads the lines of files that grow, such as logs. Rotation by rename and by copytruncate loses nothing.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Files to read, as paths or globs. Relative paths start at the folder that the process was started in.
    #[schemars(length(min = 1), example = ["/var/log/shop/*.jsonl"])]
    pub paths: Vec<String>,
    /// Where to start in a file that is there at the first start and was never seen before. Files that appear later are
    /// read from their beginning.
    #[serde(default)]
    pub start: FileStart,
}

/// Where reading starts in a file never seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileStart {
    /// At the file's first byte.
    #[default]
    Beginning,
    /// At the file's end.
    End,
}
