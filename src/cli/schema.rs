//! `bridge schema`: prints the JSON Schema of pipeline files, or the reference of their keys, as they are checked in.

use std::io::Write as _;

use clap::{Args, ValueEnum};

use super::CliError;
use crate::config::{reference, schema_text};

/// Prints the JSON Schema of pipeline files, or a reference of their keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # for editors: put this on the first line of a file:
  # `#:schema ./pipeline.schema.json`
  bridge schema > pipeline.schema.json
  # every key, with its default and what it means
  bridge schema --format markdown | less")]
pub struct SchemaArgs {
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub format: SchemaFormat,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SchemaFormat {
    /// The JSON Schema (draft 2020-12)
    #[default]
    Json,
    /// The reference of all keys
    Markdown,
}

/// Runs the subcommand.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &SchemaArgs) -> Result<(), CliError> {
    let text = match args.format {
        SchemaFormat::Json => schema_text(),
        SchemaFormat::Markdown => reference(),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(CliError::io("cannot print"))
}
