//! The dead letters of every node of a running graph: into the store, on to a broker or another sink, or held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fan_out::FanOut;
use super::graph::{LetterTarget, SinkNode, SourceNode};
use super::router::QueueSender;
use super::routes::{Failure, Prepared, RouteEnd, Routes};
use crate::ack::{Ack, Ticket};
use crate::delivery::Delivery;
use crate::delivery::dead_letter::keeper::Keeper;
use crate::delivery::dead_letter::{DeadLetters, Destination, KeeperHandle, Sent};
use crate::event::{Event, MetaValue};
use crate::node::NodeName;
use crate::shutdown::Shutdown;
use crate::source::outgoing::SendError;
use crate::store::Store;
use crate::store::record::{DeliveryCore, Letter};

/// The keepers of a running graph, by node. They end by themselves once nobody can give them letters any more.
#[derive(Default)]
pub(super) struct RunningKeepers(BTreeMap<NodeName, RunningKeeper>);

struct RunningKeeper {
    handle: KeeperHandle,
    /// The sink that it sends to, as `sinks.x`.
    sends_to: Option<NodeName>,
}

/// Makes the dead letters of nodes, and the keepers behind them; after a reload, running keepers get their new
/// destinations.
///
/// A keeper that sends to another sink holds the queue of that sink. It ends once nobody can give it letters any more,
/// and the other sink after it; as there are no circles, all end.
pub(super) struct LetterMaker<'a> {
    pub(super) store: Option<Store>,
    pub(super) routes: Arc<Routes>,
    /// The queue of each sink, by index.
    pub(super) queues: &'a [QueueSender],
    pub(super) shutdown: &'a Shutdown,
    pub(super) running: &'a mut RunningKeepers,
    /// Nodes that are as they were: their connections to brokers stay.
    pub(super) unchanged: &'a BTreeSet<NodeName>,
    /// By index; made when they are first asked for.
    pub(super) sinks: Vec<Option<DeadLetters>>,
    /// Those that are new; they must be run.
    pub(super) keepers: Vec<Keeper>,
}

impl LetterMaker<'_> {
    /// The dead letters of a sink.
    pub(super) fn of_sink(&mut self, index: usize, nodes: &[SinkNode]) -> DeadLetters {
        if let Some(made) = &self.sinks[index] {
            return made.clone();
        }
        let sink = &nodes[index];
        let made = self.of_node(NodeName::sink(Arc::clone(&sink.route.name)), sink.dead_letter.as_ref(), nodes);
        self.sinks[index] = Some(made.clone());
        made
    }

    /// The dead letters of a source.
    pub(super) fn of_source(&mut self, source: &SourceNode, nodes: &[SinkNode]) -> DeadLetters {
        self.of_node(NodeName::source(Arc::clone(&source.name)), source.dead_letter.as_ref(), nodes)
    }

    fn of_node(&mut self, node: NodeName, target: Option<&LetterTarget>, nodes: &[SinkNode]) -> DeadLetters {
        let destination: Option<Arc<dyn Destination>> = match target {
            None => None,
            Some(LetterTarget::Broker(broker)) => Some(broker.clone()),
            Some(LetterTarget::Sink(index)) => Some(Arc::new(OtherSink {
                index: *index,
                routes: Arc::clone(&self.routes),
                queue: self.queues[*index].clone(),
                dead_letters: self.of_sink(*index, nodes),
            })),
        };
        let sends_to = match target {
            Some(LetterTarget::Sink(index)) => Some(NodeName::sink(Arc::clone(&nodes[*index].route.name))),
            _ => None,
        };
        // What is sent to a sink goes its new way.
        let stays = self.unchanged.contains(&node) && sends_to.is_none();
        let running = self.running.0.get_mut(&node).and_then(|keeper| {
            let letters = keeper.handle.dead_letters()?;
            if !stays {
                keeper.sends_to.clone_from(&sends_to);
                keeper.handle.change(destination.clone());
            }
            Some(letters)
        });
        match (destination, &self.store, running) {
            (None, Some(store), _) => DeadLetters::in_store(store.clone()),
            (_, _, Some(letters)) => letters,
            (destination, store, None) => {
                let (letters, handle, keeper) =
                    DeadLetters::kept(node.clone(), store.clone(), destination, self.shutdown.clone());
                self.running.0.insert(node, RunningKeeper { handle, sends_to });
                self.keepers.push(keeper);
                letters
            }
        }
    }
}

impl RunningKeepers {
    /// Forgets keepers that have ended. Those of nodes that are gone finish by themselves; if they send to a sink that is
    /// gone too, what they have is kept here instead.
    pub(super) fn retain(&mut self, nodes: &BTreeSet<NodeName>) {
        self.0.retain(|_, keeper| {
            if keeper.sends_to.as_ref().is_some_and(|sink| !nodes.contains(sink)) {
                keeper.sends_to = None;
                keeper.handle.change(None);
            }
            keeper.handle.dead_letters().is_some()
        });
    }
}

/// `dead_letter = "another-sink"`: the letter's event goes the way of any other event of that sink.
struct OtherSink {
    index: usize,
    routes: Arc<Routes>,
    queue: QueueSender,
    dead_letters: DeadLetters,
}

impl Destination for OtherSink {
    fn send<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Sent> {
        self.deliver(letter).boxed()
    }
}

impl OtherSink {
    /// Returns once the delivery has ended or is parked.
    async fn deliver(&self, letter: &Letter) -> Sent {
        let (sender, mut settlements) = mpsc::unbounded_channel();
        // Nobody else hears of this ack, so its ticket need not tell it from others.
        let ack = Ack::new(Ticket { session: 0, partition: 0, sequence: 0 }, 0, sender);
        let event = Arc::new(event_of(letter));
        let mut ends = Vec::new();
        self.routes.walk(&event, &FanOut::to_sink(self.index), &mut ends);
        for end in ends {
            match end {
                RouteEnd::Sink(_, Prepared { core, request }) => {
                    let core = DeliveryCore { copy: copy_of(letter), ..core };
                    let delivery = Box::new(Delivery::new(core, request, Some(ack.clone()), Instant::now()));
                    let closed = |_| SendError::new("the sink has ended");
                    self.queue.send(delivery).map_err(closed)?;
                }
                RouteEnd::Failed(failure) => {
                    let failure = Failure { copy: copy_of(letter), ..failure };
                    self.dead_letters.keep(failure.into_letter(Timestamp::now()), Some(ack.clone()));
                }
            }
        }
        ack.settle();
        match settlements.recv().await {
            Some(settlement) if settlement.settled => Ok(()),
            _ => Err(SendError::new("the sink has let go of it")),
        }
    }
}

/// The letter's event, with `meta.dead_letter` for the other sink's templates. What cannot be read as its source says is
/// text or bytes there: that an event is dead must be said whatever is in it.
pub(super) fn event_of(letter: &Letter) -> Event {
    let mut event = Event::clone(&letter.core.event);
    event.format = event.readable_format();
    event.meta.retain(|(name, _)| name != META);
    let about = json!({
        "node": letter.node.to_string(),
        "reason": letter.reason.as_str(),
        "message": letter.message,
        "attempts": letter.core.attempts.total,
        "format": event.format,
    });
    event.meta.push((META.into(), MetaValue::Json(about)));
    event
}

/// True for an event that [`event_of`] made.
pub(super) fn is_of_a_letter(event: &Event) -> bool {
    event.meta.iter().any(|(name, _)| name == META)
}

/// The member of `meta` that says what happened.
const META: &str = "dead_letter";

/// Tells the letter apart from the event itself, which may go to the same sink, and from the letters of other nodes.
/// The same letter has the same number after a restart, so that the store keeps its delivery once. It has 31 bits, as
/// databases have signed numbers.
fn copy_of(letter: &Letter) -> u32 {
    let digest = Sha256::new_with_prefix(letter.node.to_string())
        .chain_update([0])
        .chain_update(letter.core.copy.to_be_bytes())
        .finalize();
    let number = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    (number & 0x3fff_ffff) | 0x4000_0000
}
