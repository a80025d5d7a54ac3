//! `bridge presets`: what is known of receivers that many use.

use std::io::{self, Write as _};

use clap::Args;
use serde_json::{Value, json};

use super::CliError;
use super::dead::OutputFormat;
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
  # for programs
  bridge presets --format json |
    jq -r .preset

A sink with `preset = \"slack\"` has these keys; what it writes itself wins.")]
pub struct PresetsArgs {
    /// The preset to show
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
}

/// Runs the subcommand.
///
/// # Errors
/// When there is no preset of the name, or the text cannot be printed.
pub fn run(args: &PresetsArgs) -> Result<(), CliError> {
    let presets: Vec<Preset> = match &args.name {
        Some(name) => vec![Preset::of_name(name).ok_or_else(|| unknown(name))?],
        None => Preset::all().collect(),
    };
    let text = match (args.format, presets.as_slice()) {
        (OutputFormat::Text, [preset]) => preset.text().to_owned(),
        (OutputFormat::Text, presets) => table(presets),
        (OutputFormat::Json, presets) => presets.iter().map(|preset| json_line(*preset)).collect(),
    };
    io::stdout().write_all(text.as_bytes()).map_err(CliError::io("cannot print"))
}

fn table(presets: &[Preset]) -> String {
    let mut table = Table::new(["PRESET", "RECEIVER", "DOCUMENTATION"]);
    for preset in presets {
        let file = file(*preset);
        let text = |key: &str| file[key].as_str().unwrap_or_default().to_owned();
        table.add([preset.name().to_owned(), text("about"), text("documentation")]);
    }
    table.render(None)
}

fn json_line(preset: Preset) -> String {
    let file = file(preset);
    let line = json!({
        "preset": preset.name(), "about": file["about"], "documentation": file["documentation"], "sink": file["sink"],
    });
    format!("{line}\n")
}

/// The file of a preset as a tree. A test reads all of them.
fn file(preset: Preset) -> Value {
    toml::from_str(preset.text()).unwrap_or_default()
}

fn unknown(name: &str) -> CliError {
    let names: Vec<&str> = Preset::all().map(Preset::name).collect();
    CliError::Usage(match did_you_mean(name, names.iter().copied()) {
        Some(meant) => format!("there is no preset `{name}`: did you mean `{meant}`?"),
        None => format!("there is no preset `{name}`: there are {}", names.join(", ")),
    })
}
