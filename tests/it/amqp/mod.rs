//! The AMQP source against a real RabbitMQ, by the methods of `Source` alone.
//!
//! What the broker has requeued, holds or has forgotten is asked of the broker and not of the source.

pub(crate) mod broker;
mod consuming;
mod delivery_limit;
mod once;
mod outages;
mod sharing;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use webhook_bridge::event::{Format, MetaValue};
use webhook_bridge::source::amqp::AmqpSource;
use webhook_bridge::source::{Input, Progress, Record, Room, Source, SourceContext, SourceError};

/// Longer than anything here takes on a busy machine; a test that waits this long has failed.
const LIMIT: Duration = Duration::from_secs(30);
fn source(url: &str, queue: &str, extra: Value, once: bool) -> AmqpSource {
    let context = SourceContext {
        pipeline: "shop".into(),
        name: "legacy".into(),
        format: Format::Json,
        max_event_size: 1000,
        once,
        store: None,
        base_dir: PathBuf::new(),
        meta_beside: Vec::new(),
    };
    let mut config = json!({"uri": url, "queue": queue});
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    AmqpSource::new(context, serde_json::from_value(config).unwrap()).unwrap()
}

async fn read(source: &mut AmqpSource) -> Record {
    match timeout(LIMIT, source.read(Room::ONE_RECORD)).await.expect("no message arrived").unwrap() {
        Input::Records(mut records) => records.remove(0),
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
        match timeout(LIMIT, source.read(Room::ONE_RECORD)).await.expect("no error came") {
            Ok(Input::Records(_)) => {}
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
