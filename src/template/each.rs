//! Refuses `{{#each}}` over text, a number, `true` or `false`, which Handlebars renders as nothing and without an error.
//!
//! Handlebars' own helper still repeats the block. The helper of this module stands around it and looks at the value. Null
//! and a missing value pass: to a template that asks, they are an empty list.

use handlebars::template::{HelperTemplate, Parameter, Template, TemplateElement};
use handlebars::{Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, Renderable as _};
use serde_json::Value;

use super::RenderFault;
use super::helpers::{name, type_of};

/// The name of the helper. It has blanks, so that no template can call it.
pub(super) const NAME: &str = "list of each";

/// The helper that looks at the value before the block is rendered.
pub(super) struct List;

/// Puts the helper around an `{{#each}}`; other blocks stay as they are.
pub(super) fn guard(block: &mut HelperTemplate) {
    if block.name.as_name() != Some("each") {
        return;
    }
    let mut outer = block.clone();
    (outer.name, outer.block_param, outer.inverse) = (Parameter::Name(NAME.to_owned()), None, None);
    let mut inner = Template::new();
    inner.elements.push(TemplateElement::HelperBlock(Box::new(std::mem::replace(block, outer))));
    block.template = Some(inner);
}

/// The `{{#each}}` within a block that [`guard`] has made.
pub(super) fn guarded(block: &HelperTemplate) -> Option<&HelperTemplate> {
    match block.template.as_ref().map(|inner| inner.elements.as_slice()) {
        Some([TemplateElement::HelperBlock(each)]) if block.name.as_name() == Some(NAME) => Some(each),
        _ => None,
    }
}

impl HelperDef for List {
    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc handlebars::Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        if let Some(value) = call.param(0)
            && let Value::String(_) | Value::Number(_) | Value::Bool(_) = value.value()
        {
            let (helper, expected) = ("each".to_owned(), "an array or an object");
            let found = type_of(value.value(), expected);
            return Err(RenderFault::WrongValue { helper, name: name(call, value), expected, found }.into());
        }
        call.template().map_or(Ok(()), |each| each.render(registry, context, rc, out))
    }
}
