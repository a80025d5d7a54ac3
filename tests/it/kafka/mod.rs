//! The Kafka connector against a real broker, without the driver: the tests call the trait's methods as it would.

mod groups;
mod once;
mod outages;
mod reading;
mod starts;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::time::timeout;
use webhook_bridge::event::{Format, MetaValue};
use webhook_bridge::source::kafka::{KafkaConfig, KafkaSource};
use webhook_bridge::source::{Input, Progress, Record, Room, Source, SourceContext};

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
            meta_beside: Vec::new(),
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
        match timeout(PATIENCE, source.read(Room::ONE_RECORD)).await.expect("nothing was read in time").unwrap() {
            Input::Away { .. } | Input::Back => {}
            input => return input,
        }
    }
}

async fn record(source: &mut KafkaSource) -> Record {
    match read(source).await {
        Input::Records(mut records) => records.remove(0),
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
            Input::Records(records) => ids.extend(records.into_iter().map(|record| record.event.id)),
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
