//! Messages on their way in, and acknowledgements on their way out.

use std::time::Duration;

use lapin::options::ExchangeDeclareOptions;
use lapin::types::{AMQPValue, DecimalValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;
use webhook_bridge::event::MetaValue;
use webhook_bridge::source::{Defect, Input, Progress, Room, Source};

use super::broker::Broker;
use super::{LIMIT, above, connect_error, ids, meta, read, read_many, redelivered, up_to};

/// Long enough for a message that is on its way over loopback.
const SHORT: Duration = Duration::from_millis(500);

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_message_arrives_with_all_it_carries() {
    let queue = Broker::shared().queue().await.filled(0).await;
    let mut headers = FieldTable::default();
    headers.insert("text".into(), AMQPValue::LongString("grün".into()));
    headers.insert("count".into(), AMQPValue::LongUInt(7));
    headers.insert("price".into(), AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 1250 }));
    headers.insert("at".into(), AMQPValue::Timestamp(1_700_000_000));
    headers.insert("raw".into(), AMQPValue::ByteArray(vec![0xff, 0x00].into()));
    headers.insert("list".into(), AMQPValue::FieldArray(vec![AMQPValue::Boolean(true), AMQPValue::Void].into()));
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(headers)
        .with_delivery_mode(1)
        .with_priority(4)
        .with_correlation_id("c-1".into())
        .with_reply_to("answers".into())
        .with_expiration("600000".into())
        .with_message_id("m-1".into())
        .with_timestamp(1_700_000_001)
        .with_type("order.paid".into())
        .with_user_id("guest".into())
        .with_app_id("shop".into())
        .with_cluster_id("cluster".into());
    queue.publish_one("", &queue.name, br#"{"total": 12.5}"#, properties).await;

    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let record = read(&mut source).await;
    assert_eq!(record.defect, None);
    assert_eq!(record.event.content_type.as_deref(), Some("application/json"));
    assert_eq!(record.event.payload.as_deref(), Some(br#"{"total": 12.5}"#.as_slice()));
    assert_eq!(
        record.event.envelope().unwrap(),
        json!({
            "id": "m-1", "time": "2023-11-14T22:13:21Z", "source": "legacy", "key": queue.name,
            "headers": {
                "at": "2023-11-14T22:13:20Z", "count": 7, "list": [true, null], "price": 12.5, "raw": "/wA=",
                "text": "grün",
            },
            "meta": {
                "exchange": "", "routing_key": queue.name, "queue": queue.name, "redelivered": false,
                "properties": {
                    "content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 1,
                    "priority": 4, "correlation_id": "c-1", "reply_to": "answers", "expiration": "600000",
                    "message_id": "m-1", "timestamp": "2023-11-14T22:13:21Z", "type": "order.paid",
                    "user_id": "guest", "app_id": "shop", "cluster_id": "cluster",
                },
            },
            "data": {"total": 12.5},
        })
    );

    queue.publish_one("", &queue.name, &[b'x'; 300_000], BasicProperties::default()).await;
    let large = read(&mut source).await;
    assert_eq!(large.defect, Some(Defect::TooLarge { size: 300_000, limit: 1000 }));
    assert_eq!(large.event.size(), 300_000, "a payload in many frames is kept whole");
    assert!(Uuid::parse_str(&large.event.id).is_ok());
    source.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn what_is_committed_is_acknowledged_and_makes_room() {
    let queue = Broker::shared().queue().await.filled(30).await;
    let mut source = queue.source(json!({"prefetch": 10}));
    source.connect().await.unwrap();
    let first = read_many(&mut source, 10).await;
    assert!(timeout(SHORT, source.read(Room::ONE_RECORD)).await.is_err(), "more than `prefetch` messages arrived");
    assert_eq!(queue.ready_and_unacknowledged().await, (20, 10));

    source.commit(up_to(&first[9])).await.unwrap();
    let second = read_many(&mut source, 10).await;
    assert_eq!(ids(&second), (11..=20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(queue.ready_and_unacknowledged().await, (10, 10));

    source.commit(up_to(&second[4])).await.unwrap();
    let third = read_many(&mut source, 5).await;
    assert_eq!(queue.ready_and_unacknowledged().await, (5, 10));
    source.commit(up_to(&third[4])).await.unwrap();
    source.close().await;
    queue.left(5).await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn messages_that_are_at_hand_come_together_as_far_as_there_is_room() {
    let queue = Broker::shared().queue().await.filled(0).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let room = Room::new(4, usize::MAX).unwrap();
    let (mut published, mut read, mut several) = (0, 0, false);
    let until_several = async {
        while !several {
            queue.publish(published + 1..=published + 10).await;
            published += 10;
            while read < published {
                let Input::Records(records) = source.read(room).await.unwrap() else { panic!("messages are left") };
                assert!(records.len() <= 4, "{}", records.len());
                for record in &records {
                    read += 1;
                    assert_eq!(record.event.id, read.to_string());
                }
                several |= records.len() == 4;
            }
        }
    };
    timeout(LIMIT, until_several).await.expect("four messages never came together");
    source.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn what_settles_above_the_watermark_is_acknowledged_by_itself() {
    let queue = Broker::shared().queue().await.filled(8).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let records = read_many(&mut source, 8).await;

    source.commit(above(&[&records[2], &records[4], &records[5]])).await.unwrap();
    source.commit(above(&[&records[1]])).await.unwrap();
    // The watermark comes to rest on a message that was acknowledged before; and the driver names everything that has
    // settled since the last commit, those below the watermark too.
    let progress = Progress { settled: vec![(records[0].partition, records[0].position)], ..up_to(&records[2]) };
    source.commit(progress).await.unwrap();
    source.commit(up_to(&records[2])).await.unwrap();

    // The channel would be closed by now had any acknowledgement named a message twice.
    queue.publish([9]).await;
    assert_eq!(read(&mut source).await.event.id, "9");
    source.close().await;
    queue.left(4).await;

    let mut again = queue.source(json!({}));
    again.connect().await.unwrap();
    assert_eq!(ids(&read_many(&mut again, 4).await), ["4", "7", "8", "9"]);
    again.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_failed_event_comes_again_after_reconnecting() {
    let queue = Broker::shared().queue().await.filled(3).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let first = read_many(&mut source, 3).await;
    assert!(first.iter().all(|record| !redelivered(record)));
    source.commit(up_to(&first[0])).await.unwrap();

    source.connect().await.unwrap();
    let again = read_many(&mut source, 2).await;
    assert_eq!(ids(&again), ["2", "3"]);
    assert!(again.iter().all(redelivered));
    // Progress of the channel that is gone must not acknowledge what the new one has received.
    source.commit(up_to(&first[2])).await.unwrap();
    assert_eq!(queue.ready_and_unacknowledged().await, (0, 2));
    source.close().await;
    queue.left(2).await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn the_queue_is_declared_and_bound() {
    let queue = Broker::shared().queue().await;
    let exchange = format!("exchange-{}", queue.name);
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared =
        queue.channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default());
    declared.await.unwrap();
    let extra = json!({
        "declare": {"type": "quorum", "arguments": {"x-max-length": 100}},
        "bind": [{"exchange": exchange, "routing_key": "order.#"}, {"exchange": exchange, "routing_key": "refund.*"}],
    });
    let mut source = queue.source(extra.clone());
    assert!(source.probe().await.unwrap().contains("will be declared"));
    source.connect().await.unwrap();
    queue.publish_one(&exchange, "order.paid.eu", b"1", BasicProperties::default()).await;
    queue.publish_one(&exchange, "refund.eu", b"2", BasicProperties::default()).await;
    let records = read_many(&mut source, 2).await;
    assert_eq!(*meta(&records[0], "exchange"), MetaValue::Text(exchange.as_str().into()));
    assert_eq!(records[0].event.key.as_deref(), Some("order.paid.eu"));

    // A quorum queue counts, requeues and flags as any other.
    source.commit(up_to(&records[0])).await.unwrap();
    source.connect().await.unwrap();
    let again = read(&mut source).await;
    assert_eq!(again.event.key.as_deref(), Some("refund.eu"));
    assert!(redelivered(&again));
    let columns = ["list_queues", "--no-table-headers", "name", "type", "durable", "arguments"];
    let listed = queue.broker.ctl(&columns).await;
    let line = listed.lines().find(|line| line.starts_with(&queue.name)).unwrap();
    assert!(line.contains("\tquorum\ttrue\t") && line.contains(r#"{"x-max-length",100}"#), "{line}");

    let error = connect_error(&mut queue.source(json!({"declare": {"type": "classic"}}))).await;
    assert!(error.contains("exists with other properties") && error.contains("inequivalent arg"), "{error}");
    let error = connect_error(&mut queue.source(json!({"bind": [{"exchange": "nowhere"}]}))).await;
    assert!(error.contains("cannot bind the queue to exchange \"nowhere\""), "{error}");
    source.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn the_connection_shows_its_name() {
    let queue = Broker::shared().queue().await.filled(0).await;
    let mut source = queue.source(json!({"consumer_tag": format!("tag-{}", queue.name)}));
    source.connect().await.unwrap();
    let consumers = queue.broker.ctl(&["list_consumers", "--no-table-headers", "queue_name", "consumer_tag"]).await;
    assert!(consumers.contains(&format!("{0}\ttag-{0}", queue.name)), "{consumers}");
    let connections = queue.broker.ctl(&["list_connections", "--no-table-headers", "client_properties"]).await;
    assert!(connections.contains(r#"{"connection_name","bridge shop/legacy (shared)"}"#), "{connections}");
    assert!(connections.contains(r#"{"product","bridge"}"#), "{connections}");
    source.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_probe_takes_nothing() {
    let queue = Broker::shared().queue().await.filled(3).await;
    let found = queue.source(json!({})).probe().await.unwrap();
    assert!(found.contains(&queue.name) && found.contains("3 messages ready, 0 consumers"), "{found}");
    queue.left(3).await;
    queue.delete().await;
}
