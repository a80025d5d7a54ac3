//! Decimal numbers of up to 28 digits, calculated as people do it on paper: `0.1 + 0.2` is `0.3`.

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Number, Value};

/// The most digits that can stand behind the point.
pub(crate) const MOST_PLACES: u32 = 28;

/// The number that a value is: a JSON number, or text that is one. `None` for what is none, and for one that has more
/// than 28 digits.
pub(crate) fn of_value(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => of_text(&number.to_string()),
        Value::String(text) => {
            let is_number = serde_json::from_str::<Number>(text).is_ok() && text.trim() == text;
            is_number.then(|| of_text(text)).flatten()
        }
        _ => None,
    }
}

/// A number as a JSON number, without zeros at its end. `None` when JSON numbers of this program would not hold it.
pub(crate) fn to_number(decimal: Decimal) -> Option<Number> {
    let text = decimal.normalize().to_string();
    let number: Number = serde_json::from_str(&text).ok()?;
    // An integer is exact or it is none.
    (!decimal.is_integer() || number.to_string() == text).then_some(number)
}

/// With so many digits behind the point, halves away from zero.
pub(crate) fn round(decimal: Decimal, places: u32) -> Decimal {
    let rounded = decimal.round_dp_with_strategy(places.min(MOST_PLACES), RoundingStrategy::MidpointAwayFromZero);
    // There is no negative nothing.
    if rounded.is_zero() { Decimal::ZERO } else { rounded }
}

/// Text with exactly so many digits behind the point, rounded as [`round`] does.
pub(crate) fn fixed(decimal: Decimal, places: u32) -> String {
    let places = places.min(MOST_PLACES);
    format!("{:.*}", places as usize, round(decimal, places))
}

/// A number of the grammar of JSON, exactly.
fn of_text(text: &str) -> Option<Decimal> {
    let Some((mantissa, _)) = text.split_once(['e', 'E']) else { return Decimal::from_str_exact(text).ok() };
    // The library would round digits away.
    Decimal::from_str_exact(mantissa).ok()?;
    Decimal::from_scientific(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        of_value(&json!(text)).unwrap()
    }

    #[test]
    fn numbers_and_text_that_is_one_are_exact() {
        for (value, expected) in [
            (json!(0.1), Some("0.1")),
            (json!(u64::MAX), Some("18446744073709551615")),
            (json!("12.50"), Some("12.50")),
            (json!("-1.5e3"), Some("-1500")),
            (json!(1e-7), Some("0.0000001")),
            (json!("79228162514264337593543950336"), None),
            (json!("0.12345678901234567890123456789"), None),
            (json!(1e300), None),
            (json!(" 1"), None),
            (json!("+1"), None),
            (json!("1_0"), None),
            (json!(""), None),
            (json!(true), None),
            (json!(null), None),
        ] {
            assert_eq!(of_value(&value).map(|decimal| decimal.to_string()).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn results_have_no_binary_remains() {
        let sum = decimal("0.1").checked_add(decimal("0.2")).unwrap();
        assert_eq!(to_number(sum).unwrap().to_string(), "0.3");
        assert_eq!(to_number(decimal("1.10")).unwrap().to_string(), "1.1");
        assert_eq!(to_number(decimal("9007199254740993")).unwrap().to_string(), "9007199254740993");
        assert_eq!(fixed(decimal("1.005"), 2), "1.01");
        assert_eq!(fixed(decimal("-0.001"), 2), "0.00");
        assert_eq!(fixed(decimal("7"), 2), "7.00");
        assert_eq!(fixed(decimal("-2.5"), 0), "-3");
        assert_eq!(round(decimal("1234.5"), 0).to_string(), "1235");
    }

    proptest! {
        /// Cents and their tenths are integers, and integers are added exactly.
        #[test]
        fn a_sum_is_that_of_integers(one in -1_000_000_000_i64..1_000_000_000, other in -1_000_000_000_i64..1_000_000_000) {
            let thousandths = |integer: i64| {
                let sign = if integer < 0 { "-" } else { "" };
                decimal(&format!("{sign}{}.{:03}", integer.abs() / 1000, integer.abs() % 1000))
            };
            let sum = thousandths(one).checked_add(thousandths(other)).unwrap();
            prop_assert_eq!(sum, thousandths(one + other));
            let text = fixed(sum, 3);
            prop_assert_eq!(text.replace('.', "").parse::<i64>().unwrap(), one + other);
        }
    }
}
