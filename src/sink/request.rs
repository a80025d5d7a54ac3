//! The request of a delivery: rendered once per event, sent as it is by every attempt.
//!
//! This module turns an event into URL, headers and body. It must not send anything.

use std::collections::BTreeSet;

use bytes::Bytes;
use indexmap::IndexMap;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::signing::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use super::url_template::UrlTemplate;
use super::webhook::WebhookConfig;
use crate::event::Event;
use crate::interpolated::InterpolatedText;
use crate::problem::{Problem, did_you_mean};
use crate::secret;
use crate::template::{Context, Escape, NotJson, Options, RenderFailure, Template, TemplateConfig, TemplateError};

/// What every attempt of a delivery sends.
#[derive(Debug, Clone)]
pub struct Request {
    /// The URL.
    pub url: Url,
    /// The headers that depend on the event, and the content type. The sink's other headers are the attempt's: they
    /// come from the pipeline file each time, and never lie in a store.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A sink's URL, headers and body, compiled.
#[derive(Debug)]
pub struct RequestTemplate {
    url: UrlTemplate,
    fixed_headers: HeaderMap,
    headers: Vec<(HeaderName, Template)>,
    body: BodyTemplate,
}

#[derive(Debug)]
enum BodyTemplate {
    /// The payload, byte for byte.
    Payload {
        content_type: Option<HeaderValue>,
    },
    Rendered {
        template: Box<Template>,
        content_type: HeaderValue,
    },
}

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

/// Headers that the bridge or the HTTP client sets itself.
const RESERVED_HEADERS: [&str; 7] = [
    ID_HEADER,
    TIMESTAMP_HEADER,
    SIGNATURE_HEADER,
    "content-length",
    "transfer-encoding",
    "connection",
    "content-type",
];

impl RequestTemplate {
    /// Compiles a sink's URL, headers and body. `declared_templates` names all templates of the file: one that is
    /// missing from `templates` but declared is at fault itself, and not named again. `options` are what the templates
    /// may use besides the event.
    ///
    /// # Errors
    /// Every value at fault, with its path below the sink.
    pub fn new(
        config: &WebhookConfig,
        templates: &IndexMap<String, TemplateConfig>,
        declared_templates: &BTreeSet<String>,
        options: &Options,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let url = UrlTemplate::new(&config.url, options).map_err(|found| problems.extend(found)).ok();
        let mut fixed_headers = HeaderMap::new();
        let mut headers = Vec::new();
        for (name, value) in &config.headers {
            match Header::new(name, value, options) {
                Ok(Header::Fixed(name, value)) => {
                    fixed_headers.insert(name, value);
                }
                Ok(Header::Rendered(name, template)) => headers.push((name, *template)),
                Err(found) => problems.extend(found),
            }
        }
        let body = BodyTemplate::new(config, templates, declared_templates, options);
        let body = body.map_err(|problem| problems.extend(problem)).ok();
        match (url, body) {
            (Some(url), Some(body)) if problems.is_empty() => Ok(Self { url, fixed_headers, headers, body }),
            _ => Err(problems),
        }
    }

    /// The headers that are the same for all events.
    pub fn fixed_headers(&self) -> &HeaderMap {
        &self.fixed_headers
    }

    /// The host and port of every request; `None` when they may depend on the event.
    pub fn fixed_authority(&self) -> Option<(String, u16)> {
        let UrlTemplate::Fixed(url) = &self.url else { return None };
        Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
    }

    /// True when rendering needs the envelope; otherwise no payload is ever parsed for this sink.
    pub fn needs_envelope(&self) -> bool {
        matches!(self.url, UrlTemplate::Rendered(..))
            || !self.headers.is_empty()
            || matches!(&self.body, BodyTemplate::Rendered { template, .. } if template.literal().is_none())
    }

    /// Renders the request of an event. `context` is its envelope; an empty one will do when
    /// [`needs_envelope`](Self::needs_envelope) is false.
    ///
    /// # Errors
    /// See [`RequestError`]; the event cannot be sent to this sink.
    pub fn render(&self, event: &Event, context: &Context) -> Result<Request, RequestError> {
        let url = self.url.render(context)?;
        let mut headers = HeaderMap::with_capacity(1 + self.headers.len());
        for (name, template) in &self.headers {
            let value = render(name.as_str(), template, context)?;
            let value = HeaderValue::from_str(&value).map_err(|_| RequestError::Header(name.clone()))?;
            headers.insert(name.clone(), value);
        }
        let (content_type, body) = self.body.render(event, context)?;
        headers.insert(CONTENT_TYPE, content_type);
        Ok(Request { url, headers, body })
    }
}

/// A header of a sink, compiled.
enum Header {
    Fixed(HeaderName, HeaderValue),
    Rendered(HeaderName, Box<Template>),
}

impl Header {
    fn new(name: &str, value: &InterpolatedText, options: &Options) -> Result<Self, Vec<Problem>> {
        let path = ["headers", name];
        let Ok(header) = HeaderName::try_from(name) else {
            let help = "letters, digits and any of !#$%&'*+-.^_`|~ make a header name";
            return Err(vec![Problem::new(path, format!("`{name}` is not a header name")).with_help(help)]);
        };
        if RESERVED_HEADERS.contains(&header.as_str()) {
            let help = if header == CONTENT_TYPE { "set the sink's `content_type`" } else { "leave it out" };
            return Err(vec![Problem::new(path, format!("`{name}` is set by the bridge")).with_help(help)]);
        }
        let template = Template::compile_with(value, Escape::Header, options);
        let template = template.map_err(|faults| template_problems(&path, &faults))?;
        let Some(literal) = template.literal() else {
            return Ok(Self::Rendered(header, Box::new(template)));
        };
        let value = HeaderValue::from_str(literal).map_err(|_| {
            let message = format!("the value of `{name}` has a character that no header can carry");
            vec![Problem::new(path, message).with_help("leave out line breaks and other control characters")]
        })?;
        if holds_a_secret(&header) {
            // The scheme before the credentials (`Bearer`) is no secret.
            secret::register(literal.rsplit(' ').next().unwrap_or(literal));
        }
        Ok(Self::Fixed(header, value))
    }
}

/// Headers whose values are masked wherever they are shown, be they literal in the pipeline file or not.
pub fn holds_a_secret(header: &HeaderName) -> bool {
    let parts = ["authorization", "cookie", "token", "secret", "api-key", "apikey", "password"];
    parts.iter().any(|part| header.as_str().contains(part))
}

impl BodyTemplate {
    /// There are no problems when the template is at fault itself.
    fn new(
        config: &WebhookConfig,
        templates: &IndexMap<String, TemplateConfig>,
        declared_templates: &BTreeSet<String>,
        options: &Options,
    ) -> Result<Self, Vec<Problem>> {
        let own_content_type = config.content_type.as_deref().map(content_type).transpose();
        let own_content_type = own_content_type.map_err(|problem| vec![problem])?;
        let (text, default_type, path) = match (&config.template, &config.body) {
            (None, None) => return Ok(Self::Payload { content_type: own_content_type }),
            (None, Some(body)) => (body, crate::template::default_content_type(), vec!["body"]),
            // `body` beside `template` was refused when the file was read.
            (Some(name), _) => {
                let unknown = || match declared_templates.contains(name) {
                    true => Vec::new(),
                    false => vec![unknown_template(name, declared_templates)],
                };
                let template = templates.get(name).ok_or_else(unknown)?;
                // Its own faults were found by `check_template`.
                check_template(template).is_empty().then_some(()).ok_or_else(Vec::new)?;
                (&template.body, template.content_type.clone(), vec!["template"])
            }
        };
        let content_type = match own_content_type {
            Some(content_type) => content_type,
            None => content_type(&default_type).map_err(|problem| vec![problem])?,
        };
        let escape = content_type.to_str().map_or(Escape::Text, Escape::for_content_type);
        let template = Template::compile_body(text, escape, options);
        let template = template.map_err(|faults| template_problems(&path, &faults))?;
        Ok(Self::Rendered { template: Box::new(template), content_type })
    }

    fn render(&self, event: &Event, context: &Context) -> Result<(HeaderValue, Bytes), RequestError> {
        match self {
            Self::Payload { content_type } => {
                let own = event.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
                let content_type = content_type.clone().or(own);
                let content_type = content_type.unwrap_or(HeaderValue::from_static(event.format.content_type()));
                Ok((content_type, event.payload.clone().unwrap_or_default()))
            }
            Self::Rendered { template, content_type } => {
                let body = render("body", template, context)?;
                template.verify(&body).map_err(RequestError::NotJson)?;
                Ok((content_type.clone(), body.into()))
            }
        }
    }
}

pub(super) fn render(part: &str, template: &Template, context: &Context) -> Result<String, RequestError> {
    template.render(context).map_err(|failure| RequestError::Render { part: part.to_owned(), failure })
}

fn unknown_template(name: &str, declared: &BTreeSet<String>) -> Problem {
    let problem = Problem::new(["template"], format!("there is no template `{name}`"));
    match did_you_mean(name, declared.iter().map(String::as_str)) {
        Some(meant) => problem.with_help(format!("did you mean `{meant}`?")),
        None => problem.with_help(format!("add [templates.{name}] with its `body`")),
    }
}

/// Every fault of a template that sinks refer to by name, with its path below the template.
pub fn check_template(config: &TemplateConfig) -> Vec<Problem> {
    let escape = Escape::for_content_type(&config.content_type);
    let body = Template::compile_body(&config.body, escape, &Options::default());
    let body = body.map_err(|faults| template_problems(&["body"], &faults)).err();
    body.into_iter().flatten().chain(content_type(&config.content_type).err()).collect()
}

fn content_type(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| {
        Problem::new(["content_type"], format!("`{}` is not a content type", text.escape_debug()))
            .with_help("write for example \"application/json\"")
    })
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
