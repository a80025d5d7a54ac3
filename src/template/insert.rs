//! Writes one value into the output, escaped for its place. Every value that a template inserts comes through here.

use std::borrow::Cow;

use handlebars::template::HelperTemplate;
use handlebars::{Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::RenderFault;
use super::place::Place;

/// All but the unreserved characters of RFC 3986 (2.3).
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The helper to which [`compile`](super::compile) rewrites every expression that inserts a value: `{{data.x}}` becomes
/// `{{insert data.x}}`, and `{{upper data.x}}` becomes `{{insert (upper data.x) "upper data.x"}}`. Handlebars alone would
/// write null and missing as nothing and an object as `[object]`, before its escape function sees them.
pub(super) struct Insert(pub(super) Place);

/// The name of the helper for a place. It has a blank, so that no template can call it.
pub(super) fn name(place: Place) -> String {
    format!("insert {place:?}")
}

/// Whether a call inserts a value at this place.
pub(super) fn is_call_of(call: &HelperTemplate, place: Place) -> bool {
    call.name.as_name() == Some(name(place).as_str())
}

impl HelperDef for Insert {
    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc handlebars::Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let path = call.param(0).and_then(|value| value.relative_path());
        let expression = || call.param(1).and_then(|text| text.value().as_str()).unwrap_or_default().to_owned();
        let value = match call.param(0) {
            Some(value) if !value.is_value_missing() => value.value(),
            _ => {
                let missing = path.map(|path| RenderFault::Missing(path.clone()));
                return Err(missing.unwrap_or_else(|| RenderFault::NothingFound(expression())).into());
            }
        };
        let text = inserted(value, self.0, rc.is_disable_escape(), || path.cloned().unwrap_or_else(expression))?;
        Ok(out.write(&text)?)
    }
}

/// A value as it stands at a place.
///
/// # Errors
/// When it cannot stand there; `name` is what the template calls it.
pub(super) fn inserted(
    value: &Value,
    place: Place,
    as_it_is: bool,
    name: impl Fn() -> String,
) -> Result<Cow<'_, str>, RenderFault> {
    let text = match value {
        Value::String(text) if place == Place::JsonValue && !as_it_is => {
            return Ok(format!("\"{}\"", json_escape(text)).into());
        }
        _ if place == Place::JsonValue => return Ok(value_text(value)),
        Value::Null => return Err(RenderFault::Null(name())),
        Value::Array(_) | Value::Object(_) => return Err(RenderFault::NotScalar(name())),
        _ => value_text(value),
    };
    Ok(match place {
        Place::Header if !is_header_text(&text) => return Err(RenderFault::NotHeaderText(name())),
        Place::Header | Place::Text | Place::JsonValue => text,
        _ if as_it_is => text,
        Place::JsonString => match json_escape(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(escaped) => escaped.into(),
        },
        Place::Encoded => url_encode(&text).into(),
        Place::Xml => xml_escape(&text).ok_or_else(|| RenderFault::NotInPlace(name(), "XML"))?.into(),
        Place::XmlName if !text.is_empty() && text.chars().all(is_name_character) => text,
        Place::XmlName => return Err(RenderFault::NotInPlace(name(), "a name of XML")),
        Place::CsvField if text.contains([',', ';', '\t', '"', '\r', '\n']) => {
            format!("\"{}\"", text.replace('"', "\"\"")).into()
        }
        Place::CsvField => text,
        Place::CsvQuoted => text.replace('"', "\"\"").into(),
        Place::TsvField if text.contains(['\t', '\r', '\n']) => {
            return Err(RenderFault::NotInPlace(name(), "a field of TSV"));
        }
        Place::TsvField => text,
    })
}

/// Text as it is, anything else as its JSON.
pub(super) fn value_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// Every byte but the unreserved ones of RFC 3986 (2.3) percent-encoded.
pub(crate) fn url_encode(text: &str) -> String {
    utf8_percent_encode(text, &RESERVED).to_string()
}

/// Visible ASCII and blanks, all that a field value may safely hold (RFC 9110, 5.5).
pub(super) fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The inside of the JSON string that stands for `text`.
pub(super) fn json_escape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')) {
        return text.into();
    }
    let mut quoted = Value::from(text).to_string();
    quoted.pop();
    quoted.remove(0);
    quoted.into()
}

/// Text for XML and HTML, between tags and in quoted attributes. `None` when it holds what no XML can (XML 1.0, 2.2).
pub(super) fn xml_escape(text: &str) -> Option<String> {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // A parser would take these for a line feed, and in attributes for a blank (2.11 and 3.3.3).
            '\r' => escaped.push_str("&#13;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => return None,
            _ => escaped.push(character),
        }
    }
    Some(escaped)
}

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | ':')
}
