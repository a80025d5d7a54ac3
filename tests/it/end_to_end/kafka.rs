//! One bridge on one topic: what arrives, and which offsets the group has committed.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use nix::sys::signal::Signal;
use webhook_bridge::receiver::Behaviour;

use super::topic::Topic;
use super::{Collected, NO_STORE, RETRY_SOON, duplicates, signing, site_poisoned_by, verifying_site};
use crate::delivery::{Site, header};
use crate::support::{Bridge, wait_until};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn every_record_arrives_signed_under_its_offset_and_everything_is_committed() {
    let mut site = verifying_site().await;
    let topic = Topic::new(3).await;
    let mut payloads: Vec<Option<String>> = (0..3000).map(|n| Some(format!(r#"{{"n":{n}}}"#))).collect();
    payloads[1500] = None;
    let expected = topic.produce_all(payloads.clone()).await;
    assert_eq!(expected.len(), 3000);

    let sink = format!("headers = {{ X-Key = \"{{{{key}}}}\", X-Trace = \"{{{{headers.trace}}}}\" }}\n{}", signing());
    let bridge = Bridge::run(site.folder.path(), &site.pipeline_of(&topic.source(""), &sink));
    let mut collected = Collected::new();
    wait_until("all events are delivered", || collected.take(&mut site) == expected.len()).await;
    topic.committed_to_the_end().await;
    assert!(bridge.stop().success());
    collected.take(&mut site);
    assert_eq!(duplicates(&collected.delivered, &expected), 0);

    let mut seen = BTreeSet::new();
    for request in &collected.requests {
        assert_eq!(request.verdict, Some(Ok(())), "{request:?}");
        let n: usize = header(request, "x-key").strip_prefix("key-").unwrap().parse().unwrap();
        assert!(seen.insert(n), "{request:?}");
        assert_eq!(header(request, "x-trace"), format!("trace-{n}"));
        assert_eq!(request.body, payloads[n].clone().unwrap_or_default(), "a tombstone has an empty body");
        assert!(header(request, "webhook-id").starts_with(&format!("{}/{}/", topic.name, n % 3)));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn without_a_store_an_event_that_fails_holds_the_committed_offset_and_nothing_else() {
    let (mut site, cured) = site_poisoned_by(r#"{"n":100}"#).await;
    let topic = Topic::new(1).await;
    let expected = topic.produce(300).await;
    let poison = format!("{}/0/100", topic.name);
    let config = site.pipeline_of(&topic.source("commit_interval = \"50ms\""), RETRY_SOON);
    let config = format!("{config}\n{NO_STORE}[runtime]\nshutdown_timeout = \"1s\"\n");
    let bridge = Bridge::run(site.folder.path(), &config);
    let mut collected = Collected::new();
    wait_until("all but one are delivered", || collected.take(&mut site) == 299).await;
    assert!(!collected.delivered.contains_key(&poison));
    wait_until("the watermark is at the failing event", || topic.committed().get(&0) == Some(&100)).await;
    let attempts = site.receiver.requests();
    wait_until("it is tried again", || site.receiver.requests() > attempts + 2).await;
    assert!(bridge.stop().success(), "an event left for the next start is no failure");
    assert_eq!(topic.committed()[&0], 100);

    cured.store(true, Ordering::Relaxed);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the last event is delivered", || collected.take(&mut site) == 300).await;
    topic.committed_to_the_end().await;
    assert!(bridge.stop().success());
    collected.take(&mut site);
    // Those behind the watermark were delivered before the restart; those below it must not come again.
    assert!(duplicates(&collected.delivered, &expected) <= 199);
    assert!((0..100).all(|offset| collected.delivered[&format!("{}/0/{offset}", topic.name)] == 1));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_shutdown_under_load_finishes_what_is_in_flight_and_repeats_nothing() {
    let delay = std::time::Duration::from_millis(20);
    let mut site = Site::start(Behaviour { delay, ..Behaviour::default() }).await;
    let topic = Topic::new(2).await;
    let expected = topic.produce(4000).await;
    let config = site.pipeline_of(&topic.source("max_in_flight = 500"), "");
    let mut collected = Collected::new();
    let mut stops = 0;
    while collected.take(&mut site) < expected.len() {
        let bridge = Bridge::run(site.folder.path(), &config);
        let enough = (site.receiver.requests() + 1000).min(expected.len() as u64);
        wait_until("events flow", || site.receiver.requests() >= enough).await;
        bridge.signal(Signal::SIGTERM);
        assert!(bridge.wait().success());
        stops += 1;
    }
    assert!(stops >= 3, "the run was cut {stops} times: too few to prove anything");
    assert_eq!(duplicates(&collected.delivered, &expected), 0);
    assert_eq!(topic.committed(), topic.ends());
}
