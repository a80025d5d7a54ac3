//! What a reload does with each node, decided from what changes and what runs. Pure: the controller does what this says.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::{Change, Changes};
use crate::node::NodeKind;

/// How a source of the running pipeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceState {
    /// It reads.
    Running,
    /// It was told to stop and finishes what is in flight.
    Stopping,
    /// It has come to its end.
    Ended,
    /// It has failed, and connecting again could not help.
    Failed,
}

/// How a sink of the running pipeline is. One that has ended is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SinkState {
    /// It runs, and its queue is open.
    Open,
    /// It finishes what it has; nothing can come into its queue any more.
    Closing,
}

/// What runs, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Running {
    pub(super) sources: BTreeMap<String, SourceState>,
    pub(super) sinks: BTreeMap<String, SinkState>,
}

/// What becomes of a source of the new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceStep {
    /// It goes on as it is; its events go where the new version says.
    Keep,
    /// It starts at once.
    Start,
    /// The one of this name finishes what is in flight and is closed; then this one starts.
    Replace,
    /// It has come to its end, and stays there.
    Rest,
}

/// What becomes of a sink of the new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SinkStep {
    /// It goes on as it is.
    Keep,
    /// It goes on with other settings.
    Change,
    /// It starts.
    Start,
}

/// What becomes of all nodes. Filters and templates have no steps: they are part of the ways that all sources get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// The sources of the new version.
    pub(super) sources: BTreeMap<String, SourceStep>,
    /// The sinks of the new version.
    pub(super) sinks: BTreeMap<String, SinkStep>,
    /// Sources that the new version has not: they finish what is in flight and are closed.
    pub(super) stop: BTreeSet<String>,
    /// Sinks that the new version has not: they finish what they can.
    pub(super) remove: BTreeSet<String>,
}

impl Steps {
    pub(super) fn decide(changes: &Changes, running: &Running) -> Self {
        let mut steps = Self::default();
        for (node, change) in &changes.nodes {
            let name = &**node.name();
            match node.kind() {
                NodeKind::Source => steps.source(name, change, running.sources.get(name).copied()),
                NodeKind::Sink => steps.sink(name, change, running.sinks.get(name).copied()),
                NodeKind::Filter | NodeKind::Transform => {}
            }
        }
        steps
    }

    fn source(&mut self, name: &str, change: &Change, state: Option<SourceState>) {
        let is_same = matches!(change, Change::Unchanged | Change::Rewired(_));
        let step = match (change, state) {
            (Change::Removed, Some(SourceState::Running | SourceState::Stopping)) => {
                self.stop.insert(name.to_owned());
                return;
            }
            (Change::Removed, _) => return,
            (_, Some(SourceState::Running)) if is_same => SourceStep::Keep,
            (_, Some(SourceState::Ended)) if is_same => SourceStep::Rest,
            (_, Some(SourceState::Running | SourceState::Stopping)) => SourceStep::Replace,
            (_, Some(SourceState::Ended | SourceState::Failed) | None) => SourceStep::Start,
        };
        self.sources.insert(name.to_owned(), step);
    }

    fn sink(&mut self, name: &str, change: &Change, state: Option<SinkState>) {
        let is_same = matches!(change, Change::Unchanged | Change::Rewired(_));
        let step = match (change, state) {
            (Change::Removed, Some(_)) => {
                self.remove.insert(name.to_owned());
                return;
            }
            (Change::Removed, None) => return,
            (_, Some(SinkState::Open)) if is_same => SinkStep::Keep,
            // One that is closing needs a new queue, with which come settings.
            (_, Some(SinkState::Open | SinkState::Closing)) => SinkStep::Change,
            (_, None) => SinkStep::Start,
        };
        self.sinks.insert(name.to_owned(), step);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::changes::Rewiring;

    fn changed() -> Change {
        Change::Changed { keys: vec!["url".into()], rewired: None }
    }

    fn rewired() -> Change {
        Change::Rewired(Rewiring::default())
    }

    fn decide(nodes: &[(&str, Change)], sources: &[(&str, SourceState)], sinks: &[(&str, SinkState)]) -> Steps {
        let nodes = nodes.iter().map(|(name, change)| (name.parse().unwrap(), change.clone())).collect();
        let running = Running {
            sources: sources.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect(),
            sinks: sinks.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect(),
        };
        Steps::decide(&Changes { restarts: None, nodes }, &running)
    }

    #[test]
    fn what_is_the_same_is_left_alone_and_the_rest_is_not() {
        let nodes = [
            ("sources.same", Change::Unchanged),
            ("sources.other", changed()),
            ("sources.new", Change::Added),
            ("sources.gone", Change::Removed),
            ("filters.paid", changed()),
            ("sinks.same", Change::Unchanged),
            ("sinks.fed_by_others", rewired()),
            ("sinks.other", changed()),
            ("sinks.new", Change::Added),
            ("sinks.gone", Change::Removed),
        ];
        let reading = ["same", "other", "gone"].map(|name| (name, SourceState::Running));
        let open = ["same", "fed_by_others", "other", "gone"].map(|name| (name, SinkState::Open));
        let steps = decide(&nodes, &reading, &open);
        let sources = [("new", SourceStep::Start), ("other", SourceStep::Replace), ("same", SourceStep::Keep)];
        assert_eq!(steps.sources, sources.map(|(name, step)| (name.to_owned(), step)).into());
        let sinks = [
            ("fed_by_others", SinkStep::Keep),
            ("new", SinkStep::Start),
            ("other", SinkStep::Change),
            ("same", SinkStep::Keep),
        ];
        assert_eq!(steps.sinks, sinks.map(|(name, step)| (name.to_owned(), step)).into());
        assert_eq!((steps.stop, steps.remove), (["gone".to_owned()].into(), ["gone".to_owned()].into()));
    }

    #[test]
    fn what_has_ended_rests_and_what_has_failed_or_is_stopping_is_tried_anew() {
        let nodes = ["sources.a", "sources.b", "sources.c", "sinks.x", "sinks.y"].map(|node| (node, Change::Unchanged));
        let sources = [("a", SourceState::Ended), ("b", SourceState::Failed), ("c", SourceState::Stopping)];
        let steps = decide(&nodes, &sources, &[("x", SinkState::Closing)]);
        let expected = [("a", SourceStep::Rest), ("b", SourceStep::Start), ("c", SourceStep::Replace)];
        assert_eq!(steps.sources, expected.map(|(name, step)| (name.to_owned(), step)).into());
        let expected = [("x", SinkStep::Change), ("y", SinkStep::Start)];
        assert_eq!(steps.sinks, expected.map(|(name, step)| (name.to_owned(), step)).into());
        let steps = decide(&[("sources.a", changed())], &sources, &[]);
        assert_eq!(steps.sources["a"], SourceStep::Start, "it is another source now");
    }

    proptest! {
        /// Never are there two of one name: what runs is kept, changed or stopped before another starts; and nothing
        /// that runs is forgotten.
        #[test]
        fn one_of_a_name_runs_at_a_time(change in 0_usize..5, source in 0_usize..5, sink in 0_usize..3) {
            let change = [Change::Added, Change::Removed, Change::Unchanged, changed(), rewired()][change].clone();
            let sources = [SourceState::Running, SourceState::Stopping, SourceState::Ended, SourceState::Failed];
            let sinks = [SinkState::Open, SinkState::Closing];
            let (source, sink) = (sources.get(source).copied(), sinks.get(sink).copied());
            let nodes = [("sources.n", change.clone()), ("sinks.n", change.clone())];
            let steps = decide(&nodes, source.map(|s| ("n", s)).as_slice(), sink.map(|s| ("n", s)).as_slice());
            let is_there = change != Change::Removed;
            prop_assert_eq!(steps.sources.contains_key("n"), is_there);
            prop_assert_eq!(steps.sinks.contains_key("n"), is_there);
            let is_alive = matches!(source, Some(SourceState::Running | SourceState::Stopping));
            prop_assert_eq!(steps.stop.contains("n"), !is_there && is_alive);
            prop_assert_eq!(steps.remove.contains("n"), !is_there && sink.is_some());
            if is_there {
                prop_assert_eq!(steps.sources["n"] == SourceStep::Start && is_alive, false);
                prop_assert_eq!(steps.sinks["n"] == SinkStep::Start, sink.is_none());
            }
        }
    }
}
