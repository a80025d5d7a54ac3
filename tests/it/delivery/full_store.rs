//! A disk without room for what is to be parked: the bridge comes to a halt, says so, and goes on when there is room.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use webhook_bridge::receiver::{ReceivedRequest, Reply};

use super::{Site, numbers};
use crate::support::{Bridge, SmallDisk, wait_until};

const MAX_IN_FLIGHT: usize = 50;
const EVENTS: u64 = 600;
const SINK: &str = "retry = { initial = \"200ms\", factor = 1.0, park_after = \"0s\" }\n\
                    breaker = { open_for = \"200ms\", max_open = \"200ms\" }";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a tmpfs"]
async fn a_full_disk_holds_events_until_there_is_room_to_park_them() {
    let is_well = Arc::new(AtomicBool::new(true));
    let mut site = Site::choosing(well_or_not(&is_well)).await;
    // With room for all events in SQLite's log and in its file at once: a store that has filled its disk by itself cannot
    // even delete.
    let disk = SmallDisk::mount(&site.folder.path().join("state"), "16m");
    let source = format!("[sources.input]\nmax_in_flight = {MAX_IN_FLIGHT}");
    let config = site.file_pipeline(SINK).replace("[sources.input]", &source);
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
        delivered.extend(delivered_by_now(&mut site));
        (1..=EVENTS).all(|number| delivered.contains(&number))
    })
    .await;
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a tmpfs"]
async fn a_receiver_that_recovers_gets_its_deliveries_although_the_disk_stays_full() {
    let is_well = Arc::new(AtomicBool::new(true));
    let mut site = Site::choosing(well_or_not(&is_well)).await;
    let disk = SmallDisk::mount(&site.folder.path().join("state"), "16m");
    let config = site.file_pipeline(SINK);
    site.append(&[event(0)]);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the first event is delivered", || site.receiver.requests() > 0).await;
    is_well.store(false, Ordering::Relaxed);
    disk.fill();
    site.append(&(1..=100).map(event).collect::<Vec<_>>());
    wait_until("the breaker is open", || bridge.log().contains("the circuit breaker opens")).await;
    wait_until("it says that the disk is full", || bridge.log().contains("is full")).await;
    is_well.store(true, Ordering::Relaxed);
    let mut delivered = BTreeSet::new();
    wait_until("everything is delivered", || {
        delivered.extend(delivered_by_now(&mut site));
        (1..=100).all(|number| delivered.contains(&number))
    })
    .await;
    assert!(!bridge.log().contains("the store works again"), "{}", bridge.log());
}

/// A receiver that works as long as this is so.
fn well_or_not(is_well: &Arc<AtomicBool>) -> impl Fn(&ReceivedRequest) -> Reply + use<> {
    let is_well = Arc::clone(is_well);
    move |_| {
        let is_well = is_well.load(Ordering::Relaxed);
        Reply::status(if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
    }
}

fn delivered_by_now(site: &mut Site) -> Vec<u64> {
    let received = site.received().into_iter();
    let well = received.filter(|request| request.answered_status == Some(StatusCode::OK));
    numbers(&well.collect::<Vec<_>>())
}

/// An event large enough that what a full disk has left in the files of the store cannot keep many.
fn event(number: u64) -> String {
    format!(r#"{{"n":{number},"text":"{}"}}"#, "x".repeat(2000))
}
