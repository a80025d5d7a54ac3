//! Transforms: what `[transforms.NAME]` makes of an event, by a program or by parsing a line of text.
//!
//! A transform replaces `data` for what follows. It may make no event of one, one or several; the others of their members
//! stay those of the event that they come from. This module is pure: where the events go, and what becomes of one that a
//! transform fails for, the pipeline says.

pub mod parse;

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::event::{Envelope, Event};
use crate::jq::{self, Program, ProgramText};
use parse::{Parse, Parser};

/// Replaces `data` for what follows, by a program (`jq`) or by parsing a line of text (`parse`).
///
/// A program that gives no value drops the event, as a filter would. One value gives one event, which keeps its id; of
/// several, each gives an event of its own, with the ids `<id>#0`, `<id>#1` and so on. The source's position moves on when
/// all of them have ended. `meta.transform` names the transform. What is not `data` stays as it was.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformConfig {
    /// Names of sources, filters or transforms whose events come in; `<name>.unmatched` takes what a filter turns away, or
    /// what does not match `parse`.
    #[schemars(length(min = 1))]
    #[schemars(example = ["orders"])]
    pub from: Vec<String>,
    /// A program in jq: `.` is the envelope, and each value that it gives is the `data` of one event. It may give 10,000,
    /// of 16 MiB together; more, or an error, makes the event a dead letter. Without it there is `parse`.
    #[schemars(example = &".data.items[] | { sku, qty }")]
    pub jq: Option<ProgramText>,
    /// How a line of text becomes `data`. A line that does not match leaves by `<name>.unmatched`; where nothing takes that,
    /// it is a dead letter. Without it there is `jq`.
    pub parse: Option<Parse>,
}

/// A transform that is ready to be used.
#[derive(Debug)]
pub enum Transform {
    /// By a program.
    Program(Box<Program>),
    /// By parsing text.
    Parser(Box<Parser>),
}

/// What a transform makes of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Transformed {
    /// The `data` of each event, as JSON.
    Events(Vec<Bytes>),
    /// It does not match, and is the event that it was.
    Unmatched,
}

/// Why a transform makes nothing of an event. It would fail again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformFailure {
    /// The program failed.
    #[error("in the program: {0}")]
    Program(#[from] jq::Failure),
    /// `parse` was given something else than text.
    #[error("`parse` takes text, and `data` is {0}")]
    NotText(&'static str),
}

/// The most events that a transform makes of one.
pub const MOST_EVENTS: usize = 10_000;

/// The most bytes of all events that a transform makes of one.
pub const MOST_BYTES: usize = 16 << 20;

impl Transform {
    /// What it makes of an event with this envelope.
    ///
    /// # Errors
    /// When the program fails, or `data` is no text where it must be.
    pub fn apply(&self, envelope: &Arc<Envelope>) -> Result<Transformed, TransformFailure> {
        match self {
            Self::Program(program) => {
                let input = jq::Value::of_json(Arc::clone(envelope));
                let results = program.run_all_json(&input, MOST_EVENTS, MOST_BYTES)?;
                Ok(Transformed::Events(results.into_iter().map(Bytes::from).collect()))
            }
            Self::Parser(parser) => {
                let data = &envelope.as_value()["data"];
                let kind = || jq::Value::of_json(Arc::new(data.clone())).kind();
                let line = data.as_str().ok_or_else(|| TransformFailure::NotText(kind()))?;
                Ok(match parser.parse(line) {
                    Some(parsed) => Transformed::Events(vec![parsed.to_string().into()]),
                    None => Transformed::Unmatched,
                })
            }
        }
    }
}

/// The events with these payloads that the transform of this name makes of an event, in their order.
pub fn derived(event: &Event, name: &Arc<str>, payloads: Vec<Bytes>) -> impl Iterator<Item = Event> {
    let is_one = payloads.len() == 1;
    payloads.into_iter().enumerate().map(move |(number, payload)| {
        let id = if is_one { event.id.clone() } else { format!("{}#{number}", event.id) };
        event.derived(id, name, payload)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::parse::LineFormat;
    use super::*;

    fn program(text: &str) -> Transform {
        Transform::Program(Box::new(Program::compile(text, &jq::Options::default()).unwrap()))
    }

    /// The payloads that a transform makes of `data`.
    fn made(transform: &Transform, data: Value) -> Result<Vec<String>, String> {
        match transform.apply(&Arc::new(Envelope::new(json!({"id": "o/1", "data": data})))) {
            Ok(Transformed::Events(payloads)) => {
                Ok(payloads.iter().map(|payload| String::from_utf8(payload.to_vec()).unwrap()).collect())
            }
            Ok(Transformed::Unmatched) => Ok(vec!["unmatched".to_owned()]),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn each_value_of_a_program_is_the_payload_of_an_event() {
        let split = program(".data.items[] | {n: .}");
        assert_eq!(made(&split, json!({"items": [1, "a"]})).unwrap(), [r#"{"n":1}"#, r#"{"n":"a"}"#]);
        assert_eq!(made(&split, json!({"items": []})).unwrap(), [""; 0]);
        let error = made(&split, json!({"items": 5})).unwrap_err();
        assert!(error.starts_with("in the program: "), "{error}");
    }

    #[test]
    fn results_are_bounded_in_number_and_in_bytes() {
        assert_eq!(made(&program("range(10000)"), json!(null)).unwrap().len(), MOST_EVENTS);
        assert!(made(&program("range(10001)"), json!(null)).unwrap_err().contains("more than 10000 values"));
        // Each result is the same value in memory, and bytes of its own as a payload.
        let repeated = program(".data as $text | range(9000) | $text");
        assert!(made(&repeated, json!("x".repeat(4096))).unwrap_err().contains("bytes together"));
    }

    #[test]
    fn text_is_parsed_and_nothing_else() {
        let parser = Transform::Parser(Box::new(Parser::new(&Parse::Format(LineFormat::Logfmt)).unwrap()));
        assert_eq!(made(&parser, json!("a=1")).unwrap(), [r#"{"a":"1"}"#]);
        assert_eq!(made(&parser, json!("prose")).unwrap(), ["unmatched"]);
        assert_eq!(made(&parser, json!({"a": 1})).unwrap_err(), "`parse` takes text, and `data` is an object");
    }
}
