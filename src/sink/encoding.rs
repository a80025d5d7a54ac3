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
use super::pairs::Pairs;
use super::rendering::{RequestError, TemplateCompiler, render};
use crate::event::Event;
use crate::interpolated::InterpolatedText;
use crate::problem::{Problem, did_you_mean};
use crate::template::{Context, DEFAULT_CONTENT_TYPE, Escape, Template, TemplateConfig};

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
        match (&config.template, &config.body) {
            (None, None) => Some(Self::Payload { content_type: own_content_type }),
            (None, Some(body)) => {
                let content_type = own_content_type.unwrap_or(HeaderValue::from_static(DEFAULT_CONTENT_TYPE));
                let template = compiler.compile_body(&["body"], body, as_text(&content_type))?;
                Some(Self::Template { template: Arc::new(template), content_type })
            }
            // `body` beside `template` was refused when the file was read.
            (Some(name), _) => templates.encoding(name, own_content_type, compiler),
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
        }
    }

    /// Renders the body of an event.
    pub(super) fn render(&self, event: &Event, context: &Context) -> Result<Body, RequestError> {
        match self {
            Self::Payload { content_type } => {
                let own = || event.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
                let content_type = content_type.clone().or_else(own);
                let content_type = content_type.unwrap_or(HeaderValue::from_static(event.format.content_type()));
                Ok(Body { content_type, bytes: event.payload.clone().unwrap_or_default() })
            }
            Self::Form(fields) => {
                let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                Ok(Body { content_type, bytes: fields.to_form(context)?.into() })
            }
            Self::Template { template, content_type } => {
                let body = render("body", template, context)?;
                template.verify(&body).map_err(RequestError::NotJson)?;
                Ok(Body { content_type: content_type.clone(), bytes: body.into() })
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
    text: &'a InterpolatedText,
    content_type: HeaderValue,
    template: Arc<Template>,
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
        if Escape::for_content_type(as_text(&content_type)) == named.template.escape() {
            return Some(Encoding::Template { template: Arc::clone(&named.template), content_type });
        }
        // What is worth a second look in it was found where it stands.
        let known = compiler.warnings.len();
        let template = compiler.compile_body(&["template"], named.text, as_text(&content_type));
        compiler.warnings.truncate(known);
        Some(Encoding::Template { template: Arc::new(template?), content_type })
    }
}

impl<'a> NamedTemplate<'a> {
    fn compile(name: &str, config: &'a TemplateConfig, compiler: &mut TemplateCompiler<'_>) -> Option<Self> {
        let TemplateConfig { body: text, content_type: of_body } = config;
        let content_type = content_type(of_body).map_err(|problem| compiler.refuse(problem.under([name]))).ok();
        let template = compiler.compile_body(&[name, "body"], text, of_body);
        Some(Self { text, content_type: content_type?, template: Arc::new(template?) })
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
