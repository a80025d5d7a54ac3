//! `bridge run`: runs pipelines until they end or are told to.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::load::StateArgs;
use super::{CliError, signals};
use crate::admin::{self, AdminAddress, DEFAULT_ADDRESS};
use crate::descriptors;
use crate::health::Health;
use crate::shutdown::Shutdown;
use crate::supervisor::{self, Options, Trigger, watch};

/// Runs pipelines until SIGTERM or SIGINT, or until their sources have ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge run pipeline.toml
  # deliver what is there now, then exit
  bridge run --once pipeline.toml
  bridge run --state-dir /var/lib/bridge \\
    --log-format json pipeline.toml
  # every *.toml there, and what changes of them
  bridge run --watch /etc/bridge

Each file is a pipeline of its own: one that is wrong or fails does not stop the others.

SIGHUP loads the files again, and so does every change with --watch. A version that is wrong changes nothing. Of one \
that is right, only the nodes that differ are touched: sources that are the same keep their connections and positions, \
sinks theirs and all that waits. Changed `[store]` or `[runtime]` tables restart their pipeline.

Probes are answered on the admin address: /healthz says whether the process works, /readyz whether sources are \
connected, receivers answer and all files are loaded, with the state of every node. `bridge health` asks there.

At SIGTERM or SIGINT reading stops, and what is in flight has `[runtime] shutdown_timeout` (25 s) \
to end; what is parked stays in the store. A second signal ends the process at once, with exit \
code 130. Either way no event is lost that its source can read again (standard input cannot).")]
pub struct RunArgs {
    /// Pipeline files, and folders: of a folder every *.toml
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Stop when every source has reached the end that it saw at the start, and everything is delivered,
    /// given up, or parked for longer than `park_after`: that is left to the next run, and the log says how much it is
    #[arg(long, conflicts_with = "watch")]
    pub once: bool,
    /// Reload when files change, those that `${file:…}` names too. Links are followed, as of a mounted ConfigMap
    #[arg(long)]
    pub watch: bool,
    /// Start nothing when a file is wrong, and end all pipelines when one fails. A single file is always run so
    #[arg(long)]
    pub strict: bool,
    /// Where durable state is kept
    #[command(flatten)]
    pub state: StateArgs,
    /// Where probes are answered (/healthz, /readyz): an address, `:PORT` for all addresses of this machine, or `none`.
    /// Default: 127.0.0.1:9180, and `none` with --once
    #[arg(long, value_name = "ADDR", env = "BRIDGE_ADMIN")]
    pub admin: Option<AdminAddress>,
}

/// Runs the subcommand.
///
/// # Errors
/// Faulty pipeline files, or what ended the run.
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    let RunArgs { paths, once, watch, strict, state, admin } = args;
    let options =
        Options { paths: paths.clone(), state_root: state.folder()?, once: *once, strict: *strict, watch: *watch };
    if let Err(error) = descriptors::raise_limit() {
        debug!(%error, "the limit of open files stays as it is");
    }
    // Each pipeline has a timeout of its own.
    let shutdown = Shutdown::new(Duration::ZERO);
    signals::act_on(shutdown.clone()).map_err(CliError::io("cannot handle signals"))?;
    let health = Health::default();
    admin::start(listen(admin.as_ref(), *once)?, health.clone(), shutdown.clone())
        .map_err(CliError::io("cannot start the admin port"))?;
    let (triggers, triggered) = mpsc::unbounded_channel();
    let reload = triggers.clone();
    // Nobody listens when the run is over.
    signals::on_hangup(move || reload.send(Trigger::Request).unwrap_or_default())
        .map_err(CliError::io("cannot handle signals"))?;
    if *watch {
        watch::start(paths.clone(), triggers).map_err(CliError::io("cannot watch the pipeline files"))?;
    }
    Ok(supervisor::run(options, health, &shutdown, triggered)?)
}

/// Listens for probes. An address that was asked for must be had; without the default one the bridge can do. A run to
/// the end has nobody who asks, and may go on beside a bridge that is there to stay.
fn listen(asked: Option<&AdminAddress>, once: bool) -> Result<Option<TcpListener>, CliError> {
    let listened = match asked {
        Some(address) => address.listen().map_err(|error| {
            let way_out = "give it another one with --admin or BRIDGE_ADMIN, or `none`";
            let error = io::Error::new(error.kind(), format!("{address}: {error}; {way_out}"));
            CliError::io("cannot listen on the admin address")(error)
        })?,
        None if once => None,
        None => AdminAddress::default().listen().unwrap_or_else(|error| {
            warn!(
                "cannot listen on {DEFAULT_ADDRESS}: {error}; this bridge answers no probes: give it an address of its \
                 own with --admin, or `none`"
            );
            None
        }),
    };
    if let Some(address) = listened.as_ref().and_then(|listener| listener.local_addr().ok()) {
        info!(%address, "answering probes");
    }
    Ok(listened)
}
