//! Helpers that calculate, in decimal digits.

use handlebars::{Handlebars, Helper, ScopedJson};
use rust_decimal::Decimal;
use serde_json::Value;

use super::{Found, count, derived, helper, required, wrong_value};
use crate::functions::decimal;
use crate::template::RenderFault;

const NUMBER: &str = "a number of at most 28 digits, or text that is one";

/// Registers them.
pub(super) fn register(registry: &mut Handlebars<'static>) {
    registry.register_helper("add", helper(|call, _| folded(call, Decimal::checked_add)));
    registry.register_helper("sub", helper(|call, _| folded(call, Decimal::checked_sub)));
    registry.register_helper("mul", helper(|call, _| folded(call, Decimal::checked_mul)));
    registry.register_helper("div", helper(|call, _| div(call)));
    registry.register_helper("round", helper(|call, _| round(call)));
    registry.register_helper("fixed", helper(|call, _| fixed(call)));
}

fn folded<'rc>(call: &Helper<'rc>, operation: fn(Decimal, Decimal) -> Option<Decimal>) -> Found<'rc> {
    let mut result = number(call, 0)?;
    for index in 1..call.params().len() {
        result = operation(result, number(call, index)?).ok_or_else(|| too_large(call))?;
    }
    given(call, result)
}

fn div<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let (dividend, divisor) = (number(call, 0)?, number(call, 1)?);
    if divisor.is_zero() {
        return Err(RenderFault::DividedByZero(super::name(call, required(call, 1)?)));
    }
    given(call, dividend.checked_div(divisor).ok_or_else(|| too_large(call))?)
}

fn round<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let places = if call.param(1).is_some() { places(call)? } else { 0 };
    given(call, decimal::round(number(call, 0)?, places))
}

fn fixed<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    let places = places(call)?;
    Ok(derived(decimal::fixed(number(call, 0)?, places)))
}

fn number(call: &Helper<'_>, index: usize) -> Result<Decimal, RenderFault> {
    let given = required(call, index)?;
    decimal::of_value(given.value()).ok_or_else(|| wrong_value(call, given, NUMBER))
}

/// How many digits stand behind the point: the second value.
fn places(call: &Helper<'_>) -> Result<u32, RenderFault> {
    let places = u32::try_from(count(call, 1)?).ok().filter(|places| *places <= decimal::MOST_PLACES);
    places.map_or_else(|| Err(wrong_value(call, required(call, 1)?, "a number of digits from 0 to 28")), Ok)
}

fn given<'rc>(call: &Helper<'rc>, result: Decimal) -> Found<'rc> {
    let number = decimal::to_number(result).ok_or_else(|| too_large(call))?;
    Ok(ScopedJson::Derived(Value::Number(number)))
}

fn too_large(call: &Helper<'_>) -> RenderFault {
    RenderFault::TooManyDigits(call.name().to_owned())
}
