//! The three kinds of source: how events get in, and what the source must show when all is done.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lapin::BasicProperties;

use crate::amqp::broker::{Broker, TestQueue};
use crate::end_to_end::topic::Topic;

pub(super) enum Source {
    File(PathBuf),
    Kafka(Topic),
    Amqp(Box<TestQueue>),
}

/// One event: the value of `order_by`, and the payload.
pub(super) type Event = (String, String);

impl Source {
    pub(super) fn file(folder: &Path) -> Self {
        let path = folder.join("events.jsonl");
        File::create(&path).unwrap();
        Self::File(path)
    }

    /// Keys are spread over two partitions, each key in one.
    pub(super) async fn kafka() -> Self {
        Self::Kafka(Topic::new(2).await)
    }

    pub(super) async fn amqp() -> Self {
        Self::Amqp(Box::new(Broker::shared().queue().await.filled(0).await))
    }

    /// The `[sources.input]` table.
    pub(super) fn table(&self, max_in_flight: usize) -> String {
        match self {
            Self::File(path) => format!(
                "[sources.input]\ntype = \"file\"\npaths = [\"{}\"]\ncommit_interval = \"20ms\"\n\
                 max_in_flight = {max_in_flight}\n",
                path.display()
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

    /// Writes events in their order; they are safe with the source when this returns.
    pub(super) async fn produce(&self, events: &[Event]) {
        match self {
            Self::File(path) => {
                let lines: String = events.iter().map(|(_, payload)| format!("{payload}\n")).collect();
                File::options().append(true).open(path).unwrap().write_all(lines.as_bytes()).unwrap();
            }
            Self::Kafka(topic) => topic.produce_by_key(events).await,
            Self::Amqp(queue) => {
                for (_, payload) in events {
                    let id = uuid::Uuid::new_v4().to_string();
                    let properties = BasicProperties::default().with_message_id(id.into()).with_delivery_mode(2);
                    queue.publish_one("", &queue.name, payload.as_bytes(), properties).await;
                }
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
