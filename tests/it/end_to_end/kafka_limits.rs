//! What a bridge does at its bounds: a sink that is dead, a receiver that hangs on a large backlog, and payloads that
//! cannot be delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::Instant;
use webhook_bridge::receiver::{Behaviour, Reply};

use super::topic::Topic;
use super::{Collected, NO_STORE, duplicates};
use crate::delivery::Site;
use crate::support::{Bridge, wait_until};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn without_a_store_a_healthy_sink_beside_a_dead_one_goes_on_to_the_sources_bound() {
    let alive = Arc::new(AtomicBool::new(false));
    let flag = alive.clone();
    let dead = Site::choosing(move |_| {
        Reply::status(if flag.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
    });
    let (mut dead, mut healthy) = (dead.await, Site::start(Behaviour::default()).await);
    let topic = Topic::new(1).await;
    let expected = topic.produce(1500).await;
    let config = format!(
        "{}[sinks.dead]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{}\"\n\
         retry = {{ initial = \"1s\", factor = 1.0, jitter = 0.0 }}\nbreaker = {{ failures = 0 }}\n{NO_STORE}",
        healthy.pipeline_of(&topic.source("max_in_flight = 500"), ""),
        dead.receiver.url()
    );
    let bridge = Bridge::run(healthy.folder.path(), &config);
    wait_until("the healthy sink has all that may be open", || healthy.receiver.requests() == 500).await;
    wait_until("the dead sink is tried again", || dead.receiver.requests() > 1000).await;
    assert_eq!(healthy.receiver.requests(), 500, "no more than max_in_flight are open");
    assert!(topic.committed().is_empty());

    alive.store(true, Ordering::Relaxed);
    for site in [&mut healthy, &mut dead] {
        let mut collected = Collected::new();
        wait_until("everything is delivered", || collected.take(site) == expected.len()).await;
        assert_eq!(duplicates(&collected.delivered, &expected), 0);
    }
    topic.committed_to_the_end().await;
    assert!(bridge.stop().success());
}

/// The most memory that a bridge may have: a debug build was measured at 44 MiB here. Of the backlog of
/// 50 MiB it holds 1 MiB in flight and 4 MiB read ahead.
const MEMORY_BOUND: usize = 60 * 1024;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_receiver_that_hangs_costs_neither_memory_nor_the_place_in_the_group() {
    let site = Site::choosing(|_| Reply::Hang).await;
    let topic = Topic::new(2).await;
    let filling = "x".repeat(1000);
    topic.produce_all((0..50_000).map(|n| Some(format!(r#"{{"n":{n},"filling":"{filling}"}}"#))).collect()).await;
    let source = topic.source(
        "max_in_flight = 1000\nrevoke_timeout = \"5s\"\n\
         options = { \"max.poll.interval.ms\" = \"6000\", \"session.timeout.ms\" = \"6000\" }",
    );
    let config = site.pipeline_of(&source, "concurrency = 16\ntimeout = \"60s\"");
    let bridge = Bridge::run(site.folder.path(), &format!("{config}[runtime]\nshutdown_timeout = \"1s\"\n"));
    wait_until("all slots are taken", || site.receiver.requests() == 16).await;

    // Twice the time after which a member that does not poll is thrown out.
    let paused = Instant::now();
    let mut most = 0;
    while paused.elapsed() < Duration::from_secs(12) {
        most = most.max(bridge.resident_kib());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(most < MEMORY_BOUND, "the bridge has taken {most} KiB");
    assert_eq!((site.receiver.requests(), site.receiver.connections()), (16, 16));
    assert_eq!(topic.membership(), ("Stable".to_owned(), 1));
    let log = bridge.log();
    assert!(!log.contains("without notice") && !log.contains("MAXPOLL"), "{log}");
    assert!(bridge.stop().success());
    assert!(topic.committed().is_empty(), "nothing was delivered");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn payloads_that_cannot_be_delivered_become_dead_letters_and_the_watermark_passes_them() {
    let mut site = Site::start(Behaviour::default()).await;
    let topic = Topic::new(1).await;
    let large = format!(r#"{{"n":"{}"}}"#, "x".repeat(2000));
    let payloads = [r#"{"n":0}"#, "{not json", &large, r#"{"n":3}"#];
    topic.produce_all(payloads.iter().map(|&payload| Some(payload.to_owned())).collect()).await;
    let config = site.pipeline_of(&topic.source("max_event_size = \"1KiB\""), "body = '{\"got\": {{data.n}}}'");
    let bridge = Bridge::run(site.folder.path(), &config);
    topic.committed_to_the_end().await;
    assert!(bridge.stop().success());

    let mut bodies: Vec<_> = site.received().into_iter().map(|request| request.body).collect();
    // Requests of one sink go side by side and may arrive in either order.
    bodies.sort();
    assert_eq!(bodies, [r#"{"got": 0}"#, r#"{"got": 3}"#]);
    let mut letters = site.dead_letters();
    letters.sort_by_key(|letter| letter["event"]["id"].to_string());
    assert_eq!(letters.len(), 2, "{letters:?}");
    for (letter, (offset, reason)) in letters.iter().zip([(1, "undecodable"), (2, "too-large")]) {
        assert_eq!(letter["event"]["id"], format!("{}/0/{offset}", topic.name));
        assert_eq!(letter["reason"], reason, "{letter}");
        assert_eq!(letter["event"]["payload"], payloads[offset], "the payload is kept whole");
    }
}
