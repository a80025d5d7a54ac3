//! Templates: Handlebars, compiled and checked at load, with the escaping that the place of use asks for.
//!
//! **Escaping** is by the place of use, see [`Escape`]. It applies to what a helper gives as it does to a plain value.
//! `{{json …}}` outside of quotes in a JSON body and `{{url_encode …}}` in a URL are right already and are not escaped twice;
//! `{{{…}}}` switches escaping off, but for the characters that a header cannot carry.
//!
//! **Strict is what would silently leave a hole.** A value that is inserted, or handed to a helper, and that the event
//! lacks fails the rendering: `{{data.x}}`, `{{upper data.x}}`, `{{lookup data.map "x"}}`, `{{len data.x}}`. Asking is not inserting, so a missing value counts as null or nothing in
//! - `{{#if}}`, `{{#unless}}`, `{{#with}}` and `{{#each}}`,
//! - `default`, which gives the first of its values that is neither missing nor null,
//! - `eq ne and or not`.
//!
//! `{{#each}}` over text, a number, `true` or `false` is a failure too (`each`).
//!
//! **One rule for types.** Null, objects and arrays stand only in JSON and outside of quotes; anywhere else they fail the
//! rendering, as `default` and `json` are at hand. Numbers compare by value, `gt gte lt lte` take two numbers or two texts,
//! and text is counted in characters.
//!
//! A named member of an array, as `name` in `{{#if data.items.name}}`, is a failure everywhere: that is no question.
//!
//! **Checked at load:** syntax, the names of helpers and how many values they take, literal time formats, time zones,
//! regular expressions and JSONPath queries, and that a path outside `{{#each}}` and `{{#with}}` starts with a member of the envelope;
//! for a body of JSON also that it can be JSON (`never_json`). All faults are reported at once, and what people bring
//! from other languages is answered by what to write here (`foreign`, `mistakes`, `lookalike`).
//! Partials, decorators and `log` are refused.
//!
//! **Values that `${…}` put in** are data (`values`): in text they are escaped for their place, within quotes in an
//! expression they are that text. A template never reads them.
//!
//! Rendering does no I/O. A failure names paths and helpers, as they stand in the template, and never a value.

mod check;
mod compile;
mod conditions;
mod content;
mod each;
mod fault;
mod foreign;
mod helpers;
mod infix;
mod insert;
mod literals;
mod lookalike;
mod mistakes;
mod nesting;
mod never_json;
mod place;
pub mod reference;
mod rendering;
mod syntax;
mod tables;
mod tags;
pub(crate) mod values;
mod walk;
mod written;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use handlebars::{Handlebars, RenderError, RenderErrorReason};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

pub use content::{NotJson, is_json};
pub(crate) use insert::url_encode as percent_encode;
pub use tables::Tables;

use rendering::Insertion;

use crate::event::Envelope;
use crate::interpolated::{InterpolatedText, TextRef};
use crate::jq::{HoldsJson, ProgramText};

/// A body that sinks refer to by name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("dependentSchemas" = serde_json::json!({ "jq": { "properties": { "body": false } } })))]
#[schemars(extend("anyOf" = serde_json::json!([{ "required": ["body"] }, { "required": ["jq"] }])))]
pub struct TemplateConfig {
    /// The content type of the rendered body, which says how values are escaped: JSON and its relatives (the rendered body
    /// is checked too), XML and HTML, forms, CSV and TSV. In others they are inserted as they are.
    #[serde(default = "default_content_type")]
    pub content_type: String,
    /// The Handlebars template. It sees the envelope: `id, time, source, key, headers, meta, data`. Without it,
    /// the template has `jq`.
    #[schemars(example = &r#"{"text": "Order {{data.id}}: {{data.total}} {{data.currency}}"}"#)]
    pub body: Option<InterpolatedText>,
    /// A program in jq, in the place of `body`: `.` is the envelope, and its one result is the body as JSON. Where the
    /// content type is not JSON, the result is text, which goes out as it is. Without it, the template has `body`.
    #[schemars(example = &r#"{ text: "Order \(.data.id): \(.data.cents / 100 | fixed(2)) EUR" }"#)]
    pub jq: Option<ProgramText>,
}

/// The content type of a template that names none.
pub const DEFAULT_CONTENT_TYPE: &str = "application/json";

fn default_content_type() -> String {
    DEFAULT_CONTENT_TYPE.to_owned()
}

/// How values are written into the text around them. Only JSON, outside of quotes, takes null, objects and arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// For a JSON body: within quotes text is escaped, outside of them a value stands as its JSON.
    Json,
    /// For lines of JSON.
    JsonLines,
    /// For JSON texts that each begin with a record separator.
    JsonSequence,
    /// For a URL: every byte but the unreserved ones of RFC 3986 (2.3) is percent-encoded. A value that makes a path
    /// segment `.` or `..` is refused, because those would lead to another path.
    Url,
    /// For an HTTP header: anything but visible ASCII and blanks (RFC 9110, 5.5) is refused.
    Header,
    /// For XML and HTML, between tags and in quoted attributes.
    Xml,
    /// For a form: as in a URL.
    Form,
    /// For CSV: a field is put in quotes where it has to be.
    Csv,
    /// For TSV, where tabs and line breaks are refused.
    Tsv,
    /// For other text: as it is.
    Text,
    /// For the name of a lane or a bucket: as it is.
    Key,
}

/// What a template may use besides the event, and how much it may write.
#[derive(Clone)]
pub struct Options {
    /// The time that `now` gives.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The ids that `uuid` gives.
    pub ids: Arc<dyn Fn() -> Uuid + Send + Sync>,
    /// The tables of the pipeline file.
    pub tables: Tables,
    /// The largest output, in bytes. Default 16 MiB.
    pub max_output: usize,
}

/// A template that is ready to render.
///
/// Each has a registry of its own: templates live on different threads, and would otherwise contend for the helpers'
/// reference counts at every call.
pub struct Template {
    compiled: handlebars::Template,
    registry: Handlebars<'static>,
    /// By element.
    insertions: Vec<Option<Insertion>>,
    escape: Escape,
    is_always_json: bool,
    literal: Option<String>,
    outline: Outline,
    doubts: Vec<Doubt>,
    inserts: bool,
    max_output: usize,
}

/// The text of a template with [`VALUE`](Self::VALUE) where an expression inserts something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The text, up to the first block.
    pub text: String,
    /// False when a block follows, which decides with each event what text there is.
    pub is_whole: bool,
}

impl Outline {
    /// Stands for what an expression inserts: a character that no URL can hold.
    pub const VALUE: char = '\0';
}

/// An envelope as templates see it. It is made once for an event and serves all its templates.
#[derive(Debug, Clone)]
pub struct Context(handlebars::Context);

/// Why a template was refused at load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong, in one sentence without a final stop.
    pub message: String,
    /// The line within the template, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// The bytes of the template that are at fault.
    pub part: Range<usize>,
    /// What to write instead.
    pub help: Option<String>,
}

/// Something in a template that is probably not meant so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// `#each` over what is an array only when several values are found.
    SingleValueRepeated(TemplateError),
    /// A query for what no event has.
    UnknownMember(TemplateError),
    /// Text that is an expression in another language, and goes out as it is.
    NotAnExpression(TemplateError),
}

/// Why an event could not be rendered. Rendering it again would fail again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RenderFailure {
    /// What failed.
    pub fault: RenderFault,
    /// The line and column of the expression in the template, from 1, when it was one expression that failed.
    pub place: Option<(usize, usize)>,
}

/// What failed when an event was rendered. Names are those in the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderFault {
    /// A value that the template inserts is not in the event.
    #[error("`{0}` is missing from the event")]
    Missing(String),
    /// An expression that looks for something finds nothing.
    #[error("`{0}` finds nothing in the event")]
    NothingFound(String),
    /// A value is null where that cannot be written.
    #[error("`{0}` is null; `default` gives a value in its place")]
    Null(String),
    /// A value is an object or an array where only text, numbers, `true` and `false` can be written.
    #[error("`{0}` is an object or an array, which cannot stand here; `json` gives its JSON as text")]
    NotScalar(String),
    /// A value holds what cannot be written at its place.
    #[error("`{0}` holds a character that cannot stand in {1}")]
    NotInPlace(String, &'static str),
    /// A value is not what a helper takes.
    #[error("`{helper}` takes {expected}, and `{name}` is {found}")]
    WrongValue {
        /// The helper.
        helper: String,
        /// The value's name.
        name: String,
        /// What the helper takes.
        expected: &'static str,
        /// The value's type.
        found: &'static str,
    },
    /// A division by zero.
    #[error("`div` divides by `{0}`, which is 0")]
    DividedByZero(String),
    /// What a helper computes has more digits than numbers can have.
    #[error("`{0}` gives a number of too many digits")]
    TooManyDigits(String),
    /// A value holds a line break or another character that no HTTP header can carry.
    #[error("`{0}` holds a character that an HTTP header cannot carry")]
    NotHeaderText(String),
    /// A path segment of a rendered URL is `.` or `..`.
    #[error("a value makes a segment of the URL's path `.` or `..`, which would lead to another path")]
    DotSegment,
    /// The output is larger than the limit, in bytes.
    #[error("the output is larger than {0} bytes")]
    TooLarge(usize),
    /// Anything else that Handlebars objects to, in its words.
    #[error("{0}")]
    Other(String),
}

impl RenderFault {
    /// Whether the event lacks a value, or it is null.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::NothingFound(_) | Self::Null(_))
    }
}

impl Template {
    /// Compiles a template that uses the system's clock and random ids.
    ///
    /// # Errors
    /// When the text is not a template, or one that could not render any event: all faults, in the order of the text.
    pub fn compile<'a>(text: impl Into<TextRef<'a>>, escape: Escape) -> Result<Self, Vec<TemplateError>> {
        Self::compile_with(text, escape, &Options::default())
    }

    /// Compiles a template with a clock, ids and a limit of the caller's choice.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_with<'a>(
        text: impl Into<TextRef<'a>>,
        escape: Escape,
        options: &Options,
    ) -> Result<Self, Vec<TemplateError>> {
        Ok(Self::new(compile::compile(text.into(), escape, &options.tables)?, escape, options))
    }

    /// Compiles the template of a body, and refuses one that could never be what its content type promises.
    ///
    /// # Errors
    /// As [`compile`](Self::compile), and when a body of JSON can never be JSON.
    pub fn compile_body<'a>(
        text: impl Into<TextRef<'a>>,
        escape: Escape,
        options: &Options,
    ) -> Result<Self, Vec<TemplateError>> {
        let mut compiled = compile::compile(text.into(), escape, &options.tables)?;
        let never_json = std::mem::take(&mut compiled.never_json);
        never_json.is_empty().then_some(()).ok_or(never_json)?;
        Ok(Self::new(compiled, escape, options))
    }

    fn new(compiled: compile::Compiled, escape: Escape, options: &Options) -> Self {
        Self {
            compiled: compiled.template,
            registry: helpers::registry(options, compiled.queries, compiled.patterns),
            insertions: compiled.insertions,
            escape,
            is_always_json: compiled.is_always_json,
            literal: compiled.literal,
            outline: compiled.outline,
            doubts: compiled.doubts,
            inserts: compiled.inserts,
            max_output: options.max_output,
        }
    }

    /// The output, if it is the same for every event, so that no envelope is needed.
    pub fn literal(&self) -> Option<&str> {
        self.literal.as_deref()
    }

    /// What of the output is the same for every event.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// What is probably not meant so.
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// Whether it inserts a value with the escaping of its place.
    pub fn inserts(&self) -> bool {
        self.inserts
    }

    /// How values are written into the text.
    pub fn escape(&self) -> Escape {
        self.escape
    }

    /// Renders one event.
    ///
    /// # Errors
    /// When the event lacks what the template needs, or has what cannot be written there. It is permanent.
    pub fn render(&self, context: &Context) -> Result<String, RenderFailure> {
        if let Some(literal) = &self.literal {
            return Ok(literal.clone());
        }
        let (elements, insertions) = (&self.compiled, &self.insertions);
        let text = rendering::render(elements, insertions, &self.registry, &context.0, self.max_output)
            .map_err(|error| RenderFailure::from_handlebars(error, self.max_output))?;
        if self.escape == Escape::Url && has_dot_segment(&text) {
            return Err(RenderFailure { fault: RenderFault::DotSegment, place: None });
        }
        Ok(text)
    }

    /// Checks that a rendered body is what its content type promises.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, body: &str) -> Result<(), NotJson> {
        if self.is_always_json { Ok(()) } else { self.escape.verify(body) }
    }
}

impl Context {
    /// Wraps an envelope as [`Event::envelope`](crate::event::Event::envelope) makes it.
    pub fn new(envelope: Value) -> Self {
        Self(handlebars::Context::from(envelope))
    }

    /// The envelope.
    pub fn as_value(&self) -> &Value {
        self.0.data()
    }
}

/// Programs read the envelope where it lies.
impl HoldsJson for Context {
    fn json(&self) -> &Value {
        self.as_value()
    }
}

impl From<Envelope> for Context {
    fn from(envelope: Envelope) -> Self {
        Self::new(envelope.into_value())
    }
}

/// Whether a segment of the path, as URLs are resolved (RFC 3986, 5.2.4), leads elsewhere.
fn has_dot_segment(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(Timestamp::now),
            ids: Arc::new(Uuid::new_v4),
            tables: Tables::default(),
            max_output: 16 << 20,
        }
    }
}

impl RenderFailure {
    /// The bytes of the template that failed, when it was one expression that failed.
    pub fn part(&self, template: &str) -> Option<Range<usize>> {
        let (line, column) = self.place?;
        fault::part_at(template, line, column)
    }

    fn from_handlebars(error: RenderError, limit: usize) -> Self {
        let place = error.line_no.zip(error.column_no);
        let fault = match RenderErrorReason::from(error) {
            RenderErrorReason::NestedError(error) => match error.downcast::<RenderFault>() {
                Ok(fault) => *fault,
                Err(other) => RenderFault::Other(other.to_string()),
            },
            // The output is the only thing that is written to.
            RenderErrorReason::IOError(_) => RenderFault::TooLarge(limit),
            other => RenderFault::Other(other.to_string()),
        };
        Self { fault, place }
    }
}

impl fmt::Display for RenderFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{} (line {line}, column {column} of the template)", self.fault),
            None => self.fault.fmt(f),
        }
    }
}

impl From<RenderFault> for RenderError {
    fn from(fault: RenderFault) -> Self {
        RenderErrorReason::NestedError(Box::new(fault)).into()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("max_output", &self.max_output).finish_non_exhaustive()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("escape", &self.escape).field("literal", &self.literal).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod advice_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod tests;
