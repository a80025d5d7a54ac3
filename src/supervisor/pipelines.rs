//! The pipelines of the process: those that run, and those that wait until their name is free.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tracing::{Instrument as _, Span, error_span, info, warn};

use super::leftovers::Leftovers;
use super::{Options, Plan, Trigger};
use crate::config::{Fingerprints, Parsed};
use crate::descriptors::Budget;
use crate::health::{Health, Reload as ReloadNote};
use crate::node::NodeName;
use crate::pipeline::changes::Change;
use crate::pipeline::demand::Demand;
use crate::pipeline::load::{Compiled, compile_parsed_on};
use crate::pipeline::run::{RunEnvironment, lock_state, own_workers, run_on};
use crate::pipeline::threads::{SharedThreads, WorkerThread};
use crate::pipeline::{Changes, Graph, Reload, RunError};
use crate::problem::Problem;
use crate::shutdown::Shutdown;
use crate::store::handle::WeakStore;

/// A version of a pipeline that is ready to run.
pub(super) struct Version {
    pub(super) file: PathBuf,
    graph: Graph,
    state_dir: PathBuf,
    fingerprints: Fingerprints,
    /// Its sources of standard input.
    input: Vec<String>,
    demand: Demand,
}

/// The pipelines of the process.
pub(super) struct Pipelines {
    health: Health,
    shutdown: Shutdown,
    /// Their log lines say which one it is.
    are_named: bool,
    threads: SharedThreads,
    running: BTreeMap<Arc<str>, Pipeline>,
    waiting: BTreeMap<Arc<str>, Version>,
    tasks: JoinSet<Result<(), RunError>>,
    names: HashMap<Id, Arc<str>>,
    /// Of pipelines that have ended.
    stopped: Vec<WorkerThread>,
    told_of_limit: bool,
}

/// A pipeline that runs.
struct Pipeline {
    file: PathBuf,
    fingerprints: Fingerprints,
    input: Vec<String>,
    demand: Demand,
    reloads: mpsc::UnboundedSender<Reload>,
    /// It does not keep the store open, which ends with the pipeline.
    store: Option<WeakStore>,
    shutdown: Shutdown,
    workers: Workers,
}

/// Where a pipeline runs.
enum Workers {
    Shared(usize),
    Own(Vec<WorkerThread>),
}

impl Version {
    fn new(path: PathBuf, compiled: Compiled) -> Self {
        let Compiled { graph, state_dir, file, .. } = compiled;
        let sources = file.pipeline.sources.iter().filter(|(_, source)| source.kind.is_standard_input());
        let input = sources.map(|(name, _)| name.clone()).collect();
        let demand = Demand::of(&file.pipeline);
        Self { file: path, graph, state_dir, fingerprints: file.fingerprints, input, demand }
    }
}

impl Pipelines {
    pub(super) fn new(health: Health, shutdown: Shutdown, are_named: bool) -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            threads: SharedThreads::new(cores, health.clone()),
            health,
            shutdown,
            are_named,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            stopped: Vec::new(),
            told_of_limit: false,
        }
    }

    /// Compiles a sound file and adds what is to be done with it to the plan.
    pub(super) fn plan(&self, options: &Options, file: PathBuf, mut parsed: Parsed, trigger: Trigger, plan: &mut Plan) {
        let name = parsed.pipeline.name.as_str();
        let running = self.running.get(name).filter(|running| running.file == file && !running.is_stopping());
        let changes = running.map(|running| Changes::between(&running.fingerprints, &parsed.fingerprints));
        if let (Some(running), Some(changes)) = (running, &changes) {
            if changes.is_empty() && trigger == Trigger::Files {
                return;
            }
            parsed.refuse(running.refuse_to_begin_input_anew(changes));
        }
        let is_reload = changes.as_ref().is_some_and(|changes| changes.restarts.is_none());
        let store = running.filter(|_| is_reload).and_then(|running| running.store.as_ref()?.upgrade());
        match compile_parsed_on(parsed, &file, &options.state_root, options.once, store.as_ref()) {
            Err(errors) => plan.faulty.push((file, errors)),
            Ok(compiled) => match changes {
                // A store that has ended says that the pipeline is about to: it is started anew.
                Some(changes) if is_reload && compiled.store.is_some() == store.is_some() => {
                    plan.reload.push((Version::new(file, compiled), changes));
                }
                _ => plan.start.push(Version::new(file, compiled)),
            },
        }
    }

    /// Brings a new version to a pipeline that runs.
    pub(super) fn reload(&mut self, version: Version, changes: Changes) {
        let Version { graph, fingerprints, input, demand, .. } = version;
        if let Some(running) = self.running.get_mut(&graph.name) {
            running.fingerprints = fingerprints;
            running.input = input;
            running.demand = demand;
            let applied = ReloadNote { at: Timestamp::now(), refused: None };
            self.health.pipeline(&graph.name).reloaded(applied);
            // One that has ended meanwhile has nothing to reload.
            running.reloads.send(Reload { graph, changes }).ok();
        }
    }

    /// Stops the pipeline that runs from this version's file, if there is one, and starts this one when its name is
    /// free.
    pub(super) fn add(&mut self, version: Version) {
        self.stop(&version.file);
        self.waiting.insert(Arc::clone(&version.graph.name), version);
    }

    /// Stops what runs from a file, in order.
    pub(super) fn stop(&mut self, file: &Path) {
        // Byte by byte: a thousand files are compared with each other at the start.
        self.waiting.retain(|_, version| version.file.as_os_str() != file.as_os_str());
        for (name, running) in self.running.iter().filter(|(_, running)| running.file == file) {
            info!(pipeline = %name, "the pipeline is stopped");
            running.shutdown.begin();
        }
    }

    /// Starts all whose name and file are free. Returns those that could not be started.
    pub(super) fn start_waiting(&mut self) -> Vec<(PathBuf, RunError)> {
        let is_free = |name: &Arc<str>, version: &mut Version| {
            !self.running.contains_key(name) && self.running.values().all(|running| running.file != version.file)
        };
        let ready: Vec<_> = self.waiting.extract_if(.., is_free).collect();
        let mut failed = Vec::new();
        for (name, version) in ready {
            let file = version.file.clone();
            if let Err(error) = self.start(Arc::clone(&name), version) {
                self.health.pipeline(&name).whole().stopped(error.to_string());
                failed.push((file, error));
            }
        }
        failed
    }

    /// Says it once when the limit of open files is lower than what the pipelines that run ask for.
    pub(super) fn tell_of_limit(&mut self) {
        let demand: Demand = self.running.values().map(|running| running.demand).sum();
        if let Some((message, help)) = demand.beyond(Budget::of_process().limit()).filter(|_| !self.told_of_limit) {
            self.told_of_limit = true;
            warn!("{message}; {help}");
        }
    }

    /// Starts nothing more.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// True when nothing runs and nothing is to be started.
    pub(super) fn are_over(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// True when a pipeline runs from this file.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.running.values().any(|running| running.file == file)
    }

    /// Notes that a new version of a file, or of all, was refused and the ones before go on.
    pub(super) fn note_refused(&self, file: Option<&Path>, error: &impl Display) {
        let concerned = self.running.iter().filter(|(_, running)| file.is_none_or(|file| running.file == file));
        for (name, _) in concerned {
            let refused = ReloadNote { at: Timestamp::now(), refused: Some(error.to_string()) };
            self.health.pipeline(name).reloaded(refused);
        }
    }

    /// What runs, for the service manager's status.
    pub(super) fn summary(&self) -> String {
        match self.running.len() {
            1 => "1 pipeline runs".to_owned(),
            count => format!("{count} pipelines run"),
        }
    }

    /// The next pipeline to end: its file, and its result. `None` when none runs. Cancel safe.
    pub(super) async fn next_end(&mut self) -> Option<(PathBuf, Result<(), RunError>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(panicked) => (panicked.id(), Err(RunError::Panicked("the controller".to_owned()))),
        };
        let name = self.names.remove(&id)?;
        let pipeline = self.running.remove(&name)?;
        self.note_end(&name, &pipeline, &result);
        match pipeline.workers {
            Workers::Shared(place) => self.threads.leave_place(place),
            Workers::Own(threads) => {
                threads.iter().for_each(WorkerThread::stop);
                self.stopped.extend(threads);
            }
        }
        Some((pipeline.file, result))
    }

    /// Waits for the end of all threads. Blocks, for a second at most.
    pub(super) fn join(self) {
        self.threads.join();
        self.stopped.into_iter().for_each(WorkerThread::join);
    }

    fn start(&mut self, name: Arc<str>, version: Version) -> Result<(), RunError> {
        let Version { file, graph, state_dir, fingerprints, input, demand } = version;
        let (workers, handles) = self.workers(graph.workers)?;
        let Some(first) = handles.first().cloned() else { return Ok(()) };
        let shutdown = self.shutdown.child(graph.shutdown_timeout);
        let span = if self.are_named { error_span!("run", pipeline = %name) } else { Span::none() };
        let (reloads, receiver) = mpsc::unbounded_channel();
        let store = graph.store.as_ref().map(|(store, _)| store.downgrade());
        // What a former run of that name has left behind says nothing of this one.
        self.health.remove_pipeline(&name);
        let health = self.health.pipeline(&name);
        let environment =
            RunEnvironment { workers: handles, reloads: receiver, span: span.clone(), health, only_replay: None };
        let end = shutdown.clone();
        let leftovers = Leftovers::of_run(&graph);
        let run = async move {
            let _lock = lock_state(&state_dir)?;
            let result = run_on(environment, graph, end.clone()).await;
            if matches!(result, Ok(()) | Err(RunError::Source { .. })) {
                tokio::select! {
                    biased;
                    () = end.begun() => {}
                    () = leftovers.log() => {}
                }
            }
            result
        };
        let id = self.tasks.spawn_on(run.instrument(span), &first).id();
        self.names.insert(id, Arc::clone(&name));
        let pipeline = Pipeline { file, fingerprints, input, demand, reloads, store, shutdown, workers };
        self.running.insert(name, pipeline);
        Ok(())
    }

    /// Notes how a pipeline has ended. One that was told to end is not missed.
    fn note_end(&self, name: &str, pipeline: &Pipeline, result: &Result<(), RunError>) {
        match result {
            Err(error) => self.health.pipeline(name).whole().stopped(error.to_string()),
            Ok(()) if pipeline.is_stopping() => self.health.remove_pipeline(name),
            Ok(()) => self.health.pipeline(name).whole().ended(),
        }
    }

    fn workers(&mut self, count: usize) -> Result<(Workers, Vec<Handle>), RunError> {
        if count <= 1 {
            let (place, handle) = self.threads.take_place().map_err(RunError::Start)?;
            return Ok((Workers::Shared(place), vec![handle]));
        }
        let threads = own_workers(count, &self.health)?;
        let handles = threads.iter().map(WorkerThread::handle).collect();
        Ok((Workers::Own(threads), handles))
    }
}

impl Pipeline {
    fn is_stopping(&self) -> bool {
        self.shutdown.deadline().is_some()
    }

    /// Refuses changes that would take standard input away from the source that reads it: what it has read ahead would
    /// be lost.
    fn refuse_to_begin_input_anew(&self, changes: &Changes) -> Vec<Problem> {
        let is_touched = |source: &&String| {
            let change = changes.nodes.get(&NodeName::source(source.as_str()));
            changes.restarts.is_some() || matches!(change, Some(Change::Changed { .. } | Change::Removed))
        };
        let problem = |source: &String| {
            let message = format!("source `{source}` reads standard input, which cannot be begun anew");
            Problem::new(["sources", source], message).with_help("restart the bridge for this change")
        };
        self.input.iter().filter(is_touched).map(problem).collect()
    }
}
