//! `bridge check`: finds the faults of pipeline files, and with `--connect` whether brokers, receivers and the
//! store are there.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::CliError;
use super::load::{Compiled, StateArgs, load};
use crate::pipeline::Graph;
use crate::pipeline::run::new_runtime;
use crate::secret::mask;
use crate::store::StoreError;
use crate::store::config::StoreSettings;
use crate::store::probe::probe;

/// Checks pipeline files and reports every fault, without touching the network.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge check pipelines/*.toml
  bridge check --connect pipeline.toml         also reach for brokers, receivers and the store;
                                               no event is read or sent")]
pub struct CheckArgs {
    /// The pipeline files
    #[arg(value_name = "PIPELINE", required = true)]
    pub pipelines: Vec<PathBuf>,
    /// Also connect to every broker, open a connection to every receiver whose address is fixed, and open the store
    #[arg(long)]
    pub connect: bool,
    /// Where durable state is kept: the store is looked for there, unless the pipeline says where it is
    #[command(flatten)]
    pub state: StateArgs,
}

/// How long one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the subcommand.
///
/// # Errors
/// The faults of all files, or how many probes failed.
pub fn run(args: &CheckArgs) -> Result<(), CliError> {
    let mut faulty = Vec::new();
    let mut unreachable = 0;
    // Only a connection needs the folder: without one, any will do.
    let state = if args.connect { args.state.folder()? } else { PathBuf::new() };
    for path in &args.pipelines {
        match load(path, &state, true, |_| {}) {
            Err(errors) => faulty.push(errors),
            Ok(Compiled { graph, .. }) => {
                let (sources, filters, sinks) = (graph.sources.len(), graph.filters.len(), graph.sinks.len());
                say(&format!("{}: ok ({sources} sources, {filters} filters, {sinks} sinks)", path.display()))?;
                if args.connect {
                    unreachable += probe_all(graph)?;
                }
            }
        }
    }
    if !faulty.is_empty() {
        return Err(CliError::Config(faulty));
    }
    if unreachable > 0 { Err(CliError::Unreachable(unreachable)) } else { Ok(()) }
}

/// Probes the graph's store, brokers and receivers, and counts those that cannot be reached.
fn probe_all(graph: Graph) -> Result<usize, CliError> {
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let unreachable = runtime.block_on(async {
        let mut unreachable = 0;
        let store = graph.store.as_ref().map(|(_, thread)| thread.settings());
        let found = within_limit(probe_store(store)).await;
        unreachable += usize::from(found.is_err());
        say_found("store", found)?;
        for mut source in graph.sources {
            let found = within_limit(source.connector.probe()).await;
            unreachable += usize::from(found.is_err());
            say_found(&format!("sources.{}", source.name), found)?;
        }
        for sink in graph.sinks {
            let found = within_limit(probe_receiver(sink.entrance.request.fixed_authority())).await;
            unreachable += usize::from(found.is_err());
            say_found(&format!("sinks.{}", sink.entrance.name), found)?;
        }
        Ok(unreachable)
    });
    // A probe that ran into its limit may still hold a thread.
    runtime.shutdown_background();
    unreachable
}

async fn within_limit<E: std::fmt::Display>(probe: impl Future<Output = Result<String, E>>) -> Result<String, String> {
    match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

async fn probe_store(settings: Option<&StoreSettings>) -> Result<String, StoreError> {
    match settings {
        Some(settings) => probe(settings).await,
        None => Ok("none: nothing is parked, and a failing delivery holds its source".to_owned()),
    }
}

/// Opens a connection and closes it again: any request might be taken for an event.
async fn probe_receiver(authority: Option<(String, u16)>) -> Result<String, std::io::Error> {
    let Some((host, port)) = authority else {
        return Ok("not probed: the URL depends on the event".to_owned());
    };
    let address = tokio::net::TcpStream::connect((host.as_str(), port)).await?.peer_addr()?;
    Ok(format!("{host}:{port} accepts connections ({address})"))
}

fn say_found(node: &str, found: Result<String, String>) -> Result<(), CliError> {
    match found {
        Ok(found) => say(&format!("  {node}: {found}")),
        Err(error) => say(&format!("  {node}: UNREACHABLE: {error}")),
    }
}

fn say(line: &str) -> Result<(), CliError> {
    writeln!(anstream::stdout(), "{}", mask(line)).map_err(CliError::io("cannot print"))
}
