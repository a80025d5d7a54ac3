//! How one event is taken through the graph: filters turn it away or let it on, transforms make other events of it, and
//! a request is rendered for each sink that is reached. No I/O.
//!
//! The payload of an event is parsed at most once, and only when an expression on its way asks for the envelope; the
//! envelope is handed from filters and transforms to templates without a copy. The events that a transform makes are taken
//! on after the event that they come from, in their order, so that a sink gets them in that order.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::fan_out::FanOut;
use super::graph::{Stage, Target};
use super::routes::{Failure, Prepared, RouteEnd, Routes};
use crate::event::{Envelope, Event};
use crate::node::NodeName;
use crate::sink::expression::Input;
use crate::store::record::Reason;
use crate::template::Context;
use crate::transform::{MOST_EVENTS, Transform, Transformed, derived};

/// The walk of one event.
pub(super) struct Walk<'a> {
    routes: &'a Routes,
    ends: &'a mut Vec<RouteEnd>,
    /// What transforms have made and the index of each one's transform, in their order.
    derived: VecDeque<(Arc<Event>, usize)>,
    /// How many events transforms have made.
    made: usize,
    /// How often filters and transforms have given an event up.
    given_up: usize,
    /// Kept only when somebody asks.
    decisions: Option<Vec<Decision>>,
}

/// What a filter or transform did with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The filter or transform.
    pub node: NodeName,
    /// What it did.
    pub result: StageResult,
}

/// What a filter or transform does with an event that it can handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageResult {
    /// The filter lets it through.
    Matches,
    /// The filter turns it away, or the text does not match the transform's `parse`.
    DoesNotMatch,
    /// The transform makes so many events of it.
    Events(usize),
}

impl fmt::Display for StageResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matches => f.write_str("matches"),
            Self::DoesNotMatch => f.write_str("does not match"),
            Self::Events(0) => f.write_str("gives nothing"),
            Self::Events(1) => f.write_str("gives one event"),
            Self::Events(count) => write!(f, "gives {count} events"),
        }
    }
}

impl<'a> Walk<'a> {
    /// A walk that adds its ends to `ends`.
    pub(super) fn new(routes: &'a Routes, ends: &'a mut Vec<RouteEnd>) -> Self {
        Self { routes, ends, derived: VecDeque::new(), made: 0, given_up: 0, decisions: None }
    }

    /// Has the decisions kept.
    pub(super) fn with_decisions(self) -> Self {
        Self { decisions: Some(Vec::new()), ..self }
    }

    /// Takes an event from `start` to wherever its ways end. The decisions on the way, if they are kept, are in the order of
    /// the file for each event.
    pub(super) fn run(mut self, event: &Arc<Event>, start: &FanOut) -> Vec<Decision> {
        let (routes, first_end) = (self.routes, self.ends.len());
        self.visit(event, start);
        while let Some((event, transform)) = self.derived.pop_front() {
            self.visit(&event, &routes.outputs[transform].0);
        }
        if self.made > 0 || self.given_up > 1 {
            number_copies(routes, &mut self.ends[first_end..]);
        }
        self.decisions.unwrap_or_default()
    }

    /// Takes one event to the sinks that it reaches; what transforms make of it is kept for later.
    fn visit(&mut self, event: &Arc<Event>, start: &FanOut) {
        let mut view = View::Unread;
        let reached = self.reached_sinks(event, start, &mut view);
        let needs_context = reached.iter().any(|index| self.routes.sinks[*index].needs_envelope());
        let context = match needs_context {
            true => view.into_context(event).map(Arc::new),
            false => Ok(Arc::clone(&self.routes.no_envelope)),
        };
        let input = context.as_ref().map(|context| Input::new(event, context));
        for (position, index) in reached.iter().enumerate() {
            let copy = reached[..position].iter().filter(|earlier| *earlier == index).count();
            self.ends.push(self.routes.enter(*index, copy as u32, event, &input));
        }
    }

    fn reached_sinks(&mut self, event: &Arc<Event>, start: &FanOut, view: &mut View) -> Vec<usize> {
        let mut reached = Vec::new();
        let mut decided = Vec::new();
        let mut next = Vec::new();
        self.extend_with_takers(&mut next, start, event, view);
        while let Some(target) = next.pop() {
            let index = match target {
                Target::Sink(index) => {
                    reached.push(index);
                    continue;
                }
                Target::Stage(index) => index,
            };
            let result = match view.envelope(event) {
                Ok(envelope) => self.pass(index, event, envelope, &mut next),
                Err(error) => {
                    self.give_up(index, event, Reason::Undecodable, error.to_owned());
                    continue;
                }
            };
            if let (Some(result), Some(_)) = (result, &self.decisions) {
                decided.push((index, result));
            }
        }
        self.keep_decisions(decided);
        reached
    }

    /// Adds where an event goes. One that cannot be read goes to all: each filter among them says so of itself.
    fn extend_with_takers(&self, next: &mut Vec<Target>, fan_out: &FanOut, event: &Event, view: &mut View) {
        if !fan_out.needs_envelope() {
            return next.extend(fan_out.all());
        }
        match view.envelope(event) {
            Ok(envelope) => self.extend(next, fan_out, envelope),
            Err(_) => next.extend(fan_out.all()),
        }
    }

    /// Adds where an event goes. For those who ask, every filter decides, also one that is known to turn the event away.
    fn extend(&self, next: &mut Vec<Target>, fan_out: &FanOut, envelope: &Envelope) {
        match self.decisions {
            None => next.extend(fan_out.takers(envelope)),
            Some(_) => next.extend(fan_out.all()),
        }
    }

    /// Takes an event through a filter or transform: adds where it goes to `next`, and keeps what is made of it. `None` when
    /// it is given up.
    fn pass(
        &mut self,
        index: usize,
        event: &Arc<Event>,
        envelope: &Arc<Envelope>,
        next: &mut Vec<Target>,
    ) -> Option<StageResult> {
        let routes = self.routes;
        let (matched, unmatched) = &routes.outputs[index];
        match &routes.stages[index].stage {
            Stage::Filter(predicate) => {
                let matches = predicate.matches(envelope);
                self.extend(next, if matches { matched } else { unmatched }, envelope);
                Some(if matches { StageResult::Matches } else { StageResult::DoesNotMatch })
            }
            Stage::Transform(transform) => {
                let result = self.transform(transform, index, event, envelope)?;
                if result == StageResult::DoesNotMatch {
                    self.extend(next, unmatched, envelope);
                }
                Some(result)
            }
        }
    }

    fn transform(
        &mut self,
        transform: &Transform,
        index: usize,
        event: &Arc<Event>,
        envelope: &Arc<Envelope>,
    ) -> Option<StageResult> {
        let routes = self.routes;
        let node = &routes.stages[index];
        let payloads = match transform.apply(envelope) {
            Ok(Transformed::Events(payloads)) => payloads,
            Ok(Transformed::Unmatched) if node.unmatched.is_empty() => {
                let message =
                    format!("the text does not match `parse`, and nothing takes `{}.unmatched`", node.name.name());
                return self.give_up(index, event, Reason::Undecodable, message);
            }
            Ok(Transformed::Unmatched) => return Some(StageResult::DoesNotMatch),
            Err(failure) => return self.give_up(index, event, Reason::Unrenderable, failure.to_string()),
        };
        if self.made + payloads.len() > MOST_EVENTS {
            let message = format!("the transforms on the event's way make more than {MOST_EVENTS} events of it");
            return self.give_up(index, event, Reason::Unrenderable, message);
        }
        let count = payloads.len();
        self.made += count;
        let made = derived(event, node.name.name(), payloads);
        self.derived.extend(made.map(|event| (Arc::new(event), index)));
        Some(StageResult::Events(count))
    }

    /// Ends the event's way at a filter or transform.
    fn give_up(&mut self, index: usize, event: &Arc<Event>, reason: Reason, message: String) -> Option<StageResult> {
        let (event, node) = (Arc::clone(event), self.routes.stages[index].name.clone());
        self.ends.push(RouteEnd::Failed(Failure { event, node, copy: 0, reason, message }));
        self.given_up += 1;
        None
    }

    fn keep_decisions(&mut self, mut decided: Vec<(usize, StageResult)>) {
        let Some(decisions) = &mut self.decisions else { return };
        decided.sort_by_key(|(index, _)| *index);
        let node = |index: usize| self.routes.stages[index].name.clone();
        decisions.extend(decided.into_iter().map(|(index, result)| Decision { node: node(index), result }));
    }
}

/// Tells apart the ends of events with one id at one node: there may be two ways to a transform, and two transforms may
/// each have made an event of the same one.
fn number_copies(routes: &Routes, ends: &mut [RouteEnd]) {
    let mut counts = HashMap::new();
    for end in ends {
        let (node, event, copy) = match end {
            RouteEnd::Sink(index, Prepared { core, .. }) => {
                (NodeName::sink(Arc::clone(&routes.sinks[*index].name)), &core.event, &mut core.copy)
            }
            RouteEnd::Failed(failure) => (failure.node.clone(), &failure.event, &mut failure.copy),
        };
        let count = counts.entry((node, event.id.clone())).or_insert(0);
        *copy = *count;
        *count += 1;
    }
}

/// The envelope of the event on its way, made when it is first asked for.
enum View {
    Unread,
    Read(Arc<Envelope>),
    Undecodable(String),
}

impl View {
    fn envelope(&mut self, event: &Event) -> Result<&Arc<Envelope>, &str> {
        if let Self::Unread = self {
            *self = match event.envelope() {
                Ok(envelope) => Self::Read(Arc::new(Envelope::new(envelope))),
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
            Self::Read(envelope) => Ok(Context::new(Arc::unwrap_or_clone(envelope).into_value())),
            Self::Undecodable(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
