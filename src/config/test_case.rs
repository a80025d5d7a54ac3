//! `[[tests]]`: an event, and everything that must become of it.
//!
//! What a test may say stands here, and what is wrong with one that could never pass. Taking the event through the graph
//! is [`pipeline::trial`](crate::pipeline::trial)'s part, comparing is [`testing`](crate::testing)'s.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use indexmap::IndexMap;
use jiff::Timestamp;
use reqwest::header::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::event::Format;
use crate::jsonpath::Query;
use crate::node::{NodeKind, NodeName};
use crate::problem::{Problem, did_you_mean};
use crate::sink::config::Method;
use crate::source::SourceConfig;
use crate::store::record::Reason;

/// An event, and every delivery and dead letter that it must become. `bridge test` runs it without network and state.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// What the test shows. No two tests of a file have the same name.
    #[schemars(extend("examples" = ["a paid order reaches the CRM"]))]
    pub name: String,
    /// Name of the source that the event comes from.
    #[schemars(extend("examples" = ["orders"]))]
    pub source: String,
    /// The event that is taken through the pipeline.
    pub event: TestEvent,
    /// The time at which it is rendered and sent, in RFC 3339: it is what `now` and `webhook-timestamp` give. `uuid`
    /// gives 00000000-0000-4000-8000-000000000001 and so on.
    #[serde(default = "new_year", deserialize_with = "time")]
    #[schemars(with = "String", extend("examples" = ["2026-01-01T00:00:00Z"]))]
    pub now: Timestamp,
    /// Every delivery and every dead letter, in any order: one that is not expected fails the test, too. `[]` says that
    /// the event reaches nothing.
    #[schemars(extend("examples" = [[{ "sink": "crm", "body_json": { "text": "Order o-1" } }]]))]
    pub expect: Vec<Expectation>,
    /// The line of the file that it begins on, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// The event of a test. What is left out is as short as it can be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("dependentSchemas" = serde_json::json!({ "data": { "properties": { "payload": false } } })))]
pub struct TestEvent {
    /// Its id, from which `webhook-id` is made.
    #[serde(default = "first_id")]
    pub id: String,
    /// When it happened, in RFC 3339.
    #[serde(default = "new_year", deserialize_with = "time")]
    #[schemars(with = "String", extend("examples" = ["2026-01-01T00:00:00Z"]))]
    pub time: Timestamp,
    /// Its key; without it `null`.
    #[schemars(extend("examples" = ["o-1"]))]
    pub key: Option<String>,
    /// Its headers.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Json>")]
    pub headers: IndexMap<String, Json>,
    /// Where it came from, in the words of the source's type. What is left out here is that of the first event which the
    /// source could read: of Kafka the first of `topics`, partition 0 and offset 0; of AMQP a message that was sent to
    /// `queue` itself; of files the first of `paths` as it is written, offset 0 and `file = "0000000000000000"`; of
    /// standard input offset 0.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Json>")]
    pub meta: IndexMap<String, Json>,
    /// The payload as `data` shows it: any value with the source's `format = "json"`, a string with `"text"`, a string
    /// in base64 with `"bytes"`. Without it and `payload` the event has no payload.
    #[schemars(extend("examples" = [{ "id": "o-1", "type": "order.paid", "total": 120 }]))]
    pub data: Option<Json>,
    /// The payload's very text, for what cannot be written without it: what is no JSON, or holds a `null`, which TOML
    /// lacks. It and `data` exclude each other.
    #[schemars(extend("examples" = ["{\"note\": null}"]))]
    pub payload: Option<String>,
    /// The content type that the message itself carries; without it, it carries none.
    #[schemars(extend("examples" = ["application/xml"]))]
    pub content_type: Option<String>,
}

/// A delivery (`sink`) or a dead letter (`dead_letter`). Of a delivery only what is named here is compared.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("dependentSchemas" = serde_json::json!({
    "sink": { "properties": { "dead_letter": false, "reason": false } },
    "dead_letter": { "properties": {
        "method": false, "url": false, "headers": false, "body": false, "body_contains": false, "body_json": false,
        "json": false, "webhook_id": false,
    } },
    "body": { "properties": { "body_json": false } },
})))]
#[schemars(extend("anyOf" = serde_json::json!([{ "required": ["sink"] }, { "required": ["dead_letter"] }])))]
pub struct Expectation {
    /// Name of the sink that the event is delivered to; a dead letter is expected without it.
    #[schemars(extend("examples" = ["crm"]))]
    pub sink: Option<String>,
    /// The request's method. Without it any will do.
    pub method: Option<Method>,
    /// The request's URL. Without it any will do.
    #[schemars(extend("examples" = ["https://crm.example/hooks/eu"]))]
    pub url: Option<String>,
    /// Some of the request's headers, in any case. Those that the HTTP client adds by itself cannot be expected.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: IndexMap<String, String>,
    /// The request's body, byte for byte. Without it and `body_json` any will do.
    #[schemars(extend("examples" = ["{\"text\": \"Order o-1\"}"]))]
    pub body: Option<String>,
    /// Texts that the request's body holds, each anywhere in it.
    #[serde(default)]
    #[schemars(extend("examples" = [["Order o-1", "12.50 EUR"]]))]
    pub body_contains: Vec<String>,
    /// The request's body as JSON: neither the order of members nor blanks matter, and 1 equals 1.0. Without it and
    /// `body` any will do.
    #[schemars(extend("examples" = [{ "text": "Order o-1" }]))]
    pub body_json: Option<Json>,
    /// What JSONPath queries find in the body: the one value found, or an array of all; `[]` says that there is none.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Json>")]
    pub json: IndexMap<String, Json>,
    /// The request's `webhook-id`. Without it any will do.
    #[schemars(extend("examples" = ["test/1"]))]
    pub webhook_id: Option<String>,
    /// The node that gives the event up: `sources.NAME`, `filters.NAME`, `transforms.NAME` or `sinks.NAME`. A delivery is
    /// expected without it.
    #[schemars(extend("examples" = ["sinks.crm"]))]
    pub dead_letter: Option<String>,
    /// Why the event is given up. Without it any reason will do.
    pub reason: Option<ExpectedReason>,
}

/// Why an event becomes a dead letter. Reasons that need a receiver's answer cannot be tested so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectedReason {
    /// The payload is larger than `max_event_size`.
    TooLarge,
    /// The payload is not what the source's `format` says.
    Undecodable,
    /// A template failed, or its result cannot be sent.
    Unrenderable,
}

/// A value of TOML as JSON. Dates and times are strings.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Value);

impl TestEvent {
    /// The payload's bytes, for a source of this format.
    ///
    /// # Errors
    /// A sentence, when `data` cannot be a payload of this format.
    pub fn payload(&self, format: Format) -> Result<Option<Bytes>, String> {
        if let Some(payload) = &self.payload {
            return Ok(Some(payload.clone().into()));
        }
        let Some(Json(data)) = &self.data else { return Ok(None) };
        match (format, data) {
            (Format::Json, data) => Ok(Some(data.to_string().into())),
            (Format::Text, Value::String(text)) => Ok(Some(text.clone().into())),
            (Format::Text, _) => Err("the source's format is `text`, so `data` must be a string".to_owned()),
            (Format::Bytes, Value::String(text)) if let Ok(bytes) = BASE64.decode(text) => Ok(Some(bytes.into())),
            (Format::Bytes, _) => {
                Err("the source's format is `bytes`, so `data` must be a string in base64".to_owned())
            }
        }
    }
}

impl From<ExpectedReason> for Reason {
    fn from(reason: ExpectedReason) -> Self {
        match reason {
            ExpectedReason::TooLarge => Self::TooLarge,
            ExpectedReason::Undecodable => Self::Undecodable,
            ExpectedReason::Unrenderable => Self::Unrenderable,
        }
    }
}

/// The nodes of the file that a test may name.
pub(super) struct Nodes<'a> {
    /// The names of all sources, those at fault included.
    pub sources: BTreeSet<String>,
    /// The names of all filters, those at fault included.
    pub filters: BTreeSet<String>,
    /// The names of all transforms, those at fault included.
    pub transforms: BTreeSet<String>,
    /// The names of all sinks, those at fault included.
    pub sinks: BTreeSet<String>,
    /// The sources that could be read.
    pub typed_sources: &'a IndexMap<String, SourceConfig>,
}

/// The rules of a test. Paths start at its table.
pub(super) fn check(test: &TestCase, nodes: &Nodes<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if test.name.trim().is_empty() {
        problems.push(Problem::new(["name"], "the test has no name"));
    }
    if !nodes.sources.contains(&test.source) {
        problems.push(unknown(["source"], "source", &test.source, &nodes.sources));
    }
    problems.extend(check_event(&test.event, nodes.typed_sources.get(&test.source)));
    for (index, expectation) in test.expect.iter().enumerate() {
        let of_one = check_expectation(expectation, nodes).into_iter();
        problems.extend(of_one.map(|problem| problem.under(["expect", &index.to_string()])));
    }
    problems
}

fn check_event(event: &TestEvent, source: Option<&SourceConfig>) -> Option<Problem> {
    if event.data.is_some() && event.payload.is_some() {
        let help = "`data` is the payload as the source's format shows it, `payload` is its text";
        return Some(Problem::new(["event", "payload"], "`data` and `payload` exclude each other").with_help(help));
    }
    let format = source?.common.format;
    event.payload(format).err().map(|message| Problem::new(["event", "data"], message))
}

fn check_expectation(expectation: &Expectation, nodes: &Nodes<'_>) -> Vec<Problem> {
    let (sink, node) = match (&expectation.sink, &expectation.dead_letter) {
        (None, None) => {
            let help = "name the sink that is reached, or the node that gives the event up, such as \"sinks.crm\"; \
                        when nothing is reached, write `expect = []`";
            let problem = Problem::new::<&str>([], "the expectation names neither a `sink` nor a `dead_letter`");
            return vec![problem.with_help(help)];
        }
        (Some(_), Some(_)) => {
            let help = "a delivery and a dead letter are two expectations";
            let problem = Problem::new(["dead_letter"], "`sink` and `dead_letter` exclude each other");
            return vec![problem.with_help(help)];
        }
        (sink, node) => (sink, node),
    };
    let mut problems = misplaced_keys(expectation);
    if let Some(name) = sink.as_ref().filter(|name| !nodes.sinks.contains(*name)) {
        problems.push(unknown(["sink"], "sink", name, &nodes.sinks));
    }
    if let Some(node) = node {
        problems.extend(check_node(node, nodes));
    }
    if expectation.body.is_some() && expectation.body_json.is_some() {
        let problem = Problem::new(["body"], "`body` and `body_json` exclude each other");
        problems.push(problem.with_help("`body` is compared byte for byte, `body_json` as JSON"));
    }
    for name in expectation.headers.keys().filter(|name| HeaderName::try_from(name.as_str()).is_err()) {
        problems.push(Problem::new(["headers", name], format!("`{name}` is not a header name")));
    }
    for query in expectation.json.keys() {
        if let Err(error) = Query::parse(query) {
            let problem = Problem::new(["json", query], format!("in the query `{query}`: {error}"));
            problems.push(error.help.iter().fold(problem, |problem, help| problem.with_help(help)));
        }
    }
    problems
}

/// Keys of a delivery in the expectation of a dead letter, and the other way round.
fn misplaced_keys(expectation: &Expectation) -> Vec<Problem> {
    let Expectation {
        sink: _,
        dead_letter,
        method,
        url,
        headers,
        body,
        body_contains,
        body_json,
        json,
        webhook_id,
        reason,
    } = expectation;
    let of_deliveries = [
        ("method", method.is_some()),
        ("url", url.is_some()),
        ("headers", !headers.is_empty()),
        ("body", body.is_some()),
        ("body_contains", !body_contains.is_empty()),
        ("body_json", body_json.is_some()),
        ("json", !json.is_empty()),
        ("webhook_id", webhook_id.is_some()),
    ];
    let (misplaced, kind) = match dead_letter {
        Some(_) => (of_deliveries.to_vec(), "dead letter"),
        None => (vec![("reason", reason.is_some())], "delivery"),
    };
    let misplaced = misplaced.into_iter().filter(|(_, is_there)| *is_there);
    misplaced.map(|(key, _)| Problem::new([key], format!("a {kind} has no `{key}`"))).collect()
}

fn check_node(node: &str, nodes: &Nodes<'_>) -> Option<Problem> {
    let kinds = [
        (NodeKind::Source, &nodes.sources),
        (NodeKind::Filter, &nodes.filters),
        (NodeKind::Transform, &nodes.transforms),
        (NodeKind::Sink, &nodes.sinks),
    ];
    let names_of = |(kind, names): (NodeKind, &BTreeSet<String>)| {
        names.iter().map(|name| NodeName::new(kind, name.as_str()).to_string()).collect::<Vec<_>>()
    };
    let known: BTreeSet<String> = kinds.into_iter().flat_map(names_of).collect();
    (!known.contains(node)).then(|| unknown(["dead_letter"], "node", node, &known))
}

fn unknown(path: [&str; 1], kind: &str, name: &str, known: &BTreeSet<String>) -> Problem {
    let problem = Problem::new(path, format!("there is no {kind} `{name}`"));
    match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(meant) => problem.with_help(format!("did you mean `{meant}`?")),
        None if known.is_empty() => problem,
        None => {
            let names: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            problem.with_help(format!("there are {}", names.join(", ")))
        }
    }
}

/// What `[[tests]]` look like, for editors.
pub(super) fn example() -> Value {
    serde_json::json!([{
        "name": "a paid order reaches the CRM",
        "source": "orders",
        "event": { "data": { "id": "o-1", "type": "order.paid" } },
        "expect": [{ "sink": "crm" }],
    }])
}

fn new_year() -> Timestamp {
    jiff::civil::date(2026, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).map(|time| time.timestamp()).unwrap_or_default()
}

fn first_id() -> String {
    "test/1".to_owned()
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_no_time = |_| D::Error::custom(format!("`{text}` is not a time in RFC 3339, such as 2026-01-01T00:00:00Z"));
    text.parse().map_err(is_no_time)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        to_json(toml::Value::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

fn to_json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => match serde_json::Number::from_f64(number) {
            Some(number) => number.into(),
            None => return Err(format!("JSON has no number `{number}`")),
        },
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(elements) => elements.into_iter().map(to_json).collect::<Result<_, _>>()?,
        toml::Value::Table(table) => {
            let members = table.into_iter().map(|(name, value)| Ok((name, to_json(value)?)));
            Value::Object(members.collect::<Result<_, String>>()?)
        }
    })
}

impl JsonSchema for Json {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "Any value." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> TestEvent {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn data_is_a_payload_as_the_format_shows_it() {
        let payload =
            |text: &str, format| event(text).payload(format).map(|payload| payload.map(|bytes| bytes.to_vec()));
        let json = "data = { z = 1, a = [1.5, true, 2026-01-01, 07:30:00], t = 2026-01-01T00:00:00Z }";
        let expected = r#"{"z":1,"a":[1.5,true,"2026-01-01","07:30:00"],"t":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(payload(json, Format::Json), Ok(Some(expected.into())));
        assert_eq!(payload("data = 'a'", Format::Text), Ok(Some("a".into())));
        assert_eq!(payload("data = '/w=='", Format::Bytes), Ok(Some(vec![0xff])));
        assert!(payload("data = 5", Format::Text).is_err());
        assert!(payload("data = 'no base64'", Format::Bytes).is_err());
        for format in [Format::Json, Format::Text, Format::Bytes] {
            assert_eq!(payload("payload = '{'", format), Ok(Some("{".into())));
            assert_eq!(payload("", format), Ok(None), "as a Kafka tombstone");
        }
    }

    #[test]
    fn what_is_left_out_is_the_same_every_time() {
        let TestEvent { id, time, .. } = event("");
        assert_eq!((id.as_str(), time.to_string().as_str()), ("test/1", "2026-01-01T00:00:00Z"));
        assert!(toml::from_str::<TestEvent>("time = '2026-01-01'").is_err(), "a day is no time");
    }
}
