//! Holds a parsed query to RFC 9535 where `jsonpath-rust` 1.0 does not.
//!
//! - Function calls must be well-typed (2.4.3); the library takes `length(@.a)` for a condition that never holds.
//! - The library's own functions (`in`, `any_of`, …) are refused, since they are not in the standard.
//! - Long numbers come back to where they stand (`numbers`), and none is beyond the range of all numbers.

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, JpQuery, Literal, Segment, Selector, Test, TestFunction,
};
use regex::{Regex, RegexBuilder};

use super::numbers::LongNumbers;
use super::{ExpressionError, FUNCTIONS, words};
use crate::problem::pattern_fault;

/// What is wrong, and a piece of text by which its place can be found: the parsed query keeps no positions.
pub(super) struct QueryFault {
    message: String,
    call: Option<&'static str>,
    help: Option<String>,
}

type Checked = Result<(), QueryFault>;

/// Checks a whole query, and puts the long numbers back.
pub(super) fn query(query: &mut JpQuery, numbers: &LongNumbers<'_>) -> Checked {
    segments(&mut query.segments, numbers)
}

/// Checks a filter expression, and puts the long numbers back.
pub(super) fn filter(filter_: &mut Filter, numbers: &LongNumbers<'_>) -> Checked {
    match filter_ {
        Filter::Or(parts) | Filter::And(parts) => parts.iter_mut().try_for_each(|part| filter(part, numbers)),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => filter(expr, numbers),
        Filter::Atom(FilterAtom::Test { expr, .. }) => condition(expr, numbers),
        Filter::Atom(FilterAtom::Comparison(comparison)) => operands(comparison).into_iter().try_for_each(|operand| {
            if let Comparable::Function(call) = operand {
                return function(call, numbers);
            }
            let beyond = |number| format!("the number {number} is beyond the range of JSON's numbers, some 1.8e308");
            numbers.put_back(operand).map_err(|number| QueryFault::new(beyond(number)))
        }),
    }
}

/// The pattern of a call of `match` or `search`, compiled.
pub(super) fn compile_pattern(name: &'static str, pattern: &FnArg) -> Result<Regex, QueryFault> {
    let FnArg::Literal(Literal::String(pattern)) = pattern else {
        return Err(QueryFault::in_call(
            name,
            "needs its pattern as a literal, so that it can be checked before events come",
        ));
    };
    // On its own first: `a)(b` is none, whatever stands around it.
    let whole = Regex::new(pattern).and_then(|_| {
        let whole = if name == "match" { format!("^(?:{pattern})$") } else { pattern.clone() };
        // An I-Regexp's dot matches neither line feed nor carriage return (RFC 9485, 5.3), as the dot of the CRLF mode.
        RegexBuilder::new(&whole).crlf(true).build()
    });
    whole.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => QueryFault::in_call(name, "has a pattern that is too big"),
        error => {
            let reason = pattern_fault(&error);
            QueryFault::in_call(name, &format!("has a pattern that is not a regular expression: {reason}"))
        }
    })
}

impl QueryFault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), call: None, help: None }
    }

    fn in_call(function: &'static str, message: &str) -> Self {
        Self { message: format!("`{function}` {message}"), call: Some(function), help: None }
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place in `text`, if only one place can be meant.
    pub(super) fn locate(self, text: &str) -> ExpressionError {
        let part = self.call.and_then(|function| {
            let call = format!("{function}(");
            let mut places = text.match_indices(&call).map(|(start, _)| start..start + call.len());
            places.next().filter(|_| places.next().is_none())
        });
        ExpressionError { message: self.message, part, help: self.help }
    }
}

fn segments(segments: &mut [Segment], numbers: &LongNumbers<'_>) -> Checked {
    segments.iter_mut().try_for_each(|one| segment(one, numbers))
}

fn segment(segment_: &mut Segment, numbers: &LongNumbers<'_>) -> Checked {
    match segment_ {
        Segment::Descendant(inner) => segment(inner, numbers),
        Segment::Selector(one) => selector(one, numbers),
        Segment::Selectors(several) => several.iter_mut().try_for_each(|one| selector(one, numbers)),
    }
}

fn selector(selector: &mut Selector, numbers: &LongNumbers<'_>) -> Checked {
    match selector {
        Selector::Filter(inner) => filter(inner, numbers),
        Selector::Name(_) | Selector::Wildcard | Selector::Index(_) | Selector::Slice(..) => Ok(()),
    }
}

/// A test expression: a query asks for existence, a function must itself be true or false.
fn condition(test: &mut Test, numbers: &LongNumbers<'_>) -> Checked {
    let Test::Function(call) = test else {
        return nodes(test, numbers);
    };
    function(call, numbers)?;
    match name(call) {
        value @ ("length" | "count" | "value") => {
            Err(QueryFault::in_call(value, "gives a value, not true or false; compare it with something")
                .with_help(format!("for example `{value}(…) > 0`")))
        }
        _ => Ok(()),
    }
}

fn function(call: &mut TestFunction, numbers: &LongNumbers<'_>) -> Checked {
    let name = name(call);
    match call {
        TestFunction::Length(argument) => value_argument(name, argument, numbers),
        TestFunction::Count(argument) | TestFunction::Value(argument) => match argument {
            FnArg::Test(test) if !matches!(**test, Test::Function(_)) => nodes(test, numbers),
            _ => Err(QueryFault::in_call(name, "takes a query, such as `$.data.items[*]`")),
        },
        TestFunction::Match(text, pattern) | TestFunction::Search(text, pattern) => {
            value_argument(name, text, numbers)?;
            compile_pattern(name, pattern).map(drop)
        }
        TestFunction::Custom(name, _) => {
            Err(QueryFault::new(format!("`{name}` is not a function of RFC 9535"))
                .with_help(words::functions_help(name)))
        }
    }
}

/// An argument that must be one value: a literal, a query for at most one node, or a function that gives a value.
fn value_argument(name: &'static str, argument: &mut FnArg, numbers: &LongNumbers<'_>) -> Checked {
    let single = match argument {
        FnArg::Literal(_) => return Ok(()),
        FnArg::Filter(_) => return Err(QueryFault::in_call(name, "takes a value, not a condition")),
        FnArg::Test(test) => match &mut **test {
            Test::Function(call) if matches!(**call, TestFunction::Match(..) | TestFunction::Search(..)) => {
                return Err(QueryFault::in_call(name, "takes a value, not a condition"));
            }
            Test::Function(call) => return function(call, numbers),
            Test::RelQuery(segments) => is_singular(segments),
            Test::AbsQuery(query) => is_singular(&query.segments),
        },
    };
    if single {
        return Ok(());
    }
    Err(QueryFault::in_call(name, "takes a single value, and this query may find several")
        .with_help("`value(…)` turns a query that finds exactly one node into its value"))
}

/// A query whose every node counts.
fn nodes(test: &mut Test, numbers: &LongNumbers<'_>) -> Checked {
    match test {
        Test::AbsQuery(query) => segments(&mut query.segments, numbers),
        Test::RelQuery(relative) => segments(relative, numbers),
        Test::Function(call) => function(call, numbers),
    }
}

fn is_singular(segments: &[Segment]) -> bool {
    segments.iter().all(|segment| matches!(segment, Segment::Selector(Selector::Name(_) | Selector::Index(_))))
}

fn name(call: &TestFunction) -> &'static str {
    let [length, count, match_, search, value] = FUNCTIONS;
    match call {
        TestFunction::Length(_) => length,
        TestFunction::Count(_) => count,
        TestFunction::Match(..) => match_,
        TestFunction::Search(..) => search,
        TestFunction::Value(_) => value,
        TestFunction::Custom(..) => "",
    }
}

fn operands(comparison: &mut Comparison) -> [&mut Comparable; 2] {
    match comparison {
        Comparison::Eq(left, right)
        | Comparison::Ne(left, right)
        | Comparison::Gt(left, right)
        | Comparison::Gte(left, right)
        | Comparison::Lt(left, right)
        | Comparison::Lte(left, right) => [left, right],
    }
}
