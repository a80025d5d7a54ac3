//! The URL of a sink: checked when the pipeline is loaded, rendered for each event.
//!
//! Whatever the data, a rendered URL has the scheme, the port and the fixed parts of the host that its template has,
//! and as many path segments; or the event is refused. What decides is the text as a URL parser reads it (WHATWG): such
//! a parser drops tabs and line breaks, takes `\` for `/` and `%2e` for a dot, and skips slashes in front of a host.
//! A program gives the whole URL, of which nothing is known before.

use reqwest::Url;

use super::expression::{Expression, Input};
use super::rendering::{RequestError, TemplateCompiler, part};
use crate::jq::{Program, ValueText};
use crate::problem::Problem;
use crate::template::{Escape, Outline, Template};

/// A sink's URL, compiled.
#[derive(Debug)]
pub(super) enum UrlTemplate {
    Fixed(Url),
    Rendered(Box<Template>, Shape),
    /// A program gives the whole of it.
    Program(Box<Program>),
}

/// What no event may change of a URL.
#[derive(Debug)]
pub(super) struct Shape {
    /// The text between the values in host and port; one piece when no event has a say in them.
    authority: Vec<String>,
    /// The port is the template's, and not a value.
    has_fixed_port: bool,
    /// The number of path segments; `None` when a block decides it.
    segments: Option<usize>,
}

/// The text of a URL, cut where a URL parser cuts it.
struct Parts<'a> {
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
}

const MUST_BEGIN: &str = "must begin with http:// or https://";
const HELP: &str = "write for example \"https://crm.example.com/hooks/{{data.region}}\"";
const HELP_FOR_WHOLE: &str = "a template cannot give the host and all before it; a program can: \
                              url = { jq = \"$tables.tenants[.data.tenant].url\" }";
const NO_USER: &str = "a user name or password has no place in it: send it as a header, `Authorization`";
const NOT_A_HOST: &str = "a value in the host holds a character that no host can have";
const PORT_IN_HOST: &str = "a value in the host holds a `:`, and a port is no part of a host: give it a place of its own, \
                            as in http://{{data.host}}:{{data.port}}/ (an IPv6 address stands in brackets, unescaped: \
                            http://[{{{data.address}}}]/)";

impl UrlTemplate {
    /// Compiles the URL of a sink; `None` when it is at fault.
    pub(super) fn compile(value: &ValueText, compiler: &mut TemplateCompiler<'_>) -> Option<Self> {
        let template = match compiler.compile_value(&["url"], value, Escape::Url)? {
            Expression::Template(template) => template,
            Expression::Program(program) => return Some(Self::Program(program)),
        };
        let host_is_a_value =
            template.literal().is_none() && template.outline().text.trim_matches(Outline::VALUE).is_empty();
        let compiled = match template.literal() {
            Some(url) => parse(url).map(|(url, _)| Self::Fixed(url)),
            None => Shape::new(template.outline()).map(|shape| Self::Rendered(template, shape)),
        };
        let help = if host_is_a_value { HELP_FOR_WHOLE } else { HELP };
        compiled.map_err(|message| compiler.refuse(Problem::new(["url"], message).with_help(help))).ok()
    }

    pub(super) fn render(&self, input: &Input<'_>) -> Result<Url, RequestError> {
        match self {
            Self::Fixed(url) => Ok(url.clone()),
            Self::Rendered(template, shape) => {
                let text = part("url", template.render(input.context))?;
                shape.parse(&text).map_err(RequestError::Url)
            }
            Self::Program(program) => {
                let text = part("url", program.run_text(input.value()))?;
                let parsed = Parts::of(&text).and_then(|parts| {
                    if parts.authority.contains('@') { Err(NO_USER.to_owned()) } else { parse(&text) }
                });
                parsed.map(|(url, _)| url).map_err(RequestError::Url)
            }
        }
    }
}

impl Shape {
    /// Reads the shape of a template that inserts values.
    fn new(outline: &Outline) -> Result<Self, String> {
        let text = outline.text.as_str();
        let parts = Parts::of(text)?;
        if parts.authority.contains('@') {
            return Err(NO_USER.to_owned());
        }
        let has_path = text.len() > parts.scheme.len() + "://".len() + parts.authority.len();
        // A block in the host or behind it: nothing that follows is known.
        let is_cut = !outline.is_whole && !has_path;
        let mut authority: Vec<String> = parts.authority.split(Outline::VALUE).map(str::to_owned).collect();
        let is_fixed = authority.len() == 1 && !is_cut;
        if is_fixed {
            let url = format!("{}://{}/", parts.scheme, parts.authority);
            Url::parse(&url).map_err(|error| format!("not a URL: {error}"))?;
        }
        let port_is_a_value = parts.authority.contains(":\0") || is_cut;
        if is_cut {
            authority.push(String::new());
        }
        if parts.path.split('/').any(is_dots) {
            return Err(DOT_SEGMENT.to_owned());
        }
        let path_is_known = outline.is_whole || text.len() > text_before_query(text).len();
        let segments = path_is_known.then(|| segments(parts.path));
        Ok(Self { authority, has_fixed_port: !port_is_a_value, segments })
    }

    fn parse(&self, text: &str) -> Result<Url, String> {
        let authority = Parts::of(text)?.authority;
        self.check_authority(authority)?;
        let (url, segments) = parse(text).map_err(|error| {
            let lower = authority.to_ascii_lowercase();
            match self.authority.len() {
                1 => error,
                _ if lower.contains("%3a") => PORT_IN_HOST.to_owned(),
                _ if lower.contains('%') => NOT_A_HOST.to_owned(),
                _ => error,
            }
        })?;
        if self.segments.is_some_and(|expected| expected != segments) {
            return Err("a value changes the number of the path's segments".to_owned());
        }
        Ok(url)
    }

    fn check_authority(&self, authority: &str) -> Result<(), String> {
        let changed = || "a value changes the host or the port".to_owned();
        let mut rest = authority;
        let mut pieces = self.authority.iter();
        let (Some(first), last) = (pieces.next(), pieces.next_back()) else { return Err(changed()) };
        rest = rest.strip_prefix(first.as_str()).ok_or_else(changed)?;
        match last {
            Some(last) => rest = rest.strip_suffix(last.as_str()).ok_or_else(changed)?,
            None if rest.is_empty() => return Ok(()),
            None => return Err(changed()),
        }
        for piece in pieces {
            rest = rest.split_once(piece.as_str()).ok_or_else(changed)?.1;
        }
        // Brackets hold the colons of an IPv6 address; what stands behind them is a port.
        let values = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
        let fixed_port = self.authority.last().is_some_and(|last| last.contains(':'));
        if self.has_fixed_port && !fixed_port && values.contains(':') {
            return Err(PORT_IN_HOST.to_owned());
        }
        Ok(())
    }
}

impl<'a> Parts<'a> {
    /// Cuts the text of a URL. Refuses what a URL parser would read otherwise than it is written.
    fn of(text: &'a str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else { return Err(MUST_BEGIN.to_owned()) };
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(match scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                true => format!("the scheme is `{scheme}`, not http or https"),
                false => MUST_BEGIN.to_owned(),
            });
        }
        // NUL stands for a value in an outline. A rendered text that has one is refused by its host, or encoded.
        if text.contains(|c: char| c.is_ascii_control() && c != Outline::VALUE) || text.ends_with(' ') {
            return Err("it has a control character, or a blank at its end, which a URL parser drops".to_owned());
        }
        let rest = text_before_query(rest);
        if rest.contains('\\') {
            return Err("it has a `\\`, which a URL parser takes for a `/`".to_owned());
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err("it has no host".to_owned());
        }
        Ok(Self { scheme, authority, path })
    }
}

const DOT_SEGMENT: &str = "the path has a `.` or `..` segment";

/// Parses a URL and counts its path's segments.
fn parse(text: &str) -> Result<(Url, usize), String> {
    let parts = Parts::of(text)?;
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if parts.authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
        return Err(NO_USER.to_owned());
    }
    // A URL parser would resolve these, and a value such as `..` would leave the path that the sink was given.
    if parts.path.split('/').any(is_dots) {
        return Err(DOT_SEGMENT.to_owned());
    }
    let count = segments(url.path());
    if count != segments(parts.path) {
        return Err("a URL parser reads the path otherwise than it is written".to_owned());
    }
    Ok((url, count))
}

fn text_before_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// An empty path is the path `/`.
fn segments(path: &str) -> usize {
    path.matches('/').count().max(1)
}

fn is_dots(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::event::{Event, Format};
    use crate::template::{Context, Options};

    fn compile(text: &str) -> Result<UrlTemplate, Vec<Problem>> {
        let options = Options::default();
        let of_programs = crate::jq::Options::default();
        let mut compiler = TemplateCompiler::new(&options, &of_programs);
        UrlTemplate::compile(&text.into(), &mut compiler).ok_or(compiler.problems)
    }

    fn render(template: &str, value: &str) -> Result<Url, String> {
        rendered(&compile(template).unwrap(), value)
    }

    fn rendered(url: &UrlTemplate, value: &str) -> Result<Url, String> {
        let data = json!({"a": value, "port": 81});
        let event = Event {
            id: "a/1".into(),
            time: jiff::Timestamp::UNIX_EPOCH,
            source: "a".into(),
            key: None,
            headers: Vec::new(),
            meta: Vec::new(),
            payload: Some(data.to_string().into()),
            format: Format::Json,
            content_type: None,
        };
        let context = Arc::new(Context::new(event.envelope().unwrap()));
        url.render(&Input::new(&event, &context)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_program_gives_a_url_that_can_be_called_or_none() {
        let options = Options::default();
        let of_programs = crate::jq::Options::default();
        let mut compiler = TemplateCompiler::new(&options, &of_programs);
        let program = serde_json::from_value(json!({"jq": ".data.a"})).unwrap();
        let url = UrlTemplate::compile(&program, &mut compiler).unwrap();
        assert_eq!(rendered(&url, "https://h:81/a%2Fb?c=d").unwrap().as_str(), "https://h:81/a%2Fb?c=d");
        for value in
            ["", "h/x", "/x", "ftp://h/", "http://", "http://u:p@h/", "http://u@h/", "https://h/a/../b", "http://h:x/"]
        {
            assert!(rendered(&url, value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn whoever_wants_the_whole_url_from_a_value_is_told_how() {
        for (text, help) in [
            ("{{lookup data.urls data.a}}", HELP_FOR_WHOLE),
            ("{{#if data.a}}https://a.example{{else}}https://b.example{{/if}}", HELP_FOR_WHOLE),
            ("h.example/{{data.a}}", HELP),
            ("h.example/", HELP),
            ("ftp://h.example/{{data.a}}", HELP),
        ] {
            let problems = compile(text).unwrap_err();
            assert_eq!(problems[0].help.as_deref(), Some(help), "{text}: {problems:?}");
        }
    }

    #[test]
    fn what_is_parsed_is_checked_and_not_what_is_written() {
        for value in
            [".\t.", "..", "%2e%2e", ".%2E", "\t..\n", "..\\", "..\\..", "a/b", "a/../b", "/", "?", "#", "a?b", "b#"]
        {
            assert!(render("http://h/x/{{{data.a}}}/y", value).is_err(), "{value:?}");
        }
        for value in [".. ", ". ", "..\u{c}", ".\r.", "..?x", "%2e#"] {
            assert!(render("http://h/x/{{{data.a}}}", value).is_err(), "{value:?}");
        }
        for value in ["", "a", "a%20b", "...", "a b"] {
            assert!(render("http://h/x/{{{data.a}}}/y", value).is_ok(), "{value:?}");
        }
        assert_eq!(render("http://h/{{data.a}}/y", "a/b").unwrap().path(), "/a%2Fb/y");
    }

    #[test]
    fn a_value_cannot_move_the_host() {
        for value in ["evil/", "evil\\", "evil?", "evil#", "u@evil", "u:p@evil", "\t", "evil:81", "evil:80/", " "] {
            assert!(render("http://{{{data.a}}}.example.com/x", value).is_err(), "{value:?}");
            assert!(render("http://{{data.a}}.example.com/x", value).is_err(), "{value:?}");
        }
        for value in ["", "/", "//evil", "\\evil", "@evil", ":81"] {
            assert!(render("http://h{{{data.a}}}/x", value).is_err() || value.is_empty(), "{value:?}");
            assert!(render("http://{{{data.a}}}/x", value).is_err(), "{value:?}");
        }
        assert_eq!(render("http://{{data.a}}.example.com/x", "eu").unwrap().host_str(), Some("eu.example.com"));
        assert_eq!(render("HTTP://{{data.a}}/", "h").unwrap().as_str(), "http://h/");
        assert_eq!(render("http://{{data.a}}:{{data.port}}/", "h").unwrap().as_str(), "http://h:81/");
        assert_eq!(render("http://[{{{data.a}}}]:82/", "::1").unwrap().as_str(), "http://[::1]:82/");
    }

    #[test]
    fn what_is_wrong_with_a_host_is_said() {
        for template in ["http://{{data.a}}/", "http://{{{data.a}}}/"] {
            let message = render(template, "h:8080").unwrap_err();
            assert!(message.contains("a port is no part of a host") && message.contains("{{data.port}}"), "{message}");
        }
        assert!(render("http://{{data.a}}/", "a/b").unwrap_err().contains("no host can have"));
    }

    #[test]
    fn one_rule_holds_for_fixed_and_templated_urls() {
        for good in
            ["HTTP://h/", "http://h", "https://h:1/a?b#c", "Https://h/{{data.a}}", "http://h{{#if data.a}}/a{{/if}}"]
        {
            assert!(compile(good).is_ok(), "{good}");
        }
        let beginnings =
            ["ftp://h/", "h/x", "http:/h", "http:h", " http://h/", "http:///h/", "http://u@h/", "http://h/../"];
        let others = ["http://h/%2e./", "http://h/a\\b", "http:\\\\h", "http://h/a\tb", "http://h:x/"];
        for bad in beginnings.iter().chain(&others) {
            assert!(compile(bad).is_err(), "{bad}");
            assert!(compile(&format!("{bad}{{{{data.a}}}}/y")).is_err() || bad.ends_with("/../"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_data_the_shape_is_kept(
            value in "(?s).{0,6}|([./?#%&\\\\@:\t\r\n \\[\\]]|%2[eE]|%5[cC]|evil|a){0,6}",
            raw in any::<bool>(),
            template in 0..5_usize,
        ) {
            let (template, host, port, segments) = [
                ("https://h.example/x/VALUE/y", Some("h.example"), 443, 3),
                ("https://h.example:8443/x/VALUE", Some("h.example"), 8443, 2),
                ("https://h.example/x?q=VALUE", Some("h.example"), 443, 1),
                ("https://VALUE.h.example/x/y", None, 443, 2),
                ("https://VALUE/x/y", None, 443, 2),
            ][template];
            let template = template.replace("VALUE", if raw { "{{{data.a}}}" } else { "{{data.a}}" });
            if let Ok(url) = render(&template, &value) {
                prop_assert_eq!(url.scheme(), "https");
                prop_assert_eq!((url.username(), url.password()), ("", None));
                prop_assert_eq!(url.port_or_known_default(), Some(port), "{}", url);
                prop_assert_eq!(url.path_segments().unwrap().count(), segments, "{}", url);
                match host {
                    Some(host) => prop_assert_eq!(url.host_str(), Some(host)),
                    None if template.contains(".h.example") => {
                        prop_assert!(url.host_str().unwrap().ends_with(".h.example"), "{}", url);
                    }
                    None => {}
                }
            }
        }
    }
}
