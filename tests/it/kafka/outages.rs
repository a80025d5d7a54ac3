//! Brokers that are not there, come back, or have lost what was asked for; and what is said of them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use tokio::time::timeout;
use webhook_bridge::source::{Input, Room, Source, SourceError};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{PATIENCE, Scene, progress, read, record, records, unique};

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_look_at_the_cluster_says_what_is_there() {
    let scene = Scene::new(2).await;
    let absent = unique("absent");
    let found = scene.source(json!({"topics": [scene.topic, absent, "^shop-.*"]})).probe().await.unwrap();
    assert!(found.contains(&format!("brokers {}", scene.bootstrap)), "{found}");
    assert!(found.contains(&format!("topic {} with 2 partitions", scene.topic)), "{found}");
    assert!(found.contains(&format!("topic {absent} ")), "{found}");
}

#[tokio::test]
async fn without_a_broker_a_look_and_a_connection_say_why() {
    // Port 9 is the discard service, which nobody runs.
    let scene = Scene { bootstrap: "127.0.0.1:9".into(), topic: unique("topic"), group: unique("group") };
    let look = scene.source(json!({})).probe().await.unwrap_err().to_string();
    assert!(look.contains("Connection refused"), "{look}");
    let connection = scene.source(json!({})).connect().await.unwrap_err().to_string();
    assert!(connection.contains("Connection refused"), "{connection}");
}

#[tokio::test]
async fn an_oidc_token_is_fetched_from_its_endpoint() {
    let service = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/token"))
        .respond_with(ResponseTemplate::new(500))
        .expect(1..)
        .mount(&service)
        .await;
    let scene = Scene { bootstrap: "127.0.0.1:9".into(), topic: unique("topic"), group: unique("group") };
    let options = json!({
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": "bridge",
        "sasl.oauthbearer.client.secret": "a-secret",
        "sasl.oauthbearer.token.endpoint.url": format!("{}/token", service.uri()),
    });
    let error = scene.source(json!({"options": options})).connect().await.unwrap_err();
    assert!(matches!(error, SourceError::Transient(_)), "{error}");
    service.verify().await;
}

/// A log that a test reads.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Takes the log lines of this thread, where the tests' sources run.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn records_that_the_broker_has_deleted_unread_are_said_to_be_lost() {
    let scene = Scene::new(1).await;
    scene.produce(0, 10).await;
    let mut source = scene.connected(json!({})).await;
    let first = record(&mut source).await;
    source.commit(progress(&[(first.partition, 1)])).await.unwrap();
    source.close().await;
    let admin: AdminClient<DefaultClientContext> = scene.client().create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&scene.topic, 0, Offset::Offset(6)).unwrap();
    admin.delete_records(&before, &AdminOptions::new()).await.unwrap();

    let log = Log::default();
    let guard = log.listen();
    source.connect().await.unwrap();
    assert_eq!(record(&mut source).await.position, 7);
    source.close().await;
    drop(guard);
    let said = log.text();
    let loss = said.lines().find(|line| line.contains("ERROR") && line.contains("lost"));
    assert!(loss.is_some_and(|line| line.contains(&scene.topic)), "{said}");
}

/// A broker of this test's own, which is stopped when the test ends, however it ends.
struct OwnBroker {
    instance: &'static str,
}

impl OwnBroker {
    fn run(&self, command: &str) {
        assert!(self.command(command).status().unwrap().success(), "kafka.sh {command}");
    }

    /// Its address, once it has been started.
    fn bootstrap(&self) -> String {
        let shown = String::from_utf8(self.command("env").output().unwrap().stdout).unwrap();
        shown.trim().strip_prefix("KAFKA_BOOTSTRAP=").unwrap().to_owned()
    }

    fn command(&self, command: &str) -> Command {
        let mut broker = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/brokers/kafka.sh"));
        broker.arg(command).env("BROKER_INSTANCE", self.instance).env_remove("KAFKA_PORT");
        broker
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.command("stop").status().ok();
    }
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_broker_that_is_killed_and_comes_back_ends_nothing() {
    let broker = OwnBroker { instance: "kafka-it" };
    broker.run("start");
    let scene = Scene::at(broker.bootstrap(), 1).await;
    scene.produce(0, 10).await;
    let mut source = scene.connected(json!({})).await;
    let before = records(&mut source, 10).await;
    source.commit(progress(&[(before[0].partition, 4)])).await.unwrap();

    broker.run("kill");
    let away = timeout(PATIENCE, source.read(Room::ONE_RECORD)).await.expect("nobody noticed").unwrap();
    assert!(matches!(away, Input::Away { .. }), "{away:?}");
    assert!(timeout(Duration::from_secs(5), read(&mut source)).await.is_err(), "an outage is no end and no error");
    source.commit(progress(&[(before[0].partition, 9)])).await.unwrap();
    let refused = scene.source(json!({})).connect().await.unwrap_err().to_string();
    assert!(refused.contains("no Kafka broker can be reached"), "{refused}");

    broker.run("start");
    let back = timeout(PATIENCE, source.read(Room::ONE_RECORD)).await.expect("nobody noticed").unwrap();
    assert!(matches!(back, Input::Back), "{back:?}");
    scene.produce(0, 1).await;
    // The group may be joined anew after the outage, at any moment: then what was not committed comes again.
    let all = BTreeMap::from([(0, 11)]);
    let all_are_committed = async {
        while scene.committed(1).await != all {
            if let Ok(input) = timeout(Duration::from_secs(1), source.read(Room::ONE_RECORD)).await
                && let Input::Records(records) = input.unwrap()
            {
                source.commit(progress(&[(records[0].partition, records[0].position)])).await.unwrap();
            }
        }
    };
    timeout(PATIENCE, all_are_committed).await.expect("the last record was not committed in time");
    source.close().await;
}
