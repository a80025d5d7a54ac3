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
use super::rendering::{RequestError, render, template_problems};
use crate::event::Event;
use crate::interpolated::InterpolatedText;
use crate::problem::{Problem, did_you_mean};
use crate::template::{Context, Escape, Options, Template, TemplateConfig, default_content_type};

/// The body of a sink's requests, compiled.
#[derive(Debug)]
pub(super) enum Encoding {
    /// The payload, byte for byte.
    Payload {
        /// The content type in the place of the message's own, or of the one that follows from the source's format.
        content_type: Option<HeaderValue>,
    },
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
    /// Compiles the body that a sink asks for.
    ///
    /// # Errors
    /// Every value at fault, with its path below the sink; none when it is the named template that is at fault, which
    /// [`NamedTemplates::compile`] has reported.
    pub(super) fn compile(
        config: &WebhookConfig,
        templates: &NamedTemplates,
        options: &Options,
    ) -> Result<Self, Vec<Problem>> {
        let own_content_type = config.content_type.as_deref().map(content_type).transpose();
        let own_content_type = own_content_type.map_err(|problem| vec![problem])?;
        match (&config.template, &config.body) {
            (None, None) => Ok(Self::Payload { content_type: own_content_type }),
            (None, Some(body)) => {
                let default = || content_type(&default_content_type()).map_err(|problem| vec![problem]);
                let content_type = own_content_type.map_or_else(default, Ok)?;
                let template = compile_body(body, &content_type, options, "body")?;
                Ok(Self::Template { template: Arc::new(template), content_type })
            }
            // `body` beside `template` was refused when the file was read.
            (Some(name), _) => templates.encoding(name, own_content_type, options),
        }
    }

    /// True when rendering needs the envelope.
    pub(super) fn needs_envelope(&self) -> bool {
        match self {
            Self::Payload { .. } => false,
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
    /// Compiles the templates of a file, and gives every fault in them with its path in the file. `declared` names all
    /// templates that the file has: a sink that names one at fault has no fault itself. `options` are what the
    /// templates may use besides the event.
    pub fn compile(
        configs: &'a IndexMap<String, TemplateConfig>,
        declared: &'a BTreeSet<String>,
        options: &Options,
    ) -> (Self, Vec<Problem>) {
        let mut sound = IndexMap::new();
        let mut problems = Vec::new();
        for (name, config) in configs {
            match NamedTemplate::compile(config, options) {
                Ok(template) => {
                    sound.insert(name.as_str(), template);
                }
                Err(found) => problems.extend(found.into_iter().map(|problem| problem.under(["templates", name]))),
            }
        }
        (Self { sound, declared }, problems)
    }

    /// The body that the template of this name makes, under the sink's own content type if it has one.
    fn encoding(
        &self,
        name: &str,
        own_content_type: Option<HeaderValue>,
        options: &Options,
    ) -> Result<Encoding, Vec<Problem>> {
        let Some(named) = self.sound.get(name) else {
            let is_declared = self.declared.contains(name);
            return Err(if is_declared { Vec::new() } else { vec![unknown_template(name, self.declared)] });
        };
        let content_type = own_content_type.unwrap_or_else(|| named.content_type.clone());
        let template = if escape(&content_type) == named.template.escape() {
            Arc::clone(&named.template)
        } else {
            Arc::new(compile_body(named.text, &content_type, options, "template")?)
        };
        Ok(Encoding::Template { template, content_type })
    }
}

impl<'a> NamedTemplate<'a> {
    fn compile(config: &'a TemplateConfig, options: &Options) -> Result<Self, Vec<Problem>> {
        let TemplateConfig { body: text, content_type: name } = config;
        let content_type = content_type(name);
        let escape = Escape::for_content_type(name);
        let template = Template::compile_body(text, escape, options);
        let template = template.map_err(|faults| template_problems(&["body"], &faults));
        match (template, content_type) {
            (Ok(template), Ok(content_type)) => Ok(Self { text, content_type, template: Arc::new(template) }),
            (template, content_type) => Err(template.err().into_iter().flatten().chain(content_type.err()).collect()),
        }
    }
}

/// Compiles the template of a body of this content type; `key` holds it.
fn compile_body(
    text: &InterpolatedText,
    content_type: &HeaderValue,
    options: &Options,
    key: &str,
) -> Result<Template, Vec<Problem>> {
    let template = Template::compile_body(text, escape(content_type), options);
    template.map_err(|faults| template_problems(&[key], &faults))
}

fn escape(content_type: &HeaderValue) -> Escape {
    content_type.to_str().map_or(Escape::Text, Escape::for_content_type)
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
