//! Two bridges of one pipeline that share a PostgreSQL: what is parked is attempted by one of them, and when one is
//! killed the other goes on with what it had claimed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tempfile::TempDir;
use webhook_bridge::receiver::Reply;

use crate::amqp::broker::{Broker, TestQueue};
use crate::delivery::{Site, number};
use crate::support::{Bridge, wait_until, wait_until_within};

const LEASE: Duration = Duration::from_secs(2);

/// A pipeline of which several bridges can be started.
struct Pipeline {
    config: String,
    queue: TestQueue,
}

impl Pipeline {
    /// From a queue of numbered messages to the site's receiver, waiting in the store.
    async fn new(site: &Site, sink: &str) -> Self {
        let queue = Broker::shared().queue().await.filled(0).await;
        let source = format!(
            "[sources.input]\ntype = \"amqp\"\nuri = \"{}\"\nqueue = \"{}\"\nprefetch = 10\n",
            queue.broker.url, queue.name
        );
        let store = format!("[store]\nurl = \"{}\"\nlease = \"2s\"\n", std::env::var("POSTGRES_URL").unwrap());
        let name = format!("name = \"replicas-{}\"", uuid::Uuid::new_v4());
        let config = site.pipeline_of(&source, sink).replace("name = \"it\"", &name) + &store;
        Self { config, queue }
    }

    async fn publish(&self, numbers: std::ops::RangeInclusive<u32>) {
        for number in numbers {
            let properties = lapin::BasicProperties::default().with_message_id(number.to_string().into());
            let payload = format!(r#"{{"n":{number}}}"#);
            self.queue.publish_one("", &self.queue.name, payload.as_bytes(), properties).await;
        }
    }

    /// A bridge with a folder of its own, ready to work.
    async fn replica(&self) -> (Bridge, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (_, consumers) = self.queue.counts().await;
        let bridge = Bridge::run(folder.path(), &self.config);
        while self.queue.counts().await.1 <= consumers {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (bridge, folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ and PostgreSQL: make brokers-up"]
async fn what_is_parked_is_attempted_once_each_time_it_is_due() {
    const EVENTS: u32 = 200;
    const FAILURES: usize = 4;
    const WAIT: Duration = Duration::from_millis(400);
    let counts = std::sync::Mutex::new(BTreeMap::new());
    let mut site = Site::choosing(move |request| {
        let mut counts = counts.lock().unwrap();
        let attempts = counts.entry(number(request)).or_insert(0);
        *attempts += 1;
        Reply::status(if *attempts > FAILURES { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
    })
    .await;
    let sink = "retry = { initial = \"400ms\", factor = 1.0, jitter = 0.0, park_after = \"0s\" }\n\
                breaker = { failures = 0 }";
    let pipeline = Pipeline::new(&site, sink).await;
    let (one, _folder) = pipeline.replica().await;
    let (other, _other_folder) = pipeline.replica().await;
    pipeline.publish(1..=EVENTS).await;

    let mut arrivals: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    wait_until("every event has been tried often enough", || {
        for request in site.received() {
            arrivals.entry(number(&request)).or_default().push(request.at.as_millisecond());
        }
        arrivals.len() == EVENTS as usize && arrivals.values().all(|times| times.len() > FAILURES)
    })
    .await;
    assert!(one.stop().success() && other.stop().success());
    pipeline.queue.left(0).await;
    pipeline.queue.delete().await;
    let more = site.received();
    assert!(more.is_empty(), "attempted again after it was delivered: {more:?}");
    for (event, times) in arrivals {
        assert_eq!(times.len(), FAILURES + 1, "event {event} was attempted too often: {times:?}");
        let wait = i64::try_from(WAIT.as_millis()).unwrap();
        assert!(times.is_sorted_by(|one, next| next - one >= wait), "event {event} was attempted early: {times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ and PostgreSQL: make brokers-up"]
async fn a_replica_takes_over_what_a_killed_one_had_claimed() {
    const EVENTS: u32 = 60;
    const CONCURRENCY: u64 = 10;
    let (failing, hanging, well) = (0, 1, 2);
    let mood = Arc::new(AtomicU8::new(failing));
    let receiver_mood = mood.clone();
    let mut site = Site::choosing(move |_| match receiver_mood.load(Ordering::SeqCst) {
        mood if mood == failing => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        mood if mood == hanging => Reply::Hang,
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let sink = format!(
        "concurrency = {CONCURRENCY}\ntimeout = \"60s\"\n\
         retry = {{ initial = \"1s\", factor = 1.0, jitter = 0.0, park_after = \"0s\" }}\n\
         breaker = {{ failures = 0 }}"
    );
    let pipeline = Pipeline::new(&site, &sink).await;
    let (goes, _folder) = pipeline.replica().await;
    pipeline.publish(1..=EVENTS).await;
    wait_until("every event has been tried", || site.receiver.requests() >= u64::from(EVENTS)).await;
    mood.store(hanging, Ordering::SeqCst);
    let tried = site.received().len() as u64;
    wait_until("attempts hang", || site.receiver.requests() >= tried + CONCURRENCY).await;
    mood.store(well, Ordering::SeqCst);
    let (stays, _other_folder) = pipeline.replica().await;

    // Whatever the first has not claimed may go; what hangs is claimed, and stays so for as long as its owner lives.
    // That nothing happens can only be seen by letting time pass.
    let hung = under_way(&mut site);
    tokio::time::sleep(2 * LEASE).await;
    let delivered_early: Vec<u64> = site.received().iter().map(number).filter(|event| hung.contains(event)).collect();
    assert!(delivered_early.is_empty(), "claimed by a living replica, and attempted by another: {delivered_early:?}");

    let killed = Instant::now();
    goes.kill();
    let mut left = hung;
    wait_until_within(LEASE + Duration::from_secs(10), "the other has taken over", || {
        let arrived: Vec<u64> = site.received().iter().map(number).collect();
        left.retain(|event| !arrived.contains(event));
        left.is_empty()
    })
    .await;
    // A heartbeat comes every third of a lease, and deliveries are asked for once a second.
    let limit = LEASE + LEASE / 3 + Duration::from_secs(3);
    assert!(killed.elapsed() < limit, "taking over took {:?}", killed.elapsed());
    assert!(stays.stop().success());
    pipeline.queue.delete().await;
}

/// The events whose attempts hang.
fn under_way(site: &mut Site) -> Vec<u64> {
    site.received().iter().filter(|request| request.answered_status.is_none()).map(number).collect()
}
