//! Sources of one process that share a connection. Each test has a virtual host of its own, whose connections it counts.

use serde_json::json;
use uuid::Uuid;
use webhook_bridge::source::Source;

use super::broker::{Broker, TestQueue};
use super::outages::proxy;
use super::{connect_error, ids, read, read_error, read_many, up_to};

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn sources_of_one_runtime_share_one_connection_and_the_last_closes_it() {
    let broker = Broker::shared().own_vhost().await;
    let (first, second) = (broker.queue().await.filled(4).await, broker.queue().await.filled(4).await);
    let (mut one, mut two) = (first.source(json!({"prefetch": 1})), second.source(json!({"prefetch": 3})));
    let (connected, also) = tokio::join!(one.connect(), two.connect());
    connected.and(also).unwrap();
    assert_eq!(bridges(&broker).await, 1);
    // The prefetch and the delivery tags are each source's own.
    let read_one = read(&mut one).await;
    let read_two = read_many(&mut two, 3).await;
    assert_eq!((first.ready_and_unacknowledged().await, second.ready_and_unacknowledged().await), ((3, 1), (1, 3)));
    one.commit(up_to(&read_one)).await.unwrap();
    two.commit(up_to(&read_two[1])).await.unwrap();

    two.close().await;
    second.left(2).await;
    assert_eq!(bridges(&broker).await, 1);
    assert_eq!(ids(&[read(&mut one).await]), ["2"]);
    one.close().await;
    first.left(3).await;
    assert_eq!(bridges(&broker).await, 0);
    broker.delete_vhost().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn what_goes_wrong_with_one_queue_leaves_the_other_sources_alone() {
    let broker = Broker::shared().own_vhost().await;
    let (queue, doomed) = (broker.queue().await.filled(3).await, broker.queue().await.filled(1).await);
    let mut source = queue.source(json!({}));
    let mut other = doomed.source(json!({}));
    source.connect().await.unwrap();
    other.connect().await.unwrap();
    let record = read(&mut source).await;
    doomed.delete().await;
    assert!(read_error(&mut other).await.contains("cancelled"));
    for _ in 0..3 {
        assert!(connect_error(&mut other).await.contains("does not exist"));
    }
    let error = connect_error(&mut queue.source(json!({"declare": {"type": "quorum"}}))).await;
    assert!(error.contains("exists with other properties"), "{error}");

    // Its connection is the same, and so is its channel: nothing was delivered again.
    source.commit(up_to(&record)).await.unwrap();
    let rest = read_many(&mut source, 2).await;
    assert_eq!(ids(&rest), ["2", "3"]);
    assert!(!rest.iter().any(super::redelivered));
    assert_eq!(bridges(&broker).await, 1);
    source.close().await;
    other.close().await;
    assert_eq!(bridges(&broker).await, 0);
    broker.delete_vhost().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_source_that_reconnects_keeps_the_connection_of_the_others() {
    let broker = Broker::shared().own_vhost().await;
    let (first, second) = (broker.queue().await.filled(2).await, broker.queue().await.filled(2).await);
    let (mut one, mut two) = (first.source(json!({})), second.source(json!({})));
    one.connect().await.unwrap();
    two.connect().await.unwrap();
    let held = read(&mut one).await;
    read_many(&mut two, 2).await;
    // As the driver does after an event that failed.
    two.connect().await.unwrap();
    let again = read_many(&mut two, 2).await;
    assert!(again.iter().all(super::redelivered));
    one.commit(up_to(&held)).await.unwrap();
    assert!(!super::redelivered(&read(&mut one).await));
    assert_eq!(bridges(&broker).await, 1);
    one.close().await;
    two.close().await;
    broker.delete_vhost().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn all_sources_of_a_killed_connection_come_back_on_one_without_loss() {
    let broker = Broker::shared().own_vhost().await;
    let (first, second) = (broker.queue().await.filled(10).await, broker.queue().await.filled(10).await);
    let (mut one, mut two) = (first.source(json!({})), second.source(json!({})));
    one.connect().await.unwrap();
    two.connect().await.unwrap();
    for source in [&mut one, &mut two] {
        let records = read_many(source, 5).await;
        source.commit(up_to(&records[2])).await.unwrap();
    }
    broker.kill_connections().await;
    for source in [&mut one, &mut two] {
        let error = read_error(source).await;
        assert!(error.contains("the connection was lost") && error.contains("the test says so"), "{error}");
    }
    let (connected, also) = tokio::join!(one.connect(), two.connect());
    connected.and(also).unwrap();
    assert_eq!(bridges(&broker).await, 1);
    for source in [&mut one, &mut two] {
        let records = read_many(source, 7).await;
        assert_eq!(ids(&records), (4..=10).map(|number| number.to_string()).collect::<Vec<_>>());
        source.commit(up_to(&records[6])).await.unwrap();
        source.close().await;
    }
    assert_eq!(bridges(&broker).await, 0);
    for name in [&first.name, &second.name] {
        TestQueue { name: name.clone(), ..broker.queue().await }.left(0).await;
    }
    broker.delete_vhost().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_connection_that_hangs_is_not_handed_out() {
    let mut broker = Broker::shared().own_vhost().await;
    let (first, second) = (broker.queue().await.filled(0).await, broker.queue().await.filled(0).await);
    let (url, freeze) = proxy(&broker.url).await;
    broker.url = url;
    let source = |queue: &TestQueue| super::source(&broker.url, &queue.name, json!({}), false);
    let (mut one, mut two) = (source(&first), source(&second));
    one.connect().await.unwrap();
    freeze.notify_one();
    two.connect().await.unwrap();
    assert_eq!(bridges(&broker).await, 2);
    two.close().await;
    assert_eq!(bridges(&broker).await, 1);
    one.close().await;
    broker.delete_vhost().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn what_cannot_be_shared_is_not() {
    let broker = Broker::shared().own_vhost().await;
    let queue = broker.queue().await.filled(0).await;
    let mut sources = vec![
        queue.source(json!({})),
        queue.source(json!({"heartbeat": "7s"})),
        broker.queue().await.source(json!({"declare": {"exclusive": true}})),
    ];
    for source in &mut sources {
        source.connect().await.unwrap();
    }
    assert_eq!(bridges(&broker).await, 3);
    let (url, name) = (broker.url.clone(), queue.name.clone());
    let other_runtime = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut source = super::source(&url, &name, json!({}), false);
        runtime.block_on(source.connect()).unwrap();
        (runtime, source)
    });
    let (runtime, mut source) = other_runtime.join().unwrap();
    assert_eq!(bridges(&broker).await, 4);
    std::thread::spawn(move || runtime.block_on(source.close())).join().unwrap();
    for source in &mut sources {
        source.close().await;
    }
    broker.delete_vhost().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_connection_without_a_channel_left_is_followed_by_another() {
    let mut broker = Broker::shared().own_vhost().await;
    let queue = broker.queue().await.filled(0).await;
    broker.url.push_str("?channel_max=2");
    let mut sources: Vec<_> = (0..3).map(|_| super::source(&broker.url, &queue.name, json!({}), false)).collect();
    for source in &mut sources {
        source.connect().await.unwrap();
    }
    assert_eq!(bridges(&broker).await, 2);
    for source in &mut sources {
        source.close().await;
    }
    broker.delete_vhost().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn who_makes_the_broker_end_the_connection_gets_one_of_its_own() {
    let broker = Broker::shared().own_vhost().await;
    let queue = broker.queue().await.filled(1).await;
    // RabbitMQ ends the connection on which a user opens one channel too many.
    let user = format!("user-{}", Uuid::new_v4());
    broker.ctl(&["add_user", &user, "its-password"]).await;
    broker.ctl(&["set_permissions", "-p", &broker.vhost(), &user, ".*", ".*", ".*"]).await;
    broker.ctl(&["set_user_limits", &user, r#"{"max-channels": 1}"#]).await;
    let url = broker.url.replace("guest:guest@", &format!("{user}:its-password@"));
    let source = || super::source(&url, &queue.name, json!({}), false);
    let (mut one, mut two) = (source(), source());
    one.connect().await.unwrap();
    let error = connect_error(&mut two).await;
    assert!(error.contains("cannot open a channel") && error.contains("ended the connection over it"), "{error}");
    assert!(read_error(&mut one).await.contains("the connection was lost"));

    one.connect().await.unwrap();
    for _ in 0..2 {
        assert!(connect_error(&mut two).await.contains("ended the connection over it"));
    }
    let record = read(&mut one).await;
    one.commit(up_to(&record)).await.unwrap();
    one.close().await;
    two.connect().await.unwrap();
    two.close().await;
    broker.ctl(&["delete_user", &user]).await;
    broker.delete_vhost().await;
}

/// How many connections to the virtual host are the bridge's. A broker asked after a close knows of it.
async fn bridges(broker: &Broker) -> usize {
    let listed = broker.ctl(&["list_connections", "--no-table-headers", "vhost", "client_properties"]).await;
    let vhost = broker.vhost();
    listed.lines().filter(|line| line.starts_with(&vhost) && line.contains(r#"{"product","bridge"}"#)).count()
}
