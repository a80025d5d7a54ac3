//! Evaluates parsed queries and conditions on JSON values, as RFC 9535 says.
//!
//! The library's own evaluation compares numbers as doubles and nearly, and compiles the patterns of `match` and `search`
//! at every value. So its tree becomes one of ours, once, at load. Nothing in it can fail on a value.

use std::borrow::Cow;
use std::cmp::Ordering;

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, Literal, Segment, Selector, Test, TestFunction,
};
use regex::Regex;
use serde_json::Value;

use super::check::{QueryFault, compile_pattern};
use super::comparison::{equal, order};
use super::singular::{SingularPath, item};

/// What `$` and `@` stand for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) root: &'a Value,
    pub(super) current: &'a Value,
}

/// Steps from `$` or `@` to some values.
#[derive(Debug, Clone)]
pub(super) enum Path {
    /// To at most one.
    Singular(SingularPath),
    /// To any number.
    Plural { starts_at_root: bool, steps: Vec<Step> },
}

/// From each value to some of its children, or to some of those of each of its descendants and itself.
#[derive(Debug, Clone)]
pub(super) struct Step {
    descends: bool,
    choices: Vec<Choice>,
}

#[derive(Debug, Clone)]
enum Choice {
    Name(String),
    Index(i64),
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Every,
    Where(Condition),
}

/// What holds for a value or does not.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    Finds(Path),
    Matches { text: Operand, pattern: Regex },
    Compares { left: Operand, operator: Operator, right: Operand },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value, or nothing.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Literal(Value),
    /// What the path finds, if that is exactly one value.
    Only(Path),
    Length(Box<Operand>),
    Count(Path),
}

impl Path {
    /// The path of a query that has been checked.
    pub(super) fn new(starts_at_root: bool, segments: &[Segment]) -> Result<Self, QueryFault> {
        if let Some(path) = SingularPath::of_segments(starts_at_root, segments) {
            return Ok(Self::Singular(path));
        }
        let steps = segments.iter().map(Step::new).collect::<Result<_, _>>()?;
        Ok(Self::Plural { starts_at_root, steps })
    }

    fn of_test(test: &Test) -> Result<Self, QueryFault> {
        match test {
            Test::AbsQuery(query) => Self::new(true, &query.segments),
            Test::RelQuery(segments) => Self::new(false, segments),
            Test::Function(_) => Err(QueryFault::new("a function stands where a query is meant")),
        }
    }

    fn of_argument(argument: &FnArg) -> Result<Self, QueryFault> {
        match argument {
            FnArg::Test(test) => Self::of_test(test),
            FnArg::Literal(_) | FnArg::Filter(_) => Err(QueryFault::new("a function takes a query here")),
        }
    }

    /// The name of the first step, if it is one.
    pub(super) fn first_name(&self) -> Option<&str> {
        match self {
            Self::Singular(path) => path.first_name(),
            Self::Plural { steps, .. } => match steps.first() {
                Some(Step { descends: false, choices }) => match &**choices {
                    [Choice::Name(name)] => Some(name),
                    _ => None,
                },
                _ => None,
            },
        }
    }

    /// What it finds, in the order of the standard.
    pub(super) fn select<'a>(&self, scope: Scope<'a>) -> Vec<&'a Value> {
        let (starts_at_root, steps) = match self {
            Self::Singular(path) => return path.find(scope).into_iter().collect(),
            Self::Plural { starts_at_root, steps } => (*starts_at_root, steps),
        };
        let mut values = vec![if starts_at_root { scope.root } else { scope.current }];
        for step in steps {
            let mut found = Vec::new();
            values.into_iter().for_each(|value| step.select(value, scope.root, &mut found));
            values = found;
        }
        values
    }

    /// What it finds, if that is exactly one value.
    fn only<'a>(&self, scope: Scope<'a>) -> Option<&'a Value> {
        match self {
            Self::Singular(path) => path.find(scope),
            Self::Plural { .. } => match *self.select(scope) {
                [value] => Some(value),
                _ => None,
            },
        }
    }

    fn finds_any(&self, scope: Scope<'_>) -> bool {
        match self {
            Self::Singular(path) => path.find(scope).is_some(),
            Self::Plural { .. } => !self.select(scope).is_empty(),
        }
    }
}

impl Step {
    fn new(segment: &Segment) -> Result<Self, QueryFault> {
        Ok(match segment {
            Segment::Descendant(inner) => Self { descends: true, ..Self::new(inner)? },
            Segment::Selector(one) => Self { descends: false, choices: vec![Choice::new(one)?] },
            Segment::Selectors(several) => {
                Self { descends: false, choices: several.iter().map(Choice::new).collect::<Result<_, _>>()? }
            }
        })
    }

    fn select<'a>(&self, value: &'a Value, root: &'a Value, found: &mut Vec<&'a Value>) {
        self.choices.iter().for_each(|choice| choice.select(value, root, found));
        if self.descends {
            children(value).for_each(|child| self.select(child, root, found));
        }
    }
}

impl Choice {
    fn new(selector: &Selector) -> Result<Self, QueryFault> {
        Ok(match selector {
            Selector::Name(name) => Self::Name(name.clone()),
            Selector::Wildcard => Self::Every,
            Selector::Index(index) => Self::Index(*index),
            Selector::Slice(start, end, step) => Self::Slice { start: *start, end: *end, step: step.unwrap_or(1) },
            Selector::Filter(filter) => Self::Where(Condition::new(filter)?),
        })
    }

    fn select<'a>(&self, value: &'a Value, root: &'a Value, found: &mut Vec<&'a Value>) {
        match self {
            Self::Name(name) => found.extend(value.as_object().and_then(|members| members.get(name))),
            Self::Index(index) => found.extend(value.as_array().and_then(|items| item(items, *index))),
            Self::Slice { start, end, step } => {
                let items = value.as_array().map_or(&[][..], |items| items);
                slice(items, *start, *end, *step, found);
            }
            Self::Every => found.extend(children(value)),
            Self::Where(condition) => {
                found.extend(children(value).filter(|current| condition.holds(Scope { root, current })));
            }
        }
    }
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let items = value.as_array().into_iter().flatten();
    items.chain(value.as_object().into_iter().flat_map(|members| members.values()))
}

/// RFC 9535, 2.3.4.2.2.
fn slice<'a>(items: &'a [Value], start: Option<i64>, end: Option<i64>, step: i64, found: &mut Vec<&'a Value>) {
    let length = items.len() as i64;
    let normal = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
    let bound = |index: Option<i64>, default: i64, lowest: i64| {
        index.map_or(default, |index| normal(index).clamp(lowest, length + lowest))
    };
    let mut at = if step > 0 { bound(start, 0, 0) } else { bound(start, length - 1, -1) };
    let end = if step > 0 { bound(end, length, 0) } else { bound(end, -1, -1) };
    while (step > 0 && at < end) || (step < 0 && at > end) {
        found.extend(usize::try_from(at).ok().and_then(|at| items.get(at)));
        at = at.saturating_add(step);
    }
}

impl Condition {
    /// The condition of a filter that has been checked.
    pub(super) fn new(filter: &Filter) -> Result<Self, QueryFault> {
        let several = |parts: &[Filter]| parts.iter().map(Self::new).collect::<Result<_, _>>();
        Ok(match filter {
            Filter::Or(parts) => Self::Any(several(parts)?),
            Filter::And(parts) => Self::All(several(parts)?),
            Filter::Atom(FilterAtom::Filter { expr, not }) => Self::new(expr)?.negated_if(*not),
            Filter::Atom(FilterAtom::Test { expr, not }) => Self::of_test(expr)?.negated_if(*not),
            Filter::Atom(FilterAtom::Comparison(comparison)) => Self::of_comparison(comparison)?,
        })
    }

    fn of_test(test: &Test) -> Result<Self, QueryFault> {
        let Test::Function(call) = test else { return Path::of_test(test).map(Self::Finds) };
        match &**call {
            TestFunction::Match(text, pattern) => {
                Ok(Self::Matches { text: Operand::of_argument(text)?, pattern: compile_pattern("match", pattern)? })
            }
            TestFunction::Search(text, pattern) => {
                Ok(Self::Matches { text: Operand::of_argument(text)?, pattern: compile_pattern("search", pattern)? })
            }
            _ => Err(QueryFault::new("a value stands where a condition is meant")),
        }
    }

    fn of_comparison(comparison: &Comparison) -> Result<Self, QueryFault> {
        let operator = match comparison {
            Comparison::Eq(..) => Operator::Equal,
            Comparison::Ne(..) => Operator::Unequal,
            Comparison::Lt(..) => Operator::Less,
            Comparison::Lte(..) => Operator::LessOrEqual,
            Comparison::Gt(..) => Operator::Greater,
            Comparison::Gte(..) => Operator::GreaterOrEqual,
        };
        let (left, right) = comparison.vals();
        Ok(Self::Compares { left: Operand::new(left)?, operator, right: Operand::new(right)? })
    }

    fn negated_if(self, not: bool) -> Self {
        if not { Self::Not(Box::new(self)) } else { self }
    }

    pub(super) fn holds(&self, scope: Scope<'_>) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(scope)),
            Self::All(parts) => parts.iter().all(|part| part.holds(scope)),
            Self::Not(part) => !part.holds(scope),
            Self::Finds(path) => path.finds_any(scope),
            Self::Matches { text, pattern } => {
                let text = text.value(scope);
                text.as_deref().and_then(Value::as_str).is_some_and(|text| pattern.is_match(text))
            }
            Self::Compares { left, operator, right } => {
                operator.holds(left.value(scope).as_deref(), right.value(scope).as_deref())
            }
        }
    }
}

impl Operator {
    /// RFC 9535, 2.3.5.2.2: `<=` is `<` or `==`, for what has no order and for nothing too.
    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        let equals = || match (left, right) {
            (Some(left), Some(right)) => equal(left, right),
            (left, right) => left.is_none() && right.is_none(),
        };
        let is = |wanted| left.zip(right).and_then(|(left, right)| order(left, right)) == Some(wanted);
        match self {
            Self::Equal => equals(),
            Self::Unequal => !equals(),
            Self::Less => is(Ordering::Less),
            Self::LessOrEqual => is(Ordering::Less) || equals(),
            Self::Greater => is(Ordering::Greater),
            Self::GreaterOrEqual => is(Ordering::Greater) || equals(),
        }
    }
}

impl Operand {
    fn new(comparable: &Comparable) -> Result<Self, QueryFault> {
        match comparable {
            Comparable::Literal(literal) => Ok(Self::Literal(value(literal))),
            Comparable::SingularQuery(query) => Ok(Self::Only(Path::Singular(SingularPath::new(query)))),
            Comparable::Function(call) => Self::of_call(call),
        }
    }

    fn of_argument(argument: &FnArg) -> Result<Self, QueryFault> {
        match argument {
            FnArg::Literal(literal) => Ok(Self::Literal(value(literal))),
            FnArg::Filter(_) => Err(QueryFault::new("a condition stands where a value is meant")),
            FnArg::Test(test) => match &**test {
                Test::Function(call) => Self::of_call(call),
                query => Path::of_test(query).map(Self::Only),
            },
        }
    }

    fn of_call(call: &TestFunction) -> Result<Self, QueryFault> {
        match call {
            TestFunction::Length(argument) => Ok(Self::Length(Box::new(Self::of_argument(argument)?))),
            TestFunction::Value(argument) => Path::of_argument(argument).map(Self::Only),
            TestFunction::Count(argument) => Path::of_argument(argument).map(Self::Count),
            // An integer that has no place among the library's literals; see `numbers`.
            TestFunction::Custom(name, _) => match name.parse::<u64>() {
                Ok(number) => Ok(Self::Literal(number.into())),
                Err(_) => Err(QueryFault::new(format!("`{name}` is not a function of RFC 9535"))),
            },
            TestFunction::Match(..) | TestFunction::Search(..) => {
                Err(QueryFault::new("a condition stands where a value is meant"))
            }
        }
    }

    fn value<'a>(&'a self, scope: Scope<'a>) -> Option<Cow<'a, Value>> {
        match self {
            Self::Literal(value) => Some(Cow::Borrowed(value)),
            Self::Only(path) => path.only(scope).map(Cow::Borrowed),
            Self::Length(operand) => operand.value(scope).and_then(|value| length(&value)).map(Cow::Owned),
            Self::Count(path) => Some(Cow::Owned(path.select(scope).len().into())),
        }
    }
}

fn value(literal: &Literal) -> Value {
    match literal {
        Literal::Int(number) => (*number).into(),
        Literal::Float(number) => (*number).into(),
        Literal::String(text) => text.as_str().into(),
        Literal::Bool(value) => (*value).into(),
        Literal::Null => Value::Null,
    }
}

/// RFC 9535, 2.4.4.
fn length(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(text.chars().count().into()),
        Value::Array(items) => Some(items.len().into()),
        Value::Object(members) => Some(members.len().into()),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use jsonpath_rust::query::js_path_vals;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jsonpath::Query;

    fn select(query: &str, value: &Value) -> Vec<Value> {
        Query::parse(query).unwrap().select(value).into_iter().cloned().collect()
    }

    /// RFC 9535, tables 5, 8, 9, 15 and 16.
    #[test]
    fn selectors_and_segments_of_the_standard() {
        let letters = json!(["a", "b", "c", "d", "e", "f", "g"]);
        for (query, expected) in [
            ("$[1:3]", json!(["b", "c"])),
            ("$[5:]", json!(["f", "g"])),
            ("$[1:5:2]", json!(["b", "d"])),
            ("$[5:1:-2]", json!(["f", "d"])),
            ("$[::-1]", json!(["g", "f", "e", "d", "c", "b", "a"])),
            ("$[::0]", json!([])),
            ("$[-2:]", json!(["f", "g"])),
            ("$[-100:2]", json!(["a", "b"])),
            ("$[100:-100:-3]", json!(["g", "d", "a"])),
            ("$[-2]", json!(["f"])),
            ("$[-8, 7]", json!([])),
            ("$[0, 3]", json!(["a", "d"])),
            ("$[0:2, 5]", json!(["a", "b", "f"])),
            ("$[0, 0]", json!(["a", "a"])),
        ] {
            assert_eq!(Value::Array(select(query, &letters)), expected, "{query}");
        }
        let value = json!({"o": {"j": 1, "k": 2}, "a": [5, 3, [{"j": 4}, {"k": 6}]]});
        assert_eq!(select("$..j", &value).len(), 2);
        assert_eq!(select("$..[0]", &value), [json!(5), json!({"j": 4})]);
        assert_eq!(select("$..*", &value).len(), 11);
        assert_eq!(select("$.a..[0, 1]", &value), [json!(5), json!(3), json!({"j": 4}), json!({"k": 6})]);
        assert_eq!(select("$.a[2][*][*]", &value), [json!(4), json!(6)]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), (0_i64..3).prop_map(Value::from), "[ab]".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let members = proptest::collection::btree_map("[abc]", inner.clone(), 0..4);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Without comparisons and filters within filters, the library is the model.
        #[test]
        fn paths_select_what_the_library_selects(
            value in any_json(),
            steps in "(\\.[abc]|\\.\\.[ab]|\\[\\*\\]|\\[-?[1-2]\\]|\\[-?[1-2]:-?[1-2]:?\\]|\\[\\?@\\.[ab]\\]|\\[\\?!@\\.c && length\\(@\\) > 1\\]){0,3}",
        ) {
            let query = format!("${steps}");
            let expected: Vec<Value> = js_path_vals(&query, &value).unwrap().into_iter().cloned().collect();
            prop_assert_eq!(select(&query, &value), expected, "{}", query);
        }
    }
}
