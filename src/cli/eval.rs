//! `bridge eval`: tries one filter expression or template on events from a file or standard input.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::CliError;
use crate::config::{ConfigErrors, Fault, ReportStyle};
use crate::event::{ENVELOPE, Envelope};
use crate::filter::Predicate;
use crate::secret::mask;
use crate::template::{Context, Escape, Template, TemplateError};

/// Tries one filter expression or template on events from a file or standard input.
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
  bridge dead export pipeline.toml |
    jq -r .event.payload |
    bridge eval --when \"$.data.total\"

Events are JSON, one after the other. An object with `data`, and nothing beside it but members \
of the envelope (id time source key headers meta), is a whole event; anything else is the `data` \
of one; with `--format text` each line is. Each gives one line: `true` or `false` for an expression, the text for a template.")]
pub struct EvalArgs {
    /// A filter expression, as in a filter's `when`
    #[arg(long, value_name = "EXPR", group = "what")]
    pub when: Option<String>,
    /// A template, as in a sink's `body`: values are JSON-escaped
    #[arg(long, value_name = "TEXT", group = "what")]
    pub template: Option<String>,
    /// The template is a sink's `url`: values are percent-encoded
    #[arg(long, requires = "template", conflicts_with = "text")]
    pub url: bool,
    /// The template is plain text, as `order_by` or a body that is not JSON: values are inserted as they are
    #[arg(long, requires = "template")]
    pub text: bool,
    /// What each event in the file is
    #[arg(long, value_enum, default_value_t)]
    pub format: EventFormat,
    /// The events; `-` is standard input
    #[arg(value_name = "EVENT-FILE", default_value = "-")]
    pub events: PathBuf,
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

/// Runs the subcommand.
///
/// # Errors
/// A faulty expression or template, events that cannot be read, or how many of them could not be rendered.
pub fn run(args: &EvalArgs) -> Result<(), CliError> {
    let evaluation = Evaluation::new(args)?;
    let text = read(&args.events)?;
    let mut failed = 0;
    let mut said = None;
    let mut number = 0;
    for event in events(&text, args.format) {
        number += 1;
        let event = event.map_err(|error| CliError::NoEvent(format!("event {number} {error}")))?;
        let is_envelope = args.format == EventFormat::Json && is_envelope(&event);
        if said != Some(is_envelope) {
            note(match is_envelope {
                true => "taken for a whole event, as it has `data` beside members of the envelope",
                false => "taken for the `data` of an event",
            });
            said = Some(is_envelope);
        }
        match evaluation.of(envelope(event, is_envelope)) {
            Ok(result) => print(&result)?,
            Err(failure) => {
                failed += 1;
                complain(&format!("event {number}:\n{}", failure.render(ReportStyle::for_stderr())));
            }
        }
    }
    match (number, failed) {
        (0, _) => Err(CliError::NoEvent("there is no event to try it on".to_owned())),
        (_, 0) => Ok(()),
        (_, failed) => Err(CliError::NotEvaluated(failed)),
    }
}

/// The events in the content of a file, one after the other.
fn events(content: &[u8], format: EventFormat) -> Box<dyn Iterator<Item = Result<Value, String>> + '_> {
    match format {
        EventFormat::Json => {
            let events = serde_json::Deserializer::from_slice(content).into_iter::<Value>();
            Box::new(events.map(|event| event.map_err(|error| format!("is not JSON: {error}"))))
        }
        EventFormat::Text => {
            let lines = content.strip_suffix(b"\n").unwrap_or(content).split(|byte| *byte == b'\n');
            let lines = lines.filter(|_| !content.is_empty());
            let text = |line: &[u8]| std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).map(Value::from);
            Box::new(lines.map(move |line| text(line).map_err(|error| format!("is not UTF-8: {error}"))))
        }
    }
}

enum Evaluation {
    When(Predicate),
    Template { text: String, template: Box<Template> },
}

impl Evaluation {
    fn new(args: &EvalArgs) -> Result<Self, CliError> {
        if let Some(when) = &args.when {
            let fault = |error: crate::jsonpath::ExpressionError| {
                faulty("--when", when, error.part.clone(), error.to_string(), error.help)
            };
            return Predicate::parse(when).map(Self::When).map_err(fault).map_err(CliError::Expression);
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

    fn of(&self, envelope: Value) -> Result<String, ConfigErrors> {
        match self {
            Self::When(predicate) => Ok(predicate.matches(&Envelope::new(envelope)).to_string()),
            Self::Template { text, template } => {
                let result = template.render(&Context::new(envelope)).map_err(|failure| {
                    faulty("--template", text, failure.part(text), failure.fault.to_string(), None)
                })?;
                if let Err(error) = template.escape().verify(&result) {
                    note(&format!("{error}; as the body of a sink it would make the event a dead letter"));
                }
                Ok(result)
            }
        }
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
