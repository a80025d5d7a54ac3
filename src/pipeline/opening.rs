//! The store at the start of a run: opened, with patience for a database that is away, and given what former versions
//! kept in files. Nothing is read from any source before that is done.

use std::collections::HashMap;

use tokio::runtime::Runtime;
use tracing::{info, warn};

use super::graph::Graph;
use super::run::{RunError, new_runtime};
use crate::backoff::Backoff;
use crate::shutdown::Shutdown;
use crate::store::config::StoreSettings;
use crate::store::import::import;
use crate::store::sinks::SinkStates;
use crate::store::thread::{RunningStore, StoreThread};
use crate::store::{Store, StoreError};

/// A store at work, or none, as the pipeline says.
pub(super) type Opened = (Option<Store>, Option<RunningStore>);

/// Opens the graph's store; `None` when the shutdown came first.
///
/// # Errors
/// When the store cannot be used and waiting cannot help, or what is in files cannot be brought into it.
pub(super) fn open(graph: &mut Graph, shutdown: &Shutdown) -> Result<Option<Opened>, RunError> {
    let Some((store, thread)) = graph.store.take() else {
        info!(pipeline = %graph.name, "there is no store: nothing is parked, and a failing delivery holds its source");
        return Ok(Some((None, None)));
    };
    let runtime = new_runtime().map_err(RunError::Start)?;
    let settings = thread.settings().clone();
    let Some(running) = start(thread, &runtime, shutdown)? else { return Ok(None) };
    runtime.block_on(warn_of_stranded(&settings, graph));
    let formats: HashMap<_, _> = graph.sources.iter().map(|source| (source.name.clone(), source.format)).collect();
    runtime.block_on(async {
        tokio::select! {
            imported = import(&store, &graph.state_dir, &formats) => imported?,
            () = shutdown.begun() => return Ok(None),
        }
        Ok(Some((Some(store), Some(running))))
    })
}

/// Starts the store's thread. A database that is away, or a disk that is full, is tried again until it is not; `None`
/// when the shutdown came first.
fn start(mut thread: StoreThread, runtime: &Runtime, shutdown: &Shutdown) -> Result<Option<RunningStore>, StoreError> {
    let backoff = Backoff::reconnect();
    let mut failures = 0;
    loop {
        let (unstarted, error) = match thread.try_start() {
            Ok(running) => return Ok(Some(running)),
            Err(failed) => *failed,
        };
        if !may_pass(&error) {
            return Err(error);
        }
        thread = unstarted;
        failures += 1;
        let wait = backoff.wait(failures, rand::random());
        warn!(%error, retry_in = ?wait, "the store cannot be opened; trying again, and reading nothing before");
        let stopped = runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(wait) => false,
                () = shutdown.begun() => true,
            }
        });
        if stopped {
            return Ok(None);
        }
    }
}

/// Says which deliveries wait for a sink that the pipeline does not have any more: nobody attempts them.
async fn warn_of_stranded(settings: &StoreSettings, graph: &Graph) {
    let look = async { SinkStates::open(settings).await?.with_parked().await };
    let parked: Vec<String> = look.await.unwrap_or_else(|error| {
        warn!(%error, "cannot see whether deliveries wait for sinks that are gone");
        Vec::new()
    });
    for sink in parked.iter().filter(|name| graph.sinks.iter().all(|sink| *sink.entrance.name != ***name)) {
        warn!(%sink, "deliveries are parked for a sink that the pipeline does not have any more; they stay in the store \
            until it has a sink of this name again");
    }
}

/// True when waiting may help. A store that is read-only at the start was most likely set up so.
fn may_pass(error: &StoreError) -> bool {
    !error.is_permanent() && !matches!(error, StoreError::ReadOnly { .. })
}
