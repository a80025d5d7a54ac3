//! `check --connect`: whether brokers, receivers, the store and the destinations of dead letters are there. No event is
//! read or sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::say;
use crate::cli::CliError;
use crate::config::PipelineConfig;
use crate::node::NodeName;
use crate::off_worker::on_own_thread;
use crate::pipeline::Graph;
use crate::pipeline::graph::LetterTarget;
use crate::pipeline::run::new_runtime;
use crate::source::TypeConfig;
use crate::store::StoreError;
use crate::store::config::StoreSettings;
use crate::store::probe::probe;

/// How long one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Probes the graph's store, brokers, receivers and destinations of dead letters, and counts those that cannot be reached.
pub(super) fn probe_all(graph: Graph) -> Result<usize, CliError> {
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let unreachable = runtime.block_on(async {
        let mut unreachable = 0;
        let store = graph.store.as_ref().map(|(_, thread)| thread.settings());
        let found = within_limit(probe_store(store)).await;
        unreachable += usize::from(found.is_err());
        say_found("store", found)?;
        for mut source in graph.sources {
            let node = NodeName::source(source.name).to_string();
            let found = within_limit(source.connector.probe()).await;
            unreachable += usize::from(found.is_err());
            say_found(&node, found)?;
            unreachable += probe_letters(&node, source.dead_letter).await?;
        }
        for sink in graph.sinks {
            let node = NodeName::sink(Arc::clone(&sink.route.name)).to_string();
            let found = within_limit(probe_receiver(sink.route.request.fixed_authority())).await;
            unreachable += usize::from(found.is_err());
            say_found(&node, found)?;
            unreachable += probe_letters(&node, sink.dead_letter).await?;
        }
        Ok(unreachable)
    });
    // A probe that ran into its limit may still hold a thread.
    runtime.shutdown_background();
    unreachable
}

/// How many files the file sources match now, by name. A source whose folders do not answer in time is left out.
pub(super) fn count_files(config: &PipelineConfig, base: &Path) -> Result<BTreeMap<String, usize>, CliError> {
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    Ok(runtime.block_on(async {
        let mut counts = BTreeMap::new();
        for (name, source) in &config.sources {
            let TypeConfig::File(file) = &source.kind else { continue };
            let (file, base) = (file.clone(), base.to_owned());
            let count = tokio::time::timeout(PROBE_TIMEOUT, on_own_thread(move || file.count_matching(&base))).await;
            counts.extend(count.ok().and_then(Result::ok).flatten().map(|count| (name.clone(), count)));
        }
        counts
    }))
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

/// Probes where a node's dead letters go, if that is a broker, and counts it when it cannot be reached. Another sink is
/// probed as a sink.
async fn probe_letters(node: &str, target: Option<LetterTarget>) -> Result<usize, CliError> {
    let Some(LetterTarget::Broker(broker)) = target else { return Ok(0) };
    let found = within_limit(broker.probe()).await;
    let unreachable = usize::from(found.is_err());
    say_found(&format!("{node}.dead_letter"), found)?;
    Ok(unreachable)
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
