//! The helpers that templates may call, and what each of them takes.
//!
//! A helper of ours gives a value, which [`insert`](super::insert) escapes or another helper takes. It fails when a
//! value it needs is missing or null; only `default` is made for those.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use handlebars::{Handlebars, Helper, HelperDef, PathAndJson, RenderContext, RenderError, ScopedJson};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use strum::VariantArray as _;

use super::insert::{self, Insert, url_encode, value_text};
use super::place::Place;
use super::{Options, RenderFault, conditions, each};
use crate::jsonpath::Query;

/// What a helper takes, for the check at load.
pub(super) struct Signature {
    /// Its name in templates.
    pub(super) name: &'static str,
    /// The fewest and the most values it takes.
    pub(super) values: (usize, usize),
    /// The named values it takes.
    pub(super) named: &'static [&'static str],
    /// Where it may stand.
    pub(super) kind: Kind,
    /// How it is written.
    pub(super) example: &'static str,
}

/// Where a helper may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{name …}}` and `(name …)`
    Value,
    /// `{{#name …}} … {{/name}}`
    Block,
    /// Both.
    ValueOrBlock,
}

const MANY: usize = usize::MAX;

/// All helpers. `if unless each with raw and or not` are Handlebars' own.
pub(super) const SIGNATURES: [Signature; 27] = [
    signature("json", (1, 1), &[], Kind::Value, "{{json data}}"),
    signature("default", (2, MANY), &[], Kind::Value, r#"{{default data.region "none"}}"#),
    signature("upper", (1, 1), &[], Kind::Value, "{{upper data.region}}"),
    signature("lower", (1, 1), &[], Kind::Value, "{{lower data.region}}"),
    signature("now", (0, 1), &["tz"], Kind::Value, r#"{{now "%Y-%m-%d"}}"#),
    signature("format_time", (2, 2), &["tz"], Kind::Value, r#"{{format_time data.at "%Y-%m-%d"}}"#),
    signature("uuid", (0, 0), &[], Kind::Value, "{{uuid}}"),
    signature("base64", (1, 1), &[], Kind::Value, "{{base64 data.id}}"),
    signature("url_encode", (1, 1), &[], Kind::Value, "{{url_encode data.id}}"),
    signature("jsonpath", (1, 1), &[], Kind::Value, r#"{{jsonpath "$.data.items[0].sku"}}"#),
    signature("query", (1, 1), &[], Kind::Value, r#"{{json (query "$.data.items[*].sku")}}"#),
    signature("lookup", (2, 2), &[], Kind::Value, "{{lookup data.prices data.currency}}"),
    signature("len", (1, 1), &[], Kind::Value, "{{len data.items}}"),
    signature("if", (1, 1), &["includeZero"], Kind::Block, "{{#if data.vip}}…{{else}}…{{/if}}"),
    signature("unless", (1, 1), &["includeZero"], Kind::Block, "{{#unless data.vip}}…{{/unless}}"),
    signature("each", (1, 1), &[], Kind::Block, "{{#each data.items}}{{sku}}{{/each}}"),
    signature("with", (1, 1), &[], Kind::Block, "{{#with data.customer}}{{id}}{{/with}}"),
    signature("raw", (0, 0), &[], Kind::Block, "{{{{raw}}}}…{{{{/raw}}}}"),
    signature("eq", (2, 2), &[], Kind::ValueOrBlock, r#"{{#if (eq data.type "x")}}…{{/if}}"#),
    signature("ne", (2, 2), &[], Kind::ValueOrBlock, r#"{{#if (ne data.type "x")}}…{{/if}}"#),
    signature("gt", (2, 2), &[], Kind::ValueOrBlock, "{{#if (gt data.total 100)}}…{{/if}}"),
    signature("gte", (2, 2), &[], Kind::ValueOrBlock, "{{#if (gte data.total 100)}}…{{/if}}"),
    signature("lt", (2, 2), &[], Kind::ValueOrBlock, "{{#if (lt data.total 100)}}…{{/if}}"),
    signature("lte", (2, 2), &[], Kind::ValueOrBlock, "{{#if (lte data.total 100)}}…{{/if}}"),
    signature("and", (1, MANY), &[], Kind::ValueOrBlock, "{{#if (and data.vip data.paid)}}…{{/if}}"),
    signature("or", (1, MANY), &[], Kind::ValueOrBlock, "{{#if (or data.vip data.paid)}}…{{/if}}"),
    signature("not", (1, 1), &[], Kind::ValueOrBlock, "{{#if (not data.vip)}}…{{/if}}"),
];

/// A registry with the helpers of one template. `queries` are the JSONPath queries that it contains, by their text.
pub(super) fn registry(options: &Options, queries: HashMap<String, Query>) -> Handlebars<'static> {
    let Options { clock, ids, .. } = options.clone();
    let mut registry = Handlebars::new();
    for place in Place::VARIANTS {
        registry.register_helper(&insert::name(*place), Box::new(Insert(*place)));
    }
    conditions::register(&mut registry);
    registry.register_helper(each::NAME, Box::new(each::List));
    registry.register_helper("json", helper(|call, _| Ok(derived(required(call, 0)?.value().to_string()))));
    registry.register_helper("default", helper(default));
    registry.register_helper("upper", helper(|call, _| Ok(derived(text(call)?.to_uppercase()))));
    registry.register_helper("lower", helper(|call, _| Ok(derived(text(call)?.to_lowercase()))));
    registry.register_helper("now", helper(move |call, _| format_time(call, clock(), 0)));
    registry.register_helper("format_time", helper(|call, _| format_time(call, time(call)?, 1)));
    registry.register_helper("uuid", helper(move |_, _| Ok(derived(ids().to_string()))));
    registry.register_helper("base64", helper(|call, _| Ok(derived(BASE64.encode(text(call)?.as_bytes())))));
    registry.register_helper("url_encode", helper(|call, _| Ok(derived(url_encode(&text(call)?)))));
    let queries = Arc::new(queries);
    let of_query = Arc::clone(&queries);
    registry.register_helper("jsonpath", helper(move |call, context| Ok(jsonpath(call, context, &queries))));
    registry.register_helper("query", helper(move |call, context| Ok(query(call, context, &of_query))));
    registry.register_helper("len", helper(len));
    registry.register_helper("lookup", helper(lookup));
    registry
}

/// The time zone of a name in the IANA database, such as `Europe/Berlin`.
pub(super) fn time_zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// A time in a `strftime` format, in UTC without a zone. `None` when the format is wrong.
pub(super) fn strftime(time: Timestamp, format: &str, zone: TimeZone) -> Option<String> {
    jiff::fmt::strtime::format(format, &time.to_zoned(zone)).ok()
}

pub(super) type Found<'rc> = Result<ScopedJson<'rc>, RenderFault>;

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

/// The first value that is neither missing nor null, otherwise the last one.
fn default<'rc>(call: &Helper<'rc>, _: &'rc handlebars::Context) -> Found<'rc> {
    let present = call.params().iter().find(|value| !value.value().is_null());
    match present.or(call.params().last()) {
        Some(value) if !value.is_value_missing() => Ok(ScopedJson::Derived(value.value().clone())),
        _ => Ok(ScopedJson::Missing),
    }
}

/// The element of an array, or the member of an object, whose index or name is itself a value.
fn lookup<'rc>(call: &Helper<'rc>, _: &'rc handlebars::Context) -> Found<'rc> {
    let index = required(call, 1)?.value();
    let found = match call.param(0).map(PathAndJson::value) {
        Some(Value::Array(elements)) => whole_number(index).and_then(|index| elements.get(index)),
        Some(Value::Object(members)) => index.as_str().and_then(|name| members.get(name)),
        _ => None,
    };
    Ok(found.map_or(ScopedJson::Missing, |found| ScopedJson::Derived(found.clone())))
}

/// The index that a number is, `1` and `1.0` alike.
fn whole_number(value: &Value) -> Option<usize> {
    let of_float = || value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number));
    value.as_u64().or_else(|| of_float().map(|number| number as u64)).and_then(|index| usize::try_from(index).ok())
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
fn len<'rc>(call: &Helper<'rc>, _: &'rc handlebars::Context) -> Found<'rc> {
    let given = required(call, 0)?;
    let length = match given.value() {
        Value::String(text) => text.chars().count(),
        Value::Array(elements) => elements.len(),
        Value::Object(members) => members.len(),
        _ => return Err(wrong_value(call, given, "text, an array or an object")),
    };
    Ok(ScopedJson::Derived(length.into()))
}

/// `time` in the format at `index` and the zone `tz`; without a format as in RFC 3339, in UTC.
fn format_time<'rc>(call: &Helper<'rc>, time: Timestamp, index: usize) -> Found<'rc> {
    let zone = match call.hash_get("tz") {
        None => TimeZone::UTC,
        Some(name) => name
            .value()
            .as_str()
            .and_then(time_zone)
            .ok_or_else(|| wrong_value(call, name, "the name of a time zone as `tz`"))?,
    };
    let Some(format) = call.param(index) else {
        let text = match zone == TimeZone::UTC {
            true => time.to_string(),
            false => time.display_with_offset(zone.to_offset(time)).to_string(),
        };
        return Ok(derived(text));
    };
    let formatted = format.value().as_str().and_then(|format| strftime(time, format, zone));
    Ok(derived(formatted.ok_or_else(|| wrong_value(call, format, "a strftime format"))?))
}

/// The time that is the first value: RFC 3339 text, or seconds or milliseconds since 1970.
fn time(call: &Helper<'_>) -> Result<Timestamp, RenderFault> {
    /// As seconds this is the year 5138, as milliseconds 1973.
    const FIRST_MILLISECOND: i64 = 100_000_000_000;
    let given = required(call, 0)?;
    let time = match given.value() {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => match number.as_i64() {
            Some(seconds) if seconds.abs() < FIRST_MILLISECOND => Timestamp::from_second(seconds).ok(),
            Some(milliseconds) => Timestamp::from_millisecond(milliseconds).ok(),
            None => number.as_f64().and_then(fractional_seconds),
        },
        _ => None,
    };
    time.ok_or_else(|| wrong_value(call, given, "RFC 3339 text, or seconds or milliseconds since 1970"))
}

fn fractional_seconds(seconds: f64) -> Option<Timestamp> {
    let duration = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(duration).ok()
}

/// The first value as text.
fn text<'a>(call: &'a Helper<'_>) -> Result<Cow<'a, str>, RenderFault> {
    let given = required(call, 0)?;
    match given.value() {
        Value::Null => Err(RenderFault::Null(name(call, given))),
        Value::Array(_) | Value::Object(_) => Err(RenderFault::NotScalar(name(call, given))),
        other => Ok(value_text(other)),
    }
}

fn derived<'rc>(text: String) -> ScopedJson<'rc> {
    ScopedJson::Derived(Value::String(text))
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
    RenderFault::WrongValue { helper: call.name().to_owned(), name: name(call, value), expected }
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

const fn signature(
    name: &'static str,
    values: (usize, usize),
    named: &'static [&'static str],
    kind: Kind,
    example: &'static str,
) -> Signature {
    Signature { name, values, named, kind, example }
}
