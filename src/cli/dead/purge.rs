//! `bridge dead purge`: throws dead letters away.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use jiff::Timestamp;

use super::PipelineArgs;
use super::filter::{ChoiceArgs, FilterArgs};
use crate::cli::CliError;
use crate::pipeline::run::new_runtime;

/// Throws dead letters away, for good.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge dead purge pipeline.toml 17 18
  # older than 30 days (see also store.keep_dead_letters)
  bridge dead purge pipeline.toml --until 30d --yes
  bridge dead purge pipeline.toml --reason too-large
  bridge dead purge pipeline.toml --all

Exit codes: 0 also when a filter matches nothing; 1 when there is no letter of a number that was given: \
then nothing is purged.")]
pub struct PurgeArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) fn run(args: &PurgeArgs) -> Result<(), CliError> {
    let filter = args.choice.filter(&args.filter, Timestamp::now(), "--until 30d")?;
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    runtime.block_on(async {
        let mut letters = args.pipeline.letters(&filter).await?;
        let count = letters.count(&filter).await?;
        if count == 0 {
            return say("no dead letters to purge");
        }
        if !args.yes && !confirmed(count)? {
            return say("nothing purged");
        }
        let mut purged = 0;
        loop {
            match letters.purge_some(&filter).await? {
                0 => return say(&format!("purged {}", dead_letters(purged))),
                some => purged += some,
            }
        }
    })
}

fn dead_letters(count: u64) -> String {
    format!("{count} dead {}", if count == 1 { "letter" } else { "letters" })
}

fn confirmed(count: u64) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        let message = format!("{} would be purged: add --yes, as there is no terminal to ask at", dead_letters(count));
        return Err(CliError::Usage(message));
    }
    let failed = || CliError::io("cannot ask");
    write!(io::stderr(), "Purge {}? They cannot be brought back. [y/N] ", dead_letters(count)).map_err(failed())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed())?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn say(line: &str) -> Result<(), CliError> {
    writeln!(anstream::stdout(), "{line}").map_err(CliError::io("cannot print"))
}
