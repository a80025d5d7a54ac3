//! Values from JSON text and as JSON text, with all the digits of their numbers.

use std::fmt::Write as _;
use std::sync::Arc;

use jaq_json::Num;
use serde_json::Value as Json;

use super::budget::charge;
use super::value::{COST, Value};
use crate::event::read_json;

/// Integers of more digits are no more than their text, until a program calculates with them.
const MOST_DIGITS: usize = 200;

/// The value of a JSON text (RFC 8259). `None` when it is none, or nested too deeply.
pub(super) fn parse(text: &str) -> Option<Value> {
    // Each of these is followed by a value.
    let values = text.bytes().filter(|byte| matches!(byte, b'[' | b'{' | b',' | b':')).count();
    charge(text.len() as u64 + COST * values as u64);
    read_json(text.as_bytes()).ok().map(|json| Value::of_json(Arc::new(json)))
}

/// A number with its digits. What is no number in JSON, as `007`, is read as a double.
pub(super) fn number(digits: &str) -> Num {
    charge(digits.len() as u64);
    let unsigned = digits.strip_prefix('-').unwrap_or(digits).as_bytes();
    if unsigned.first() == Some(&b'0') && unsigned.get(1).is_some_and(u8::is_ascii_digit) {
        return Num::from_dec_str(digits);
    }
    let is_negative_zero = digits == "-0";
    if digits.len() <= MOST_DIGITS
        && !is_negative_zero
        && let Some(integer) = Num::from_str_radix(digits, 10)
    {
        return integer;
    }
    Num::Dec(Arc::new(digits.to_owned()))
}

/// The JSON text of a value. As in jq, what is no number is null, and infinity the largest double.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    push(&mut text, value);
    text
}

fn push(text: &mut String, value: &Value) {
    charge(8);
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => push_number(text, number),
        Value::Text(content) => push_text(text, content),
        Value::Array(array) => match array.json() {
            Some(json) => push_json(text, json),
            None => push_items(text, array.items(), push),
        },
        Value::Object(object) => match object.json() {
            Some(json) => push_json(text, json),
            None => push_members(text, object.members().iter().map(|(name, value)| (name.as_str(), value)), push),
        },
    }
}

/// What was given, as the value of it would be written.
pub(super) fn push_json(text: &mut String, json: &Json) {
    charge(8);
    match json {
        Json::Null => text.push_str("null"),
        Json::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => text.push_str(number.as_str()),
        Json::String(content) => push_text(text, content),
        Json::Array(items) => push_items(text, items, push_json),
        Json::Object(members) => {
            push_members(text, members.iter().map(|(name, value)| (name.as_str(), value)), push_json);
        }
    }
}

fn push_items<T>(text: &mut String, items: &[T], push: impl Fn(&mut String, &T)) {
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push(text, item);
    }
    text.push(']');
}

fn push_members<'a, T: 'a>(
    text: &mut String,
    members: impl Iterator<Item = (&'a str, &'a T)>,
    push: impl Fn(&mut String, &T),
) {
    text.push('{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            text.push(',');
        }
        push_text(text, name);
        text.push(':');
        push(text, value);
    }
    text.push('}');
}

fn push_number(text: &mut String, number: &Num) {
    /// Up to here a double has every integer.
    const LAST_EXACT: f64 = 9_007_199_254_740_992.0;
    let written = match number {
        Num::Float(number) if number.is_nan() => write!(text, "null"),
        Num::Float(number) if number.is_infinite() => write!(text, "{:?}", number.signum() * f64::MAX),
        Num::Float(number) if number.fract() == 0.0 && number.abs() <= LAST_EXACT => write!(text, "{number:.0}"),
        other => write!(text, "{other}"),
    };
    // Writing to text never fails.
    written.ok();
}

/// Text in quotes. The text between two characters that need an escape is copied as a whole.
pub(super) fn push_text(text: &mut String, content: &str) {
    charge(content.len() as u64);
    text.push('"');
    let mut rest = content;
    while let Some(place) = rest.bytes().position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\' | b'\x7f')) {
        text.push_str(&rest[..place]);
        // All of these characters are one byte.
        let (special, behind) = rest[place..].split_at(1);
        match special {
            "\"" => text.push_str("\\\""),
            "\\" => text.push_str("\\\\"),
            "\n" => text.push_str("\\n"),
            "\r" => text.push_str("\\r"),
            "\t" => text.push_str("\\t"),
            other => {
                let code = other.as_bytes()[0];
                write!(text, "\\u{code:04x}").ok();
            }
        }
        rest = behind;
    }
    text.push_str(rest);
    text.push('"');
}
