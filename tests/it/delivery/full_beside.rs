//! A store that one dead sink has filled: another sink whose receiver fails for a while goes on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, Reply};

use super::{Site, numbered, numbers};
use crate::support::{Bridge, rows, store_file, wait_until};

/// A receiver that answers as it is told, beside a dead one whose deliveries have filled the store.
struct Full {
    site: Site,
    status: Arc<AtomicU16>,
    bridge: Bridge,
    _dead: Site,
}

/// Lets the dead sink fill the store with the first ten events, and the other deliver them.
async fn full_store(sink: &str) -> Full {
    let status = Arc::new(AtomicU16::new(200));
    let answered = Arc::clone(&status);
    let mut site =
        Site::choosing(move |_| Reply::status(StatusCode::from_u16(answered.load(Ordering::Relaxed)).unwrap())).await;
    let dead = Site::start(Behaviour { status: StatusCode::BAD_GATEWAY, ..Behaviour::default() }).await;
    let config = site.file_pipeline(sink)
        + &format!("[sinks.dead]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{}/\"\n", dead.receiver.url())
        + "retry = { schedule = [\"1h\"], park_after = \"0s\" }\n[store]\nmax_size = \"4KiB\"\n\
           [runtime]\nshutdown_timeout = \"1s\"\n";
    site.append(&numbered(10));
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the store is full", || bridge.log().contains("the store is full")).await;
    let mut received = 0;
    wait_until("the other sink has the first events", || {
        received += site.received().len();
        received == 10
    })
    .await;
    Full { site, status, bridge, _dead: dead }
}

impl Full {
    /// Reads the events 11 to 20.
    fn read_more(&self) {
        self.site.append(&numbered(20)[10..]);
    }

    /// Waits until these have been delivered, although there is still no room; gives them in their order.
    async fn all_arrive(&mut self) -> Vec<u64> {
        let mut delivered = Vec::new();
        wait_until("all are delivered", || {
            let received = self.site.received().into_iter();
            let ok = received.filter(|request| request.answered_status == Some(StatusCode::OK));
            delivered.extend(numbers(&ok.collect::<Vec<_>>()));
            delivered.len() >= 10
        })
        .await;
        let file = store_file(self.site.folder.path(), "it");
        assert!(rows(&file, "SELECT 1 FROM deliveries WHERE node = 'sinks.out'").is_empty());
        assert!(!rows(&file, "SELECT 1 FROM deliveries WHERE node = 'sinks.dead'").is_empty());
        assert!(!self.bridge.log().contains("has room again"));
        delivered
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_whose_breaker_was_open_recovers_although_the_store_stays_full() {
    let mut full = full_store(
        "retry = { initial = \"50ms\", factor = 1.0 }\n\
         breaker = { failures = 3, open_for = \"200ms\", max_open = \"200ms\" }",
    )
    .await;
    full.status.store(500, Ordering::Relaxed);
    full.read_more();
    wait_until("the breaker opens", || full.bridge.log().contains("the circuit breaker opens")).await;
    full.status.store(200, Ordering::Relaxed);
    let mut delivered = full.all_arrive().await;
    delivered.sort_unstable();
    assert_eq!(delivered, (11..=20).collect::<Vec<u64>>());
    assert!(full.bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_finds_no_room_is_made_in_time_and_in_order() {
    let mut full = full_store(
        "order_by = \"{{source}}\"\nbreaker = { failures = 0 }\n\
         retry = { initial = \"300ms\", factor = 1.0, park_after = \"0s\" }",
    )
    .await;
    full.status.store(503, Ordering::Relaxed);
    full.read_more();
    wait_until("the first of them was tried again", || full.site.receiver.requests() >= 12).await;
    full.status.store(200, Ordering::Relaxed);
    assert_eq!(full.all_arrive().await, (11..=20).collect::<Vec<u64>>());
    assert!(full.bridge.stop().success());
}
