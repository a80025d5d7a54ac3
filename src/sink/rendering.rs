//! Compiles and renders the parts of a request that are templates, such as the URL or a header, and names the part that
//! is at fault. It must not know what the parts make together.

use std::sync::Arc;

use reqwest::header::HeaderName;

use super::expression::{Expression, ExpressionFailure};
use crate::interpolated::InterpolatedText;
use crate::jq::{self, Fault, Limits, Program, ProgramText, ValueText};
use crate::problem::{Problem, Warning, WarningCode};
use crate::template::{Context, Doubt, Escape, NotJson, Options, Template, TemplateError};

/// Why an event could not be made into a request. It becomes a dead letter: the same event would fail again.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A template or program of the sink failed.
    #[error("cannot render {part}: {failure}")]
    Render {
        /// `url`, `body` or the header's name.
        part: String,
        /// Why.
        failure: Box<ExpressionFailure>,
    },
    /// The rendered URL is not one that can be called.
    #[error("the rendered URL is not usable: {0}")]
    Url(String),
    /// The rendered method is none that a request can have.
    #[error("the rendered method is none of POST, PUT, PATCH, GET and DELETE")]
    Method,
    /// The rendered value may not stand in a header.
    #[error("the rendered value of header {0} is not a valid header value")]
    Header(HeaderName),
    /// The body is larger than the sink's limit, in bytes.
    #[error("the body has more than {0} bytes, which is the sink's `max_body_size`")]
    TooLarge(usize),
    /// The receiver would refuse the body.
    #[error("the receiver would refuse the body: {because} (`{when}` holds for it)")]
    Refused {
        /// Why.
        because: String,
        /// The expression of the check.
        when: String,
    },
    /// The content type is JSON, the rendered body is not.
    #[error("{0}")]
    NotJson(NotJson),
}

/// Names the part of a request that failed.
pub(super) fn part<T, E: Into<ExpressionFailure>>(name: &str, rendered: Result<T, E>) -> Result<T, RequestError> {
    rendered.map_err(|failure| failed(name, failure.into()))
}

/// Renders the part of this name. With `omit_empty`, `None` when it is empty, or the event lacks what it needs.
pub(super) fn render_unless_empty(
    part: &str,
    template: &Template,
    context: &Context,
    omit_empty: bool,
) -> Result<Option<String>, RequestError> {
    match template.render(context) {
        Ok(text) if omit_empty && text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(failure) if omit_empty && failure.fault.is_absence() => Ok(None),
        Err(failure) => Err(failed(part, failure.into())),
    }
}

fn failed(part: &str, failure: ExpressionFailure) -> RequestError {
    RequestError::Render { part: part.to_owned(), failure: Box::new(failure) }
}

/// What the programs of a pipeline file may use besides the event. All of them share the one value of its tables.
pub fn options_of_programs(options: &Options) -> jq::Options {
    let Options { clock, ids, tables, max_output } = options.clone();
    let limits = Limits::with_size(max_output as u64);
    let tables = serde_json::Value::Object(tables.as_map().clone());
    jq::Options { clock, ids, limits, variables: vec![("$tables".to_owned(), jq::Value::of_json(Arc::new(tables)))] }
}

/// Compiles the templates of a part of a pipeline file. What is wrong with them, and what is worth a second look in them,
/// is kept with its path below that part.
pub struct TemplateCompiler<'a> {
    /// What the templates may use besides the event.
    options: &'a Options,
    /// The same for programs.
    of_programs: &'a jq::Options,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is worth a second look.
    pub warnings: Vec<Warning>,
}

impl<'a> TemplateCompiler<'a> {
    /// A compiler that has found nothing yet. `options` are what templates may use besides the event, `of_programs` what
    /// [`options_of_programs`] makes of them.
    pub fn new(options: &'a Options, of_programs: &'a jq::Options) -> Self {
        Self { options, of_programs, problems: Vec::new(), warnings: Vec::new() }
    }

    /// The template at this path; `None` when it is at fault.
    pub fn compile(&mut self, path: &[&str], text: &InterpolatedText, escape: Escape) -> Option<Template> {
        let compiled = Template::compile_with(text, escape, self.options);
        self.keep(path, compiled)
    }

    /// The template or program at this path; `None` when it is at fault.
    pub fn compile_value(&mut self, path: &[&str], value: &ValueText, escape: Escape) -> Option<Expression> {
        match value {
            ValueText::Template(text) => self.compile(path, text, escape).map(Box::new).map(Expression::Template),
            ValueText::Program(program) => {
                let path: Vec<_> = path.iter().copied().chain(["jq"]).collect();
                self.compile_program(&path, program).map(Box::new).map(Expression::Program)
            }
        }
    }

    /// The program at this path; `None` when it is at fault.
    pub fn compile_program(&mut self, path: &[&str], program: &ProgramText) -> Option<Program> {
        let compiled = Program::compile(program.as_ref(), self.of_programs);
        let problems = |faults: Vec<Fault>| faults.iter().map(|fault| fault.problem(path.iter().copied())).collect();
        compiled.map_err(|faults| self.problems.extend::<Vec<_>>(problems(faults))).ok()
    }

    /// The template of a body at this path; `None` when it is at fault.
    pub(super) fn compile_body(
        &mut self,
        path: &[&str],
        text: &InterpolatedText,
        content_type: &str,
    ) -> Option<Template> {
        let escape = Escape::for_content_type(content_type);
        let compiled = Template::compile_body(text, escape, self.options);
        let template = self.keep(path, compiled)?;
        if escape == Escape::Text && template.inserts() {
            self.warnings.push(unescaped_values(path, content_type));
        }
        Some(template)
    }

    /// Notes a fault.
    pub(super) fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn keep(&mut self, path: &[&str], compiled: Result<Template, Vec<TemplateError>>) -> Option<Template> {
        match compiled {
            Ok(template) => {
                self.warnings.extend(template.doubts().iter().map(|doubt| warning(path, doubt)));
                Some(template)
            }
            Err(faults) => {
                self.problems.extend(faults.iter().map(|fault| problem(path, fault)));
                None
            }
        }
    }
}

fn warning(path: &[&str], doubt: &Doubt) -> Warning {
    let (code, error) = match doubt {
        Doubt::SingleValueRepeated(error) => (WarningCode::SingleValueRepeated, error),
        Doubt::UnknownMember(error) => (WarningCode::UnknownMember, error),
        Doubt::NotAnExpression(error) => (WarningCode::NotAnExpression, error),
    };
    Warning { code, problem: problem(path, error) }
}

fn unescaped_values(path: &[&str], content_type: &str) -> Warning {
    let message = format!("values go into this body as they are: nothing is known of `{content_type}`");
    let help = "set the content type of what it is, such as \"application/json\", or write `{{{…}}}` if it is meant so";
    let problem = Problem::new(path.iter().copied(), message).with_help(help);
    Warning { code: WarningCode::UnescapedValues, problem }
}

/// A fault in a template as a fault of the value that holds it.
fn problem(path: &[&str], error: &TemplateError) -> Problem {
    let problem = Problem::new(path.iter().copied(), format!("in the template: {error}")).with_part(error.part.clone());
    match &error.help {
        Some(help) => problem.with_help(help),
        None => problem,
    }
}
