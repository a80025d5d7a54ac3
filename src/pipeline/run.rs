//! Runs a graph until all sources have ended or the shutdown is over: two tasks a source (its driver and its router, in
//! which the filters are asked) and one a sink, spread over the workers.
//!
//! A worker is a thread with a current-thread runtime of its own, and a task lives on one worker for life: a request
//! that hops between the threads of a runtime costs up to twice the CPU. Tasks hand events on over bounded channels
//! only.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info};

use super::graph::{Graph, SinkNode, SourceNode, Target};
use super::opening;
use super::router::{Entrance, Router, Routes};
use crate::delivery::Delivery;
use crate::delivery::dead_letter::DeadLetters;
use crate::delivery::schedule::Schedule;
use crate::delivery::worker::SinkWorker;
use crate::shutdown::Shutdown;
use crate::source::SourceError;
use crate::store::StoreError;
use crate::store::import::ImportError;

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

/// Runs a graph to its end. Blocks.
///
/// # Errors
/// The first of what went wrong; everything that could be finished has been.
pub fn run(mut graph: Graph, shutdown: &Shutdown) -> Result<(), RunError> {
    let Some((store, running)) = opening::open(&mut graph, shutdown)? else { return Ok(()) };
    let dead_letters = DeadLetters::new(store);
    info!(pipeline = %graph.name, sources = graph.sources.len(), filters = graph.filters.len(),
        sinks = graph.sinks.len(), workers = graph.workers, "running");
    let result = Workers::spread(graph, dead_letters, shutdown).run(shutdown);
    let stored = running.map_or(Ok(()), |running| running.join());
    result.and(stored.map_err(|_| RunError::Panicked("the store".to_owned())))
}

type Task = (String, BoxFuture<'static, Result<(), RunError>>);

/// The tasks of each worker.
struct Workers(Vec<Vec<Task>>);

impl Workers {
    /// Makes every node a task and deals the tasks out by the order of their names, sources first.
    fn spread(graph: Graph, dead_letters: DeadLetters, shutdown: &Shutdown) -> Self {
        let Graph { name: pipeline, mut sources, filters, mut sinks, workers, .. } = graph;
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for sink in &sinks {
            let (sender, receiver) = mpsc::channel(sink.queue_capacity);
            senders.push(sender);
            receivers.push(receiver);
        }
        let mut entrances = Vec::new();
        let mut sink_tasks = Vec::new();
        for (sink, queue) in sinks.drain(..).zip(receivers) {
            let (entrance, worker) = split_sink(sink, &pipeline, &dead_letters, shutdown);
            sink_tasks.push(sink_task(worker, queue));
            entrances.push(entrance);
        }
        let routes = Arc::new(Routes { filters, sinks: entrances });
        sources.sort_by(|one, other| one.name.cmp(&other.name));
        sink_tasks.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut dealt: Vec<Vec<Task>> = (0..workers.max(1)).map(|_| Vec::new()).collect();
        for (index, source) in sources.into_iter().enumerate() {
            let worker = &mut dealt[index % workers.max(1)];
            worker.extend(source_tasks(source, &routes, &senders, &dead_letters, shutdown));
        }
        let sources = dealt.iter().map(|tasks| tasks.len()).sum::<usize>() / 2;
        for (index, task) in sink_tasks.into_iter().enumerate() {
            dealt[(sources + index) % workers.max(1)].push(task);
        }
        Self(dealt)
    }

    /// Runs all workers, the first of them on this thread.
    fn run(self, shutdown: &Shutdown) -> Result<(), RunError> {
        let mut workers = self.0.into_iter();
        let first = workers.next().unwrap_or_default();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, tasks) in workers.enumerate() {
                let thread = thread::Builder::new().name(format!("worker-{}", index + 1));
                threads.push(thread.spawn_scoped(scope, || run_worker(tasks, shutdown)).map_err(RunError::Start)?);
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

fn run_worker(tasks: Vec<Task>, shutdown: &Shutdown) -> Result<(), RunError> {
    let runtime = new_runtime().map_err(RunError::Start)?;
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

fn split_sink(
    sink: SinkNode,
    pipeline: &Arc<str>,
    dead_letters: &DeadLetters,
    shutdown: &Shutdown,
) -> (Entrance, SinkWorker) {
    let entrance =
        Entrance { name: Arc::clone(&sink.name), request: sink.request, bucket: sink.bucket, order_by: sink.order_by };
    let worker = SinkWorker {
        pipeline: Arc::clone(pipeline),
        name: sink.name,
        webhook: sink.webhook,
        concurrency: sink.concurrency,
        retry: sink.retry,
        responses: sink.responses,
        schedule: Schedule::new(sink.rate),
        dead_letters: dead_letters.clone(),
        shutdown: shutdown.clone(),
    };
    (entrance, worker)
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

fn source_tasks(
    source: SourceNode,
    routes: &Arc<Routes>,
    senders: &[mpsc::Sender<Box<Delivery>>],
    dead_letters: &DeadLetters,
    shutdown: &Shutdown,
) -> [Task; 2] {
    let SourceNode { name, connector, bounds, outputs, .. } = source;
    let (sender, arrivals) = mpsc::channel(bounds.max_in_flight);
    let router = Router {
        queues: reachable_queues(&outputs, routes, senders),
        routes: Arc::clone(routes),
        source: Arc::clone(&name),
        outputs,
        dead_letters: dead_letters.clone(),
    };
    let source_name = name.to_string();
    let driver = connector.drive(name, bounds, sender, shutdown.clone());
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
    routes: &Routes,
    senders: &[mpsc::Sender<Box<Delivery>>],
) -> Vec<Option<mpsc::Sender<Box<Delivery>>>> {
    let mut queues = vec![None; senders.len()];
    let mut next = outputs.to_vec();
    while let Some(target) = next.pop() {
        match target {
            Target::Sink(index) => queues[index] = Some(senders[index].clone()),
            Target::Filter(index) => {
                next.extend(&routes.filters[index].matched);
                next.extend(&routes.filters[index].unmatched);
            }
        }
    }
    queues
}
