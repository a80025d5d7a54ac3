//! `bridge run`: runs a pipeline until it ends or is told to.

use std::net::TcpListener;
use std::path::PathBuf;

use clap::Args;
use tracing::{info, warn};

use super::load::{Compiled, StateArgs, load};
use super::{CliError, signals};
use crate::admin::{self, AdminAddress, DEFAULT_ADDRESS, service_manager};
use crate::health::Health;
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

At SIGTERM or SIGINT reading stops, and what is in flight has `[runtime] shutdown_timeout` (25 s) to end.
A second signal ends the process at once, with exit code 130. Either way no event is lost
that its source can read again (standard input cannot).")]
pub struct RunArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// Stop when every source has reached the end that it saw at the start, and everything is delivered or given up
    #[arg(long)]
    pub once: bool,
    /// Where durable state is kept
    #[command(flatten)]
    pub state: StateArgs,
    /// Where probes are answered (/healthz, /readyz): an address, or `none`. Default: 127.0.0.1:9180
    #[arg(long, value_name = "ADDR", env = "BRIDGE_ADMIN")]
    pub admin: Option<AdminAddress>,
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
    let health = Health::default();
    let listener = listen(args.admin.as_ref())?;
    admin::start(listener, health.clone(), shutdown.clone()).map_err(CliError::io("cannot start the admin port"))?;
    service_manager::ready(&format!("running pipeline {}", graph.name));
    Ok(pipeline::run(graph, &health, &shutdown)?)
}

/// Listens for probes. An address that was asked for must be had; without the default one the bridge can do.
fn listen(asked: Option<&AdminAddress>) -> Result<Option<TcpListener>, CliError> {
    let listened = match asked {
        Some(address) => address.listen().map_err(CliError::io("cannot listen on the admin address"))?,
        None => AdminAddress::default().listen().unwrap_or_else(|error| {
            warn!(
                "cannot listen on {DEFAULT_ADDRESS}: {error}; there is no admin port, so `bridge health` cannot ask \
                   this bridge: give it an address of its own with --admin, or `none`"
            );
            None
        }),
    };
    if let Some(address) = listened.as_ref().and_then(|listener| listener.local_addr().ok()) {
        info!(%address, "answering probes");
    }
    Ok(listened)
}
