//! The comparisons that templates may make: the same as those of filters, but that what cannot be compared fails the
//! rendering, where a filter says no.

use std::cmp::Ordering;

use handlebars::{
    Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, Renderable as _, ScopedJson,
};
use serde_json::Value;

use super::RenderFault;
use super::helpers::{required, wrong_value};
use crate::jsonpath::comparison::{equal, order};

/// Registers the comparisons in the place of Handlebars' own, which take text for numbers and floats for no integers.
pub(super) fn register(registry: &mut Handlebars<'static>) {
    registry.register_helper("eq", Box::new(Comparison(|call| Ok(equal(value(call, 0), value(call, 1))))));
    registry.register_helper("ne", Box::new(Comparison(|call| Ok(!equal(value(call, 0), value(call, 1))))));
    registry.register_helper("gt", Box::new(Comparison(|call| Ok(ordered(call)?.is_gt()))));
    registry.register_helper("gte", Box::new(Comparison(|call| Ok(ordered(call)?.is_ge()))));
    registry.register_helper("lt", Box::new(Comparison(|call| Ok(ordered(call)?.is_lt()))));
    registry.register_helper("lte", Box::new(Comparison(|call| Ok(ordered(call)?.is_le()))));
}

/// A helper that is true or false, and a block.
struct Comparison(fn(&Helper<'_>) -> Result<bool, RenderFault>);

impl HelperDef for Comparison {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc handlebars::Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        Ok(ScopedJson::Derived(Value::Bool(self.0(call)?)))
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc handlebars::Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let branch = if self.0(call)? { call.template() } else { call.inverse() };
        branch.map_or(Ok(()), |branch| branch.render(registry, context, rc, out))
    }
}

/// A value; one that is missing counts as null.
fn value<'a>(call: &'a Helper<'_>, index: usize) -> &'a Value {
    call.param(index).map_or(&Value::Null, |value| value.value())
}

fn ordered(call: &Helper<'_>) -> Result<Ordering, RenderFault> {
    let (one, other) = (required(call, 0)?, required(call, 1)?);
    // The one that is neither number nor text is named, or else the second, which differs from the first.
    let wrong = if matches!(one.value(), Value::Number(_) | Value::String(_)) { other } else { one };
    order(one.value(), other.value()).ok_or_else(|| wrong_value(call, wrong, "two numbers or two texts"))
}
