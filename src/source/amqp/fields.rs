//! AMQP field values as JSON and JSON as AMQP field values.
//!
//! The types are those of AMQP 0-9-1 as RabbitMQ speaks it (its "AMQP 0-9-1 Errata", section "Field types").

use jiff::Timestamp;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString, ShortStringError};
use serde_json::{Map, Value};

use crate::event::text_or_base64;

/// A field value as JSON: timestamps as RFC 3339 text, bytes as text or in base64, decimals as numbers.
pub(super) fn to_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => Value::from(*value),
        AMQPValue::ShortShortInt(value) => Value::from(*value),
        AMQPValue::ShortShortUInt(value) => Value::from(*value),
        AMQPValue::ShortInt(value) => Value::from(*value),
        AMQPValue::ShortUInt(value) => Value::from(*value),
        AMQPValue::LongInt(value) => Value::from(*value),
        AMQPValue::LongUInt(value) => Value::from(*value),
        AMQPValue::LongLongInt(value) => Value::from(*value),
        // By way of text, because 0.1 as a float would become 0.10000000149011612.
        AMQPValue::Float(value) => number(value.to_string()),
        AMQPValue::Double(value) => number(value.to_string()),
        AMQPValue::DecimalValue(decimal) => number(format!("{}e-{}", decimal.value, decimal.scale)),
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(bytes) => Value::from(text_or_base64(bytes.as_bytes())),
        AMQPValue::ByteArray(bytes) => Value::from(text_or_base64(bytes.as_slice())),
        AMQPValue::Timestamp(seconds) => timestamp_to_json(*seconds),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(to_json).collect(),
        AMQPValue::FieldTable(table) => Value::Object(table_to_json(table).collect()),
        AMQPValue::Void => Value::Null,
    }
}

/// The entries of a table, in the order of their names.
pub(super) fn table_to_json(table: &FieldTable) -> impl Iterator<Item = (String, Value)> {
    table.into_iter().map(|(name, value)| (name.to_string(), to_json(value)))
}

/// Seconds since the epoch as RFC 3339 text, or as they are when no calendar reaches that far: some producers send
/// milliseconds.
pub(super) fn timestamp_to_json(seconds: u64) -> Value {
    timestamp(seconds).map_or_else(|| Value::from(seconds), |time| Value::from(time.to_string()))
}

/// Seconds since the epoch as a point in time, if it is before the year 10000.
pub(super) fn timestamp(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

/// A JSON object as a table. Numbers become the smallest of AMQP's `I` (32 bits), `l` (64 bits) and `d` (double) that
/// holds them, as the Java client has it; brokers compare them by value.
///
/// # Errors
/// When a name is longer than 255 bytes.
pub(super) fn table_from_json(object: &Map<String, Value>) -> Result<FieldTable, ShortStringError> {
    let mut table = FieldTable::default();
    for (name, value) in object {
        table.insert(ShortString::try_new(name.as_str())?, from_json(value)?);
    }
    Ok(table)
}

fn from_json(value: &Value) -> Result<AMQPValue, ShortStringError> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => i32::try_from(integer).map_or(AMQPValue::LongLongInt(integer), AMQPValue::LongInt),
            None => AMQPValue::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(values) => {
            let values = values.iter().map(from_json).collect::<Result<Vec<_>, _>>()?;
            AMQPValue::FieldArray(FieldArray::from(values))
        }
        Value::Object(object) => AMQPValue::FieldTable(table_from_json(object)?),
    })
}

/// JSON has no infinities and no NaN: they stay text.
fn number(text: String) -> Value {
    text.parse().ok().and_then(serde_json::Number::from_f64).map_or(Value::String(text), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::DecimalValue;
    use serde_json::json;

    #[test]
    fn every_field_type_has_a_place_in_json() {
        let mut nested = FieldTable::default();
        nested.insert("deep".into(), AMQPValue::FieldArray(vec![AMQPValue::Void, AMQPValue::Boolean(true)].into()));
        let cases = [
            (AMQPValue::ShortShortInt(-1), json!(-1)),
            (AMQPValue::ShortShortUInt(255), json!(255)),
            (AMQPValue::ShortInt(-300), json!(-300)),
            (AMQPValue::ShortUInt(65535), json!(65535)),
            (AMQPValue::LongInt(-70000), json!(-70000)),
            (AMQPValue::LongUInt(u32::MAX), json!(u32::MAX)),
            (AMQPValue::LongLongInt(i64::MIN), json!(i64::MIN)),
            (AMQPValue::Float(0.1), json!(0.1)),
            (AMQPValue::Double(0.1), json!(0.1)),
            (AMQPValue::Double(f64::INFINITY), json!("inf")),
            (AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 1250 }), json!(12.5)),
            (AMQPValue::LongString("grün".into()), json!("grün")),
            (AMQPValue::LongString(vec![0xff].into()), json!("/w==")),
            (AMQPValue::ByteArray(vec![0xff].into()), json!("/w==")),
            (AMQPValue::Timestamp(1_700_000_000), json!("2023-11-14T22:13:20Z")),
            (AMQPValue::Timestamp(u64::MAX), json!(u64::MAX)),
            (AMQPValue::FieldTable(nested), json!({"deep": [null, true]})),
        ];
        for (value, expected) in cases {
            assert_eq!(to_json(&value), expected, "{value:?}");
        }
    }

    #[test]
    fn arguments_take_the_smallest_type_that_holds_them() {
        let arguments = json!({"ttl": 60000, "big": 5_000_000_000_i64, "ratio": 0.5, "mode": "lazy", "on": true,
            "list": [1, {"x": "y"}]});
        let table = table_from_json(arguments.as_object().unwrap()).unwrap();
        let value = |name: &str| table.inner().get(name).cloned().unwrap();
        assert_eq!(value("ttl"), AMQPValue::LongInt(60000));
        assert_eq!(value("big"), AMQPValue::LongLongInt(5_000_000_000));
        assert_eq!(value("ratio"), AMQPValue::Double(0.5));
        assert_eq!(value("mode"), AMQPValue::LongString("lazy".into()));
        assert_eq!(value("on"), AMQPValue::Boolean(true));
        assert_eq!(to_json(&value("list")), json!([1, {"x": "y"}]));
    }

    #[test]
    fn a_name_that_does_not_fit_is_an_error() {
        let object = Map::from_iter([("x".repeat(256), json!(1))]);
        assert!(table_from_json(&object).is_err());
    }
}
