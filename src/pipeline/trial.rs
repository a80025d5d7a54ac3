//! What an event would become: taken through the compiled graph as the router does, with no network, no state, and a
//! clock that stands still.
//!
//! A delivery ends here with the request of its first attempt, signature included; a letter that `dead_letter` sends to
//! another sink is followed there. What only a receiver's answer could bring about does not happen. Whether the outcome
//! is the right one, others judge.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::time::Instant;
use uuid::Uuid;

use super::dead_letters::event_of;
use super::graph::{Graph, LetterTarget, SourceNode, Target};
use super::router::defect_of_source;
use super::routes::{Failure, Prepared, RouteEnd, Routes};
use super::walk::Decision;
use crate::config::test_case::{TestCase, TestEvent};
use crate::delivery::Delivery;
use crate::event::{Envelope, Event, Format, Meta, MetaValue};
use crate::node::{NodeKind, NodeName};
use crate::source::Defect;
use crate::store::record::Reason;
use crate::template;
use crate::transform::{Transform, Transformed};

/// One thing that an event becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A delivery, as its first attempt would send it.
    Delivery(Box<FirstAttempt>),
    /// A dead letter.
    DeadLetter {
        /// The node that gives the event up.
        node: NodeName,
        /// Why, in a word.
        reason: Reason,
        /// Why, in a sentence, secrets masked.
        message: String,
    },
}

/// The request of a delivery's first attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstAttempt {
    /// The sink's name.
    pub sink: Arc<str>,
    /// The method.
    pub method: String,
    /// The URL.
    pub url: Url,
    /// The headers, but for those that the HTTP client adds itself.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What becomes of an event, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Deliveries in the order of the sinks in the file, and dead letters.
    pub outcomes: Vec<Outcome>,
    /// What the filters and transforms on the way did.
    pub decisions: Vec<Decision>,
}

/// The clock and the ids that templates of a graph for trials see. The graph must be compiled with its
/// [`options`](Self::options).
#[derive(Debug, Clone, Default)]
pub struct FrozenClock {
    now: Arc<Mutex<Timestamp>>,
    ids: Arc<AtomicU64>,
}

impl FrozenClock {
    /// What templates are to be compiled with.
    pub fn options(&self) -> template::Options {
        let (now, ids) = (Arc::clone(&self.now), Arc::clone(&self.ids));
        template::Options {
            clock: Arc::new(move || *now.lock().unwrap_or_else(PoisonError::into_inner)),
            ids: Arc::new(move || numbered_uuid(ids.fetch_add(1, Ordering::Relaxed) + 1)),
            ..template::Options::default()
        }
    }

    /// Stops the clock at `now`, and begins with the first id again.
    fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.ids.store(0, Ordering::Relaxed);
    }
}

/// Takes events through a graph.
pub struct Trial<'a> {
    graph: &'a Graph,
    routes: Routes,
    clock: &'a FrozenClock,
}

impl<'a> Trial<'a> {
    /// Trials of a graph that was compiled with the options of `clock`.
    pub fn new(graph: &'a Graph, clock: &'a FrozenClock) -> Self {
        Self { graph, routes: graph.routes(), clock }
    }

    /// Takes the event of a test through the graph.
    pub fn run(&self, test: &TestCase) -> Course {
        self.clock.set(test.now);
        // A test of a source that is not there was refused when the file was read.
        let Some(source) = self.graph.sources.iter().find(|source| *source.name == *test.source) else {
            return Course { outcomes: Vec::new(), decisions: Vec::new() };
        };
        let event = Arc::new(event_of_test(&test.event, source, source.format));
        let mut outcomes = Vec::new();
        let size = event.size();
        if size > source.bounds.max_event_size {
            let defect = Defect::TooLarge { size: size as u64, limit: source.bounds.max_event_size };
            self.give_up(defect_of_source(event, &source.name, &defect), source, test.now, &mut outcomes);
            return Course { outcomes, decisions: Vec::new() };
        }
        let decisions = self.follow(&event, &source.outputs, source, test.now, &mut outcomes);
        Course { outcomes, decisions }
    }

    /// Takes an event of this format through the graph from a filter, transform or sink on, as if it came from the
    /// pipeline's first source, at this time. Of a node that is not there, nothing comes.
    pub fn run_from(&self, node: &NodeName, event: &TestEvent, format: Format, now: Timestamp) -> Course {
        self.clock.set(now);
        let start = self.graph.start_at(node).filter(|_| node.kind() != NodeKind::Source);
        let (Some(start), Some(source)) = (start, self.graph.sources.first()) else {
            return Course { outcomes: Vec::new(), decisions: Vec::new() };
        };
        let event = Arc::new(event_of_test(event, source, format));
        let mut outcomes = Vec::new();
        let decisions = self.follow(&event, &start, source, now, &mut outcomes);
        Course { outcomes, decisions }
    }

    /// What a transform makes of an event at this time.
    ///
    /// # Errors
    /// Why it makes nothing of it, in a sentence.
    pub fn transform(
        &self,
        transform: &Transform,
        event: &TestEvent,
        format: Format,
        now: Timestamp,
    ) -> Result<Transformed, String> {
        self.clock.set(now);
        let source = self.graph.sources.first().ok_or("the pipeline has no source")?;
        let envelope = event_of_test(event, source, format).envelope().map_err(|error| error.to_string())?;
        transform.apply(&Arc::new(Envelope::new(envelope))).map_err(|failure| failure.to_string())
    }

    fn follow(
        &self,
        event: &Arc<Event>,
        start: &[Target],
        source: &SourceNode,
        now: Timestamp,
        outcomes: &mut Vec<Outcome>,
    ) -> Vec<Decision> {
        let mut ends = Vec::new();
        let decisions = self.routes.walk_with_decisions(event, &self.routes.start(start), &mut ends);
        // The walk has no order of sinks that anybody should rely on. That of the events which transforms make stays.
        ends.sort_by_key(|end| match end {
            RouteEnd::Sink(index, _) => *index,
            RouteEnd::Failed(_) => usize::MAX,
        });
        for end in ends {
            match end {
                RouteEnd::Sink(index, prepared) => outcomes.push(self.first_attempt(index, prepared, now)),
                RouteEnd::Failed(failure) => self.give_up(failure, source, now, outcomes),
            }
        }
        decisions
    }

    fn first_attempt(&self, index: usize, Prepared { core, request }: Prepared, now: Timestamp) -> Outcome {
        let sink = &self.graph.sinks[index];
        let delivery = Delivery::new(core, request, None, Instant::now());
        Outcome::Delivery(Box::new(FirstAttempt {
            sink: Arc::clone(&sink.route.name),
            method: sink.settings.webhook.method(&delivery.request).to_string(),
            url: delivery.request.url.clone(),
            headers: sink.settings.webhook.parts(&delivery.request, &delivery.webhook_id, now).headers,
            body: delivery.request.body.clone(),
        }))
    }

    fn give_up(&self, failure: Failure, source: &SourceNode, now: Timestamp, outcomes: &mut Vec<Outcome>) {
        let letter = failure.into_letter(now);
        let (node, message) = (letter.node.clone(), letter.message.clone());
        outcomes.push(Outcome::DeadLetter { node, reason: letter.reason, message });
        let sink = letter.node.as_sink().and_then(|name| self.routes.index_of_sink(name));
        let target = sink.map_or(&source.dead_letter, |index| &self.graph.sinks[index].dead_letter);
        // Circles of sinks are refused when the graph is compiled.
        if let Some(LetterTarget::Sink(index)) = target {
            self.follow(&Arc::new(event_of(&letter)), &[Target::Sink(*index)], source, now, outcomes);
        }
    }
}

fn event_of_test(event: &TestEvent, source: &SourceNode, format: Format) -> Event {
    Event {
        id: event.id.clone(),
        time: event.time,
        source: Arc::clone(&source.name),
        key: event.key.clone(),
        headers: event.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        meta: meta_of_test(event, source),
        payload: payload_of_test(event, format),
        format,
        content_type: event.content_type.clone(),
    }
}

/// What the test says, among what else the source would say.
fn meta_of_test(event: &TestEvent, source: &SourceNode) -> Meta {
    let mut meta = source.meta_of_tests.clone();
    for (name, value) in &event.meta {
        let value = MetaValue::Json(value.0.clone());
        match meta.iter_mut().find(|(known, _)| known == name) {
            Some((_, default)) => *default = value,
            None => meta.push((name.clone().into(), value)),
        }
    }
    meta
}

/// `data` that cannot be a payload of the format was refused when the file was read.
fn payload_of_test(event: &TestEvent, format: Format) -> Option<Bytes> {
    event.payload(format).ok().flatten()
}

/// 00000000-0000-4000-8000-000000000001 and so on: version 4 as far as its form goes (RFC 9562, 5.4).
fn numbered_uuid(number: u64) -> Uuid {
    uuid::Builder::from_random_bytes(u128::from(number).to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests;
