//! A topic and a group that no other test uses, filled and inspected past the bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{PATIENCE, wait_until};

pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) group: String,
    bootstrap: String,
    partitions: i32,
}

impl Topic {
    /// On the shared broker.
    pub(crate) async fn new(partitions: i32) -> Self {
        let bootstrap = std::env::var("KAFKA_BOOTSTRAP").unwrap_or_else(|_| "127.0.0.1:29192".into());
        Self::at(bootstrap, partitions).await
    }

    pub(crate) async fn at(bootstrap: String, partitions: i32) -> Self {
        let unique = uuid::Uuid::new_v4();
        let (name, group) = (format!("end-to-end-{unique}"), format!("bridge-{unique}"));
        let topic = Self { name, group, bootstrap, partitions };
        topic.create().await.unwrap();
        topic
    }

    async fn create(&self) -> Result<(), RDKafkaErrorCode> {
        let new = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(1));
        let created = self.admin().create_topics(&[new], &admin_options()).await.unwrap().remove(0);
        created.map(drop).map_err(|(_, code)| code)
    }

    /// Deletes the topic. The broker takes a moment to be rid of it.
    pub(crate) async fn delete(&self) {
        self.admin().delete_topics(&[&self.name], &admin_options()).await.unwrap()[0].as_ref().unwrap();
    }

    /// Creates the topic anew after it was deleted, once the broker is rid of the old one.
    pub(crate) async fn create_anew(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(code) = self.create().await {
            assert!(code == RDKafkaErrorCode::TopicAlreadyExists && Instant::now() < deadline, "{code}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap);
        client
    }

    fn producer(&self) -> FutureProducer {
        self.client().set("queue.buffering.max.ms", "2").create().unwrap()
    }

    /// A source of this topic, `input`, with further keys.
    pub(crate) fn source(&self, keys: &str) -> String {
        let Self { name, group, bootstrap, .. } = self;
        format!(
            "[sources.input]\ntype = \"kafka\"\nbrokers = [\"{bootstrap}\"]\ntopics = [\"{name}\"]\n\
             group_id = \"{group}\"\n{keys}"
        )
    }

    /// Writes `{"n":0}` and so on, spread evenly over the partitions. Returns the ids that their events must have.
    pub(crate) async fn produce(&self, count: usize) -> BTreeSet<String> {
        self.produce_all((0..count).map(|n| Some(format!(r#"{{"n":{n}}}"#))).collect()).await
    }

    /// Writes these payloads, or tombstones; number `n` has the key `key-n` and the header `trace: trace-n`.
    pub(crate) async fn produce_all(&self, payloads: Vec<Option<String>>) -> BTreeSet<String> {
        let producer = self.producer();
        let mut sent = Vec::with_capacity(payloads.len());
        for (n, payload) in payloads.iter().enumerate() {
            let (key, trace) = (format!("key-{n}"), format!("trace-{n}"));
            let mut record = FutureRecord::<str, str>::to(&self.name).key(&key);
            record.partition = Some(i32::try_from(n).unwrap() % self.partitions);
            record.payload = payload.as_deref();
            record.headers = Some(OwnedHeaders::new().insert(Header { key: "trace", value: Some(&trace) }));
            sent.push(producer.send_result(record).unwrap_or_else(|(error, _)| panic!("{error}")));
        }
        let mut ids = BTreeSet::new();
        for delivery in sent {
            let place = delivery.await.unwrap().unwrap();
            ids.insert(format!("{}/{}/{}", self.name, place.partition, place.offset));
        }
        ids
    }

    /// Writes keys and payloads in their order; all records of a key are in one partition.
    pub(crate) async fn produce_by_key(&self, records: &[(String, String)]) {
        let producer = self.producer();
        let sent: Vec<_> = records
            .iter()
            .map(|(key, payload)| {
                let record = FutureRecord::to(&self.name).key(key).payload(payload);
                producer.send_result(record).unwrap_or_else(|(error, _)| panic!("{error}"))
            })
            .collect();
        for delivery in sent {
            delivery.await.unwrap().unwrap();
        }
    }

    /// Writes records with a partition, a key and a payload in their order. Returns their offsets.
    pub(crate) async fn produce_to(&self, records: &[(i32, String, String)]) -> Vec<i64> {
        let producer = self.producer();
        let sent = records.iter().map(|(partition, key, payload)| {
            let record = FutureRecord::to(&self.name).partition(*partition).key(key).payload(payload);
            producer.send_result(record).unwrap_or_else(|(error, _)| panic!("{error}"))
        });
        let mut offsets = Vec::with_capacity(records.len());
        for delivery in sent.collect::<Vec<_>>() {
            offsets.push(delivery.await.unwrap().unwrap().offset);
        }
        offsets
    }

    /// What the broker has as the group's offsets, by partition.
    pub(crate) fn committed(&self) -> BTreeMap<i32, i64> {
        let consumer = self.onlooker();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.name, 0, self.partitions - 1);
        // A broker that has just started may not know yet who coordinates the group.
        let tries = (0..20).map(|attempt| {
            std::thread::sleep(Duration::from_millis(100 * u64::from(attempt > 0)));
            consumer.committed_offsets(list.clone(), PATIENCE)
        });
        let mut answers = tries.skip_while(|answer| answer.is_err());
        let list = answers.next().expect("the broker says what is committed").unwrap();
        let offsets = list.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        });
        offsets.collect()
    }

    /// Where the partitions that have records end.
    pub(crate) fn ends(&self) -> BTreeMap<i32, i64> {
        let consumer = self.onlooker();
        let end = |partition| consumer.fetch_watermarks(&self.name, partition, PATIENCE).unwrap().1;
        (0..self.partitions).map(|partition| (partition, end(partition))).filter(|(_, end)| *end > 0).collect()
    }

    /// The group's state and the number of its members, as the broker sees them.
    pub(crate) fn membership(&self) -> (String, usize) {
        let groups = self.onlooker();
        let groups = groups.fetch_group_list(Some(&self.group), PATIENCE).unwrap();
        let group = &groups.groups()[0];
        (group.state().to_owned(), group.members().len())
    }

    /// Waits until everything is committed: the watermark has reached the end of every partition.
    pub(crate) async fn committed_to_the_end(&self) {
        let ends = self.ends();
        let committed = || self.committed().into_iter().filter(|(_, offset)| *offset > 0).collect::<BTreeMap<_, _>>();
        wait_until("everything is committed", || committed() == ends).await;
    }

    /// A client that names the group and never joins it.
    pub(super) fn onlooker(&self) -> BaseConsumer {
        self.client().set("group.id", &self.group).create().unwrap()
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE))
}

/// A broker of the test's own, stopped when it is dropped.
pub(crate) struct OwnBroker {
    script: &'static str,
    instance: &'static str,
}

impl OwnBroker {
    pub(crate) fn kafka(instance: &'static str) -> Self {
        Self { script: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/brokers/kafka.sh"), instance }
    }

    /// Its address, once it has been started.
    pub(crate) fn bootstrap(&self) -> String {
        let output = self.command("env").output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        shown.trim().strip_prefix("KAFKA_BOOTSTRAP=").unwrap().to_owned()
    }

    /// `start`, `stop` or `kill`.
    pub(crate) async fn run(&self, command: &'static str) {
        let mut command = self.command(command);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, command: &str) -> Command {
        let mut script = Command::new(self.script);
        script.arg(command).env("BROKER_INSTANCE", self.instance).env_remove("KAFKA_PORT");
        script
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.command("stop").status().ok();
    }
}
