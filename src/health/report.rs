//! What the registry says: whether the process works, whether it is ready, and why not. Secrets are masked.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::{Health, NodeHealth, NodeState, PipelineHealth, STUCK_AFTER, lock};
use crate::secret::mask;

/// Whether the process works.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Liveness {
    /// False when a worker is stuck.
    pub alive: bool,
    /// The workers that are stuck, and for how many seconds.
    pub stuck_workers: BTreeMap<String, u64>,
    /// How many workers there are.
    pub workers: usize,
}

/// Whether the process is ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadinessReport {
    /// True when every pipeline and every node of it is.
    pub ready: bool,
    /// Why it is not, a line each; empty when it is.
    pub reasons: Vec<String>,
    /// By name.
    pub pipelines: BTreeMap<String, PipelineReport>,
}

/// How a pipeline is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineReport {
    /// The pipeline as a whole.
    #[serde(flatten)]
    pub whole: NodeReport,
    /// How its last reload went, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<ReloadReport>,
    /// By name, as in the pipeline file: `sources.orders`.
    pub nodes: BTreeMap<String, NodeReport>,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeReport {
    /// `starting`, `ready`, `failing`, `ended` or `stopped`.
    pub state: &'static str,
    /// False when the state keeps the process from being ready.
    pub ready: bool,
    /// For how long it has been failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_for_seconds: Option<u64>,
    /// For how long it may fail before that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerated_for_seconds: Option<u64>,
    /// More about the state, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// When.
    pub at: Timestamp,
    /// False when it was refused, and the pipeline runs on as it was.
    pub applied: bool,
    /// Why it was refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Health {
    /// Whether every worker has shown itself of late.
    pub fn liveness(&self, now: Instant) -> Liveness {
        let registry = lock(&self.0);
        let workers = registry.workers.iter().filter_map(|(name, beat)| Some((name.clone(), beat.upgrade()?)));
        let silent: Vec<(String, Duration)> =
            workers.map(|(name, beat)| (name, now.saturating_duration_since(*lock(&beat)))).collect();
        let workers = silent.len();
        let stuck = silent.into_iter().filter(|(_, silent)| *silent > STUCK_AFTER);
        let stuck_workers: BTreeMap<_, _> = stuck.map(|(name, silent)| (name, silent.as_secs())).collect();
        Liveness { alive: stuck_workers.is_empty(), stuck_workers, workers }
    }

    /// Whether everything is ready, with the reasons when it is not.
    pub fn readiness(&self, now: Instant) -> ReadinessReport {
        let registry = lock(&self.0);
        let pipelines: BTreeMap<String, PipelineReport> =
            registry.pipelines.iter().map(|(name, health)| (name.to_string(), health.report(now))).collect();
        let mut reasons: Vec<String> = Vec::new();
        if registry.ending {
            reasons.push("the bridge is about to end".to_owned());
        }
        if pipelines.is_empty() {
            reasons.push("no pipeline is loaded".to_owned());
        }
        for (name, pipeline) in &pipelines {
            let nodes = pipeline.nodes.iter().map(|(node, report)| (format!("{name}: {node}"), report));
            let all = std::iter::once((name.clone(), &pipeline.whole)).chain(nodes);
            reasons.extend(all.filter(|(_, report)| !report.ready).map(|(place, report)| report.reason(&place)));
        }
        ReadinessReport { ready: reasons.is_empty(), reasons, pipelines }
    }
}

impl PipelineHealth {
    fn report(&self, now: Instant) -> PipelineReport {
        let nodes = lock(&self.nodes).iter().map(|(name, node)| (name.clone(), node.report(now))).collect();
        let last_reload = lock(&self.last_reload).clone().map(|reload| ReloadReport {
            at: reload.at,
            applied: reload.refused.is_none(),
            detail: mask(&reload.refused.unwrap_or_default()).into_owned(),
        });
        PipelineReport { whole: self.whole.report(now), last_reload, nodes }
    }
}

impl NodeHealth {
    fn report(&self, now: Instant) -> NodeReport {
        let status = lock(&self.0);
        let trouble = match status.state {
            NodeState::Failing(trouble) => Some(trouble),
            NodeState::Starting | NodeState::Ready | NodeState::Ended | NodeState::Stopped => None,
        };
        NodeReport {
            state: status.state.name(),
            ready: status.state.is_ready(now),
            failing_for_seconds: trouble.map(|trouble| now.saturating_duration_since(trouble.since).as_secs()),
            tolerated_for_seconds: trouble.map(|trouble| trouble.tolerated.as_secs()),
            detail: mask(&status.detail).into_owned(),
        }
    }
}

impl NodeReport {
    fn reason(&self, place: &str) -> String {
        let lasting = self.failing_for_seconds.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
        let detail = if self.detail.is_empty() { String::new() } else { format!(": {}", self.detail) };
        format!("{place} is {}{lasting}{detail}", self.state)
    }
}

impl NodeState {
    /// The name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Failing(_) => "failing",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
        }
    }
}
