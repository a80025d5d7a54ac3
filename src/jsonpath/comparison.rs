//! Compares JSON values as RFC 9535 (2.3.5.2.2) says, for filters and templates alike: numbers by value and exactly, text
//! by its characters, arrays and objects member by member, and nothing else with each other.

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

fn compare_numbers(one: &Number, other: &Number) -> Option<Ordering> {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        (Some(one), None) => compare_with_float(one, other.as_f64()?),
        (None, Some(other)) => compare_with_float(other, one.as_f64()?).map(Ordering::reverse),
        (None, None) => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
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

    #[test]
    fn other_types_do_not_mix() {
        for (one, other) in [(json!("10"), json!(9)), (json!(true), json!(1)), (json!(null), json!(0))] {
            assert!(!equal(&one, &other));
            assert_eq!(order(&one, &other), None);
        }
        assert_eq!(order(&json!(true), &json!(false)), None);
        assert_eq!(order(&json!("10"), &json!("9")), Some(Ordering::Less));
    }

    proptest! {
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
