//! What is read, what is committed, and where reading goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use serde_json::{Value, json};
use tokio::time::timeout;
use webhook_bridge::event::MetaValue;
use webhook_bridge::source::{Defect, Input, Room, Source};

use super::{PATIENCE, Scene, kafka_partition, progress, read, record, records, unique};

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn every_part_of_a_message_reaches_the_event() {
    let scene = Scene::new(1).await;
    let producer = scene.producer();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("a") })
        .insert(Header { key: "trace", value: Some(b"\xff".as_slice()) })
        .insert(Header::<&str> { key: "nothing", value: None })
        .insert(Header { key: "Content-Type", value: Some("application/xml") });
    let full = FutureRecord::to(&scene.topic).key("o-1").payload("<a/>").timestamp(1_700_000_000_123).headers(headers);
    producer.send(full, PATIENCE).await.unwrap();
    producer.send(FutureRecord::<str, str>::to(&scene.topic).key("o-1"), PATIENCE).await.unwrap();
    producer.send(FutureRecord::<[u8], [u8]>::to(&scene.topic).key(b"\xff").payload(b""), PATIENCE).await.unwrap();

    let mut source = scene.connected(json!({})).await;
    let [full, tombstone, empty] = records(&mut source, 3).await.try_into().unwrap();

    let event = full.event;
    assert_eq!(event.id, format!("{}/0/0", scene.topic));
    assert_eq!(event.time.as_millisecond(), 1_700_000_000_123);
    assert_eq!(&*event.source, "kafka");
    assert_eq!(event.key.as_deref(), Some("o-1"));
    assert_eq!(event.payload.as_deref(), Some(b"<a/>".as_slice()));
    assert_eq!(event.content_type.as_deref(), Some("application/xml"));
    let names = event.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<Vec<_>>();
    let expected = [("trace", json!("a")), ("trace", json!("/w==")), ("nothing", Value::Null)];
    assert_eq!(names[..3], expected);
    let topic = MetaValue::Text(scene.topic.as_str().into());
    let meta = [
        ("topic".into(), topic),
        ("partition".into(), MetaValue::Integer(0)),
        ("offset".into(), MetaValue::Integer(0)),
    ];
    assert_eq!(event.meta, meta);
    assert_eq!((full.position, full.defect), (1, None));

    assert_eq!(tombstone.event.payload, None);
    assert_eq!(empty.event.payload.as_deref(), Some(b"".as_slice()));
    assert_eq!(empty.event.key.as_deref(), Some("/w=="));
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn records_that_are_at_hand_come_together_as_far_as_there_is_room() {
    let scene = Scene::new(2).await;
    scene.produce(0, 1000).await;
    scene.produce(1, 1000).await;
    let mut source = scene.connected(json!({})).await;
    let mut positions = BTreeMap::<i64, Vec<u64>>::new();
    let (mut read, mut largest) = (0, 0);
    while read < 2000 {
        let room = Room::new(50, 1_000_000).unwrap();
        let input = timeout(PATIENCE, source.read(room)).await.expect("nothing was read in time").unwrap();
        let Input::Records(records) = input else { panic!("records were expected, not {input:?}") };
        read += records.len();
        largest = largest.max(records.len());
        for record in &records {
            positions.entry(kafka_partition(record)).or_default().push(record.position);
        }
    }
    assert_eq!(largest, 50);
    let all: Vec<u64> = (1..=1000).collect();
    assert_eq!(positions, [(0, all.clone()), (1, all)].into());

    scene.produce(0, 10).await;
    let payload = record(&mut source).await.event.size();
    // The record that reaches the bound on bytes is the last of its bunch.
    let room = Room::new(50, payload + 1).unwrap();
    let mut rest = Vec::new();
    while rest.iter().sum::<usize>() < 9 {
        let Input::Records(records) = timeout(PATIENCE, source.read(room)).await.unwrap().unwrap() else {
            panic!("records were expected")
        };
        rest.push(records.len());
    }
    assert!(rest.iter().all(|count| *count <= 2), "{rest:?}");
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn exactly_what_is_given_is_committed_and_reading_goes_on_behind_it() {
    let scene = Scene::new(2).await;
    scene.produce(0, 10).await;
    scene.produce(1, 5).await;
    let mut source = scene.connected(json!({})).await;
    let read = records(&mut source, 15).await;
    assert_eq!(scene.committed(2).await, BTreeMap::new(), "reading alone commits nothing");

    let number = |partition| read.iter().find(|record| kafka_partition(record) == partition).unwrap().partition;
    source.commit(progress(&[(number(0), 4)])).await.unwrap();
    source.commit(progress(&[(number(0), 7), (number(1), 2)])).await.unwrap();
    source.close().await;
    assert_eq!(scene.committed(2).await, BTreeMap::from([(0, 7), (1, 2)]));

    source.connect().await.unwrap();
    let mut ids: Vec<String> = records(&mut source, 6).await.into_iter().map(|record| record.event.id).collect();
    ids.sort();
    let expected = ["0/7", "0/8", "0/9", "1/2", "1/3", "1/4"].map(|rest| format!("{}/{rest}", scene.topic));
    assert_eq!(ids, expected);
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn connecting_again_without_a_close_starts_behind_the_last_commit() {
    let scene = Scene::new(1).await;
    scene.produce(0, 3).await;
    let mut source = scene.connected(json!({})).await;
    let first = records(&mut source, 3).await;
    source.commit(progress(&[(first[0].partition, 1)])).await.unwrap();
    source.connect().await.unwrap();
    let ids: Vec<String> = records(&mut source, 2).await.into_iter().map(|record| record.event.id).collect();
    assert_eq!(ids, [format!("{}/0/1", scene.topic), format!("{}/0/2", scene.topic)]);
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_pattern_finds_topics_that_are_there_and_topics_that_come_later() {
    let scene = Scene::new(1).await;
    let prefix = unique("pattern");
    scene.create_topic(&format!("{prefix}-a"), 1).await;
    scene.produce_to(&format!("{prefix}-a"), 0, 1).await;
    let keys = json!({"topics": [format!("^{prefix}-.*")], "options": {"topic.metadata.refresh.interval.ms": "500"}});
    let mut source = scene.connected(keys).await;
    assert_eq!(record(&mut source).await.event.id, format!("{prefix}-a/0/0"));

    scene.create_topic(&format!("{prefix}-b"), 1).await;
    scene.produce_to(&format!("{prefix}-b"), 0, 1).await;
    let next = record(&mut source).await;
    assert_eq!(next.event.id, format!("{prefix}-b/0/0"), "a cooperative rebalance reads nothing twice");
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_topic_that_does_not_exist_is_waited_for() {
    let scene = Scene::new(1).await;
    let later = unique("later");
    let keys = json!({"topics": [later], "options": {"topic.metadata.refresh.interval.ms": "500"}});
    let mut source = scene.connected(keys).await;
    assert!(timeout(Duration::from_secs(2), read(&mut source)).await.is_err(), "there is nothing to read yet");
    scene.create_topic(&later, 1).await;
    scene.produce_to(&later, 0, 1).await;
    assert_eq!(record(&mut source).await.event.id, format!("{later}/0/0"));
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_message_larger_than_a_fetch_arrives_whole_and_is_marked_when_over_the_limit() {
    let scene = Scene::new(1).await;
    let producer = scene.producer();
    let large = "x".repeat(900_000);
    producer.send(FutureRecord::<(), str>::to(&scene.topic).payload(&large), PATIENCE).await.unwrap();
    let mut source = scene.connected(json!({"options": {"fetch.message.max.bytes": "1000"}})).await;
    let whole = record(&mut source).await;
    assert_eq!(whole.event.size(), 900_000, "it is kept whole, to be replayed");
    assert_eq!(whole.defect, Some(Defect::TooLarge { size: 900_000, limit: 500_000 }));
    source.close().await;
}
