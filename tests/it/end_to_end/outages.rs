//! Brokers that are away at the start and die in the middle of a flow. Each test has a broker of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use webhook_bridge::receiver::Behaviour;

use super::topic::{OwnBroker, Topic};
use super::{Collected, duplicates};
use crate::amqp::broker::{Broker, TestQueue};
use crate::delivery::Site;
use crate::support::{Bridge, wait_until};

async fn slow_site() -> Site {
    Site::start(Behaviour { delay: Duration::from_millis(20), ..Behaviour::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_kafka_broker_may_be_away_at_the_start_and_die_in_the_middle() {
    let broker = OwnBroker::kafka("end-to-end");
    broker.run("start").await;
    let topic = Topic::at(broker.bootstrap(), 2).await;
    // More than librdkafka may read ahead, as asked below: when the broker dies, some of it has not been read yet.
    let filling = "x".repeat(1000);
    let mut expected =
        topic.produce_all((0..6000).map(|n| Some(format!(r#"{{"n":{n},"filling":"{filling}"}}"#))).collect()).await;
    broker.run("stop").await;

    let mut site = slow_site().await;
    let source = topic.source(
        "max_in_flight = 300\n\
         options = { \"session.timeout.ms\" = \"6000\", \"queued.max.messages.kbytes\" = \"256\" }",
    );
    let config = site.pipeline_of(&source, "concurrency = 32");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the outage is logged", || bridge.log().contains("no Kafka broker can be reached")).await;
    broker.run("start").await;
    wait_until("events flow", || site.receiver.requests() > 500).await;
    broker.run("kill").await;
    wait_until("the crash is logged", || bridge.log().contains("nothing is read until one is back")).await;
    let mut collected = Collected::new();
    assert!(collected.take(&mut site) < expected.len(), "the crash must come in the middle");
    broker.run("start").await;
    expected.extend(topic.produce(500).await);

    wait_until("everything is delivered", || collected.take(&mut site) == expected.len()).await;
    topic.committed_to_the_end().await;
    assert!(bridge.log().contains("a Kafka broker answers again"), "{}", bridge.log());
    assert!(bridge.stop().success(), "the process has lived through it all");
    collected.take(&mut site);
    // Nothing is committed while the broker is away, so there is no bound on repetitions to check.
    duplicates(&collected.delivered, &expected);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_rabbitmq_may_be_away_at_the_start_and_die_in_the_middle() {
    let (broker, _stop) = Broker::private("end-to-end").await;
    let queue = broker.queue().await.filled(1000).await;
    let name = queue.name.clone();
    // RabbitMQ confirms a message once it is on disk, but a queue's declaration gets there a little later.
    broker.ctl(&["eval", "mnesia:sync_log()."]).await;
    broker.run(&["stop"]).await;

    let mut site = slow_site().await;
    let source = super::amqp::source(&queue, "prefetch = 100");
    let bridge = Bridge::run(site.folder.path(), &site.pipeline_of(&source, "concurrency = 8"));
    wait_until("the outage is logged", || bridge.log().contains("connecting again")).await;
    broker.run(&["start"]).await;
    wait_until("messages flow", || site.receiver.requests() > 200).await;
    let outages = bridge.log().matches("connecting again").count();
    broker.run(&["kill"]).await;
    wait_until("the crash is logged", || bridge.log().matches("connecting again").count() > outages).await;
    let mut collected = Collected::new();
    assert!(collected.take(&mut site) < 1000, "the crash must come in the middle");
    broker.run(&["start"]).await;

    let expected: BTreeSet<String> = (1..=1000).map(|number| number.to_string()).collect();
    wait_until("everything is delivered", || collected.take(&mut site) == expected.len()).await;
    let queue = TestQueue { name, ..broker.queue().await };
    super::amqp::drained(&queue).await;
    assert!(bridge.stop().success(), "the process has lived through it all");
    collected.take(&mut site);
    duplicates(&collected.delivered, &expected);
}
