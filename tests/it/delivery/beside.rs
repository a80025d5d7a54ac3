//! A dead sink beside a healthy one, both fed by one source. How much is left to the healthy one is measured in
//! `benches/`; here only that it is not held up.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, Reply};

use super::{Site, number, numbered};
use crate::support::{Bridge, wait_until};

const EVENTS: usize = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_with_a_backlog_does_not_hold_up_its_neighbour() {
    let without = healthy_takes(None).await;
    let dead = Site::start(Behaviour { status: StatusCode::SERVICE_UNAVAILABLE, ..Behaviour::default() }).await;
    let url = dead.receiver.url();
    let sink = format!(
        "[sinks.dead]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}\"\nretry = {{ park_after = \"0s\" }}\n"
    );
    let with = healthy_takes(Some(&sink)).await;
    assert!(dead.receiver.requests() > 0, "the dead sink was not tried");
    // Far more than the dead one may take on a busy machine, and far less than waiting for it would.
    assert!(with < 10 * without + Duration::from_secs(5), "{with:?} with the dead sink, {without:?} without");
}

/// The time in which a healthy sink gets everything, beside another sink or alone. Its source may have but few events
/// in flight: it goes on only because those of the dead sink are parked.
async fn healthy_takes(beside: Option<&str>) -> Duration {
    let mut site = Site::choosing(|_| Reply::status(StatusCode::OK)).await;
    site.append(&numbered(EVENTS));
    let source = "[sources.input]\nmax_in_flight = 64";
    let config = site.file_pipeline("").replace("[sources.input]", source) + beside.unwrap_or_default();
    let started = Instant::now();
    let bridge = Bridge::run(site.folder.path(), &config);
    let mut left: std::collections::BTreeSet<u64> = (1..=EVENTS as u64).collect();
    wait_until("the healthy sink has everything", || {
        for request in site.received() {
            left.remove(&number(&request));
        }
        left.is_empty()
    })
    .await;
    let taken = started.elapsed();
    assert!(bridge.stop().success());
    taken
}
