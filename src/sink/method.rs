//! The method of a sink's requests: checked when the pipeline is loaded, or rendered for each event and checked then.

use super::config::Method;
use super::expression::{Expression, Input};
use super::rendering::{RequestError, TemplateCompiler, part};
use crate::jq::ValueText;
use crate::problem::{Problem, did_you_mean};
use crate::template::Escape;

/// A sink's method, compiled.
#[derive(Debug)]
pub(super) enum MethodTemplate {
    Fixed(Method),
    Rendered(Expression),
}

impl MethodTemplate {
    pub(super) fn compile(value: &ValueText, compiler: &mut TemplateCompiler<'_>) -> Option<Self> {
        let expression = compiler.compile_value(&["method"], value, Escape::Text)?;
        let Some(literal) = expression.literal() else { return Some(Self::Rendered(expression)) };
        let method = Method::of_name(literal);
        if method.is_none() {
            compiler.refuse(unknown(literal));
        }
        method.map(Self::Fixed)
    }

    /// True when the method depends on the event.
    pub(super) fn needs_envelope(&self) -> bool {
        matches!(self, Self::Rendered(_))
    }

    pub(super) fn render(&self, input: &Input<'_>) -> Result<Method, RequestError> {
        match self {
            Self::Fixed(method) => Ok(*method),
            Self::Rendered(expression) => {
                Method::of_name(&part("method", expression.render(input))?).ok_or(RequestError::Method)
            }
        }
    }
}

fn unknown(name: &str) -> Problem {
    let names = Method::ALL.map(Method::as_str);
    let problem = Problem::new(["method"], format!("`{}` is not a method of this sink", name.escape_debug()));
    match did_you_mean(&name.to_uppercase(), names) {
        Some(meant) => problem.with_help(format!("did you mean \"{meant}\"?")),
        None => problem.with_help(format!("the methods are {}", names.join(", "))),
    }
}
