//! Brokers that go away, refuse or fall silent.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;
use webhook_bridge::source::{Room, Source, SourceError};

use super::broker::{Broker, TestQueue};
use super::{LIMIT, connect_error, ids, read, read_error, read_many, source, up_to};

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn nothing_is_lost_when_the_broker_closes_all_connections() {
    // A virtual host of its own, so that other tests keep their connections.
    let broker = Broker::shared().own_vhost().await;
    let queue = broker.queue().await.filled(20).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let first = read_many(&mut source, 10).await;
    source.commit(up_to(&first[4])).await.unwrap();

    broker.kill_connections().await;
    // lapin's buffer held ten more, which the broker delivers again and which therefore must not be read now.
    match timeout(LIMIT, source.read(Room::ONE_RECORD)).await.unwrap() {
        Err(SourceError::Transient(error)) => {
            let error = error.to_string();
            assert!(error.contains(&queue.name) && error.contains("the test says so"), "{error}");
        }
        other => panic!("not a transient error: {other:?}"),
    }
    let refused = source.commit(up_to(&first[9])).await;
    assert!(matches!(refused, Err(SourceError::Transient(_))), "a commit that was not sent must not pass for one");

    source.connect().await.unwrap();
    let again = read_many(&mut source, 15).await;
    assert_eq!(ids(&again), (6..=20).map(|number| number.to_string()).collect::<Vec<_>>());
    source.commit(up_to(&again[14])).await.unwrap();
    source.close().await;
    let queue = TestQueue { name: queue.name.clone(), ..broker.queue().await };
    queue.left(0).await;
    queue.delete().await;
    broker.delete_vhost().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_deleted_queue_ends_the_consumer_and_a_missing_one_is_named() {
    let queue = Broker::shared().queue().await.filled(1).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    read(&mut source).await;
    let name = queue.name.clone();
    queue.delete().await;
    let error = read_error(&mut source).await;
    assert!(error.contains(&name) && error.contains("cancelled"), "{error}");

    for error in [connect_error(&mut source).await, source.probe().await.unwrap_err().to_string()] {
        assert!(error.contains(&name) && error.contains("does not exist") && error.contains("`declare`"), "{error}");
        assert!(!error.contains("guest"), "{error}");
    }
    source.close().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_refusal_says_what_to_check_and_no_password() {
    let broker = Broker::shared();
    let wrong = broker.url.replace("guest:guest@", "guest:wrong-password@");
    let error = connect_error(&mut source(&wrong, "any", json!({}), false)).await;
    assert!(error.contains("access refused") && !error.contains("wrong-password"), "{error}");
    let error = connect_error(&mut source(&broker.url.replace("/%2f", "/"), "any", json!({}), false)).await;
    assert!(error.contains("virtual host") && error.contains("`/%2f`"), "{error}");

    let user = format!("user-{}", Uuid::new_v4());
    broker.ctl(&["add_user", &user, "its-password"]).await;
    broker.ctl(&["set_permissions", &user, "^none$", "^none$", "^none$"]).await;
    let queue = broker.queue().await.filled(1).await;
    let url = broker.url.replace("guest:guest@", &format!("{user}:its-password@"));
    let error = connect_error(&mut source(&url, &queue.name, json!({}), false)).await;
    assert!(error.contains("access refused") && error.contains(&queue.name), "{error}");
    queue.delete().await;
    broker.ctl(&["delete_user", &user]).await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn heartbeats_go_on_while_the_runtime_is_busy() {
    let queue = Broker::shared().queue().await.filled(1).await;
    let mut source = queue.source(json!({"heartbeat": "1s"}));
    source.connect().await.unwrap();
    let record = read(&mut source).await;
    let busy = tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    // The broker closes a connection that has said nothing for two or three heartbeats.
    let read = timeout(Duration::from_secs(5), source.read(Room::ONE_RECORD)).await;
    assert!(read.is_err(), "{read:?}");
    busy.abort();
    source.commit(up_to(&record)).await.unwrap();
    source.close().await;
    queue.left(0).await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_network_that_drops_everything_is_noticed_by_its_silence() {
    let queue = Broker::shared().queue().await.filled(1).await;
    let (url, freeze) = proxy(&queue.broker.url).await;
    let mut frozen = source(&url, &queue.name, json!({"heartbeat": "1s"}), false);
    frozen.connect().await.unwrap();
    read(&mut frozen).await;
    freeze.notify_one();
    let error = read_error(&mut frozen).await;
    assert!(error.contains("heartbeat"), "{error}");
    timeout(Duration::from_secs(10), frozen.close()).await.expect("closing hangs");

    let (url, freeze) = proxy(&queue.broker.url).await;
    let mut frozen = source(&url, &queue.name, json!({}), false);
    frozen.connect().await.unwrap();
    freeze.notify_one();
    timeout(Duration::from_secs(10), frozen.close()).await.expect("closing hangs");
}

/// Passes connections on to the broker until the first is told to freeze; that one takes and gives nothing more.
pub(super) async fn proxy(broker: &str) -> (String, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = url::Url::parse(broker).unwrap();
    let target = format!("{}:{}", broker.host_str().unwrap(), broker.port().unwrap());
    let mut url = broker;
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    let freeze = Arc::new(Notify::new());
    let frozen = freeze.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(&target).await.unwrap();
            let frozen = frozen.clone();
            tokio::spawn(async move {
                tokio::select! {
                    copied = tokio::io::copy_bidirectional(&mut client, &mut server) => drop(copied),
                    () = frozen.notified() => std::future::pending().await,
                }
            });
        }
    });
    (url.to_string(), freeze)
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn nothing_is_lost_when_the_broker_is_killed() {
    let (broker, _stop) = Broker::private("amqp-kill").await;
    let queue = broker.queue().await.filled(50).await;
    let mut source = queue.source(json!({"prefetch": 20}));
    source.connect().await.unwrap();
    let first = read_many(&mut source, 10).await;
    source.commit(up_to(&first[9])).await.unwrap();

    // RabbitMQ confirms a message once it is on disk, but a queue's declaration gets there a little later.
    broker.ctl(&["eval", "mnesia:sync_log()."]).await;
    broker.run(&["kill"]).await;
    let error = read_error(&mut source).await;
    let address = broker.url.replace("guest:guest@", "").replace("/%2f", "");
    assert!(error.contains(&queue.name) && error.contains(&address), "{error}");
    // A process that is being killed may still hold its port for a moment.
    let error = connect_error(&mut source).await;
    assert!(error.contains("cannot connect") && (error.contains("refused") || error.contains("reset")), "{error}");

    broker.run(&["start"]).await;
    source.connect().await.unwrap();
    let queue = TestQueue { name: queue.name.clone(), ..broker.queue().await };
    // The last acknowledgements may have died with the broker: then those messages come again, but none is missing.
    let mut seen: Vec<u32> = Vec::new();
    while !(11..=50).all(|number| seen.contains(&number)) {
        let record = read(&mut source).await;
        seen.push(record.event.id.parse().unwrap());
        source.commit(up_to(&record)).await.unwrap();
    }
    source.close().await;
    queue.left(0).await;
    queue.delete().await;
}
