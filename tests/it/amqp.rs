//! The AMQP source against a real RabbitMQ, by the methods of `Source` alone.
//!
//! What the broker has requeued, holds or has forgotten is asked of the broker and not of the source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, DecimalValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;
use webhook_bridge::event::{Format, MetaValue};
use webhook_bridge::source::amqp::AmqpSource;
use webhook_bridge::source::{Defect, Input, Progress, Record, Source, SourceContext, SourceError};

/// Longer than anything here takes on a busy machine; a test that waits this long has failed.
const LIMIT: Duration = Duration::from_secs(30);
/// Long enough for a message that is on its way over loopback.
const SHORT: Duration = Duration::from_millis(500);

/// A RabbitMQ as `tests/brokers/rabbitmq.sh` runs it.
#[derive(Clone)]
struct Broker {
    url: String,
    /// Name and port of an instance of its own, for tests that stop the broker.
    instance: Option<(&'static str, u16)>,
}

impl Broker {
    fn shared() -> Self {
        let default = || "amqp://guest:guest@127.0.0.1:29672/%2f".to_owned();
        Self { url: std::env::var("RABBITMQ_URL").unwrap_or_else(|_| default()), instance: None }
    }

    /// A broker of the test's own, stopped when the guard is dropped.
    async fn private(name: &'static str, port: u16) -> (Self, StopOnDrop) {
        let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let broker = Self { url, instance: Some((name, port)) };
        let guard = StopOnDrop(broker.clone());
        broker.run(&["start"]).await;
        (broker, guard)
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/brokers/rabbitmq.sh");
        let mut command = std::process::Command::new(script);
        command.args(arguments);
        if let Some((name, port)) = self.instance {
            command.env("BROKER_INSTANCE", name).env("RABBITMQ_PORT", port.to_string());
        }
        command
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let output = Command::from(self.command(arguments)).output().await.unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {shown}{}", String::from_utf8_lossy(&output.stderr));
        shown
    }

    async fn ctl(&self, arguments: &[&str]) -> String {
        self.run(&[&["ctl", "--quiet"], arguments].concat()).await
    }

    async fn queue(&self) -> TestQueue {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        TestQueue { name: format!("test-{}", Uuid::new_v4()), broker: self.clone(), connection, channel }
    }
}

struct StopOnDrop(Broker);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.command(&["stop"]).status().unwrap();
    }
}

/// A queue of its own name, and the connection that fills and inspects it.
struct TestQueue {
    name: String,
    broker: Broker,
    connection: Connection,
    channel: Channel,
}

impl TestQueue {
    async fn declare(&self) {
        let options = QueueDeclareOptions::durable();
        self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default()).await.unwrap();
    }

    /// Declares the queue and puts messages with the ids and payloads 1 to `count` into it.
    async fn filled(self, count: u32) -> Self {
        self.declare().await;
        self.publish(1..=count).await;
        self
    }

    async fn publish(&self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            let properties =
                BasicProperties::default().with_message_id(number.to_string().into()).with_delivery_mode(2);
            self.publish_one("", &self.name, number.to_string().as_bytes(), properties).await;
        }
    }

    async fn publish_one(&self, exchange: &str, routing_key: &str, payload: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = self.channel.basic_publish(exchange.into(), routing_key.into(), options, payload, properties);
        let confirmation = confirm.await.unwrap().await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "the broker did not take the message");
    }

    /// Messages ready for a consumer, and consumers.
    async fn counts(&self) -> (u32, u32) {
        let options = QueueDeclareOptions::default().passive();
        let queue =
            self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default()).await.unwrap();
        (queue.message_count(), queue.consumer_count())
    }

    /// Waits until so many messages are ready and nobody consumes: what was not acknowledged has been requeued then.
    async fn left(&self, expected: u32) {
        let mut counts = self.counts().await;
        let deadline = tokio::time::Instant::now() + LIMIT;
        while counts != (expected, 0) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
            counts = self.counts().await;
        }
        assert_eq!(counts, (expected, 0), "messages ready and consumers");
    }

    /// Messages ready and unacknowledged, as the queue itself counts them.
    async fn ready_and_unacknowledged(&self) -> (u32, u32) {
        let columns = ["list_queues", "--no-table-headers", "name", "messages_ready", "messages_unacknowledged"];
        let listed = self.broker.ctl(&columns).await;
        let line = listed.lines().find(|line| line.starts_with(&self.name)).unwrap_or_else(|| panic!("{listed}"));
        let numbers: Vec<u32> = line.split('\t').skip(1).map(|number| number.parse().unwrap()).collect();
        (numbers[0], numbers[1])
    }

    async fn delete(self) {
        self.channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        self.connection.close(200, "done".into()).await.unwrap();
    }

    fn source(&self, extra: Value) -> AmqpSource {
        source(&self.broker.url, &self.name, extra, false)
    }
}

fn source(url: &str, queue: &str, extra: Value, once: bool) -> AmqpSource {
    let context = SourceContext {
        pipeline: "shop".into(),
        name: "legacy".into(),
        format: Format::Json,
        max_event_size: 1000,
        once,
        state_dir: PathBuf::new(),
        base_dir: PathBuf::new(),
    };
    let mut config = json!({"uri": url, "queue": queue});
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    AmqpSource::new(context, serde_json::from_value(config).unwrap()).unwrap()
}

async fn read(source: &mut AmqpSource) -> Record {
    match timeout(LIMIT, source.read()).await.expect("no message arrived").unwrap() {
        Input::Record(record) => *record,
        other => panic!("not a record: {other:?}"),
    }
}

async fn read_many(source: &mut AmqpSource, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        records.push(read(source).await);
    }
    records
}

async fn read_error(source: &mut AmqpSource) -> String {
    loop {
        match timeout(LIMIT, source.read()).await.expect("no error came") {
            Ok(Input::Record(_)) => {}
            Ok(other) => panic!("not an error: {other:?}"),
            Err(SourceError::Transient(error)) => return error.to_string(),
            Err(error) => panic!("not transient: {error}"),
        }
    }
}

async fn connect_error(source: &mut AmqpSource) -> String {
    match timeout(LIMIT, source.connect()).await.expect("connecting hangs") {
        Err(SourceError::Transient(error)) => error.to_string(),
        other => panic!("not a transient error: {other:?}"),
    }
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.event.id.as_str()).collect()
}

fn meta<'a>(record: &'a Record, name: &str) -> &'a MetaValue {
    &record.event.meta.iter().find(|entry| entry.0 == name).unwrap().1
}

fn redelivered(record: &Record) -> bool {
    *meta(record, "redelivered") == MetaValue::Json(json!(true))
}

/// The watermark as the driver would give it, with nothing above it.
fn up_to(record: &Record) -> Progress {
    Progress { watermarks: vec![(record.partition, record.position)], settled: vec![] }
}

fn above(records: &[&Record]) -> Progress {
    Progress { watermarks: vec![], settled: records.iter().map(|record| (record.partition, record.position)).collect() }
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_message_arrives_with_all_it_carries() {
    let queue = Broker::shared().queue().await.filled(0).await;
    let mut headers = FieldTable::default();
    headers.insert("text".into(), AMQPValue::LongString("grün".into()));
    headers.insert("count".into(), AMQPValue::LongUInt(7));
    headers.insert("price".into(), AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 1250 }));
    headers.insert("at".into(), AMQPValue::Timestamp(1_700_000_000));
    headers.insert("raw".into(), AMQPValue::ByteArray(vec![0xff, 0x00].into()));
    headers.insert("list".into(), AMQPValue::FieldArray(vec![AMQPValue::Boolean(true), AMQPValue::Void].into()));
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(headers)
        .with_delivery_mode(1)
        .with_priority(4)
        .with_correlation_id("c-1".into())
        .with_reply_to("answers".into())
        .with_expiration("600000".into())
        .with_message_id("m-1".into())
        .with_timestamp(1_700_000_001)
        .with_type("order.paid".into())
        .with_user_id("guest".into())
        .with_app_id("shop".into())
        .with_cluster_id("cluster".into());
    queue.publish_one("", &queue.name, br#"{"total": 12.5}"#, properties).await;

    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let record = read(&mut source).await;
    assert_eq!(record.defect, None);
    assert_eq!(record.event.content_type.as_deref(), Some("application/json"));
    assert_eq!(record.event.payload.as_deref(), Some(br#"{"total": 12.5}"#.as_slice()));
    assert_eq!(
        record.event.envelope().unwrap(),
        json!({
            "id": "m-1", "time": "2023-11-14T22:13:21Z", "source": "legacy", "key": queue.name,
            "headers": {
                "at": "2023-11-14T22:13:20Z", "count": 7, "list": [true, null], "price": 12.5, "raw": "/wA=",
                "text": "grün",
            },
            "meta": {
                "exchange": "", "routing_key": queue.name, "queue": queue.name, "redelivered": false,
                "properties": {
                    "content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 1,
                    "priority": 4, "correlation_id": "c-1", "reply_to": "answers", "expiration": "600000",
                    "message_id": "m-1", "timestamp": "2023-11-14T22:13:21Z", "type": "order.paid",
                    "user_id": "guest", "app_id": "shop", "cluster_id": "cluster",
                },
            },
            "data": {"total": 12.5},
        })
    );

    queue.publish_one("", &queue.name, &[b'x'; 300_000], BasicProperties::default()).await;
    let large = read(&mut source).await;
    assert_eq!(large.defect, Some(Defect::TooLarge { size: 300_000, limit: 1000 }));
    assert_eq!(large.event.size(), 300_000, "a payload in many frames is kept whole");
    assert!(Uuid::parse_str(&large.event.id).is_ok());
    source.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn what_is_committed_is_acknowledged_and_makes_room() {
    let queue = Broker::shared().queue().await.filled(30).await;
    let mut source = queue.source(json!({"prefetch": 10}));
    source.connect().await.unwrap();
    let first = read_many(&mut source, 10).await;
    assert!(timeout(SHORT, source.read()).await.is_err(), "more than `prefetch` messages arrived");
    assert_eq!(queue.ready_and_unacknowledged().await, (20, 10));

    source.commit(up_to(&first[9])).await.unwrap();
    let second = read_many(&mut source, 10).await;
    assert_eq!(ids(&second), (11..=20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(queue.ready_and_unacknowledged().await, (10, 10));

    source.commit(up_to(&second[4])).await.unwrap();
    let third = read_many(&mut source, 5).await;
    assert_eq!(queue.ready_and_unacknowledged().await, (5, 10));
    source.commit(up_to(&third[4])).await.unwrap();
    source.close().await;
    queue.left(5).await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn what_settles_above_the_watermark_is_acknowledged_by_itself() {
    let queue = Broker::shared().queue().await.filled(8).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let records = read_many(&mut source, 8).await;

    source.commit(above(&[&records[2], &records[4], &records[5]])).await.unwrap();
    source.commit(above(&[&records[1]])).await.unwrap();
    // The watermark comes to rest on a message that was acknowledged before; and the driver names everything that has
    // settled since the last commit, those below the watermark too.
    let progress = Progress { settled: vec![(records[0].partition, records[0].position)], ..up_to(&records[2]) };
    source.commit(progress).await.unwrap();
    source.commit(up_to(&records[2])).await.unwrap();

    // The channel would be closed by now had any acknowledgement named a message twice.
    queue.publish([9]).await;
    assert_eq!(read(&mut source).await.event.id, "9");
    source.close().await;
    queue.left(4).await;

    let mut again = queue.source(json!({}));
    again.connect().await.unwrap();
    assert_eq!(ids(&read_many(&mut again, 4).await), ["4", "7", "8", "9"]);
    again.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_failed_event_comes_again_after_reconnecting() {
    let queue = Broker::shared().queue().await.filled(3).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let first = read_many(&mut source, 3).await;
    assert!(first.iter().all(|record| !redelivered(record)));
    source.commit(up_to(&first[0])).await.unwrap();

    source.connect().await.unwrap();
    let again = read_many(&mut source, 2).await;
    assert_eq!(ids(&again), ["2", "3"]);
    assert!(again.iter().all(redelivered));
    // Progress of the channel that is gone must not acknowledge what the new one has received.
    source.commit(up_to(&first[2])).await.unwrap();
    assert_eq!(queue.ready_and_unacknowledged().await, (0, 2));
    source.close().await;
    queue.left(2).await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn the_queue_is_declared_and_bound() {
    let queue = Broker::shared().queue().await;
    let exchange = format!("exchange-{}", queue.name);
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared =
        queue.channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default());
    declared.await.unwrap();
    let extra = json!({
        "declare": {"type": "quorum", "arguments": {"x-max-length": 100}},
        "bind": [{"exchange": exchange, "routing_key": "order.#"}, {"exchange": exchange, "routing_key": "refund.*"}],
    });
    let mut source = queue.source(extra.clone());
    assert!(source.probe().await.unwrap().contains("will be declared"));
    source.connect().await.unwrap();
    queue.publish_one(&exchange, "order.paid.eu", b"1", BasicProperties::default()).await;
    queue.publish_one(&exchange, "refund.eu", b"2", BasicProperties::default()).await;
    let records = read_many(&mut source, 2).await;
    assert_eq!(*meta(&records[0], "exchange"), MetaValue::Text(exchange.as_str().into()));
    assert_eq!(records[0].event.key.as_deref(), Some("order.paid.eu"));

    // A quorum queue counts, requeues and flags as any other.
    source.commit(up_to(&records[0])).await.unwrap();
    source.connect().await.unwrap();
    let again = read(&mut source).await;
    assert_eq!(again.event.key.as_deref(), Some("refund.eu"));
    assert!(redelivered(&again));
    let columns = ["list_queues", "--no-table-headers", "name", "type", "durable", "arguments"];
    let listed = queue.broker.ctl(&columns).await;
    let line = listed.lines().find(|line| line.starts_with(&queue.name)).unwrap();
    assert!(line.contains("\tquorum\ttrue\t") && line.contains(r#"{"x-max-length",100}"#), "{line}");

    let error = connect_error(&mut queue.source(json!({"declare": {"type": "classic"}}))).await;
    assert!(error.contains("exists with other properties") && error.contains("inequivalent arg"), "{error}");
    let error = connect_error(&mut queue.source(json!({"bind": [{"exchange": "nowhere"}]}))).await;
    assert!(error.contains("cannot bind the queue to exchange \"nowhere\""), "{error}");
    source.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn the_connection_shows_its_name() {
    let queue = Broker::shared().queue().await.filled(0).await;
    let mut source = queue.source(json!({"consumer_tag": format!("tag-{}", queue.name)}));
    source.connect().await.unwrap();
    let consumers = queue.broker.ctl(&["list_consumers", "--no-table-headers", "queue_name", "consumer_tag"]).await;
    assert!(consumers.contains(&format!("{0}\ttag-{0}", queue.name)), "{consumers}");
    let connections = queue.broker.ctl(&["list_connections", "--no-table-headers", "client_properties"]).await;
    assert!(connections.contains(r#"{"connection_name","bridge shop/legacy"}"#), "{connections}");
    assert!(connections.contains(r#"{"product","bridge"}"#), "{connections}");
    source.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn nothing_is_lost_when_the_broker_closes_all_connections() {
    // A virtual host of its own, so that other tests keep their connections.
    let shared = Broker::shared();
    let vhost = format!("vhost-{}", Uuid::new_v4());
    shared.ctl(&["add_vhost", &vhost]).await;
    shared.ctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]).await;
    let broker = Broker { url: shared.url.replace("%2f", &vhost), ..shared };
    let queue = broker.queue().await.filled(20).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    let first = read_many(&mut source, 10).await;
    source.commit(up_to(&first[4])).await.unwrap();

    broker.ctl(&["close_all_connections", "--vhost", &vhost, "the test says so"]).await;
    // lapin's buffer held ten more, which the broker delivers again and which therefore must not be read now.
    match timeout(LIMIT, source.read()).await.unwrap() {
        Err(SourceError::Transient(error)) => {
            let error = error.to_string();
            assert!(error.contains(&queue.name) && error.contains("the test says so"), "{error}");
        }
        other => panic!("not a transient error: {other:?}"),
    }
    let refused = source.commit(up_to(&first[9])).await;
    assert!(matches!(refused, Err(SourceError::Transient(_))), "a commit that was not sent must not pass for one");

    source.connect().await.unwrap();
    let again = read_many(&mut source, 15).await;
    assert_eq!(ids(&again), (6..=20).map(|number| number.to_string()).collect::<Vec<_>>());
    source.commit(up_to(&again[14])).await.unwrap();
    source.close().await;
    let queue = TestQueue { name: queue.name.clone(), ..broker.queue().await };
    queue.left(0).await;
    queue.delete().await;
    broker.ctl(&["delete_vhost", &vhost]).await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_deleted_queue_ends_the_consumer_and_a_missing_one_is_named() {
    let queue = Broker::shared().queue().await.filled(1).await;
    let mut source = queue.source(json!({}));
    source.connect().await.unwrap();
    read(&mut source).await;
    let name = queue.name.clone();
    queue.delete().await;
    let error = read_error(&mut source).await;
    assert!(error.contains(&name) && error.contains("cancelled"), "{error}");

    for error in [connect_error(&mut source).await, source.probe().await.unwrap_err().to_string()] {
        assert!(error.contains(&name) && error.contains("does not exist") && error.contains("`declare`"), "{error}");
        assert!(!error.contains("guest"), "{error}");
    }
    source.close().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_refusal_says_what_to_check_and_no_password() {
    let broker = Broker::shared();
    let wrong = broker.url.replace("guest:guest@", "guest:wrong-password@");
    let error = connect_error(&mut source(&wrong, "any", json!({}), false)).await;
    assert!(error.contains("access refused") && !error.contains("wrong-password"), "{error}");
    let error = connect_error(&mut source(&broker.url.replace("/%2f", "/"), "any", json!({}), false)).await;
    assert!(error.contains("virtual host") && error.contains("`/%2f`"), "{error}");

    let user = format!("user-{}", Uuid::new_v4());
    broker.ctl(&["add_user", &user, "its-password"]).await;
    broker.ctl(&["set_permissions", &user, "^none$", "^none$", "^none$"]).await;
    let queue = broker.queue().await.filled(1).await;
    let url = broker.url.replace("guest:guest@", &format!("{user}:its-password@"));
    let error = connect_error(&mut source(&url, &queue.name, json!({}), false)).await;
    assert!(error.contains("access refused") && error.contains(&queue.name), "{error}");
    queue.delete().await;
    broker.ctl(&["delete_user", &user]).await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_probe_takes_nothing() {
    let queue = Broker::shared().queue().await.filled(3).await;
    let found = queue.source(json!({})).probe().await.unwrap();
    assert!(found.contains(&queue.name) && found.contains("3 messages ready, 0 consumers"), "{found}");
    queue.left(3).await;
    queue.delete().await;
}

/// Reads to the end, and commits each record after the next one has been read.
async fn read_to_the_end(source: &mut AmqpSource) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        match timeout(LIMIT, source.read()).await.expect("the end did not come").unwrap() {
            Input::Record(record) => records.push(*record),
            Input::End => return records,
            other => panic!("neither a record nor the end: {other:?}"),
        }
        if let [.., previous, _] = &records[..] {
            source.commit(up_to(previous)).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn once_ends_with_what_was_there_at_the_start() {
    let queue = Broker::shared().queue().await.filled(5).await;
    let mut once = source(&queue.broker.url, &queue.name, json!({"prefetch": 2}), true);
    once.connect().await.unwrap();
    read(&mut once).await;
    queue.publish([6]).await;
    // After a failed event, what was received before comes again and the end stays where it was.
    once.connect().await.unwrap();
    let records = read_to_the_end(&mut once).await;
    assert!(ids(&records).starts_with(&["1", "2", "3", "4", "5"]), "{:?}", ids(&records));
    once.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn once_ends_when_others_have_taken_the_rest() {
    let queue = Broker::shared().queue().await.filled(5).await;
    let mut once = source(&queue.broker.url, &queue.name, json!({"prefetch": 1}), true);
    once.connect().await.unwrap();
    let first = read(&mut once).await;
    let consumer = queue.channel.basic_consume(
        queue.name.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let _consumer = consumer.await.unwrap();
    // The driver drops `read` at every commit tick.
    let end = timeout(LIMIT, async {
        loop {
            if let Ok(input) = timeout(Duration::from_millis(50), once.read()).await {
                return input.unwrap();
            }
        }
    });
    assert!(matches!(end.await.expect("the end did not come"), Input::End));
    once.commit(up_to(&first)).await.unwrap();
    once.close().await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn heartbeats_go_on_while_the_runtime_is_busy() {
    let queue = Broker::shared().queue().await.filled(1).await;
    let mut source = queue.source(json!({"heartbeat": "1s"}));
    source.connect().await.unwrap();
    let record = read(&mut source).await;
    let busy = tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    // The broker closes a connection that has said nothing for two or three heartbeats.
    let read = timeout(Duration::from_secs(5), source.read()).await;
    assert!(read.is_err(), "{read:?}");
    busy.abort();
    source.commit(up_to(&record)).await.unwrap();
    source.close().await;
    queue.left(0).await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_network_that_drops_everything_is_noticed_by_its_silence() {
    let queue = Broker::shared().queue().await.filled(1).await;
    let (url, freeze) = proxy(&queue.broker.url).await;
    let mut frozen = source(&url, &queue.name, json!({"heartbeat": "1s"}), false);
    frozen.connect().await.unwrap();
    read(&mut frozen).await;
    freeze.notify_one();
    let error = read_error(&mut frozen).await;
    assert!(error.contains("heartbeat"), "{error}");
    timeout(Duration::from_secs(10), frozen.close()).await.expect("closing hangs");

    let (url, freeze) = proxy(&queue.broker.url).await;
    let mut frozen = source(&url, &queue.name, json!({}), false);
    frozen.connect().await.unwrap();
    freeze.notify_one();
    timeout(Duration::from_secs(10), frozen.close()).await.expect("closing hangs");
}

/// Passes one connection on to the broker until it is told to freeze; then it takes and gives nothing more.
async fn proxy(broker: &str) -> (String, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = url::Url::parse(broker).unwrap();
    let target = format!("{}:{}", broker.host_str().unwrap(), broker.port().unwrap());
    let mut url = broker;
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    let freeze = Arc::new(Notify::new());
    let frozen = freeze.clone();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        tokio::select! {
            copied = tokio::io::copy_bidirectional(&mut client, &mut server) => drop(copied),
            () = frozen.notified() => std::future::pending().await,
        }
    });
    (url.to_string(), freeze)
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn nothing_is_lost_when_the_broker_is_killed() {
    let (broker, _stop) = Broker::private("amqp-kill", 29872).await;
    let queue = broker.queue().await.filled(50).await;
    let mut source = queue.source(json!({"prefetch": 20}));
    source.connect().await.unwrap();
    let first = read_many(&mut source, 10).await;
    source.commit(up_to(&first[9])).await.unwrap();

    // RabbitMQ confirms a message once it is on disk, but a queue's declaration gets there a little later.
    broker.ctl(&["eval", "mnesia:sync_log()."]).await;
    broker.run(&["kill"]).await;
    let error = read_error(&mut source).await;
    assert!(error.contains(&queue.name) && error.contains("127.0.0.1:29872"), "{error}");
    let error = connect_error(&mut source).await;
    assert!(error.contains("cannot connect") && error.contains("refused"), "{error}");

    broker.run(&["start"]).await;
    source.connect().await.unwrap();
    let queue = TestQueue { name: queue.name.clone(), ..broker.queue().await };
    // The last acknowledgements may have died with the broker: then those messages come again, but none is missing.
    let mut seen: Vec<u32> = Vec::new();
    while !(11..=50).all(|number| seen.contains(&number)) {
        let record = read(&mut source).await;
        seen.push(record.event.id.parse().unwrap());
        source.commit(up_to(&record)).await.unwrap();
    }
    source.close().await;
    queue.left(0).await;
    queue.delete().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn tls_trusts_the_given_authority_and_no_other() {
    let (broker, _stop) = Broker::private("amqp-tls", 29972).await;
    let tls_port = 29975;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    start_tls(&broker, folder.path(), tls_port).await;
    let queue = broker.queue().await.filled(3).await;
    let url = format!("amqps://guest:guest@localhost:{tls_port}/%2f");

    let mut trusting = source(&url, &queue.name, json!({"ca_file": authority}), false);
    trusting.connect().await.unwrap();
    let records = read_many(&mut trusting, 3).await;
    trusting.commit(up_to(&records[2])).await.unwrap();
    trusting.close().await;
    queue.left(0).await;

    let error = connect_error(&mut source(&url, &queue.name, json!({}), false)).await;
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    let other_name = url.replace("localhost", "127.0.0.2");
    let error = connect_error(&mut source(&other_name, &queue.name, json!({"ca_file": authority}), false)).await;
    assert!(error.contains("cannot connect"), "{error}");
    queue.delete().await;
}

/// Makes a certificate authority (`ca.pem`) and a server certificate for `localhost`, and lets the broker listen with it.
async fn start_tls(broker: &Broker, folder: &std::path::Path, port: u16) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(folder.join("extensions"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = ["-newkey", "rsa:2048", "-nodes"];
    let ca = [&["req", "-x509", "-subj", "/CN=Test CA", "-days", "2"], &key[..]].concat();
    openssl(&ca, &["-keyout", &path("ca.key"), "-out", &path("ca.pem")]).await;
    let request = [&["req", "-subj", "/CN=localhost"], &key[..]].concat();
    openssl(&request, &["-keyout", &path("key.pem"), "-out", &path("request.pem")]).await;
    let sign = ["x509", "-req", "-days", "2", "-CAcreateserial"];
    let files = ["-in", &path("request.pem"), "-CA", &path("ca.pem"), "-CAkey", &path("ca.key")];
    let result = ["-extfile", &path("extensions"), "-out", &path("cert.pem")];
    openssl(&sign, &[&files[..], &result[..]].concat()).await;

    let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let start = format!(
        r#"rabbit_networking:ensure_ssl(), rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}, auto}},
            [{{certfile, "{cert}"}}, {{keyfile, "{key}"}}, {{cacertfile, "{ca}"}}], 10)."#
    );
    broker.ctl(&["eval", &start]).await;
}

async fn openssl(command: &[&str], files: &[&str]) {
    let output = Command::new("openssl").args(command).args(files).output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
