//! Moments from what events hold, and as text.

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde_json::Value;

use super::decimal;

/// What a number counts since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// `s`
    Seconds,
    /// `ms`
    Milliseconds,
    /// `us`
    Microseconds,
    /// `ns`
    Nanoseconds,
}

impl Unit {
    /// The names of all units.
    pub(crate) const NAMES: &'static str = "\"s\", \"ms\", \"us\" or \"ns\"";

    /// The unit of a name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match name {
            "s" => Some(Self::Seconds),
            "ms" => Some(Self::Milliseconds),
            "us" => Some(Self::Microseconds),
            "ns" => Some(Self::Nanoseconds),
            _ => None,
        }
    }

    fn nanoseconds(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
            Self::Nanoseconds => 1,
        }
    }
}

/// The moment that a value is: RFC 3339 text, or a number since 1970. Without a unit, an integer below 100 000 000 000
/// counts seconds and one from there on milliseconds (as seconds that is the year 5138, as milliseconds 1973), and a
/// number with a fraction counts seconds. With a unit, text may be a number as well.
pub(crate) fn read(value: &Value, unit: Option<Unit>) -> Option<Timestamp> {
    const FIRST_MILLISECOND: i64 = 100_000_000_000;
    match (value, unit) {
        (Value::String(text), None) => text.parse().ok(),
        (Value::String(text), Some(unit)) => text.parse().ok().or_else(|| since_1970(decimal::of_value(value)?, unit)),
        (Value::Number(_), Some(unit)) => since_1970(decimal::of_value(value)?, unit),
        (Value::Number(number), None) => {
            let is_millisecond = number.as_i64().is_some_and(|number| number.abs() >= FIRST_MILLISECOND);
            let unit = if is_millisecond { Unit::Milliseconds } else { Unit::Seconds };
            since_1970(decimal::of_value(value)?, unit)
        }
        _ => None,
    }
}

/// The moment that a text is in a `strptime` format. A text without an offset is in UTC, one without a time at 00:00.
pub(crate) fn parse(text: &str, format: &str) -> Option<Timestamp> {
    let parsed = strtime::parse(format, text).ok()?;
    if let Ok(time) = parsed.to_timestamp() {
        return Some(time);
    }
    let local = parsed.to_datetime().or_else(|_| Ok::<_, jiff::Error>(parsed.to_date()?.at(0, 0, 0, 0))).ok()?;
    Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The time zone of a name in the IANA database, such as `Europe/Berlin`.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// A span such as `1h 30m`, `-15m` or `1 month`.
pub(crate) fn span(text: &str) -> Option<Span> {
    text.parse().ok()
}

/// The moment that is later by a span, or earlier where the span is negative. Days, months and years are those of the
/// zone's calendar.
pub(crate) fn plus(time: Timestamp, span: Span, zone: &TimeZone) -> Option<Timestamp> {
    Some(time.to_zoned(zone.clone()).checked_add(span).ok()?.timestamp())
}

/// A time in a `strftime` format. `None` when the format is wrong.
pub(crate) fn strftime(time: Timestamp, format: &str, zone: TimeZone) -> Option<String> {
    strtime::format(format, &time.to_zoned(zone)).ok()
}

/// A time as RFC 3339 text: with `Z` in UTC, otherwise with the zone's offset.
pub(crate) fn rfc3339(time: Timestamp, zone: &TimeZone) -> String {
    match *zone == TimeZone::UTC {
        true => time.to_string(),
        false => time.display_with_offset(zone.to_offset(time)).to_string(),
    }
}

fn since_1970(number: Decimal, unit: Unit) -> Option<Timestamp> {
    let nanoseconds = number.checked_mul(Decimal::from(unit.nanoseconds()))?.trunc().to_i128()?;
    Timestamp::from_nanosecond(nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moment_is_text_or_a_number_of_a_unit() {
        let unit = |name: &str| Unit::of_name(name).unwrap();
        for (value, unit, expected) in [
            (json!("2026-03-01T12:00:00+01:00"), None, Some("2026-03-01T11:00:00Z")),
            (json!(1_700_000_000), None, Some("2023-11-14T22:13:20Z")),
            (json!(1_700_000_000_123_i64), None, Some("2023-11-14T22:13:20.123Z")),
            (json!(1.5), None, Some("1970-01-01T00:00:01.5Z")),
            (json!(-1.5), None, Some("1969-12-31T23:59:58.5Z")),
            (json!(5_000), Some(unit("ms")), Some("1970-01-01T00:00:05Z")),
            (json!(1_700_000_000_123_456_789_i64), Some(unit("ns")), Some("2023-11-14T22:13:20.123456789Z")),
            (json!(1_700_000_000_123_456_i64), Some(unit("us")), Some("2023-11-14T22:13:20.123456Z")),
            (json!("1700000000"), Some(unit("s")), Some("2023-11-14T22:13:20Z")),
            (json!("1700000000"), None, None),
            (json!("yesterday"), Some(unit("s")), None),
            (json!(1e300), None, None),
            (json!(u64::MAX), None, None),
            (json!(true), None, None),
        ] {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(read(&value, unit), expected, "{value} {unit:?}");
        }
    }

    #[test]
    fn text_of_other_formats_is_parsed() {
        for (text, format, expected) in [
            ("01.03.2026 12:30", "%d.%m.%Y %H:%M", Some("2026-03-01T12:30:00Z")),
            ("10/Oct/2000:13:55:36 -0700", "%d/%b/%Y:%H:%M:%S %z", Some("2000-10-10T20:55:36Z")),
            ("2026-03-01", "%Y-%m-%d", Some("2026-03-01T00:00:00Z")),
            ("2026-03-01", "%d.%m.%Y", None),
            ("12:30", "%H:%M", None),
        ] {
            assert_eq!(parse(text, format), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_day_is_one_of_the_calendar() {
        let berlin = zone("Europe/Berlin").unwrap();
        // The night in which summer time begins has 23 hours.
        let noon: Timestamp = "2026-03-28T11:00:00Z".parse().unwrap();
        let later = |text: &str, zone: &TimeZone| plus(noon, span(text).unwrap(), zone).unwrap().to_string();
        assert_eq!(later("1 day", &berlin), "2026-03-29T10:00:00Z");
        assert_eq!(later("24h", &berlin), "2026-03-29T11:00:00Z");
        assert_eq!(later("-15m", &TimeZone::UTC), "2026-03-28T10:45:00Z");
        assert_eq!(later("1 month", &TimeZone::UTC), "2026-04-28T11:00:00Z");
        assert!(span("soon").is_none() && span("").is_none());
    }
}
