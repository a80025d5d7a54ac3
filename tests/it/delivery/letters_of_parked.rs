//! Parked deliveries that die while their dead letters are sent on to another sink: one letter in the store, and at
//! least one copy at the destination, whatever happens in between.

use std::time::Duration;

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Reply};

use super::{Site, header, numbered};
use crate::support::{Bridge, lock_store, store_file, wait_until};

/// Two attempts, the second of them out of the store; then the letter goes to the sink `alerts` of the same receiver.
const DYING: &str =
    "dead_letter = \"alerts\"\nretry = { schedule = [\"700ms\"], jitter = 0, park_after = \"500ms\" }\n";

fn alerts(site: &Site) -> String {
    format!("[sinks.alerts]\ntype = \"webhook\"\nurl = \"{}/alerts\"\n", site.receiver.url())
}

fn is_alert(request: &ReceivedRequest) -> bool {
    request.path_and_query == "/alerts"
}

/// A receiver that takes alerts and nothing else, and takes its time.
async fn site_of_a_dead_sink(delay: Duration) -> Site {
    let chooser = |request: &ReceivedRequest| {
        Reply::status(if is_alert(request) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
    };
    Site::start(Behaviour { chooser: Some(std::sync::Arc::new(chooser)), delay, ..Behaviour::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_delivery_that_dies_is_sent_on_and_becomes_one_letter() {
    let mut site = site_of_a_dead_sink(Duration::ZERO).await;
    site.append(&numbered(1));
    let config = site.file_pipeline(DYING) + &alerts(&site);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the letter is kept", || site.dead_letters().len() == 1).await;
    assert!(bridge.stop().success());
    assert!(site.parked().is_empty(), "one delivery is one row");
    let letter = &site.dead_letters()[0];
    assert_eq!((&letter["attempts"], &letter["reason"]), (&2.into(), &"retries-exhausted".into()));
    let requests = site.received();
    assert_eq!(requests.iter().filter(|request| is_alert(request)).count(), 1);
    assert_eq!(requests.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_sending_on_and_burying_sends_again_and_loses_nothing() {
    let mut site = site_of_a_dead_sink(Duration::from_millis(500)).await;
    site.append(&numbered(1));
    let config = site.file_pipeline(DYING) + &alerts(&site);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the parked delivery is tried again", || site.receiver.requests() == 2).await;
    // From now on the store cannot commit anything, so that the letter is sent on and not buried.
    let lock = lock_store(&store_file(site.folder.path(), "it"));
    wait_until("the letter is sent on", || bridge.log().contains("the dead letter is sent on")).await;
    bridge.kill();
    drop(lock);
    assert_eq!((site.parked().len(), site.dead_letters().len()), (1, 0), "the crash came before the burial");

    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("it dies again and is kept", || site.dead_letters().len() == 1).await;
    assert!(bridge.stop().success());
    assert!(site.parked().is_empty());
    let alerts: Vec<_> = site.received().into_iter().filter(is_alert).collect();
    assert_eq!(alerts.len(), 2, "a copy is sent again, and no third time");
    assert_eq!(header(&alerts[0], "webhook-id"), header(&alerts[1], "webhook-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_the_end_attempts_what_follows_a_dead_head_once_its_letter_is_sent_on() {
    let mut site = site_of_a_dead_sink(Duration::from_millis(500)).await;
    // The wait for the second attempt is one that the end of the run waits for.
    let dying = DYING.replace("park_after = \"500ms\"", "park_after = \"1s\"");
    let config = site.pipeline(&format!("order_by = \"{{{{source}}}}\"\n{dying}")) + &alerts(&site);
    site.deliver_all(&config, &numbered(2));
    let requests = site.received();
    assert_eq!(requests.iter().filter(|request| is_alert(request)).count(), 2, "{} requests", requests.len());
    assert_eq!((site.parked().len(), site.dead_letters().len()), (0, 2));
}
