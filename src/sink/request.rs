//! The request of a delivery: rendered once per event, sent as it is by every attempt.
//!
//! This module turns an event into URL, headers and body. It must not send anything.

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::checks::Checks;
use super::config::WebhookConfig;
use super::encoding::{Encoding, NamedTemplates};
use super::expression::{Expression, Input};
use super::method::MethodTemplate;
use super::pairs::Pairs;
use super::parts;
use super::rendering::{RequestError, TemplateCompiler};
use super::signing::{SIGNATURE_HEADER, SigningConfig};
use super::url_template::UrlTemplate;
use crate::jq::ValueText;
use crate::problem::Problem;
use crate::secret;
use crate::template::Escape;

/// What every attempt of a delivery sends.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method, where it depends on the event; otherwise it is the attempt's, as the other headers are.
    pub method: Option<reqwest::Method>,
    /// The URL.
    pub url: Url,
    /// The headers that depend on the event, and the content type. The sink's other headers are the attempt's: they
    /// come from the pipeline file each time, and never lie in a store.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A sink's method, URL, headers and body, compiled.
#[derive(Debug)]
pub struct RequestTemplate {
    method: MethodTemplate,
    url: UrlTemplate,
    query: Pairs,
    fixed_headers: HeaderMap,
    headers: Vec<(HeaderName, Expression)>,
    /// Headers whose value is empty or missing are left out.
    omit_empty: bool,
    body: Encoding,
    checks: Checks,
}

impl RequestTemplate {
    /// Compiles a sink's method, URL, headers and body; `None` when something is at fault. Paths are those below the sink.
    pub fn compile(
        config: &WebhookConfig,
        templates: &NamedTemplates<'_>,
        compiler: &mut TemplateCompiler<'_>,
    ) -> Option<Self> {
        let omit_empty = config.omit_empty;
        let method = MethodTemplate::compile(&config.method, compiler);
        let url = UrlTemplate::compile(&config.url, compiler);
        let query = Pairs::compile("query", &config.query, omit_empty, compiler);
        let mut fixed_headers = HeaderMap::new();
        let mut headers = Vec::new();
        let mut are_headers_sound = true;
        let signing = config.signing.as_ref().map(SigningConfig::headers).unwrap_or_default();
        for (name, value) in &config.headers {
            match Header::compile(name, value, &signing, compiler) {
                Some(Header::Fixed(_, value)) if omit_empty && value.is_empty() => {}
                Some(Header::Fixed(name, value)) => {
                    fixed_headers.insert(name, value);
                }
                Some(Header::Rendered(name, expression)) => headers.push((name, expression)),
                None => are_headers_sound = false,
            }
        }
        let body = Encoding::compile(config, templates, compiler);
        let checks = Checks::compile(config, compiler);
        let (method, url, query, body, checks) = (method?, url?, query?, body?, checks?);
        are_headers_sound.then_some(Self { method, url, query, fixed_headers, headers, omit_empty, body, checks })
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
        self.method.needs_envelope()
            || !matches!(self.url, UrlTemplate::Fixed(_))
            || self.query.needs_envelope()
            || !self.headers.is_empty()
            || self.body.needs_envelope()
    }

    /// Renders the request of an event, whose envelope may be an empty one when
    /// [`needs_envelope`](Self::needs_envelope) is false.
    ///
    /// # Errors
    /// See [`RequestError`]; the event cannot be sent to this sink.
    pub fn render(&self, input: &Input<'_>) -> Result<Request, RequestError> {
        let method = self.method.render(input)?;
        let mut url = self.url.render(input)?;
        if !self.query.is_empty() {
            let query = self.query.append_to_query(url.query(), input)?;
            url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        }
        let mut headers = HeaderMap::with_capacity(1 + self.headers.len());
        for (name, expression) in &self.headers {
            let value = expression.render_unless_empty(name.as_str(), input, self.omit_empty)?;
            let Some(value) = value else { continue };
            let value = HeaderValue::from_str(&value).map_err(|_| RequestError::Header(name.clone()))?;
            headers.insert(name.clone(), value);
        }
        let mut bytes = Bytes::new();
        if method.carries_the_payload() || !self.body.is_payload() {
            let body = self.body.render(input)?;
            headers.insert(CONTENT_TYPE, body.content_type);
            bytes = body.bytes;
            self.checks.pass(&bytes)?;
        }
        let method = self.method.needs_envelope().then(|| method.into());
        Ok(Request { method, url, headers, body: bytes })
    }
}

/// A header of a sink, compiled.
enum Header {
    Fixed(HeaderName, HeaderValue),
    Rendered(HeaderName, Expression),
}

impl Header {
    /// Compiles a header of a sink whose signer sets the headers `signing`.
    fn compile(
        name: &str,
        value: &ValueText,
        signing: &[HeaderName],
        compiler: &mut TemplateCompiler<'_>,
    ) -> Option<Self> {
        let path = ["headers", name];
        let header = header_name(name, signing).map_err(|problem| compiler.refuse(problem)).ok()?;
        let expression = compiler.compile_value(&path, value, Escape::Header)?;
        let Some(literal) = expression.literal() else {
            return Some(Self::Rendered(header, expression));
        };
        let Ok(value) = HeaderValue::from_str(literal) else {
            let message = format!("the value of `{name}` has a character that no header can carry");
            let help = "leave out line breaks and other control characters";
            compiler.refuse(Problem::new(path, message).with_help(help));
            return None;
        };
        if holds_a_secret(&header) {
            // The scheme before the credentials (`Bearer`) is no secret.
            secret::register(literal.rsplit(' ').next().unwrap_or(literal));
        }
        Some(Self::Fixed(header, value))
    }
}

/// The name of a header that a sink may set, whose signer sets the headers `signing`.
fn header_name(name: &str, signing: &[HeaderName]) -> Result<HeaderName, Problem> {
    let path = ["headers", name];
    let Ok(header) = HeaderName::try_from(name) else {
        let help = "letters, digits and any of !#$%&'*+-.^_`|~ make a header name";
        return Err(Problem::new(path, format!("`{name}` is not a header name")).with_help(help));
    };
    let help = match &header {
        header if header == CONTENT_TYPE => "set the sink's `content_type`",
        header if signing.contains(header) => "leave it out: the sink's `signing` sets it",
        header if parts::is_reserved(header) || header == SIGNATURE_HEADER => "leave it out",
        _ => return Ok(header),
    };
    Err(Problem::new(path, format!("`{name}` is set by the bridge")).with_help(help))
}

/// Headers whose values are masked wherever they are shown, be they literal in the pipeline file or not.
pub fn holds_a_secret(header: &HeaderName) -> bool {
    secret::is_named_as_secret(header.as_str()) || header.as_str().contains("cookie")
}
