//! Helpers and names that people bring from other languages (JavaScript, Jinja, Liquid, Go templates, jq, SQL), and
//! what to write here in their place.
//!
//! The tables are data: a word and what it means here. A test holds every template in them to be one.

use handlebars::template::Parameter;
use serde_json::Value;

use super::fault::TemplateFault;
use super::helpers::{Kind, SIGNATURES, Signature};
use super::infix::{self, starts_in_envelope};
use super::written::argument;
use crate::event::ENVELOPE;
use crate::problem::did_you_mean;

/// What a foreign word means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// There is a helper that does it.
    Helper(&'static str),
    /// There is none, and this is what to do.
    Advice(&'static str),
}

use Meaning::{Advice, Helper};

/// A line for each thing meant.
const TABLE: &str = include_str!("foreign.txt");

/// What the payload is called elsewhere.
const PAYLOAD: &[&str] = &[
    "payload",
    "body",
    "value",
    "message",
    "msg",
    "record",
    "json",
    "input",
    "object",
    "content",
    "detail",
    "params",
    "attributes",
    "fields",
    "Values",
    "_source",
];
/// What the whole is called elsewhere.
const WHOLE: &[&str] = &["event", "envelope", "ctx", "context", "root", "$root", "e", "evt", "self", "_"];
/// What `meta` may have, by the type of the source.
const META: &[&str] =
    &["topic", "partition", "offset", "exchange", "routing_key", "queue", "redelivered", "properties", "path", "file"];

/// What a word of another language means here.
pub(super) fn meaning(word: &str) -> Option<Meaning> {
    let plain = plain(word);
    if let Some(known) = SIGNATURES.iter().find(|known| self::plain(known.name) == plain) {
        return Some(Helper(known.name));
    }
    rows().find(|(words, _)| words.split(' ').any(|word| word == plain)).map(|(_, meaning)| meaning)
}

/// The words of each line, and what they mean.
pub(super) fn rows() -> impl Iterator<Item = (&'static str, Meaning)> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut cells = line.splitn(3, " | ");
        let words = cells.next()?;
        Some((
            words,
            match cells.next()? {
                "-" => Advice(cells.next()?),
                helper => Helper(helper),
            },
        ))
    })
}

/// The fault of a call of what is no helper, with what to write in its place.
pub(super) fn unknown_helper(name: &str, kind: Kind, params: &[Parameter]) -> TemplateFault {
    let fault = TemplateFault::new(format!("there is no helper `{name}`")).about(name);
    if let Some(path) = member_in_brackets(name, params) {
        return fault.help(format!("write `{{{{{path}}}}}`"));
    }
    if params.is_empty() && kind == Kind::Value && (name.contains('.') || ENVELOPE.contains(&name)) {
        return fault.help(format!("a path stands without parentheses: `{name}`"));
    }
    if has_a_dash(params) && meaning(name).is_none() {
        return fault.help(infix::calculation(&format!("{name} {}", arguments(params))));
    }
    // A section of Mustache may have any name.
    let is_section = kind == Kind::Block && params.is_empty();
    match meaning(name).filter(|meaning| !is_section || matches!(meaning, Helper(_))) {
        Some(Helper(meant)) => fault.help(match example(meant) {
            Some(example) => format!("did you mean `{meant}`? For example `{example}`"),
            None => format!("did you mean `{meant}`?"),
        }),
        Some(Advice(advice)) => fault.help(advice),
        None => match did_you_mean(name, names(kind)) {
            Some(meant) => fault.help(format!("did you mean `{meant}`?")),
            // Of a block, the caller knows more.
            None if is_section => fault,
            None => fault.help(format!("the helpers are {}", names(kind).collect::<Vec<_>>().join(", "))),
        },
    }
}

fn arguments(params: &[Parameter]) -> String {
    params.iter().map(argument).collect::<Vec<_>>().join(" ")
}

/// Whether a dash stands between or behind values, where it is read as a path.
pub(super) fn has_a_dash(params: &[Parameter]) -> bool {
    params.iter().any(|param| argument(param) == "-")
}

/// A path in the payload, for one that names it otherwise.
pub(super) fn in_payload(path: &str) -> String {
    let (first, rest) = path.split_at(path.find(['.', '/']).unwrap_or(path.len()));
    if PAYLOAD.contains(&first) { format!("data{rest}") } else { format!("data.{path}") }
}

/// The fault of a path from the envelope that begins with none of its members.
pub(super) fn unknown_path(name: &str, raw: &str) -> TemplateFault {
    let written = raw.trim_start_matches("this.").trim_start_matches("./");
    let written = written.trim_start_matches("@root.").trim_start_matches("../");
    let rest = written.strip_prefix(name).unwrap_or_default();
    let behind = rest.trim_start_matches(['.', '/']);
    let prefix = raw.strip_suffix(written).filter(|prefix| !prefix.starts_with("this")).unwrap_or_default();
    let path_for = |path: &str| format!("{prefix}{path}");
    let place = if raw.starts_with("../") { "; `../` leads to the envelope here" } else { "" };
    let fault = TemplateFault::new(format!("`{name}` is neither a member of the envelope nor a helper{place}"));
    let fault = fault.about(if raw == written { name } else { raw });
    let help = match name {
        _ if name.starts_with('$')
            && starts_in_envelope(if name == "$" { behind } else { written.get(1..).unwrap_or_default() }) =>
        {
            let path = written.trim_start_matches('$').trim_start_matches('.');
            format!("a path has no `$` in a template: write `{path}`")
        }
        "$" if !behind.is_empty() => format!("a path has no `$` in a template: write `data.{behind}`"),
        "$" => "write `{{json this}}` for the whole envelope, or `{{json data}}` for the payload".to_owned(),
        _ if WHOLE.contains(&name) && starts_in_envelope(behind) => {
            format!("leave `{name}` out: write `{}`", path_for(behind))
        }
        _ if PAYLOAD.contains(&name) || WHOLE.contains(&name) => {
            format!("the payload is `data` here: write `{}`", path_for(format!("data.{behind}").trim_end_matches('.')))
        }
        "env" | "ENV" | "process" => {
            "what comes from the environment is written `${env:NAME}`, without braces".to_owned()
        }
        "header" => format!("write `{}`", path_for(format!("headers.{behind}").trim_end_matches('.'))),
        _ if META.contains(&name) && rest.is_empty() => {
            format!(
                "write `{}` for where the event comes from, `{}` for the payload's",
                path_for(&format!("meta.{name}")),
                path_for(&format!("data.{name}"))
            )
        }
        "timestamp" => "write `time` for that of the event, or `data.timestamp` for the payload's".to_owned(),
        _ => return fault.help(likely_path(name, rest.is_empty(), &path_for(&format!("data.{written}")))),
    };
    fault.help(help)
}

/// What was probably meant by a path that begins with an unknown name; `is_whole` when there is nothing behind it.
fn likely_path(name: &str, is_whole: bool, in_payload: &str) -> String {
    if let Some(known) = did_you_mean(name, ENVELOPE) {
        return format!("did you mean `{known}`?");
    }
    if let Some(Advice(advice)) = meaning(name)
        && is_whole
        && (name.starts_with("end") || name.starts_with("el"))
    {
        return advice.to_owned();
    }
    match did_you_mean(name, SIGNATURES.iter().map(|known| known.name)) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("the payload's members are under `data`: write `{in_payload}`"),
    }
}

/// What was probably meant by too many or too few values: a helper within another has parentheses and comes first.
pub(super) fn other_order(signature: &Signature, params: &[Parameter]) -> Option<String> {
    let values: Vec<String> = params.iter().map(argument).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let inner = match *values.as_slice() {
        [item, "in", list] if signature.name == "each" => {
            return Some(format!("write `{{{{#each {list} as |{item}|}}}}`"));
        }
        [list, "as", item] if signature.name == "each" => {
            return Some(format!("write `{{{{#each {list} as |{item}|}}}}`"));
        }
        [_, _, _, ..] if infix::is_operator(values[1]) => infix::to_helpers(&values.join(" "))?,
        [helper, _, ..] => match meaning(helper)? {
            Helper(helper) if !matches!(helper, "if" | "unless" | "each" | "with") => {
                format!("({helper} {})", values[1..].join(" "))
            }
            _ => return None,
        },
        _ => return None,
    };
    let sign = if signature.kind == Kind::Block { "#" } else { "" };
    Some(format!("write `{{{{{sign}{} {inner}}}}}`", signature.name))
}

/// How a helper is written.
pub(super) fn example(name: &str) -> Option<&'static str> {
    SIGNATURES.iter().find(|known| known.name == name).map(|known| known.example)
}

/// `data["id"]` and `items[0]`, which Handlebars reads as a helper that is given a list.
fn member_in_brackets(name: &str, params: &[Parameter]) -> Option<String> {
    let Some(Parameter::Literal(Value::Array(list))) = params.first() else { return None };
    let member = match list.as_slice() {
        [Value::String(member)] => infix::segment(member),
        [Value::Number(index)] => format!("[{index}]"),
        _ => return None,
    };
    let beginning = if ENVELOPE.contains(&name) { name.to_owned() } else { format!("data.{name}") };
    Some(format!("{beginning}.{member}"))
}

fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    let fits = move |known: &&Signature| known.kind == kind || known.kind == Kind::ValueOrBlock;
    SIGNATURES.iter().filter(fits).map(|known| known.name)
}

fn plain(word: &str) -> String {
    let sign = |character: char| matches!(character, '_' | '.') || (character == '-' && word.len() > 1);
    word.chars().filter(|character| !sign(*character)).collect::<String>().to_lowercase()
}
