//! One look at the cluster for `bridge check --connect`, without joining the group.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;
use tokio::sync::mpsc;

use super::group::GroupContext;
use super::member::{off_runtime, one_by_name};
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
    let (config, topics, context) = (config.clone(), topics.to_vec(), GroupContext::new(context, events));
    let look = off_runtime(move || {
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

fn look(consumer: &BaseConsumer<GroupContext>, topics: &[String]) -> KafkaResult<String> {
    let metadata = consumer.fetch_metadata(one_by_name(topics).as_deref(), TIMEOUT)?;
    let brokers = metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port()));
    let mut found = vec![format!("brokers {}", brokers.collect::<Vec<_>>().join(", "))];
    for topic in topics {
        found.push(if topic.starts_with('^') {
            format!("topics by pattern `{topic}`")
        } else {
            describe(topic, &consumer.fetch_metadata(Some(topic), TIMEOUT)?)
        });
    }
    Ok(found.join("; "))
}

fn describe(name: &str, metadata: &Metadata) -> String {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    match topic.map(|topic| (topic.error(), topic.partitions().len())) {
        Some((None, 1)) => format!("topic {name} with 1 partition"),
        Some((None, count)) => format!("topic {name} with {count} partitions"),
        Some((Some(error), _)) => {
            let error = rdkafka::error::RDKafkaErrorCode::from(error);
            format!("topic {name} cannot be read yet: {error}")
        }
        None => format!("topic {name} does not exist yet"),
    }
}
