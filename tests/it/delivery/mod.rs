//! Deliveries of a real `bridge run` to a receiver that misbehaves on purpose. No broker is needed: events come from
//! standard input or from a file.

mod answers;
mod answers_by_body;
mod beside;
mod breaker;
mod certificates;
mod connections;
mod durability;
mod full_beside;
mod full_disk;
mod full_store;
mod letters_of_parked;
mod order;
mod pacing;
mod parking;
mod pauses;
mod payloads;
mod places;
mod presets;
mod programs;
mod retries;
mod routes;
mod store_away;
mod transforms;

use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Response;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Receiver, Reply};

use crate::support::{Bridge, Parked, dead_letters, parked};

/// A receiver, and the folder of the bridge that delivers to it.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) receiver: Receiver,
    requests: mpsc::Receiver<ReceivedRequest>,
}

impl Site {
    /// Starts a receiver of this behaviour, recording every request.
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let (record, requests) = mpsc::channel(100_000);
        let behaviour = Behaviour { record: Some(record), ..behaviour };
        let receiver = Receiver::bind("127.0.0.1:0", behaviour).await.unwrap();
        Self { folder: tempfile::tempdir().unwrap(), receiver, requests }
    }

    /// A receiver whose replies are chosen request by request.
    pub(crate) async fn choosing(chooser: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Behaviour { chooser: Some(Arc::new(chooser)), ..Behaviour::default() }).await
    }

    /// A pipeline from standard input to one sink, `out`, with these further keys.
    pub(crate) fn pipeline(&self, sink: &str) -> String {
        self.pipeline_of("[sources.input]\ntype = \"stdin\"", sink)
    }

    /// A pipeline from the file `events.jsonl` in the folder to one sink, `out`.
    pub(crate) fn file_pipeline(&self, sink: &str) -> String {
        let source = "[sources.input]\ntype = \"file\"\npaths = [\"events.jsonl\"]\ncommit_interval = \"20ms\"";
        self.pipeline_of(source, sink)
    }

    /// A pipeline from this source, `input`, to one sink, `out`.
    pub(crate) fn pipeline_of(&self, source: &str, sink: &str) -> String {
        let url = self.receiver.url();
        let sink = if sink.contains("url =") { sink.to_owned() } else { format!("url = \"{url}/hook\"\n{sink}") };
        format!("name = \"it\"\n{source}\n[sinks.out]\ntype = \"webhook\"\nfrom = [\"input\"]\n{sink}\n")
    }

    /// Starts the bridge with these lines at its standard input, which then ends.
    pub(crate) fn bridge(&self, config: &str, lines: &[impl AsRef<[u8]>]) -> Bridge {
        let input = self.folder.path().join("input");
        std::fs::write(&input, joined(lines)).unwrap();
        Bridge::run_with(self.folder.path(), config, &[], Stdio::from(File::open(&input).unwrap()))
    }

    /// Runs a pipeline of one sink over these lines to its end, which must be a good one.
    pub(crate) fn deliver(&self, sink: &str, lines: &[impl AsRef<[u8]>]) {
        self.deliver_all(&self.pipeline(sink), lines);
    }

    /// Runs a pipeline over these lines to its end, which must be a good one.
    pub(crate) fn deliver_all(&self, config: &str, lines: &[impl AsRef<[u8]>]) {
        let log = self.folder.path().join("bridge.log");
        let status = self.bridge(config, lines).wait();
        assert!(status.success(), "{}", std::fs::read_to_string(log).unwrap());
    }

    /// Adds lines to the file that [`file_pipeline`](Self::file_pipeline) reads.
    pub(crate) fn append(&self, lines: &[impl AsRef<[u8]>]) {
        use std::io::Write as _;
        let path = self.folder.path().join("events.jsonl");
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(&joined(lines)).unwrap();
    }

    /// The requests received since this was last asked.
    pub(crate) fn received(&mut self) -> Vec<ReceivedRequest> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }

    /// The dead letters kept so far.
    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        dead_letters(self.folder.path())
    }

    /// The deliveries that wait in the store.
    pub(crate) fn parked(&self) -> Vec<Parked> {
        parked(self.folder.path(), "it")
    }

    /// How many lines of the log hold a text.
    pub(crate) fn log_count(&self, bridge: &Bridge, text: &str) -> usize {
        bridge.log().lines().filter(|line| line.contains(text)).count()
    }
}

fn joined(lines: &[impl AsRef<[u8]>]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_ref(), b"\n"].concat()).collect()
}

/// `count` events, `{"n":1}` and so on.
pub(crate) fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!(r#"{{"n":{n}}}"#)).collect()
}

/// The `n` of a request whose body is a numbered event.
pub(crate) fn number(request: &ReceivedRequest) -> u64 {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["n"].as_u64().unwrap()
}

/// The numbers of all requests in the order in which they came.
pub(crate) fn numbers(requests: &[ReceivedRequest]) -> Vec<u64> {
    requests.iter().map(number).collect()
}

/// Milliseconds from one request's arrival to another's.
pub(crate) fn millis_between(first: &ReceivedRequest, second: &ReceivedRequest) -> i64 {
    (second.at.as_microsecond() - first.at.as_microsecond()) / 1000
}

/// A header of a request, `""` when it is not there.
pub(crate) fn header<'a>(request: &'a ReceivedRequest, name: &str) -> &'a str {
    request.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// An answer with headers and a body.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    Reply::Answer(builder.body(body.into()).unwrap())
}
