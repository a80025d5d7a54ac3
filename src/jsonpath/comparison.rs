//! Compares JSON values as RFC 9535 (2.3.5.2.2) says, for filters and templates alike: numbers by value and exactly, text
//! by its characters, arrays and objects member by member, and nothing else with each other.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Whether two values are equal.
pub fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare_numbers(one, other) == Some(Ordering::Equal),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has_equal = |(name, value)| other.get(name).is_some_and(|other| equal(value, other));
            one.len() == other.len() && one.iter().all(has_equal)
        }
        _ => one == other,
    }
}

/// The order of two numbers or two texts; others have none.
pub fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare_numbers(one, other),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

/// A value that is no array and no object, in the one form that all its equals have: two of them are the same exactly
/// when [`equal`] holds for the values. So they can be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scalar<'a> {
    Null,
    Boolean(bool),
    /// An integer, written as one or not.
    Integer(i128),
    /// The bits of a number that is no integer of this size.
    Float(u64),
    Text(Cow<'a, str>),
}

impl<'a> Scalar<'a> {
    /// `None` for an array or an object.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Boolean(*value),
            Value::Number(number) => Self::of_number(number)?,
            Value::String(text) => Self::Text(text.into()),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    fn of_number(number: &Number) -> Option<Self> {
        if let Some(integer) = integer(number) {
            return Some(Self::Integer(integer));
        }
        let float = double(number)?;
        // What is compared as an integer has 64 bits. Beyond them a float equals only itself.
        let is_integer = float.fract() == 0.0 && float.abs() < 2_f64.powi(100);
        Some(if is_integer { Self::Integer(float as i128) } else { Self::Float(float.to_bits()) })
    }

    /// The same without what it was made of.
    pub(super) fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Null => Scalar::Null,
            Self::Boolean(value) => Scalar::Boolean(value),
            Self::Integer(integer) => Scalar::Integer(integer),
            Self::Float(bits) => Scalar::Float(bits),
            Self::Text(text) => Scalar::Text(text.into_owned().into()),
        }
    }
}

fn compare_numbers(one: &Number, other: &Number) -> Option<Ordering> {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        (Some(one), None) => compare_with_float(one, double(other)?),
        (None, Some(other)) => compare_with_float(other, double(one)?).map(Ordering::reverse),
        (None, None) => double(one)?.partial_cmp(&double(other)?),
    }
}

/// A number as a double; one beyond the range of doubles is infinite, and so greater or less than all others.
fn double(number: &Number) -> Option<f64> {
    number.as_f64().or_else(|| number.to_string().parse().ok())
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Exact, where a conversion of the integer to a float would lose its last digits.
fn compare_with_float(integer: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Beyond its range, the conversion gives the nearest integer, which is beyond every 64-bit integer too.
    let whole = integer.cmp(&(float.trunc() as i128));
    Some(whole.then(0.0.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_compare_by_value_and_exactly() {
        assert!(equal(&json!(100), &json!(100.0)));
        assert!(equal(&json!({"x": [1, {"y": 2}]}), &json!({"x": [1.0, {"y": 2.0}]})));
        assert!(!equal(&json!(175_928_847_299_117_063_i64), &json!(175_928_847_299_117_064_i64)));
        assert!(!equal(&json!(9_007_199_254_740_993_i64), &json!(9_007_199_254_740_992.0)));
        assert_eq!(order(&json!(u64::MAX), &json!(u64::MAX as f64)), Some(Ordering::Less));
        assert_eq!(order(&json!(1), &json!(1.5)), Some(Ordering::Less));
        assert_eq!(order(&json!(-1), &json!(-1.5)), Some(Ordering::Greater));
        assert!(equal(&json!(0), &json!(-0.0)));
        assert!(!equal(&json!(0.1), &json!(0.100_000_000_000_000_02)));
    }

    /// Numbers keep the digits in which they are written, which says nothing of their value.
    #[test]
    fn however_a_number_is_written_it_compares_by_its_value() {
        let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (one, other) in [("1.10", "1.1"), ("1e2", "100"), ("1E+2", "100.0"), ("-0", "0"), ("-0.0", "0")] {
            assert!(equal(&number(one), &number(other)), "{one} {other}");
            assert_eq!(Scalar::of(&number(one)), Scalar::of(&number(other)), "{one} {other}");
        }
        let long = "123456789012345678901234567890";
        assert!(equal(&number(long), &number(long)) && equal(&number(long), &number(&format!("{long}.0"))));
        assert_eq!(order(&number(long), &json!(u64::MAX)), Some(Ordering::Greater));
        for (one, other, expected) in [
            ("1e400", "1e308", Ordering::Greater),
            ("-1e400", "-1e308", Ordering::Less),
            ("1e400", "18446744073709551615", Ordering::Greater),
            ("1e400", "1e400", Ordering::Equal),
        ] {
            assert_eq!(order(&number(one), &number(other)), Some(expected), "{one} {other}");
        }
    }

    #[test]
    fn other_types_do_not_mix() {
        for (one, other) in [(json!("10"), json!(9)), (json!(true), json!(1)), (json!(null), json!(0))] {
            assert!(!equal(&one, &other));
            assert_eq!(order(&one, &other), None);
        }
        assert_eq!(order(&json!(true), &json!(false)), None);
        assert_eq!(order(&json!("10"), &json!("9")), Some(Ordering::Less));
    }

    /// Values that are equal to some others, or nearly.
    fn any_scalar() -> impl Strategy<Value = Value> {
        let integers = [0, 1, -1, i64::MAX, i64::MIN, 9_007_199_254_740_992, 9_007_199_254_740_993];
        let integer = prop_oneof![proptest::sample::select(integers.to_vec()), any::<i64>()];
        let float =
            prop_oneof![integer.clone().prop_map(|integer| integer as f64), any::<f64>(), Just(-0.0), Just(1e300)];
        let text = "(0|1|true|null|a|b)?";
        let others = vec![Value::Null, json!(true), json!(false), json!(u64::MAX), json!(1e19), json!([]), json!({})];
        prop_oneof![
            integer.prop_map(Value::from),
            float.prop_map(Value::from),
            text.prop_map(Value::from),
            proptest::sample::select(others),
        ]
    }

    proptest! {
        #[test]
        fn scalars_are_the_same_exactly_when_their_values_are_equal(one in any_scalar(), other in any_scalar()) {
            if let (Some(one_scalar), Some(other_scalar)) = (Scalar::of(&one), Scalar::of(&other)) {
                prop_assert_eq!(one_scalar == other_scalar, equal(&one, &other), "{} {}", one, other);
            }
        }

        /// A float of this size is an integer times a power of two, so that doubling both sides compares integers.
        #[test]
        fn integers_and_floats_compare_as_exact_numbers(integer in any::<i64>(), near in -3_i64..3, half in any::<bool>()) {
            let float = integer.saturating_add(near) as f64 + if half { 0.5 } else { 0.0 };
            let exact = i128::from(integer).checked_mul(2).unwrap().cmp(&((float * 2.0) as i128));
            prop_assert_eq!(order(&json!(integer), &json!(float)), Some(exact));
            prop_assert_eq!(order(&json!(float), &json!(integer)), Some(exact.reverse()));
            prop_assert_eq!(equal(&json!(integer), &json!(float)), exact == Ordering::Equal);
        }
    }
}
