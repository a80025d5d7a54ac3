//! Binds the values that `${…}` put into a template as data.
//!
//! Handlebars reads a text in which a placeholder stands for each value: a character that the text has nowhere, so that
//! nothing written can be taken for one. In the tree, the placeholders become the values: escaped in text, as they are
//! within the quotes of an expression. Nothing of a value is ever parsed as a template.

use std::borrow::Cow;

use handlebars::template::{BlockParam, HelperTemplate, Parameter, TemplateElement};
use serde_json::Value;

use super::fault::TemplateFault;
use super::insert::{json_escape, url_encode, xml_escape};
use super::place::is_within_json_string;
use super::{Escape, TemplateError};
use crate::interpolated::{InterpolatedText, Part, TextRef};
use crate::jsonpath;

/// The values of a template by their placeholders, and what is known of the text so far.
#[derive(Clone)]
pub(super) struct Values<'a> {
    values: Vec<(char, &'a str)>,
    escape: Escape,
    /// The literal text so far, an `x` for every expression.
    before: String,
}

impl<'a> Values<'a> {
    /// Gives the text with placeholders too.
    pub(super) fn new(text: TextRef<'a>, escape: Escape) -> Result<(Self, Cow<'a, str>), TemplateError> {
        let mut values = Self { values: Vec::new(), escape, before: String::new() };
        if let Some(written) = text.all_written() {
            return Ok((values, written.into()));
        }
        let written = |part| match part {
            Part::Written(written) => Some(written),
            Part::Value(_) => None,
        };
        let all_written: String = text.parts().filter_map(written).collect();
        let mut unused = unused_characters(&all_written);
        let mut with_placeholders = String::with_capacity(all_written.len() + 8);
        for part in text.parts() {
            match part {
                Part::Written(written) => with_placeholders.push_str(written),
                Part::Value(value) => {
                    let Some(placeholder) = unused.next() else {
                        return Err(TemplateFault::new("the template has too many `${…}`").at("", 0));
                    };
                    values.values.push((placeholder, value));
                    with_placeholders.push(placeholder);
                }
            }
        }
        Ok((values, with_placeholders.into()))
    }

    /// Where another branch of a block begins: the text before it is that before the block.
    pub(super) fn place(&self) -> String {
        self.before.clone()
    }

    /// Goes back to the beginning of a block.
    pub(super) fn go_back(&mut self, place: String) {
        self.before = place;
    }

    /// Puts the values into an element; not into the templates within it.
    pub(super) fn bind(&mut self, element: &mut TemplateElement) -> Result<(), TemplateFault> {
        match element {
            TemplateElement::RawString(text) => *text = self.text(text)?,
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                // Before it may fail: what follows has its place all the same.
                self.before.push('x');
                self.call(call)?;
            }
            TemplateElement::HelperBlock(call) => self.call(call)?,
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<String, TemplateFault> {
        let start = self.before.len();
        let mut first_fault = None;
        for part in self.parts(text).as_ref().parts() {
            match part {
                Part::Written(written) => self.before.push_str(written),
                Part::Value(value) => match self.escaped(value) {
                    Ok(escaped) => self.before.push_str(&escaped),
                    Err(fault) => drop(first_fault.get_or_insert(fault)),
                },
            }
        }
        first_fault.map_or_else(|| Ok(self.before.get(start..).unwrap_or_default().to_owned()), Err)
    }

    /// A value as it stands in the text at this place.
    fn escaped<'v>(&self, value: &'v str) -> Result<Cow<'v, str>, TemplateFault> {
        match self.escape {
            Escape::Text | Escape::Key | Escape::Header => Ok(value.into()),
            Escape::Form => Ok(url_encode(value).into()),
            Escape::Xml => xml_escape(value)
                .map(Cow::Owned)
                .ok_or_else(|| TemplateFault::new("what `${…}` stands for holds a character that XML cannot carry")),
            Escape::Csv | Escape::Tsv if value.contains([',', ';', '"', '\t', '\r', '\n']) => {
                Err(TemplateFault::new("what `${…}` stands for is more than a field of CSV")
                    .help("insert it as a value: `{{default \"${env:NAME}\" \"\"}}`"))
            }
            Escape::Csv | Escape::Tsv => Ok(value.into()),
            Escape::Json | Escape::JsonLines | Escape::JsonSequence if is_within_json_string(&self.before) => {
                Ok(json_escape(value))
            }
            Escape::Json | Escape::JsonLines | Escape::JsonSequence if is_json_scalar(value) => Ok(value.into()),
            Escape::Json | Escape::JsonLines | Escape::JsonSequence => Err(TemplateFault::new(
                "outside of quotes, what `${…}` stands for must be a number, `true`, `false` or `null`",
            )
            .help("put it in quotes: \"${env:NAME}\"")),
            Escape::Url => match url_place(&self.before) {
                UrlPlace::Beginning => Ok(value.into()),
                UrlPlace::Authority if value.contains(|c: char| c.is_whitespace() || "/?#\\@".contains(c)) => {
                    Err(TemplateFault::new("what `${…}` stands for is more than a host and port")
                        .help("let it stand for the whole beginning of the URL: `url = \"${env:URL}/…\"`"))
                }
                UrlPlace::Authority => Ok(value.into()),
                UrlPlace::Rest => Ok(url_encode(value).into()),
            },
        }
    }

    fn call(&self, call: &mut HelperTemplate) -> Result<(), TemplateFault> {
        let helper = call.name.as_name().unwrap_or_default().to_owned();
        self.parameter(&mut call.name, &helper, usize::MAX)?;
        for (index, param) in call.params.iter_mut().enumerate() {
            self.parameter(param, &helper, index)?;
        }
        for (name, value) in &mut call.hash {
            self.refuse(name)?;
            self.parameter(value, &helper, usize::MAX)?;
        }
        match &call.block_param {
            Some(BlockParam::Single(name)) => self.refuse(name.as_name().unwrap_or_default()),
            Some(BlockParam::Pair((one, other))) => {
                [one, other].into_iter().try_for_each(|name| self.refuse(name.as_name().unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }

    fn parameter(&self, parameter: &mut Parameter, helper: &str, index: usize) -> Result<(), TemplateFault> {
        match parameter {
            Parameter::Literal(Value::String(text)) => match (helper, index) {
                ("jsonpath" | "query", 0) => {
                    let query = jsonpath::with_values(self.parts(text).as_ref()).map(Cow::into_owned);
                    *text = query.map_err(|error| {
                        error.help.into_iter().fold(TemplateFault::new(error.message), TemplateFault::help)
                    })?;
                }
                ("capture", 1) => *text = self.with(text, regex::escape),
                ("format_time", 1) | ("now", 0) => *text = self.with(text, |value| value.replace('%', "%%")),
                _ => *text = self.with(text, str::to_owned),
            },
            Parameter::Literal(value) => self.literal(value),
            Parameter::Subexpression(inner) => {
                if let TemplateElement::Expression(call) = inner.element.as_mut() {
                    self.call(call)?;
                }
            }
            Parameter::Name(_) | Parameter::Path(_) => {
                let name = parameter.as_name().unwrap_or_default();
                let stands_alone = self.values.iter().find(|(placeholder, _)| name.chars().eq([*placeholder]));
                match stands_alone {
                    Some((_, value)) if index != usize::MAX && is_json_scalar(value) => {
                        *parameter = Parameter::Literal(serde_json::from_str(value).unwrap_or_default());
                    }
                    _ => self.refuse(name)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A list or table that is written out.
    fn literal(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.with(text, str::to_owned),
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.literal(element)),
            Value::Object(members) => {
                for (mut name, mut value) in std::mem::take(members) {
                    name = self.with(&name, str::to_owned);
                    self.literal(&mut value);
                    members.insert(name, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn refuse(&self, name: &str) -> Result<(), TemplateFault> {
        match self.values.iter().any(|(placeholder, _)| name.contains(*placeholder)) {
            true => Err(TemplateFault::new("what `${…}` stands for is text, and never a part of an expression")
                .help("put it in quotes, for example `{{lookup data \"${env:NAME}\"}}`")),
            false => Ok(()),
        }
    }

    fn with(&self, text: &str, form: impl Fn(&str) -> String) -> String {
        let mut bound = String::with_capacity(text.len());
        for part in self.parts(text).as_ref().parts() {
            match part {
                Part::Written(written) => bound.push_str(written),
                Part::Value(value) => bound.push_str(&form(value)),
            }
        }
        bound
    }

    /// A text with placeholders, as what is written and what was put in.
    fn parts(&self, text: &str) -> InterpolatedText {
        let mut parts = InterpolatedText::default();
        for character in text.chars() {
            match self.values.iter().find(|(placeholder, _)| *placeholder == character) {
                Some((_, value)) => parts.push_value(value),
                None => parts.push_written(character),
            }
        }
        parts
    }
}

/// Characters for private use that a text has nowhere, not even as an escape sequence of a string in an expression.
fn unused_characters(text: &str) -> impl Iterator<Item = char> {
    let text = text.to_ascii_lowercase();
    let is_unused = move |character: &char| {
        !text.contains(*character) && !text.contains(&format!("u{:04x}", u32::from(*character)))
    };
    ('\u{e000}'..='\u{f8ff}').filter(is_unused)
}

fn is_json_scalar(text: &str) -> bool {
    let is_scalar = matches!(serde_json::from_str(text), Ok(Value::Null | Value::Bool(_) | Value::Number(_)));
    is_scalar && text.trim() == text
}

/// Where in a URL a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum UrlPlace {
    /// Before or within the scheme: the value is the beginning of a URL itself.
    Beginning,
    /// In the host and port.
    Authority,
    /// In the path, the query or the fragment.
    Rest,
}

/// Where in a URL the text behind `before` stands.
pub(crate) fn url_place(before: &str) -> UrlPlace {
    match before.split_once("://") {
        None => UrlPlace::Beginning,
        Some((_, rest)) if rest.contains(['/', '?', '#', '\\']) => UrlPlace::Rest,
        Some(_) => UrlPlace::Authority,
    }
}

#[cfg(test)]
mod tests {
    use handlebars::Handlebars;
    use proptest::prelude::*;
    use serde_json::json;

    use crate::interpolated::InterpolatedText;
    use crate::template::{Context, Escape, Template, TemplateError};

    /// The template whose every second part is a value.
    fn compile(parts: &[&str], escape: Escape) -> Result<Template, Vec<TemplateError>> {
        let text: InterpolatedText = serde_json::from_value(json!(parts)).unwrap();
        Template::compile(&text, escape)
    }

    fn rendered(parts: &[&str], escape: Escape) -> String {
        let event = json!({"data": {"a": "A", "n": 2, "x{{data.a}}": "member", "items": [{"t": "o'b", "v": 7}]}});
        compile(parts, escape).unwrap().render(&Context::new(event)).unwrap()
    }

    #[test]
    fn a_value_is_never_read_as_a_template() {
        assert_eq!(rendered(&["Bearer ", "x{{data.a}}"], Escape::Header), "Bearer x{{data.a}}");
        assert_eq!(rendered(&["", "{{{{raw}}}}", ""], Escape::Text), "{{{{raw}}}}");
        assert_eq!(rendered(&["{", "{data.a}", "} {{data.a}}"], Escape::Text), "{{data.a}} A");
        assert_eq!(rendered(&["", "\\", "{{data.a}}"], Escape::Text), "\\A");
        assert_eq!(rendered(&["", " x ", "{{~data.a}}"], Escape::Text), " x A", "no trimming of values");
        assert_eq!(rendered(&["\\{{", "x", "}}"], Escape::Text), "{{x}}");
        assert_eq!(rendered(&["{{#if data.a}}", "{{/if}}", "{{/if}}"], Escape::Text), "{{/if}}");
        let literal = compile(&["Bearer ", "x{{data.a}}"], Escape::Header).unwrap();
        assert_eq!(literal.literal(), Some("Bearer x{{data.a}}"), "it is the same for every event");
    }

    #[test]
    fn a_value_within_the_quotes_of_an_expression_is_that_text() {
        assert_eq!(rendered(&["{{base64 \"", "a\"b", ":", "c\\d", "\"}}"], Escape::Header), "YSJiOmNcZA==");
        assert_eq!(rendered(&["{{base64 '", "'}}{{data.a", "'}}"], Escape::Text), "J319e3tkYXRhLmE=");
        assert_eq!(rendered(&["{{lookup data \"", "x{{data.a}}", "\"}}"], Escape::Text), "member");
        assert_eq!(rendered(&["{{#if (eq data.a \"", "A", "\")}}yes{{/if}}"], Escape::Text), "yes");
        assert_eq!(rendered(&["{{jsonpath \"$.data.items[?@.t == '", "o'b", "'].v\"}}"], Escape::Text), "7");
        assert_eq!(rendered(&["{{format_time 0 \"%Y", "%d", "\"}}"], Escape::Text), "1970%d");
    }

    #[test]
    fn a_value_is_no_part_of_an_expression_unless_it_is_a_number_or_the_like() {
        for parts in [
            &["{{", "data.a", "}}"][..],
            &["{{data.", "a", "}}"],
            &["{{data.[", "a", "]}}"],
            &["{{", "upper", " data.a}}"],
            &["{{upper ", "data.a", "}}"],
            &["{{#", "if", " data.a}}{{/if}}"],
            &["{{#each data.items as |", "x", "|}}{{/each}}"],
            &["{{now ", "tz", "=\"UTC\"}}"],
            &["{{default data.a (", "now", ")}}"],
            &["{{", "5", "}}"],
        ] {
            assert!(compile(parts, Escape::Text).is_err(), "{parts:?}");
        }
        assert_eq!(rendered(&["{{#if (gt data.n ", "1", ")}}more{{/if}}"], Escape::Text), "more");
    }

    #[test]
    fn a_value_is_escaped_for_its_place_in_json() {
        assert_eq!(rendered(&["{\"a\": \"", "q\"\\\n", "\"}"], Escape::Json), r#"{"a": "q\"\\\n"}"#);
        assert_eq!(
            rendered(&["{\"n\": ", "1.50", ", \"{{data.a}}\": \"", "\"", "\"}"], Escape::Json),
            r#"{"n": 1.50, "A": "\""}"#
        );
        for value in ["x", "1, \"b\": 2", "\"x\"", "", " 1", "[]"] {
            assert!(compile(&["{\"n\": ", value, "}"], Escape::Json).is_err(), "{value}");
        }
        let branches = ["{{#if data.a}}\"", "5\"", "\"{{else}}", "5", "{{/if}}"];
        assert_eq!(rendered(&branches, Escape::Json), "\"5\\\"\"");
    }

    #[test]
    fn a_value_is_escaped_for_its_place_in_a_url() {
        assert_eq!(rendered(&["", "https://h:1/x?{{y}}"], Escape::Url), "https://h:1/x?{{y}}");
        assert_eq!(
            rendered(&["", "https://h/x", "/{{data.a}}/", "a/b{{", ""], Escape::Url),
            "https://h/x/A/a%2Fb%7B%7B"
        );
        assert_eq!(
            rendered(&["", "https", "://", "h", ":", "81", "?t=", "a&b", ""], Escape::Url),
            "https://h:81?t=a%26b"
        );
        for host in ["h/../x", "u@h", "h?", "h#", "h\\", "a b"] {
            assert!(compile(&["https://", host, "/{{data.a}}"], Escape::Url).is_err(), "{host}");
        }
        assert!(compile(&["https://h/", "..", "/x"], Escape::Url).is_err());
    }

    #[test]
    fn what_a_header_cannot_carry_is_found_at_load() {
        let error = compile(&["Bearer ", "s3cret\nx"], Escape::Header).unwrap_err().remove(0);
        assert!(error.message.contains("cannot carry") && !format!("{error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn nothing_that_is_written_is_taken_for_a_value() {
        let written = "\u{e000}{{base64 \"\\ue001\"}}";
        let output = rendered(&[written, "s3cret", ""], Escape::Text);
        assert_eq!(output, "\u{e000}7oCBs3cret");
    }

    proptest! {
        #[test]
        fn any_value_goes_out_as_it_is(value in "(\\{|\\}|\\\\|\"|'|~|#|/|\\$|%|[a-c]|\u{e000}|\n| ){0,12}") {
            prop_assert_eq!(rendered(&["<", &value, ">{{data.a}}"], Escape::Text), format!("<{value}>A"));
            let json = rendered(&["[\"", &value, "\", \"{{data.a}}\"]"], Escape::Json);
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [value.as_str(), "A"]);
            let of_default = rendered(&["{{default data.missing \"", &value, "\"}}"], Escape::Text);
            prop_assert_eq!(of_default, value);
        }
    }

    /// Handlebars would stop at a placeholder that it took for syntax.
    #[test]
    fn every_placeholder_is_text_for_handlebars() {
        let text: String = super::unused_characters("").take(40).chain(super::unused_characters("").last()).collect();
        assert_eq!(Handlebars::new().render_template(&text, &()).unwrap(), text);
    }
}
