//! A disk without room for what is to be parked: the bridge comes to a halt, says so, and goes on when there is room.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use webhook_bridge::receiver::Reply;

use super::{Site, numbers};
use crate::support::{Bridge, SmallDisk, wait_until};

const MAX_IN_FLIGHT: usize = 50;
const EVENTS: u64 = 600;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a tmpfs"]
async fn a_full_disk_holds_events_until_there_is_room_to_park_them() {
    let is_well = Arc::new(AtomicBool::new(true));
    let flag = is_well.clone();
    let mut site = Site::choosing(move |_| {
        let is_well = flag.load(Ordering::Relaxed);
        Reply::status(if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
    })
    .await;
    // With room for all events in SQLite's log and in its file at once: a store that has filled its disk by itself cannot
    // even delete.
    let disk = SmallDisk::mount(&site.folder.path().join("state"), "16m");
    let sink = "retry = { initial = \"200ms\", factor = 1.0, park_after = \"0s\" }\n\
                breaker = { open_for = \"200ms\", max_open = \"200ms\" }";
    let source = format!("[sources.input]\nmax_in_flight = {MAX_IN_FLIGHT}");
    let config = site.file_pipeline(sink).replace("[sources.input]", &source);
    site.append(&[event(0)]);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the first event is delivered", || site.receiver.requests() > 0).await;
    is_well.store(false, Ordering::Relaxed);
    let filler = disk.fill();

    site.append(&(1..=EVENTS).map(event).collect::<Vec<_>>());
    wait_until("it says that the disk is full", || bridge.log().contains("is full")).await;
    let met: BTreeSet<u64> = numbers(&site.received()).into_iter().collect();
    assert!(met.len() < EVENTS as usize / 2, "{} events were read though there is no room for them", met.len());

    std::fs::remove_file(filler).unwrap();
    is_well.store(true, Ordering::Relaxed);
    let mut delivered = BTreeSet::new();
    wait_until("everything is delivered once there is room", || {
        let received = site.received().into_iter();
        let well = received.filter(|request| request.answered_status == Some(StatusCode::OK));
        delivered.extend(numbers(&well.collect::<Vec<_>>()));
        (1..=EVENTS).all(|number| delivered.contains(&number))
    })
    .await;
    assert!(bridge.stop().success());
}

/// An event large enough that what a full disk has left in the files of the store cannot keep many.
fn event(number: u64) -> String {
    format!(r#"{{"n":{number},"text":"{}"}}"#, "x".repeat(2000))
}
