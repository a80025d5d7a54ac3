//! What survives the process: positions move only behind what is delivered or kept as a dead letter.

use axum::http::StatusCode;
use sqlx::Row as _;
use webhook_bridge::receiver::{Behaviour, Reply};

use super::{Site, number, numbered, numbers};
use crate::support::{Bridge, rows, store_file, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_repeats_what_was_open_and_loses_nothing() {
    let mut site = Site::choosing(|request| match number(request) {
        3 | 5 if request.number <= 8 => Reply::Hang,
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    site.append(&numbered(8));
    let config = site.file_pipeline("retry = { schedule = [\"10ms\"] }");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("all events are at the receiver", || site.receiver.requests() == 8).await;
    bridge.kill();
    site.received();

    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], std::process::Stdio::null()).wait();
    assert!(status.success());
    let again = numbers(&site.received());
    assert!([3, 5].iter().all(|n| again.contains(n)), "what was under way is delivered: {again:?}");
    assert!(again.iter().all(|n| *n >= 1 && *n <= 8) && again.len() <= 8, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_kept_as_a_dead_letter_is_not_delivered_again_after_a_crash() {
    let behaviour = Behaviour { status: StatusCode::BAD_REQUEST, ..Behaviour::default() };
    let mut site = Site::start(behaviour).await;
    site.append(&numbered(5));
    let config = site.file_pipeline("");
    let bridge = Bridge::run(site.folder.path(), &config);
    let end = site.folder.path().join("events.jsonl").metadata().unwrap().len();
    wait_until("the position is behind the dead letters", || committed(&site) == Some(end)).await;
    assert_eq!(site.dead_letters().len(), 5, "a position moves only once the dead letters are on the disk");
    bridge.kill();
    assert_eq!(site.received().len(), 5);

    site.append(&["{\"n\":6}"]);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the new event is a dead letter too", || site.dead_letters().len() == 6).await;
    assert!(bridge.stop().success());
    assert_eq!(numbers(&site.received()), [6]);
}

/// How far the file source has confirmed its file.
pub(super) fn committed(site: &Site) -> Option<u64> {
    let checkpoints =
        rows(&store_file(site.folder.path(), "it"), "SELECT state FROM checkpoints WHERE source = 'input'");
    let checkpoint: serde_json::Value = serde_json::from_str(checkpoints.first()?.get("state")).unwrap();
    checkpoint["state"]["files"][0]["offset"].as_u64()
}
