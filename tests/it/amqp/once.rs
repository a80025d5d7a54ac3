//! The end of a run with `--once`.

use std::time::Duration;

use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use serde_json::json;
use tokio::time::timeout;
use webhook_bridge::source::amqp::AmqpSource;
use webhook_bridge::source::{Input, Record, Room, Source};

use super::broker::Broker;
use super::{LIMIT, ids, read, source, up_to};

/// Reads to the end, and commits each record after the next one has been read.
async fn read_to_the_end(source: &mut AmqpSource) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        match timeout(LIMIT, source.read(Room::ONE_RECORD)).await.expect("the end did not come").unwrap() {
            Input::Records(mut one) => records.append(&mut one),
            Input::End => return records,
            other => panic!("neither a record nor the end: {other:?}"),
        }
        if let [.., previous, _] = &records[..] {
            source.commit(up_to(previous)).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn once_ends_with_what_was_there_at_the_start() {
    let queue = Broker::shared().queue().await.filled(5).await;
    let mut once = source(&queue.broker.url, &queue.name, json!({"prefetch": 2}), true);
    once.connect().await.unwrap();
    read(&mut once).await;
    queue.publish([6]).await;
    // After a failed event, what was received before comes again and the end stays where it was.
    once.connect().await.unwrap();
    let records = read_to_the_end(&mut once).await;
    assert!(ids(&records).starts_with(&["1", "2", "3", "4", "5"]), "{:?}", ids(&records));
    once.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn once_ends_when_others_have_taken_the_rest() {
    let queue = Broker::shared().queue().await.filled(5).await;
    let mut once = source(&queue.broker.url, &queue.name, json!({"prefetch": 1}), true);
    once.connect().await.unwrap();
    let first = read(&mut once).await;
    let consumer = queue.channel.basic_consume(
        queue.name.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let _consumer = consumer.await.unwrap();
    // The driver drops `read` at every commit tick.
    let end = timeout(LIMIT, async {
        loop {
            if let Ok(input) = timeout(Duration::from_millis(50), once.read(Room::ONE_RECORD)).await {
                return input.unwrap();
            }
        }
    });
    assert!(matches!(end.await.expect("the end did not come"), Input::End));
    once.commit(up_to(&first)).await.unwrap();
    once.close().await;
    queue.delete().await;
}
