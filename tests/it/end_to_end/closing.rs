//! An orderly end closes the connections over which dead letters went, and nobody has anything to complain of.

use std::path::Path;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::dead_letters::{site_that_rejects, with_dead_letters};
use super::topic::Topic;
use crate::amqp::broker::Broker;
use crate::support::{Bridge, PATIENCE, wait_until};

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

/// How many connections to the virtual host are for dead letters.
async fn publishers(broker: &Broker) -> usize {
    let listed = broker.ctl(&["list_connections", "--no-table-headers", "vhost", "client_properties"]).await;
    let vhost = broker.vhost();
    listed.lines().filter(|line| line.starts_with(&vhost) && line.contains("(dead letters)")).count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_reload_that_sends_dead_letters_elsewhere_closes_the_former_connection() {
    let broker = Broker::shared().own_vhost().await;
    let site = site_that_rejects().await;
    let (queue, first, second) = (broker.queue().await, broker.queue().await, broker.queue().await);
    for queue in [&queue, &first, &second] {
        queue.declare().await;
    }
    let config = |dead: &str| with_dead_letters(&site, &super::amqp::source(&queue, ""), &format!("amqp:/{dead}"));
    let send_one = || queue.publish_one("", &queue.name, b"\"bad\"", lapin::BasicProperties::default());
    let bridge = Bridge::run(site.folder.path(), &config(&first.name));
    send_one().await;
    super::amqp::holds(&first, (1, 0)).await;
    assert_eq!(publishers(&broker).await, 1);

    std::fs::write(site.folder.path().join("pipeline.toml"), config(&second.name)).unwrap();
    bridge.signal(Signal::SIGHUP);
    wait_until("the new version runs", || bridge.log().contains("goes on with the new version")).await;
    send_one().await;
    super::amqp::holds(&second, (1, 0)).await;
    let deadline = Instant::now() + PATIENCE;
    while publishers(&broker).await > 1 {
        assert!(Instant::now() < deadline, "the former one stays open");
    }
    assert!(bridge.stop().success());
    assert_eq!(complaints(site.folder.path()), Vec::<String>::new());
    broker.delete_vhost().await;
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
    // A broker that is busy makes the library complain at the start.
    let before = complaints(site.folder.path()).len();
    assert!(bridge.stop().success());
    assert_eq!(dead.ends().len(), 1);
    assert_eq!(complaints(site.folder.path())[before..], [""; 0]);
}
