//! A disk without room for dead letters: nothing is lost, and it goes on when there is room again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, Reply};

use super::durability::committed;
use super::{Site, number, numbers};
use crate::support::{Bridge, SmallDisk, wait_until};

/// Runs the bridge on a small disk, until its first event is done with and the file's position is known; then fills it.
async fn run_and_fill(site: &Site, disk: &SmallDisk, config: &str) -> (Bridge, PathBuf) {
    site.append(&[large(99)]);
    let bridge = Bridge::run(site.folder.path(), config);
    wait_until("the first event is confirmed", || committed(site).is_some_and(|offset| offset > 0)).await;
    (bridge, disk.fill())
}

/// An event so large that twenty of them need more room than a full disk has left in the files of the store.
fn large(number: u64) -> String {
    format!(r#"{{"n":{number},"text":"{}"}}"#, "x".repeat(60_000))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a tmpfs"]
async fn a_full_disk_holds_events_until_there_is_room_for_their_dead_letters() {
    let mut site = Site::choosing(|request| match number(request) {
        1..=20 => Reply::status(StatusCode::BAD_REQUEST),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let disk = SmallDisk::mount(&site.folder.path().join("state"), "8m");
    let (bridge, filler) = run_and_fill(&site, &disk, &site.file_pipeline("")).await;

    site.append(&(1..=40).map(large).collect::<Vec<_>>());
    wait_until("it says that it cannot keep dead letters", || bridge.log().contains("is full")).await;
    let mut arrived = BTreeSet::new();
    wait_until("the other events are delivered meanwhile", || {
        arrived.extend(numbers(&site.received()));
        (1..=40).all(|n| arrived.contains(&n))
    })
    .await;
    assert!(site.dead_letters().len() < 20, "the disk was to be full");

    std::fs::remove_file(filler).unwrap();
    wait_until("all dead letters are kept once there is room", || site.dead_letters().len() == 20).await;
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a tmpfs"]
async fn a_stop_on_a_full_disk_leaves_the_events_to_the_next_start() {
    let site = Site::start(Behaviour { status: StatusCode::BAD_REQUEST, ..Behaviour::default() }).await;
    let disk = SmallDisk::mount(&site.folder.path().join("state"), "8m");
    let config = site.file_pipeline("") + "[runtime]\nshutdown_timeout = \"1s\"\n";
    let (bridge, filler) = run_and_fill(&site, &disk, &config).await;
    site.append(&(1..=20).map(large).collect::<Vec<_>>());
    wait_until("it has met the full disk", || bridge.log().contains("is full")).await;
    bridge.stop();

    std::fs::remove_file(filler).unwrap();
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("every event is a dead letter in the end", || site.dead_letters().len() == 21).await;
    assert!(bridge.stop().success());
}
