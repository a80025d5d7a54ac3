//! JSONPath (RFC 9535) as filters and templates use it: parsed, bounded and type-checked at load.
//!
//! `jsonpath-rust` parses; this module holds what it parsed to the standard where the library is more lenient (`check`),
//! evaluates it (`evaluation`, `singular`), adds `in` to it (`membership`), looks up which of many conditions may hold ([`index`]) and says in plain words what is wrong with an expression (`mistakes`, `words`). What an expression
//! is for, its callers know. It must not do I/O.
//!
//! Limits, all checked at load:
//! - [`MAX_LENGTH`] and [`MAX_NESTING`], because the parser is recursive; [`MAX_CALL_NESTING`], because its effort
//!   grows with a power of the depth to which function calls are nested.
//! - The pattern of `match` and `search` is a literal, so that a wrong one is found at load and no event can choose it.
//!
//! Numbers compare by value: integers of 64 bits exactly, all others as the IEEE 754 doubles that they are.

mod check;
pub mod comparison;
mod evaluation;
pub mod index;
mod membership;
mod mistakes;
mod numbers;
mod singular;
mod values;
mod words;

use std::ops::Range;

use jsonpath_rust::parser::errors::JsonPathError;
use jsonpath_rust::parser::model::{Filter, Segment, Selector};
use jsonpath_rust::parser::parse_json_path;
use pest::error::InputLocation;
use serde_json::Value;

pub use values::with_values;

use evaluation::{Path, Scope};
use membership::Expanded;
use numbers::LongNumbers;

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// How deep parentheses and brackets may be nested.
pub const MAX_NESTING: usize = 64;
/// How deep function calls may be nested within each other.
pub const MAX_CALL_NESTING: usize = 4;

/// The functions of RFC 9535 (2.4.4 to 2.4.8).
const FUNCTIONS: [&str; 5] = ["length", "count", "match", "search", "value"];

/// A whole query, such as `$.data.items[0].sku`.
#[derive(Debug, Clone)]
pub struct Query(Path);

/// A filter expression: what stands after `?` in a filter selector.
#[derive(Debug, Clone)]
pub struct Condition(evaluation::Condition);

/// Why an expression was refused at load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, in one sentence without a final stop.
    pub message: String,
    /// The bytes of the expression that are at fault, when they are known.
    pub part: Option<Range<usize>>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Query {
    /// Parses a query that starts at `$`.
    ///
    /// # Errors
    /// When it is not a well-typed RFC 9535 query, or exceeds the limits of this module.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        expand(text, Self::parse_standard)
    }

    fn parse_standard(text: &str) -> Result<Self, ExpressionError> {
        check_text(text)?;
        let (parseable, numbers) = LongNumbers::take_from(text)?;
        let mut query = parse_json_path(&parseable).map_err(|error| syntax_error(text, 0, error))?;
        let path = check::query(&mut query, &numbers).and_then(|()| Path::new(true, &query.segments));
        path.map(Self).map_err(|fault| fault.locate(text))
    }

    /// The member of the whole value that the query asks for, if it asks for one.
    pub fn first_member(&self) -> Option<&str> {
        self.0.first_name()
    }

    /// The values that the query selects, in the order of RFC 9535.
    pub fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.0.select(Scope { root: value, current: value })
    }
}

impl Condition {
    /// Parses a filter expression.
    ///
    /// # Errors
    /// As [`parse_filter`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        expand(text, |text| {
            let filter = parse_standard_filter(text)?;
            evaluation::Condition::new(&filter).map(Self).map_err(|fault| fault.locate(text))
        })
    }

    /// Whether it holds for a value, which is both `$` and the outermost `@`.
    pub fn holds(&self, value: &Value) -> bool {
        self.0.holds(Scope { root: value, current: value })
    }
}

/// Parses a filter expression, for what asks how it is written. An integer beyond 2^63 has no place among the library's
/// literals and stands in the tree as a [custom function](jsonpath_rust::parser::model::TestFunction::Custom) of its name.
///
/// # Errors
/// When it is not one well-typed RFC 9535 filter expression, or exceeds the limits of this module.
pub fn parse_filter(text: &str) -> Result<Filter, ExpressionError> {
    expand(text, parse_standard_filter)
}

/// Parses a text in which comparisons stand for every `in`.
fn expand<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, ExpressionError>) -> Result<T, ExpressionError> {
    if text.len() > MAX_LENGTH {
        return Err(ExpressionError::new(format!("the expression is longer than {MAX_LENGTH} bytes")));
    }
    let expanded = Expanded::new(text)?;
    parse(&expanded.text).map_err(|error| expanded.as_written(error))
}

fn parse_standard_filter(text: &str) -> Result<Filter, ExpressionError> {
    const PREFIX: &str = "$[?";
    check_text(text)?;
    let (parseable, numbers) = LongNumbers::take_from(text)?;
    let query = parse_json_path(&format!("{PREFIX}{parseable}]"));
    let query = query.map_err(|error| syntax_error(text, PREFIX.len(), error))?;
    // Brackets in the text could close the filter selector and open something else.
    let mut filter = match <[Segment; 1]>::try_from(query.segments) {
        Ok([Segment::Selector(Selector::Filter(filter))]) => filter,
        _ => return Err(ExpressionError::new("the text is more than one filter expression")),
    };
    check::filter(&mut filter, &numbers).map_err(|fault| fault.locate(text))?;
    Ok(filter)
}

impl ExpressionError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), part: None, help: None }
    }

    fn at(mut self, part: Range<usize>) -> Self {
        self.part = Some(part);
        self
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What can be said about an expression before it is parsed.
fn check_text(text: &str) -> Result<(), ExpressionError> {
    let mut open = Vec::new();
    for (offset, bracket, is_call) in mistakes::brackets(text) {
        if matches!(bracket, ')' | ']') {
            open.pop();
            continue;
        }
        open.push(is_call);
        let calls = open.iter().filter(|is_call| **is_call).count();
        if open.len() > MAX_NESTING || calls > MAX_CALL_NESTING {
            let message = format!(
                "the expression is nested too deep; the limits are {MAX_NESTING} levels and {MAX_CALL_NESTING} function calls"
            );
            return Err(ExpressionError::new(message).at(offset..offset + 1));
        }
    }
    // Not only when parsing fails: the library takes `$.a b` for the member "a b", which no event will ever have.
    mistakes::find(text).map_or(Ok(()), Err)
}

/// A syntax error in the words of someone who writes expressions rather than grammars.
fn syntax_error(text: &str, prefix: usize, error: JsonPathError) -> ExpressionError {
    let JsonPathError::PestError(error) = error else {
        return ExpressionError::new(error.to_string());
    };
    let offset = match error.location {
        InputLocation::Pos(offset) | InputLocation::Span((offset, _)) => offset.saturating_sub(prefix),
    };
    if let Some(error) = mistakes::unexpected(text, offset) {
        return error;
    }
    match text.get(offset..).and_then(|rest| rest.chars().next()) {
        Some(found) => ExpressionError::new(format!("unexpected `{found}`")).at(offset..offset + found.len_utf8()),
        None => ExpressionError::new("the expression ends too early").at(text.len()..text.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_query_selects_in_order() {
        let value = json!({"data": {"items": [{"sku": "a"}, {"sku": "b"}]}});
        let select = |query: &str| {
            let nodes = Query::parse(query).unwrap().select(&value).into_iter().cloned();
            nodes.collect::<Vec<_>>()
        };
        assert_eq!(select("$.data.items[*].sku"), [json!("a"), json!("b")]);
        assert_eq!(select("$.data.items[-1].sku"), [json!("b")]);
        assert_eq!(select("$.data.items[?@.sku == 'b'].sku"), [json!("b")]);
        assert_eq!(select("$.nothing"), [] as [Value; 0]);
        assert_eq!(select("$"), std::slice::from_ref(&value));
    }

    #[test]
    fn a_hostile_depth_is_refused_quickly_and_without_overflowing_the_stack() {
        let deep = |open: &str, inner: &str, close: &str, levels: usize| {
            format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
        };
        for levels in [MAX_NESTING + 1, 500, 10_000, 100_000] {
            assert!(parse_filter(&deep("(", "@.a", ")", levels)).is_err());
            assert!(parse_filter(&"(".repeat(levels)).is_err());
            assert!(parse_filter(&"@[?".repeat(levels)).is_err());
            assert!(parse_filter(&deep("@.a[?", "@.b", "]", levels)).is_err());
            assert!(parse_filter(&"length(".repeat(levels)).is_err());
            assert!(Query::parse(&deep("$[?", "@.b", "]", levels)).is_err());
            assert!(parse_filter(&"!".repeat(levels)).is_err());
        }
        assert!(parse_filter(&deep("(", "@.a", ")", MAX_NESTING)).is_ok());
        assert!(parse_filter(&deep("@.a[?", "@.b", "]", MAX_NESTING)).is_ok());
        assert!(parse_filter(&"@.a[?(".repeat(MAX_NESTING / 2)).is_err());
        assert!(parse_filter(&"length(".repeat(MAX_CALL_NESTING)).is_err());
        assert!(parse_filter(&"count(@.a[?".repeat(MAX_CALL_NESTING)).is_err());
    }

    #[test]
    fn a_long_flat_expression_is_fine_up_to_the_limit() {
        let clause = "$.data.a == 1 || ";
        let fits = format!("{}$.b", clause.repeat(MAX_LENGTH / clause.len() - 1));
        assert!(parse_filter(&fits).is_ok());
        assert!(parse_filter(&clause.repeat(MAX_LENGTH)).unwrap_err().message.contains("longer than"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _unused = (parse_filter(&text).is_ok(), Query::parse(&text).is_ok());
        }

        #[test]
        fn parsing_what_looks_like_an_expression_never_panics(
            text in "(\\$|@|\\.\\.?[a-z]{1,3}|\\[|\\]|\\(|\\)|\\?|'[^']?|\"|==|=|!|&&|\\||<|[0-9-]{1,3}|:|\\*|,| |length|count\\(|match\\(|é){0,24}"
        ) {
            let refused = parse_filter(&text).err();
            if let Some(part) = refused.and_then(|error| error.part) {
                prop_assert!(text.get(part.clone()).is_some(), "{part:?} is not a part of {text:?}");
            }
        }
    }
}
