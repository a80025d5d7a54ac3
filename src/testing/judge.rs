//! Compares what an event becomes with what its test expects. It must not show anything: secrets are not masked here.

use std::borrow::Cow;

use serde_json::Value;

use crate::config::test_case::{Expectation, TestCase};
use crate::jsonpath::Query;
use crate::jsonpath::comparison::equal;
use crate::node::NodeName;
use crate::pipeline::trial::{FirstAttempt, Outcome};
use crate::sink::parts::ID_HEADER;
use crate::store::record::Reason;

/// Something that is not as a test expects it.
#[derive(Debug, PartialEq)]
pub enum Mismatch<'a> {
    /// What is expected does not come.
    Missing {
        /// The index of the expectation.
        index: usize,
        /// Its sink, or the node of its dead letter, as `sinks.crm`.
        node: String,
        /// True for a dead letter.
        is_letter: bool,
    },
    /// What comes is not expected.
    Unexpected(&'a Outcome),
    /// What is expected comes, and is different.
    Different {
        /// The index of the expectation.
        index: usize,
        /// The sink, or the node of the dead letter, as `sinks.crm`.
        node: String,
        /// In what: at least one.
        differences: Vec<Difference>,
    },
}

/// One part of a delivery or dead letter that is not as expected.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// Which.
    pub part: Part,
    /// What is expected.
    pub expected: Content,
    /// What is there; `None` when there is nothing such.
    pub found: Option<Content>,
}

/// A part of a delivery or dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The method.
    Method,
    /// The URL.
    Url,
    /// A header, named as in the test.
    Header(String),
    /// The `webhook-id`.
    WebhookId,
    /// The body, byte for byte.
    Body,
    /// A text within the body, by its index in the expectation.
    BodyContains(usize),
    /// The body as JSON.
    BodyJson,
    /// What a JSONPath query finds in the body.
    Json(String),
    /// The reason of a dead letter.
    Reason,
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// JSON.
    Json(Value),
    /// Bytes that are no text.
    Binary(usize),
}

/// What is not as the test expects it. Nothing when the test passes. Each expectation takes the first outcome that meets
/// it and is not taken yet.
pub fn judge<'a>(test: &TestCase, outcomes: &'a [Outcome]) -> Vec<Mismatch<'a>> {
    let mut open: Vec<&Outcome> = outcomes.iter().collect();
    let mut unmet = Vec::new();
    for (index, expectation) in test.expect.iter().enumerate() {
        let meets = |outcome: &&Outcome| differences(expectation, outcome).is_some_and(|found| found.is_empty());
        match open.iter().position(meets) {
            Some(position) => drop(open.remove(position)),
            None => unmet.push((index, expectation)),
        }
    }
    // What is left at the same node is compared, so that a slip in a URL does not read as one delivery too few and one
    // too many.
    let mut mismatches = Vec::new();
    for (index, expectation) in unmet {
        let (node, is_letter) = node_of(expectation);
        let found = open.iter().enumerate().find_map(|(at, outcome)| Some((at, differences(expectation, outcome)?)));
        mismatches.push(match found {
            Some((position, differences)) => {
                open.remove(position);
                Mismatch::Different { index, node, differences }
            }
            None => Mismatch::Missing { index, node, is_letter },
        });
    }
    mismatches.extend(open.into_iter().map(Mismatch::Unexpected));
    mismatches
}

fn node_of(expectation: &Expectation) -> (String, bool) {
    match (&expectation.dead_letter, &expectation.sink) {
        (Some(node), _) => (node.clone(), true),
        (None, sink) => (NodeName::sink(sink.as_deref().unwrap_or_default()).to_string(), false),
    }
}

/// In what an outcome differs from an expectation; `None` when it is another node's, or of another kind.
fn differences(expectation: &Expectation, outcome: &Outcome) -> Option<Vec<Difference>> {
    match outcome {
        Outcome::Delivery(attempt) => {
            (expectation.sink.as_deref() == Some(&*attempt.sink)).then(|| differences_of_delivery(expectation, attempt))
        }
        Outcome::DeadLetter { node, reason, .. } => (expectation.dead_letter == Some(node.to_string()))
            .then(|| difference_of_reason(expectation, *reason).into_iter().collect()),
    }
}

fn difference_of_reason(expectation: &Expectation, found: Reason) -> Option<Difference> {
    let expected: Reason = expectation.reason?.into();
    let [expected_text, found_text] = [expected, found].map(|reason| Content::Text(reason.as_str().to_owned()));
    (expected != found).then_some(Difference { part: Part::Reason, expected: expected_text, found: Some(found_text) })
}

fn differences_of_delivery(expectation: &Expectation, attempt: &FirstAttempt) -> Vec<Difference> {
    let header = |name: &str| {
        let value = attempt.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let method = expectation.method.map(reqwest::Method::from);
    let mut differences = vec![
        text(Part::Method, method.as_ref().map(reqwest::Method::as_str), Some(attempt.method.clone())),
        text(Part::Url, expectation.url.as_deref(), Some(attempt.url.to_string())),
        text(Part::WebhookId, expectation.webhook_id.as_deref(), header(ID_HEADER)),
    ];
    for (name, expected) in &expectation.headers {
        differences.push(text(Part::Header(name.clone()), Some(expected), header(name)));
    }
    differences.push(expectation.body.as_deref().and_then(|expected| difference_of_body(expected, &attempt.body)));
    for (index, expected) in expectation.body_contains.iter().enumerate() {
        let is_there = memchr::memmem::find(&attempt.body, expected.as_bytes()).is_some();
        let difference = || Difference {
            part: Part::BodyContains(index),
            expected: Content::Text(expected.clone()),
            found: Some(content_of(&attempt.body)),
        };
        differences.push((!is_there).then(difference));
    }
    let needs_json = expectation.body_json.is_some() || !expectation.json.is_empty();
    let json: Option<Value> = if needs_json { serde_json::from_slice(&attempt.body).ok() } else { None };
    if let Some(expected) = &expectation.body_json {
        let is_equal = json.as_ref().is_some_and(|found| json_equal(&expected.0, found));
        let found = json.clone().map_or_else(|| content_of(&attempt.body), Content::Json);
        let difference =
            Difference { part: Part::BodyJson, expected: Content::Json(expected.0.clone()), found: Some(found) };
        differences.push((!is_equal).then_some(difference));
    }
    for (query, expected) in &expectation.json {
        differences.push(difference_of_query(query, &expected.0, json.as_ref()));
    }
    differences.into_iter().flatten().collect()
}

fn text(part: Part, expected: Option<&str>, found: Option<String>) -> Option<Difference> {
    let expected = expected?;
    let is_equal = found.as_deref() == Some(expected);
    let expected = Content::Text(expected.to_owned());
    (!is_equal).then_some(Difference { part, expected, found: found.map(Content::Text) })
}

fn difference_of_body(expected: &str, body: &[u8]) -> Option<Difference> {
    let difference =
        || Difference { part: Part::Body, expected: Content::Text(expected.to_owned()), found: Some(content_of(body)) };
    (expected.as_bytes() != body).then(difference)
}

/// A body that is not JSON holds nothing that a query could find.
fn difference_of_query(query: &str, expected: &Value, body: Option<&Value>) -> Option<Difference> {
    // A faulty query was refused when the file was read.
    let query_of_test = Query::parse(query).ok()?;
    let found = body.map(|body| query_of_test.select(body));
    if let Some([one]) = found.as_deref()
        && json_equal(expected, one)
    {
        return None;
    }
    let all = found.as_ref().map(|found| Value::Array(found.iter().map(|value| (*value).clone()).collect()));
    if all.as_ref().is_some_and(|all| json_equal(expected, all)) {
        return None;
    }
    let found = match found.as_deref() {
        Some([one]) => Some((*one).clone()),
        _ => all,
    };
    let expected = Content::Json(expected.clone());
    Some(Difference { part: Part::Json(query.to_owned()), expected, found: found.map(Content::Json) })
}

/// A body as it can be shown.
pub(super) fn content_of(body: &[u8]) -> Content {
    match String::from_utf8_lossy(body) {
        Cow::Borrowed(text) => Content::Text(text.to_owned()),
        Cow::Owned(_) => Content::Binary(body.len()),
    }
}

/// Whether two values are the same JSON: the order of members does not matter, and 1 equals 1.0.
pub(super) fn json_equal(one: &Value, other: &Value) -> bool {
    equal(one, other)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::super::attempt;
    use super::*;

    fn test(expect: &str) -> TestCase {
        let text = format!("name = 't'\nsource = 's'\nevent = {{}}\nexpect = [{expect}]");
        toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn delivery(sink: &str, body: &'static str) -> Outcome {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_static("test/1"));
        headers.insert("x-tenant", HeaderValue::from_static("acme"));
        attempt(sink, "http://h/a%2Fb", headers, body)
    }

    fn letter(node: &str) -> Outcome {
        Outcome::DeadLetter { node: node.parse().unwrap(), reason: Reason::Unrenderable, message: "no".into() }
    }

    fn passes(expect: &str, outcomes: &[Outcome]) -> bool {
        judge(&test(expect), outcomes).is_empty()
    }

    #[test]
    fn everything_must_be_expected_and_come() {
        let both = [delivery("a", "{}"), letter("sinks.b")];
        assert!(passes("", &[]));
        assert!(passes("{ dead_letter = 'sinks.b', reason = 'unrenderable' }, { sink = 'a' }", &both));
        assert_eq!(judge(&test("{ sink = 'a' }"), &both), [Mismatch::Unexpected(&both[1])]);
        let missing = Mismatch::Missing { index: 1, node: "sinks.b".into(), is_letter: false };
        assert_eq!(judge(&test("{ sink = 'a' }, { sink = 'b' }"), &both[..1]), [missing]);
        let twice = [delivery("a", "{}"), delivery("a", "{}")];
        assert!(!passes("{ sink = 'a' }", &twice));
        assert!(passes("{ sink = 'a' }, { sink = 'a' }", &twice));
        assert!(!passes("{ dead_letter = 'sinks.b', reason = 'undecodable' }", &both[1..]));
    }

    #[test]
    fn each_part_of_a_request_is_compared() {
        let outcomes = [delivery("a", r#"{"n":1.0,"s":["x","y"],"o":{"k":true}}"#)];
        for (part, is_right) in [
            ("method = 'POST'", true),
            ("method = 'PUT'", false),
            ("url = 'http://h/a%2Fb'", true),
            ("url = 'http://h/a/b'", false),
            ("webhook_id = 'test/1'", true),
            ("webhook_id = 'test/2'", false),
            ("headers = { X-Tenant = 'acme' }", true),
            ("headers = { X-Tenant = 'Acme' }", false),
            ("headers = { X-None = '' }", false),
            (r#"body = '{"n":1.0,"s":["x","y"],"o":{"k":true}}'"#, true),
            (r#"body = '{"n":1,"s":["x","y"],"o":{"k":true}}'"#, false),
            ("body_json = { o.k = true, s = ['x', 'y'], n = 1 }", true),
            ("body_json = { o.k = true, s = ['y', 'x'], n = 1 }", false),
            ("body_json = { o.k = true, s = ['x', 'y'], n = 1, more = 1 }", false),
            ("json = { '$.n' = 1, '$.s[*]' = ['x', 'y'], '$.o' = { k = true } }", true),
            ("json = { '$.s[0]' = 'x', '$.s' = ['x', 'y'], '$.s[?@ == \"y\"]' = ['y'] }", true),
            ("json = { '$.none' = [] }", true),
            ("json = { '$.none' = 1 }", false),
            ("json = { '$.n' = '1' }", false),
        ] {
            assert_eq!(passes(&format!("{{ sink = 'a', {part} }}"), &outcomes), is_right, "{part}");
        }
        assert!(!passes("{ sink = 'a', json = { '$.none' = [] } }", &[delivery("a", "no JSON")]));
        assert!(!passes("{ sink = 'a', body_json = 'no JSON' }", &[delivery("a", "no JSON")]));
    }

    #[test]
    fn several_deliveries_of_one_sink_are_told_apart_whatever_their_order() {
        let outcomes = [delivery("a", "1"), delivery("a", "2")];
        assert!(passes("{ sink = 'a', body = '2' }, { sink = 'a', body = '1' }", &outcomes));
        let mismatches = judge(&test("{ sink = 'a', body = '3' }, { sink = 'a', body = '1' }"), &outcomes);
        let [Mismatch::Different { index: 0, differences, .. }] = mismatches.as_slice() else {
            panic!("{mismatches:?}")
        };
        assert_eq!(differences[0].found, Some(Content::Text("2".into())));
    }

    #[test]
    fn whole_numbers_are_compared_to_the_last_digit() {
        let large: Value = serde_json::from_str("9007199254740993").unwrap();
        assert!(!json_equal(&large, &json!(9_007_199_254_740_992_i64)));
        assert!(json_equal(&json!(1), &json!(1.0)));
        assert!(!json_equal(&json!(null), &json!(0)));
    }
}
