//! `bridge schema`: prints the JSON Schema of pipeline files, as it is checked in below `schemas/`.

use std::io::Write as _;

use super::CliError;

pub(super) const EXAMPLES: &str = "\
Example:
  bridge schema > pipeline.schema.json         for editors: put `#:schema ./pipeline.schema.json` on a file's first line";

/// Runs the subcommand.
///
/// # Errors
/// When standard output cannot be written.
pub fn run() -> Result<(), CliError> {
    let text = crate::config::schema_text();
    std::io::stdout().write_all(text.as_bytes()).map_err(CliError::io("cannot print"))
}
