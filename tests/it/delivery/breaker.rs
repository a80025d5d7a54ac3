//! The circuit breaker: it stops attempts at a receiver that fails, tries with one, and goes on when that succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use serde_json::Value;
use webhook_bridge::receiver::{ReceivedRequest, Reply};

use super::{Site, millis_between, number, numbered};
use crate::support::{Bridge, wait_until};

const RETRY: &str = "retry = { initial = \"10ms\", factor = 1, jitter = 0 }\n";

/// A receiver that fails until it is told to be well.
async fn failing_site() -> (Site, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let site = Site::choosing(move |_| {
        let is_well = well.load(Ordering::Relaxed);
        Reply::status(if is_well { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR })
    })
    .await;
    (site, is_well)
}

async fn it_opens_probes_and_closes(store: &str, parks: bool) {
    let (mut site, is_well) = failing_site().await;
    let sink =
        format!("{RETRY}concurrency = 1\nbreaker = {{ failures = 3, open_for = \"400ms\", max_open = \"800ms\" }}");
    let bridge = site.bridge(&(site.pipeline(&sink) + store), &numbered(20));
    wait_until("three probes have failed", || site.receiver.requests() >= 6).await;
    if parks {
        wait_until("everything is parked meanwhile", || site.parked().len() == 20).await;
    }
    is_well.store(true, Ordering::Relaxed);
    assert!(bridge.wait().success(), "it ends when everything is delivered");
    let log = std::fs::read_to_string(site.folder.path().join("bridge.log")).unwrap();
    assert!(log.contains("the circuit breaker closes"), "{log}");
    assert!(!log.contains("bucket="), "the only bucket has no name: {log}");
    assert_eq!(
        log.matches("the circuit breaker opens").count(),
        1,
        "it opens once for people, however often it probes"
    );

    let requests = site.received();
    for (pair, wait) in requests[2..6].windows(2).zip([400, 800, 800]) {
        assert!(millis_between(&pair[0], &pair[1]) >= wait - 10, "one probe at a time, in longer and longer intervals");
    }
    let mut delivered: Vec<u64> = requests[6..].iter().map(number).collect();
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered, (1..=20).collect::<Vec<u64>>());
    assert!(!parks || site.parked().is_empty() && site.dead_letters().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_parks_probes_with_one_and_closes() {
    it_opens_probes_and_closes("", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_a_breaker_does_the_same_and_deliveries_wait_in_memory() {
    it_opens_probes_and_closes("[store]\nurl = \"none\"\n", false).await;
}

fn tenant(request: &ReceivedRequest) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["tenant"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_breaker_leaves_the_other_buckets_alone() {
    let mut site = Site::choosing(|request| {
        Reply::status(if tenant(request) == "bad" { StatusCode::BAD_GATEWAY } else { StatusCode::OK })
    })
    .await;
    let event = |n: usize| format!(r#"{{"tenant":"{}","n":{n}}}"#, if n.is_multiple_of(2) { "bad" } else { "good" });
    let sink = format!(
        "{RETRY}rate_limit = {{ requests = 100000, burst = 1000, key = \"{{{{data.tenant}}}}\" }}\nconcurrency = 2\n\
         breaker = {{ failures = 5, open_for = \"1h\", max_open = \"1h\" }}"
    );
    site.append(&(1..=200).map(event).collect::<Vec<_>>());
    let bridge = Bridge::run(site.folder.path(), &site.file_pipeline(&sink));
    let mut requests = Vec::new();
    let mut of = |site: &mut Site, name: &str| {
        requests.extend(site.received());
        requests.iter().filter(|request| tenant(request) == name).count()
    };
    wait_until("the good tenant has all of its own", || of(&mut site, "good") == 100).await;
    wait_until("the bad one's are parked", || site.parked().len() == 100).await;
    assert!(bridge.log().contains("bucket=bad"), "{}", bridge.log());
    assert!(bridge.stop().success());
    let bad = of(&mut site, "bad");
    assert!((5..=7).contains(&bad), "{bad} attempts at the bad tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_is_no_failure_of_the_receiver() {
    let mut site = Site::choosing(|request| {
        Reply::status(if request.number <= 20 { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK })
    })
    .await;
    site.deliver(&format!("{RETRY}breaker = {{ failures = 3, open_for = \"1h\", max_open = \"1h\" }}"), &numbered(5));
    assert_eq!(site.received().len(), 25);
}
