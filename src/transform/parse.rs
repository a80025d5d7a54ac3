//! Parsing of text lines: what `parse` of a transform makes of the text that an event's `data` is.
//!
//! [`Parse`] is its config, [`Parser`] the same compiled, and `pairs` splits lines of keys and values. This module is
//! pure; what becomes of a line that does not match is decided by whoever asks.

mod pairs;

use std::fmt;

use regex::Regex;
use schemars::JsonSchema;
use serde::de::IntoDeserializer as _;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use strum::IntoStaticStr;

use crate::problem::{Problem, pattern_fault};
use pairs::Separator;

/// How a line of text becomes `data`: by a format that has a name, or by a regular expression.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum Parse {
    /// A format.
    Format(LineFormat),
    /// A regular expression.
    Regex(Pattern),
}

/// A format of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum LineFormat {
    /// `level=info msg="two words" done`: each key becomes a member with a text; a key alone becomes `true`.
    Logfmt,
    /// `a=1, b="two words"; c=3`: as `logfmt`, with commas, semicolons or spaces between the pairs.
    KeyValue,
    /// One record of [RFC 4180](https://www.rfc-editor.org/rfc/rfc4180): an array of texts.
    Csv,
    /// nginx's log format `combined`, which is also that of Apache: `remote_addr`, `remote_user`, `time_local`, `request`
    /// with its `method`, `path` and `protocol`, `status` and `body_bytes_sent` (both numbers), `http_referer` and
    /// `http_user_agent`. What nginx writes as `-` gives no member.
    Nginx,
}

/// A line is parsed by a regular expression.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Its named groups become members, all of them texts; a group that takes no part in the match gives none. It may match
    /// anywhere in the line: `^` and `$` are its ends. The syntax is that of the
    /// [`regex` crate](https://docs.rs/regex/latest/regex/#syntax).
    #[schemars(extend("contentMediaType" = "text/x-regex"))]
    #[schemars(example = &r"^(?<ip>\S+) .* (?<status>\d+)$")]
    pub regex: String,
}

impl Parse {
    /// Its name in the pipeline file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Format(format) => format.into(),
            Self::Regex(_) => "regex",
        }
    }
}

impl<'de> Deserialize<'de> for Parse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormatOrTable)
    }
}

struct FormatOrTable;

impl<'de> de::Visitor<'de> for FormatOrTable {
    type Value = Parse;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a format or `{ regex = '…' }`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Parse, E> {
        LineFormat::deserialize(name.into_deserializer()).map(Parse::Format)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<Parse, A::Error> {
        Pattern::deserialize(MapAccessDeserializer::new(table)).map(Parse::Regex)
    }
}

/// A parser of text lines.
#[derive(Debug)]
pub struct Parser(Kind);

#[derive(Debug)]
enum Kind {
    Regex(Regex),
    Pairs(Separator),
    Csv,
    Nginx(Regex),
}

/// `log_format combined` of
/// [ngx_http_log_module](https://nginx.org/en/docs/http/ngx_http_log_module.html#log_format). Quotes in what clients send
/// are written as `\x22`, so that the next quote ends a member. A client can send a request line that is none.
const NGINX_COMBINED: &str = r#"(?x)^
    (?<remote_addr>\S+)\ -\ (?<remote_user>\S+)\ \[(?<time_local>[^\]]+)\]\ 
    "(?<request>(?:(?<method>[A-Z]+)\ (?<path>[^"\ ]+)\ (?<protocol>HTTP/[\d.]+)|[^"]*))"\ 
    (?<status>\d{3})\ (?<body_bytes_sent>\d+|-)
    (?:\ "(?<http_referer>[^"]*)"\ "(?<http_user_agent>[^"]*)")?\s*$"#;

/// Members of nginx's lines that are numbers.
const NGINX_NUMBERS: [&str; 2] = ["status", "body_bytes_sent"];

impl Parser {
    /// Compiles a parser.
    ///
    /// # Errors
    /// A regular expression that is none, or that names no group; its path is below the transform's `parse`.
    pub fn new(config: &Parse) -> Result<Self, Problem> {
        let kind = match config {
            Parse::Regex(Pattern { regex }) => Kind::Regex(with_named_groups(regex)?),
            Parse::Format(LineFormat::Logfmt) => Kind::Pairs(Separator::Space),
            Parse::Format(LineFormat::KeyValue) => Kind::Pairs(Separator::SpaceOrPunctuation),
            Parse::Format(LineFormat::Csv) => Kind::Csv,
            Parse::Format(LineFormat::Nginx) => Kind::Nginx(compile(NGINX_COMBINED)?),
        };
        Ok(Self(kind))
    }

    /// What a line holds; `None` when it does not match.
    pub fn parse(&self, line: &str) -> Option<Value> {
        match &self.0 {
            Kind::Regex(regex) => named_groups(regex, line, |_, text| Some(text.into())),
            Kind::Nginx(regex) => named_groups(regex, line, nginx_member),
            Kind::Pairs(separator) => pairs::parse(line, *separator).map(Value::Object),
            Kind::Csv => csv_record(line),
        }
    }
}

fn with_named_groups(pattern: &str) -> Result<Regex, Problem> {
    let regex = compile(pattern)?;
    if regex.capture_names().flatten().next().is_none() {
        let help = "name what is to become a member: `(?<status>\\d+)`";
        return Err(Problem::new(["regex"], "the regular expression names no group").with_help(help));
    }
    Ok(regex)
}

fn compile(pattern: &str) -> Result<Regex, Problem> {
    Regex::new(pattern).map_err(|error| {
        Problem::new(["regex"], format!("this is no regular expression: {}", pattern_fault(&error)))
            .with_help("write it as the regex crate has it, in single quotes: regex = '^(?<ip>\\S+) '")
    })
}

/// The members that `member` makes of the named groups.
fn named_groups(regex: &Regex, line: &str, member: impl Fn(&str, &str) -> Option<Value>) -> Option<Value> {
    let captures = regex.captures(line)?;
    let members = regex.capture_names().flatten().filter_map(|name| {
        let value = member(name, captures.name(name)?.as_str())?;
        Some((name.to_owned(), value))
    });
    Some(Value::Object(members.collect::<Map<_, _>>()))
}

fn nginx_member(name: &str, text: &str) -> Option<Value> {
    match text {
        "-" => None,
        number if NGINX_NUMBERS.contains(&name) => number.parse::<u64>().ok().map(Value::from),
        text => Some(text.into()),
    }
}

/// The fields of one record. A quote that is not closed ends with the line.
fn csv_record(line: &str) -> Option<Value> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line.as_bytes());
    let record = reader.records().next()?.ok()?;
    Some(record.iter().map(Value::from).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pattern(regex: &str) -> Parse {
        Parse::Regex(Pattern { regex: regex.to_owned() })
    }

    fn parse(config: &Parse, line: &str) -> Option<Value> {
        Parser::new(config).unwrap().parse(line)
    }

    #[test]
    fn named_groups_become_members() {
        let regex = pattern(r"^(?<method>GET|PUT) (?<path>\S+)(?: (?<status>\d+))?$");
        assert_eq!(parse(&regex, "GET /a 200"), Some(json!({"method": "GET", "path": "/a", "status": "200"})));
        assert_eq!(parse(&regex, "PUT /b"), Some(json!({"method": "PUT", "path": "/b"})));
        assert_eq!(parse(&regex, "POST /b"), None);
    }

    #[test]
    fn a_regular_expression_is_checked() {
        let message = |pattern: &str| Parser::new(&self::pattern(pattern)).unwrap_err().message;
        assert!(message("(?<a>").starts_with("this is no regular expression"));
        assert_eq!(message(r"\d+"), "the regular expression names no group");
    }

    #[test]
    fn lines_of_nginx_and_apache_are_read() {
        let line =
            r#"203.0.113.7 - ada [10/Oct/2026:13:55:36 +0000] "GET /a?b=c HTTP/1.1" 200 2326 "-" "curl/8.1 \x22x\x22""#;
        let expected = json!({
            "remote_addr": "203.0.113.7", "remote_user": "ada", "time_local": "10/Oct/2026:13:55:36 +0000",
            "request": "GET /a?b=c HTTP/1.1", "method": "GET", "path": "/a?b=c", "protocol": "HTTP/1.1",
            "status": 200, "body_bytes_sent": 2326, "http_user_agent": r"curl/8.1 \x22x\x22"
        });
        assert_eq!(parse(&Parse::Format(LineFormat::Nginx), line), Some(expected));
        let scanner = r#"::1 - - [10/Oct/2026:13:55:36 +0000] "\x16\x03\x01" 400 157 "-" "-""#;
        let expected = json!({
            "remote_addr": "::1", "time_local": "10/Oct/2026:13:55:36 +0000", "request": r"\x16\x03\x01",
            "status": 400, "body_bytes_sent": 157
        });
        assert_eq!(parse(&Parse::Format(LineFormat::Nginx), scanner), Some(expected));
        let common = r#"10.0.0.1 - - [10/Oct/2026:13:55:36 +0000] "HEAD / HTTP/1.0" 304 -"#;
        assert_eq!(parse(&Parse::Format(LineFormat::Nginx), common).unwrap()["status"], 304);
        assert_eq!(parse(&Parse::Format(LineFormat::Nginx), "2026/10/10 13:55:36 [error] 7#7: *1 open() failed"), None);
    }

    #[test]
    fn a_record_of_csv_is_an_array_of_texts() {
        let record = json!(["a", "b, \"c\"", "", "1.10"]);
        assert_eq!(parse(&Parse::Format(LineFormat::Csv), r#"a,"b, ""c""",,1.10"#), Some(record));
        assert_eq!(parse(&Parse::Format(LineFormat::Csv), ""), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_a_parser_panic(line in "\\PC{0,200}") {
            for config in [Parse::Format(LineFormat::Logfmt), Parse::Format(LineFormat::KeyValue), Parse::Format(LineFormat::Csv), Parse::Format(LineFormat::Nginx)] {
                parse(&config, &line);
            }
        }
    }
}
