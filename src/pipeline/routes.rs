//! The way of an event through the graph, without I/O: which sinks it reaches and with what request, and which nodes
//! cannot handle it.
//!
//! The router takes events from their source this way, and `bridge dead replay` takes them from the node that gave
//! them up. The payload is parsed at most once, and only when an expression on the event's way asks for the envelope;
//! the envelope is handed from the filters to the templates without a copy.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::fan_out::FanOut;
use super::graph::{FilterNode, Target};
use crate::delivery::schedule::BucketName;
use crate::event::{Envelope, Event};
use crate::node::NodeName;
use crate::secret::mask;
use crate::sink::expression::{Expression, Input};
use crate::sink::request::{Request, RequestTemplate};
use crate::store::record::{DeliveryCore, Letter, Reason};
use crate::template::Context;

/// The filters and sinks of a graph, in its order.
pub struct Routes {
    pub(super) filters: Arc<[FilterNode]>,
    pub(super) sinks: Vec<Arc<SinkRoute>>,
    /// Of each filter: who takes what it lets through, and who takes the rest.
    outputs: Vec<(FanOut, FanOut)>,
    /// For requests that need no envelope.
    no_envelope: Arc<Context>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The node, for example `filters.paid`.
    pub node: NodeName,
    /// As in [`DeliveryCore::copy`], for sinks.
    pub copy: u32,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence. It may hold parts of the event, and is not masked.
    pub message: String,
}

impl Failure {
    /// The dead letter of the event, given up at `time`.
    pub(super) fn into_letter(self, event: &Arc<Event>, time: Timestamp) -> Letter {
        Letter {
            core: DeliveryCore::new(Arc::clone(event), self.copy),
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
    pub(super) fn new(filters: Arc<[FilterNode]>, sinks: Vec<Arc<SinkRoute>>) -> Self {
        let fan_out = |targets: &[Target]| FanOut::new(targets, &filters);
        let outputs = filters.iter().map(|filter| (fan_out(&filter.matched), fan_out(&filter.unmatched))).collect();
        Self { filters, sinks, outputs, no_envelope: Arc::new(Context::new(Value::Null)) }
    }

    /// Where events start that go to all of `targets`.
    pub(super) fn start(&self, targets: &[Target]) -> FanOut {
        FanOut::new(targets, &self.filters)
    }

    /// The index of a sink by its name.
    pub(super) fn index_of_sink(&self, name: &str) -> Option<usize> {
        self.sinks.iter().position(|sink| *sink.name == *name)
    }

    /// Takes an event from `start` to wherever its ways end, and adds those ends to `ends`. The filters decide on the
    /// way; an event that they turn away everywhere adds nothing.
    pub(super) fn walk(&self, event: &Arc<Event>, start: &FanOut, ends: &mut Vec<RouteEnd>) {
        let mut view = View::Unread;
        let reached = self.reached_sinks(event, start, &mut view, ends);
        let needs_context = reached.iter().any(|index| self.sinks[*index].needs_envelope());
        let context = match needs_context {
            true => view.into_context(event).map(Arc::new),
            false => Ok(Arc::clone(&self.no_envelope)),
        };
        let input = context.as_ref().map(|context| Input::new(event, context));
        for (position, index) in reached.iter().enumerate() {
            let copy = reached[..position].iter().filter(|earlier| *earlier == index).count();
            ends.push(self.enter(*index, copy as u32, event, &input));
        }
    }

    /// The filters on an event's way from `start`, in the order of the file, and whether each lets it through. A filter
    /// that cannot read the event decides nothing.
    pub fn decisions(&self, event: &Event, start: &[Target]) -> Vec<(Arc<str>, bool)> {
        let mut view = View::Unread;
        let mut decisions = BTreeMap::new();
        let mut next = start.to_vec();
        while let Some(target) = next.pop() {
            let Target::Filter(index) = target else { continue };
            let Ok(envelope) = view.envelope(event) else { continue };
            let filter = &self.filters[index];
            let matches = filter.predicate.matches(envelope);
            next.extend(if matches { &filter.matched } else { &filter.unmatched });
            decisions.insert(index, (Arc::clone(&filter.name), matches));
        }
        decisions.into_values().collect()
    }

    fn reached_sinks(&self, event: &Event, start: &FanOut, view: &mut View, ends: &mut Vec<RouteEnd>) -> Vec<usize> {
        let mut reached = Vec::new();
        let mut next = Vec::new();
        extend_with_takers(&mut next, start, event, view);
        while let Some(target) = next.pop() {
            let index = match target {
                Target::Sink(index) => {
                    reached.push(index);
                    continue;
                }
                Target::Filter(index) => index,
            };
            let filter = &self.filters[index];
            let (matched, unmatched) = &self.outputs[index];
            match view.envelope(event) {
                Ok(envelope) if filter.predicate.matches(envelope) => next.extend(matched.takers(envelope)),
                Ok(envelope) => next.extend(unmatched.takers(envelope)),
                Err(error) => {
                    let node = NodeName::filter(Arc::clone(&filter.name));
                    let message = error.to_owned();
                    // It passes no filter, and a source feeds each filter once: there is no second letter of this node.
                    ends.push(RouteEnd::Failed(Failure { node, copy: 0, reason: Reason::Undecodable, message }));
                }
            }
        }
        reached
    }

    fn enter(&self, index: usize, copy: u32, event: &Arc<Event>, input: &Result<Input<'_>, &String>) -> RouteEnd {
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
                RouteEnd::Failed(Failure { node: NodeName::sink(Arc::clone(&sink.name)), copy, reason, message })
            }
        }
    }
}

/// Adds where an event goes. One that cannot be read goes to all: each filter among them says so of itself.
fn extend_with_takers(next: &mut Vec<Target>, fan_out: &FanOut, event: &Event, view: &mut View) {
    if !fan_out.needs_envelope() {
        return next.extend(fan_out.all());
    }
    match view.envelope(event) {
        Ok(envelope) => next.extend(fan_out.takers(envelope)),
        Err(_) => next.extend(fan_out.all()),
    }
}

impl SinkRoute {
    /// True when a delivery can only be made from the envelope.
    fn needs_envelope(&self) -> bool {
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

/// The envelope of the event on its way, made when it is first asked for.
enum View {
    Unread,
    Read(Envelope),
    Undecodable(String),
}

impl View {
    fn envelope(&mut self, event: &Event) -> Result<&Envelope, &str> {
        if let Self::Unread = self {
            *self = match event.envelope() {
                Ok(envelope) => Self::Read(Envelope::new(envelope)),
                Err(error) => Self::Undecodable(error.to_string()),
            };
        }
        match self {
            Self::Read(envelope) => Ok(envelope),
            Self::Undecodable(error) => Err(error),
            Self::Unread => Err("the payload was not read"),
        }
    }

    fn into_context(self, event: &Event) -> Result<Context, String> {
        match self {
            Self::Unread => event.envelope().map(Context::new).map_err(|error| error.to_string()),
            Self::Read(envelope) => Ok(Context::new(envelope.into_value())),
            Self::Undecodable(error) => Err(error),
        }
    }
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
