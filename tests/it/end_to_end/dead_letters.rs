//! Dead letters that are sent on: what arrives there, and that nothing is lost while it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::StatusCode;
use lapin::options::BasicGetOptions;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use webhook_bridge::receiver::Reply;

use super::topic::{OwnBroker, Topic};
use crate::amqp::broker::{Broker, TestQueue};
use crate::delivery::{Site, numbered};
use crate::support::{Bridge, PATIENCE, wait_until};

/// Without it the state of these bridges would depend on the store, which other tests look at.
const NO_STORE: &str = "[store]\nurl = \"none\"\n";

/// A receiver that answers 400 to bodies that hold `bad`, and 200 to the rest.
pub(super) async fn site_that_rejects() -> Site {
    Site::choosing(|request| {
        let is_bad = request.body.windows(3).any(|window| window == b"bad");
        Reply::status(if is_bad { StatusCode::BAD_REQUEST } else { StatusCode::OK })
    })
    .await
}

pub(super) fn with_dead_letters(site: &Site, source: &str, destination: &str) -> String {
    let sink = format!("dead_letter = \"{destination}\"");
    format!("{}{NO_STORE}", site.pipeline_of(source, &sink))
}

/// The records of a topic, which must be so many, in the order of their offsets.
struct Records(BaseConsumer);

impl Records {
    fn of(topic: &Topic) -> Self {
        let consumer = topic.onlooker();
        let mut partition = TopicPartitionList::new();
        partition.add_partition_offset(&topic.name, 0, Offset::Beginning).unwrap();
        consumer.assign(&partition).unwrap();
        Self(consumer)
    }

    fn take<T>(&self, count: usize, mut read: impl FnMut(&BorrowedMessage<'_>) -> T) -> Vec<T> {
        let mut records = Vec::new();
        while records.len() < count {
            let record = self.0.poll(PATIENCE).expect("too few records");
            if let Ok(record) = record {
                records.push(read(&record));
            }
        }
        records
    }
}

fn headers_of(record: &BorrowedMessage<'_>) -> BTreeMap<String, String> {
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    headers.map(|header| (header.key.to_owned(), text(header.value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_letter_arrives_in_kafka_as_the_event_came_and_says_what_happened() {
    let site = site_that_rejects().await;
    let (topic, dead) = (Topic::new(1).await, Topic::new(1).await);
    topic.produce_all(vec![Some(r#"{"n":1}"#.into()), Some(r#"{"n":"bad"}"#.into()), Some(r#"{"n":3}"#.into())]).await;
    let config = with_dead_letters(&site, &topic.source(""), &format!("kafka:{}", dead.name));
    let bridge = Bridge::run(site.folder.path(), &config);
    topic.committed_to_the_end().await;
    let record = Records::of(&dead).take(1, |record| {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        (text(record.key()), text(record.payload()), headers_of(record))
    });
    assert!(bridge.stop().success());
    let [(key, payload, mut headers)] = record.try_into().unwrap();
    assert_eq!((key.as_str(), payload.as_str()), ("key-1", r#"{"n":"bad"}"#));
    assert!(headers.remove("bridge-time").unwrap().parse::<jiff::Timestamp>().is_ok());
    let expected = [
        ("trace", "trace-1"),
        ("bridge-reason", "rejected"),
        ("bridge-message", "the receiver answered 400"),
        ("bridge-node", "sinks.out"),
        ("bridge-pipeline", "it"),
        ("bridge-event-id", &format!("{}/0/1", topic.name)),
        ("bridge-attempts", "1"),
        ("bridge-status", "400"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(dead.ends(), BTreeMap::from([(0, 1)]), "one letter");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn what_a_source_gives_up_goes_where_the_source_says() {
    let site = site_that_rejects().await;
    let (topic, dead) = (Topic::new(1).await, Topic::new(1).await);
    topic.produce_all(vec![Some("not JSON".into()), Some(format!(r#"{{"n":"{}"}}"#, "x".repeat(200)))]).await;
    let source = topic.source(&format!("max_event_size = \"100B\"\ndead_letter = \"kafka:{}\"", dead.name));
    let filter = "[filters.some]\nfrom = [\"input\"]\nwhen = \"$.data.n\"\n";
    let config = site.pipeline_of(&source, "").replace("from = [\"input\"]", "from = [\"some\"]");
    let bridge = Bridge::run(site.folder.path(), &format!("{config}{filter}{NO_STORE}"));
    topic.committed_to_the_end().await;
    let letters = Records::of(&dead).take(2, |record| {
        let headers = headers_of(record);
        (headers["bridge-node"].clone(), headers["bridge-reason"].clone())
    });
    assert!(bridge.stop().success());
    let expected = [("filters.some", "undecodable"), ("sources.input", "too-large")];
    let expected: BTreeSet<_> = expected.map(|(node, reason)| (node.to_owned(), reason.to_owned())).into();
    assert_eq!(letters.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn letters_wait_for_a_kafka_that_is_away_and_none_is_lost() {
    let broker = OwnBroker::kafka("dead-letters");
    broker.run("start").await;
    let dead = Topic::at(broker.bootstrap(), 1).await;
    broker.run("stop").await;

    let site = site_that_rejects().await;
    let queue = Broker::shared().queue().await;
    queue.declare().await;
    for number in 1..=20 {
        let body = json!({"n": number, "is": "bad"}).to_string();
        queue.publish_one("", &queue.name, body.as_bytes(), message_with_id(number)).await;
    }
    let away = dead.source("").replace("[sources.input]", "[sources.away]");
    let source = format!(
        "{}\n{away}\n[sinks.none]\ntype = \"webhook\"\nfrom = [\"away\"]\nurl = \"http://127.0.0.1:9\"\n",
        super::amqp::source(&queue, "")
    );
    let bridge = Bridge::run(site.folder.path(), &with_dead_letters(&site, &source, &format!("kafka:{}", dead.name)));
    wait_until("the outage is logged", || bridge.log().contains("the dead letter cannot be sent on")).await;
    assert_eq!(queue.ready_and_unacknowledged().await, (0, 20), "no message is acknowledged before its letter is safe");
    broker.run("start").await;
    super::amqp::drained(&queue).await;
    wait_until("the end of the outage is logged", || bridge.log().contains("dead letters can be sent on again")).await;
    let ids = Records::of(&dead).take(20, |record| headers_of(record)["bridge-event-id"].clone());
    let expected: BTreeSet<String> = (1..=20).map(|number| number.to_string()).collect();
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(bridge.stop().success());
    queue.delete().await;
}

fn message_with_id(number: u32) -> lapin::BasicProperties {
    let properties = lapin::BasicProperties::default().with_message_id(number.to_string().into());
    properties.with_content_type("application/json".into()).with_delivery_mode(2)
}

/// The one message of a queue.
async fn only_message(queue: &TestQueue) -> lapin::message::BasicGetMessage {
    super::amqp::holds(queue, (1, 0)).await;
    let message = queue.channel.basic_get(queue.name.as_str().into(), BasicGetOptions { no_ack: true }).await.unwrap();
    message.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_letter_arrives_in_a_queue_as_the_event_came_and_says_what_happened() {
    let site = site_that_rejects().await;
    let queue = Broker::shared().queue().await;
    queue.declare().await;
    let dead = Broker::shared().queue().await;
    dead.declare().await;
    queue.publish_one("", &queue.name, b"\"bad\"", message_with_id(7)).await;
    let config = with_dead_letters(&site, &super::amqp::source(&queue, ""), &format!("amqp:/{}", dead.name));
    let bridge = Bridge::run(site.folder.path(), &config);
    super::amqp::drained(&queue).await;
    let message = only_message(&dead).await;
    assert!(bridge.stop().success());
    assert_eq!(message.data, b"\"bad\"");
    let properties = &message.properties;
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "7");
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(properties.delivery_mode(), &Some(2));
    let headers = properties.headers().as_ref().unwrap().inner();
    let text = |name: &str| headers[name].as_long_string().unwrap().to_string();
    assert_eq!((text("bridge-reason").as_str(), text("bridge-status").as_str()), ("rejected", "400"));
    assert_eq!((text("bridge-node").as_str(), text("bridge-event-id").as_str()), ("sinks.out", "7"));
    dead.delete().await;
    queue.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn a_letter_that_no_queue_takes_waits_until_one_does() {
    let site = site_that_rejects().await;
    let queue = Broker::shared().queue().await;
    queue.declare().await;
    queue.publish_one("", &queue.name, b"\"bad\"", message_with_id(7)).await;
    let dead = Broker::shared().queue().await;
    let config = with_dead_letters(&site, &super::amqp::source(&queue, ""), &format!("amqp:/{}", dead.name));
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("it is logged", || bridge.log().contains("has no queue for the routing key")).await;
    assert_eq!(queue.ready_and_unacknowledged().await, (0, 1));
    dead.declare().await;
    super::amqp::drained(&queue).await;
    assert_eq!(only_message(&dead).await.data, b"\"bad\"");
    assert!(bridge.stop().success());
    dead.delete().await;
    queue.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn an_exchange_that_is_not_there_loses_nothing() {
    let site = site_that_rejects().await;
    let queue = Broker::shared().queue().await;
    queue.declare().await;
    queue.publish_one("", &queue.name, b"\"bad\"", message_with_id(7)).await;
    let config = with_dead_letters(&site, &super::amqp::source(&queue, ""), "amqp:no-such-exchange/letters");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("it is logged", || bridge.log().contains("no exchange 'no-such-exchange'")).await;
    assert_eq!(queue.ready_and_unacknowledged().await, (0, 1));
    assert!(bridge.stop().success(), "what waits at a shutdown is left to the next start");
    queue.left(1).await;
    queue.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sink_tells_of_what_the_first_could_not_deliver() {
    let mut site = site_that_rejects().await;
    let alerts = format!(
        "[sinks.alerts]\ntype = \"webhook\"\nurl = \"{}/alerts\"\n\
         body = '{{\"node\": \"{{{{meta.dead_letter.node}}}}\", \"reason\": \"{{{{meta.dead_letter.reason}}}}\", \
         \"attempts\": {{{{meta.dead_letter.attempts}}}}, \"event\": \"{{{{id}}}}\"}}'\n",
        site.receiver.url()
    );
    let config = format!("{}{alerts}", with_dead_letters(&site, "[sources.input]\ntype = \"stdin\"", "alerts"));
    site.deliver_all(&config, &[r#"{"n":1}"#, r#"{"n":"bad"}"#]);
    let requests = site.received();
    let alert = requests.iter().find(|request| request.path_and_query == "/alerts").expect("no alert");
    let body: Value = serde_json::from_slice(&alert.body).unwrap();
    let id = |request: &webhook_bridge::receiver::ReceivedRequest| request.headers["webhook-id"].clone();
    assert_eq!(
        (&body["node"], &body["reason"], &body["attempts"]),
        (&json!("sinks.out"), &json!("rejected"), &json!(1))
    );
    let rejected = requests.iter().find(|request| request.answered_status == Some(StatusCode::BAD_REQUEST)).unwrap();
    assert_eq!(id(alert), id(rejected), "it stays the same event");
    assert_eq!(requests.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sink_hears_of_what_cannot_be_read() {
    let mut site = Site::start(Default::default()).await;
    let alerts = format!(
        "[sinks.alerts]\ntype = \"webhook\"\nurl = \"{}/alerts\"\n\
         body = '{{\"format\": \"{{{{meta.dead_letter.format}}}}\", \"id\": \"{{{{default data.id \"?\"}}}}\", \
         \"data\": {{{{json data}}}}}}'\n",
        site.receiver.url()
    );
    let sink = "body = '{\"id\": \"{{data.id}}\", \"n\": {{data.n}}}'\ndead_letter = \"alerts\"";
    let config = format!("{}{alerts}", site.pipeline(sink));
    let lines: [&[u8]; 4] = [b"{\"id\": 7, \"n\": 1}", b"{\"id\": 8}", b"{\"id\": ", b"{\"id\": \xff"];
    site.deliver_all(&config, &lines);
    let requests = site.received();
    let alerts = requests.iter().filter(|request| request.path_and_query == "/alerts");
    let mut bodies: Vec<String> = alerts.map(|request| String::from_utf8(request.body.to_vec()).unwrap()).collect();
    bodies.sort();
    let expected = [
        r#"{"format": "bytes", "id": "?", "data": "eyJpZCI6IP8="}"#,
        r#"{"format": "json", "id": "8", "data": {"id":8}}"#,
        r#"{"format": "text", "id": "?", "data": "{\"id\": "}"#,
    ];
    assert_eq!(bodies, expected);
    assert_eq!(requests.len(), 4);
    let letters = site.dead_letters();
    assert!(
        letters.iter().all(|letter| letter["node"] == "sinks.out"),
        "none of the announcements failed: {letters:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_for_letters_they_are_held_and_the_source_waits() {
    let mut site = site_that_rejects().await;
    let source = "[sources.input]\ntype = \"stdin\"\nmax_in_flight = 5";
    let config = format!("{}\n{NO_STORE}", site.pipeline_of(source, ""));
    let mut lines = vec![r#"{"n":"bad"}"#.to_owned()];
    lines.extend(numbered(20));
    let bridge = site.bridge(&config, &lines);
    wait_until("it is logged", || bridge.log().contains("there is nowhere to keep it, and it is held")).await;
    wait_until("the rest of the window is delivered", || site.receiver.requests() == 5).await;
    // That nothing more comes can only be seen by waiting.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(site.receiver.requests(), 5, "the source has stopped at its bound");
    assert!(!bridge.log().contains("connecting again"), "a held letter is no failure");
    assert!(bridge.stop().success(), "it is left to the next start");
    assert_eq!(site.received().len(), 5);
}
