//! The controller of one running pipeline: starts its nodes, brings a new version of the graph to them, and supervises
//! them until all have ended.
//!
//! A start is a reload from nothing: both go the same way. What becomes of each node, [`Steps`] decides; this module
//! carries it out and waits for nothing on the way. A source that is replaced finishes what it has in flight first, so
//! its successor is kept until the source's tasks have ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{Instrument as _, error, info};

use super::changes::{Change, Changes};
use super::dead_letters::{LetterMaker, RunningKeepers};
use super::graph::{Graph, SinkNode, SourceNode, reachable_sinks};
use super::nodes::{Ended, PipelineContext, RunningSink, RunningSource, Task, keeper_task};
use super::router::{QueueSender, RoutingPlan};
use super::routes::Routes;
use super::run::RunError;
use super::steps::{Running, SinkStep, SourceState, SourceStep, Steps};
use crate::delivery::control::{Queue, SinkContext, SinkControl};
use crate::delivery::dead_letter::DeadLetters;
use crate::node::NodeName;
use crate::source::SourceError;

/// A new version of a running pipeline. Its graph was compiled for the store that is open.
pub struct Reload {
    /// The new version.
    pub graph: Graph,
    /// How it differs from the version that runs.
    pub changes: Changes,
}

/// Runs the nodes of one pipeline.
pub(super) struct Controller {
    pipeline_context: PipelineContext,
    sources: BTreeMap<String, RunningSource>,
    sinks: BTreeMap<String, RunningSink>,
    keepers: RunningKeepers,
    tasks: JoinSet<Ended>,
    /// What the tasks are called.
    names: HashMap<Id, String>,
    /// What has gone wrong and was not mended by a reload: by the source, or `""` for panics.
    failures: Vec<(String, RunError)>,
}

/// The queues of a version's sinks, by index: those of sinks that run, and new ones with their other end.
struct Queues {
    senders: Vec<QueueSender>,
    new: Vec<Option<Queue>>,
}

/// The dead letters of a version's nodes, by index.
struct Letters {
    of_sources: Vec<DeadLetters>,
    of_sinks: Vec<DeadLetters>,
}

impl Controller {
    pub(super) fn new(pipeline_context: PipelineContext) -> Self {
        Self {
            pipeline_context,
            sources: BTreeMap::new(),
            sinks: BTreeMap::new(),
            keepers: RunningKeepers::default(),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            failures: Vec::new(),
        }
    }

    /// Runs a graph, and what comes in its place, until all nodes have ended.
    pub(super) async fn run(
        mut self,
        graph: Graph,
        mut reloads: mpsc::UnboundedReceiver<Reload>,
    ) -> Result<(), RunError> {
        let changes = Changes { restarts: None, nodes: graph.nodes().map(|node| (node, Change::Added)).collect() };
        self.apply(graph, &changes);
        self.pipeline_context.health.whole().ready();
        loop {
            tokio::select! {
                ended = self.tasks.join_next_with_id() => match ended {
                    Some(ended) => self.note_end(ended),
                    None => break,
                },
                Some(Reload { graph, changes }) = reloads.recv() => {
                    if self.pipeline_context.shutdown.deadline().is_none() {
                        self.apply(graph, &changes);
                        info!(pipeline = %self.pipeline_context.pipeline, "goes on with the new version of its file");
                    }
                }
            }
        }
        self.failures.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Brings a version of the graph to the nodes that run, starts those that are new, and stops those that are gone.
    fn apply(&mut self, graph: Graph, changes: &Changes) {
        let nodes = graph.nodes().collect();
        let routes = Arc::new(graph.routes());
        let sharing = graph.sinks_that_share_sources();
        // While these are held no queue can close, so that what is decided holds.
        let (senders, new) = graph.sinks.iter().map(|sink| self.queue_of(sink)).unzip();
        let queues = Queues { senders, new };
        let steps = Steps::decide(changes, &self.running());
        let letters = self.dead_letters(&graph, &routes, &queues, changes);
        let plans = graph.sources.iter().zip(&letters.of_sources);
        let plans = plans.map(|(source, own)| routing_plan(source, &routes, &queues, own, &letters.of_sinks)).collect();

        let Graph { sources, sinks, .. } = graph;
        let sink_contexts = letters.of_sinks.into_iter().zip(sharing);
        let sink_contexts =
            sink_contexts.map(|(dead_letters, shares_sources)| SinkContext { dead_letters, shares_sources });
        let first_worker = sources.len();
        self.apply_to_sinks(sinks, sink_contexts.collect(), queues, &steps, first_worker);
        self.apply_to_sources(sources, plans, &steps);
        for source in steps.stop {
            self.stop_source(&source);
        }
        for sink in steps.remove {
            self.tell(&sink, SinkControl::Remove);
        }
        self.keepers.retain(&nodes);
    }

    /// The way into a sink's queue; a new queue for one that has none or whose queue is closed.
    fn queue_of(&self, sink: &SinkNode) -> (QueueSender, Option<Queue>) {
        match self.sinks.get(&*sink.route.name).and_then(RunningSink::queue) {
            Some(sender) => (sender, None),
            None => {
                let (sender, queue) = mpsc::unbounded_channel();
                (sender, Some(queue))
            }
        }
    }

    fn running(&self) -> Running {
        Running {
            sources: self.sources.iter().map(|(name, source)| (name.clone(), source.state)).collect(),
            sinks: self.sinks.iter().map(|(name, sink)| (name.clone(), sink.state())).collect(),
        }
    }

    /// Makes the dead letters of all nodes, and starts the keepers behind them that are new.
    fn dead_letters(&mut self, graph: &Graph, routes: &Arc<Routes>, queues: &Queues, changes: &Changes) -> Letters {
        let unchanged = changes.nodes.iter().filter(|(_, change)| **change == Change::Unchanged);
        let mut maker = LetterMaker {
            store: self.pipeline_context.store.clone(),
            routes: Arc::clone(routes),
            queues: &queues.senders,
            shutdown: &self.pipeline_context.shutdown,
            running: &mut self.keepers,
            unchanged: &unchanged.map(|(node, _)| node.clone()).collect(),
            sinks: vec![None; graph.sinks.len()],
            keepers: Vec::new(),
        };
        let of_sinks = (0..graph.sinks.len()).map(|index| maker.of_sink(index, &graph.sinks)).collect();
        let of_sources = graph.sources.iter().map(|source| maker.of_source(source, &graph.sinks)).collect();
        for keeper in maker.keepers {
            // All on one worker, as they may share connections.
            self.spawn(keeper_task(keeper), 0);
        }
        Letters { of_sources, of_sinks }
    }

    fn apply_to_sinks(
        &mut self,
        sinks: Vec<SinkNode>,
        sink_contexts: Vec<SinkContext>,
        queues: Queues,
        steps: &Steps,
        first_worker: usize,
    ) {
        let mut sinks: Vec<_> =
            sinks.into_iter().zip(sink_contexts).zip(queues.senders.iter().zip(queues.new)).collect();
        sinks.sort_by(|((one, _), _), ((other, _), _)| one.route.name.cmp(&other.route.name));
        for (position, ((sink, sink_context), (sender, new_queue))) in sinks.into_iter().enumerate() {
            let name = Arc::clone(&sink.route.name);
            match (steps.sinks.get(&*name), new_queue) {
                (Some(SinkStep::Keep), _) => self.tell(&name, SinkControl::SetContext(sink_context)),
                (Some(SinkStep::Change), new_queue) => {
                    if let Some(running) = self.sinks.get_mut(&*name) {
                        running.set_queue(sender);
                    }
                    self.tell(&name, SinkControl::Change(Box::new(sink.settings), sink_context, new_queue));
                }
                (Some(SinkStep::Start), Some(queue)) => {
                    let started = RunningSink::new(
                        &name,
                        (sink.settings, sink_context),
                        (sender.downgrade(), queue),
                        first_worker + position,
                        &self.pipeline_context,
                    );
                    self.start_sink(&name, started);
                }
                (Some(SinkStep::Start) | None, _) => {}
            }
        }
    }

    fn apply_to_sources(&mut self, sources: Vec<SourceNode>, plans: Vec<RoutingPlan>, steps: &Steps) {
        let mut sources: Vec<_> = sources.into_iter().zip(plans).collect();
        sources.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        for (worker, (source, plan)) in sources.into_iter().enumerate() {
            let running = self.sources.get_mut(&*source.name);
            match (steps.sources.get(&*source.name), running) {
                (Some(SourceStep::Keep), Some(running)) => running.reroute(plan),
                (Some(SourceStep::Replace), Some(running)) => {
                    info!(source = %source.name, "the source is replaced: it finishes what is in flight first");
                    running.stop();
                    running.successor = Some((source, plan, worker));
                }
                (Some(SourceStep::Start), _) => self.start_source(source, plan, worker),
                _ => {}
            }
        }
    }

    fn start_source(&mut self, source: SourceNode, plan: RoutingPlan, worker: usize) {
        let name = source.name.to_string();
        self.failures.retain(|(failed, _)| *failed != name);
        let (running, tasks) = RunningSource::new(source, plan, &self.pipeline_context);
        self.sources.insert(name, running);
        tasks.into_iter().for_each(|task| self.spawn(task, worker));
    }

    fn stop_source(&mut self, name: &str) {
        if let Some(source) = self.sources.get_mut(name) {
            info!(source = name, "the source is removed: it finishes what is in flight");
            source.successor = None;
            source.stop();
        }
    }

    fn start_sink(&mut self, name: &str, (sink, task): (RunningSink, Task)) {
        let worker = sink.worker;
        self.sinks.insert(name.to_owned(), sink);
        self.spawn(task, worker);
    }

    fn tell(&mut self, sink: &str, control: SinkControl) {
        if let Some(sink) = self.sinks.get_mut(sink) {
            sink.tell(control);
        }
    }

    /// Starts a task; workers are numbered on and on, and dealt out in turn.
    fn spawn(&mut self, (name, task): Task, worker: usize) {
        let workers = &self.pipeline_context.workers;
        let task = task.instrument(self.pipeline_context.span.clone());
        let id = self.tasks.spawn_on(task, &workers[worker % workers.len()]).id();
        self.names.insert(id, name);
    }

    /// Takes note of a task's end. One that panics begins the shutdown: the others finish what they can.
    fn note_end(&mut self, ended: Result<(Id, Ended), JoinError>) {
        match ended {
            Err(panicked) => {
                let error = RunError::Panicked(self.names.remove(&panicked.id()).unwrap_or_default());
                error!("{error}");
                self.failures.push((String::new(), error));
                self.pipeline_context.shutdown.begin();
            }
            Ok((id, ended)) => {
                self.names.remove(&id);
                match ended {
                    Ended::Source(name, result) => self.note_end_of_source(&name, Some(result)),
                    Ended::Router(name) => self.note_end_of_source(&name, None),
                    Ended::Sink(name, unhandled) => self.note_end_of_sink(&name, unhandled),
                    Ended::Keeper => {}
                }
            }
        }
    }

    /// One of the two tasks of a source has ended; its driver with a result.
    fn note_end_of_source(&mut self, name: &str, result: Option<Result<(), SourceError>>) {
        let Some(source) = self.sources.get_mut(name) else { return };
        source.tasks = source.tasks.saturating_sub(1);
        let has_failed = matches!(result, Some(Err(_)));
        match (result, source.state) {
            (Some(Err(error)), _) => {
                let error = RunError::Source { source_name: name.to_owned(), error };
                error!("{error}");
                self.failures.push((name.to_owned(), error));
            }
            (Some(Ok(())) | None, _) => {}
        }
        if source.state == SourceState::Running && (has_failed || source.tasks == 0) {
            source.state = if has_failed { SourceState::Failed } else { SourceState::Ended };
        }
        if source.tasks == 0 {
            match (source.successor.take(), source.state) {
                (Some((successor, plan, worker)), _) => self.start_source(successor, plan, worker),
                (None, SourceState::Stopping) => {
                    self.sources.remove(name);
                    self.pipeline_context.health.remove(&NodeName::source(name).to_string());
                }
                (None, _) => {}
            }
        }
    }

    /// A sink has ended. What it was told too late is done by one in its place.
    fn note_end_of_sink(&mut self, name: &str, unhandled: Vec<SinkControl>) {
        let Some(ended) = self.sinks.remove(name) else { return };
        self.pipeline_context.health.remove(&NodeName::sink(name).to_string());
        let mut controls = unhandled.into_iter().chain(ended.unsent);
        while let Some(control) = controls.next() {
            if let SinkControl::Change(settings, sink_context, Some(queue)) = control {
                let name_of_sink = name.into();
                let (sink, task) = RunningSink::new(
                    &name_of_sink,
                    (*settings, sink_context),
                    (ended.queue, queue),
                    ended.worker,
                    &self.pipeline_context,
                );
                self.start_sink(name, (sink, task));
                controls.for_each(|control| self.tell(name, control));
                return;
            }
        }
    }
}

/// Where the events of a source go.
fn routing_plan(
    source: &SourceNode,
    routes: &Arc<Routes>,
    queues: &Queues,
    dead_letters: &DeadLetters,
    of_sinks: &[DeadLetters],
) -> RoutingPlan {
    let reached: BTreeSet<usize> = reachable_sinks(&source.outputs, &routes.stages);
    let of_reached = |index: usize| reached.contains(&index).then_some(index);
    let all = 0..of_sinks.len();
    RoutingPlan {
        routes: Arc::clone(routes),
        start: routes.start(&source.outputs),
        queues: all.clone().map(|index| of_reached(index).map(|index| queues.senders[index].clone())).collect(),
        dead_letters: dead_letters.clone(),
        sink_dead_letters: all.map(|index| of_reached(index).map(|index| of_sinks[index].clone())).collect(),
    }
}
