//! Checks the literals in a call of a helper that it would otherwise find wrong at every event.

use std::collections::HashMap;

use handlebars::template::Parameter;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::Regex;
use serde_json::Value;

use super::fault::TemplateFault;
use super::helpers::digests::ENCODINGS;
use super::written::argument;
use crate::event::ENVELOPE;
use crate::functions::digest::Encoding;
use crate::functions::time::{self, Unit};
use crate::jsonpath::Query;
use crate::problem::{did_you_mean, pattern_fault};

/// What was found in the literals of one call.
#[derive(Default)]
pub(super) struct Literals {
    pub(super) faults: Vec<TemplateFault>,
    /// A query for what no event has.
    pub(super) unknown_members: Option<TemplateFault>,
    pub(super) query: Option<(String, Query)>,
    pub(super) pattern: Option<(String, Regex)>,
}

impl Literals {
    /// Looks at a call.
    pub(super) fn of(helper: &str, params: &[Parameter], named: &HashMap<String, Parameter>) -> Self {
        let mut found = Self::default();
        match (helper, params) {
            ("jsonpath" | "query", [Parameter::Literal(Value::String(query))]) => found.query(query),
            ("jsonpath" | "query", [other]) => found.faults.push(not_literal(helper, "query", other)),
            ("capture", [_, Parameter::Literal(Value::String(pattern)), group @ ..]) => {
                found.pattern(pattern, group.first());
            }
            ("capture", [_, other, ..]) => found.faults.push(not_literal(helper, "regular expression", other)),
            ("format_time", [_, format]) | ("now", [format]) => found.faults.extend(wrong_format(helper, format)),
            _ => {}
        }
        found.faults.extend(named.get("tz").and_then(|given| {
            wrong_name(given, "a time zone", "the name of one, such as \"Europe/Berlin\"", |text| {
                time::zone(text).is_some()
            })
        }));
        found.faults.extend(named.get("plus").and_then(|given| {
            let added = |text: &str| time::plus(Timestamp::UNIX_EPOCH, time::span(text)?, &TimeZone::UTC);
            wrong_name(given, "a span", "for example \"1h 30m\" or \"-1 day\"", |text| added(text).is_some())
        }));
        found.faults.extend(
            named
                .get("unit")
                .and_then(|given| wrong_name(given, "a unit", Unit::NAMES, |text| Unit::of_name(text).is_some())),
        );
        found.faults.extend(
            named.get("encoding").and_then(|given| {
                wrong_name(given, "an encoding", ENCODINGS, |text| Encoding::of_name(text).is_some())
            }),
        );
        found.faults.extend(named.get("parse").and_then(|given| {
            wrong_name(given, "a strptime format", "for example \"%d.%m.%Y %H:%M\"", is_time_format)
        }));
        found
    }

    fn query(&mut self, query: &str) {
        let parsed = match Query::parse(query) {
            Ok(parsed) => parsed,
            Err(error) => {
                let fault = TemplateFault::new(format!("`{query}` is not a JSONPath query: {error}")).about(query);
                return self.faults.push(error.help.into_iter().fold(fault, TemplateFault::help));
            }
        };
        if let Some(member) = parsed.first_member().filter(|member| !ENVELOPE.contains(member)) {
            let fault = TemplateFault::new(format!("no event has a member `{member}`")).help(envelope_help(member));
            self.unknown_members = Some(fault);
        }
        self.query = Some((query.to_owned(), parsed));
    }

    fn pattern(&mut self, text: &str, group: Option<&Parameter>) {
        let pattern = match Regex::new(text) {
            Ok(pattern) => pattern,
            Err(error) => {
                let reason = pattern_fault(&error);
                let fault = TemplateFault::new(format!("`{text}` is not a regular expression: {reason}")).about(text);
                return self.faults.push(fault.help("those of the regex crate: no look-around, no references"));
            }
        };
        let is_known = match group {
            Some(Parameter::Literal(Value::String(name))) => {
                pattern.capture_names().flatten().any(|known| known == name)
            }
            Some(Parameter::Literal(number)) => {
                number.as_u64().is_some_and(|number| number < pattern.captures_len() as u64)
            }
            _ => true,
        };
        if let Some(group) = group.filter(|_| !is_known) {
            let fault = TemplateFault::new(format!("the expression has no group {}", argument(group)));
            self.faults.push(fault.help("a group is `(…)`, with a name `(?<name>…)`; the first has the number 1"));
        }
        self.pattern = Some((text.to_owned(), pattern));
    }
}

fn not_literal(helper: &str, what: &str, given: &Parameter) -> TemplateFault {
    let fault = TemplateFault::new(format!("`{helper}` takes its {what} as a literal")).about(&argument(given));
    fault.help("put it in quotes")
}

fn wrong_format(helper: &str, format: &Parameter) -> Option<TemplateFault> {
    let Parameter::Literal(Value::String(text)) = format else { return Some(not_literal(helper, "format", format)) };
    if is_time_format(text) {
        return None;
    }
    Some(TemplateFault::new(format!("`{text}` is not a strftime format")).about(text).help("for example \"%Y-%m-%d\""))
}

/// A named literal that is not what it should be.
fn wrong_name(given: &Parameter, what: &str, help: &str, is_right: impl Fn(&str) -> bool) -> Option<TemplateFault> {
    let Parameter::Literal(literal) = given else { return None };
    let is_wrong = !literal.as_str().is_some_and(is_right);
    is_wrong.then(|| TemplateFault::new(format!("{literal} is not {what}")).about(&literal.to_string()).help(help))
}

/// What can be written can be read, but for a few directives, with which reading would fail at every event.
fn is_time_format(text: &str) -> bool {
    time::strftime(Timestamp::UNIX_EPOCH, text, TimeZone::UTC).is_some()
}

fn envelope_help(member: &str) -> String {
    match did_you_mean(member, ENVELOPE) {
        Some(meant) => format!("did you mean `$.{meant}`?"),
        None => format!("an event has {}; a member of the payload is `$.data.{member}`", ENVELOPE.join(", ")),
    }
}
