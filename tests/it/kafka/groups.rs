//! Members of a group: what a rebalance takes away and brings, and members that are full or thrown out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use webhook_bridge::source::{Input, Room, Source};

use super::{Scene, kafka_partition, progress, read, record, records};

/// Two members, one partition moves from the first to the second, and nothing is committed for it after its release.
async fn hand_over(options: Value) {
    let scene = Scene::new(2).await;
    scene.produce(0, 3).await;
    scene.produce(1, 3).await;
    let mut first = scene.connected(json!({"options": options})).await;
    let read = records(&mut first, 6).await;
    let partition_of: BTreeMap<u32, i64> =
        read.iter().map(|record| (record.partition, kafka_partition(record))).collect();

    let mut second = scene.connected(json!({"options": options})).await;
    let closing = tokio::select! {
        input = first.read(Room::ONE_RECORD) => input.unwrap(),
        input = second.read(Room::ONE_RECORD) => panic!("the second member reads what the first has not given back: {input:?}"),
    };
    let Input::Closing { partitions: closing, within } = closing else { panic!("{closing:?}") };
    assert_eq!(within, Some(Duration::from_secs(10)));
    // The partitions have not moved yet: what settles now is still committed.
    let settled: Vec<(u32, u64)> = closing.iter().map(|number| (*number, 2)).collect();
    first.commit(progress(&settled)).await.unwrap();
    first.release(&closing).await.unwrap();
    // What settles too late is not.
    first.commit(progress(&closing.iter().map(|number| (*number, 3)).collect::<Vec<_>>())).await.unwrap();

    let moved = loop {
        tokio::select! {
            _ = first.read(Room::ONE_RECORD) => {}
            input = second.read(Room::ONE_RECORD) => match input.unwrap() {
                Input::Records(mut records) => break records.remove(0),
                other => panic!("{other:?}"),
            },
        }
    };
    assert_eq!(moved.position, 3, "the second member goes on behind the first one's commit");
    let expected: BTreeMap<i32, i64> = closing.iter().map(|number| (partition_of[number] as i32, 2)).collect();
    assert_eq!(scene.committed(2).await, expected);
    first.close().await;
    second.close().await;
    assert_eq!(scene.committed(2).await, expected);
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_rebalance_hands_over_what_has_been_drained_cooperatively() {
    hand_over(json!({})).await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_rebalance_hands_over_what_has_been_drained_eagerly() {
    hand_over(json!({"partition.assignment.strategy": "range"})).await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_rebalance_hands_over_what_has_been_drained_with_the_new_group_protocol() {
    hand_over(json!({"group.protocol": "consumer"})).await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn closing_in_the_middle_of_a_revocation_leaves_the_group() {
    let scene = Scene::new(2).await;
    scene.produce(0, 1).await;
    scene.produce(1, 1).await;
    let mut first = scene.connected(json!({})).await;
    records(&mut first, 2).await;
    let mut second = scene.connected(json!({})).await;
    let closing = tokio::select! {
        input = first.read(Room::ONE_RECORD) => input.unwrap(),
        input = second.read(Room::ONE_RECORD) => panic!("{input:?}"),
    };
    assert!(matches!(closing, Input::Closing { .. }), "{closing:?}");
    // Not released: the second member still gets everything, and long before the first one's session times out.
    tokio::join!(first.close(), async {
        let started = std::time::Instant::now();
        records(&mut second, 2).await;
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    });
    second.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_member_that_is_full_stays_in_its_group_and_loses_nothing() {
    let scene = Scene::new(2).await;
    scene.produce(0, 2000).await;
    scene.produce(1, 2000).await;
    let options = json!({"session.timeout.ms": "3000", "max.poll.interval.ms": "3000", "heartbeat.interval.ms": "500"});
    let mut source = scene.connected(json!({"options": options, "revoke_timeout": "1s"})).await;
    let mut read = records(&mut source, 10).await;
    // Twice the time after which a member that does not poll is thrown out.
    assert!(timeout(Duration::from_secs(6), source.read_paused()).await.is_err(), "nothing happens while paused");
    read.extend(records(&mut source, 1000).await);
    // A driver at its bound goes back and forth.
    for _ in 0..200 {
        assert!(timeout(Duration::from_millis(2), source.read_paused()).await.is_err());
        read.push(record(&mut source).await);
    }
    read.extend(records(&mut source, 2790).await);
    for partition in 0..2 {
        let positions = read.iter().filter(|record| kafka_partition(record) == partition).map(|record| record.position);
        assert!(positions.eq(1..=2000), "partition {partition} is read whole, in order and once");
    }
    source.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_full_member_still_hears_that_partitions_are_revoked_and_new_ones_begin_paused() {
    let scene = Scene::new(2).await;
    scene.produce(0, 3).await;
    scene.produce(1, 3).await;
    let mut first = scene.connected(json!({})).await;
    records(&mut first, 6).await;
    let mut second = scene.connected(json!({})).await;
    let closing = tokio::select! {
        input = first.read_paused() => input.unwrap(),
        input = second.read(Room::ONE_RECORD) => panic!("{input:?}"),
    };
    let Input::Closing { partitions, .. } = closing else { panic!("{closing:?}") };
    first.release(&partitions).await.unwrap();
    // The first stays paused while the second reads, leaves, and so gives its partition to the first again.
    tokio::select! {
        input = first.read_paused() => panic!("{input:?}"),
        () = async {
            records(&mut second, 3).await;
            second.close().await;
        } => {}
    }
    assert!(timeout(Duration::from_secs(5), first.read_paused()).await.is_err(), "records stay where they are");
    assert_eq!(records(&mut first, 3).await.len(), 3);
    first.close().await;
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_member_that_was_thrown_out_says_so_and_begins_behind_its_last_commit() {
    let scene = Scene::new(1).await;
    scene.produce(0, 3).await;
    let options = json!({"session.timeout.ms": "2000", "max.poll.interval.ms": "2000", "heartbeat.interval.ms": "300"});
    let mut source = scene.connected(json!({"options": options, "revoke_timeout": "1s"})).await;
    let read_before = records(&mut source, 3).await;
    let number = read_before[0].partition;
    source.commit(progress(&[(number, 1)])).await.unwrap();
    // Nobody polls for longer than the broker bears: there is no condition to await in its place.
    tokio::time::sleep(Duration::from_secs(4)).await;
    source.commit(progress(&[(number, 3)])).await.ok();
    let lost = read(&mut source).await;
    assert!(matches!(&lost, Input::Lost { partitions } if *partitions == [number]), "{lost:?}");
    let again = record(&mut source).await;
    assert_ne!(again.partition, number, "a number is never used for another assignment");
    source.close().await;
}
