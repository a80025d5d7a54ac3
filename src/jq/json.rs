//! Values from JSON text and as JSON text, with all the digits of their numbers.

use std::fmt::Write as _;
use std::sync::Arc;

use hifijson::SliceLexer;
use hifijson::num::LexWrite as _;
use hifijson::str::LexAlloc as _;
use hifijson::token::{Expect, Lex as _};
use jaq_json::Num;

use super::budget::charge;
use super::value::Value;

/// Arrays and objects in one another that a text may have, as `serde_json` reads them.
const MOST_LEVELS: usize = 128;

/// Integers of more digits are no more than their text, until a program calculates with them.
const MOST_DIGITS: usize = 200;

/// The value of a JSON text (RFC 8259). `None` when it is none, or nested too deeply.
pub(super) fn parse(text: &[u8]) -> Option<Value> {
    charge(text.len() as u64);
    let mut lexer = SliceLexer::new(text);
    lexer.exactly_one(SliceLexer::ws_peek, |next, lexer| parse_value(MOST_LEVELS, next, lexer)).ok()
}

/// The value that begins with this byte.
fn parse_value(levels: usize, next: u8, lexer: &mut SliceLexer<'_>) -> Result<Value, hifijson::Error> {
    Ok(match next {
        b'a'..=b'z' => lexer.null_or_bool().ok_or(Expect::Value)?.map_or(Value::Null, Value::Bool),
        b'0'..=b'9' | b'-' => Value::Number(number(lexer.num_string().validated()?.0)),
        b'"' => Value::text(lexer.discarded().str_string()?),
        b'[' => {
            let levels = levels.checked_sub(1).ok_or(hifijson::Error::Depth)?;
            let mut items = Vec::new();
            lexer.discarded().seq(b']', SliceLexer::ws_peek, |next, lexer| {
                items.push(parse_value(levels, next, lexer)?);
                Ok::<_, hifijson::Error>(())
            })?;
            Value::array(items)
        }
        b'{' => {
            let levels = levels.checked_sub(1).ok_or(hifijson::Error::Depth)?;
            let mut members = Vec::new();
            lexer.discarded().seq(b'}', SliceLexer::ws_peek, |next, lexer| {
                lexer.expect(|_| Some(next), b'"').ok_or(Expect::String)?;
                let name = lexer.str_string().map_err(hifijson::Error::Str)?;
                lexer.expect(SliceLexer::ws_peek, b':').ok_or(Expect::Colon)?;
                let value = parse_value(levels, lexer.ws_peek().ok_or(Expect::Value)?, lexer)?;
                members.push((Arc::new(name.into_owned()), value));
                Ok::<_, hifijson::Error>(())
            })?;
            Value::object(members)
        }
        _ => Err(Expect::Value)?,
    })
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

impl From<&serde_json::Value> for Value {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(digits) => Self::Number(number(&digits.to_string())),
            serde_json::Value::String(text) => Self::text(text.as_str()),
            serde_json::Value::Array(items) => items.iter().map(Self::from).collect(),
            serde_json::Value::Object(members) => {
                Self::object(members.iter().map(|(name, value)| (Arc::new(name.clone()), Self::from(value))))
            }
        }
    }
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
        Value::Array(array) => {
            text.push('[');
            for (index, item) in array.items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                push(text, item);
            }
            text.push(']');
        }
        Value::Object(object) => {
            text.push('{');
            for (index, (name, value)) in object.members.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                push_text(text, name);
                text.push(':');
                push(text, value);
            }
            text.push('}');
        }
    }
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
fn push_text(text: &mut String, content: &str) {
    charge(content.len() as u64);
    text.push('"');
    let mut rest = content;
    while let Some(place) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\' || c == '\u{7f}') {
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
