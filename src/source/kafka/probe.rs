//! One look at the cluster for `bridge check --connect`, without joining the group or writing anything.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::sync::mpsc;

use super::group::GroupContext;
use super::member::one_by_name;
use crate::off_worker::on_own_thread;
use crate::source::{SourceContext, SourceError};

/// How long the brokers have to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long errors are looked for that have arrived already.
const DRAIN: Duration = Duration::from_millis(100);

/// Says which brokers and partitions there are.
///
/// # Errors
/// Why no broker has answered in time.
pub(super) async fn probe(
    config: &ClientConfig,
    context: &SourceContext,
    topics: &[String],
) -> Result<String, SourceError> {
    let (events, _) = mpsc::unbounded_channel();
    let (config, topics, context) = (config.clone(), topics.to_vec(), GroupContext::new(context, events, Vec::new()));
    let look = on_own_thread(move || {
        let consumer: BaseConsumer<GroupContext> =
            config.create_with_context(context).map_err(SourceError::transient)?;
        look(&consumer, &topics).map_err(|error| {
            // The errors that say why wait in the queue, among others.
            while consumer.context().last_failure().is_none() && consumer.poll(DRAIN).is_some() {}
            let reason = consumer.context().last_failure().unwrap_or_else(|| error.to_string());
            SourceError::transient(format!("no Kafka broker has answered: {reason}"))
        })
    });
    look.await.map_err(SourceError::transient)?
}

/// Why a topic to be written to is not known to be there.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicError {
    /// Nobody has answered in time.
    #[error("no Kafka broker has answered: {0}")]
    Silent(KafkaError),
    /// There is no such topic.
    #[error("topic {0} does not exist; create it, also where the brokers would do so at the first message")]
    Missing(String),
    /// The brokers do not show it.
    #[error("topic {name} cannot be written to: {reason}")]
    Refused {
        /// The topic.
        name: String,
        /// What the broker said.
        reason: RDKafkaErrorCode,
    },
}

/// Says which brokers there are, and that the topic is there. A client that may create topics would create it.
pub(super) fn look_for_topic<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<String, TopicError> {
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT).map_err(TopicError::Silent)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.map(|found| found.error().map(RDKafkaErrorCode::from)) {
        Some(None) => Ok(format!("{}; {}", brokers(&metadata), describe(topic, &metadata))),
        None | Some(Some(RDKafkaErrorCode::UnknownTopicOrPartition)) => Err(TopicError::Missing(topic.to_owned())),
        Some(Some(reason)) => Err(TopicError::Refused { name: topic.to_owned(), reason }),
    }
}

fn look(consumer: &BaseConsumer<GroupContext>, topics: &[String]) -> KafkaResult<String> {
    let metadata = consumer.fetch_metadata(one_by_name(topics).as_deref(), TIMEOUT)?;
    let mut found = vec![brokers(&metadata)];
    for topic in topics {
        found.push(if topic.starts_with('^') {
            format!("topics by pattern `{topic}`")
        } else {
            describe(topic, &consumer.fetch_metadata(Some(topic), TIMEOUT)?)
        });
    }
    Ok(found.join("; "))
}

fn brokers(metadata: &Metadata) -> String {
    let brokers = metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port()));
    format!("brokers {}", brokers.collect::<Vec<_>>().join(", "))
}

fn describe(name: &str, metadata: &Metadata) -> String {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    match topic.map(|topic| (topic.error(), topic.partitions().len())) {
        Some((None, 1)) => format!("topic {name} with 1 partition"),
        Some((None, count)) => format!("topic {name} with {count} partitions"),
        Some((Some(error), _)) => {
            let error = RDKafkaErrorCode::from(error);
            format!("topic {name} cannot be read yet: {error}")
        }
        None => format!("topic {name} does not exist yet"),
    }
}

/// The version of the librdkafka that is built in, and what it was built with, such as `ssl` and `zstd`.
pub fn library() -> String {
    let (_, version) = rdkafka::util::get_rdkafka_version();
    let native = rdkafka::ClientConfig::new().create_native_config();
    let features = native.and_then(|native| native.get("builtin.features")).unwrap_or_default();
    format!("{version} ({})", features.replace(',', ", "))
}
