//! Text of the pipeline file with values put into it by `${…}`, which keeps apart what is written and what was put in.
//!
//! A string that another language reads (a template, an expression, a URL) takes this type: each language reads what is
//! written, and binds the values as data, escaped for their place. So no value is ever read as syntax. This module knows
//! where values stand and nothing of any language.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer, de};

use crate::secret::Secret;

/// A string in which values from the environment or a file may stand.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct InterpolatedText {
    text: String,
    /// Where the values stand, in order.
    values: Vec<Range<usize>>,
}

/// A view of an [`InterpolatedText`], or of text in which everything is written.
#[derive(Clone, Copy)]
pub struct TextRef<'a> {
    text: &'a str,
    values: &'a [Range<usize>],
}

/// A part of such a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// It is written in the pipeline file, and may be syntax.
    Written(&'a str),
    /// It was put in by `${…}`, and is data.
    Value(&'a str),
}

impl InterpolatedText {
    /// The text, with the values in it. For what shows it or asks how it begins; never for what reads it as a language.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text from `start` on, behind another beginning.
    pub fn with_beginning(&self, beginning: &str, start: usize) -> Self {
        let mut changed = Self { text: beginning.to_owned(), values: Vec::new() };
        for (part, place) in self.as_ref().placed_parts() {
            let kept = self.text.get(place.start.max(start)..place.end.max(start)).unwrap_or_default();
            match part {
                Part::Written(_) => changed.text.push_str(kept),
                Part::Value(_) => changed.push_value(kept),
            }
        }
        changed
    }

    /// The text as the URL of a broker or database. A value in the place of the user's name or password is percent-encoded
    /// (RFC 3986, 3.2.1): whatever it has, the host stays the one that is written.
    pub fn to_url(&self) -> String {
        let parts: Vec<Part<'_>> = self.as_ref().parts().collect();
        let mut url = String::with_capacity(self.text.len());
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Value(value) if is_within_authority(&url) && is_before_host(&parts[index..]) => {
                    url.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
                }
                Part::Written(text) | Part::Value(text) => url.push_str(text),
            }
        }
        url
    }

    /// Adds a character that is written.
    pub(crate) fn push_written(&mut self, character: char) {
        self.text.push(character);
    }

    /// Adds a value.
    pub(crate) fn push_value(&mut self, value: &str) {
        let start = self.text.len();
        self.text.push_str(value);
        self.values.push(start..self.text.len());
    }

    /// The text as a view.
    pub fn as_ref(&self) -> TextRef<'_> {
        TextRef { text: &self.text, values: &self.values }
    }
}

fn is_within_authority(before: &str) -> bool {
    before.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?', '#']))
}

/// Whether what is written behind a value goes on to an `@`.
fn is_before_host(parts: &[Part<'_>]) -> bool {
    let written = parts.iter().filter_map(|part| match part {
        Part::Written(text) => Some(text.chars()),
        Part::Value(_) => None,
    });
    written.flatten().find(|character| "@/?#".contains(*character)) == Some('@')
}

/// For fields that hold the URL of a broker or database.
///
/// # Errors
/// When it is no string.
pub fn deserialize_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    InterpolatedText::deserialize(deserializer).and_then(|text| Secret::deserialize(text.to_url().into_deserializer()))
}

/// As [`deserialize_url`], for a field that may be left out.
///
/// # Errors
/// When it is no string.
pub fn deserialize_optional_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    deserialize_url(deserializer).map(Some)
}

impl<'a> TextRef<'a> {
    /// The text with values at these places, which are in order.
    pub(crate) fn new(text: &'a str, values: &'a [Range<usize>]) -> Self {
        Self { text, values }
    }

    /// The text, with the values in it; see [`InterpolatedText::as_str`].
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// Its parts, in order. Written parts may be empty.
    pub fn parts(self) -> impl Iterator<Item = Part<'a>> {
        self.placed_parts().map(|(part, _)| part)
    }

    /// The text itself, if no value stands in it.
    pub fn all_written(self) -> Option<&'a str> {
        self.values.is_empty().then_some(self.text)
    }

    fn placed_parts(self) -> impl Iterator<Item = (Part<'a>, Range<usize>)> {
        let starts = std::iter::once(0).chain(self.values.iter().map(|value| value.end));
        let ends = self.values.iter().map(|value| value.start).chain([self.text.len()]);
        let text = move |place: &Range<usize>| self.text.get(place.clone()).unwrap_or_default();
        let written = starts.zip(ends).map(|(start, end)| start..end);
        let values = self.values.iter().cloned().map(Some).chain([None]);
        written.zip(values).flat_map(move |(written, value)| {
            let value = value.map(|value| (Part::Value(text(&value)), value));
            std::iter::once((Part::Written(text(&written)), written)).chain(value)
        })
    }
}

impl<'a> From<&'a str> for TextRef<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, values: &[] }
    }
}

impl<'a> From<&'a String> for TextRef<'a> {
    fn from(text: &'a String) -> Self {
        Self::from(text.as_str())
    }
}

impl<'a> From<&'a InterpolatedText> for TextRef<'a> {
    fn from(text: &'a InterpolatedText) -> Self {
        text.as_ref()
    }
}

impl From<&str> for InterpolatedText {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }
}

impl fmt::Debug for InterpolatedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_ref().parts().map(WithoutValue)).finish()
    }
}

/// A part whose value is not shown: it may be a secret.
struct WithoutValue<'a>(Part<'a>);

impl fmt::Debug for WithoutValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Part::Written(text) => text.fmt(f),
            Part::Value(_) => f.write_str(crate::secret::MASK),
        }
    }
}

/// A string is written as a whole. An array has what is written and what was put in by turns; `config` makes it of a string
/// with values, and refuses one in the file.
impl<'de> Deserialize<'de> for InterpolatedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FromParts)
    }
}

struct FromParts;

impl<'de> de::Visitor<'de> for FromParts {
    type Value = InterpolatedText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<InterpolatedText, E> {
        Ok(text.into())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<InterpolatedText, A::Error> {
        let mut whole = InterpolatedText::default();
        while let Some(written) = parts.next_element::<Cow<'de, str>>()? {
            whole.text.push_str(&written);
            if let Some(value) = parts.next_element::<Cow<'de, str>>()? {
                whole.push_value(&value);
            }
        }
        Ok(whole)
    }
}

/// The key of a schema by which `config` knows a string that another language reads (JSON Schema 2020-12, 8.4).
pub(crate) const LANGUAGE: &str = "contentMediaType";

impl JsonSchema for InterpolatedText {
    fn schema_name() -> Cow<'static, str> {
        "InterpolatedText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentMediaType": "text/x-handlebars-template" })
    }
}

/// Says in the schema of a list of such texts that they are patterns, and no templates.
pub(crate) fn are_patterns(schema: &mut Schema) {
    if let Some(items) = schema.get_mut("items").and_then(serde_json::Value::as_object_mut) {
        items.insert(LANGUAGE.to_owned(), "text/x-pattern".into());
    }
}

#[cfg(test)]
mod tests {
    use super::Part::{Value, Written};
    use super::*;

    fn text(parts: &[&str]) -> InterpolatedText {
        serde_json::from_value(serde_json::json!(parts)).unwrap()
    }

    #[test]
    fn what_is_written_and_what_was_put_in_stay_apart() {
        let mixed = text(&["a", "x", "", "y", "b"]);
        assert_eq!(mixed.as_str(), "axyb");
        let parts: Vec<_> = mixed.as_ref().parts().collect();
        assert_eq!(parts, [Written("a"), Value("x"), Written(""), Value("y"), Written("b")]);
        assert_eq!(format!("{mixed:?}"), r#"["a", ***, "", ***, "b"]"#);
        let written: InterpolatedText = serde_json::from_str("\"ab\"").unwrap();
        assert_eq!(written.as_ref().all_written(), Some("ab"));
        assert_eq!(mixed.as_ref().all_written(), None);
    }

    #[test]
    fn a_password_in_a_url_is_any_text() {
        let url = text(&["amqp://", "u:x", ":", "p@h/?#%", "@host:", "5672", "/", "v/h", ""]).to_url();
        assert_eq!(url, "amqp://u%3Ax:p%40h%2F%3F%23%25@host:5672/v/h");
        let parsed = url::Url::parse(&url).unwrap();
        assert_eq!((parsed.host_str(), parsed.port()), (Some("host"), Some(5672)));
        assert_eq!(text(&["", "amqp://u:p@h/", ""]).to_url(), "amqp://u:p@h/");
        assert_eq!(text(&["amqp://", "host", "/?a=@"]).to_url(), "amqp://host/?a=@");
        assert_eq!(text(&["postgres://u:p", "%", "@", "h"]).to_url(), "postgres://u:p%25@h");
    }

    #[test]
    fn another_beginning_leaves_the_values_behind_it() {
        let url = text(&["http://", "host", "/a/", "x", "/b"]);
        let moved = url.with_beginning("http://other", "http://host".len());
        assert_eq!(moved.as_str(), "http://other/a/x/b");
        assert_eq!(moved.as_ref().parts().filter(|part| *part == Value("x")).count(), 1);
    }
}
