//! The store at the start of a run: opened, with patience for a database that is away. Nothing is read from any source
//! before that is done.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::graph::Graph;
use super::run::RunError;
use crate::backoff::Backoff;
use crate::health::{NodeHealth, PipelineHealth};
use crate::shutdown::Shutdown;
use crate::store::running::{RunningStore, UnopenedStore};
use crate::store::{Store, StoreError};

/// How long an opening under way may go on once the shutdown has begun.
const LAST_MOMENT_TO_OPEN: Duration = Duration::from_millis(300);

/// A store at work, or none, as the pipeline says.
pub(super) type Opened = (Option<Store>, Option<RunningStore>);

/// Opens the graph's store; `None` when the shutdown came first.
///
/// # Errors
/// When the store cannot be used and waiting cannot help.
pub(super) async fn open(
    graph: &mut Graph,
    health: &PipelineHealth,
    shutdown: &Shutdown,
) -> Result<Option<Opened>, RunError> {
    let Some((store, unopened)) = graph.store.take() else {
        info!(pipeline = %graph.name, "there is no store: nothing is parked, and a failing delivery holds its source");
        return Ok(Some((None, None)));
    };
    let Some(running) = start(unopened, &health.node("store"), shutdown).await? else { return Ok(None) };
    let sinks = graph.sinks.iter().map(|sink| &*sink.route.name).collect();
    warn_of_stranded(running.sinks_with_parked(), &sinks);
    Ok(Some((Some(store), Some(running))))
}

/// Waits until a store has ended, which it does once nobody holds a handle, or until the shutdown must be over.
///
/// # Errors
/// When its keeper has panicked.
pub(super) async fn close(running: Option<RunningStore>, shutdown: Shutdown) -> Result<(), RunError> {
    let Some(running) = running else { return Ok(()) };
    let ended = running.ended_until(|| shutdown.last_moment()).await;
    ended.map_err(|_| RunError::Panicked("the store".to_owned()))
}

/// Opens the store. A database that is away, or a disk that is full, is tried again until it is not; `None`
/// when the shutdown came first.
async fn start(
    unopened: UnopenedStore,
    health: &NodeHealth,
    shutdown: &Shutdown,
) -> Result<Option<RunningStore>, RunError> {
    let mut unopened = unopened.reporting_to(health.clone());
    let backoff = Backoff::reconnect();
    let mut failures = 0;
    loop {
        let opened = tokio::select! {
            biased;
            opened = unopened.open() => opened,
            () = time_to_open_is_up(shutdown) => {
                info!("the store is left before it is open; nothing was read");
                return Ok(None);
            }
        };
        let (failed, error) = match opened {
            Ok(running) => return Ok(Some(running)),
            Err(failed) => *failed,
        };
        if !may_pass(&error) {
            return Err(error.into());
        }
        unopened = failed;
        failures += 1;
        health.failing(error.to_string(), Instant::now());
        let wait = backoff.wait(failures, rand::random());
        warn!(%error, retry_in = ?wait, "the store cannot be opened; trying again, and reading nothing before");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.begun() => return Ok(None),
        }
    }
}

/// Waits until the shutdown has begun and the store has had a moment to open all the same: one that hangs must not hold
/// up the end, and one that is about to be open should close its file in order.
async fn time_to_open_is_up(shutdown: &Shutdown) {
    shutdown.begun().await;
    tokio::time::sleep(LAST_MOMENT_TO_OPEN).await;
}

/// Says which deliveries wait for a sink that the pipeline does not have any more: nobody attempts them.
fn warn_of_stranded(with_parked: &[String], sinks: &HashSet<&str>) {
    for sink in with_parked.iter().filter(|name| !sinks.contains(name.as_str())) {
        warn!(%sink, "deliveries are parked for a sink that the pipeline does not have any more; they stay in the store \
            until it has a sink of this name again");
    }
}

/// True when waiting may help. A store that is read-only at the start was most likely set up so.
fn may_pass(error: &StoreError) -> bool {
    !error.is_permanent() && !matches!(error, StoreError::ReadOnly { .. })
}
