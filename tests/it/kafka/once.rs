//! Where reading ends with `--once`.

use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use serde_json::json;
use webhook_bridge::source::Source;

use super::{PATIENCE, Scene, progress, read_to_end, records, unique};

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn once_ends_where_each_partition_ended_at_the_start() {
    let scene = Scene::new(3).await;
    let other = unique("other");
    scene.create_topic(&other, 2).await;
    scene.produce(0, 5).await;
    scene.produce(2, 2).await;
    scene.produce_to(&other, 0, 4).await;
    let mut source = scene.source_with(json!({"topics": [scene.topic, other]}), true);
    source.connect().await.unwrap();
    let mut ids = read_to_end(&mut source).await;
    ids.sort();
    let mut expected: Vec<String> = (0..5).map(|offset| format!("{}/0/{offset}", scene.topic)).collect();
    expected.extend((0..2).map(|offset| format!("{}/2/{offset}", scene.topic)));
    expected.extend((0..4).map(|offset| format!("{other}/0/{offset}")));
    expected.sort();
    assert_eq!(ids, expected);
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn once_ends_at_once_when_everything_has_been_committed() {
    let scene = Scene::new(1).await;
    scene.produce(0, 3).await;
    let mut source = scene.source_with(json!({}), true);
    source.connect().await.unwrap();
    let last = records(&mut source, 3).await.pop().unwrap();
    source.commit(progress(&[(last.partition, last.position)])).await.unwrap();
    source.close().await;
    source.connect().await.unwrap();
    assert_eq!(read_to_end(&mut source).await, [""; 0]);
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn once_ends_behind_a_tail_that_holds_no_records() {
    let scene = Scene::new(1).await;
    scene.produce(0, 2).await;
    let mut client = scene.client();
    let producer: FutureProducer = client.set("transactional.id", unique("transaction")).create().unwrap();
    let topic = scene.topic.clone();
    tokio::task::spawn_blocking({
        let producer = producer.clone();
        move || producer.init_transactions(PATIENCE).unwrap()
    })
    .await
    .unwrap();
    producer.begin_transaction().unwrap();
    producer.send(FutureRecord::<(), str>::to(&topic).payload("aborted"), PATIENCE).await.unwrap();
    tokio::task::spawn_blocking(move || producer.abort_transaction(PATIENCE).unwrap()).await.unwrap();

    let mut source = scene.source_with(json!({}), true);
    source.connect().await.unwrap();
    let ids = read_to_end(&mut source).await;
    assert_eq!(ids, [format!("{topic}/0/0"), format!("{topic}/0/1")]);
    source.close().await;
}
