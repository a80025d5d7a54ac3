//! Renders one part of a request, such as the URL or a header, and names the part that is at fault. It must not know
//! what the parts make together.

use reqwest::header::HeaderName;

use crate::problem::Problem;
use crate::template::{Context, NotJson, RenderFailure, Template, TemplateError};

/// Why an event could not be made into a request. It becomes a dead letter: the same event would fail again.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A template of the sink could not be rendered.
    #[error("cannot render {part}: {failure}")]
    Render {
        /// `url`, `body` or the header's name.
        part: String,
        /// Why.
        failure: RenderFailure,
    },
    /// The rendered URL is not one that can be called.
    #[error("the rendered URL is not usable: {0}")]
    Url(String),
    /// The rendered value may not stand in a header.
    #[error("the rendered value of header {0} is not a valid header value")]
    Header(HeaderName),
    /// The content type is JSON, the rendered body is not.
    #[error("{0}")]
    NotJson(NotJson),
}

/// Renders the part of this name.
pub(super) fn render(part: &str, template: &Template, context: &Context) -> Result<String, RequestError> {
    template.render(context).map_err(|failure| RequestError::Render { part: part.to_owned(), failure })
}

/// The faults in a template as faults of the value that holds it.
pub fn template_problems(path: &[&str], faults: &[TemplateError]) -> Vec<Problem> {
    faults.iter().map(|fault| template_problem(path.iter().copied(), fault)).collect()
}

/// A fault in a template as a fault of the value that holds it.
pub fn template_problem<K: Into<String>>(path: impl IntoIterator<Item = K>, error: &TemplateError) -> Problem {
    let problem = Problem::new(path, format!("in the template: {error}")).with_part(error.part.clone());
    match &error.help {
        Some(help) => problem.with_help(help),
        None => problem,
    }
}
