//! `bridge presets`: what is known of receivers that many use.

use std::io::{self, Write as _};

use clap::Args;
use serde::Deserialize;

use super::CliError;
use super::table::Table;
use crate::problem::did_you_mean;
use crate::sink::presets::Preset;

/// Lists the presets of sinks, or shows the keys of one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # all presets
  bridge presets
  # the keys that `preset = \"slack\"` stands for
  bridge presets slack

A sink with `preset = \"slack\"` has these keys; what it writes itself wins.")]
pub struct PresetsArgs {
    /// The preset to show
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// When there is no preset of the name, or the text cannot be printed.
pub fn run(args: &PresetsArgs) -> Result<(), CliError> {
    let text = match &args.name {
        None => list(),
        Some(name) => Preset::of_name(name).ok_or_else(|| unknown(name))?.text().to_owned(),
    };
    io::stdout().write_all(text.as_bytes()).map_err(CliError::io("cannot print"))
}

/// What stands at the top of a preset's file.
#[derive(Deserialize)]
struct About {
    about: String,
    documentation: String,
}

fn list() -> String {
    let mut table = Table::new(["PRESET", "RECEIVER", "DOCUMENTATION"]);
    for preset in Preset::all() {
        // A test reads all presets.
        if let Ok(About { about, documentation }) = toml::from_str(preset.text()) {
            table.add([preset.name().to_owned(), about, documentation]);
        }
    }
    table.render(None)
}

fn unknown(name: &str) -> CliError {
    let names: Vec<&str> = Preset::all().map(Preset::name).collect();
    CliError::Usage(match did_you_mean(name, names.iter().copied()) {
        Some(meant) => format!("there is no preset `{name}`: did you mean `{meant}`?"),
        None => format!("there is no preset `{name}`: there are {}", names.join(", ")),
    })
}
