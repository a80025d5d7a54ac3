//! Helpers that give text made of text.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use handlebars::{Handlebars, Helper, ScopedJson};
use regex::Regex;
use serde_json::Value;

use super::{Found, count, derived, helper, required, scalar_text, text, wrong_value};
use crate::template::RenderFault;
use crate::template::insert::{url_encode, xml_escape};

const NOT_EMPTY: &str = "text that is not empty to look for";

/// Registers them. `patterns` are the regular expressions of `capture` in the template, by their text.
pub(super) fn register(registry: &mut Handlebars<'static>, patterns: HashMap<String, Regex>) {
    registry.register_helper("upper", helper(|call, _| Ok(derived(text(call, 0)?.to_uppercase()))));
    registry.register_helper("lower", helper(|call, _| Ok(derived(text(call, 0)?.to_lowercase()))));
    registry.register_helper("trim", helper(|call, _| Ok(derived(text(call, 0)?.trim().to_owned()))));
    registry.register_helper("base64", helper(|call, _| Ok(derived(BASE64.encode(text(call, 0)?.as_bytes())))));
    registry.register_helper("url_encode", helper(|call, _| Ok(derived(url_encode(&text(call, 0)?)))));
    registry.register_helper("xml", helper(|call, _| xml(call)));
    registry.register_helper("truncate", helper(|call, _| truncate(call)));
    registry.register_helper("replace", helper(|call, _| replace(call)));
    registry.register_helper("split", helper(|call, _| split(call)));
    registry.register_helper("join", helper(|call, _| join(call)));
    registry.register_helper("capture", helper(move |call, _| capture(call, &patterns)));
}

/// A group of what a regular expression finds; `None` when there is none of that number or name, or nothing is found.
fn group<'t>(pattern: &Regex, text: &'t str, group: Option<&Value>) -> Option<&'t str> {
    let captures = pattern.captures(text)?;
    let found = match group {
        None if captures.len() > 1 => captures.get(1),
        None => captures.get(0),
        Some(Value::String(name)) => captures.name(name),
        Some(number) => captures.get(usize::try_from(number.as_u64()?).ok()?),
    };
    found.map(|found| found.as_str())
}

fn capture<'rc>(call: &Helper<'rc>, patterns: &HashMap<String, Regex>) -> Found<'rc> {
    let text = text(call, 0)?;
    let pattern = required(call, 1)?.value().as_str().and_then(|pattern| patterns.get(pattern));
    let found = pattern.and_then(|pattern| group(pattern, &text, call.param(2).map(|group| group.value())));
    Ok(found.map_or(ScopedJson::Missing, |found| derived(found.to_owned())))
}

fn truncate<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let (text, most) = (text(call, 0)?, count(call, 1)?);
    if text.chars().nth(most).is_none() {
        return Ok(derived(text.into_owned()));
    }
    let end = match call.hash_get("end") {
        Some(end) => scalar_text(call, end)?,
        None => "".into(),
    };
    let kept = most.saturating_sub(end.chars().count());
    Ok(derived(text.chars().take(kept).chain(end.chars()).take(most).collect()))
}

fn replace<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let (from, to) = (sought(call)?, text(call, 2)?);
    Ok(derived(text(call, 0)?.replace(&from, &to)))
}

fn split<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let separator = sought(call)?;
    Ok(ScopedJson::Derived(text(call, 0)?.split(&separator).collect()))
}

fn join<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let given = required(call, 0)?;
    let Value::Array(elements) = given.value() else { return Err(wrong_value(call, given, "an array")) };
    let between = if call.param(1).is_some() { text(call, 1)? } else { ", ".into() };
    let mut joined = String::new();
    for (index, element) in elements.iter().enumerate() {
        if matches!(element, Value::Null | Value::Array(_) | Value::Object(_)) {
            return Err(wrong_value(call, given, "an array of nothing but text, numbers, `true` and `false`"));
        }
        if index > 0 {
            joined.push_str(&between);
        }
        joined.push_str(&crate::template::insert::value_text(element));
    }
    Ok(derived(joined))
}

fn xml<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let given = required(call, 0)?;
    let escaped = xml_escape(&text(call, 0)?);
    Ok(derived(escaped.ok_or_else(|| RenderFault::NotInPlace(super::name(call, given), "XML"))?))
}

/// The second value: the text that is looked for.
fn sought(call: &Helper<'_>) -> Result<String, RenderFault> {
    let sought = text(call, 1)?;
    if sought.is_empty() {
        return Err(wrong_value(call, required(call, 1)?, NOT_EMPTY));
    }
    Ok(sought.into_owned())
}
