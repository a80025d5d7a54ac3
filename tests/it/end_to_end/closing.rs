//! An orderly end closes the connections over which dead letters went, and nobody has anything to complain of.

use std::path::Path;

use super::dead_letters::{site_that_rejects, with_dead_letters};
use super::topic::Topic;
use crate::amqp::broker::Broker;
use crate::support::Bridge;

/// What is wrong by the log of a run in this folder, which has made one dead letter.
fn complaints(folder: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(folder.join("bridge.log")).unwrap();
    let is_complaint = |line: &&str| line.contains("ERROR") || line.contains("WARN");
    log.lines()
        .filter(is_complaint)
        .filter(|line| !line.contains("given up, becomes a dead letter"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn the_publisher_of_dead_letters_says_goodbye_to_rabbitmq() {
    for once in [false, true] {
        let site = site_that_rejects().await;
        let queue = Broker::shared().queue().await;
        queue.declare().await;
        let dead = Broker::shared().queue().await;
        dead.declare().await;
        queue.publish_one("", &queue.name, b"\"bad\"", lapin::BasicProperties::default()).await;
        let config = with_dead_letters(&site, &super::amqp::source(&queue, ""), &format!("amqp:/{}", dead.name));
        let args: &[&str] = if once { &["--once"] } else { &[] };
        let bridge = Bridge::run_with(site.folder.path(), &config, args, std::process::Stdio::null());
        super::amqp::holds(&dead, (1, 0)).await;
        super::amqp::drained(&queue).await;
        let status = if once { bridge.wait() } else { bridge.stop() };
        assert!(status.success());
        assert_eq!(complaints(site.folder.path()), Vec::<String>::new(), "with --once: {once}");
        let log = std::fs::read_to_string(site.folder.path().join("bridge.log")).unwrap();
        assert!(log.contains("connected, to send dead letters"), "{log}");
        dead.delete().await;
        queue.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn the_producer_of_dead_letters_ends_in_silence() {
    let site = site_that_rejects().await;
    let (topic, dead) = (Topic::new(1).await, Topic::new(1).await);
    topic.produce_all(vec![Some(r#"{"n":"bad"}"#.into())]).await;
    let config = with_dead_letters(&site, &topic.source(""), &format!("kafka:{}", dead.name));
    let bridge = Bridge::run(site.folder.path(), &config);
    topic.committed_to_the_end().await;
    assert!(bridge.stop().success());
    assert_eq!(dead.ends().len(), 1);
    assert_eq!(complaints(site.folder.path()), Vec::<String>::new());
}
