//! Helpers that choose among values, and take objects and arrays apart.

use std::collections::HashMap;
use std::sync::Arc;

use handlebars::{Handlebars, Helper, PathAndJson, ScopedJson};
use serde_json::{Map, Value};

use super::{Found, helper, required, whole_number, wrong_value};
use crate::jsonpath::Query;
use crate::jsonpath::comparison::equal;
use crate::template::RenderFault;

/// Registers them. `queries` are the JSONPath queries of the template, by their text.
pub(super) fn register(registry: &mut Handlebars<'static>, queries: HashMap<String, Query>) {
    let queries = Arc::new(queries);
    let of_query = Arc::clone(&queries);
    registry.register_helper("jsonpath", helper(move |call, context| Ok(jsonpath(call, context, &queries))));
    registry.register_helper("query", helper(move |call, context| Ok(query(call, context, &of_query))));
    registry.register_helper("default", helper(|call, _| Ok(default(call))));
    registry.register_helper("switch", helper(|call, _| switch(call)));
    registry.register_helper("lookup", helper(|call, _| lookup(call)));
    registry.register_helper("len", helper(|call, _| len(call)));
    registry.register_helper("keys", helper(|call, _| keys(call)));
    registry.register_helper("has", helper(|call, _| has(call)));
    registry.register_helper("pick", helper(|call, _| pick(call)));
    registry.register_helper("omit", helper(|call, _| omit(call)));
}

/// The first value that is neither missing nor null, otherwise the last one.
fn default<'rc>(call: &Helper<'rc>) -> ScopedJson<'rc> {
    let present = call.params().iter().find(|value| !value.value().is_null());
    given(present.or(call.params().last()))
}

/// The value behind the case that equals the first one, otherwise the one that stands behind all cases.
fn switch<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let chosen = required(call, 0)?.value();
    let cases = call.params().get(1..).unwrap_or_default().chunks(2);
    for case in cases {
        match case {
            [case, value] if equal(case.value(), chosen) => return Ok(given(Some(value))),
            [otherwise] => return Ok(given(Some(otherwise))),
            _ => {}
        }
    }
    Ok(ScopedJson::Missing)
}

fn given<'rc>(value: Option<&PathAndJson<'rc>>) -> ScopedJson<'rc> {
    match value {
        Some(value) if !value.is_value_missing() => ScopedJson::Derived(value.value().clone()),
        _ => ScopedJson::Missing,
    }
}

/// The element of an array, or the member of an object, whose index or name is itself a value.
fn lookup<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let index = required(call, 1)?.value();
    let found = match call.param(0).map(PathAndJson::value) {
        Some(Value::Array(elements)) => whole_number(index).and_then(|index| elements.get(index)),
        Some(Value::Object(members)) => index.as_str().and_then(|name| members.get(name)),
        _ => None,
    };
    Ok(found.map_or(ScopedJson::Missing, |found| ScopedJson::Derived(found.clone())))
}

/// What a query finds in the envelope: its value for one node, an array for several, missing for none.
fn jsonpath<'rc>(
    call: &Helper<'rc>,
    context: &'rc handlebars::Context,
    queries: &HashMap<String, Query>,
) -> ScopedJson<'rc> {
    match *selected(call, context, queries) {
        [] => ScopedJson::Missing,
        [one] => ScopedJson::Derived(one.clone()),
        ref several => ScopedJson::Derived(several.iter().copied().cloned().collect()),
    }
}

/// All that a query finds in the envelope, as an array.
fn query<'rc>(
    call: &Helper<'rc>,
    context: &'rc handlebars::Context,
    queries: &HashMap<String, Query>,
) -> ScopedJson<'rc> {
    ScopedJson::Derived(selected(call, context, queries).into_iter().cloned().collect())
}

fn selected<'rc>(
    call: &Helper<'rc>,
    context: &'rc handlebars::Context,
    queries: &HashMap<String, Query>,
) -> Vec<&'rc Value> {
    let query = call.param(0).and_then(|text| text.value().as_str()).and_then(|text| queries.get(text));
    query.map(|query| query.select(context.data())).unwrap_or_default()
}

/// The number of characters, elements or members.
fn len<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let given = required(call, 0)?;
    let length = match given.value() {
        Value::String(text) => text.chars().count(),
        Value::Array(elements) => elements.len(),
        Value::Object(members) => members.len(),
        _ => return Err(wrong_value(call, given, "text, an array or an object")),
    };
    Ok(ScopedJson::Derived(length.into()))
}

fn keys<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    Ok(ScopedJson::Derived(object(call)?.keys().map(String::as_str).collect()))
}

fn has<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let name = member(call, 1)?;
    let has = match call.param(0) {
        None => false,
        Some(value) if value.value().is_null() => false,
        Some(_) => object(call)?.contains_key(name),
    };
    Ok(ScopedJson::Derived(has.into()))
}

fn pick<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let members = object(call)?;
    let mut picked = Map::new();
    for index in 1..call.params().len() {
        let name = member(call, index)?;
        if let Some(value) = members.get(name) {
            picked.insert(name.to_owned(), value.clone());
        }
    }
    Ok(ScopedJson::Derived(Value::Object(picked)))
}

fn omit<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let names: Vec<&str> = (1..call.params().len()).map(|index| member(call, index)).collect::<Result<_, _>>()?;
    let kept = object(call)?.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    Ok(ScopedJson::Derived(Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())))
}

/// The first value, which is an object.
fn object<'a>(call: &'a Helper<'_>) -> Result<&'a Map<String, Value>, RenderFault> {
    let given = required(call, 0)?;
    given.value().as_object().ok_or_else(|| wrong_value(call, given, "an object"))
}

/// The name of a member.
fn member<'a>(call: &'a Helper<'_>, index: usize) -> Result<&'a str, RenderFault> {
    let given = required(call, index)?;
    given.value().as_str().ok_or_else(|| wrong_value(call, given, "text as the name of a member"))
}
