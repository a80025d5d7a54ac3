//! Where a group starts, what appears later, and topics that are deleted and created anew.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};
use tokio::time::timeout;
use webhook_bridge::source::kafka::KafkaSource;
use webhook_bridge::source::{Input, Room, Source};

use super::{PATIENCE, Scene, kafka_partition, progress, read, records};

impl Scene {
    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    async fn add_partitions(&self, count: usize) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let wanted = NewPartitions::new(&self.topic, count);
        self.admin().create_partitions(&[wanted], &options).await.unwrap()[0].as_ref().unwrap();
    }

    /// Deletes the topic and creates it anew, with these many records in its only partition.
    async fn recreate_topic(&self, records: usize) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        self.admin().delete_topics(&[&self.topic], &options).await.unwrap()[0].as_ref().unwrap();
        let created = async {
            // The broker takes a moment to be rid of the old one.
            while tokio::task::JoinSet::from_iter([self.try_to_create(1)]).join_next().await.unwrap().is_err() {}
        };
        timeout(PATIENCE, created).await.expect("the topic is not created anew");
        self.produce(0, records).await;
    }

    fn try_to_create(&self, partitions: i32) -> impl Future<Output = ()> + Send + use<> {
        let scene = Self { bootstrap: self.bootstrap.clone(), topic: self.topic.clone(), group: self.group.clone() };
        async move { scene.create_topic(&scene.topic, partitions).await }
    }
}

/// Finds new partitions soon.
fn latest() -> Value {
    keys("latest", "300")
}

fn keys(start: &str, refresh_ms: &str) -> Value {
    json!({"start": start, "options": {"topic.metadata.refresh.interval.ms": refresh_ms}})
}

/// Joins the group and waits for its partitions: then reading begins.
async fn joined(scene: &Scene, keys: Value) -> KafkaSource {
    let mut source = scene.connected(keys).await;
    // Nothing is to be read yet, but the group is joined only while somebody reads.
    timeout(Duration::from_secs(2), source.read(Room::ONE_RECORD)).await.expect_err("nothing is to be read yet");
    source
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn the_end_seen_at_the_first_start_is_committed_before_anything_is_read() {
    let scene = Scene::new(2).await;
    scene.produce(0, 3).await;
    let source = scene.connected(latest()).await;
    assert_eq!(scene.committed(2).await, [(0, 3), (1, 0)].into());
    drop(source);

    // As after a kill -9: nothing of this was committed, and both partitions got records meanwhile.
    scene.produce(0, 2).await;
    scene.produce(1, 1).await;
    let mut source = scene.connected(latest()).await;
    let mut ids: Vec<String> = records(&mut source, 3).await.into_iter().map(|record| record.event.id).collect();
    ids.sort();
    let place = |rest: &str| format!("{}/{rest}", scene.topic);
    assert_eq!(ids, [place("0/3"), place("0/4"), place("1/0")]);
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_partition_that_is_added_later_is_read_from_its_beginning() {
    let scene = Scene::new(1).await;
    scene.produce(0, 3).await;
    let mut source = joined(&scene, latest()).await;
    scene.add_partitions(2).await;
    scene.produce(1, 3).await;
    let added = records(&mut source, 3).await;
    assert!(added.iter().all(|record| kafka_partition(record) == 1), "{added:?}");
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_topic_that_appears_later_is_read_from_its_beginning() {
    let mut scene = Scene::new(1).await;
    scene.produce(0, 3).await;
    let (old, pattern) = (scene.topic.clone(), format!("^{}.*", scene.topic));
    scene.topic = pattern;
    let mut source = joined(&scene, latest()).await;
    let new = format!("{old}-new");
    scene.create_topic(&new, 1).await;
    scene.produce_to(&new, 0, 2).await;
    let ids: Vec<String> = records(&mut source, 2).await.into_iter().map(|record| record.event.id).collect();
    assert_eq!(ids, [format!("{new}/0/0"), format!("{new}/0/1")]);
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_topic_created_anew_is_read_from_its_beginning_whatever_was_committed() {
    // librdkafka finds out either that the topic is gone, or nothing at all.
    for (start, refresh) in [("earliest", "300"), ("latest", "300"), ("earliest", "600000"), ("latest", "600000")] {
        let scene = Scene::new(1).await;
        let mut source = joined(&scene, keys(start, refresh)).await;
        scene.produce(0, 4).await;
        let [.., last] = <[_; 4]>::try_from(records(&mut source, 4).await).unwrap();
        source.commit(progress(&[(last.partition, last.position)])).await.unwrap();
        while scene.committed(1).await.get(&0) != Some(&4) {
            timeout(Duration::from_millis(50), source.read(Room::ONE_RECORD)).await.ok();
        }

        scene.recreate_topic(9).await;
        all_are_read(&scene, &mut source, 9).await;
        source.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_position_of_the_deleted_topic_that_a_late_commit_has_left_in_the_new_one_does_not_stay() {
    let scene = Scene::new(1).await;
    let mut source = joined(&scene, keys("earliest", "600000")).await;
    scene.produce(0, 4).await;
    let [.., last] = <[_; 4]>::try_from(records(&mut source, 4).await).unwrap();
    // As if this had been under way while the topic was created anew: the broker takes it.
    source.commit(progress(&[(last.partition, 100)])).await.unwrap();
    all_are_read(&scene, &mut source, 4).await;
    assert_eq!(scene.committed(1).await, [(0, 0)].into());
    source.close().await;
}

/// Reads until the only partition's records have come from its beginning, and connects again as the driver does.
async fn all_are_read(scene: &Scene, source: &mut KafkaSource, records: usize) {
    let expected: BTreeSet<String> = (0..records).map(|offset| format!("{}/0/{offset}", scene.topic)).collect();
    let mut seen = BTreeSet::new();
    while seen != expected {
        match timeout(PATIENCE, source.read(Room::ONE_RECORD))
            .await
            .expect("the new topic is not read from its beginning")
        {
            Ok(Input::Records(records)) => seen.extend(records.into_iter().map(|record| record.event.id)),
            Ok(Input::Closing { partitions, .. }) => source.release(&partitions).await.unwrap(),
            Ok(Input::Lost { .. } | Input::Away { .. } | Input::Back) => {}
            Ok(other) => panic!("{other:?}"),
            // The driver does so, and says why.
            Err(error) => {
                assert!(error.to_string().contains("deleted"), "{error}");
                source.connect().await.unwrap();
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn another_member_at_the_first_start_changes_nothing() {
    let scene = Scene::new(2).await;
    scene.produce(0, 3).await;
    scene.produce(1, 3).await;
    let (one, other) = tokio::join!(scene.connected(latest()), scene.connected(latest()));
    let (mut one, mut other) = (one, other);
    assert_eq!(scene.committed(2).await, [(0, 3), (1, 3)].into());
    scene.produce(0, 1).await;
    scene.produce(1, 1).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let input = tokio::select! {
            input = read(&mut one) => input,
            input = read(&mut other) => input,
        };
        if let Input::Records(records) = input {
            seen.extend(records.into_iter().map(|record| record.event.id));
        }
    }
    assert!(seen.iter().all(|id| id.ends_with("/3")), "{seen:?}");
    one.close().await;
    other.close().await;
}
