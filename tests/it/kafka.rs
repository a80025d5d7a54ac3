//! The Kafka connector against a real broker, without the driver: the tests call the trait's methods as it would.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::time::timeout;
use webhook_bridge::event::{Format, MetaValue};
use webhook_bridge::source::kafka::{KafkaConfig, KafkaSource};
use webhook_bridge::source::{Defect, Input, Progress, Record, Source, SourceContext, SourceError};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const PATIENCE: Duration = Duration::from_secs(60);

/// A topic and a group that no other test uses.
struct Scene {
    bootstrap: String,
    topic: String,
    group: String,
}

impl Scene {
    async fn new(partitions: i32) -> Self {
        let bootstrap = std::env::var("KAFKA_BOOTSTRAP").unwrap_or_else(|_| "127.0.0.1:29192".into());
        Self::at(bootstrap, partitions).await
    }

    async fn at(bootstrap: String, partitions: i32) -> Self {
        let scene = Self { bootstrap, topic: unique("topic"), group: unique("group") };
        scene.create_topic(&scene.topic, partitions).await;
        scene
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap);
        client
    }

    async fn create_topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        admin.create_topics(&[topic], &options).await.unwrap()[0].as_ref().unwrap();
    }

    fn producer(&self) -> FutureProducer {
        self.client().create().unwrap()
    }

    /// Writes `count` records "0", "1", … to a partition.
    async fn produce(&self, partition: i32, count: usize) {
        self.produce_to(&self.topic, partition, count).await;
    }

    async fn produce_to(&self, topic: &str, partition: i32, count: usize) {
        let producer = self.producer();
        let payloads: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        let sent = payloads.iter().map(|payload| {
            let record = FutureRecord::<(), str>::to(topic).partition(partition).payload(payload);
            producer.send_result(record).unwrap_or_else(|(error, _)| panic!("{error}"))
        });
        for delivery in sent.collect::<Vec<_>>() {
            delivery.await.unwrap().unwrap();
        }
    }

    fn source(&self, keys: Value) -> KafkaSource {
        self.source_with(keys, false)
    }

    fn source_with(&self, keys: Value, once: bool) -> KafkaSource {
        let mut config = json!({"brokers": [self.bootstrap], "topics": [self.topic], "group_id": self.group});
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let config: KafkaConfig = serde_json::from_value(config).unwrap();
        let context = SourceContext {
            pipeline: "test".into(),
            name: "kafka".into(),
            format: Format::Json,
            max_event_size: 500_000,
            once,
            store: None,
            base_dir: std::path::PathBuf::new(),
        };
        KafkaSource::new(context, config).unwrap()
    }

    async fn connected(&self, keys: Value) -> KafkaSource {
        let mut source = self.source(keys);
        source.connect().await.unwrap();
        source
    }

    /// What the broker has as the group's offsets, by partition.
    async fn committed(&self, partitions: i32) -> BTreeMap<i32, i64> {
        let mut client = self.client();
        let consumer: BaseConsumer = client.set("group.id", &self.group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, partitions - 1);
        let list = tokio::task::spawn_blocking(move || consumer.committed_offsets(list, PATIENCE).unwrap());
        let list = list.await.unwrap();
        let offsets = list.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        });
        offsets.collect()
    }
}

fn unique(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4())
}

/// The next input that is not about the broker.
async fn read(source: &mut KafkaSource) -> Input {
    loop {
        match timeout(PATIENCE, source.read()).await.expect("nothing was read in time").unwrap() {
            Input::Away { .. } | Input::Back => {}
            input => return input,
        }
    }
}

async fn record(source: &mut KafkaSource) -> Record {
    match read(source).await {
        Input::Record(record) => *record,
        other => panic!("a record was expected, not {other:?}"),
    }
}

async fn records(source: &mut KafkaSource, count: usize) -> Vec<Record> {
    let mut records = Vec::with_capacity(count);
    while records.len() < count {
        records.push(record(source).await);
    }
    records
}

/// Reads to the end, as with `--once`, and returns the ids.
async fn read_to_end(source: &mut KafkaSource) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        match read(source).await {
            Input::Record(record) => ids.push(record.event.id),
            Input::End => return ids,
            other => panic!("a record or the end was expected, not {other:?}"),
        }
    }
}

fn kafka_partition(record: &Record) -> i64 {
    match record.event.meta.iter().find(|(name, _)| *name == "partition").unwrap().1 {
        MetaValue::Integer(partition) => partition,
        ref other => panic!("{other:?}"),
    }
}

fn progress(watermarks: &[(u32, u64)]) -> Progress {
    Progress { watermarks: watermarks.to_vec(), settled: Vec::new() }
}

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
        input = first.read() => input.unwrap(),
        input = second.read() => panic!("the second member reads what the first has not given back: {input:?}"),
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
            _ = first.read() => {}
            input = second.read() => match input.unwrap() {
                Input::Record(record) => break record,
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
        input = first.read() => input.unwrap(),
        input = second.read() => panic!("{input:?}"),
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
        input = second.read() => panic!("{input:?}"),
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

/// A broker of this test's own, which is stopped when the test ends, however it ends.
struct OwnBroker {
    instance: &'static str,
    port: &'static str,
}

impl OwnBroker {
    fn run(&self, command: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/brokers/kafka.sh");
        let mut broker = Command::new(script);
        broker.arg(command).env("BROKER_INSTANCE", self.instance).env("KAFKA_PORT", self.port);
        assert!(broker.status().unwrap().success(), "{script} {command}");
    }

    fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/brokers/kafka.sh");
        let mut broker = Command::new(script);
        broker.arg("stop").env("BROKER_INSTANCE", self.instance).env("KAFKA_PORT", self.port).status().ok();
    }
}

#[tokio::test]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_broker_that_is_killed_and_comes_back_ends_nothing() {
    let broker = OwnBroker { instance: "kafka-it", port: "29492" };
    broker.run("start");
    let scene = Scene::at(broker.bootstrap(), 1).await;
    scene.produce(0, 10).await;
    let mut source = scene.connected(json!({})).await;
    let before = records(&mut source, 10).await;
    source.commit(progress(&[(before[0].partition, 4)])).await.unwrap();

    broker.run("kill");
    let away = timeout(PATIENCE, source.read()).await.expect("nobody noticed").unwrap();
    assert!(matches!(away, Input::Away { .. }), "{away:?}");
    assert!(timeout(Duration::from_secs(5), read(&mut source)).await.is_err(), "an outage is no end and no error");
    source.commit(progress(&[(before[0].partition, 9)])).await.unwrap();
    let refused = scene.source(json!({})).connect().await.unwrap_err().to_string();
    assert!(refused.contains("no Kafka broker can be reached"), "{refused}");

    broker.run("start");
    let back = timeout(PATIENCE, source.read()).await.expect("nobody noticed").unwrap();
    assert!(matches!(back, Input::Back), "{back:?}");
    scene.produce(0, 1).await;
    // The group may be joined anew after the outage, at any moment: then what was not committed comes again.
    let all = BTreeMap::from([(0, 11)]);
    let all_are_committed = async {
        while scene.committed(1).await != all {
            if let Ok(input) = timeout(Duration::from_secs(1), source.read()).await
                && let Input::Record(record) = input.unwrap()
            {
                source.commit(progress(&[(record.partition, record.position)])).await.unwrap();
            }
        }
    };
    timeout(PATIENCE, all_are_committed).await.expect("the last record was not committed in time");
    source.close().await;
}
