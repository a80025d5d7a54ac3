//! `check --connect`: whether brokers, receivers and the store are there. No event is read or sent.

use std::time::Duration;

use super::say;
use crate::cli::CliError;
use crate::pipeline::Graph;
use crate::pipeline::run::new_runtime;
use crate::store::StoreError;
use crate::store::config::StoreSettings;
use crate::store::probe::probe;

/// How long one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Probes the graph's store, brokers and receivers, and counts those that cannot be reached.
pub(super) fn probe_all(graph: Graph) -> Result<usize, CliError> {
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
