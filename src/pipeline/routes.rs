//! The ways of events through the graph, without I/O: where they end, and with what request at a sink.
//!
//! The router takes events from their source this way, and `bridge dead replay` takes them from the node that gave
//! them up. How one event is taken is in `walk`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::fan_out::FanOut;
use super::graph::{StageNode, Target};
use super::walk::{Decision, Walk};
use crate::delivery::schedule::BucketName;
use crate::event::Event;
use crate::node::NodeName;
use crate::secret::mask;
use crate::sink::expression::{Expression, Input};
use crate::sink::request::{Request, RequestTemplate};
use crate::store::record::{DeliveryCore, Letter, Reason};
use crate::template::Context;

/// The filters, transforms and sinks of a graph, in its order.
pub struct Routes {
    pub(super) stages: Arc<[StageNode]>,
    pub(super) sinks: Vec<Arc<SinkRoute>>,
    /// Of each stage: who takes what it lets through or makes, and who takes the rest.
    pub(super) outputs: Vec<(FanOut, FanOut)>,
    /// For requests that need no envelope.
    pub(super) no_envelope: Arc<Context>,
}

/// The way into a sink.
pub struct SinkRoute {
    /// The sink's name in the pipeline file.
    pub name: Arc<str>,
    /// Makes an event into a request.
    pub request: RequestTemplate,
    /// Names the bucket of the rate limit; `None` when the sink has but one.
    pub bucket: Option<Expression>,
    /// Names the lane in which order is kept; `None` when deliveries go in parallel.
    pub order_by: Option<Expression>,
}

/// Where one of an event's ways ends.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a list of ends is used again and again, so nothing is allocated for it")]
pub enum RouteEnd {
    /// At a sink, by its index in [`Graph::sinks`](super::Graph::sinks).
    Sink(usize, Prepared),
    /// At a node that cannot handle the event.
    Failed(Failure),
}

/// An event made ready for a sink: what a delivery is made of, here or in the store.
#[derive(Debug)]
pub struct Prepared {
    /// The delivery, of which no attempt has been made.
    pub core: DeliveryCore,
    /// What every attempt sends.
    pub request: Request,
}

/// A node that cannot handle an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The event as it came to the node.
    pub event: Arc<Event>,
    /// The node, for example `filters.paid`.
    pub node: NodeName,
    /// As in [`DeliveryCore::copy`], for sinks and transforms.
    pub copy: u32,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence. It may hold parts of the event, and is not masked.
    pub message: String,
}

impl Failure {
    /// The dead letter of the event, given up at `time`.
    pub(super) fn into_letter(self, time: Timestamp) -> Letter {
        Letter {
            core: DeliveryCore::new(self.event, self.copy),
            node: self.node,
            reason: self.reason,
            message: mask(&self.message).into_owned(),
            time,
            request: None,
            first_request: None,
            shown: None,
        }
    }
}

impl Routes {
    pub(super) fn new(stages: Arc<[StageNode]>, sinks: Vec<Arc<SinkRoute>>) -> Self {
        let fan_out = |targets: &[Target]| FanOut::new(targets, &stages);
        let outputs = stages.iter().map(|stage| (fan_out(&stage.matched), fan_out(&stage.unmatched))).collect();
        Self { stages, sinks, outputs, no_envelope: Arc::new(Context::new(Value::Null)) }
    }

    /// Where events start that go to all of `targets`.
    pub(super) fn start(&self, targets: &[Target]) -> FanOut {
        FanOut::new(targets, &self.stages)
    }

    /// The index of a sink by its name.
    pub(super) fn index_of_sink(&self, name: &str) -> Option<usize> {
        self.sinks.iter().position(|sink| *sink.name == *name)
    }

    /// Takes an event from `start` to wherever its ways end, and adds those ends to `ends`. The filters decide on the
    /// way, and transforms make other events of it; an event that they turn away everywhere adds nothing.
    pub(super) fn walk(&self, event: &Arc<Event>, start: &FanOut, ends: &mut Vec<RouteEnd>) {
        Walk::new(self, ends).run(event, start);
    }

    /// The same, and what was decided on the way.
    pub(super) fn walk_with_decisions(
        &self,
        event: &Arc<Event>,
        start: &FanOut,
        ends: &mut Vec<RouteEnd>,
    ) -> Vec<Decision> {
        Walk::new(self, ends).with_decisions().run(event, start)
    }

    /// The request for a sink, or why there is none.
    pub(super) fn enter(
        &self,
        index: usize,
        copy: u32,
        event: &Arc<Event>,
        input: &Result<Input<'_>, &String>,
    ) -> RouteEnd {
        let sink = &self.sinks[index];
        let prepared = match input {
            Ok(input) => sink.prepare(event, copy, input).map_err(|message| (Reason::Unrenderable, message)),
            Err(_) if !sink.needs_envelope() => sink
                .prepare(event, copy, &Input::new(event, &self.no_envelope))
                .map_err(|message| (Reason::Unrenderable, message)),
            Err(error) => Err((Reason::Undecodable, (*error).clone())),
        };
        match prepared {
            Ok(prepared) => RouteEnd::Sink(index, prepared),
            Err((reason, message)) => {
                let (node, event) = (NodeName::sink(Arc::clone(&sink.name)), Arc::clone(event));
                RouteEnd::Failed(Failure { event, node, copy, reason, message })
            }
        }
    }
}

impl SinkRoute {
    /// True when a delivery can only be made from the envelope.
    pub(super) fn needs_envelope(&self) -> bool {
        let keys = self.bucket.iter().chain(&self.order_by);
        self.request.needs_envelope() || keys.into_iter().any(|key| key.literal().is_none())
    }

    /// What a delivery of an event is made of, or why there can be none.
    fn prepare(&self, event: &Arc<Event>, copy: u32, input: &Input<'_>) -> Result<Prepared, String> {
        let request = self.request.render(input).map_err(|error| error.to_string())?;
        let bucket = match &self.bucket {
            None => BucketName::default(),
            Some(key) => key
                .render(input)
                .map(short_name)
                .map_err(|failure| format!("cannot render the rate limit's key: {failure}"))?,
        };
        let lane = self.order_by.as_ref().map(|order| order.render(input)).transpose();
        let lane = lane.map_err(|failure| format!("cannot render `order_by`: {failure}"))?.map(short_name);
        let core = DeliveryCore { bucket, lane, ..DeliveryCore::new(Arc::clone(event), copy) };
        Ok(Prepared { core, request })
    }
}

/// The longest name of a bucket or lane, in bytes. Events bring the names: memory holds many of them, and an index of
/// PostgreSQL takes no entry above 2704 bytes.
const LONGEST_NAME: usize = 255;

/// The name of a bucket or lane: what was rendered, or, when that is long, its hash.
fn short_name(rendered: String) -> Arc<str> {
    if rendered.len() <= LONGEST_NAME {
        return rendered.into();
    }
    let digest = Sha256::digest(&rendered);
    format!("sha256-{}", BASE64.encode(digest)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_told_apart_and_stay_short() {
        assert_eq!(&*short_name("customer 7".to_owned()), "customer 7");
        let [one, other] = ["a", "b"].map(|end| short_name("x".repeat(10_000) + end));
        assert!(one != other && one.len() <= LONGEST_NAME, "{one} {other}");
        assert_eq!(short_name("x".repeat(10_000) + "a"), one);
    }
}
