//! Where in the text around it an expression stands, which says what may be inserted there and how it is escaped.
//!
//! The text before an expression decides: what expressions insert is escaped, and opens or closes nothing. All of this
//! happens at load.

use strum::VariantArray;

use super::Escape;
use super::fault::TemplateFault;

/// A place in the text around a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub(super) enum Place {
    /// JSON outside of quotes: any value, as its JSON.
    JsonValue,
    /// Within a JSON string.
    JsonString,
    /// In a URL or a form: percent-encoded.
    Encoded,
    /// In an HTTP header.
    Header,
    /// In the text or a quoted attribute of XML.
    Xml,
    /// Within a tag of XML and outside of quotes: part of a name.
    XmlName,
    /// A whole field of CSV, or a part of one within quotes.
    CsvField,
    /// Within the quotes of a CSV field.
    CsvQuoted,
    /// A field of TSV, which knows no quotes.
    TsvField,
    /// Any other text, and keys.
    Text,
}

impl Place {
    /// The place behind this text.
    pub(super) fn behind(before: &str, escape: Escape) -> Result<Self, TemplateFault> {
        Ok(match escape {
            Escape::Json | Escape::JsonLines | Escape::JsonSequence => match json(before) {
                Json::Outside => Self::JsonValue,
                Json::Inside => Self::JsonString,
                Json::Escaped => {
                    return Err(TemplateFault::new(
                        "a backslash directly before a value makes an escape sequence of its beginning",
                    )
                    .help("write one more backslash"));
                }
            },
            Escape::Url | Escape::Form => Self::Encoded,
            Escape::Header => Self::Header,
            Escape::Xml => xml(before)?,
            Escape::Csv => csv(before)?,
            Escape::Tsv => Self::TsvField,
            Escape::Text | Escape::Key => Self::Text,
        })
    }

    /// The place when the text before it is either of two.
    pub(super) fn uncertain(self) -> Self {
        if self == Self::JsonValue { Self::JsonString } else { self }
    }
}

enum Json {
    Outside,
    Inside,
    Escaped,
}

fn json(before: &str) -> Json {
    let (mut within, mut escaped) = (false, false);
    for character in before.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if within => escaped = true,
            '"' => within = !within,
            _ => {}
        }
    }
    match (within, escaped) {
        (true, true) => Json::Escaped,
        (true, false) => Json::Inside,
        _ => Json::Outside,
    }
}

/// Whether JSON text leaves off within a string.
pub(super) fn is_within_json_string(before: &str) -> bool {
    !matches!(json(before), Json::Outside)
}

fn xml(before: &str) -> Result<Place, TemplateFault> {
    let Some(start) = last_open(before) else { return Ok(Place::Xml) };
    let tag = &before[start..];
    for (opening, what) in
        [("<!--", "a comment"), ("<![CDATA[", "a CDATA section"), ("<?", "an instruction"), ("<!", "a declaration")]
    {
        if tag.starts_with(opening) {
            return Err(TemplateFault::new(format!("a value cannot be escaped within {what}"))
                .help("let it stand in text between tags or in a quoted attribute"));
        }
    }
    let mut quote = None;
    for character in tag.chars() {
        match quote {
            Some(open) if open == character => quote = None,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            _ => {}
        }
    }
    Ok(if quote.is_some() { Place::Xml } else { Place::XmlName })
}

/// Where the tag, comment or section begins in which the text leaves off.
fn last_open(before: &str) -> Option<usize> {
    let mut offset = 0;
    while let Some(start) = before[offset..].find('<').map(|found| offset + found) {
        let rest = &before[start..];
        let closing = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")];
        let length = match closing.iter().find(|(opening, _)| rest.starts_with(opening)) {
            Some((opening, closing)) => {
                rest[opening.len()..].find(closing).map(|end| opening.len() + end + closing.len())
            }
            None => tag_length(rest),
        };
        match length {
            Some(length) => offset = start + length,
            None => return Some(start),
        }
    }
    None
}

fn tag_length(rest: &str) -> Option<usize> {
    let mut quote = None;
    for (offset, character) in rest.char_indices() {
        match quote {
            Some(open) if open == character => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if character == '>' => return Some(offset + 1),
            None => {}
        }
    }
    None
}

/// What stands between two values of CSV: commas, and what some take in their place.
fn is_delimiter(character: char) -> bool {
    matches!(character, ',' | ';' | '\t' | '\r' | '\n')
}

fn csv(before: &str) -> Result<Place, TemplateFault> {
    let mut within = false;
    for character in before.chars() {
        within ^= character == '"';
    }
    if within {
        return Ok(Place::CsvQuoted);
    }
    match before.chars().next_back() {
        // An `x` stands for a value, of another branch or element.
        Some(character) if !is_delimiter(character) => Err(TemplateFault::new(
            "a value outside of quotes is a whole field of CSV, and something stands directly before it",
        )
        .help("put the whole field in double quotes")),
        _ => Ok(Place::CsvField),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_before_a_value_says_where_it_stands() {
        let place = |before: &str, escape| Place::behind(before, escape).ok();
        for (before, escape, expected) in [
            ("{\"a\": ", Escape::Json, Some(Place::JsonValue)),
            ("{\"a\": \"x", Escape::Json, Some(Place::JsonString)),
            (r#"{"a": "x\""#, Escape::JsonLines, Some(Place::JsonString)),
            (r#"{"a": "x\\", "b": "#, Escape::Json, Some(Place::JsonValue)),
            (r#"{"a": "x\"#, Escape::Json, None),
            ("<a>", Escape::Xml, Some(Place::Xml)),
            ("<a b='>' c=\"x", Escape::Xml, Some(Place::Xml)),
            ("<a b=", Escape::Xml, Some(Place::XmlName)),
            ("<!-- > -->", Escape::Xml, Some(Place::Xml)),
            ("<!-- > ", Escape::Xml, None),
            ("<a><![CDATA[", Escape::Xml, None),
            ("a,", Escape::Csv, Some(Place::CsvField)),
            ("a,\"b \"\"", Escape::Csv, Some(Place::CsvQuoted)),
            ("a,b", Escape::Csv, None),
            ("", Escape::Csv, Some(Place::CsvField)),
        ] {
            assert_eq!(place(before, escape), expected, "{before}");
        }
    }
}
