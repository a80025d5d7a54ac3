//! Values of the pipeline file that carry a unit: durations (`"250ms" "5s" "2h"`) and sizes (`"1MiB"`).
//!
//! These types read, show, describe and bound such values: no value of theirs is so large that arithmetic on it could
//! overflow. A key narrows the bounds in its schema ([`LEAST`], [`MOST`]), which `config` holds it to ([`out_of_bounds`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written as in `"250ms"`, `"5s"`, `"1h 30m"` or `"3d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A number of bytes, written as in `"512B"`, `"64KiB"`, `"1MiB"` or `"1MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

/// The longest duration: what is added to a moment or multiplied stays far from any limit of the clocks.
pub const LONGEST: Period = Period::from_secs(366 * 24 * 3600);

/// The largest size.
pub const LARGEST: ByteSize = ByteSize::mib(1 << 20);

/// The keyword of a schema for the least value with a unit: JSON Schema knows bounds of numbers only.
pub const LEAST: &str = "x-minimum";

/// The keyword of a schema for the greatest value with a unit.
pub const MOST: &str = "x-maximum";

/// What a duration looks like, as a regular expression of JSON Schema (ECMA-262).
const PERIOD: &str = r"^([0-9]+(\.[0-9]+)? ?(ns|nanos|nsec|us|µs|usec|micros|ms|millis|msec|seconds|second|secs|sec|s|minutes|minute|mins|min|m|hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w) ?)+$";

/// What a size looks like.
const SIZE: &str = r"^[0-9]+(\.[0-9]+)? ?([kKmMgGtT][iI]?)?[bB]$";

static PERIOD_PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(PERIOD).ok());
static SIZE_PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(SIZE).ok());

/// The bounds of a key in words, such as `1ms to 1d`, if it is a value with a unit outside of them. Text that is none is
/// left to its type, which says what is wrong with it.
pub fn out_of_bounds(text: &str, schema: &serde_json::Value) -> Option<String> {
    let (least, most) = (schema[LEAST].as_str()?, schema[MOST].as_str()?);
    let is_within = match schema["title"].as_str() {
        Some("duration") => {
            let period = |text| humantime::parse_duration(text).ok();
            (period(least)?..=period(most)?).contains(&period(text)?)
        }
        Some("size") => {
            let size = |text: &str| text.parse::<bytesize::ByteSize>().ok();
            (size(least)?..=size(most)?).contains(&size(text)?)
        }
        _ => return None,
    };
    (!is_within).then(|| format!("from {least} to {most}"))
}

impl Period {
    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A period of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl ByteSize {
    /// A size of whole kibibytes (1024 bytes).
    pub const fn kib(count: usize) -> Self {
        Self(count * 1024)
    }

    /// A size of whole mebibytes (1024 KiB).
    pub const fn mib(count: usize) -> Self {
        Self::kib(count * 1024)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        match bytes {
            0 => write!(f, "0B"),
            _ if bytes.is_multiple_of(1 << 30) => write!(f, "{}GiB", bytes >> 30),
            _ if bytes.is_multiple_of(1 << 20) => write!(f, "{}MiB", bytes >> 20),
            _ if bytes.is_multiple_of(1 << 10) => write!(f, "{}KiB", bytes >> 10),
            _ => write!(f, "{bytes}B"),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText { expected: "a duration", read: read_period })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText { expected: "a size", read: read_size })
    }
}

fn read_period(text: &str) -> Result<Period, String> {
    let wrong = |why: &dyn fmt::Display| {
        format!("`{text}` is not a duration ({why}); write for example \"250ms\", \"5s\" or \"2h\"")
    };
    let period = humantime::parse_duration(text).map(Period).map_err(|error| wrong(&error))?;
    if !PERIOD_PATTERN.as_ref().is_none_or(|pattern| pattern.is_match(text)) {
        return Err(wrong(&"a number and a unit, or several of them"));
    }
    if period > LONGEST { Err(format!("`{text}` is longer than 366d")) } else { Ok(period) }
}

fn read_size(text: &str) -> Result<ByteSize, String> {
    let size: Option<bytesize::ByteSize> = text.parse().ok();
    size.filter(|_| SIZE_PATTERN.as_ref().is_none_or(|pattern| pattern.is_match(text)))
        .and_then(|size| usize::try_from(size.as_u64()).ok())
        .map(ByteSize)
        .filter(|size| *size <= LARGEST)
        .ok_or_else(|| format!("`{text}` is not a size up to 1TiB; write for example \"64KiB\" or \"1MiB\""))
}

/// Reads a value from a string. As a visitor, so that a format with positions can tell where the wrong string stands.
struct FromText<T> {
    expected: &'static str,
    read: fn(&str) -> Result<T, String>,
}

impl<T> de::Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(E::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "duration",
            "description": "A length of time: a number and a unit (ns, us, ms, s, m, h, d), or several of them.",
            "examples": ["250ms", "5s", "1h 30m", "3d"],
            "pattern": PERIOD,
            "x-minimum": "0s",
            "x-maximum": "366d",
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "size",
            "description": "A number of bytes: a number and a unit (B, KiB, MiB, GiB; kB, MB, GB are powers of ten).",
            "examples": ["64KiB", "1MiB"],
            "pattern": SIZE,
            "x-minimum": "0B",
            "x-maximum": "1TiB",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_units_read_and_show() {
        for text in ["250ms", "5s", "1h 30m", "3d"] {
            let period: Period = serde_json::from_value(text.into()).unwrap();
            assert_eq!(period.to_string(), text.replace("3d", "3days"));
        }
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("1MB", 1_000_000)] {
            let size: ByteSize = serde_json::from_value(text.into()).unwrap();
            assert_eq!(size.0, bytes);
        }
        assert_eq!(ByteSize::mib(1).to_string(), "1MiB");
    }

    #[test]
    fn a_wrong_unit_says_what_to_write() {
        let error = serde_json::from_value::<Period>("5 parsecs".into()).unwrap_err().to_string();
        assert!(error.contains("write for example"), "{error}");
        for wrong in ["lots", "100", "1M", "", "-1B", "2TiB", "99999999999999999999999B"] {
            assert!(serde_json::from_value::<ByteSize>(wrong.into()).is_err(), "{wrong}");
        }
        for wrong in ["5", "0", "", "-1s", "1M", "1y", "367d", "213504d", "99999999999999999999d", "1s,"] {
            assert!(serde_json::from_value::<Period>(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_are_part_of_the_schema_and_told_in_its_words() {
        let schema = serde_json::json!({"title": "duration", "x-minimum": "1ms", "x-maximum": "1d"});
        assert_eq!(out_of_bounds("0s", &schema).unwrap(), "from 1ms to 1d");
        assert_eq!(out_of_bounds("25h", &schema).unwrap(), "from 1ms to 1d");
        assert_eq!(out_of_bounds("24h", &schema), None);
        assert_eq!(out_of_bounds("soon", &schema), None, "its type says so");
        let schema = serde_json::json!({"title": "size", "x-minimum": "1B", "x-maximum": "1KiB"});
        assert!(out_of_bounds("1025B", &schema).is_some() && out_of_bounds("1kB", &schema).is_none());
    }
}
