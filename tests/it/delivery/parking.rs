//! Long waits are spent in the store: their source moves on, and the deliveries come back as they were.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, StatusCode};
use webhook_bridge::receiver::{Behaviour, Reply};

use super::durability::committed;
use super::{Site, header, millis_between, number, numbered, numbers};
use crate::support::{Bridge, rows, store_file, wait_until};

/// True when the file source has confirmed its whole file.
fn is_at_end(site: &Site) -> bool {
    committed(site) == Some(site.folder.path().join("events.jsonl").metadata().unwrap().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_delivery_lets_its_source_go_on_and_comes_back_after_a_crash_as_it_was() {
    let mut site = Site::start(Behaviour { fail_first: 2, ..Behaviour::default() }).await;
    site.append(&["{\"n\":1}"]);
    let config = site.file_pipeline(
        "body = '{\"is\":{{data.n}}}'\nretry = { schedule = [\"2s\", \"2s\"], jitter = 0, park_after = \"100ms\" }",
    );
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the delivery is parked and its source has moved on", || site.parked().len() == 1 && is_at_end(&site))
        .await;
    assert_eq!(site.parked()[0].attempts, 1);
    bridge.kill();

    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the second attempt fails too", || site.parked().first().is_some_and(|parked| parked.attempts == 2))
        .await;
    wait_until("the third succeeds, and the store is empty", || site.parked().is_empty()).await;
    assert!(bridge.stop().success());
    let requests = site.received();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(request.body, "{\"is\":1}");
        assert_eq!(header(request, "webhook-id"), header(&requests[0], "webhook-id"));
    }
    for pair in requests.windows(2) {
        assert!(millis_between(&pair[0], &pair[1]) >= 1990, "the wait is not undercut by a restart");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempts_before_a_restart_count_for_the_schedule() {
    let site = Site::start(Behaviour { status: StatusCode::BAD_GATEWAY, ..Behaviour::default() }).await;
    site.append(&numbered(1));
    let config = site.file_pipeline("retry = { schedule = [\"1s\", \"10ms\"], jitter = 0, park_after = \"0s\" }");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the delivery is parked", || site.parked().len() == 1).await;
    bridge.kill();
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("it is given up", || site.dead_letters().len() == 1).await;
    assert!(bridge.stop().success());
    let letter = &site.dead_letters()[0];
    assert_eq!((&letter["attempts"], &letter["reason"]), (&3.into(), &"retries-exhausted".into()));
    assert!(site.parked().is_empty(), "one delivery is one row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_the_end_waits_for_what_is_soon_due_and_for_no_more() {
    let mut site = Site::choosing(|request| match (number(request), request.number) {
        (1, ..=4) | (2, _) => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    // The waits of the first event are short, and in all longer than `park_after`.
    let waits = "retry = { schedule = [\"400ms\", \"400ms\", \"400ms\", \"400ms\", \"1h\"], jitter = 0, park_after = \"700ms\" }";
    site.deliver(waits, &numbered(3));
    let requests = numbers(&site.received());
    assert_eq!(requests.iter().filter(|n| **n == 2).count(), 5);
    assert!(requests.iter().filter(|n| **n == 1).count() >= 2, "{requests:?}");
    let parked = site.parked();
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert_eq!((parked[0].payload.as_str(), parked[0].attempts), ("{\"n\":2}", 5));
    assert!(site.dead_letters().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_longer_than_park_after_is_spent_in_the_store_and_not_undercut() {
    let behaviour =
        Behaviour { fail_first: 1, retry_after: Some(HeaderValue::from_static("3")), ..Behaviour::default() };
    let mut site = Site::start(behaviour).await;
    site.append(&numbered(5));
    let config =
        site.file_pipeline("concurrency = 1\nretry = { schedule = [\"10ms\"], jitter = 0, park_after = \"500ms\" }");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("all are parked and the source has moved on", || site.parked().len() == 5 && is_at_end(&site)).await;
    site.append(&["{\"n\":6}"]);
    wait_until("what comes meanwhile is parked too", || site.parked().len() == 6 && is_at_end(&site)).await;
    wait_until("all are delivered", || site.parked().is_empty()).await;
    assert!(bridge.stop().success());
    let requests = site.received();
    assert_eq!(requests.len(), 7);
    assert!(millis_between(&requests[0], &requests[1]) >= 2990, "nothing is sent during the pause");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_does_not_hold_up_the_other_sinks_of_its_source() {
    const EVENTS: usize = 600;
    let slow = Site::start(Behaviour { delay: Duration::from_millis(20), ..Behaviour::default() }).await;
    let mut fast = Site::start(Behaviour::default()).await;
    fast.append(&numbered(EVENTS));
    let config = fast.file_pipeline("").replace("commit_interval", "max_in_flight = 20\ncommit_interval")
        + &format!(
            "[sinks.slow]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{}/\"\nconcurrency = 1\n",
            slow.receiver.url()
        )
        + "retry = { park_after = \"100ms\" }\n";
    let bridge = Bridge::run(fast.folder.path(), &config);
    wait_until("the fast sink has all", || fast.receiver.requests() >= EVENTS as u64).await;
    let meanwhile = slow.receiver.requests();
    assert!(meanwhile < EVENTS as u64 / 2, "the slow one had {meanwhile} by then");
    wait_until("the slow sink has all", || slow.receiver.requests() >= EVENTS as u64).await;
    wait_until("nothing is left", || fast.parked().is_empty()).await;
    assert!(bridge.stop().success());
    assert_eq!(fast.received().len(), EVENTS);
    assert_eq!(slow.receiver.requests(), EVENTS as u64, "each was sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_sink_stays_so_until_it_is_enabled() {
    let is_gone = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&is_gone);
    let mut site = Site::choosing(move |request| match number(request) {
        1 if request.number == 1 => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        _ if gone.load(Ordering::Relaxed) => Reply::status(StatusCode::GONE),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let config = site.file_pipeline("retry = { schedule = [\"2s\"], jitter = 0, park_after = \"0s\" }");
    site.append(&numbered(1));
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the first event is parked", || site.parked().len() == 1).await;
    is_gone.store(true, Ordering::Relaxed);
    site.append(&["{\"n\":2}"]);
    wait_until("the sink is disabled", || site.dead_letters().len() == 1).await;
    assert!(bridge.stop().success());
    is_gone.store(false, Ordering::Relaxed);
    site.received();

    let bridge = Bridge::run(site.folder.path(), &config);
    site.append(&["{\"n\":3}"]);
    wait_until("it is still disabled", || site.dead_letters().len() == 2).await;
    let due = site.parked()[0].due.unwrap();
    let past_due = || jiff::Timestamp::now().as_millisecond() > due + 1500;
    wait_until("the parked delivery would have been due", past_due).await;
    assert_eq!(site.received().len(), 0, "a disabled sink makes no attempt");
    assert_eq!(site.parked().len(), 1, "what is parked stays");

    rows(&store_file(site.folder.path(), "it"), "DELETE FROM disabled_sinks");
    wait_until("the parked delivery goes once the sink is enabled", || site.parked().is_empty()).await;
    site.append(&["{\"n\":4}"]);
    wait_until("new events go too", || site.receiver.requests() == 4).await;
    assert!(bridge.stop().success());
    assert_eq!(numbers(&site.received()), [1, 4]);
    assert!(site.dead_letters().iter().all(|letter| letter["reason"] == "sink-disabled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_the_end_does_not_wait_for_a_disabled_sink() {
    let site = Site::choosing(|request| {
        Reply::status(if number(request) == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::GONE })
    })
    .await;
    let config = site.file_pipeline("retry = { schedule = [\"1s\"], jitter = 0, park_after = \"0s\" }");
    site.append(&numbered(1));
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the first event is parked", || site.parked().len() == 1).await;
    site.append(&["{\"n\":2}"]);
    wait_until("the sink is disabled", || site.dead_letters().len() == 1).await;
    assert!(bridge.stop().success());
    let due = site.parked()[0].due.unwrap();
    wait_until("the parked delivery is due", || jiff::Timestamp::now().as_millisecond() > due).await;
    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
    assert!(status.success());
    assert_eq!(site.parked().len(), 1, "it waits until the sink is enabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_one_bucket_is_worked_off_as_fast_as_its_rate_allows() {
    const EVENTS: usize = 1000;
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let site = Site::choosing(move |_| {
        let is_well = well.load(Ordering::Relaxed);
        Reply::status(if is_well { StatusCode::OK } else { StatusCode::BAD_GATEWAY })
    })
    .await;
    site.append(&numbered(EVENTS));
    let sink = "rate_limit = { requests = 100000, burst = 1000, key = \"{{source}}\" }\n\
                retry = { initial = \"100ms\", factor = 1, jitter = 0, park_after = \"0s\" }\n\
                breaker = { failures = 1, open_for = \"500ms\", max_open = \"500ms\" }";
    let bridge = Bridge::run(site.folder.path(), &site.file_pipeline(sink));
    wait_until("all are parked", || site.parked().len() == EVENTS).await;
    is_well.store(true, Ordering::Relaxed);
    let started = Instant::now();
    wait_until("all are delivered", || site.parked().is_empty()).await;
    // At sixteen a second, which is what fits into memory of one bucket, it would take a minute.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_end_of_a_run_is_parked() {
    let site = Site::start(Behaviour { fail_first: 1, ..Behaviour::default() }).await;
    site.append(&numbered(1));
    let config = site.file_pipeline("retry = { schedule = [\"1h\"], park_after = \"2h\" }")
        + "[runtime]\nshutdown_timeout = \"5s\"\n";
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("an attempt has failed", || bridge.log().contains("the attempt failed")).await;
    assert!(site.parked().is_empty());
    let told = Instant::now();
    assert!(bridge.stop().success());
    assert!(told.elapsed() < Duration::from_secs(5), "the end took {:?}", told.elapsed());
    assert!(site.parked()[0].attempts == 1 && is_at_end(&site), "the attempt is not forgotten");
    let log = std::fs::read_to_string(site.folder.path().join("bridge.log")).unwrap();
    assert!(!log.contains("stays parked"), "who stops a run knows that it is to go on: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_the_end_says_what_it_leaves() {
    let site = Site::choosing(|request| {
        Reply::status(if number(request) == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST })
    })
    .await;
    let config = site.file_pipeline("retry = { schedule = [\"1h\"], jitter = 0, park_after = \"0s\" }");
    let run = || {
        let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
        assert!(status.success(), "what waits for its time is no failure");
        let log = std::fs::read_to_string(site.folder.path().join("bridge.log")).unwrap();
        let parked = "1 delivery stays parked in the store (out: 1), the first of them due at 2";
        (log.matches(parked).count(), log.matches("1 dead letter was made in this run").count())
    };
    assert_eq!(run(), (0, 0), "there was nothing");
    site.append(&numbered(2));
    assert_eq!(run(), (1, 1));
    assert_eq!(run(), (2, 1), "the letter is one of the run before");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_nothing_is_parked_and_the_position_stays() {
    let mut site = Site::start(Behaviour { fail_first: 1, ..Behaviour::default() }).await;
    let config = site.pipeline("retry = { schedule = [\"500ms\"], jitter = 0, park_after = \"0s\" }")
        + "[store]\nurl = \"none\"\n";
    let status = site.bridge(&config, &numbered(1)).wait();
    assert!(status.success());
    assert_eq!(numbers(&site.received()), [1, 1]);
    assert!(!store_file(site.folder.path(), "it").exists());
    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
    assert!(status.success());
}
