use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::error::TryRecvError;

use super::*;
use crate::ack::{SettlementReceiver, Ticket};
use crate::event::{Event, Format};
use crate::node::NodeName;
use crate::store::record::DeliveryCore;

pub(super) fn letter() -> Letter {
    let event = Event {
        id: "orders/0/7".into(),
        time: Timestamp::UNIX_EPOCH,
        source: "orders".into(),
        key: Some("o-1".into()),
        headers: vec![("trace".into(), json!("t"))],
        meta: Vec::new(),
        payload: Some(Bytes::from_static(b"{}")),
        format: Format::Json,
        content_type: None,
    };
    Letter {
        core: DeliveryCore::new(Arc::new(event), 0),
        node: NodeName::sink("crm"),
        reason: Reason::Rejected,
        message: "the receiver answered 400".into(),
        time: Timestamp::UNIX_EPOCH,
        request: None,
        first_request: None,
        shown: None,
    }
}

/// Takes a letter when it is told to, and counts how often its last user has released it.
struct Releasing {
    take: Semaphore,
    released: Arc<AtomicUsize>,
}

impl Releasing {
    fn new() -> Arc<Self> {
        Arc::new(Self { take: Semaphore::new(0), released: Arc::default() })
    }
}

impl Destination for Releasing {
    fn send<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Sent> {
        async {
            self.take.acquire().await.unwrap().forget();
            Ok(())
        }
        .boxed()
    }

    fn release(self: Arc<Self>) -> BoxFuture<'static, ()> {
        if let Some(last) = Arc::into_inner(self) {
            last.released.fetch_add(1, Ordering::Relaxed);
        }
        ready(()).boxed()
    }
}

/// An ack and what its source hears.
fn ack() -> (Option<Ack>, SettlementReceiver) {
    let (sender, settlements) = mpsc::unbounded_channel();
    (Some(Ack::new(Ticket { session: 0, partition: 0, sequence: 0 }, 0, sender)), settlements)
}

fn shutdown() -> Shutdown {
    Shutdown::new(Duration::from_secs(5))
}

/// Refuses as many letters as it says, and takes the others.
struct Refusing(Mutex<usize>);

impl Destination for Refusing {
    fn send<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Sent> {
        let mut left = self.0.lock().unwrap();
        let sent = if *left > 0 { Err(SendError::new("away")) } else { Ok(()) };
        *left = left.saturating_sub(1);
        async move { sent }.boxed()
    }
}

fn refusing(times: usize) -> Option<Arc<dyn Destination>> {
    Some(Arc::new(Refusing(Mutex::new(times))))
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_sent_again_until_it_is_taken_and_only_then_settles() {
    let (letters, _, keeper) = DeadLetters::kept(NodeName::sink("crm"), None, refusing(3), shutdown());
    let (ack, mut settlements) = ack();
    letters.keep(letter(), ack);
    drop(letters);
    let started = tokio::time::Instant::now();
    keeper.run().await;
    assert!(settlements.recv().await.unwrap().settled);
    assert!(started.elapsed() > Duration::from_secs(2), "0.5 s, 1 s and 2 s, a fifth of them random");
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_sent_is_let_go_unsettled_at_the_shutdown() {
    let shutdown = shutdown();
    let (letters, _, keeper) = DeadLetters::kept(NodeName::sink("crm"), None, refusing(usize::MAX), shutdown.clone());
    let (ack, mut settlements) = ack();
    letters.keep(letter(), ack);
    let keeper = tokio::spawn(keeper.run());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(settlements.try_recv(), Err(TryRecvError::Empty), "its ack stays open");
    shutdown.begin();
    assert!(!settlements.recv().await.unwrap().settled);
    drop(letters);
    keeper.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_store_and_destination_letters_are_held_until_the_shutdown() {
    let shutdown = shutdown();
    let (letters, _, keeper) = DeadLetters::kept(NodeName::sink("crm"), None, None, shutdown.clone());
    let (held, mut settlements) = ack();
    letters.keep(letter(), held);
    let keeper = tokio::spawn(keeper.run());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(settlements.try_recv(), Err(TryRecvError::Empty), "its ack stays open");
    shutdown.begin();
    assert!(!settlements.recv().await.unwrap().settled);
    let (late, mut settlements) = ack();
    letters.keep(letter(), late);
    assert!(!settlements.recv().await.unwrap().settled);
    drop(letters);
    keeper.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn letters_that_are_held_or_fail_go_to_the_destination_that_a_reload_brings() {
    for before in [None, refusing(usize::MAX)] {
        let (letters, handle, keeper) = DeadLetters::kept(NodeName::sink("crm"), None, before, shutdown());
        let (ack, mut settlements) = ack();
        letters.keep(letter(), ack);
        let keeper = tokio::spawn(keeper.run());
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(settlements.try_recv(), Err(TryRecvError::Empty), "its ack stays open");
        handle.change(refusing(0));
        assert!(settlements.recv().await.unwrap().settled);
        assert!(handle.dead_letters().is_some());
        drop(letters);
        keeper.await.unwrap();
        assert!(handle.dead_letters().is_none(), "a handle keeps no keeper running");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_released_by_the_last_who_needs_it() {
    let (one, other) = (Releasing::new(), Releasing::new());
    let (of_one, of_other) = (Arc::clone(&one.released), Arc::clone(&other.released));
    let count = |released: &Arc<AtomicUsize>| released.load(Ordering::Relaxed);
    let (letters, handle, keeper) = DeadLetters::kept(NodeName::sink("crm"), None, Some(one.clone()), shutdown());
    let keeper = tokio::spawn(keeper.run());
    let (first, mut settlements) = ack();
    letters.keep(letter(), first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    handle.change(Some(other.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    one.take.add_permits(1);
    Destination::release(one).await;
    assert_eq!(count(&of_one), 0, "a letter is on its way there");
    assert!(settlements.recv().await.unwrap().settled);
    assert_eq!(count(&of_one), 1);

    let (second, mut settlements) = ack();
    letters.keep(letter(), second);
    other.take.add_permits(1);
    Destination::release(other).await;
    assert!(settlements.recv().await.unwrap().settled);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(count(&of_other), 0, "more letters may come");
    drop(letters);
    keeper.await.unwrap();
    assert_eq!((count(&of_one), count(&of_other)), (1, 1));
}
