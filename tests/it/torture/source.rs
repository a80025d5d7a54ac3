//! The three kinds of source: how events get in, what is done to the source meanwhile, and what it must show when all
//! is done.

use std::path::Path;

use lapin::BasicProperties;

use crate::amqp::broker::{Broker, TestQueue};
use crate::end_to_end::topic::Topic;
use crate::support::wait_until;

use super::plan::{Change, PARTITIONS, Plan};
use log_file::LogFile;

mod log_file;

pub(super) enum Source {
    File(LogFile),
    Kafka(Topic),
    Amqp(Box<TestQueue>),
}

/// One event, as its publisher sees it.
pub(super) struct Event {
    /// The value of `order_by`.
    pub(super) key: String,
    pub(super) payload: String,
    pub(super) partition: i32,
    pub(super) message_id: String,
}

/// Where an event is, and its id, as far as these are known.
pub(super) enum Place {
    Topic { id: String, partition: i32, offset: i64 },
    Queue { id: String },
}

impl Source {
    pub(super) fn file(folder: &Path, plan: Plan) -> Self {
        Self::File(LogFile::new(folder.join("events.jsonl"), plan.names_rotated_files()))
    }

    /// Keys are spread over the partitions, each key in one.
    pub(super) async fn kafka() -> Self {
        Self::Kafka(Topic::new(PARTITIONS).await)
    }

    pub(super) async fn amqp() -> Self {
        Self::Amqp(Box::new(Broker::shared().queue().await.filled(0).await))
    }

    /// The `[sources.input]` table.
    pub(super) fn table(&self, max_in_flight: usize) -> String {
        match self {
            Self::File(file) => format!(
                "[sources.input]\ntype = \"file\"\npaths = [\"{}\"]\ncommit_interval = \"20ms\"\n\
                 max_in_flight = {max_in_flight}\n",
                file.pattern()
            ),
            // As a member with a name of its own comes back, the broker need not wait for the end of its last session.
            Self::Kafka(topic) => topic.source(&format!(
                "commit_interval = \"20ms\"\nmax_in_flight = {max_in_flight}\n\
                 options = {{ \"group.instance.id\" = \"torture\" }}\n"
            )),
            Self::Amqp(queue) => format!(
                "[sources.input]\ntype = \"amqp\"\nuri = \"{}\"\nqueue = \"{}\"\nprefetch = {max_in_flight}\n",
                queue.broker.url, queue.name
            ),
        }
    }

    /// What is done to this source in a cycle.
    pub(super) fn change(&self, plan: Plan, cycle: u64) -> Option<Change> {
        match self {
            Self::File(_) => plan.rotation(cycle),
            Self::Kafka(_) => plan.recreation(cycle),
            Self::Amqp(_) => None,
        }
    }

    /// Writes events in their order; they are safe with the source when this returns. Says where they are, unless that
    /// is a file.
    pub(super) async fn produce(&self, events: &[Event]) -> Vec<Place> {
        match self {
            Self::File(file) => {
                file.write(events);
                Vec::new()
            }
            Self::Kafka(topic) => {
                let record = |event: &Event| (event.partition, event.key.clone(), event.payload.clone());
                let offsets = topic.produce_to(&events.iter().map(record).collect::<Vec<_>>()).await;
                let places = events.iter().zip(offsets).map(|(Event { partition, .. }, offset)| {
                    let id = format!("{}/{partition}/{offset}", topic.name);
                    Place::Topic { id, partition: *partition, offset }
                });
                places.collect()
            }
            Self::Amqp(queue) => {
                for event in events {
                    let id = event.message_id.as_str();
                    let properties = BasicProperties::default().with_message_id(id.into()).with_delivery_mode(2);
                    queue.publish_one("", &queue.name, event.payload.as_bytes(), properties).await;
                }
                events.iter().map(|event| Place::Queue { id: event.message_id.clone() }).collect()
            }
        }
    }

    /// Waits until the source has noticed that its reader was killed. RabbitMQ gives what was not acknowledged back to
    /// its old place in the queue, but to a consumer that comes too soon it would hand out later messages first: no
    /// bridge could keep their order then.
    pub(super) async fn noticed_the_kill(&self) {
        if let Self::Amqp(queue) = self {
            while queue.counts().await.1 > 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits until nothing is left in the source, and removes it.
    pub(super) async fn expect_used_up(self) {
        match self {
            Self::File(_) => {}
            Self::Kafka(topic) => topic.committed_to_the_end().await,
            Self::Amqp(queue) => {
                queue.left(0).await;
                queue.delete().await;
            }
        }
    }
}

/// Waits until the broker has forgotten what the group had committed in the topic that was deleted: the next bridge is
/// to begin without.
pub(super) async fn offsets_are_forgotten(topic: &Topic) {
    wait_until("the group's offsets are forgotten", || topic.committed().is_empty()).await;
}
