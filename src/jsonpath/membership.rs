//! `$.data.a in ['x', 'y']`, which RFC 9535 does not have: it becomes `($.data.a == 'x' || $.data.a == 'y')` before
//! anything else reads the text, so that it means the same everywhere, and the index looks its values up.

use std::borrow::Cow;
use std::ops::Range;

use super::mistakes::{Token, tokens};
use super::{ExpressionError, MAX_LENGTH};

/// How long a text may become, in bytes: each element repeats the path before `in`.
const MAX_EXPANDED: usize = 32 * MAX_LENGTH;

/// A text without `in`, and where what stands in it comes from.
pub(super) struct Expanded<'a> {
    pub(super) text: Cow<'a, str>,
    /// What was written, and what stands for it, in order.
    replaced: Vec<(Range<usize>, Range<usize>)>,
}

impl<'a> Expanded<'a> {
    /// Writes every `in` with a list behind it as comparisons.
    ///
    /// # Errors
    /// When what stands in a list is no literal, or the text would become too long.
    pub(super) fn new(text: &'a str) -> Result<Self, ExpressionError> {
        let mut expanded = Self { text: text.into(), replaced: Vec::new() };
        let tokens = tokens(text);
        let (mut output, mut end) = (String::new(), 0);
        for index in 0..tokens.len() {
            let Some(membership) = Membership::at(text, &tokens, index).filter(|one| one.path.start >= end) else {
                continue;
            };
            let whole = membership.path.start..membership.end;
            let comparisons = membership.comparisons(text)?;
            output.push_str(&text[end..whole.start]);
            let start = output.len();
            output.push_str(&comparisons);
            if output.len() > MAX_EXPANDED {
                return Err(ExpressionError::new("the lists behind `in` are too long for this path").at(whole));
            }
            end = whole.end;
            expanded.replaced.push((whole, start..output.len()));
        }
        if !expanded.replaced.is_empty() {
            output.push_str(&text[end..]);
            expanded.text = output.into();
        }
        Ok(expanded)
    }

    /// An error about the text without `in`, at its place in the one that was written.
    pub(super) fn as_written(&self, mut error: ExpressionError) -> ExpressionError {
        error.part = error.part.map(|part| self.offset(part.start, false)..self.offset(part.end, true));
        error
    }

    /// Where a place comes from; the end of one for a part's end.
    fn offset(&self, offset: usize, is_end: bool) -> usize {
        let mut written = offset;
        for (from, to) in &self.replaced {
            if offset >= to.end + usize::from(is_end) {
                written = from.end + (offset - to.end);
            } else if offset >= to.start + usize::from(is_end) {
                return if is_end { from.end } else { from.start };
            } else {
                break;
            }
        }
        written
    }
}

/// A path, `in`, and a list.
struct Membership {
    path: Range<usize>,
    elements: Vec<Range<usize>>,
    /// Behind the list.
    end: usize,
}

impl Membership {
    /// What the token of this index, a word `in`, stands in.
    fn at(text: &str, tokens: &[(usize, Token<'_>)], index: usize) -> Option<Self> {
        let (offset, Token::Word { word: "in", is_call: false }) = &tokens[index] else { return None };
        let is_blank = |(_, token): &&(usize, Token<'_>)| matches!(token, Token::Sign(sign) if sign.is_whitespace());
        let behind = &tokens[index + 1..];
        let opening = behind.iter().take_while(is_blank).count();
        let (list, Token::Sign('[')) = behind.get(opening)? else { return None };
        let before = text[..*offset].trim_end();
        let path = text[operand_start(tokens, index)..before.len()].trim_start();
        let start = before.len() - path.len();
        if path.is_empty() {
            return None;
        }
        let mut elements = Vec::new();
        let mut element = list + 1;
        for (offset, token) in &behind[opening + 1..] {
            if let Token::Sign(sign @ (',' | ']')) = token {
                elements.push(element..*offset);
                element = offset + 1;
                if *sign == ']' {
                    return Some(Self { path: start..before.len(), elements, end: element });
                }
            }
        }
        None
    }

    fn comparisons(&self, text: &str) -> Result<String, ExpressionError> {
        let path = &text[self.path.clone()];
        let mut comparisons = Vec::with_capacity(self.elements.len());
        for place in &self.elements {
            let element = text[place.clone()].trim();
            let is_literal = matches!(element, "true" | "false" | "null")
                || element.starts_with(|first: char| "'\"-".contains(first) || first.is_ascii_digit());
            if !is_literal {
                let error = ExpressionError::new("a list behind `in` holds text, numbers, `true`, `false` and `null`");
                let place = if element.is_empty() { self.path.end..self.end } else { place.clone() };
                return Err(error.at(place).with_help("for example `$.data.a in ['x', 'y']`"));
            }
            comparisons.push(format!("{path} == {element}"));
        }
        Ok(format!("({})", comparisons.join(" || ")))
    }
}

/// Where the operand before a token begins: behind the last sign that is no part of a path or a call.
fn operand_start(tokens: &[(usize, Token<'_>)], index: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, token) in tokens[..index].iter().rev() {
        match token {
            Token::Sign(')' | ']') => depth += 1,
            Token::Sign('(' | '[') if depth > 0 => depth -= 1,
            Token::Sign(sign @ ('(' | '[' | '!' | '&' | '|' | '=' | '<' | '>' | '?' | ',')) if depth == 0 => {
                return offset + sign.len_utf8();
            }
            // As in `$.a not in ['x']`, which is a slip of its own.
            Token::Word { word, is_call: false } if depth == 0 => return offset + word.len(),
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jsonpath::{Condition, Query};

    fn expanded(text: &str) -> String {
        Expanded::new(text).unwrap().text.into_owned()
    }

    #[test]
    fn a_list_becomes_comparisons() {
        for (text, expected) in [
            ("$.a in ['x', \"y\"]", "($.a == 'x' || $.a == \"y\")"),
            (
                "$.b && !$.a['in'] in [1, -2.5e3,true]",
                "$.b && !($.a['in'] == 1 || $.a['in'] == -2.5e3 || $.a['in'] == true)",
            ),
            ("($.a in [null]) || $.b", "(($.a == null)) || $.b"),
            ("length($.a) in [1,2]", "(length($.a) == 1 || length($.a) == 2)"),
            ("$.items[?@.sku in ['a', ',]']]", "$.items[?(@.sku == 'a' || @.sku == ',]')]"),
            ("$.in == 'in [1]' && $.a.in[0] == 1", "$.in == 'in [1]' && $.a.in[0] == 1"),
            ("$.a in [1] && $.b in [2]", "($.a == 1) && ($.b == 2)"),
        ] {
            assert_eq!(expanded(text), expected);
        }
    }

    #[test]
    fn it_means_the_comparisons() {
        let event = json!({"a": "x", "n": 2.0, "items": [{"sku": "b"}]});
        for (text, expected) in [
            ("$.a in ['x', 'y']", true),
            ("$.a in ['y']", false),
            ("$.n in [1, 2]", true),
            ("!($.a in ['y'])", true),
            ("$.missing in ['x', null]", false),
            ("$.items[?@.sku in ['a', 'b']]", true),
        ] {
            assert_eq!(Condition::parse(text).unwrap().holds(&event), expected, "{text}");
        }
        assert_eq!(Query::parse("$.items[?@.sku in ['a', 'b']].sku").unwrap().select(&event), [&json!("b")]);
    }

    #[test]
    fn errors_have_their_place_in_what_was_written() {
        for (text, part) in [
            ("$.a in ['x', $.b]", " $.b"),
            ("$.a in []", " in []"),
            ("$.a in ['x', 'y'] && $.b = 1", "="),
            ("$.b = 1 && $.a in ['x', 'y']", "="),
            ("$.a in ['x', 'y'] && b in ['x']", "b"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert_eq!(error.part.map(|part| &text[part]), Some(part), "{text}: {}", error.message);
        }
        let long = format!("$.{} in [{}1]", "a".repeat(1500), "1,".repeat(1000));
        assert!(Condition::parse(&long).unwrap_err().message.contains("too long"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(in| in |\\[|\\]|'|\"|,|\\(|\\)|\\$|@|\\.a|1|-|&&|!|é){0,16}") {
            if let Err(error) = Condition::parse(&text) {
                prop_assert!(error.part.is_none_or(|part| text.get(part).is_some()), "{}", text);
            }
        }

        #[test]
        fn a_value_is_in_a_list_when_it_equals_one_of_it(list in proptest::collection::vec(0..4, 1..4), value in 0..4) {
            let literals: Vec<_> = list.iter().map(ToString::to_string).collect();
            let condition = Condition::parse(&format!("$.a in [{}]", literals.join(", "))).unwrap();
            prop_assert_eq!(condition.holds(&json!({"a": value})), list.contains(&value));
        }
    }
}
