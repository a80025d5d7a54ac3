//! `bridge eval`: tries one filter expression, template, program or node of a pipeline file on events from a file or
//! standard input.

mod node;

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgGroup, Args, ValueEnum};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::CliError;
use crate::config::test_case::TestEvent;
use crate::config::{ConfigErrors, Fault, ReportStyle};
use crate::event::{ENVELOPE, Envelope, Format, json_value};
use crate::filter::Predicate;
use crate::jq::{self, Program};
use crate::node::NodeName;
use crate::secret::mask;
use crate::template::{Context, Escape, Template, TemplateError};

/// Tries one filter expression, template, program, or node of a pipeline file on events from a file or standard input.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
#[command(after_help = "\
Examples:
  bridge eval --when \"$.data.total >= 100\" \\
    examples/quickstart/orders.jsonl
  bridge eval --template '{\"text\": \"{{data.id}}\"}' \\
    order.json
  bridge eval --url order.json \\
    --template 'https://crm.example.com/{{data.region}}'
  bridge eval --format text access.log \\
    --template '{\"line\": \"{{truncate data 80}}\"}'
  bridge eval --jq '{ id, total: (.data.cents / 100) }' \\
    order.json
  bridge eval pipeline.toml --sink crm order.json
  bridge eval pipeline.toml --transform parsed \\
    --format text access.log
  bridge dead export pipeline.toml |
    jq -r .event.payload |
    bridge eval --when \"$.data.total\"

Events are JSON, one after the other. An object with `data`, and nothing beside it but members \
of the envelope (id time source key headers meta), is a whole event; anything else is the `data` \
of one; with `--format text` each line is. Each gives one line: `true` or `false` for an expression or a filter, the text for a template, \
and one for each value that a program or a transform gives. A sink gives the request that it would send; nothing is sent.")]
pub struct EvalArgs {
    /// A filter expression, as in a filter's `when`
    #[arg(long, value_name = "EXPR", group = "what")]
    pub when: Option<String>,
    /// A template, as in a sink's `body`: values are JSON-escaped
    #[arg(long, value_name = "TEXT", group = "what")]
    pub template: Option<String>,
    /// A program in jq, as in a sink's `jq`: `.` is the whole event
    #[arg(long, value_name = "PROGRAM", group = "what", allow_hyphen_values = true)]
    pub jq: Option<String>,
    /// This sink of the pipeline file: what it would send
    #[arg(long, value_name = "NAME", group = "what")]
    pub sink: Option<String>,
    /// This filter of the pipeline file: whether it lets the event through
    #[arg(long, value_name = "NAME", group = "what")]
    pub filter: Option<String>,
    /// This transform of the pipeline file: the `data` of each event that it makes
    #[arg(long, value_name = "NAME", group = "what")]
    pub transform: Option<String>,
    /// The template is a sink's `url`: values are percent-encoded
    #[arg(long, requires = "template", conflicts_with = "text")]
    pub url: bool,
    /// The template is plain text, as `order_by` or a body that is not JSON: values are inserted as they are
    #[arg(long, requires = "template")]
    pub text: bool,
    /// What each event in the file is
    #[arg(long, value_enum, default_value_t)]
    pub format: EventFormat,
    /// With `--sink`, `--filter` and `--transform` the pipeline file first; then the events, by default standard input, which is `-`, too
    #[arg(value_name = "FILE", num_args = 0..=2)]
    pub files: Vec<PathBuf>,
}

/// What each event in a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum EventFormat {
    /// A JSON value, as of sources with `format = "json"`
    #[default]
    Json,
    /// A line, which is the text in `data`, as of sources with `format = "text"`
    Text,
}

impl From<EventFormat> for Format {
    fn from(format: EventFormat) -> Self {
        match format {
            EventFormat::Json => Self::Json,
            EventFormat::Text => Self::Text,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// A faulty expression or template, events that cannot be read, or how many of them could not be rendered.
pub fn run(args: &EvalArgs) -> Result<(), CliError> {
    let (pipeline, events_file) = args.files()?;
    let evaluation = Evaluation::new(args, pipeline)?;
    let text = read(events_file)?;
    let mut failed = 0;
    let mut said = None;
    let mut number = 0;
    for (event, written) in events(&text, args.format) {
        number += 1;
        let event =
            event.map_err(|error| CliError::NoEvent(format!("event {number} of {} {error}", shown(events_file))))?;
        let is_envelope = args.format == EventFormat::Json && is_envelope(&event);
        if said != Some(is_envelope) {
            note(match is_envelope {
                true => "taken for a whole event, as it has `data` beside members of the envelope",
                false => "taken for the `data` of an event",
            });
            said = Some(is_envelope);
        }
        match evaluation.of(Event { envelope: envelope(event, is_envelope), written, is_envelope }) {
            Ok(results) => results.iter().try_for_each(|result| print(result))?,
            Err(failure) => {
                failed += 1;
                complain(&format!("event {number}:{}", failure.shown()));
            }
        }
    }
    match (number, failed) {
        (0, _) => Err(CliError::NoEvent("there is no event to try it on".to_owned())),
        (_, 0) => Ok(()),
        (_, failed) => Err(CliError::NotEvaluated(failed)),
    }
}

impl EvalArgs {
    /// The pipeline file, where one is needed, and the file of the events.
    fn files(&self) -> Result<(Option<&Path>, &Path), CliError> {
        let stdin = Path::new("-");
        let name_the_pipeline =
            "name the pipeline file of the node first: `bridge eval pipeline.toml --sink NAME event.json`";
        match (self.node().is_some(), self.files.as_slice()) {
            (true, [pipeline]) if pipeline == stdin => Err(CliError::Usage(name_the_pipeline.to_owned())),
            (true, [pipeline]) => Ok((Some(pipeline), stdin)),
            (true, [pipeline, events]) => Ok((Some(pipeline), events)),
            (true, _) => Err(CliError::Usage(name_the_pipeline.to_owned())),
            (false, []) => Ok((None, stdin)),
            (false, [events]) => Ok((None, events)),
            (false, _) => Err(CliError::Usage("name one file of events".to_owned())),
        }
    }

    fn node(&self) -> Option<NodeName> {
        let sink = self.sink.as_deref().map(NodeName::sink);
        let filter = self.filter.as_deref().map(NodeName::filter);
        sink.or(filter).or_else(|| self.transform.as_deref().map(NodeName::transform))
    }
}

/// An event, and where its JSON is written, if it is.
type WrittenEvent<'a> = (Result<Value, String>, &'a [u8]);

/// The events in the content of a file, one after the other.
fn events(content: &[u8], format: EventFormat) -> Box<dyn Iterator<Item = WrittenEvent<'_>> + '_> {
    match format {
        EventFormat::Json => {
            let mut events = serde_json::Deserializer::from_slice(content).into_iter::<IgnoredAny>();
            Box::new(std::iter::from_fn(move || {
                let start = events.byte_offset();
                let event = events.next()?;
                let written = content.get(start..events.byte_offset()).unwrap_or_default();
                // Its value is what it would be as the payload of an event.
                let event = event.and_then(|_| json_value(written));
                Some((event.map_err(|error| format!("is not JSON: {error}")), written))
            }))
        }
        EventFormat::Text => {
            let lines = content.strip_suffix(b"\n").unwrap_or(content).split(|byte| *byte == b'\n');
            let lines = lines.filter(|_| !content.is_empty());
            let text = |line: &[u8]| std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).map(Value::from);
            let event = move |line| text(line).map_err(|error| format!("is not UTF-8: {error}"));
            Box::new(lines.map(move |line| (event(line), [].as_slice())))
        }
    }
}

enum Evaluation {
    When(Predicate),
    Template { text: String, template: Box<Template> },
    Program { text: String, program: Box<Program> },
    Node { node: Box<node::Node>, format: Format },
}

/// An event to try it on.
struct Event<'a> {
    envelope: Value,
    /// As it is written.
    written: &'a [u8],
    /// Whether what is written is the whole event, and not only its `data`.
    is_envelope: bool,
}

/// Why there is no result for an event.
enum Failure {
    /// What was tried fails, with its place in the text of the command line.
    Faulty(ConfigErrors),
    /// The node makes it a dead letter.
    DeadLetter(String),
}

impl Failure {
    fn shown(&self) -> String {
        match self {
            Self::Faulty(errors) => format!("\n{}", errors.render(ReportStyle::for_stderr())),
            Self::DeadLetter(message) => format!(" {message}\n"),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Faulty(errors)
    }
}

/// A program that gives more values than this is not shown all of them.
const MOST_RESULTS: usize = 10_000;

impl Evaluation {
    fn new(args: &EvalArgs, pipeline: Option<&Path>) -> Result<Self, CliError> {
        if let (Some(pipeline), Some(name)) = (pipeline, args.node()) {
            return Ok(Self::Node { node: Box::new(node::Node::load(pipeline, name)?), format: args.format.into() });
        }
        if let Some(when) = &args.when {
            let fault = |error: crate::jsonpath::ExpressionError| {
                faulty("--when", when, error.part.clone(), error.to_string(), error.help)
            };
            return Predicate::parse(when).map(Self::When).map_err(fault).map_err(CliError::Expression);
        }
        if let Some(text) = &args.jq {
            let faults = |faults: Vec<jq::Fault>| {
                let fault =
                    |fault: jq::Fault| Fault { span: Some(fault.part), message: fault.message, help: fault.help };
                CliError::Expression(ConfigErrors::new("--jq", text, faults.into_iter().map(fault).collect()))
            };
            let program = Program::compile(text, &jq::Options::default()).map_err(faults)?;
            return Ok(Self::Program { text: text.clone(), program: Box::new(program) });
        }
        let text = args.template.clone().unwrap_or_default();
        let escape = match (args.url, args.text) {
            (true, _) => Escape::Url,
            (_, true) => Escape::Text,
            _ => Escape::Json,
        };
        let template = Template::compile(&text, escape).map_err(|errors| {
            let fault = |error: TemplateError| {
                let message = error.to_string();
                Fault { span: Some(error.part), message, help: error.help }
            };
            CliError::Expression(ConfigErrors::new("--template", &text, errors.into_iter().map(fault).collect()))
        })?;
        Ok(Self::Template { text, template: Box::new(template) })
    }

    fn of(&self, event: Event<'_>) -> Result<Vec<String>, Failure> {
        match self {
            Self::Node { node, format } => {
                let results = node.of(&event.of_test(), *format).map_err(Failure::DeadLetter)?;
                if results.is_none() {
                    note("an event does not match `parse`: it leaves by `.unmatched`");
                }
                Ok(results.unwrap_or_default())
            }
            Self::When(predicate) => Ok(vec![predicate.matches(&Envelope::new(event.envelope)).to_string()]),
            Self::Program { text, program } => {
                let results = program.run_all(&jq::Value::of_json(Arc::new(event.envelope)), MOST_RESULTS);
                let results = results.map_err(|failure| match failure {
                    jq::Failure::ErrorAt(message, place) => faulty("--jq", text, Some(place.part), message, None),
                    other => faulty("--jq", text, None, other.to_string(), None),
                })?;
                if results.len() != 1 {
                    note(&format!("{} values; a sink takes exactly one", results.len()));
                }
                Ok(results.iter().map(jq::Value::to_json).collect())
            }
            Self::Template { text, template } => {
                let result = template.render(&Context::new(event.envelope)).map_err(|failure| {
                    faulty("--template", text, failure.part(text), failure.fault.to_string(), None)
                })?;
                if let Err(error) = template.escape().verify(&result) {
                    note(&format!("{error}; as the body of a sink it would make the event a dead letter"));
                }
                Ok(vec![result])
            }
        }
    }
}

impl Event<'_> {
    /// The event for a node. What is written is the payload as it is, if it is not the whole event.
    fn of_test(&self) -> TestEvent {
        let payload = std::str::from_utf8(self.written).ok().filter(|text| !self.is_envelope && !text.is_empty());
        node::event_of(&self.envelope, payload.map(|text| text.trim_start().to_owned()))
    }
}

/// A fault in the text of an argument, to be shown with a caret.
fn faulty(
    name: &str,
    text: &str,
    span: Option<std::ops::Range<usize>>,
    message: String,
    help: Option<String>,
) -> ConfigErrors {
    let whole = 0..text.len();
    ConfigErrors::new(name, text, vec![Fault { span: Some(span.unwrap_or(whole)), message, help }])
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        if io::stdin().is_terminal() {
            note("events are read from standard input; Ctrl-D ends them");
        }
        io::stdin().read_to_end(&mut text).map(drop)
    } else {
        fs::read(path).map(|bytes| text = bytes)
    };
    read.map_err(CliError::io(format!("cannot read {}", path.display())))?;
    Ok(text)
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn is_envelope(event: &Value) -> bool {
    let Some(members) = event.as_object() else { return false };
    members.contains_key("data") && members.keys().all(|name| ENVELOPE.contains(&name.as_str()))
}

/// The envelope of an event, with what it lacks.
fn envelope(event: Value, is_envelope: bool) -> Value {
    let time = Timestamp::now().to_string();
    let mut whole: Map<String, Value> = ENVELOPE.map(|name| (name.to_owned(), Value::Null)).into_iter().collect();
    whole.extend([("id", json!("test/1")), ("time", json!(time)), ("source", json!("test"))].map(member));
    whole.extend([("headers", json!({})), ("meta", json!({}))].map(member));
    match event {
        Value::Object(members) if is_envelope => whole.extend(members),
        data => whole.extend([("data", data)].map(member)),
    }
    whole.into()
}

fn member((name, value): (&str, Value)) -> (String, Value) {
    (name.to_owned(), value)
}

fn print(line: &str) -> Result<(), CliError> {
    writeln!(io::stdout(), "{line}").map_err(CliError::io("cannot print"))
}

/// Says on standard error what is no result.
fn note(text: &str) {
    complain(&format!("note: {text}\n"));
}

fn complain(text: &str) {
    // Nobody is left to tell when standard error is closed.
    io::stderr().write_all(mask(text).as_bytes()).ok();
}
