//! Runs a graph until all sources have ended or the shutdown is over: two tasks a source (its driver and its router, in
//! which the filters are asked), one a sink, and one for dead letters that are sent on or held, spread over the workers.
//!
//! A worker is a thread with a current-thread runtime of its own, and a task lives on one worker for life: a request
//! that hops between the threads of a runtime costs up to twice the CPU. Tasks hand events on over bounded channels
//! only.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info};

use super::dead_letters::LetterMaker;
use super::graph::{FilterNode, Graph, SinkNode, SourceNode, Target};
use super::opening;
use super::router::Router;
use super::routes::Routes;
use crate::delivery::Delivery;
use crate::delivery::dead_letter::DeadLetters;
use crate::delivery::dead_letter::keeper::Keeper;
use crate::delivery::schedule::Schedule;
use crate::delivery::worker::SinkWorker;
use crate::health::{Beat, Health, PipelineHealth};
use crate::shutdown::Shutdown;
use crate::source::SourceError;
use crate::store::import::ImportError;
use crate::store::{Store, StoreError};

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
    /// What a former version kept in files cannot be brought into the store.
    #[error(transparent)]
    Import(#[from] ImportError),
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

/// Runs a graph to its end, noting in `health` how it and its nodes are. Blocks.
///
/// # Errors
/// The first of what went wrong; everything that could be finished has been.
pub fn run(graph: Graph, health: &Health, shutdown: &Shutdown) -> Result<(), RunError> {
    let pipeline = health.pipeline(&graph.name);
    let result = run_graph(graph, None, health, shutdown);
    match &result {
        Ok(()) => pipeline.whole().ended(),
        Err(error) => pipeline.whole().stopped(error.to_string()),
    }
    result
}

/// Delivers what belongs to a replay, by the sinks of a graph and without its sources. Blocks until all of it has ended
/// or waits for longer than `park_after`.
///
/// # Errors
/// As [`run`].
pub fn run_replay(graph: Graph, replay: Arc<str>, shutdown: &Shutdown) -> Result<(), RunError> {
    run_graph(graph, Some(replay), &Health::default(), shutdown)
}

fn run_graph(
    mut graph: Graph,
    only_replay: Option<Arc<str>>,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<(), RunError> {
    let pipeline_health = health.pipeline(&graph.name);
    let Some((store, running)) = opening::open(&mut graph, &pipeline_health, shutdown)? else { return Ok(()) };
    if only_replay.is_some() {
        graph.sources.clear();
    }
    let surroundings = Surroundings {
        pipeline: Arc::clone(&graph.name),
        store,
        only_replay,
        health: pipeline_health.clone(),
        shutdown: shutdown.clone(),
    };
    let beats = beats(health, &graph);
    info!(pipeline = %graph.name, sources = graph.sources.len(), filters = graph.filters.len(),
        sinks = graph.sinks.len(), workers = graph.workers, "running");
    let workers = Workers::spread(graph, surroundings);
    pipeline_health.whole().ready();
    let result = workers.run(beats, shutdown);
    let stored = running.map_or(Ok(()), |running| running.join_until(|| shutdown.last_moment()));
    result.and(stored.map_err(|_| RunError::Panicked("the store".to_owned())))
}

type Task = (String, BoxFuture<'static, Result<(), RunError>>);

/// What all tasks of a run share.
struct Surroundings {
    pipeline: Arc<str>,
    store: Option<Store>,
    only_replay: Option<Arc<str>>,
    health: PipelineHealth,
    shutdown: Shutdown,
}

/// A sign of life for each worker.
fn beats(health: &Health, graph: &Graph) -> Vec<Beat> {
    let names = (0..graph.workers.max(1)).map(|index| format!("{}/{index}", graph.name));
    names.map(|name| health.worker(name, Instant::now())).collect()
}

/// The tasks of each worker.
struct Workers(Vec<Vec<Task>>);

impl Workers {
    /// Makes every node a task and deals the tasks out by the order of their names, sources first.
    fn spread(graph: Graph, surroundings: Surroundings) -> Self {
        let sharing = sinks_that_share_sources(&graph);
        let routes = Arc::new(graph.routes());
        let Graph { mut sources, mut sinks, workers, .. } = graph;
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for sink in &sinks {
            let (sender, receiver) = mpsc::channel(sink.queue_capacity);
            senders.push(sender);
            receivers.push(receiver);
        }
        sources.sort_by(|one, other| one.name.cmp(&other.name));
        let mut letters = LetterMaker::new(surroundings.store.clone(), &routes, &senders, &surroundings.shutdown);
        let of_sinks: Vec<_> = (0..sinks.len()).map(|index| letters.of_sink(index, &sinks)).collect();
        let of_sources: Vec<_> = sources.iter().map(|source| letters.of_source(source, &sinks)).collect();
        let keepers = letters.into_keepers();
        let mut sink_tasks = Vec::new();
        for (((sink, queue), dead_letters), shares) in sinks.drain(..).zip(receivers).zip(&of_sinks).zip(sharing) {
            let worker = sink_worker(sink, shares, dead_letters, &surroundings);
            sink_tasks.push(sink_task(worker, queue));
        }
        sink_tasks.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut dealt: Vec<Vec<Task>> = (0..workers.max(1)).map(|_| Vec::new()).collect();
        for (index, (source, dead_letters)) in sources.into_iter().zip(of_sources).enumerate() {
            let worker = &mut dealt[index % workers.max(1)];
            worker.extend(source_tasks(source, &routes, &senders, (dead_letters, &of_sinks), &surroundings));
        }
        let sources = dealt.iter().map(|tasks| tasks.len()).sum::<usize>() / 2;
        for (index, task) in sink_tasks.into_iter().enumerate() {
            dealt[(sources + index) % workers.max(1)].push(task);
        }
        // On one worker, as they may share connections.
        dealt[0].extend(keepers.into_iter().map(keeper_task));
        Self(dealt)
    }

    /// Runs all workers, the first of them on this thread.
    fn run(self, beats: Vec<Beat>, shutdown: &Shutdown) -> Result<(), RunError> {
        let mut workers = self.0.into_iter().zip(beats);
        let Some(first) = workers.next() else { return Ok(()) };
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, worker) in workers.enumerate() {
                let thread = thread::Builder::new().name(format!("worker-{}", index + 1));
                threads.push(thread.spawn_scoped(scope, || run_worker(worker, shutdown)).map_err(RunError::Start)?);
            }
            let mut result = run_worker(first, shutdown);
            for thread in threads {
                let ended = thread.join().unwrap_or_else(|_| Err(RunError::Panicked("a worker".to_owned())));
                result = result.and(ended);
            }
            result
        })
    }
}

fn run_worker((tasks, beat): (Vec<Task>, Beat), shutdown: &Shutdown) -> Result<(), RunError> {
    let runtime = new_runtime().map_err(RunError::Start)?;
    runtime.spawn(beat.run());
    let result = runtime.block_on(supervise(tasks, shutdown));
    // Blocking calls into a broker's library may hang when the broker does; the process must end all the same.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// The runtime of a worker.
///
/// # Errors
/// When the operating system refuses what it needs.
pub fn new_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Waits for all tasks. One that panics begins the shutdown: the others finish what they can.
async fn supervise(tasks: Vec<Task>, shutdown: &Shutdown) -> Result<(), RunError> {
    let mut running = JoinSet::new();
    let mut names = std::collections::HashMap::new();
    for (name, task) in tasks {
        let id = running.spawn(task).id();
        names.insert(id, name);
    }
    let mut result = Ok(());
    while let Some(ended) = running.join_next_with_id().await {
        let outcome = match ended {
            Ok((_, outcome)) => outcome,
            Err(panicked) => {
                shutdown.begin();
                Err(RunError::Panicked(names.remove(&panicked.id()).unwrap_or_default()))
            }
        };
        if let Err(error) = outcome {
            error!("{error}");
            result = result.and(Err(error));
        }
    }
    result
}

fn sink_worker(
    sink: SinkNode,
    shares_sources: bool,
    dead_letters: &DeadLetters,
    surroundings: &Surroundings,
) -> SinkWorker {
    let name = Arc::clone(&sink.entrance.name);
    SinkWorker {
        pipeline: Arc::clone(&surroundings.pipeline),
        store: surroundings.store.as_ref().map(|store| store.open_sink(Arc::clone(&name))),
        webhook: sink.webhook,
        concurrency: sink.concurrency,
        retry: sink.retry,
        responses: sink.responses,
        schedule: Schedule::new(sink.rate, sink.breaker),
        node_health: surroundings.health.node(format!("sinks.{name}")),
        has_keyed_buckets: sink.entrance.bucket.is_some(),
        dead_letters: dead_letters.clone(),
        shares_sources,
        only_replay: surroundings.only_replay.clone(),
        shutdown: surroundings.shutdown.clone(),
        name,
    }
}

fn sink_task(worker: SinkWorker, queue: mpsc::Receiver<Box<Delivery>>) -> Task {
    let name = format!("sink `{}`", worker.name);
    (
        name,
        Box::pin(async move {
            worker.run(queue).await;
            Ok(())
        }),
    )
}

fn keeper_task(keeper: Keeper) -> Task {
    let name = format!("the dead letters of `{}`", keeper.node());
    (
        name,
        Box::pin(async move {
            keeper.run().await;
            Ok(())
        }),
    )
}

fn source_tasks(
    source: SourceNode,
    routes: &Arc<Routes>,
    senders: &[mpsc::Sender<Box<Delivery>>],
    (dead_letters, of_sinks): (DeadLetters, &[DeadLetters]),
    surroundings: &Surroundings,
) -> [Task; 2] {
    let SourceNode { name, connector, bounds, outputs, .. } = source;
    let queues = reachable_queues(&outputs, &routes.filters, senders);
    let of_reached = queues.iter().zip(of_sinks).map(|(queue, letters)| queue.as_ref().map(|_| letters.clone()));
    let (sender, arrivals) = mpsc::channel(bounds.max_in_flight);
    let router = Router {
        sink_dead_letters: of_reached.collect(),
        queues,
        routes: Arc::clone(routes),
        source: Arc::clone(&name),
        outputs,
        dead_letters,
    };
    let source_name = name.to_string();
    let health = surroundings.health.node(format!("sources.{name}"));
    let driver = connector.drive(name, bounds, sender, health, surroundings.shutdown.clone());
    let source_task: Task = (
        format!("source `{source_name}`"),
        Box::pin(async move { driver.await.map_err(|error| RunError::Source { source_name, error }) }),
    );
    let router_task: Task = (
        format!("the router of source `{}`", router.source),
        Box::pin(async move {
            router.run(arrivals).await;
            Ok(())
        }),
    );
    [source_task, router_task]
}

/// The queues of the sinks that a source's events can reach.
fn reachable_queues(
    outputs: &[Target],
    filters: &[FilterNode],
    senders: &[mpsc::Sender<Box<Delivery>>],
) -> Vec<Option<mpsc::Sender<Box<Delivery>>>> {
    let mut queues = vec![None; senders.len()];
    for index in reachable_sinks(outputs, filters) {
        queues[index] = Some(senders[index].clone());
    }
    queues
}

/// For each sink, whether one of its sources feeds another sink too.
fn sinks_that_share_sources(graph: &Graph) -> Vec<bool> {
    let mut sharing = vec![false; graph.sinks.len()];
    for source in &graph.sources {
        let reached = reachable_sinks(&source.outputs, &graph.filters);
        if reached.len() > 1 {
            reached.into_iter().for_each(|index| sharing[index] = true);
        }
    }
    sharing
}

fn reachable_sinks(outputs: &[Target], filters: &[FilterNode]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = outputs.to_vec();
    while let Some(target) = next.pop() {
        match target {
            Target::Sink(index) => {
                reached.insert(index);
            }
            Target::Filter(index) => {
                next.extend(&filters[index].matched);
                next.extend(&filters[index].unmatched);
            }
        }
    }
    reached
}
