//! `bridge completions`: prints a completion script.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};

use super::{Cli, CliError};

/// Prints a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  bridge completions bash \\
    > /usr/share/bash-completion/completions/bridge")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Runs the subcommand.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bridge", &mut script);
    std::io::stdout().write_all(&script).map_err(CliError::io("cannot print"))
}
