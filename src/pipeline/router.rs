//! The way of an event from its source through the filters into the queues of the sinks it reaches.
//!
//! A router belongs to one source. The payload is parsed at most once, and only when an expression on the event's way
//! asks for the envelope; the envelope is handed from the filters to the templates without a copy. An event that a
//! node cannot handle becomes a dead letter of that node, and goes on to the others.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::graph::{FilterNode, Target};
use crate::ack::Ack;
use crate::delivery::Delivery;
use crate::delivery::dead_letter::DeadLetters;
use crate::delivery::schedule::BucketName;
use crate::event::{Envelope, Event};
use crate::secret::mask;
use crate::sink::request::RequestTemplate;
use crate::source::Defect;
use crate::source::drive::Arrival;
use crate::store::record::{AttemptLog, Letter, Reason};
use crate::template::{Context, Template};

/// The filters and sinks of a graph, shared by the routers of all its sources.
pub(super) struct Routes {
    pub(super) filters: Vec<FilterNode>,
    pub(super) sinks: Vec<Entrance>,
}

/// The way into a sink.
pub(super) struct Entrance {
    pub(super) name: Arc<str>,
    pub(super) request: RequestTemplate,
    pub(super) bucket: Option<Template>,
    pub(super) order_by: Option<Template>,
}

/// Takes the events of one source into the graph.
pub(super) struct Router {
    pub(super) routes: Arc<Routes>,
    pub(super) source: Arc<str>,
    pub(super) outputs: Vec<Target>,
    /// The queue of each sink, by index. A router holds those that its source reaches: a sink ends once all of the
    /// routers that feed it have ended.
    pub(super) queues: Vec<Option<mpsc::Sender<Box<Delivery>>>>,
    pub(super) dead_letters: DeadLetters,
}

/// Events taken from the source in one go.
const TAKEN_AT_ONCE: usize = 64;

impl Router {
    /// Runs until the source has ended.
    pub(super) async fn run(self, mut arrivals: mpsc::Receiver<Arrival>) {
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE);
        while arrivals.recv_many(&mut taken, TAKEN_AT_ONCE).await > 0 {
            for arrival in taken.drain(..) {
                self.route(arrival).await;
            }
        }
    }

    async fn route(&self, Arrival { event, ack, defect }: Arrival) {
        if let Some(defect) = defect {
            let reason = match &defect {
                Defect::TooLarge { .. } => Reason::TooLarge,
                Defect::Lost(_) => Reason::Lost,
            };
            return self.give_up(&event, &format!("sources.{}", self.source), reason, &defect.to_string(), ack);
        }
        let mut view = View::Unread;
        let reached = self.reached_sinks(&event, &mut view, &ack);
        let needs_context = reached.iter().any(|index| self.routes.sinks[*index].needs_envelope());
        let context = if needs_context { view.into_context(&event) } else { Ok(Context::new(Value::Null)) };
        for (position, index) in reached.iter().enumerate() {
            let copy = reached[..position].iter().filter(|earlier| *earlier == index).count();
            self.enter((*index, copy as u32), &event, &context, ack.clone()).await;
        }
        ack.settle();
    }

    /// Walks the graph from the source. The filters decide on the way.
    fn reached_sinks(&self, event: &Arc<Event>, view: &mut View, ack: &Ack) -> Vec<usize> {
        let mut reached = Vec::new();
        let mut next = self.outputs.clone();
        while let Some(target) = next.pop() {
            let index = match target {
                Target::Sink(index) => {
                    reached.push(index);
                    continue;
                }
                Target::Filter(index) => index,
            };
            let filter = &self.routes.filters[index];
            match view.envelope(event) {
                Ok(envelope) if filter.predicate.matches(envelope) => next.extend(&filter.matched),
                Ok(_) => next.extend(&filter.unmatched),
                Err(error) => {
                    let node = format!("filters.{}", filter.name);
                    self.give_up(event, &node, Reason::Undecodable, error, ack.clone());
                }
            }
        }
        if reached.is_empty() {
            debug!(source = %self.source, event = %event.id, "filtered");
        }
        reached
    }

    async fn enter(
        &self,
        (index, copy): (usize, u32),
        event: &Arc<Event>,
        context: &Result<Context, String>,
        ack: Ack,
    ) {
        let sink = &self.routes.sinks[index];
        let empty = Context::new(Value::Null);
        let context = match context {
            Ok(context) => context,
            Err(_) if !sink.needs_envelope() => &empty,
            Err(error) => {
                return self.give_up(event, &format!("sinks.{}", sink.name), Reason::Undecodable, error, ack);
            }
        };
        match sink.delivery(event, context) {
            Ok(mut delivery) => {
                delivery.copy = copy;
                delivery.ack = Some(ack);
                if let Some(queue) = &self.queues[index] {
                    // A queue is closed only when its sink has ended, at the end of the run: the ack drops with the
                    // delivery, and the event stays uncommitted.
                    queue.send(Box::new(delivery)).await.ok();
                }
            }
            Err(message) => {
                self.give_up(event, &format!("sinks.{}", sink.name), Reason::Unrenderable, &message, ack);
            }
        }
    }

    fn give_up(&self, event: &Arc<Event>, node: &str, reason: Reason, message: &str, ack: Ack) {
        let message = mask(message);
        warn!(source = %self.source, event = %event.id, node, "given up and kept as a dead letter: {message}");
        let letter = Letter {
            row: None,
            node: node.to_owned(),
            reason,
            message: message.into_owned(),
            time: Timestamp::now(),
            event: Arc::clone(event),
            copy: 0,
            request: None,
            shown: None,
            bucket: BucketName::default(),
            lane: None,
            attempts: AttemptLog::default(),
        };
        self.dead_letters.keep(letter, Some(ack));
    }
}

impl Entrance {
    fn needs_envelope(&self) -> bool {
        let keys = self.bucket.iter().chain(&self.order_by);
        self.request.needs_envelope() || keys.into_iter().any(|key| key.literal().is_none())
    }

    /// The delivery of an event, or why there can be none.
    fn delivery(&self, event: &Arc<Event>, context: &Context) -> Result<Delivery, String> {
        let request = self.request.render(event, context).map_err(|error| error.to_string())?;
        let bucket = match &self.bucket {
            None => BucketName::default(),
            Some(template) => template
                .render(context)
                .map_err(|failure| format!("cannot render the rate limit's key: {failure}"))?
                .into(),
        };
        let mut delivery = Delivery::new(Arc::clone(event), request, bucket, None);
        if let Some(template) = &self.order_by {
            let lane = template.render(context).map_err(|failure| format!("cannot render `order_by`: {failure}"))?;
            delivery.lane = Some(lane.into());
        }
        Ok(delivery)
    }
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
