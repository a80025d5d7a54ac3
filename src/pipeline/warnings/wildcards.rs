//! Paths into which a variable has put a wildcard: it stands for itself there, and may have been meant otherwise. Pure.

use super::warning;
use crate::config::PipelineConfig;
use crate::problem::{Problem, Warning, WarningCode};
use crate::source::TypeConfig;

/// The warnings about values with wildcards in the `paths` of file sources.
pub(super) fn that_are_literal(config: &PipelineConfig) -> Vec<Warning> {
    let mut found = Vec::new();
    for (name, source) in &config.sources {
        let TypeConfig::File(file) = &source.kind else { continue };
        for (index, wildcard) in file.literal_wildcards() {
            let message = format!("`{wildcard}` in what `${{…}}` brings stands for itself, and is no wildcard");
            let help = "write wildcards in the pipeline file, as in `${var:LOGS}/*.log`";
            let problem = Problem::new(["sources", name, "paths", &index.to_string()], message).with_help(help);
            found.push(warning(WarningCode::LiteralWildcard, problem));
        }
    }
    found
}
