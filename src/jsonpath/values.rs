//! Puts the values of `${…}` into an expression as what they are: the content of a literal, never syntax.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::ExpressionError;
use crate::interpolated::{Part, TextRef};

/// The text of an expression with its values in it. Within quotes a value is that text; in the pattern of `match` and
/// `search` it matches itself. Outside of quotes it must be a number, `true`, `false` or `null`, and stand alone.
///
/// # Errors
/// When a value would be syntax.
pub fn with_values(text: TextRef<'_>) -> Result<Cow<'_, str>, ExpressionError> {
    if let Some(written) = text.all_written() {
        return Ok(written.into());
    }
    let mut expression = Expression::default();
    for part in text.parts() {
        match part {
            Part::Written(text) => text.chars().try_for_each(|character| expression.written(character))?,
            Part::Value(value) => expression.value(value)?,
        }
    }
    Ok(expression.text.into())
}

/// An expression up to some character.
#[derive(Default)]
struct Expression {
    text: String,
    /// The quote that closes the literal.
    quote: Option<char>,
    /// A backslash was the last character, and makes an escape sequence of the next one.
    escapes: bool,
    /// The open parentheses.
    open: Vec<Parenthesis>,
    /// The last character is that of a scalar value, which stands alone.
    ends_with_scalar: bool,
}

#[derive(Clone, Copy)]
struct Parenthesis {
    /// It belongs to `match` or `search`.
    takes_pattern: bool,
    /// A comma was seen in it.
    is_second_argument: bool,
}

impl Expression {
    fn written(&mut self, character: char) -> Result<(), ExpressionError> {
        if std::mem::take(&mut self.ends_with_scalar) && !is_delimiter(character) {
            return Err(not_alone());
        }
        match self.quote {
            Some(_) if self.escapes => self.escapes = false,
            Some(_) if character == '\\' => self.escapes = true,
            Some(quote) if character == quote => self.quote = None,
            Some(_) => {}
            None => self.sign(character),
        }
        self.text.push(character);
        Ok(())
    }

    fn sign(&mut self, character: char) {
        match character {
            '\'' | '"' => self.quote = Some(character),
            '(' => {
                let before = self.text.trim_end();
                let takes_pattern = before.ends_with("match") || before.ends_with("search");
                self.open.push(Parenthesis { takes_pattern, is_second_argument: false });
            }
            ')' => drop(self.open.pop()),
            ',' => self.open.last_mut().into_iter().for_each(|open| open.is_second_argument = true),
            _ => {}
        }
    }

    fn value(&mut self, value: &str) -> Result<(), ExpressionError> {
        let Some(quote) = self.quote else { return self.scalar(value) };
        if self.escapes {
            let error = ExpressionError::new("a `\\` stands directly before a `${…}`");
            return Err(error.with_help("write `\\\\` for a backslash"));
        }
        let is_pattern = self.open.last().is_some_and(|open| open.takes_pattern && open.is_second_argument);
        let value = if is_pattern { regex::escape(value).into() } else { Cow::Borrowed(value) };
        for character in value.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                _ if character == quote => self.text.extend(['\\', quote]),
                // Writing to a string does not fail.
                _ if character.is_ascii_control() => write!(self.text, "\\u{:04x}", u32::from(character)).unwrap_or(()),
                _ => self.text.push(character),
            }
        }
        Ok(())
    }

    fn scalar(&mut self, value: &str) -> Result<(), ExpressionError> {
        let is_scalar = matches!(
            serde_json::from_str(value),
            Ok(serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_))
        );
        if !is_scalar || value.trim() != value {
            let message = "what `${…}` stands for is text, and never part of an expression";
            return Err(ExpressionError::new(message).with_help("put it in quotes, for example '${env:NAME}'"));
        }
        if self.ends_with_scalar || !self.text.chars().next_back().is_none_or(is_delimiter) {
            return Err(not_alone());
        }
        self.text.push_str(value);
        self.ends_with_scalar = true;
        Ok(())
    }
}

fn not_alone() -> ExpressionError {
    ExpressionError::new("a `${…}` outside of quotes is a value of its own, and something stands directly beside it")
        .with_help("put the text in quotes, for example 'order-${env:NAME}'")
}

fn is_delimiter(character: char) -> bool {
    character.is_whitespace() || "=<>!&|(),[]".contains(character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Envelope;
    use crate::filter::Predicate;
    use crate::interpolated::InterpolatedText;

    /// The expression whose every second part is a value.
    fn predicate(parts: &[&str]) -> Result<Predicate, ExpressionError> {
        let text: InterpolatedText = serde_json::from_value(json!(parts)).unwrap();
        Predicate::parse(&text)
    }

    fn holds(parts: &[&str], data: Value) -> bool {
        predicate(parts).unwrap().matches(&Envelope::new(json!({ "data": data })))
    }

    #[test]
    fn a_value_within_quotes_is_that_text() {
        for value in ["o'brien", "\"", "a\\", "' || $.data.t != '", "\n\u{7f}", "*", "ü", ""] {
            for (before, after) in [("$.data.t == '", "'"), ("$.data.t == \"", "\""), ("length($.data['", "']) > 0")] {
                assert!(holds(&[before, value, after], json!({"t": value, value: "x"})), "{before}{value}{after}");
            }
            assert!(!holds(&["$.data.t == '", value, "'"], json!({"t": "another"})), "{value}");
        }
        assert!(holds(&["$.data.t == 'a-", "b", "-c-", "d", "'"], json!({"t": "a-b-c-d"})));
    }

    #[test]
    fn a_value_in_a_pattern_matches_itself() {
        assert!(holds(&["match($.data.t, '", "a.c", ".*')"], json!({"t": "a.c!"})));
        assert!(!holds(&["match($.data.t, '", "a.c", ".*')"], json!({"t": "abc!"})));
        assert!(holds(&["search($.data.t, '", "(", "')"], json!({"t": "x(y"})));
    }

    #[test]
    fn a_value_outside_of_quotes_is_a_number_or_the_like_and_stands_alone() {
        assert!(holds(&["$.data.n >= ", "-1.5e2"], json!({"n": 0})));
        assert!(holds(&["$.data.n == ", "true", ""], json!({"n": true})));
        assert!(holds(&["$.data.n[", "1", "] == 2"], json!({"n": [1, 2]})));
        for value in ["x", "1 || $.data", "$.data", "", "'a'", " 1", "1e999"] {
            assert!(predicate(&["$.data.n >= ", value]).is_err(), "{value}");
        }
        assert!(predicate(&["$.data.a", "1", " == 2"]).is_err());
        assert!(predicate(&["$.data.n == 1", "1"]).is_err());
        assert!(predicate(&["$.data.n == ", "1", "", "1"]).is_err());
        assert!(predicate(&["$.data.n == ", "1", "1"]).is_err());
        assert!(predicate(&["$.data.t == '\\", "n", "'"]).is_err());
    }

    proptest! {
        #[test]
        fn any_value_equals_itself(value in "\\PC{0,12}|[\\x00-\\x7f]{0,8}") {
            prop_assert!(holds(&["$.data.t == '", &value, "'"], json!({"t": value})), "{value:?}");
            prop_assert!(holds(&["match($.data.t, \"", &value, "\")"], json!({"t": value})), "{value:?}");
        }
    }
}
