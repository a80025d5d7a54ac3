//! Brings integers beyond 2^53 past the library, whose grammar takes none, so that ids and nanoseconds can be written.
//!
//! Before parsing, a string of the same length that nobody can write takes the place of such a number; afterwards the
//! number takes the place of that string. The library's tree has no place for integers beyond 2^63: there they stand as a
//! function without arguments whose name is the number. Numbers that select members (`[0]`, `[1:2]`) are left alone, as
//! RFC 9535 (2.1) bounds them by 2^53.

use std::borrow::Cow;
use std::ops::Range;

use jsonpath_rust::parser::model::{Comparable, Literal, TestFunction};

use super::ExpressionError;

/// No character, and for internal use (Unicode, 23.7).
const MARK: char = '\u{10ffff}';
const ESCAPED_MARK: &str = "\\udbff\\udfff";
/// The library takes every integer with fewer digits.
const FEWEST_DIGITS: usize = 16;

/// The long numbers of an expression, in order.
#[derive(Default)]
pub(super) struct LongNumbers<'a>(Vec<&'a str>);

impl<'a> LongNumbers<'a> {
    /// Takes them out of `text`, whose offsets stay the same.
    ///
    /// # Errors
    /// When the text could not be told from what stands in their place.
    pub(super) fn take_from(text: &'a str) -> Result<(Cow<'a, str>, Self), ExpressionError> {
        let places: Vec<_> = numbers(text).filter(|place| is_long_literal(text, place)).collect();
        if places.is_empty() {
            return Ok((text.into(), Self::default()));
        }
        if text.contains(MARK) || text.to_ascii_lowercase().contains(ESCAPED_MARK) {
            return Err(ExpressionError::new(
                "the character U+10FFFF cannot stand beside a number of 16 digits or more",
            ));
        }
        let mut replaced = String::with_capacity(text.len());
        let mut end = 0;
        for (index, place) in places.iter().enumerate() {
            replaced.push_str(&text[end..place.start]);
            let width = place.len() - 2 - MARK.len_utf8();
            replaced.push_str(&format!("'{MARK}{index:<width$}'"));
            end = place.end;
        }
        replaced.push_str(&text[end..]);
        Ok((replaced.into(), Self(places.into_iter().map(|place| &text[place]).collect())))
    }

    /// Puts the number back for which an operand stands.
    ///
    /// # Errors
    /// With the number, when it is beyond the range of all numbers.
    pub(super) fn put_back(&self, operand: &mut Comparable) -> Result<(), String> {
        let Comparable::Literal(literal) = operand else { return Ok(()) };
        if let Literal::Float(number) = literal {
            return if number.is_finite() { Ok(()) } else { Err(number.to_string()) };
        }
        let Literal::String(text) = literal else { return Ok(()) };
        let index = text.strip_prefix(MARK).and_then(|index| index.trim_end().parse::<usize>().ok());
        let Some(number) = index.and_then(|index| self.0.get(index)) else { return Ok(()) };
        *operand = match (number.parse::<i64>(), number.parse::<u64>(), number.parse::<f64>()) {
            (Ok(number), ..) => Comparable::Literal(Literal::Int(number)),
            (_, Ok(number), _) => Comparable::Function(TestFunction::Custom(number.to_string(), Vec::new())),
            (_, _, Ok(float)) if float.is_finite() => Comparable::Literal(Literal::Float(float)),
            _ => return Err((*number).to_owned()),
        };
        Ok(())
    }
}

/// Whether a number is a literal that the library would not take.
fn is_long_literal(text: &str, place: &Range<usize>) -> bool {
    let number = text[place.clone()].trim_start_matches('-');
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    // Behind `[`, `,` and `:` a number selects members, or is the second argument of a function, which takes none.
    let is_operand =
        text[..place.start].trim_end().chars().next_back().is_none_or(|before| "=<>!&|?(".contains(before));
    is_operand && digits >= FEWEST_DIGITS && !number.starts_with('0') && !is_argument(&text[..place.start])
}

fn is_argument(before: &str) -> bool {
    let call = before.trim_end().strip_suffix('(');
    call.is_some_and(|call| call.ends_with(|c: char| c.is_ascii_alphanumeric()))
}

/// Where numbers stand outside of quotes.
fn numbers(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        while let Some(first) = text[offset..].chars().next() {
            let start = offset;
            offset += match first {
                '\'' | '"' => quoted_length(&text[start..], first),
                // A name goes on to its end, with its digits.
                _ if is_name(first) && !first.is_ascii_digit() => name_length(&text[start..]),
                '.' => 1 + name_length(&text[start + 1..]),
                _ => {
                    let length = number_length(&text[start..]);
                    if length > 0 && !text[start + length..].starts_with(is_name) {
                        offset += length;
                        return Some(start..start + length);
                    }
                    length.max(first.len_utf8())
                }
            };
        }
        None
    })
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let mut characters = text.char_indices().skip(1);
    let end = characters.find(|(_, character)| {
        let closes = *character == quote && !escaped;
        escaped = *character == '\\' && !escaped;
        closes
    });
    end.map_or(text.len(), |(offset, _)| offset + 1)
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || !character.is_ascii()
}

fn name_length(text: &str) -> usize {
    text.find(|character| !is_name(character)).unwrap_or(text.len())
}

/// The length of the number that `text` begins with, by the grammar of RFC 9535 (2.3.5.1); 0 if it begins with none.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| text[from..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - from);
    let sign = usize::from(text.starts_with('-'));
    let whole = digits(sign);
    if whole == 0 {
        return 0;
    }
    let mut end = sign + whole;
    if text[end..].starts_with('.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        end += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_literals_are_taken_out_and_nothing_else_is() {
        for (text, expected) in [
            ("$.a == 1759288472991170", &["1759288472991170"][..]),
            ("$.a==-175928847299117063&&$.b>18446744073709551615", &["-175928847299117063", "18446744073709551615"]),
            ("$.a[?175928847299117063.5e+3 == @.b]", &["175928847299117063.5e+3"]),
            ("!(9007199254740993 < $.a)", &["9007199254740993"]),
            ("$.a == 999999999999999", &[]),
            ("$.a == '175928847299117063' || $.a == \"\\\"175928847299117063\"", &[]),
            ("$.a175928847299117063 == 1 || $['175928847299117063'] == 1", &[]),
            ("$[175928847299117063] || $[0, 175928847299117063] || $[0:175928847299117063]", &[]),
            ("$.a == 0175928847299117063 || $.a == 175928847299117063x", &[]),
            ("length(175928847299117063) == 1", &[]),
        ] {
            let (parseable, numbers) = LongNumbers::take_from(text).unwrap();
            assert_eq!(numbers.0, expected, "{text}");
            assert_eq!(parseable.len(), text.len(), "{text}");
        }
    }

    #[test]
    fn no_text_is_taken_for_a_number() {
        for text in
            ["$.a == '\u{10ffff}0' || $.b == 9007199254740993", "$.a == '\\uDBFF\\udfff0' || 9007199254740993 == $.b"]
        {
            assert!(LongNumbers::take_from(text).is_err(), "{text}");
        }
        assert!(LongNumbers::take_from("$.a == '\u{10ffff}0'").is_ok());
    }
}
