//! What the operators `+ - * / %` give, as in jq.

use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::sync::Arc;

use jaq_core::ValR;
use jaq_core::ops::Math;
use jaq_json::Num;

use super::{Object, Value, admit, charge, error};

/// Integers of more bits are calculated with as doubles, which have fewer.
const MOST_BITS: u64 = 4096;

/// A number as a double; one that is too large is infinite.
pub(super) fn double(number: &Num) -> f64 {
    match number {
        Num::Int(integer) => *integer as f64,
        Num::Float(float) => *float,
        Num::Dec(digits) => {
            charge(digits.len() as u64);
            digits.parse().unwrap_or(f64::NAN)
        }
        // Its digits are read as those of any number.
        Num::BigInt(integer) => integer.to_string().parse().unwrap_or(f64::NAN),
    }
}

impl Add for Value {
    type Output = ValR<Self>;

    fn add(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Null, value) | (value, Self::Null) => Ok(value),
            (Self::Number(left), Self::Number(right)) => Ok(number(left, right, |left, right| left + right)),
            (Self::Text(mut left), Self::Text(right)) => {
                let copied = if Arc::get_mut(&mut left).is_some() { 0 } else { left.len() };
                charge((copied + right.len()) as u64);
                admit((left.len() + right.len()) as u64, 0);
                Arc::make_mut(&mut left).push_str(&right);
                Ok(Self::Text(left))
            }
            (Self::Array(mut left), Self::Array(right)) => {
                let joined = Arc::make_mut(&mut left);
                for item in right.items() {
                    joined.push(item.clone());
                }
                Ok(Self::Array(left))
            }
            (Self::Object(mut left), Self::Object(right)) => {
                let joined = Arc::make_mut(&mut left);
                for (name, value) in right.members() {
                    joined.insert(Arc::clone(name), value.clone());
                }
                Ok(Self::Object(left))
            }
            (left, right) => Err(refused(&left, Math::Add, &right)),
        }
    }
}

impl Sub for Value {
    type Output = ValR<Self>;

    fn sub(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => Ok(number(left, right, |left, right| left - right)),
            (Self::Array(left), Self::Array(right)) => {
                #[expect(clippy::mutable_key_type, reason = "what was given is the same value once it is opened")]
                let taken: std::collections::BTreeSet<&Self> = right.items().iter().collect();
                Ok(left.items().iter().filter(|item| !taken.contains(item)).cloned().collect())
            }
            (left, right) => Err(refused(&left, Math::Sub, &right)),
        }
    }
}

impl Mul for Value {
    type Output = ValR<Self>;

    fn mul(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => Ok(number(left, right, |left, right| left * right)),
            (Self::Text(text), Self::Number(times)) | (Self::Number(times), Self::Text(text)) => {
                Ok(repeated(&text, double(&times)))
            }
            (Self::Object(mut left), Self::Object(right)) => {
                merge(Arc::make_mut(&mut left), &right);
                Ok(Self::Object(left))
            }
            (left, right) => Err(refused(&left, Math::Mul, &right)),
        }
    }
}

impl Div for Value {
    type Output = ValR<Self>;

    fn div(self, other: Self) -> ValR<Self> {
        match (self, other) {
            (Self::Number(_), Self::Number(right)) if double(&right) == 0.0 => {
                Err(error("a number cannot be divided by zero"))
            }
            (Self::Number(left), Self::Number(right)) => Ok(quotient(left, right)),
            (Self::Text(text), Self::Text(separator)) => Ok(split(&text, &separator)),
            (left, right) => Err(refused(&left, Math::Div, &right)),
        }
    }
}

impl Rem for Value {
    type Output = ValR<Self>;

    fn rem(self, other: Self) -> ValR<Self> {
        let (Self::Number(left), Self::Number(right)) = (&self, &other) else {
            return Err(refused(&self, Math::Rem, &other));
        };
        let (left, right) = (double(left), double(right));
        if left.is_nan() || right.is_nan() {
            return Ok(Self::from(f64::NAN));
        }
        // A cast of a float gives the nearest integer there is.
        match (left as i64).checked_rem((right as i64).saturating_abs()) {
            Some(rest) => Ok(Self::Number(Num::from_integral(rest))),
            None => Err(error("a number cannot be divided by zero")),
        }
    }
}

impl Neg for Value {
    type Output = ValR<Self>;

    fn neg(self) -> ValR<Self> {
        match self {
            Self::Number(number) => Ok(Self::Number(-number)),
            other => Err(error(format!("{} has no negative", other.kind()))),
        }
    }
}

fn number(left: Num, right: Num, calculate: impl FnOnce(Num, Num) -> Num) -> Value {
    charge(16);
    let bits = |number: &Num| match number {
        Num::BigInt(integer) => integer.bits(),
        Num::Dec(digits) => digits.len() as u64,
        _ => 64,
    };
    if bits(&left) + bits(&right) > MOST_BITS {
        return Value::Number(calculate(Num::Float(double(&left)), Num::Float(double(&right))));
    }
    Value::Number(calculate(left, right))
}

/// What divides without a rest stays an integer, and keeps its digits.
fn quotient(left: Num, right: Num) -> Value {
    if let (Num::Int(left), Num::Int(right)) = (&left, &right)
        && left.checked_rem(*right) == Some(0)
    {
        return Value::from(left / right);
    }
    number(left, right, |left, right| left / right)
}

fn repeated(text: &str, times: f64) -> Value {
    if times.is_nan() || times <= 0.0 {
        return Value::Null;
    }
    let times = if times < 1.0 { 1.0 } else { times };
    // A cast saturates, and so does the product: the size is refused before anything is made.
    let size = (text.len() as u64).saturating_mul(times as u64);
    admit(size, 0);
    charge(size);
    Value::text(text.repeat(times as usize))
}

fn split(text: &str, separator: &str) -> Value {
    charge(text.len() as u64);
    match separator {
        _ if text.is_empty() => Value::array([]),
        "" => text.chars().map(Value::text).collect(),
        _ => text.split(separator).map(Value::text).collect(),
    }
}

fn merge(left: &mut Object, right: &Object) {
    for (name, value) in right.members() {
        match (left.get(name), value) {
            (Some(Value::Object(mut inner)), Value::Object(after)) => {
                merge(Arc::make_mut(&mut inner), after);
                left.insert(Arc::clone(name), Value::Object(inner));
            }
            _ => left.insert(Arc::clone(name), value.clone()),
        }
    }
}

fn refused(left: &Value, operator: Math, right: &Value) -> jaq_core::Error<Value> {
    error(format!("`{}` is not for {} and {}", operator.as_str(), left.kind(), right.kind()))
}
