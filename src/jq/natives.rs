//! The functions that are not written in jq: those of the standard library that ask no more than their input, and ours.
//!
//! None does any I/O. The time and ids are the rendering's.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jaq_core::box_iter::box_once;
use jaq_core::native::{Fun, bome, v};
use jaq_core::{Cv, DataT, Error, Lut, Native, ValR, ValXs};
use jaq_json::Num;
use jaq_std::ValT as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::budget::{self, charge};
use super::value::{Value, error};
use super::{Options, json, marks, matching};
use crate::functions::{decimal, digest, time};

/// What programs work on.
pub(super) struct Kind;

/// What functions may ask for.
#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) lut: &'a Lut<Kind>,
    pub(super) options: &'a Options,
}

impl DataT for Kind {
    type V<'a> = Value;
    type Data<'a> = World<'a>;
}

impl<'a> jaq_core::data::HasLut<'a, Kind> for World<'a> {
    fn lut(&self) -> &'a Lut<Kind> {
        self.lut
    }
}

/// Counts a call. The rewriting puts it before what calls itself; no program can write the name.
pub(super) const STEP: &str = "!step";

/// Of the standard library: what asks for the environment, a system's settings or the log, and what is bounded by nothing
/// but a number (`jn` and `yn` count up to it).
const LEFT_OUT: [&str; 12] = [
    "env",
    "now",
    "halt",
    "debug_empty",
    "stderr_empty",
    "localtime",
    "strflocaltime",
    "jn",
    "yn",
    // These take a regular expression; ours are bounded.
    "matches",
    "split_matches",
    // Ours takes text without its padding, as jq does.
    "decode_base64",
];

/// All functions that are not written in jq.
pub(super) fn all() -> impl Iterator<Item = Fun<Kind>> {
    let is_kept = |(name, ..): &Fun<Kind>| !LEFT_OUT.contains(name) && *name != "split_";
    let standard = jaq_core::funs::<Kind>().chain(jaq_std::funs::<Kind>().filter(is_kept));
    ours().chain(standard).chain([step(), marks::function()])
}

fn step() -> Fun<Kind> {
    let native = Native::<Kind>::new(|cv| {
        budget::call();
        box_once(Ok(cv.1))
    });
    let native = native.with_paths(|cv| {
        budget::call();
        box_once(Ok(cv.1))
    });
    let native = native.with_update(|cv, f| {
        budget::call();
        f(cv.1)
    });
    (STEP, v(0), native)
}

fn ours() -> impl Iterator<Item = Fun<Kind>> {
    let functions: [jaq_core::native::Filter<jaq_core::RunPtr<Kind>>; 23] = [
        ("nan", v(0), |_| bome(Ok(Value::from(f64::NAN)))),
        ("infinite", v(0), |_| bome(Ok(Value::from(f64::INFINITY)))),
        ("length", v(0), |cv| bome(length(cv.1))),
        ("tojson", v(0), |cv| bome(Ok(Value::text(json::write(&cv.1))))),
        ("fromjson", v(0), |cv| bome(from_json(&cv.1))),
        ("decode_base64", v(0), |cv| bome(from_base64(&cv.1))),
        ("has", v(1), |cv| with_one(cv, |value, index| Ok(value.found(&index)?.is_some().into()))),
        ("contains", v(1), |cv| with_one(cv, |value, part| contains(&value, &part).map(Value::from))),
        ("indices", v(1), |cv| with_one(cv, |value, part| indices(&value, &part))),
        ("bsearch", v(1), |cv| with_one(cv, |value, wanted| binary_search(&value, &wanted))),
        ("now", v(0), |cv| bome(Ok(now(cv.0.data().options)))),
        ("uuid", v(0), |cv| bome(Ok(Value::text((cv.0.data().options.ids)().to_string())))),
        ("fixed", v(1), |cv| with_one(cv, |value, places| fixed(&value, &places))),
        ("round", v(1), |cv| with_one(cv, |value, places| rounded(&value, &places))),
        ("sha256", v(0), |cv| {
            bome(text_of(&cv.1, "sha256").map(|text| Value::text(digest::sha256(text, digest::Encoding::Hex))))
        }),
        ("hmac_sha256", v(1), |cv| with_one(cv, |value, key| hmac(&value, &key))),
        ("format_time", v(0), |cv| bome(format_time(&cv.1, None, None))),
        ("format_time", v(1), |cv| with_one(cv, |value, format| format_time(&value, Some(&format), None))),
        ("format_time", v(2), |cv| with_two(cv, |value, format, zone| format_time(&value, Some(&format), Some(&zone)))),
        ("matches", v(2), |cv| with_two(cv, |text, pattern, flags| matching::matches(&text, &pattern, &flags))),
        ("split_matches", v(2), |cv| {
            with_two(cv, |text, pattern, flags| matching::split_matches(&text, &pattern, &flags))
        }),
        ("split_", v(2), |cv| with_two(cv, |text, pattern, flags| matching::split(&text, &pattern, &flags))),
        ("typename", v(0), |cv| bome(Ok(Value::text(type_name(&cv.1))))),
    ];
    functions.into_iter().map(|(name, values, function)| (name, values, Native::<Kind>::new(function)))
}

fn with_one<'a>(mut cv: Cv<'a, Kind>, f: impl FnOnce(Value, Value) -> ValR<Value>) -> ValXs<'a, Value> {
    let one = cv.0.pop_var();
    bome(f(cv.1, one))
}

fn with_two<'a>(mut cv: Cv<'a, Kind>, f: impl FnOnce(Value, Value, Value) -> ValR<Value>) -> ValXs<'a, Value> {
    let (two, one) = (cv.0.pop_var(), cv.0.pop_var());
    bome(f(cv.1, one, two))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::Text(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn length(value: Value) -> ValR<Value> {
    Ok(match value {
        Value::Null => Value::from(0_usize),
        Value::Bool(_) => return Err(error("true or false has no length")),
        Value::Number(Num::Int(number)) if number >= 0 => Value::from(number),
        Value::Number(number) if matches!(number, Num::Int(_) | Num::BigInt(_)) => {
            let is_negative = number < Num::Int(0);
            Value::Number(if is_negative { -number } else { number })
        }
        Value::Number(number) => Value::from(Value::Number(number).as_f64().unwrap_or(f64::NAN).abs()),
        Value::Text(text) => {
            charge(text.len() as u64 / 8);
            Value::from(text.chars().count())
        }
        Value::Array(array) => Value::from(array.len()),
        Value::Object(object) => Value::from(object.len()),
    })
}

fn from_json(value: &Value) -> ValR<Value> {
    let text = text_of(value, "fromjson")?;
    // As in jq, for the sake of `tonumber`.
    if text == "nan" {
        return Ok(Value::from(f64::NAN));
    }
    json::parse(text).ok_or_else(|| error("the text is not JSON"))
}

/// With or without its padding. What is not UTF-8 in it is replaced.
fn from_base64(value: &Value) -> ValR<Value> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
    let bytes = BASE64.decode(text_of(value, "@base64d")?).map_err(|_| error("the text is not base64"))?;
    Ok(Value::text(String::from_utf8_lossy(&bytes)))
}

/// Text contains its parts, an array what is contained in one of its elements, an object members that are contained in
/// its own; anything else what is equal.
fn contains(value: &Value, part: &Value) -> Result<bool, Error<Value>> {
    charge(8);
    match (value, part) {
        (Value::Text(text), Value::Text(part)) => {
            charge(text.len() as u64);
            Ok(text.contains(part.as_str()))
        }
        (Value::Array(array), Value::Array(parts)) => {
            for part in parts.items() {
                // What cannot contain it at all is no error within an array.
                if !array.items().iter().any(|item| contains(item, part).unwrap_or(false)) {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Object(object), Value::Object(parts)) => {
            for (name, part) in parts.members() {
                match object.get(name) {
                    Some(value) if contains(&value, part)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        _ if type_name(value) == type_name(part) => Ok(value == part),
        _ => Err(error(format!("{} cannot contain {}", value.kind(), part.kind()))),
    }
}

fn indices(value: &Value, part: &Value) -> ValR<Value> {
    match (value, part) {
        (Value::Null, _) => Ok(Value::Null),
        (Value::Text(text), Value::Text(part)) => {
            if part.is_empty() {
                return Ok(Value::Null);
            }
            charge(text.len() as u64 * 2);
            let overlapping = text.char_indices().enumerate();
            let places = overlapping.filter(|(_, (byte, _))| text[*byte..].starts_with(part.as_str()));
            Ok(places.map(|(character, _)| Value::from(character)).collect())
        }
        (Value::Array(_), Value::Array(_)) => Ok(value.found(part)?.unwrap_or_default()),
        (Value::Array(array), _) => {
            let places = array.items().iter().enumerate().filter(|(_, item)| *item == part);
            Ok(places.map(|(place, _)| Value::from(place)).collect())
        }
        _ => Err(error(format!("{} has no places of {}", value.kind(), part.kind()))),
    }
}

fn binary_search(value: &Value, wanted: &Value) -> ValR<Value> {
    let Value::Array(array) = value else {
        return Err(error(format!("`bsearch` takes an array, and the value is {}", value.kind())));
    };
    Ok(match array.items().binary_search(wanted) {
        Ok(place) => Value::from(place),
        // As in jq: -1 - the place where it belongs.
        Err(place) => Value::from(-1 - isize::try_from(place).unwrap_or(isize::MAX)),
    })
}

/// The rendering's time in seconds since 1970, as in jq.
fn now(options: &Options) -> Value {
    let time = (options.clock)();
    Value::from(time.as_microsecond() as f64 / 1e6)
}

fn fixed(value: &Value, places: &Value) -> ValR<Value> {
    let (number, places) = (decimal_of(value, "fixed")?, places_of(places, "fixed")?);
    Ok(Value::text(decimal::fixed(number, places)))
}

fn rounded(value: &Value, places: &Value) -> ValR<Value> {
    let (number, places) = (decimal_of(value, "round")?, places_of(places, "round")?);
    let rounded = decimal::round(number, places).normalize().to_string();
    Ok(Value::Number(json::number(&rounded)))
}

fn decimal_of(value: &Value, function: &str) -> Result<rust_decimal::Decimal, Error<Value>> {
    let refused = |what: &str| error(format!("`{function}` takes a number, and the value is {what}"));
    match value {
        Value::Number(_) => {
            let text = serde_json::Value::String(json::write(value));
            decimal::of_value(&text).ok_or_else(|| refused("one of more than 28 digits"))
        }
        other => Err(refused(other.kind())),
    }
}

fn places_of(value: &Value, function: &str) -> Result<u32, Error<Value>> {
    let places = value.as_isize().and_then(|places| u32::try_from(places).ok());
    let places = places.filter(|places| *places <= decimal::MOST_PLACES);
    places.ok_or_else(|| error(format!("`{function}` takes a number of places from 0 to {}", decimal::MOST_PLACES)))
}

fn hmac(value: &Value, key: &Value) -> ValR<Value> {
    let (text, key) = (text_of(value, "hmac_sha256")?, text_of(key, "hmac_sha256")?);
    Ok(Value::text(digest::hmac_sha256(text, key, digest::Encoding::Hex)))
}

/// RFC 3339 text or a number since 1970, in a `strftime` format and a time zone, as the helper of templates has it.
fn format_time(value: &Value, format: Option<&Value>, zone: Option<&Value>) -> ValR<Value> {
    let moment = moment(value)
        .ok_or_else(|| error("`format_time` takes RFC 3339 text, or seconds or milliseconds since 1970"))?;
    let zone = match zone {
        None => TimeZone::UTC,
        Some(name) => time::zone(text_of(name, "format_time")?)
            .ok_or_else(|| error("`format_time` takes the name of a time zone, for example \"Europe/Berlin\""))?,
    };
    let Some(format) = format else { return Ok(Value::text(time::rfc3339(moment, &zone))) };
    let text = time::strftime(moment, text_of(format, "format_time")?, zone);
    text.map(Value::text).ok_or_else(|| error("`format_time` takes a strftime format"))
}

fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Text(text) if text.len() <= 64 => time::read(&serde_json::Value::String((**text).clone()), None),
        Value::Number(_) => time::read(&serde_json::from_str(&json::write(value)).ok()?, None),
        _ => None,
    }
}

pub(super) fn text_of<'a>(value: &'a Value, function: &str) -> Result<&'a str, Error<Value>> {
    match value {
        Value::Text(text) => {
            charge(text.len() as u64);
            Ok(text)
        }
        other => Err(error(format!("`{function}` takes text, and the value is {}", other.kind()))),
    }
}
