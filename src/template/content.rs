//! What a content type says of a body: how values are escaped in it, and how it is checked.
//!
//! The rules: JSON is RFC 8259, in lines NDJSON and JSON Lines, in sequences RFC 7464; XML is XML 1.0 (2.2 and 4.6), HTML
//! the same references; forms are RFC 3986 (2.1) within the WHATWG URL standard (5); CSV is RFC 4180, TSV the registration
//! of `text/tab-separated-values`.

use serde::de::IgnoredAny;

use super::Escape;

/// A rendered body is not the JSON that its content type promises.
#[derive(Debug, thiserror::Error)]
pub enum NotJson {
    /// It is no JSON text.
    #[error("the rendered body is not JSON: {0}")]
    Text(#[from] serde_json::Error),
    /// One of its lines or records is no JSON text.
    #[error("line or record {0} of the rendered body is not JSON: {1}")]
    Part(usize, serde_json::Error),
}

/// Whether a content type promises one JSON text: `application/json`, `text/json` and `…+json` (RFC 6839), with any
/// parameters.
pub fn is_json(content_type: &str) -> bool {
    Escape::for_content_type(content_type) == Escape::Json
}

impl Escape {
    /// The escape of a body of this content type. Parameters and upper case make no difference.
    pub fn for_content_type(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let Some((kind, subtype)) = essence.split_once('/') else { return Self::Text };
        match (kind, subtype.trim_start_matches("x-")) {
            ("application" | "text", "json") => Self::Json,
            ("application" | "text", "ndjson" | "jsonl" | "jsonlines" | "json-lines" | "json-stream" | "ldjson") => {
                Self::JsonLines
            }
            ("application" | "text", "json-seq") => Self::JsonSequence,
            ("application" | "text", "xml" | "html") | ("text", "xsl") => Self::Xml,
            ("application", "www-form-urlencoded") => Self::Form,
            ("text" | "application", "csv") => Self::Csv,
            ("text", "tab-separated-values" | "tsv") => Self::Tsv,
            (_, other) if other.ends_with("+json") => Self::Json,
            (_, other) if other.ends_with("+json-seq") => Self::JsonSequence,
            (_, other) if other.ends_with("+xml") => Self::Xml,
            _ => Self::Text,
        }
    }

    /// Whether the body is JSON, one text or several.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JsonLines | Self::JsonSequence)
    }

    /// Checks that a rendered body is what its content type promises, without building its value.
    ///
    /// # Errors
    /// When it is not. The error tells the place, and nothing of the body.
    pub fn verify(self, body: &str) -> Result<(), NotJson> {
        match self {
            Self::Json => serde_json::from_str::<IgnoredAny>(body).map(drop).map_err(NotJson::Text),
            Self::JsonLines => verify_parts(body.split('\n')),
            Self::JsonSequence => verify_parts(body.split('\u{1e}')),
            _ => Ok(()),
        }
    }
}

fn verify_parts<'a>(parts: impl Iterator<Item = &'a str>) -> Result<(), NotJson> {
    let parts = parts.enumerate().filter(|(_, part)| !part.trim().is_empty());
    for (index, part) in parts {
        serde_json::from_str::<IgnoredAny>(part).map_err(|error| NotJson::Part(index + 1, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_says_how_values_are_escaped() {
        for (content_type, escape) in [
            ("application/json", Escape::Json),
            ("Application/JSON; charset=utf-8", Escape::Json),
            ("application/cloudevents+json", Escape::Json),
            ("application/vnd.API+JSON ; v=1", Escape::Json),
            ("text/json", Escape::Json),
            ("application/x-ndjson", Escape::JsonLines),
            ("application/ndjson", Escape::JsonLines),
            ("application/jsonl", Escape::JsonLines),
            ("application/json-seq", Escape::JsonSequence),
            ("application/geo+json-seq", Escape::JsonSequence),
            ("application/xml", Escape::Xml),
            ("TEXT/XML; charset=utf-8", Escape::Xml),
            ("application/atom+xml", Escape::Xml),
            ("text/html", Escape::Xml),
            ("application/x-www-form-urlencoded", Escape::Form),
            ("text/csv; header=present", Escape::Csv),
            ("text/tab-separated-values", Escape::Tsv),
            ("text/plain", Escape::Text),
            ("application/xml-dtd", Escape::Text),
            ("json", Escape::Text),
            ("text/plain; a=+json", Escape::Text),
        ] {
            assert_eq!(Escape::for_content_type(content_type), escape, "{content_type}");
        }
    }

    #[test]
    fn json_is_verified() {
        for good in ["{\"a\": [1, null, \"\\u2028\"]}", " 1 ", "\"x\""] {
            assert!(Escape::Json.verify(good).is_ok(), "{good}");
        }
        for bad in ["", "{\"a\": }", "{\"a\": 1} x", "{'a': 1}", "[1,]", "\"a\nb\""] {
            assert!(Escape::Json.verify(bad).is_err(), "{bad}");
        }
        let secret = Escape::Json.verify("{\"secret\": hunter2}").unwrap_err().to_string();
        assert!(!secret.contains("hunter2"), "{secret}");
        assert!(Escape::JsonLines.verify("{\"a\": 1}\n\n[2]\n").is_ok());
        assert!(Escape::JsonLines.verify("{\"a\": 1}\n{").unwrap_err().to_string().contains("record 2"));
        assert!(Escape::JsonLines.verify("{\n}").is_err());
        assert!(Escape::JsonSequence.verify("\u{1e}{\n}\n\u{1e}[2]\n").is_ok());
        assert!(Escape::Text.verify("{").is_ok());
    }
}
