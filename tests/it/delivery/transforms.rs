//! Transforms in the real process: what is made of an event is delivered as a whole, or the event comes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use nix::sys::signal::Signal;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Reply};

use super::durability::committed;
use super::{Site, header};
use crate::support::{Bridge, command, run_to_end, wait_until};

/// `webhook-id` and body of each request.
fn ids_and_bodies(requests: &[ReceivedRequest]) -> Vec<(String, String)> {
    let shown = |request: &ReceivedRequest| {
        let id = header(request, "webhook-id").rsplit('/').next().unwrap_or_default().to_owned();
        (id, String::from_utf8_lossy(&request.body).into_owned())
    };
    requests.iter().map(shown).collect()
}

/// The site's file pipeline, with a transform between source and sink.
fn with_transform(site: &Site, transform: &str, sink: &str) -> String {
    let pipeline = site.file_pipeline(sink).replace("from = [\"input\"]", "from = [\"made\"]");
    pipeline.replace("[sinks.out]", &format!("[transforms.made]\nfrom = [\"input\"]\n{transform}\n[sinks.out]"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_counts_when_all_that_was_made_of_it_is_delivered() {
    let hangs = Arc::new(AtomicBool::new(true));
    let chosen = Arc::clone(&hangs);
    let mut site = Site::choosing(move |request| match (&*request.body, chosen.load(Ordering::Relaxed)) {
        (br#"{"sku":"c"}"#, true) => Reply::Hang,
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let config = with_transform(&site, "jq = '.data.items[] | {sku: .}'", "order_by = \"{{source}}\"");
    site.append(&[r#"{"items":["a"]}"#, r#"{"items":["b","c","d"]}"#, r#"{"items":[]}"#, r#"{"items":["e"]}"#]);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the one that hangs is under way", || site.receiver.requests() == 3).await;
    let first_line = r#"{"items":["a"]}"#.len() as u64 + 1;
    wait_until("the first event is committed", || committed(&site) == Some(first_line)).await;
    bridge.kill();
    let bodies = |requests: Vec<ReceivedRequest>| -> Vec<String> {
        ids_and_bodies(&requests).into_iter().map(|(_, body)| body).collect()
    };
    assert_eq!(bodies(site.received()), [r#"{"sku":"a"}"#, r#"{"sku":"b"}"#, r#"{"sku":"c"}"#]);

    hangs.store(false, Ordering::Relaxed);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the rest arrives", || site.receiver.requests() == 7).await;
    assert!(bridge.stop().success());
    let again = site.received();
    let expected = [r#"{"sku":"b"}"#, r#"{"sku":"c"}"#, r#"{"sku":"d"}"#, r#"{"sku":"e"}"#];
    assert_eq!(bodies(again), expected, "the second event comes again as a whole, the first does not");
    let bridge = Bridge::run_with(site.folder.path(), &config, &["--once"], std::process::Stdio::null());
    assert!(bridge.wait().success());
    assert_eq!(site.received().len(), 0, "all of it was committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transform_gives_up_is_replayed_with_todays_program() {
    let mut site = Site::start(Behaviour::default()).await;
    let broken = with_transform(&site, "jq = '.data.items[] | {sku: need(.sku)}'", "");
    site.append(&[r#"{"items":[{"sku":"a"},{"id":"b"}]}"#, r#"{"items":[{"sku":"c"}]}"#]);
    let run = |config: &str| {
        let bridge = Bridge::run_with(site.folder.path(), config, &["--once"], std::process::Stdio::null());
        assert!(bridge.wait().success());
    };
    run(&broken);
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["node"], &letters[0]["reason"]), (&"transforms.made".into(), &"unrenderable".into()));
    assert!(letters[0]["message"].as_str().unwrap().contains("sku"), "{}", letters[0]["message"]);
    assert_eq!(letters[0]["event"]["payload"], r#"{"items":[{"sku":"a"},{"id":"b"}]}"#);
    assert_eq!(ids_and_bodies(&site.received())[0].1, r#"{"sku":"c"}"#, "nothing was sent of the first");

    let mended = with_transform(&site, "jq = '.data.items[] | {sku: (.sku // .id)}'", "");
    std::fs::write(site.folder.path().join("pipeline.toml"), mended).unwrap();
    let mut replay = command();
    let folder = site.folder.path();
    replay.args(["dead", "replay", "--all", "--state-dir"]).arg(folder.join("state")).arg(folder.join("pipeline.toml"));
    let (code, said, stderr) = run_to_end(&mut replay);
    assert_eq!((code, said.as_str()), (0, "2 deliveries: 2 delivered\n"), "{stderr}");
    let replayed = ids_and_bodies(&site.received());
    let (ids, mut bodies): (Vec<_>, Vec<_>) = replayed.into_iter().unzip();
    bodies.sort();
    assert_eq!(bodies, [r#"{"sku":"a"}"#, r#"{"sku":"b"}"#]);
    assert!(ids.iter().all(|id| id.ends_with("#0") || id.ends_with("#1")) && ids[0] != ids[1], "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_parsed_line_is_replayed_as_what_was_parsed() {
    let rejects = Arc::new(AtomicBool::new(true));
    let chosen = Arc::clone(&rejects);
    let mut site = Site::choosing(move |_| match chosen.load(Ordering::Relaxed) {
        true => Reply::status(StatusCode::BAD_REQUEST),
        false => Reply::status(StatusCode::OK),
    })
    .await;
    let config = with_transform(&site, "parse = \"logfmt\"", "body = '{\"level\": {{json data.level}}}'");
    let config = config.replace("type = \"file\"", "type = \"file\"\nformat = \"text\"");
    site.append(&["level=info msg=\"one two\"", "no pairs in this line"]);
    let bridge = Bridge::run_with(site.folder.path(), &config, &["--once"], std::process::Stdio::null());
    assert!(bridge.wait().success());
    let letters = site.dead_letters();
    let of_node = |node: &str| letters.iter().find(|letter| letter["node"] == node).unwrap();
    assert_eq!(of_node("sinks.out")["event"]["payload"], r#"{"level":"info","msg":"one two"}"#);
    assert_eq!(of_node("transforms.made")["reason"], "undecodable");
    assert_eq!(of_node("transforms.made")["event"]["payload"], "no pairs in this line");
    site.received();

    rejects.store(false, Ordering::Relaxed);
    let mut replay = command();
    let folder = site.folder.path();
    replay.args(["dead", "replay", "--sink", "out", "--state-dir"]);
    replay.arg(folder.join("state")).arg(folder.join("pipeline.toml"));
    let (code, said, stderr) = run_to_end(&mut replay);
    assert_eq!((code, said.as_str()), (0, "1 delivery: 1 delivered\n"), "{stderr}");
    assert_eq!(ids_and_bodies(&site.received())[0].1, r#"{"level": "info"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_program_is_taken_over_between_two_events() {
    let mut site = Site::start(Behaviour::default()).await;
    let config = |version: u8| with_transform(&site, &format!("jq = '{{n: .data.n, version: {version}}}'"), "");
    let (first, second) = (config(1), config(2));
    let bridge = Bridge::run(site.folder.path(), &first);
    site.append(&[r#"{"n":1}"#]);
    wait_until("the first arrives", || site.receiver.requests() == 1).await;
    let applied = "goes on with the new version";
    std::fs::write(site.folder.path().join("pipeline.toml"), &second).unwrap();
    bridge.signal(Signal::SIGHUP);
    wait_until(applied, || site.log_count(&bridge, applied) == 1).await;
    site.append(&[r#"{"n":2}"#]);
    wait_until("the second arrives", || site.receiver.requests() == 2).await;
    assert!(bridge.stop().success());
    let bodies: Vec<_> = ids_and_bodies(&site.received()).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, [r#"{"n":1,"version":1}"#, r#"{"n":2,"version":2}"#]);
}
