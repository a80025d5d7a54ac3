//! Runs a pipeline from the opening of its store to its end, on worker threads of its own ([`run`]) or on given ones
//! ([`run_on`]): two tasks a source (its driver and its router, in which the filters are asked), one a sink, and one for
//! dead letters that are sent on or held. The [controller](super::controller) supervises them.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{Span, info};

use super::controller::{Controller, Reload};
use super::graph::Graph;
use super::nodes::PipelineContext;
use super::opening;
use super::threads::WorkerThread;
use crate::descriptors::{self, Budget};
use crate::health::{Health, PipelineHealth};
use crate::shutdown::Shutdown;
use crate::source::SourceError;
use crate::store::StoreError;

pub use super::threads::new_runtime;

/// Why a run did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state folder cannot be used.
    #[error("cannot use the state folder {path}: {error}")]
    State {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process uses the state folder.
    #[error("another bridge is running on the state folder {0}: give each its own --state-dir, or stop the other")]
    Locked(PathBuf),
    /// The store cannot be used.
    #[error("cannot use the store: {0}")]
    Store(#[from] StoreError),
    /// A thread or a runtime could not be started.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// A source failed and connecting again could not help.
    #[error("source `{source_name}` failed: {error}")]
    Source {
        /// The source.
        source_name: String,
        /// Why.
        error: SourceError,
    },
    /// A part of the bridge has a bug. What was in flight stays uncommitted.
    #[error("{0} stopped by a bug in the bridge (a panic); what it had in flight stays uncommitted")]
    Panicked(String),
}

/// Locks a pipeline's state folder, making it when it is not there. The lock lasts as long as the returned file.
///
/// # Errors
/// [`RunError::State`] or [`RunError::Locked`].
pub fn lock_state(folder: &Path) -> Result<File, RunError> {
    let failed = |error| RunError::State { path: folder.to_owned(), error };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::create(folder.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Runs a graph to its end. Blocks.
///
/// # Errors
/// The first of what went wrong; everything that could be finished has been.
pub fn run(graph: Graph, shutdown: &Shutdown) -> Result<(), RunError> {
    run_graph(graph, None, shutdown)
}

/// Delivers what belongs to a replay, by the sinks of a graph and without its sources. Blocks until all of it has ended
/// or waits for longer than `park_after`.
///
/// # Errors
/// As [`run`].
pub fn run_replay(graph: Graph, replay: Arc<str>, shutdown: &Shutdown) -> Result<(), RunError> {
    run_graph(graph, Some(replay), shutdown)
}

/// The workers that a pipeline runs on, and how it is changed and named there.
pub struct RunEnvironment {
    /// Where its tasks go; there is at least one.
    pub workers: Vec<Handle>,
    /// New versions of the graph, while it runs.
    pub reloads: mpsc::UnboundedReceiver<Reload>,
    /// Names the pipeline in the logs, where there are several.
    pub span: Span,
    /// Where it notes how it and its nodes are.
    pub health: PipelineHealth,
    /// Deliver only what belongs to this replay, without the sources.
    pub only_replay: Option<Arc<str>>,
}

/// Runs a graph, and the versions of it that come meanwhile, to its end.
///
/// # Errors
/// The first of what went wrong and was not mended by a reload; everything that could be finished has been.
pub async fn run_on(environment: RunEnvironment, mut graph: Graph, shutdown: Shutdown) -> Result<(), RunError> {
    let RunEnvironment { workers, reloads, span, health, only_replay } = environment;
    let _kept_back = Budget::of_process().keep_back(descriptors::PIPELINE);
    if only_replay.is_some() {
        // Who sends some letters again must not delete others by that.
        graph.store = graph.store.map(|(store, unopened)| (store, unopened.keeping_all_letters()));
    }
    let Some((store, running)) = opening::open(&mut graph, &health, &shutdown).await? else { return Ok(()) };
    if only_replay.is_some() {
        graph.sources.clear();
    }
    info!(pipeline = %graph.name, sources = graph.sources.len(), filters_and_transforms = graph.stages.len(),
        sinks = graph.sinks.len(), workers = workers.len(), "running");
    let pipeline = Arc::clone(&graph.name);
    let end = shutdown.clone();
    let pipeline_context = PipelineContext { pipeline, store, only_replay, shutdown, workers, span, health };
    let result = Controller::new(pipeline_context).run(graph, reloads).await;
    result.and(opening::close(running, end).await)
}

/// The worker threads of a pipeline that shares them with no other. They show in `health` that they work.
///
/// # Errors
/// When the operating system refuses a thread.
pub fn own_workers(count: usize, health: &Health) -> Result<Vec<WorkerThread>, RunError> {
    let start = |index| WorkerThread::start(format!("worker-{index}"), health).map_err(RunError::Start);
    (0..count.max(1)).map(start).collect()
}

fn run_graph(graph: Graph, only_replay: Option<Arc<str>>, shutdown: &Shutdown) -> Result<(), RunError> {
    // Nobody asks how it is.
    let health = Health::default();
    let threads = own_workers(graph.workers, &health)?;
    let workers: Vec<_> = threads.iter().map(WorkerThread::handle).collect();
    let (_no_reloads, reloads) = mpsc::unbounded_channel();
    let environment = RunEnvironment {
        workers: workers.clone(),
        reloads,
        span: Span::none(),
        health: health.pipeline(&graph.name),
        only_replay,
    };
    let pipeline = workers.first().map(|worker| worker.spawn(run_on(environment, graph, shutdown.clone())));
    let runtime = new_runtime().map_err(RunError::Start)?;
    let result = match pipeline {
        Some(pipeline) => runtime.block_on(pipeline),
        None => return Ok(()),
    };
    threads.iter().for_each(WorkerThread::stop);
    threads.into_iter().for_each(WorkerThread::join);
    result.unwrap_or_else(|_| Err(RunError::Panicked("the controller".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::config::parse_lenient;
    use crate::pipeline::compile::Environment;
    use crate::pipeline::load::compile_in;
    use crate::pipeline::trial::FrozenClock;
    use crate::source::stdin::StdinSource;
    use crate::source::{Connector, SourceContext};

    const PIPELINE: &str = "
        name = 'p'
        [store]
        url = 'none'
        [sources.in]
        type = 'stdin'
        [sinks.out]
        type = 'webhook'
        from = ['in']
        url = 'http://127.0.0.1:9/'
    ";

    struct Buggy;

    impl Read for Buggy {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("a bug")
        }
    }

    #[test]
    fn a_panic_in_a_thread_of_a_source_ends_the_run_with_the_error() {
        let folder = PathBuf::from("/nowhere");
        let rendering = FrozenClock::default().options();
        let environment = Environment { state_dir: folder.clone(), base_dir: folder.clone(), once: false, rendering };
        let parsed = parse_lenient("p", PIPELINE, &|_| None);
        let mut graph = compile_in(parsed, environment).unwrap_or_else(|errors| panic!("{errors}")).graph;
        let context = SourceContext::for_tests("p", "in");
        graph.sources[0].connector = Connector::Stdin(Box::new(StdinSource::over(context, Buggy)));
        let error = run(graph, &Shutdown::new(Duration::from_secs(1))).unwrap_err();
        assert!(matches!(&error, RunError::Panicked(task) if task == "source `in`"), "{error}");
    }
}
