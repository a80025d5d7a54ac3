//! Long pauses that a receiver asks for: shown, remembered, bounded, and ended by a person.

use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use super::{Site, answer, numbered, numbers};
use crate::support::{Bridge, command, run_to_end, wait_until};

fn sinks(site: &Site, args: &[&str]) -> (i32, String, String) {
    let mut sinks = command();
    sinks.arg("sinks").arg(args[0]).arg("--state-dir").arg(site.folder.path().join("state"));
    run_to_end(sinks.arg(site.folder.path().join("pipeline.toml")).args(&args[1..]))
}

fn readyz(admin: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(admin).ok()?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The first request is answered with an absurd `Retry-After`, an epoch; all others with 200.
async fn site_asking_for_an_absurd_pause() -> Site {
    let asked = std::sync::atomic::AtomicBool::new(false);
    Site::choosing(move |_| match asked.swap(true, std::sync::atomic::Ordering::Relaxed) {
        false => answer(429, &[("retry-after", "1795833600")], ""),
        true => answer(200, &[], ""),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_pause_is_shown_outlives_a_restart_and_is_ended_by_a_person() {
    let mut site = site_asking_for_an_absurd_pause().await;
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = site.file_pipeline("retry = { max_elapsed = \"10m\" }");
    site.append(&numbered(1));
    let run = || Bridge::run_with(site.folder.path(), &config, &["--admin", &admin], Stdio::null());
    let bridge = run();
    wait_until("the delivery is parked", || site.parked().len() == 1).await;
    assert!(bridge.log().contains("WARN") && bridge.log().contains("`bridge sinks resume PIPELINE out` ends it"));
    wait_until("readyz says it", || readyz(&admin).is_some_and(|text| text.contains("paused until "))).await;
    assert!(readyz(&admin).unwrap().starts_with("HTTP/1.1 200"), "a receiver that asks for a pause works");
    let (code, listed, _) = sinks(&site, &["list"]);
    assert!(code == 0 && listed.contains("paused until 20") && listed.contains("(Retry-After)"), "{listed}");
    let (_, json, _) = sinks(&site, &["list", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let until: jiff::Timestamp = json["paused"][0]["until"].as_str().unwrap().parse().unwrap();
    assert!(until.duration_since(jiff::Timestamp::now()).as_secs() <= 3600, "the pause is bounded: {until}");
    assert!(bridge.stop().success());

    let bridge = run();
    wait_until("it is still paused", || site.log_count(&bridge, "there are no attempts until then") == 2).await;
    site.append(&["{\"n\":2}"]);
    wait_until("what comes is parked", || site.parked().len() == 2).await;
    let (code, said, _) = sinks(&site, &["resume", "out"]);
    assert!(code == 0 && said.contains("is no longer paused; 2 deliveries are due now"), "{said}");
    wait_until("both are delivered", || site.receiver.requests() == 3).await;
    wait_until("readyz says nothing any more", || readyz(&admin).is_some_and(|text| !text.contains("paused"))).await;
    assert!(bridge.stop().success());
    assert_eq!(site.dead_letters().len(), 0);
    let mut delivered = numbers(&site.received());
    delivered.sort_unstable();
    assert_eq!(delivered, [1, 1, 2]);
    assert!(sinks(&site, &["resume", "out"]).1.contains("was not paused"));
    assert_eq!(sinks(&site, &["resume", "other"]).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_pause_is_cut_to_the_bound_and_a_keyed_one_is_shown_with_its_bucket() {
    let mut site = site_asking_for_an_absurd_pause().await;
    site.deliver("retry = { max_retry_after = \"1s\" }", &numbered(1));
    assert_eq!(numbers(&site.received()), [1, 1]);

    let site = site_asking_for_an_absurd_pause().await;
    site.append(&numbered(1));
    let limit = "rate_limit = { requests = 100, per = \"1s\", key = \"tenant-{{data.n}}\" }";
    let bridge = Bridge::run(site.folder.path(), &site.file_pipeline(limit));
    wait_until("the delivery is parked", || site.parked().len() == 1).await;
    let (_, listed, _) = sinks(&site, &["list"]);
    assert!(listed.contains("bucket tenant-1 paused until "), "{listed}");
    assert!(bridge.stop().success());
}
