//! `order_by`: deliveries of one key leave one at a time and in order, and no other key waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use serde_json::Value;
use webhook_bridge::receiver::{ReceivedRequest, Reply};

use super::Site;
use crate::support::{Bridge, rows, store_file, wait_until};

/// Events of these keys and numbers, written as `a1`.
fn events(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!(r#"{{"k":"{}","n":{}}}"#, &name[..1], &name[1..])).collect()
}

fn name(request: &ReceivedRequest) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    format!("{}{}", body["k"].as_str().unwrap(), body["n"])
}

/// The requests of one key, in the order in which they came.
fn of_key(requests: &[ReceivedRequest], key: &str) -> Vec<String> {
    requests.iter().map(name).filter(|name| name.starts_with(key)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_head_holds_up_its_key_and_no_other() {
    let mut site = Site::choosing(|request| match (name(request).as_str(), request.number) {
        ("a1", ..=6) => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let sink = "order_by = \"{{data.k}}\"\nretry = { schedule = [\"500ms\", \"10ms\"], jitter = 0 }";
    site.deliver(sink, &events(&["a1", "a2", "b1", "a3", "b2", "b3", "a4", "b4"]));
    let requests = site.received();
    assert_eq!(of_key(&requests, "b"), ["b1", "b2", "b3", "b4"]);
    let a = of_key(&requests, "a");
    assert_eq!(a[0..2], ["a1", "a1"]);
    assert_eq!(a[a.len() - 3..], ["a2", "a3", "a4"]);
    let names: Vec<String> = requests.iter().map(name).collect();
    let position = |name: &str| names.iter().rposition(|other| other == name).unwrap();
    assert!(position("b4") < position("a1"), "the other key does not wait: {names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_one_key_are_never_under_way_together() {
    let delay = std::time::Duration::from_millis(50);
    let behaviour = webhook_bridge::receiver::Behaviour { delay, ..Default::default() };
    let mut site = Site::start(behaviour).await;
    site.deliver("order_by = \"{{data.k}}\"", &events(&["a1", "a2", "a3", "b1", "b2", "b3"]));
    let requests = site.received();
    for key in ["a", "b"] {
        let of_key: Vec<_> = requests.iter().filter(|request| name(request).starts_with(key)).collect();
        assert_eq!(of_key.len(), 3);
        for pair in of_key.windows(2) {
            assert!(super::millis_between(pair[0], pair[1]) >= 50, "one waits for the answer to the other");
            assert!(name(pair[0]) < name(pair[1]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_holds_across_the_store_and_a_crash() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let mut site = Site::choosing(move |request| match name(request).as_str() {
        name if name.starts_with('a') && !well.load(Ordering::Relaxed) => Reply::status(StatusCode::BAD_GATEWAY),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let sink =
        "order_by = \"{{data.k}}\"\nretry = { initial = \"1s\", factor = 1, jitter = 0, park_after = \"100ms\" }";
    let config = site.file_pipeline(sink);
    site.append(&events(&["a1", "a2", "b1", "a3", "b2"]));
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the failing head and its followers are parked", || site.parked().len() == 3).await;
    let followers = site.parked().iter().filter(|parked| parked.due.is_none()).count();
    assert_eq!(followers, 2, "followers wait for their head and not for a time");
    site.append(&events(&["a4"]));
    wait_until("what comes later follows them to the store", || site.parked().len() == 4).await;
    bridge.kill();
    let requests = site.received();
    assert_eq!(of_key(&requests, "b"), ["b1", "b2"]);
    assert!(of_key(&requests, "a").iter().all(|name| name == "a1"), "nobody overtakes the head");

    site.append(&events(&["a5", "b3"]));
    is_well.store(true, Ordering::Relaxed);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("all have arrived", || site.parked().is_empty() && site.log_count(&bridge, "delivered") >= 8).await;
    assert!(bridge.stop().success());
    let mut again = of_key(&site.received(), "a");
    // The crash may have cut off what had been answered and not yet been noted.
    again.dedup();
    assert_eq!(again, ["a1", "a2", "a3", "a4", "a5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_becomes_a_dead_letter_lets_the_next_go() {
    let mut site = Site::choosing(|request| match name(request).as_str() {
        "a1" => Reply::status(StatusCode::BAD_REQUEST),
        "b1" if request.number <= 8 => Reply::status(StatusCode::BAD_GATEWAY),
        "b2" => Reply::status(StatusCode::BAD_REQUEST),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    // The key `a` dies in memory, `b` out of the store.
    let sink = "order_by = \"{{data.k}}\"\nretry = { schedule = [\"400ms\"], jitter = 0, park_after = \"300ms\" }";
    let config = site.file_pipeline(sink);
    site.append(&events(&["a1", "a2", "a3", "b1", "b2", "b3"]));
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the last of each key is delivered", || site.log_count(&bridge, "delivered") >= 3).await;
    wait_until("the dead are kept", || site.dead_letters().len() >= 2 && site.parked().is_empty()).await;
    assert!(bridge.stop().success());
    let requests = site.received();
    assert_eq!(of_key(&requests, "a"), ["a1", "a2", "a3"]);
    let mut b = of_key(&requests, "b");
    b.dedup();
    assert_eq!(b, ["b1", "b2", "b3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_was_disabled_for_a_while_keeps_the_order_of_what_was_under_way() {
    let is_gone = Arc::new(AtomicBool::new(true));
    let gone = Arc::clone(&is_gone);
    let mut site = Site::choosing(move |request| match (name(request).as_str(), request.number) {
        ("a1", 1) => Reply::Hang,
        ("b1", _) if gone.load(Ordering::Relaxed) => Reply::status(StatusCode::GONE),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let sink = "order_by = \"{{data.k}}\"\ntimeout = \"8s\"\nretry = { schedule = [\"10ms\"], jitter = 0 }";
    let config = site.file_pipeline(sink);
    site.append(&events(&["a1"]));
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the head is under way", || site.receiver.requests() == 1).await;
    site.append(&events(&["b1"]));
    wait_until("the sink is disabled", || site.dead_letters().len() == 1).await;
    site.append(&events(&["a2"]));
    wait_until("what comes meanwhile is a dead letter", || site.dead_letters().len() == 2).await;
    rows(&store_file(site.folder.path(), "it"), "DELETE FROM disabled_sinks");
    wait_until("the sink is enabled again", || bridge.log().contains("the sink is enabled again")).await;
    site.append(&events(&["a3"]));
    wait_until("the last is delivered", || site.receiver.requests() == 4).await;
    assert!(bridge.stop().success());
    assert_eq!(of_key(&site.received(), "a"), ["a1", "a1", "a3"], "nobody overtakes the head");
}
