//! What the end of a bridge costs messages of a quorum queue that has an `x-delivery-limit`: measured at a real broker.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use tokio::time::timeout;
use webhook_bridge::source::Source as _;

use super::broker::{Broker, TestQueue};
use super::{LIMIT, ids, read_many};

/// Messages 1 to `count`, as RabbitMQ 4.3 delivers what has come back to a quorum queue before, or without that header.
async fn fill(queue: &TestQueue, count: u32, has_come_back: bool) {
    let mut headers = FieldTable::default();
    if has_come_back {
        headers.insert("x-acquired-count".into(), AMQPValue::LongInt(1));
    }
    for number in 1..=count {
        let properties = BasicProperties::default()
            .with_message_id(number.to_string().into())
            .with_delivery_mode(2)
            .with_headers(headers.clone());
        queue.publish_one("", &queue.name, number.to_string().as_bytes(), properties).await;
    }
}

/// The keys of a source that declares its queue.
fn declaring(arguments: Value) -> Value {
    json!({"declare": {"type": "quorum", "arguments": arguments}})
}

/// Makes the queue by connecting a source to it.
async fn declare(queue: &TestQueue, keys: &Value) {
    let mut source = queue.source(keys.clone());
    source.connect().await.unwrap();
    source.close().await;
}

/// Connects, reads so many messages, and ends in order without having acknowledged any. So many are not sent to it. Gives
/// the ids of those that were read.
async fn run(queue: &TestQueue, keys: &Value, count: usize, not_sent: u32) -> Vec<String> {
    let mut source = queue.source(keys.clone());
    source.connect().await.unwrap();
    let records = read_many(&mut source, count).await;
    let sent = async {
        while queue.counts().await.0 != not_sent {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, sent).await.expect("the broker sends what the prefetch allows");
    let open: Vec<(u32, u64)> = records.iter().map(|record| (record.partition, record.position)).collect();
    source.give_back(&open).await;
    source.close().await;
    records.into_iter().map(|record| record.event.id.clone()).collect()
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn each_end_with_open_messages_counts_also_for_what_was_only_prefetched() {
    let queue = Broker::shared().queue().await;
    let dead = format!("{}-dead", queue.name);
    let durable = QueueDeclareOptions::durable();
    queue.channel.queue_declare(dead.as_str().into(), durable, FieldTable::default()).await.unwrap();
    let keys = declaring(json!({
        "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
    }));
    declare(&queue, &keys).await;
    fill(&queue, 3, false).await;
    // The limit is the number of times that a message may come back. Two of the three are never read by the source.
    for _ in 0..2 {
        assert_eq!(run(&queue, &keys, 1, 0).await, ["1"]);
        queue.left(3).await;
    }
    assert_eq!(run(&queue, &keys, 1, 0).await, ["1"]);
    queue.left(0).await;
    let dead_letters = TestQueue { name: dead.clone(), ..Broker::shared().queue().await };
    dead_letters.left(3).await;
    queue.channel.queue_delete(dead.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn what_is_given_back_to_a_queue_with_a_limit_comes_again_in_its_order() {
    let queue = Broker::shared().queue().await;
    let keys = declaring(json!({"x-delivery-limit": 20}));
    declare(&queue, &keys).await;
    fill(&queue, 5, true).await;
    for _ in 0..2 {
        assert_eq!(run(&queue, &keys, 2, 0).await, ["1", "2"]);
        queue.left(5).await;
    }
    assert_eq!(run(&queue, &keys, 5, 0).await, ["1", "2", "3", "4", "5"]);
    queue.delete().await;
}

/// A queue without a limit shows which of the two ways was taken: it puts what a `basic.nack` gives back behind its
/// other messages.
#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn messages_are_given_back_only_where_that_does_not_count() {
    for (knows_given_back, expected) in [(false, ["1", "2", "3", "4", "5"]), (true, ["3", "4", "5", "1", "2"])] {
        let queue = Broker::shared().queue().await;
        let mut keys = declaring(json!({}));
        declare(&queue, &keys).await;
        fill(&queue, 5, knows_given_back).await;
        keys["prefetch"] = json!(2);
        assert_eq!(run(&queue, &keys, 1, 3).await, ["1"]);
        queue.left(5).await;
        keys["prefetch"] = json!(10);
        assert_eq!(run(&queue, &keys, 5, 0).await, expected);
        queue.delete().await;
    }
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn what_a_failed_event_brings_back_is_not_given_back_as_unharmed() {
    let queue = Broker::shared().queue().await;
    let mut keys = declaring(json!({}));
    declare(&queue, &keys).await;
    fill(&queue, 5, true).await;
    keys["prefetch"] = json!(2);
    let mut source = queue.source(keys);
    for _ in 0..2 {
        // A new session after a failed event, as the driver begins one: the limit must end what fails for ever.
        source.connect().await.unwrap();
        assert_eq!(ids(&read_many(&mut source, 2).await), ["1", "2"]);
    }
    source.close().await;
    queue.delete().await;
}
