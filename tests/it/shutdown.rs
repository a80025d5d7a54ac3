//! The end of a run: by a signal, by a second one, by the end of the input, and what happens to what is open.

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, StatusCode};
use nix::sys::signal::Signal;
use webhook_bridge::receiver::{Behaviour, Reply};

use crate::delivery::{Site, number, numbered, numbers};
use crate::support::{Bridge, command, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_deliveries_under_way_end() {
    let delay = Duration::from_secs(1);
    let mut site = Site::start(Behaviour { delay, ..Behaviour::default() }).await;
    site.append(&numbered(3));
    let config = site.file_pipeline("");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("all requests are under way", || site.receiver.requests() == 3).await;
    assert!(bridge.stop().success());
    assert_eq!(site.received().len(), 3);

    site.append(&["{\"n\":4}"]);
    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
    assert!(status.success());
    assert_eq!(numbers(&site.received()), [4], "the position was saved at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_ends_a_bridge_with_nothing_to_do() {
    let site = Site::start(Behaviour::default()).await;
    let bridge = Bridge::run(site.folder.path(), &site.file_pipeline(""));
    wait_until("the bridge runs", || bridge.log().contains("running")).await;
    bridge.signal(Signal::SIGINT);
    assert!(bridge.wait().success());
}

/// Runs until the first of three events waits for its retry in an hour; the bridge must then end at once, and a run to
/// the end must not wait for what is parked.
async fn a_wait_of_an_hour_does_not_hold_up_the_end(behaviour: Behaviour, sink: &str, expected_parked: usize) {
    let mut site = Site::start(behaviour).await;
    site.append(&numbered(3));
    let config = site.file_pipeline(sink);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("an attempt has failed", || bridge.log().contains("the attempt failed")).await;
    let told = Instant::now();
    assert!(bridge.stop().success());
    assert!(told.elapsed() < Duration::from_secs(5), "the end took {:?}", told.elapsed());

    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
    assert!(status.success());
    let mut sent = numbers(&site.received());
    sent.sort_unstable();
    sent.dedup();
    let parked = site.parked();
    assert_eq!(parked.len(), expected_parked, "{parked:?}");
    assert!(parked.iter().any(|parked| parked.payload == "{\"n\":1}" && parked.attempts == 1));
    assert_eq!(sent.len() - 1 + parked.len(), 3, "each is delivered or parked, after one failed attempt");
    assert_eq!(site.dead_letters().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_due_after_the_end_is_left_to_the_next_start() {
    let behaviour = Behaviour { fail_first: 1, ..Behaviour::default() };
    let sink = "concurrency = 1\nretry = { schedule = [\"1h\"] }";
    a_wait_of_an_hour_does_not_hold_up_the_end(behaviour, sink, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_outlasts_the_end_is_left_to_the_next_start() {
    let retry_after = Some(HeaderValue::from_static("3600"));
    let behaviour = Behaviour { fail_first: 1, retry_after, ..Behaviour::default() };
    let sink = "concurrency = 1\nretry = { schedule = [\"10ms\"] }";
    a_wait_of_an_hour_does_not_hold_up_the_end(behaviour, sink, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_those_behind_a_waiting_head_do_not_hold_up_the_end_either() {
    let site = Site::start(Behaviour { fail_first: 1, ..Behaviour::default() }).await;
    let config =
        site.pipeline("order_by = \"{{source}}\"\nretry = { schedule = [\"1h\"] }") + "[store]\nurl = \"none\"\n";
    let bridge = site.bridge(&config, &numbered(3));
    wait_until("an attempt has failed", || bridge.log().contains("the attempt failed")).await;
    let told = Instant::now();
    assert!(bridge.stop().success());
    assert!(told.elapsed() < Duration::from_secs(5), "the end took {:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_time_the_shutdown_waits_no_longer() {
    let mut site = Site::choosing(|request| match number(request) {
        2 if request.number <= 2 => Reply::Hang,
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    site.append(&numbered(2));
    let config = site.file_pipeline("") + "[runtime]\nshutdown_timeout = \"500ms\"\n";
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("both requests are under way", || site.receiver.requests() == 2).await;
    let told = Instant::now();
    assert!(bridge.stop().success());
    assert!(told.elapsed() >= Duration::from_millis(500) && told.elapsed() < Duration::from_secs(5));
    site.received();
    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
    assert!(status.success());
    assert!(numbers(&site.received()).contains(&2), "what was under way is delivered at the next start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let site = Site::choosing(|_| Reply::Hang).await;
    site.append(&numbered(1));
    let bridge = Bridge::run(site.folder.path(), &site.file_pipeline(""));
    wait_until("the request is under way", || site.receiver.requests() == 1).await;
    bridge.signal(Signal::SIGTERM);
    wait_until("the first signal is heard", || bridge.log().contains("SIGTERM")).await;
    bridge.signal(Signal::SIGTERM);
    assert_eq!(bridge.wait().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_ends_by_itself_when_the_file_is_delivered() {
    let mut site = Site::start(Behaviour { fail_first: 2, ..Behaviour::default() }).await;
    site.append(&numbered(100));
    let config = site.file_pipeline("retry = { schedule = [\"100ms\"] }");
    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
    assert!(status.success());
    assert_eq!(site.received().len(), 102);
    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
    assert!(status.success());
    assert_eq!(site.received().len(), 0, "a second run has nothing to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_ends_the_run_with_everything_delivered() {
    let mut site = Site::start(Behaviour::default()).await;
    let mut bridge = Bridge::run_with(site.folder.path(), &site.pipeline(""), &[], Stdio::piped());
    let mut stdin = bridge.take_stdin();
    stdin.write_all(b"{\"n\":1}\n").unwrap();
    wait_until("a line is delivered while the input is open", || site.receiver.requests() == 1).await;
    stdin.write_all(b"{\"n\":2}\r\n\n{\"n\":3}").unwrap();
    drop(stdin);
    assert!(bridge.wait().success());
    let mut numbers = numbers(&site.received());
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_belongs_to_one_bridge() {
    let site = Site::start(Behaviour::default()).await;
    let config = site.file_pipeline("");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the first runs", || bridge.log().contains("running")).await;
    let Output { status, stderr, .. } = command()
        .args(["run", "--state-dir"])
        .arg(site.folder.path().join("state"))
        .arg(site.folder.path().join("pipeline.toml"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("another bridge is running") && stderr.contains("--state-dir"), "{stderr}");
    assert!(bridge.stop().success());
}

/// SIGTERM at random moments of the first 200 ms, `tries` times (or as often as BRIDGE_TEST_EARLY_ENDS says): with
/// nothing in flight each run must be over within a second.
async fn ends_at_once_however_early_it_is_told_to(config: &str, tries: usize) {
    let tries = std::env::var("BRIDGE_TEST_EARLY_ENDS").map_or(tries, |tries| tries.parse().unwrap());
    let mut slowest = Duration::ZERO;
    for n in 1..=tries {
        let folder = tempfile::tempdir().unwrap();
        let bridge = Bridge::run(folder.path(), config);
        let moment = Duration::from_micros(rand::random_range(0..200_000));
        tokio::time::sleep(moment).await;
        let told = Instant::now();
        let log = folder.path().join("bridge.log");
        // Before it handles signals, one just ends it.
        bridge.stop();
        let took = told.elapsed();
        let log = std::fs::read_to_string(log).unwrap();
        assert!(took < Duration::from_secs(1), "try {n}, told after {moment:?}: the end took {took:?}:\n{log}");
        slowest = slowest.max(took);
    }
    #[expect(clippy::print_stderr, reason = "whoever runs many tries wants to see how close they came to the limit")]
    {
        eprintln!("the slowest of {tries} ends took {slowest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_at_once_however_early_it_is_told_to() {
    let config = "name = \"it\"\n[sources.input]\ntype = \"file\"\npaths = [\"none.jsonl\"]\n\
        [sources.more]\ntype = \"stdin\"\n\
        [sinks.out]\ntype = \"webhook\"\nfrom = [\"input\", \"more\"]\nurl = \"http://127.0.0.1:9/\"\n\
        dead_letter = \"alarm\"\n[sinks.alarm]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\n";
    ends_at_once_however_early_it_is_told_to(config, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and RabbitMQ: make brokers-up"]
async fn a_run_with_brokers_ends_at_once_however_early_it_is_told_to() {
    let topic = crate::end_to_end::topic::Topic::new(1).await;
    let queue = crate::amqp::broker::Broker::shared().queue().await.filled(0).await;
    let config = format!(
        "name = \"it\"\n[sources.files]\ntype = \"file\"\npaths = [\"none.jsonl\"]\n{}\n\
        [sources.legacy]\ntype = \"amqp\"\nuri = \"{}\"\nqueue = \"{}\"\n\
        [sinks.out]\ntype = \"webhook\"\nfrom = [\"input\", \"files\", \"legacy\"]\nurl = \"http://127.0.0.1:9/\"\n\
        dead_letter = \"kafka:nobody-reads-it\"\n",
        topic.source(""),
        queue.broker.url,
        queue.name,
    );
    ends_at_once_however_early_it_is_told_to(&config, 30).await;
    queue.delete().await;
}
