//! Messages that share a `message-id` and say something else: none takes the place of another, in either store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use lapin::BasicProperties;
use serde_json::Value;

use super::amqp::source;
use crate::amqp::broker::{Broker, TestQueue};
use crate::delivery::{Site, answer, number};
use crate::support::{Bridge, command, run_to_end, wait_until};

/// The tables of both stores.
fn stores() -> [String; 2] {
    let postgres = std::env::var("POSTGRES_URL").expect("POSTGRES_URL names a database: tests/brokers/postgres.sh env");
    [String::new(), format!("[store]\nurl = \"{postgres}\"\n")]
}

/// A receiver whose answer can be changed, a queue with three messages under one id, and the pipeline between them.
struct Scene {
    site: Site,
    status: Arc<AtomicU16>,
    queue: TestQueue,
    config: String,
}

impl Scene {
    async fn new(status: u16, sink: &str, store: &str) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let chosen = Arc::clone(&status);
        let site = Site::choosing(move |_| answer(chosen.load(Ordering::Relaxed), &[], "")).await;
        let queue = Broker::shared().queue().await.filled(0).await;
        for number in 1..=3 {
            let properties = BasicProperties::default().with_message_id("m-1".into()).with_delivery_mode(2);
            queue.publish_one("", &queue.name, format!(r#"{{"n":{number}}}"#).as_bytes(), properties).await;
        }
        let name = format!("name = \"it-{}\"", uuid::Uuid::new_v4());
        let config = site.pipeline_of(&source(&queue, ""), sink).replace("name = \"it\"", &name) + store;
        Self { site, status, queue, config }
    }

    fn run(&self) -> Bridge {
        Bridge::run(self.site.folder.path(), &self.config)
    }

    /// The payloads of all dead letters.
    fn dead(&self) -> BTreeSet<String> {
        let letters = self.site.dead_letters();
        assert!(letters.iter().all(|letter| letter["attempts"] == 1 && letter["event"]["id"] == "m-1"), "{letters:?}");
        letters.iter().filter_map(|letter| letter["event"]["payload"].as_str().map(str::to_owned)).collect()
    }

    /// What a command prints; nothing before there is a store.
    fn bridge(&self, words: [&str; 2], args: &[&str]) -> String {
        let folder = self.site.folder.path();
        let mut bridge = command();
        bridge.args(words).arg("--state-dir").arg(folder.join("state")).arg(folder.join("pipeline.toml")).args(args);
        let (code, stdout, stderr) = run_to_end(&mut bridge);
        assert!(code == 0 || stderr.contains("there is no store"), "{stderr}");
        stdout
    }

    fn parked(&self) -> i64 {
        let list = self.bridge(["sinks", "list"], &["--format", "json"]);
        let sink: Value = list.lines().next().map(|line| serde_json::from_str(line).unwrap()).unwrap_or_default();
        sink["parked"].as_i64().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ and PostgreSQL: make brokers-up"]
async fn messages_that_share_an_id_are_parked_and_delivered_side_by_side() {
    for store in stores() {
        for order in ["", "order_by = \"{{source}}\"\n"] {
            let sink =
                format!("{order}retry = {{ initial = \"1s\", factor = 1.0, jitter = 0.0, park_after = \"100ms\" }}");
            let mut scene = Scene::new(503, &sink, &store).await;
            let bridge = scene.run();
            wait_until("all are parked and acknowledged", || scene.parked() == 3).await;
            scene.site.received();
            scene.status.store(200, Ordering::Relaxed);
            let mut delivered = Vec::new();
            wait_until("all are delivered", || {
                let received = scene.site.received();
                delivered.extend(
                    received
                        .iter()
                        .filter(|request| request.answered_status == Some(axum::http::StatusCode::OK))
                        .map(number),
                );
                delivered.len() >= 3 && scene.parked() == 0
            })
            .await;
            assert!(bridge.stop().success());
            scene.queue.left(0).await;
            if order.is_empty() {
                delivered.sort_unstable();
            }
            assert_eq!(delivered, [1, 2, 3], "{store}{order}");
            scene.queue.delete().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ and PostgreSQL: make brokers-up"]
async fn messages_that_share_an_id_are_dead_letters_side_by_side() {
    for store in stores() {
        let mut scene = Scene::new(400, "", &store).await;
        let bridge = scene.run();
        wait_until("all are dead letters", || scene.dead().len() == 3).await;
        assert_eq!(scene.bridge(["dead", "list"], &[]).matches("m-1").count(), 3);
        scene.site.received();
        scene.status.store(200, Ordering::Relaxed);
        let letters = scene.site.dead_letters();
        let id = |payload: &str| {
            letters.iter().find(|letter| letter["event"]["payload"] == payload).unwrap()["id"].to_string()
        };
        assert!(scene.bridge(["dead", "show"], &[&id(r#"{"n":2}"#)]).contains("\"n\": 2"));
        scene.bridge(["dead", "replay"], &[&id(r#"{"n":2}"#)]);
        let received = scene.site.received();
        assert_eq!(received.iter().map(number).collect::<Vec<_>>(), [2]);
        scene.bridge(["dead", "purge"], &[&id(r#"{"n":1}"#), "--yes"]);
        assert_eq!(scene.dead(), BTreeSet::from([r#"{"n":3}"#.to_owned()]));
        assert!(bridge.stop().success());
        scene.queue.left(0).await;
        scene.queue.delete().await;
    }
}
