//! The helpers that templates may call, a module for each family.
//!
//! A helper of ours gives a value, which [`insert`](super::insert) escapes or another helper takes. It fails when a
//! value it needs is missing or null; only `default`, `has` and what asks are made for those. What a helper computes stands
//! in [`functions`](crate::functions) where programs compute it as well.

pub(super) mod digests;
mod numbers;
mod objects;
mod signatures;
#[cfg(test)]
mod tests;
mod text;
mod time;

use std::borrow::Cow;
use std::collections::HashMap;

use handlebars::{Handlebars, Helper, HelperDef, PathAndJson, RenderContext, RenderError, ScopedJson};
use regex::Regex;
use serde_json::Value;
use strum::VariantArray as _;

pub(super) use signatures::{Kind, SIGNATURES, Signature};

use super::insert::{self, Insert, value_text};
use super::place::Place;
use super::{Options, RenderFault, conditions, each};
use crate::jsonpath::Query;

/// A registry with the helpers of one template. `queries` are the JSONPath queries that it contains, and `patterns` the
/// regular expressions, by their text.
pub(super) fn registry(
    options: &Options,
    queries: HashMap<String, Query>,
    patterns: HashMap<String, Regex>,
) -> Handlebars<'static> {
    let Options { clock, ids, .. } = options.clone();
    let mut registry = Handlebars::new();
    for place in Place::VARIANTS {
        registry.register_helper(&insert::name(*place), Box::new(Insert(*place)));
    }
    conditions::register(&mut registry);
    registry.register_helper(each::NAME, Box::new(each::List));
    registry.register_helper("json", helper(|call, _| Ok(derived(required(call, 0)?.value().to_string()))));
    registry.register_helper("uuid", helper(move |_, _| Ok(derived(ids().to_string()))));
    text::register(&mut registry, patterns);
    numbers::register(&mut registry);
    objects::register(&mut registry, queries);
    digests::register(&mut registry);
    time::register(&mut registry, clock);
    registry
}

type Found<'rc> = Result<ScopedJson<'rc>, RenderFault>;

/// A helper that gives a value and writes nothing.
struct ValueHelper<F>(F);

impl<F> HelperDef for ValueHelper<F>
where
    F: for<'rc> Fn(&Helper<'rc>, &'rc handlebars::Context) -> Found<'rc>,
{
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc handlebars::Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        Ok(self.0(call, context)?)
    }
}

fn helper<F>(function: F) -> Box<dyn HelperDef + Send + Sync>
where
    F: for<'rc> Fn(&Helper<'rc>, &'rc handlebars::Context) -> Found<'rc> + Send + Sync + 'static,
{
    Box::new(ValueHelper(function))
}

fn derived<'rc>(text: String) -> ScopedJson<'rc> {
    ScopedJson::Derived(Value::String(text))
}

/// A value as text: text, a number, `true` or `false`.
fn text<'a>(call: &'a Helper<'_>, index: usize) -> Result<Cow<'a, str>, RenderFault> {
    scalar_text(call, required(call, index)?)
}

fn scalar_text<'a>(call: &Helper<'_>, given: &'a PathAndJson<'_>) -> Result<Cow<'a, str>, RenderFault> {
    match given.value() {
        Value::Null => Err(RenderFault::Null(name(call, given))),
        Value::Array(_) | Value::Object(_) => Err(RenderFault::NotScalar(name(call, given))),
        other => Ok(value_text(other)),
    }
}

/// A value that counts something.
fn count(call: &Helper<'_>, index: usize) -> Result<usize, RenderFault> {
    let given = required(call, index)?;
    whole_number(given.value()).ok_or_else(|| wrong_value(call, given, "a whole number that is not negative"))
}

/// The index that a number is, `1` and `1.0` alike.
fn whole_number(value: &Value) -> Option<usize> {
    let of_float = || value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number));
    value.as_u64().or_else(|| of_float().map(|number| number as u64)).and_then(|index| usize::try_from(index).ok())
}

/// A value without which a helper cannot work.
pub(super) fn required<'a, 'rc>(call: &'a Helper<'rc>, index: usize) -> Result<&'a PathAndJson<'rc>, RenderFault> {
    match call.param(index) {
        Some(value) if !value.is_value_missing() => Ok(value),
        Some(value) if value.relative_path().is_some() => Err(RenderFault::Missing(name(call, value))),
        Some(value) => Err(RenderFault::NothingFound(name(call, value))),
        None => Err(RenderFault::Missing(call.name().to_owned())),
    }
}

pub(super) fn wrong_value(call: &Helper<'_>, value: &PathAndJson<'_>, expected: &'static str) -> RenderFault {
    let found = type_of(value.value(), expected);
    RenderFault::WrongValue { helper: call.name().to_owned(), name: name(call, value), expected, found }
}

/// The type of a value that is not what was expected, for messages, which never show the value.
pub(super) fn type_of(value: &Value, expected: &str) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "`true` or `false`",
        Value::Number(_) if expected.contains("number") => "another number",
        Value::Number(_) => "a number",
        Value::String(_) if expected.contains("text") => "other text",
        Value::String(_) => "text",
        Value::Array(_) if expected.contains("array") => "another array",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The named value that holds how the value at an index is written. It has blanks, so that no template can give it.
pub(super) fn name_of(index: usize) -> String {
    format!("name of {index}")
}

/// What a value is called in the template: its path, or the expression that gives it.
pub(super) fn name(call: &Helper<'_>, value: &PathAndJson<'_>) -> String {
    if let Some(path) = value.relative_path() {
        return path.clone();
    }
    let index = call.params().iter().position(|param| std::ptr::eq(param, value));
    let written = index.and_then(|index| call.hash_get(&name_of(index))).and_then(|name| name.value().as_str());
    written.map_or_else(|| value.value().to_string(), str::to_owned)
}
