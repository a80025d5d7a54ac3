//! A signing scheme that was checked: what is signed, by what, and how it is sent.

use reqwest::header::{HeaderName, HeaderValue};

use super::config::SigningConfig;
use super::encoding::Encoding;
use super::keys::KeyForm;
use super::pattern::{Field, Pattern, Piece};
use super::table::Layout;
use crate::problem::Problem;
use crate::sink::parts;

/// A signing scheme that was checked.
#[derive(Debug)]
pub(crate) struct Scheme {
    pub keys: KeyForm,
    /// What is signed.
    pub content: Pattern,
    /// The header with the signature.
    pub header: HeaderName,
    /// The elements of the header's value; the one with the signature is repeated for every secret. One, without a
    /// separator.
    pub elements: Vec<Pattern>,
    /// What stands between them; `None` where there is room for one signature.
    pub separator: Option<String>,
    pub encoding: Encoding,
    /// The header with the signed timestamp, where it is not `webhook-timestamp`.
    pub timestamp_header: Option<HeaderName>,
}

/// What is signed of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub method: &'a str,
    /// With the query.
    pub path: &'a str,
    pub id: &'a str,
    pub timestamp: &'a str,
    pub body: &'a [u8],
}

/// What may be signed.
const OF_CONTENT: [Field; 5] = [Field::Method, Field::Path, Field::Id, Field::Timestamp, Field::Body];

/// What may stand in the header beside the signature.
const OF_VALUE: [Field; 3] = [Field::Signature, Field::Timestamp, Field::Id];

impl Scheme {
    /// Checks the keys of the pipeline file but for the secrets.
    ///
    /// # Errors
    /// Every value at fault.
    pub(crate) fn of(config: &SigningConfig) -> Result<Self, Vec<Problem>> {
        let Some(entry) = config.scheme.entry() else {
            let needs_header = || {
                let problem = Problem::new(["header"], "`scheme = \"custom\"` needs the key `header`");
                vec![problem.with_help("name the header with the signature, for example `header = \"X-Signature\"`")]
            };
            return Self::compile(&config.custom().ok_or_else(needs_header)?);
        };
        let problems: Vec<_> = config
            .custom_keys()
            .map(|key| {
                let problem = Problem::new([key], format!("`{key}` is a key of `scheme = \"custom\"`"));
                problem
                    .with_help(format!("`{}` is always the same: leave `{key}` out, or write that scheme", entry.name))
            })
            .collect();
        if problems.is_empty() { Self::compile(&entry.layout) } else { Err(problems) }
    }

    /// Checks what a scheme is made of.
    pub(super) fn compile(layout: &Layout<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut note = |found: Vec<Problem>| problems.extend(found);
        let content = Pattern::parse("content", layout.content, &OF_CONTENT).map_err(&mut note).ok();
        let value = Pattern::parse("value", layout.value, &OF_VALUE).map_err(&mut note).ok();
        let header = header(layout.header).map_err(|problem| note(vec![problem])).ok();
        content.iter().for_each(|content| note(of_content(content)));
        value.iter().for_each(|value| note(of_value(value)));
        note(layout.separator.and_then(of_separator).into_iter().collect());
        match (content, value, header) {
            (Some(content), Some(value), Some(header)) if problems.is_empty() => Ok(Self {
                keys: layout.keys,
                content,
                header,
                elements: layout
                    .separator
                    .map_or_else(|| vec![value.clone()], |separator| value.clone().split(separator)),
                separator: layout.separator.map(str::to_owned),
                encoding: layout.encoding,
                timestamp_header: layout.timestamp_header.and_then(|name| HeaderName::try_from(name).ok()),
            }),
            _ => Err(problems),
        }
    }

    /// The bytes that are signed of a request, in parts.
    pub(crate) fn content_of<'a>(&'a self, signed: &Signed<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let signed = *signed;
        self.content.pieces().iter().map(move |piece| match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Field(Field::Body) => signed.body,
            Piece::Field(field) => signed.text(*field).as_bytes(),
        })
    }
}

impl<'a> Signed<'a> {
    /// A field that is text.
    pub(super) fn text(&self, field: Field) -> &'a str {
        match field {
            Field::Method => self.method,
            Field::Path => self.path,
            Field::Id => self.id,
            Field::Timestamp => self.timestamp,
            // Neither is text of the request.
            Field::Body | Field::Signature => "",
        }
    }
}

fn header(name: &str) -> Result<HeaderName, Problem> {
    let Ok(header) = HeaderName::try_from(name) else {
        let help = "letters, digits and any of !#$%&'*+-.^_`|~ make a header name";
        return Err(Problem::new(["header"], format!("`{name}` is not a header name")).with_help(help));
    };
    if parts::is_reserved(&header) {
        let problem = Problem::new(["header"], format!("`{name}` is set by the bridge for something else"));
        return Err(problem.with_help("name another one, for example `X-Signature`"));
    }
    Ok(header)
}

fn of_content(content: &Pattern) -> Vec<Problem> {
    let problem = || {
        Problem::new(["content"], "`content` names nothing of the request, so that every signature would be the same")
            .with_help("name at least the body: `{{body}}`")
    };
    content.fields().is_empty().then(problem).into_iter().collect()
}

fn of_value(value: &Pattern) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !value.names(Field::Signature) {
        let problem = Problem::new(["value"], "`value` lacks `{{signature}}`");
        problems.push(problem.with_help("write for example `value = \"sha256={{signature}}\"`"));
    }
    for field in value.fields().into_iter().filter(|field| value.count(*field) > 1) {
        let problem = Problem::new(["value"], format!("`value` names `{{{{{}}}}}` more than once", field.name()));
        problems.push(problem.with_help("name it once; `separator` repeats the signature for every secret"));
    }
    // Blanks at the ends of a value get lost on the way (RFC 9110, 5.5).
    let text = value.to_string();
    if HeaderValue::from_str(&text).is_err() || text.trim() != text {
        let problem = Problem::new(["value"], "`value` has a character that a header cannot carry");
        problems.push(problem.with_help("leave out control characters, and blanks at the beginning and the end"));
    }
    problems
}

fn of_separator(separator: &str) -> Option<Problem> {
    let is_sound = !separator.is_empty() && separator.chars().all(|c| ",;| ".contains(c));
    (!is_sound).then(|| {
        let problem = Problem::new(["separator"], format!("`{separator}` is no separator"));
        problem.with_help("write `,`, `;`, `|` or a blank, or one of them with a blank behind it")
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::HmacAlgorithm;
    use super::super::table::{SCHEMES, SchemeName};
    use super::*;

    fn custom() -> SigningConfig {
        SigningConfig { scheme: SchemeName::CUSTOM, header: Some("X-Signature".into()), ..SigningConfig::default() }
    }

    fn problems(config: &SigningConfig) -> Vec<String> {
        Scheme::of(config).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_entry_of_the_table_is_sound() {
        for entry in &SCHEMES {
            let scheme = Scheme::of(&SigningConfig::named(SchemeName::of_name(entry.name).unwrap(), Vec::new()));
            let scheme = scheme.unwrap_or_else(|problems| panic!("{}: {problems:?}", entry.name));
            assert_eq!(scheme.timestamp_header.is_some(), entry.layout.timestamp_header.is_some(), "{}", entry.name);
        }
    }

    #[test]
    fn a_custom_scheme_needs_a_header_and_has_defaults_for_the_rest() {
        let scheme = Scheme::of(&custom()).unwrap();
        assert_eq!(
            (scheme.content.to_string(), scheme.elements[0].to_string()),
            ("{{body}}".into(), "{{signature}}".into())
        );
        assert_eq!((scheme.encoding, scheme.header.as_str()), (Encoding::Hex, "x-signature"));
        let without = SigningConfig { header: None, ..custom() };
        assert_eq!(problems(&without), ["header: `scheme = \"custom\"` needs the key `header`"]);
    }

    #[test]
    fn a_named_scheme_takes_no_keys_of_a_custom_one() {
        let named = SigningConfig {
            scheme: SchemeName::of_name("github").unwrap(),
            algorithm: Some(HmacAlgorithm::HmacSha1),
            ..custom()
        };
        let expected = |key: &str| format!("{key}: `{key}` is a key of `scheme = \"custom\"`");
        assert_eq!(problems(&named), [expected("algorithm"), expected("header")]);
    }

    #[test]
    fn every_wrong_key_is_reported() {
        let wrong = SigningConfig {
            content: Some("{{bdy}}".into()),
            header: Some("X Signature".into()),
            value: Some("t={{timestamp}},{{timestamp}}\n".into()),
            separator: Some("=".into()),
            ..custom()
        };
        let found = problems(&wrong);
        let expected = [
            "content: `content` cannot name `bdy`",
            "header: `X Signature` is not a header name",
            "value: `value` lacks `{{signature}}`",
            "value: `value` names `{{timestamp}}` more than once",
            "value: `value` has a character that a header cannot carry",
            "separator: `=` is no separator",
        ];
        assert_eq!(found, expected);
        let constant = SigningConfig { content: Some("v1".into()), ..custom() };
        assert!(problems(&constant)[0].contains("names nothing of the request"));
        for reserved in ["webhook-id", "Content-Type", "content-length"] {
            let reserved = SigningConfig { header: Some(reserved.into()), ..custom() };
            assert!(problems(&reserved)[0].ends_with("is set by the bridge for something else"));
        }
    }
}
