//! A RabbitMQ to test against, and a queue in it that is asked directly what the source has done to it.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::process::Command;
use uuid::Uuid;
use webhook_bridge::source::amqp::AmqpSource;

use super::{LIMIT, source};

/// A RabbitMQ as `tests/brokers/rabbitmq.sh` runs it.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) url: String,
    /// Name of an instance of its own, for tests that stop the broker.
    pub(crate) instance: Option<&'static str>,
}

impl Broker {
    pub(crate) fn shared() -> Self {
        let default = || "amqp://guest:guest@127.0.0.1:29672/%2f".to_owned();
        Self { url: std::env::var("RABBITMQ_URL").unwrap_or_else(|_| default()), instance: None }
    }

    /// The same broker with a virtual host that no other test uses.
    pub(crate) async fn own_vhost(self) -> Self {
        let vhost = format!("vhost-{}", Uuid::new_v4());
        self.ctl(&["add_vhost", &vhost]).await;
        self.ctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]).await;
        Self { url: self.url.replace("%2f", &vhost), ..self }
    }

    /// The virtual host of the URL.
    pub(crate) fn vhost(&self) -> String {
        url::Url::parse(&self.url).unwrap().path()[1..].replace("%2f", "/")
    }

    /// Deletes the virtual host, with its queues.
    pub(crate) async fn delete_vhost(&self) {
        self.ctl(&["delete_vhost", &self.vhost()]).await;
    }

    /// Closes all connections to the virtual host, as an operator does.
    pub(crate) async fn kill_connections(&self) {
        self.ctl(&["close_all_connections", "--vhost", &self.vhost(), "the test says so"]).await;
    }

    /// A broker of the test's own, stopped when the guard is dropped.
    pub(crate) async fn private(name: &'static str) -> (Self, StopOnDrop) {
        let mut broker = Self { url: String::new(), instance: Some(name) };
        let guard = StopOnDrop(broker.clone());
        broker.run(&["start"]).await;
        broker.url = broker.run(&["env"]).await.trim().strip_prefix("RABBITMQ_URL=").unwrap().to_owned();
        (broker, guard)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/brokers/rabbitmq.sh");
        let mut command = std::process::Command::new(script);
        command.args(arguments);
        if let Some(name) = self.instance {
            command.env("BROKER_INSTANCE", name).env_remove("RABBITMQ_PORT");
        }
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        let output = Command::from(self.command(arguments)).output().await.unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {shown}{}", String::from_utf8_lossy(&output.stderr));
        shown
    }

    pub(crate) async fn ctl(&self, arguments: &[&str]) -> String {
        self.run(&[&["ctl", "--quiet"], arguments].concat()).await
    }

    pub(crate) async fn queue(&self) -> TestQueue {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        TestQueue { name: format!("test-{}", Uuid::new_v4()), broker: self.clone(), connection, channel }
    }
}

pub(crate) struct StopOnDrop(Broker);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.command(&["stop"]).status().unwrap();
    }
}

/// A queue of its own name, and the connection that fills and inspects it.
pub(crate) struct TestQueue {
    pub(crate) name: String,
    pub(crate) broker: Broker,
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
}

impl TestQueue {
    pub(crate) async fn declare(&self) {
        let options = QueueDeclareOptions::durable();
        self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default()).await.unwrap();
    }

    /// Declares the queue and puts messages with the ids and payloads 1 to `count` into it.
    pub(crate) async fn filled(self, count: u32) -> Self {
        self.declare().await;
        self.publish(1..=count).await;
        self
    }

    pub(crate) async fn publish(&self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            let properties =
                BasicProperties::default().with_message_id(number.to_string().into()).with_delivery_mode(2);
            self.publish_one("", &self.name, number.to_string().as_bytes(), properties).await;
        }
    }

    pub(crate) async fn publish_one(
        &self,
        exchange: &str,
        routing_key: &str,
        payload: &[u8],
        properties: BasicProperties,
    ) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = self.channel.basic_publish(exchange.into(), routing_key.into(), options, payload, properties);
        let confirmation = confirm.await.unwrap().await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "the broker did not take the message");
    }

    /// Messages ready for a consumer, and consumers.
    pub(crate) async fn counts(&self) -> (u32, u32) {
        let options = QueueDeclareOptions::default().passive();
        let queue =
            self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default()).await.unwrap();
        (queue.message_count(), queue.consumer_count())
    }

    /// Waits until so many messages are ready and nobody consumes: what was not acknowledged has been requeued then.
    pub(crate) async fn left(&self, expected: u32) {
        let mut counts = self.counts().await;
        let deadline = tokio::time::Instant::now() + LIMIT;
        while counts != (expected, 0) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
            counts = self.counts().await;
        }
        assert_eq!(counts, (expected, 0), "messages ready and consumers");
    }

    /// Messages ready and unacknowledged, as the queue itself counts them.
    pub(crate) async fn ready_and_unacknowledged(&self) -> (u32, u32) {
        let vhost = self.broker.vhost();
        let columns = ["--no-table-headers", "name", "messages_ready", "messages_unacknowledged"];
        let listed = self.broker.ctl(&[&["list_queues", "-p", &vhost], columns.as_slice()].concat()).await;
        let line = listed.lines().find(|line| line.starts_with(&self.name)).unwrap_or_else(|| panic!("{listed}"));
        let numbers: Vec<u32> = line.split('\t').skip(1).map(|number| number.parse().unwrap()).collect();
        (numbers[0], numbers[1])
    }

    pub(crate) async fn delete(self) {
        self.channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        self.connection.close(200, "done".into()).await.unwrap();
    }

    pub(crate) fn source(&self, extra: Value) -> AmqpSource {
        source(&self.broker.url, &self.name, extra, false)
    }
}
