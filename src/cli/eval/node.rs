//! Tries a sink, a filter or a transform of a pipeline file on events: what the sink would send, what the filter says, or
//! what the transform gives.
//!
//! The event begins at that node, so that nothing before it has a say. Nothing is sent and nothing is kept.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::CliError;
use crate::cli::load::{Compiled, compile_for_trials};
use crate::config;
use crate::config::test_case::{Json, TestEvent};
use crate::event::Format;
use crate::node::{NodeKind, NodeName};
use crate::pipeline::Graph;
use crate::pipeline::graph::Stage;
use crate::pipeline::trial::{FirstAttempt, FrozenClock, Outcome, Trial};
use crate::pipeline::walk::StageResult;
use crate::problem::did_you_mean;
use crate::secret::mask;
use crate::transform::Transformed;

/// A node of a pipeline file, ready to be tried.
pub(super) struct Node {
    name: NodeName,
    graph: Graph,
    clock: FrozenClock,
}

impl Node {
    /// Loads the file.
    ///
    /// # Errors
    /// All its faults, or that it has no such node.
    pub(super) fn load(pipeline: &Path, name: NodeName) -> Result<Self, CliError> {
        let clock = FrozenClock::default();
        let compiled = config::load_lenient(pipeline).and_then(|parsed| compile_for_trials(parsed, pipeline, &clock));
        let Compiled { graph, .. } = compiled.map_err(|errors| CliError::Config(vec![errors]))?;
        match has_node(&graph, &name) {
            true => Ok(Self { name, graph, clock }),
            false => Err(CliError::Usage(unknown(&graph, &name, pipeline))),
        }
    }

    /// The requests that a sink would send, what a filter says, or the `data` of each event that a transform makes; `None`
    /// when the event does not match the transform's `parse`.
    ///
    /// # Errors
    /// Why the event becomes a dead letter.
    pub(super) fn of(&self, event: &TestEvent, format: Format) -> Result<Option<Vec<String>>, String> {
        let (trial, now) = (Trial::new(&self.graph, &self.clock), Timestamp::now());
        let stage = self.graph.stages.iter().find(|stage| stage.name == self.name).map(|node| &node.stage);
        if let Some(Stage::Transform(transform)) = stage {
            return trial.transform(transform, event, format, now).map(shown_events);
        }
        let course = trial.run_from(&self.name, event, format, now);
        if self.name.kind() == NodeKind::Filter {
            let decision = course.decisions.iter().find(|decision| decision.node == self.name);
            return Ok(decision.map(|decision| vec![(decision.result == StageResult::Matches).to_string()]));
        }
        course.outcomes.into_iter().map(shown).collect::<Result<_, _>>().map(Some)
    }
}

/// The event for a trial: what is not said of it is as short as it can be. What was written as its JSON is its payload.
pub(super) fn event_of(envelope: &Value, payload: Option<String>) -> TestEvent {
    let text = |name: &str| envelope[name].as_str().map(str::to_owned);
    let members = |name: &str| {
        let members = envelope[name].as_object().into_iter().flatten();
        members.map(|(name, value)| (name.clone(), Json(value.clone()))).collect()
    };
    TestEvent {
        id: text("id").unwrap_or_default(),
        time: text("time").and_then(|time| time.parse().ok()).unwrap_or_else(Timestamp::now),
        key: text("key"),
        headers: members("headers"),
        meta: members("meta"),
        data: Some(Json(envelope["data"].clone())).filter(|_| payload.is_none()),
        payload,
        content_type: None,
    }
}

fn has_node(graph: &Graph, name: &NodeName) -> bool {
    names(graph, name.kind()).any(|known| *known == **name.name())
}

fn names(graph: &Graph, kind: NodeKind) -> Box<dyn Iterator<Item = &str> + '_> {
    match kind {
        NodeKind::Sink => Box::new(graph.sinks.iter().map(|sink| &*sink.route.name)),
        _ => {
            Box::new(graph.stages.iter().map(|stage| &stage.name).filter(move |name| name.kind() == kind).map(name_of))
        }
    }
}

fn name_of(node: &NodeName) -> &str {
    node.name()
}

fn unknown(graph: &Graph, name: &NodeName, pipeline: &Path) -> String {
    let message = format!("{} has no `{name}`", pipeline.display());
    let kinds = [(NodeKind::Filter, "--filter"), (NodeKind::Transform, "--transform"), (NodeKind::Sink, "--sink")];
    for (kind, option) in kinds {
        if names(graph, kind).any(|known| *known == **name.name()) {
            let other = NodeName::new(kind, Arc::clone(name.name()));
            return format!("{message}, but `{other}`: write `{option} {}`", other.name());
        }
    }
    let known: Vec<_> = names(graph, name.kind()).collect();
    match did_you_mean(name.name(), known.iter().copied()) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None if known.is_empty() => message,
        None => format!("{message}; its {} are {}", name.kind().section(), known.join(", ")),
    }
}

fn shown_events(transformed: Transformed) -> Option<Vec<String>> {
    match transformed {
        Transformed::Events(payloads) => {
            Some(payloads.iter().map(|payload| String::from_utf8_lossy(payload).into_owned()).collect())
        }
        Transformed::Unmatched => None,
    }
}

fn shown(outcome: Outcome) -> Result<String, String> {
    match outcome {
        Outcome::Delivery(attempt) => Ok(request(&attempt)),
        Outcome::DeadLetter { node, reason, message } => {
            Err(format!("{node} gives it up ({reason}): {message}", reason = reason.as_str()))
        }
    }
}

/// A request as it would be sent, but for the headers that the HTTP client adds. Secrets are masked.
fn request(attempt: &FirstAttempt) -> String {
    let mut text = format!("{} {}\n", attempt.method, attempt.url);
    for (name, value) in &attempt.headers {
        // Writing to a string cannot fail.
        writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes())).ok();
    }
    if !attempt.body.is_empty() {
        write!(text, "\n{}\n", String::from_utf8_lossy(&attempt.body)).ok();
    }
    mask(&text).into_owned()
}
