//! Says in words what is not as a test expects it, for people and for programs. Secrets are masked here, before anything
//! is compared line by line.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::difference::{self, Line, Side};
use super::judge::{Content, Difference, Mismatch, Part, content_of};
use crate::node::NodeName;
use crate::pipeline::trial::{FirstAttempt, Outcome};
use crate::secret::mask;

/// One thing that is not as expected, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The node, as `sinks.crm`.
    pub node: String,
    /// What is wrong.
    pub kind: Kind,
    /// Which part of the delivery or dead letter: `url`, `body`, `headers.X-Tenant`, …; empty for all of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub part: String,
    /// What is expected, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// All of it in a sentence.
    pub message: String,
    /// The lines to show below the sentence.
    #[serde(skip)]
    pub lines: Vec<Line>,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Expected, and does not come.
    Missing,
    /// Comes, and is not expected.
    Unexpected,
    /// Comes, and is different.
    Different,
}

/// Each thing that is not as expected.
pub fn explain(mismatches: &[Mismatch<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for mismatch in mismatches {
        match mismatch {
            Mismatch::Missing { node, is_letter, .. } => findings.push(missing(node, *is_letter)),
            Mismatch::Unexpected(Outcome::Delivery(attempt)) => findings.push(unexpected_delivery(attempt)),
            Mismatch::Unexpected(Outcome::DeadLetter { node, reason, message }) => {
                findings.push(unexpected_letter(&node.to_string(), reason.as_str(), message));
            }
            Mismatch::Different { node, differences, .. } => {
                findings.extend(differences.iter().map(|difference| different(node, difference)));
            }
        }
    }
    findings
}

impl Part {
    /// The key of the expectation that names it.
    pub fn key(&self) -> String {
        match self {
            Self::Method => "method".to_owned(),
            Self::Url => "url".to_owned(),
            Self::Header(name) => format!("headers.{name}"),
            Self::WebhookId => "webhook_id".to_owned(),
            Self::Body => "body".to_owned(),
            Self::BodyContains(index) => format!("body_contains[{index}]"),
            Self::BodyJson => "body_json".to_owned(),
            Self::Json(query) => format!("json[\"{query}\"]"),
            Self::Reason => "reason".to_owned(),
        }
    }
}

fn missing(node: &str, is_letter: bool) -> Finding {
    let what = if is_letter { "a dead letter" } else { "a delivery" };
    let message = format!("{node}: {what} is expected and does not come");
    finding(node, Kind::Missing, message)
}

fn unexpected_delivery(attempt: &FirstAttempt) -> Finding {
    let FirstAttempt { sink, method, url, body, .. } = attempt;
    let node = NodeName::sink(Arc::clone(sink)).to_string();
    let request = mask(&format!("{method} {url}")).into_owned();
    let body = shown(&content_of(body));
    let mut lines = vec![Line::new(Side::Found, request.as_str())];
    lines.extend(body.lines().map(|line| Line::new(Side::Found, line)));
    let message = format!("{node}: a delivery comes that is not expected");
    Finding { found: Some(format!("{request}\n\n{body}")), lines, ..finding(&node, Kind::Unexpected, message) }
}

fn unexpected_letter(node: &str, reason: &str, why: &str) -> Finding {
    let message = format!("{node}: a dead letter comes that is not expected");
    let found = format!("{reason}: {}", mask(why));
    let lines = vec![Line::new(Side::Found, found.as_str())];
    Finding { found: Some(found), lines, ..finding(node, Kind::Unexpected, message) }
}

fn different(node: &str, difference: &Difference) -> Finding {
    let Difference { part, expected, found } = difference;
    let part = part.key();
    let lines = match (expected, found) {
        (Content::Json(expected), Some(Content::Json(found))) => {
            difference::of_json(&masked_json(expected), &masked_json(found))
        }
        (expected, found) => difference::of_texts(&shown(expected), &found.as_ref().map(shown).unwrap_or_default()),
    };
    let message = match found {
        None => format!("{node}: `{part}` is expected and not there"),
        Some(_) if lines.is_empty() => format!("{node}: `{part}` differs, but only in what is masked as a secret"),
        Some(_) => format!("{node}: `{part}` differs"),
    };
    let (expected, found) = (Some(shown(expected)), found.as_ref().map(shown));
    Finding { part, expected, found, lines, ..finding(node, Kind::Different, message) }
}

fn finding(node: &str, kind: Kind, message: String) -> Finding {
    let (part, expected, found, lines) = (String::new(), None, None, Vec::new());
    Finding { node: node.to_owned(), kind, part, expected, found, message, lines }
}

fn shown(content: &Content) -> String {
    match content {
        Content::Text(text) => mask(text).into_owned(),
        Content::Json(value) => mask(&value.to_string()).into_owned(),
        Content::Binary(size) => format!("({size} bytes that are not UTF-8 text)"),
    }
}

/// A masked value is still JSON unless a secret goes beyond one string; then it is shown as a whole.
fn masked_json(value: &Value) -> Value {
    let masked = mask(&value.to_string()).into_owned();
    serde_json::from_str(&masked).unwrap_or(Value::String(masked))
}
