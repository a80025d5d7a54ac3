//! What is wrong in a program, with its place in the text and what to write instead.

use std::ops::Range;

use jaq_core::compile::Undefined;
use jaq_core::load::lex;
use jaq_core::load::parse;

use crate::event::ENVELOPE;
use crate::problem::{Problem, did_you_mean};

/// A fault of a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column} of the program)")]
pub struct Fault {
    /// What is wrong, in one sentence without a final stop.
    pub message: String,
    /// The line within the program, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// The bytes of the program that are at fault.
    pub part: Range<usize>,
    /// What to write instead.
    pub help: Option<String>,
}

/// A name that programs may call, and how many values it takes.
pub(super) type Known<'a> = (&'a str, usize);

/// What other programs of jq may ask for and these may not.
const REFUSED: [(&str, &str); 18] = [
    (
        "env",
        "a program does not see the environment; `\"${env:NAME}\"` in the pipeline file inserts a variable as text",
    ),
    (
        "$ENV",
        "a program does not see the environment; `\"${env:NAME}\"` in the pipeline file inserts a variable as text",
    ),
    ("input", "a program sees one event, which is `.`"),
    ("inputs", "a program sees one event, which is `.`"),
    ("input_filename", "the file of an event is `.meta.path`"),
    ("input_line_number", "the place of an event is in `.meta`"),
    ("$__prog_args", "a program has no arguments"),
    ("$__loc__", "a program has no other place than the pipeline file"),
    ("debug", "a program does no output; `bridge eval` shows what it gives"),
    ("stderr", "a program does no output; `bridge eval` shows what it gives"),
    ("halt", "a program ends with its result; `error(\"…\")` ends it with a dead letter"),
    ("halt_error", "`error(\"…\")` ends a program with a dead letter"),
    ("localtime", "the bridge has no time zone of its own: `format_time(\"%H:%M\"; \"Europe/Berlin\")`"),
    ("strflocaltime", "the bridge has no time zone of its own: `format_time(\"%H:%M\"; \"Europe/Berlin\")`"),
    ("get_search_list", "a program has no modules"),
    ("modulemeta", "a program has no modules"),
    ("jn", "there are no Bessel functions"),
    ("yn", "there are no Bessel functions"),
];

/// What other languages and the helpers of templates call it, and how it is written here.
const FOREIGN: [(&str, &str); 27] = [
    ("upper", "ascii_upcase"),
    ("uppercase", "ascii_upcase"),
    ("toUpperCase", "ascii_upcase"),
    ("lower", "ascii_downcase"),
    ("lowercase", "ascii_downcase"),
    ("toLowerCase", "ascii_downcase"),
    ("len", "length"),
    ("size", "length"),
    ("count", "length"),
    ("sum", "add"),
    ("filter", "map(select(…))"),
    ("where", "select(…)"),
    ("default", ".a // \"…\""),
    ("coalesce", ".a // .b"),
    ("concat", "\"\\(.a)\\(.b)\""),
    ("json", "tojson"),
    ("parse_json", "fromjson"),
    ("base64", "@base64"),
    ("url_encode", "@uri"),
    ("urlencode", "@uri"),
    ("xml", "@html"),
    ("replace", "gsub(\"…\"; \"…\")"),
    ("truncate", ".[:80]"),
    ("substring", ".[0:5]"),
    ("lookup", "$tables.tenants[.data.tenant]"),
    ("omit", "del(.a, .b)"),
    ("switch", "if … then … elif … then … else … end"),
];

impl Fault {
    pub(super) fn new(text: &str, part: Range<usize>, message: impl Into<String>) -> Self {
        let before = text.get(..part.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            message: message.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            part,
            help: None,
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The fault as one of the value that holds the program.
    pub fn problem<K: Into<String>>(&self, path: impl IntoIterator<Item = K>) -> Problem {
        let problem = Problem::new(path, format!("in the program: {}", self.message)).with_part(self.part.clone());
        match &self.help {
            Some(help) => problem.with_help(help),
            None => problem,
        }
    }

    /// Of characters that make no words.
    pub(super) fn of_lexer(text: &str, (expected, found): &lex::Error<&str>) -> Self {
        let place = place(text, found);
        let fault = |message: String| Self::new(text, place.clone(), message);
        match expected {
            lex::Expect::Delim(open) => fault(format!("`{open}` is not closed")),
            lex::Expect::Escape | lex::Expect::Unicode => {
                fault("a backslash begins an escape that there is not".into())
                    .help("`\\\\` is a backslash, `\\n` a line break and `\\(…)` inserts a value")
            }
            lex::Expect::Digit => fault("a number ends before its last digit".into()),
            lex::Expect::Ident => fault("a name is missing".into()),
            _ => of_character(text, place.start),
        }
    }

    /// Of words in an order that makes no program.
    pub(super) fn of_parser(text: &str, expected: &parse::Expect<&str>, found: Option<&str>) -> Self {
        let wanted = match expected {
            parse::Expect::Just(word) => format!("`{word}` was expected"),
            parse::Expect::Nothing => "an operator or the end was expected".to_owned(),
            parse::Expect::Term => "a value was expected".to_owned(),
            other => format!("{} was expected", other.as_str()),
        };
        let Some(found) = found.filter(|found| !found.is_empty()) else {
            return Self::new(text, text.len()..text.len(), format!("{wanted}, and the program ends"));
        };
        let place = place(text, found);
        let word = found.chars().next().filter(|first| "([{\"".contains(*first)).map_or(found.to_owned(), String::from);
        let fault =
            Self::new(text, place.start..place.start + word.len(), format!("{wanted}, and `{word}` stands here"));
        match word.as_str() {
            "||" => fault.help("write `or`"),
            ":" if text[..place.start].ends_with("http") || text[..place.start].ends_with("https") => {
                fault.help("text stands in double quotes within the program: `'\"https://…\"'`")
            }
            ":" | "?" => fault.help("write `if … then … else … end`"),
            _ if matches!(expected, parse::Expect::Nothing) => {
                fault.help("values stand behind `|`, `,` or an operator, and arguments between `(` and `)`, with `;`")
            }
            _ => fault,
        }
    }

    /// Of a name that is not there.
    pub(super) fn of_name(
        text: &str,
        name: &str,
        undefined: &Undefined,
        known: &[Known<'_>],
        variables: &[&str],
    ) -> Self {
        let place = place(text, name);
        let fault = |message: String| Self::new(text, place.clone(), message);
        if let Some((_, advice)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return fault(format!("`{name}` is not for programs of the bridge")).help(*advice);
        }
        match undefined {
            Undefined::Filter(values) => of_function(fault, name, *values, known, text, place.start),
            Undefined::Var => {
                let unknown = fault(format!("there is no variable `{name}`"));
                match did_you_mean(name, variables.iter().copied()) {
                    Some(meant) => unknown.help(format!("did you mean `{meant}`?")),
                    None => unknown.help("`… as $name | …` names a value; the event is `.`"),
                }
            }
            Undefined::Label => {
                fault(format!("there is no label `{name}`")).help(format!("`label {name} | …` sets one"))
            }
            _ => fault(format!("there is no module for `{name}`")).help("a program has no modules"),
        }
    }
}

fn of_function(
    fault: impl Fn(String) -> Fault,
    name: &str,
    values: usize,
    known: &[Known<'_>],
    text: &str,
    offset: usize,
) -> Fault {
    if ENVELOPE.contains(&name) && values == 0 {
        return fault(format!("there is no function `{name}`")).help(format!("a member begins with a dot: `.{name}`"));
    }
    let others: Vec<_> =
        known.iter().filter(|(known, _)| *known == name).map(|(_, values)| values.to_string()).collect();
    if !others.is_empty() {
        let message = format!("`{name}` takes {} values, not {values}", others.join(" or "));
        return fault(message).help("values are divided by `;`");
    }
    let unknown = fault(format!("there is no function `{name}`"));
    let before = text.get(..offset).unwrap_or_default();
    if before.ends_with('-') && !before.ends_with(" -") {
        return unknown.help(format!("a member whose name has a hyphen is written `.[\"…-{name}\"]`"));
    }
    if let Some((_, here)) = FOREIGN.iter().find(|(foreign, _)| foreign.eq_ignore_ascii_case(name)) {
        return unknown.help(format!("write `{here}`"));
    }
    match did_you_mean(name, known.iter().map(|(known, _)| *known)) {
        Some(meant) => unknown.help(format!("did you mean `{meant}`?")),
        None => {
            unknown.help("the functions are those of jq; text stands in double quotes, and a member begins with a dot")
        }
    }
}

fn of_character(text: &str, offset: usize) -> Fault {
    let character = text[offset..].chars().next().unwrap_or_default();
    let fault = Fault::new(text, offset..offset + character.len_utf8(), format!("`{character}` has no meaning here"));
    match character {
        '\'' => fault.help("text stands in double quotes"),
        '&' => fault.help("write `and`"),
        '!' => fault.help("write `!=`, or `… | not`"),
        '~' | '^' => fault.help("`test(\"…\")` asks for a regular expression"),
        ')' | ']' | '}' => fault.help("nothing is open that it closes"),
        _ => fault,
    }
}

/// Where a part of the text stands in it.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr()).filter(|start| start + part.len() <= text.len());
    start.map_or(text.len()..text.len(), |start| start..start + part.len())
}
