//! Values of the pipeline file that carry a unit: durations (`"250ms" "5s" "2h"`) and sizes (`"1MiB"`).
//!
//! These types only read, show and describe such values; what a sensible duration is, its owner decides.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written as in `"250ms"`, `"5s"`, `"1h 30m"` or `"3d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A number of bytes, written as in `"512B"`, `"64KiB"`, `"1MiB"` or `"1MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

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
    humantime::parse_duration(text)
        .map(Period)
        .map_err(|error| format!("`{text}` is not a duration ({error}); write for example \"250ms\", \"5s\" or \"2h\""))
}

fn read_size(text: &str) -> Result<ByteSize, String> {
    let size: Result<bytesize::ByteSize, String> = text.parse();
    size.ok()
        .and_then(|size| usize::try_from(size.as_u64()).ok())
        .map(ByteSize)
        .ok_or_else(|| format!("`{text}` is not a size; write for example \"64KiB\" or \"1MiB\""))
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
        assert!(serde_json::from_value::<ByteSize>("lots".into()).is_err());
    }
}
