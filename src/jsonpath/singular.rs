//! Queries that find at most one value (RFC 9535, 2.3.5.1): only names and indices, so that nothing has to be collected.

use jsonpath_rust::parser::model::{Segment, Selector, SingularQuery, SingularQuerySegment};
use serde_json::Value;

use super::evaluation::Scope;

/// Steps from `$` or `@` to at most one value. Two that are equal find the same value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SingularPath {
    starts_at_root: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Name(String),
    Index(i64),
}

impl SingularPath {
    /// The path of a query in a comparison.
    pub(super) fn new(query: &SingularQuery) -> Self {
        let (starts_at_root, steps) = match query {
            SingularQuery::Root(steps) => (true, steps),
            SingularQuery::Current(steps) => (false, steps),
        };
        let step = |step: &SingularQuerySegment| match step {
            SingularQuerySegment::Name(name) => Step::Name(name.clone()),
            SingularQuerySegment::Index(index) => Step::Index(*index),
        };
        Self { starts_at_root, steps: steps.iter().map(step).collect() }
    }

    /// The path of any query; `None` when it may find several values.
    pub(super) fn of_segments(starts_at_root: bool, segments: &[Segment]) -> Option<Self> {
        let step = |segment: &Segment| match segment {
            Segment::Selector(Selector::Name(name)) => Some(Step::Name(name.clone())),
            Segment::Selector(Selector::Index(index)) => Some(Step::Index(*index)),
            _ => None,
        };
        Some(Self { starts_at_root, steps: segments.iter().map(step).collect::<Option<_>>()? })
    }

    /// The same steps from `$`, for where `$` and `@` are one value.
    pub(super) fn at_root(&self) -> Self {
        Self { starts_at_root: true, ..self.clone() }
    }

    /// The name of the first step, if it is one.
    pub(super) fn first_name(&self) -> Option<&str> {
        match self.steps.first() {
            Some(Step::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// The value that it finds.
    pub(super) fn find<'a>(&self, scope: Scope<'a>) -> Option<&'a Value> {
        let start = if self.starts_at_root { scope.root } else { scope.current };
        self.steps.iter().try_fold(start, |value, step| match step {
            Step::Name(name) => value.as_object()?.get(name),
            Step::Index(index) => item(value.as_array()?, *index),
        })
    }
}

/// An element by its index; one below zero counts from the end.
pub(super) fn item(items: &[Value], index: i64) -> Option<&Value> {
    let index = if index < 0 { index.checked_add(items.len() as i64)? } else { index };
    items.get(usize::try_from(index).ok()?)
}
