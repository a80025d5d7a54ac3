//! Dead letters: what is kept of an event given up on, and where it goes.
//!
//! A letter goes into the store. With `dead_letter` it is first sent on, to a broker or to another sink, and into the
//! store, if there is one, only once it is safe there; its ack settles last. With neither a store nor a `dead_letter`
//! it is held: its ack stays open, and its source comes to a halt.
//!
//! - [`destination`]: the value of `dead_letter`, read
//! - [`brokers`]: Kafka and AMQP as destinations, [`message`] what they get
//! - [`keeper`]: the task that sends letters on or holds them, `outage` what it says meanwhile
//!
//! Another sink as a destination is part of the graph: `pipeline` brings it.

pub mod brokers;
pub mod destination;
pub mod keeper;
pub mod message;
mod outage;

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::Delivery;
use super::stored::stored_request;
use crate::ack::Ack;
use crate::node::NodeName;
use crate::secret::{MASK, mask};
use crate::shutdown::Shutdown;
use crate::sink::parts::ID_HEADER;
use crate::sink::request::holds_a_secret;
use crate::sink::webhook::Webhook;
use crate::source::outgoing::SendError;
use crate::store::Store;
use crate::store::record::{Letter, Reason, RequestRecord, StoredDelivery};

use keeper::{ClaimedCount, Keeper, Open};

/// Where letters are sent on to.
pub trait Destination: Send + Sync {
    /// Sends a letter, and returns once it is safe there.
    ///
    /// # Errors
    /// When that is not known. The letter is sent again later.
    fn send<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Sent>;

    /// Is called instead of a drop by whoever needs it no more: the last one closes its connections in order, which takes
    /// a few seconds at most.
    fn release(self: Arc<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

/// What became of a letter that was sent.
pub type Sent = Result<(), SendError>;

/// The dead letters of one source or sink.
#[derive(Debug, Clone)]
pub struct DeadLetters(Way);

#[derive(Debug, Clone)]
enum Way {
    Store(Store),
    /// The channel is unbounded by type and bounded in fact: by the events in flight and by what a sink has claimed.
    Keeper {
        letters: mpsc::UnboundedSender<Open>,
        claimed: ClaimedCount,
    },
}

/// What changes a running keeper. It keeps no keeper running: that ends once nobody can give it letters.
#[derive(Debug, Clone)]
pub struct KeeperHandle {
    letters: mpsc::WeakUnboundedSender<Open>,
    claimed: ClaimedCount,
    destinations: mpsc::UnboundedSender<Option<Arc<dyn Destination>>>,
}

impl KeeperHandle {
    /// The way to the keeper; `None` when it has ended or is about to.
    pub fn dead_letters(&self) -> Option<DeadLetters> {
        let letters = self.letters.upgrade()?;
        Some(DeadLetters(Way::Keeper { letters, claimed: self.claimed.clone() }))
    }

    /// Sends letters elsewhere from now on, those that are open included; with `None` they go into the store, or are
    /// held when there is none.
    pub fn change(&self, destination: Option<Arc<dyn Destination>>) {
        // One that has ended has no letters left.
        self.destinations.send(destination).ok();
    }
}

impl DeadLetters {
    /// Letters go into the store.
    pub fn in_store(store: Store) -> Self {
        Self(Way::Store(store))
    }

    /// Letters of `node` are sent to the destination, and then go into the store if there is one; with neither they are
    /// held. The keeper must be run for that.
    pub fn kept(
        node: NodeName,
        store: Option<Store>,
        destination: Option<Arc<dyn Destination>>,
        shutdown: Shutdown,
    ) -> (Self, KeeperHandle, Keeper) {
        let (sender, letters) = mpsc::unbounded_channel();
        let (destinations, changes) = mpsc::unbounded_channel();
        let claimed = ClaimedCount::default();
        let handle = KeeperHandle { letters: sender.downgrade(), claimed: claimed.clone(), destinations };
        let keeper = Keeper { node, store, destination, letters, changes, shutdown };
        (Self(Way::Keeper { letters: sender, claimed }), handle, keeper)
    }

    /// Keeps a letter; its ack settles once it is kept. Does not wait.
    pub fn keep(&self, letter: Letter, ack: Option<Ack>) {
        match &self.0 {
            Way::Store(store) => store.bury(letter, ack),
            // A keeper has ended only when the run does: the ack drops here, and the event stays uncommitted.
            Way::Keeper { letters, claimed } => drop(letters.send(Open::new(letter, ack, claimed))),
        }
    }

    /// Letters of deliveries out of the store that are on their way. They are in memory and still claimed: a sink must
    /// not claim more without end while its letters cannot be sent on. Letters of fresh deliveries are not counted, as
    /// the events in flight bound them, nor are those that go straight into the store.
    pub fn claimed(&self) -> usize {
        match &self.0 {
            Way::Store(_) => 0,
            Way::Keeper { claimed, .. } => claimed.get(),
        }
    }
}

/// The letter of a delivery given up on, and the ack that settles once the letter is kept.
pub(super) fn of_delivery(
    delivery: Delivery,
    sink: &str,
    webhook: &Webhook,
    reason: Reason,
    message: &str,
) -> (Letter, Option<Ack>) {
    let letter = Letter {
        node: NodeName::sink(sink),
        reason,
        message: mask(message).into_owned(),
        time: Timestamp::now(),
        request: Some(stored_request(&delivery.request)),
        first_request: None,
        shown: Some(request_record(&delivery, webhook)),
        core: delivery.core,
    };
    (letter, delivery.ack)
}

/// The letter of what came out of the store and cannot be sent.
pub(super) fn of_unusable(stored: StoredDelivery, sink: &str, message: &str) -> Letter {
    Letter {
        core: stored.core,
        node: NodeName::sink(sink),
        reason: Reason::Unrenderable,
        message: mask(message).into_owned(),
        time: Timestamp::now(),
        request: None,
        first_request: None,
        shown: None,
    }
}

fn request_record(delivery: &Delivery, webhook: &Webhook) -> RequestRecord {
    let request = &delivery.request;
    let all = webhook.headers(request);
    let mut headers: Map<String, Value> = all
        .iter()
        .map(|(name, value)| {
            let shown = if holds_a_secret(name) {
                MASK.into()
            } else {
                mask(&String::from_utf8_lossy(value.as_bytes())).into()
            };
            (name.to_string(), shown)
        })
        .collect();
    headers.insert(ID_HEADER.into(), String::from_utf8_lossy(delivery.webhook_id.as_bytes()).into());
    let is_payload = delivery.core.event.payload.as_ref() == Some(&request.body);
    let body = (!is_payload).then(|| mask(&String::from_utf8_lossy(&request.body)).into_owned());
    let method = webhook.method(request).to_string();
    RequestRecord { method, url: mask(request.url.as_str()).into_owned(), headers, body }
}

#[cfg(test)]
mod tests;
