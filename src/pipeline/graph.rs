//! The graph: what a pipeline file means, with every name resolved and everything compiled. Data only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::routes::{Routes, SinkRoute};
use crate::delivery::control::SinkSettings;
use crate::delivery::dead_letter::brokers::BrokerDestination;
use crate::event::{Format, Meta};
use crate::filter::Predicate;
use crate::node::{NodeKind, NodeName};
use crate::source::Connector;
use crate::source::drive::Bounds;
use crate::store::Store;
use crate::store::running::UnopenedStore;
use crate::transform::Transform;

/// A pipeline in which every name is resolved and everything that can be compiled is.
pub struct Graph {
    /// The pipeline's name.
    pub name: Arc<str>,
    /// The sources, in file order.
    pub sources: Vec<SourceNode>,
    /// The filters in file order, then the transforms in theirs.
    pub stages: Arc<[StageNode]>,
    /// The sinks, in file order.
    pub sinks: Vec<SinkNode>,
    /// Keeps parked deliveries, dead letters and checkpoints; `None` with `store.url = "none"`.
    pub store: Option<(Store, UnopenedStore)>,
    /// Threads that the nodes are spread over.
    pub workers: usize,
    /// How long deliveries in flight may take to end at a shutdown.
    pub shutdown_timeout: Duration,
}

impl Graph {
    /// The names of all nodes, as a reload compares them.
    pub fn nodes(&self) -> impl Iterator<Item = NodeName> {
        let sources = self.sources.iter().map(|source| NodeName::source(Arc::clone(&source.name)));
        let stages = self.stages.iter().map(|stage| stage.name.clone());
        let sinks = self.sinks.iter().map(|sink| NodeName::sink(Arc::clone(&sink.route.name)));
        sources.chain(stages).chain(sinks)
    }

    /// For each sink, whether one of its sources feeds another sink too.
    pub(super) fn sinks_that_share_sources(&self) -> Vec<bool> {
        let mut sharing = vec![false; self.sinks.len()];
        for source in &self.sources {
            let reached = reachable_sinks(&source.outputs, &self.stages);
            if reached.len() > 1 {
                reached.into_iter().for_each(|index| sharing[index] = true);
            }
        }
        sharing
    }

    /// The ways through the graph.
    pub fn routes(&self) -> Routes {
        let sinks = self.sinks.iter().map(|sink| Arc::clone(&sink.route)).collect();
        Routes::new(Arc::clone(&self.stages), sinks)
    }

    /// Where an event is to start that ended at this node, so that the node handles it anew; `None` when there is no such
    /// node.
    pub fn start_at(&self, node: &NodeName) -> Option<Vec<Target>> {
        let name = &**node.name();
        match node.kind() {
            NodeKind::Source => {
                self.sources.iter().find(|source| *source.name == *name).map(|source| source.outputs.clone())
            }
            NodeKind::Filter | NodeKind::Transform => {
                let index = self.stages.iter().position(|stage| stage.name == *node)?;
                Some(vec![Target::Stage(index)])
            }
            NodeKind::Sink => {
                let index = self.sinks.iter().position(|sink| *sink.route.name == *name)?;
                Some(vec![Target::Sink(index)])
            }
        }
    }
}

/// Where an event goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// An index into [`Graph::stages`].
    Stage(usize),
    /// An index into [`Graph::sinks`].
    Sink(usize),
}

/// A source and what takes its events.
pub struct SourceNode {
    /// The name in the pipeline file.
    pub name: Arc<str>,
    /// Reads the events.
    pub connector: Connector,
    /// Bounds on events in flight.
    pub bounds: Bounds,
    /// How its payloads are read: what `data` is.
    pub format: Format,
    /// The `meta` of an event that nothing was read for.
    pub meta_of_tests: Meta,
    /// Who takes the events.
    pub outputs: Vec<Target>,
    /// Where the letters go of events given up before they reach a sink.
    pub dead_letter: Option<LetterTarget>,
}

/// A filter or a transform, and what takes its events.
pub struct StageNode {
    /// The name in the pipeline file.
    pub name: NodeName,
    /// What it does.
    pub stage: Stage,
    /// Who takes the events for which a filter holds, or those that a transform makes.
    pub matched: Vec<Target>,
    /// Who takes the events for which it does not hold, or that do not match.
    pub unmatched: Vec<Target>,
}

/// What a node between sources and sinks does.
pub enum Stage {
    /// Decides which events go on.
    Filter(Predicate),
    /// Makes other events of them.
    Transform(Transform),
}

/// A sink, with all that its deliveries need.
pub struct SinkNode {
    /// Makes an event into a delivery.
    pub route: Arc<SinkRoute>,
    /// Says how deliveries are made.
    pub settings: SinkSettings,
    /// Where its dead letters are sent on to.
    pub dead_letter: Option<LetterTarget>,
}

/// The sinks that events can reach from here, by index.
pub(super) fn reachable_sinks(outputs: &[Target], stages: &[StageNode]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = outputs.to_vec();
    while let Some(target) = next.pop() {
        match target {
            Target::Sink(index) => {
                reached.insert(index);
            }
            Target::Stage(index) => {
                next.extend(&stages[index].matched);
                next.extend(&stages[index].unmatched);
            }
        }
    }
    reached
}

/// Where dead letters are sent on to.
#[derive(Clone)]
pub enum LetterTarget {
    /// An index into [`Graph::sinks`]. There are no circles.
    Sink(usize),
    /// A broker.
    Broker(Arc<dyn BrokerDestination>),
}
