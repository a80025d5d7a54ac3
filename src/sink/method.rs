//! The method of a sink's requests: checked when the pipeline is loaded, or rendered for each event and checked then.

use super::config::Method;
use super::rendering::{RequestError, TemplateCompiler, part};
use crate::interpolated::InterpolatedText;
use crate::problem::{Problem, did_you_mean};
use crate::template::{Context, Escape, Template};

/// A sink's method, compiled.
#[derive(Debug)]
pub(super) enum MethodTemplate {
    Fixed(Method),
    Rendered(Box<Template>),
}

impl MethodTemplate {
    pub(super) fn compile(text: &InterpolatedText, compiler: &mut TemplateCompiler<'_>) -> Option<Self> {
        let template = compiler.compile(&["method"], text, Escape::Text)?;
        let Some(literal) = template.literal() else { return Some(Self::Rendered(Box::new(template))) };
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

    pub(super) fn render(&self, context: &Context) -> Result<Method, RequestError> {
        match self {
            Self::Fixed(method) => Ok(*method),
            Self::Rendered(template) => {
                Method::of_name(&part("method", template.render(context))?).ok_or(RequestError::Method)
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
