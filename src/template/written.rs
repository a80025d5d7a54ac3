//! How a value is written in a template, for the messages that name it.

use std::collections::HashMap;

use handlebars::Path;
use handlebars::template::{Parameter, Subexpression, TemplateElement};

use super::helpers;

/// A value as it is written in the template, more or less.
pub(super) fn written(value: &Parameter) -> String {
    match value {
        Parameter::Literal(value) => value.to_string(),
        Parameter::Name(name) => name.clone(),
        Parameter::Path(Path::Local((_, _, raw)) | Path::Relative((_, raw))) => raw.clone(),
        Parameter::Subexpression(inner) => match inner.as_element() {
            TemplateElement::Expression(call) => {
                let name = call.name.as_name().unwrap_or_default();
                call.params.iter().fold(name.to_owned(), |text, value| text + " " + &argument(value))
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// A value as it is handed to a helper.
pub(super) fn argument(value: &Parameter) -> String {
    match value {
        Parameter::Subexpression(_) => format!("({})", written(value)),
        other => written(other),
    }
}

/// Hands the names of values that helpers give on to the helpers that take them, for their messages.
pub(super) fn keep_names(params: &mut [Parameter], named: &mut HashMap<String, Parameter>) {
    for (index, value) in params.iter_mut().enumerate() {
        if !matches!(value, Parameter::Subexpression(_)) {
            continue;
        }
        named.insert(helpers::name_of(index), Parameter::Literal(written(value).into()));
        if let Parameter::Subexpression(inner) = value
            && let TemplateElement::Expression(call) = inner.element.as_mut()
        {
            keep_names(&mut call.params, &mut call.hash);
        }
    }
}

/// The helper or path of an expression in parentheses.
pub(super) fn subexpression_name(inner: &Subexpression) -> &str {
    match inner.as_element() {
        TemplateElement::Expression(call) => call.name.as_name().unwrap_or_default(),
        _ => "",
    }
}
