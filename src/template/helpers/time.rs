//! Helpers that write times.

use std::sync::Arc;

use handlebars::{Handlebars, Helper};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Found, derived, helper, required, wrong_value};
use crate::functions::time::{self, Unit};
use crate::template::RenderFault;

/// Registers them. `clock` gives the time of rendering.
pub(super) fn register(registry: &mut Handlebars<'static>, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) {
    registry.register_helper("now", helper(move |call, _| written(call, clock(), 0)));
    registry.register_helper("format_time", helper(|call, _| written(call, moment(call)?, 1)));
}

/// `time` later by `plus`, in the format at `index` and the zone `tz`; without a format as in RFC 3339.
fn written<'rc>(call: &Helper<'rc>, time: Timestamp, index: usize) -> Found<'rc> {
    let zone = match call.hash_get("tz") {
        None => TimeZone::UTC,
        Some(name) => name
            .value()
            .as_str()
            .and_then(time::zone)
            .ok_or_else(|| wrong_value(call, name, "the name of a time zone as `tz`"))?,
    };
    let time = match call.hash_get("plus") {
        None => time,
        Some(span) => span
            .value()
            .as_str()
            .and_then(time::span)
            .and_then(|span| time::plus(time, span, &zone))
            .ok_or_else(|| wrong_value(call, span, "a span such as \"1h 30m\" as `plus`"))?,
    };
    let Some(format) = call.param(index) else { return Ok(derived(time::rfc3339(time, &zone))) };
    let formatted = format.value().as_str().and_then(|format| time::strftime(time, format, zone));
    Ok(derived(formatted.ok_or_else(|| wrong_value(call, format, "a strftime format"))?))
}

/// The time that is the first value.
fn moment(call: &Helper<'_>) -> Result<Timestamp, RenderFault> {
    let given = required(call, 0)?;
    if let Some(format) = call.hash_get("parse") {
        let format =
            format.value().as_str().ok_or_else(|| wrong_value(call, format, "a strptime format as `parse`"))?;
        let parsed = given.value().as_str().and_then(|text| time::parse(text, format));
        return parsed.ok_or_else(|| wrong_value(call, given, "text in the format that `parse` gives"));
    }
    let (unit, expected) = match call.hash_get("unit") {
        None => (None, "RFC 3339 text, or seconds or milliseconds since 1970"),
        Some(name) => {
            let unit = name.value().as_str().and_then(Unit::of_name);
            let unit = unit.ok_or_else(|| wrong_value(call, name, "\"s\", \"ms\", \"us\" or \"ns\" as `unit`"))?;
            (Some(unit), "a number since 1970, or RFC 3339 text")
        }
    };
    time::read(given.value(), unit).ok_or_else(|| wrong_value(call, given, expected))
}
