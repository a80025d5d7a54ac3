//! The nodes of a running graph: how each is started, and what its end says. Which are started when, `controller`
//! decides.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::Span;

use super::graph::SourceNode;
use super::router::{QueueSender, Router, RoutingPlan};
use super::steps::{SinkState, SourceState};
use crate::delivery::Delivery;
use crate::delivery::control::{Queue, SinkContext, SinkControl, SinkSettings};
use crate::delivery::dead_letter::keeper::Keeper;
use crate::delivery::worker::SinkWorker;
use crate::health::PipelineHealth;
use crate::node::NodeName;
use crate::shutdown::Shutdown;
use crate::source::SourceError;
use crate::store::Store;

/// What all nodes of a running pipeline share.
pub(super) struct PipelineContext {
    pub(super) pipeline: Arc<str>,
    pub(super) store: Option<Store>,
    pub(super) only_replay: Option<Arc<str>>,
    pub(super) shutdown: Shutdown,
    /// The workers of the pipeline; there is at least one.
    pub(super) workers: Vec<Handle>,
    /// Names the pipeline in the logs, where there are several.
    pub(super) span: Span,
    /// Where the nodes note how they are.
    pub(super) health: PipelineHealth,
}

/// A task, what it is called when it panics, and what it says when it ends.
pub(super) type Task = (String, BoxFuture<'static, Ended>);

/// How a task has ended.
pub(super) enum Ended {
    Source(String, Result<(), SourceError>),
    Router(String),
    /// With the controls that it has not received any more.
    Sink(String, Vec<SinkControl>),
    Keeper,
}

/// A source that was started.
pub(super) struct RunningSource {
    pub(super) state: SourceState,
    /// Its driver and its router, as long as they run.
    pub(super) tasks: usize,
    plans: mpsc::UnboundedSender<RoutingPlan>,
    /// Its own end, which is also that of the pipeline.
    shutdown: Shutdown,
    /// What takes its place once it has ended, and on which worker.
    pub(super) successor: Option<(SourceNode, RoutingPlan, usize)>,
}

/// A sink that was started.
pub(super) struct RunningSink {
    pub(super) worker: usize,
    /// It does not hold the queue open: a sink ends once nobody can send to it.
    pub(super) queue: WeakQueueSender,
    /// What it was told when it had ended already.
    pub(super) unsent: Vec<SinkControl>,
    controls: mpsc::UnboundedSender<SinkControl>,
}

/// The way into a sink's queue for as long as somebody else has it.
pub(super) type WeakQueueSender = mpsc::WeakUnboundedSender<Box<Delivery>>;

impl RunningSource {
    /// A source with its two tasks.
    pub(super) fn new(source: SourceNode, plan: RoutingPlan, pipeline_context: &PipelineContext) -> (Self, [Task; 2]) {
        let SourceNode { name, connector, bounds, .. } = source;
        let (plans, new_plans) = mpsc::unbounded_channel();
        let (sender, arrivals) = mpsc::channel(bounds.max_in_flight);
        let shutdown = pipeline_context.shutdown.child(pipeline_context.shutdown.timeout());
        let text = name.to_string();
        let health = pipeline_context.health.node(NodeName::source(Arc::clone(&name)).to_string());
        let driver = connector.drive(Arc::clone(&name), bounds, sender, health, shutdown.clone());
        let source_task = (format!("source `{name}`"), driver.map(move |ended| Ended::Source(text, ended)).boxed());
        let labels = [("pipeline", pipeline_context.pipeline.to_string()), ("source", name.to_string())];
        let filtered = metrics::counter!("bridge_events_filtered_total", &labels);
        let router = Router { source: Arc::clone(&name), plan, plans: new_plans, filtered };
        let text = name.to_string();
        let router_task =
            (format!("the router of source `{name}`"), router.run(arrivals).map(move |()| Ended::Router(text)).boxed());
        let running = Self { state: SourceState::Running, tasks: 2, plans, shutdown, successor: None };
        (running, [source_task, router_task])
    }

    /// Sends its events elsewhere from now on.
    pub(super) fn reroute(&self, plan: RoutingPlan) {
        // A router that has ended has no events left.
        self.plans.send(plan).ok();
    }

    /// Lets it finish what is in flight and close.
    pub(super) fn stop(&mut self) {
        self.state = SourceState::Stopping;
        self.shutdown.begin();
    }
}

impl RunningSink {
    /// A sink with its task.
    pub(super) fn new(
        name: &Arc<str>,
        (settings, context): (SinkSettings, SinkContext),
        (sender, queue): (WeakQueueSender, Queue),
        worker: usize,
        pipeline_context: &PipelineContext,
    ) -> (Self, Task) {
        let sink = SinkWorker::new(
            (Arc::clone(&pipeline_context.pipeline), Arc::clone(name)),
            settings,
            context,
            pipeline_context.store.as_ref().map(|store| store.open_sink(Arc::clone(name))),
            pipeline_context.only_replay.clone(),
            pipeline_context.health.node(NodeName::sink(Arc::clone(name)).to_string()),
            pipeline_context.shutdown.clone(),
        );
        let (controls, received) = mpsc::unbounded_channel();
        let text = name.to_string();
        let task = sink.run(queue, received).map(move |unhandled| Ended::Sink(text, unhandled)).boxed();
        (Self { worker, queue: sender, unsent: Vec::new(), controls }, (format!("sink `{name}`"), task))
    }

    pub(super) fn state(&self) -> SinkState {
        if self.queue().is_some() { SinkState::Open } else { SinkState::Closing }
    }

    /// The way into its queue, if that is open.
    pub(super) fn queue(&self) -> Option<QueueSender> {
        self.queue.upgrade().filter(|queue| !queue.is_closed())
    }

    /// Tells it something. What it does not hear because it has ended comes back with its end, or stays here.
    pub(super) fn tell(&mut self, control: SinkControl) {
        if let Err(unsent) = self.controls.send(control) {
            self.unsent.push(unsent.0);
        }
    }

    /// Notes that it was given a new queue.
    pub(super) fn set_queue(&mut self, queue: &QueueSender) {
        self.queue = queue.downgrade();
    }
}

/// The task of a keeper.
pub(super) fn keeper_task(keeper: Keeper) -> Task {
    (format!("the dead letters of `{}`", keeper.node()), keeper.run().map(|()| Ended::Keeper).boxed())
}
