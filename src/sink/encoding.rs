//! How an event becomes the body of a request, and which content type that has.
//!
//! A body is compiled when the pipeline is loaded and rendered once for each event. This module must not know anything
//! of the request but its body.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use reqwest::header::HeaderValue;

use super::config::WebhookConfig;
use super::expression::Input;
use super::pairs::Pairs;
use super::rendering::{RequestError, TemplateCompiler, part};
use crate::interpolated::InterpolatedText;
use crate::jq::Program;
use crate::problem::{Problem, did_you_mean};
use crate::template::{DEFAULT_CONTENT_TYPE, Escape, Template, TemplateConfig};

/// The body of a sink's requests, compiled.
#[derive(Debug)]
pub(super) enum Encoding {
    /// The payload, byte for byte.
    Payload {
        /// The content type in the place of the message's own, or of the one that follows from the source's format.
        content_type: Option<HeaderValue>,
    },
    /// Fields with their values.
    Form(Pairs),
    /// What a template makes of the envelope.
    Template {
        /// The template, which several sinks may share.
        template: Arc<Template>,
        /// The content type, which also says how the template escapes values.
        content_type: HeaderValue,
    },
    /// What a program makes of the envelope.
    Program {
        /// The program, which several sinks may share.
        program: Arc<Program>,
        /// The content type. When it is that of JSON, the result is the body as JSON, otherwise it is text.
        content_type: HeaderValue,
    },
}

/// A body, and what it is.
pub(super) struct Body {
    pub(super) content_type: HeaderValue,
    pub(super) bytes: Bytes,
}

impl Encoding {
    /// Compiles the body that a sink asks for. `None` when something is at fault: if it is the named template,
    /// [`NamedTemplates::compile`] has reported that.
    pub(super) fn compile(
        config: &WebhookConfig,
        templates: &NamedTemplates<'_>,
        compiler: &mut TemplateCompiler<'_>,
    ) -> Option<Self> {
        // `form` beside another body or a content type was refused when the file was read.
        if let Some(form) = &config.form {
            return Pairs::compile("form", form, config.omit_empty, compiler).map(Self::Form);
        }
        let own_content_type = config.content_type.as_deref().map(content_type).transpose();
        let own_content_type = own_content_type.map_err(|problem| compiler.refuse(problem)).ok()?;
        let or_default = |own: Option<HeaderValue>| own.unwrap_or(HeaderValue::from_static(DEFAULT_CONTENT_TYPE));
        // Two of these beside each other were refused when the file was read.
        match (&config.template, &config.body, &config.jq) {
            (None, None, None) => Some(Self::Payload { content_type: own_content_type }),
            (None, Some(body), _) => {
                let content_type = or_default(own_content_type);
                let template = compiler.compile_body(&["body"], body, as_text(&content_type))?;
                Some(Self::Template { template: Arc::new(template), content_type })
            }
            (None, None, Some(program)) => {
                let program = compiler.compile_program(&["jq"], program)?;
                Some(Self::Program { program: Arc::new(program), content_type: or_default(own_content_type) })
            }
            (Some(name), ..) => templates.encoding(name, own_content_type, compiler),
        }
    }

    /// True when it is the payload, because nothing else is configured.
    pub(super) fn is_payload(&self) -> bool {
        matches!(self, Self::Payload { .. })
    }

    /// True when rendering needs the envelope.
    pub(super) fn needs_envelope(&self) -> bool {
        match self {
            Self::Payload { .. } => false,
            Self::Form(fields) => fields.needs_envelope(),
            Self::Template { template, .. } => template.literal().is_none(),
            Self::Program { .. } => true,
        }
    }

    /// Renders the body of an event.
    pub(super) fn render(&self, input: &Input<'_>) -> Result<Body, RequestError> {
        match self {
            Self::Payload { content_type } => {
                let event = input.event;
                let own = || event.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
                let content_type = content_type.clone().or_else(own);
                let content_type = content_type.unwrap_or(HeaderValue::from_static(event.format.content_type()));
                Ok(Body { content_type, bytes: event.payload.clone().unwrap_or_default() })
            }
            Self::Form(fields) => {
                let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                Ok(Body { content_type, bytes: fields.to_form(input)?.into() })
            }
            Self::Template { template, content_type } => {
                let body = part("body", template.render(input.context))?;
                template.verify(&body).map_err(RequestError::NotJson)?;
                Ok(Body { content_type: content_type.clone(), bytes: body.into() })
            }
            Self::Program { program, content_type } => {
                let value = input.value();
                let body = match Escape::for_content_type(as_text(content_type)).is_json() {
                    true => program.run_json(value),
                    false => program.run_text(value),
                };
                Ok(Body { content_type: content_type.clone(), bytes: part("body", body)?.into() })
            }
        }
    }
}

/// The templates that sinks refer to by name. Each is compiled once, but for sinks whose own content type escapes
/// values in another way.
#[derive(Debug)]
pub struct NamedTemplates<'a> {
    sound: IndexMap<&'a str, NamedTemplate<'a>>,
    declared: &'a BTreeSet<String>,
}

#[derive(Debug)]
struct NamedTemplate<'a> {
    content_type: HeaderValue,
    body: NamedBody<'a>,
}

#[derive(Debug)]
enum NamedBody<'a> {
    Template(&'a InterpolatedText, Arc<Template>),
    Program(Arc<Program>),
}

impl<'a> NamedTemplates<'a> {
    /// Compiles the templates of a file; paths are those below `templates`. `declared` names all templates that the file
    /// has: a sink that names one at fault has no fault itself.
    pub fn compile(
        configs: &'a IndexMap<String, TemplateConfig>,
        declared: &'a BTreeSet<String>,
        compiler: &mut TemplateCompiler<'_>,
    ) -> Self {
        let compiled = configs
            .iter()
            .filter_map(|(name, config)| Some((name.as_str(), NamedTemplate::compile(name, config, compiler)?)));
        Self { sound: compiled.collect(), declared }
    }

    /// The body that the template of this name makes, under the sink's own content type if it has one.
    fn encoding(
        &self,
        name: &str,
        own_content_type: Option<HeaderValue>,
        compiler: &mut TemplateCompiler<'_>,
    ) -> Option<Encoding> {
        let Some(named) = self.sound.get(name) else {
            if !self.declared.contains(name) {
                compiler.refuse(unknown_template(name, self.declared));
            }
            return None;
        };
        let content_type = own_content_type.unwrap_or_else(|| named.content_type.clone());
        let (text, template) = match &named.body {
            NamedBody::Template(text, template) => (text, template),
            NamedBody::Program(program) => {
                return Some(Encoding::Program { program: Arc::clone(program), content_type });
            }
        };
        if Escape::for_content_type(as_text(&content_type)) == template.escape() {
            return Some(Encoding::Template { template: Arc::clone(template), content_type });
        }
        // What is worth a second look in it was found where it stands.
        let known = compiler.warnings.len();
        let template = compiler.compile_body(&["template"], text, as_text(&content_type));
        compiler.warnings.truncate(known);
        Some(Encoding::Template { template: Arc::new(template?), content_type })
    }
}

impl<'a> NamedTemplate<'a> {
    fn compile(name: &str, config: &'a TemplateConfig, compiler: &mut TemplateCompiler<'_>) -> Option<Self> {
        let TemplateConfig { body, jq, content_type: of_body } = config;
        let content_type = content_type(of_body).map_err(|problem| compiler.refuse(problem.under([name]))).ok();
        let body = match (body, jq) {
            (Some(text), _) => {
                let template = compiler.compile_body(&[name, "body"], text, of_body);
                template.map(|template| NamedBody::Template(text, Arc::new(template)))
            }
            (None, Some(program)) => {
                let program = compiler.compile_program(&[name, "jq"], program);
                program.map(|program| NamedBody::Program(Arc::new(program)))
            }
            // This was refused when the file was read.
            (None, None) => None,
        };
        Some(Self { content_type: content_type?, body: body? })
    }
}

/// A content type as text: what was checked is visible ASCII.
fn as_text(content_type: &HeaderValue) -> &str {
    content_type.to_str().unwrap_or_default()
}

fn content_type(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| {
        Problem::new(["content_type"], format!("`{}` is not a content type", text.escape_debug()))
            .with_help("write for example \"application/json\"")
    })
}

fn unknown_template(name: &str, declared: &BTreeSet<String>) -> Problem {
    let problem = Problem::new(["template"], format!("there is no template `{name}`"));
    match did_you_mean(name, declared.iter().map(String::as_str)) {
        Some(meant) => problem.with_help(format!("did you mean `{meant}`?")),
        None => problem.with_help(format!("add [templates.{name}] with its `body`")),
    }
}
