//! `bridge run`: runs a pipeline until it ends or is told to.

use std::path::PathBuf;

use clap::Args;

use super::load::{Compiled, StateArgs, load};
use super::{CliError, signals};
use crate::pipeline;
use crate::pipeline::run::lock_state;
use crate::shutdown::Shutdown;

/// Runs a pipeline until SIGTERM or SIGINT, or until its sources have ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge run pipeline.toml
  bridge run --once pipeline.toml              deliver what is there now, then exit
  bridge run --state-dir /var/lib/bridge --log-format json pipeline.toml

At SIGTERM or SIGINT reading stops, and what is in flight has `[runtime] shutdown_timeout` (25 s)
to end; what is parked stays in the store. A second signal ends the process at once, with exit
code 130. Either way no event is lost that its source can read again (standard input cannot).")]
pub struct RunArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// Stop when every source has reached the end that it saw at the start, and everything is delivered,
    /// given up, or parked for longer than `park_after`: that is left to the next run
    #[arg(long)]
    pub once: bool,
    /// Where durable state is kept
    #[command(flatten)]
    pub state: StateArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// A faulty pipeline file, or what ended the run.
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    let Compiled { graph, state_dir, .. } = load(&args.pipeline, &args.state.folder()?, args.once, |_| {})?;
    let _lock = lock_state(&state_dir)?;
    let shutdown = Shutdown::new(graph.shutdown_timeout);
    signals::act_on(shutdown.clone()).map_err(CliError::io("cannot handle signals"))?;
    Ok(pipeline::run(graph, &shutdown)?)
}
