//! Bridges on one queue: what arrives, and what the broker still holds.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use webhook_bridge::receiver::Behaviour;

use super::{Collected, NO_STORE, RETRY_SOON, duplicates, signing, site_poisoned_by, verifying_site};
use crate::amqp::broker::{Broker, TestQueue};
use crate::delivery::Site;
use crate::support::{Bridge, PATIENCE, wait_until};

/// A source of this queue, `input`, with further keys.
pub(super) fn source(queue: &TestQueue, keys: &str) -> String {
    let (url, name) = (&queue.broker.url, &queue.name);
    format!("[sources.input]\ntype = \"amqp\"\nuri = \"{url}\"\nqueue = \"{name}\"\n{keys}")
}

/// Waits until the queue itself counts so many messages as ready and unacknowledged.
pub(super) async fn holds(queue: &TestQueue, expected: (u32, u32)) {
    let deadline = Instant::now() + PATIENCE;
    let mut counts = queue.ready_and_unacknowledged().await;
    while counts != expected && Instant::now() < deadline {
        counts = queue.ready_and_unacknowledged().await;
    }
    assert_eq!(counts, expected, "messages ready and unacknowledged");
}

/// Waits until everything is acknowledged.
pub(super) async fn drained(queue: &TestQueue) {
    holds(queue, (0, 0)).await;
}

fn numbers(count: u32) -> BTreeSet<String> {
    (1..=count).map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn every_message_arrives_signed_under_its_id_and_is_acknowledged() {
    let mut site = verifying_site().await;
    let queue = Broker::shared().queue().await.filled(1000).await;
    let bridge = Bridge::run(site.folder.path(), &site.pipeline_of(&source(&queue, ""), &signing()));
    let mut collected = Collected::new();
    wait_until("all messages are delivered", || collected.take(&mut site) == 1000).await;
    drained(&queue).await;
    assert!(bridge.stop().success());
    collected.take(&mut site);
    assert_eq!(duplicates(&collected.delivered, &numbers(1000)), 0);
    for request in &collected.requests {
        assert_eq!(request.verdict, Some(Ok(())));
        assert_eq!(request.headers["webhook-id"].as_bytes(), &request.body, "the payload is the number too");
    }
    queue.left(0).await;
    queue.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn without_a_store_a_message_that_fails_is_the_only_one_that_stays_in_the_queue() {
    let (mut site, cured) = site_poisoned_by("150").await;
    let queue = Broker::shared().queue().await.filled(300).await;
    let config = site.pipeline_of(&source(&queue, ""), RETRY_SOON);
    let config = format!("{config}{NO_STORE}[runtime]\nshutdown_timeout = \"1s\"\n");
    let bridge = Bridge::run(site.folder.path(), &config);
    let mut collected = Collected::new();
    wait_until("all but one are delivered", || collected.take(&mut site) == 299).await;
    holds(&queue, (0, 1)).await;
    assert!(bridge.stop().success(), "a message left for the next start is no failure");
    queue.left(1).await;

    cured.store(true, Ordering::Relaxed);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the last message is delivered", || collected.take(&mut site) == 300).await;
    drained(&queue).await;
    assert!(bridge.stop().success());
    collected.take(&mut site);
    assert_eq!(duplicates(&collected.delivered, &numbers(300)), 0);
    queue.delete().await;
}

/// Two bridges on one queue, of which one is ended in the middle; returns how many messages came twice.
async fn repeated_after(end: impl FnOnce(Bridge)) -> usize {
    let delay = Duration::from_millis(20);
    let mut site = Site::start(Behaviour { delay, ..Behaviour::default() }).await;
    let queue = Broker::shared().queue().await.filled(1500).await;
    let config = site.pipeline_of(&source(&queue, "prefetch = 50"), "concurrency = 8");
    let folder = tempfile::tempdir().unwrap();
    let stays = Bridge::run(site.folder.path(), &config);
    let goes = Bridge::run(folder.path(), &config);
    wait_until("both deliver", || [&stays, &goes].iter().all(|bridge| bridge.log().matches("delivered").count() > 100))
        .await;
    let mut collected = Collected::new();
    assert!(collected.take(&mut site) < 1400, "the end must come in the middle");
    end(goes);
    wait_until("everything is delivered", || collected.take(&mut site) == 1500).await;
    drained(&queue).await;
    assert!(stays.stop().success());
    collected.take(&mut site);
    queue.delete().await;
    duplicates(&collected.delivered, &numbers(1500))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_bridge_that_is_killed_repeats_no_more_than_its_prefetch() {
    // The broker never has more than the prefetch unacknowledged at one consumer.
    let repeated = repeated_after(Bridge::kill).await;
    assert!(repeated <= 50, "{repeated} messages were repeated");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_bridge_that_ends_in_order_repeats_nothing() {
    assert_eq!(repeated_after(|bridge| assert!(bridge.stop().success())).await, 0);
}
