//! Holds a parsed query to RFC 9535 where `jsonpath-rust` 1.0 does not.
//!
//! - Function calls must be well-typed (2.4.3); the library takes `length(@.a)` for a condition that never holds.
//! - The library's own functions (`in`, `any_of`, …) are refused, since they are not in the standard.
//! - `count` of nothing is 0 (2.4.5), while the library says *nothing*, which equals no number. Comparisons with `count`
//!   are rewritten into ones on which the library and the standard agree.
//! - `@[?…]` within a filter is refused: there the library tests `@` itself, where it should test its children.

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, JpQuery, Literal, Segment, Selector, Test, TestFunction,
};

use super::{ExpressionError, FUNCTIONS, mistakes};

/// What is wrong, and a piece of text by which its place can be found: the parsed query keeps no positions.
pub(super) struct Fault {
    message: String,
    call: Option<&'static str>,
    help: Option<String>,
}

/// Where a query stands, which decides what `@` means in it.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Top,
    WithinFilter,
}

type Checked = Result<(), Fault>;

/// Checks a whole query, and rewrites it where that is needed.
pub(super) fn query(query: &mut JpQuery) -> Checked {
    segments(&mut query.segments)
}

/// Checks a filter expression that stands alone, and rewrites it where that is needed.
pub(super) fn filter(filter: &mut Filter) -> Checked {
    filter_at(filter, Place::Top)
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
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

fn segments(segments: &mut [Segment]) -> Checked {
    segments.iter_mut().try_for_each(segment)
}

fn segment(segment_: &mut Segment) -> Checked {
    match segment_ {
        Segment::Descendant(inner) => segment(inner),
        Segment::Selector(one) => selector(one),
        Segment::Selectors(several) => several.iter_mut().try_for_each(selector),
    }
}

fn selector(selector: &mut Selector) -> Checked {
    match selector {
        Selector::Filter(filter) => filter_at(filter, Place::WithinFilter),
        Selector::Name(_) | Selector::Wildcard | Selector::Index(_) | Selector::Slice(..) => Ok(()),
    }
}

fn filter_at(filter: &mut Filter, place: Place) -> Checked {
    match filter {
        Filter::Or(parts) | Filter::And(parts) => parts.iter_mut().try_for_each(|part| filter_at(part, place)),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => filter_at(expr, place),
        Filter::Atom(FilterAtom::Test { expr, .. }) => condition(expr, place),
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            for operand in operands(comparison) {
                if let Comparable::Function(call) = operand {
                    function(call, place)?;
                }
            }
            *filter = with_counts_of_nothing((**comparison).clone(), 0);
            Ok(())
        }
    }
}

/// A test expression: a query asks for existence, a function must itself be true or false.
fn condition(test: &mut Test, place: Place) -> Checked {
    let Test::Function(call) = test else {
        return nodes(test, place);
    };
    function(call, place)?;
    match name(call) {
        value @ ("length" | "count" | "value") => {
            Err(Fault::in_call(value, "gives a value, not true or false; compare it with something")
                .with_help(format!("for example `{value}(…) > 0`")))
        }
        _ => Ok(()),
    }
}

fn function(call: &mut TestFunction, place: Place) -> Checked {
    let name = name(call);
    match call {
        TestFunction::Length(argument) => value_argument(name, argument, place),
        TestFunction::Count(argument) | TestFunction::Value(argument) => match argument {
            FnArg::Test(test) if !matches!(**test, Test::Function(_)) => nodes(test, place),
            _ => Err(Fault::in_call(name, "takes a query, such as `$.data.items[*]`")),
        },
        TestFunction::Match(text, pattern) | TestFunction::Search(text, pattern) => {
            value_argument(name, text, place)?;
            check_pattern(name, pattern)
        }
        TestFunction::Custom(name, _) => {
            Err(Fault::new(format!("`{name}` is not a function of RFC 9535")).with_help(mistakes::functions_help(name)))
        }
    }
}

/// An argument that must be one value: a literal, a query for at most one node, or a function that gives a value.
fn value_argument(name: &'static str, argument: &mut FnArg, place: Place) -> Checked {
    let single = match argument {
        FnArg::Literal(_) => return Ok(()),
        FnArg::Filter(_) => return Err(Fault::in_call(name, "takes a value, not a condition")),
        FnArg::Test(test) => match &mut **test {
            Test::Function(call) if matches!(**call, TestFunction::Match(..) | TestFunction::Search(..)) => {
                return Err(Fault::in_call(name, "takes a value, not a condition"));
            }
            Test::Function(call) => return function(call, place),
            Test::RelQuery(segments) => is_singular(segments),
            Test::AbsQuery(query) => is_singular(&query.segments),
        },
    };
    if single {
        return Ok(());
    }
    Err(Fault::in_call(name, "takes a single value, and this query may find several")
        .with_help("`value(…)` turns a query that finds exactly one node into its value"))
}

fn check_pattern(name: &'static str, pattern: &FnArg) -> Checked {
    let FnArg::Literal(Literal::String(pattern)) = pattern else {
        return Err(Fault::in_call(
            name,
            "needs its pattern as a literal, so that it can be checked before events come",
        ));
    };
    match regex::Regex::new(pattern) {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err(Fault::in_call(name, "has a pattern that is too big")),
        Err(error) => {
            // The last line says what is wrong, those before it draw the pattern.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(Fault::in_call(name, &format!("has a pattern that is not a regular expression: {reason}")))
        }
    }
}

/// A query whose every node counts.
fn nodes(test: &mut Test, place: Place) -> Checked {
    match test {
        Test::AbsQuery(query) => segments(&mut query.segments),
        Test::RelQuery(relative) => {
            if place == Place::WithinFilter && relative.first().is_some_and(has_filter) {
                return Err(Fault::new("a filter cannot stand directly behind `@` within another filter")
                    .with_help("name the member that is to be filtered, as in `@.lines[?@.count > 1]`"));
            }
            segments(relative)
        }
        Test::Function(call) => function(call, place),
    }
}

fn has_filter(segment: &Segment) -> bool {
    match segment {
        Segment::Descendant(inner) => has_filter(inner),
        Segment::Selector(selector) => matches!(selector, Selector::Filter(_)),
        Segment::Selectors(selectors) => selectors.iter().any(|selector| matches!(selector, Selector::Filter(_))),
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

/// `count(Q) < 3` becomes `(Q && count(Q) < 3) || (!Q && 0 < 3)`, for the operand at `index` and those after it.
fn with_counts_of_nothing(mut comparison: Comparison, index: usize) -> Filter {
    let Some(operand) = operands(&mut comparison).into_iter().nth(index) else {
        return Filter::Atom(FilterAtom::cmp(Box::new(comparison)));
    };
    let Comparable::Function(TestFunction::Count(FnArg::Test(query))) = operand else {
        return with_counts_of_nothing(comparison, index + 1);
    };
    let query = (**query).clone();
    let some = with_counts_of_nothing(comparison.clone(), index + 1);
    operands(&mut comparison)[index].clone_from(&Comparable::Literal(Literal::Int(0)));
    let none = with_counts_of_nothing(comparison, index + 1);
    let finds = Filter::Atom(FilterAtom::test(query.clone(), false));
    let finds_not = Filter::Atom(FilterAtom::test(query, true));
    let either = Filter::Or(vec![Filter::And(vec![finds, some]), Filter::And(vec![finds_not, none])]);
    Filter::Atom(FilterAtom::filter(either, false))
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
