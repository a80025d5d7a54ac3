//! Takes the events of one source through the graph: each delivery into the queue of its sink, and what a node cannot
//! handle to the dead letters of that node.
//!
//! Which way an event goes, [`Routes`] says; this module hands out the shares of its ack on the way. A reload changes
//! the plan between two events.

use std::sync::Arc;

use jiff::Timestamp;
use metrics::Counter;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::fan_out::FanOut;
use super::routes::{Failure, Prepared, RouteEnd, Routes};
use crate::ack::Ack;
use crate::delivery::Delivery;
use crate::delivery::dead_letter::DeadLetters;
use crate::event::Event;
use crate::node::NodeName;
use crate::source::Defect;
use crate::source::drive::Arrival;
use crate::store::record::Reason;

/// Takes the events of one source into the graph.
pub(super) struct Router {
    pub(super) source: Arc<str>,
    pub(super) plan: RoutingPlan,
    /// What takes the place of `plan`: a reload sends them.
    pub(super) plans: mpsc::UnboundedReceiver<RoutingPlan>,
    /// Counts the events that filters and transforms let go nowhere.
    pub(super) filtered: Counter,
}

/// Where the events of one source go. All of one event goes by one plan.
pub(super) struct RoutingPlan {
    pub(super) routes: Arc<Routes>,
    pub(super) start: FanOut,
    /// The queue of each sink, by index. A plan holds those that its source reaches: a sink ends once all that hold its
    /// queue are gone.
    pub(super) queues: Vec<Option<QueueSender>>,
    /// The dead letters of what ends before it reaches a sink.
    pub(super) dead_letters: DeadLetters,
    /// The dead letters of each sink that the source reaches, by index.
    pub(super) sink_dead_letters: Vec<Option<DeadLetters>>,
}

/// The way into a sink's queue. Sending never waits.
pub(super) type QueueSender = mpsc::UnboundedSender<Box<Delivery>>;

/// Events taken from the source in one go.
const TAKEN_AT_ONCE: usize = 64;

impl Router {
    /// Runs until the source has ended. Events are taken in bunches, and plans change between two bunches.
    pub(super) async fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>) {
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE);
        let mut ends = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(plan) = self.plans.recv() => self.plan = plan,
                count = arrivals.recv_many(&mut taken, TAKEN_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    taken.drain(..).for_each(|arrival| self.route(arrival, &mut ends));
                }
            }
        }
    }

    fn route(&self, Arrival { event, ack, defect }: Arrival, ends: &mut Vec<RouteEnd>) {
        let (plan, source) = (&self.plan, &*self.source);
        if let Some(defect) = defect {
            return plan.give_up(defect_of_source(event, source, &defect), ack);
        }
        plan.routes.walk(&event, &plan.start, ends);
        if ends.is_empty() {
            self.filtered.increment(1);
            debug!(source, event = %event.id, "filtered");
        }
        for end in ends.drain(..) {
            match end {
                RouteEnd::Sink(index, prepared) => plan.hand_over(index, prepared, ack.clone()),
                RouteEnd::Failed(failure) => plan.give_up(failure, ack.clone()),
            }
        }
        ack.settle();
    }
}

impl RoutingPlan {
    fn hand_over(&self, index: usize, Prepared { core, request }: Prepared, ack: Ack) {
        if let Some(queue) = &self.queues[index] {
            // A queue is closed only when its sink has ended, at the end of the run: the ack drops with the delivery,
            // and the event stays uncommitted.
            queue.send(Box::new(Delivery::new(core, request, Some(ack), Instant::now()))).ok();
        }
    }

    fn give_up(&self, failure: Failure, ack: Ack) {
        let letter = failure.into_letter(Timestamp::now());
        let (event, node, message) = (&letter.core.event, &letter.node, &letter.message);
        warn!(source = %event.source, event = %event.id, %node, "given up, becomes a dead letter: {message}");
        self.dead_letters_of(node).keep(letter, Some(ack));
    }

    /// A sink's own dead letters for what ends at it, the source's for all else.
    fn dead_letters_of(&self, node: &NodeName) -> &DeadLetters {
        let sink = node.as_sink().and_then(|name| self.routes.index_of_sink(name));
        sink.and_then(|index| self.sink_dead_letters[index].as_ref()).unwrap_or(&self.dead_letters)
    }
}

/// What the source itself has found wrong with an event.
pub(super) fn defect_of_source(event: Arc<Event>, source: &str, defect: &Defect) -> Failure {
    let reason = match defect {
        Defect::TooLarge { .. } => Reason::TooLarge,
        Defect::Lost(_) => Reason::Lost,
    };
    Failure { event, node: NodeName::source(source), copy: 0, reason, message: defect.to_string() }
}
