//! The backlog in Kafka.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;

use super::Result;
use super::pipelines::{Shape, event};

const PARTITIONS: i32 = 4;

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a new topic that holds so many events, and gives its name.
pub(crate) fn fill(brokers: &str, events: usize) -> Result<String> {
    let topic = format!("bench-{}", Uuid::new_v4());
    let created = block_on(admin(brokers)?.create_topics(
        &[NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1))],
        &AdminOptions::new().operation_timeout(Some(PATIENCE)),
    ))??;
    created
        .into_iter()
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|(topic, code)| format!("{topic}: {code}"))?;
    let producer: BaseProducer = client(brokers).set("linger.ms", "50").create()?;
    for number in 0..events {
        let key = format!("c-{number:08}");
        let payload = event(number);
        let mut record = BaseRecord::to(&topic).key(&key).payload(&payload);
        while let Err((error, refused)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(10));
            record = refused;
        }
    }
    producer.flush(PATIENCE)?;
    Ok(topic)
}

/// The keys of a source that reads the topic from its beginning, each shape in a group of its own.
pub(crate) fn source(brokers: &str, topic: &str, shape: Shape) -> String {
    let group = format!("{topic}-{}", shape.title());
    let brokers: Vec<String> = brokers.split(',').map(|broker| format!("\"{broker}\"")).collect();
    format!("type = \"kafka\"\nbrokers = [{}]\ntopics = [\"{topic}\"]\ngroup_id = \"{group}\"", brokers.join(", "))
}

/// Removes the topic.
pub(crate) fn delete(brokers: &str, topic: &str) -> Result<()> {
    block_on(admin(brokers)?.delete_topics(&[topic], &AdminOptions::new()))??;
    Ok(())
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn admin(brokers: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(client(brokers).create()?)
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
