//! Reads the value of a header that holds signatures, by the pattern that a signer writes it by.

use std::collections::BTreeMap;

use regex::Regex;

use crate::sink::signing::{Field, Pattern, Piece, Scheme};

/// Reads the elements of a header's value.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    elements: Vec<Element>,
    separator: Option<String>,
}

/// What a value holds. Elements that fit no pattern are left out: others may sign beside us, by other versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// All signatures, encoded, in their order.
    pub signatures: Vec<&'a str>,
    /// Other fields, each as it was found first.
    pub fields: BTreeMap<&'static str, &'a str>,
}

#[derive(Debug, Clone)]
struct Element {
    form: Regex,
    fields: Vec<Field>,
}

impl Reader {
    /// The reader of a scheme's header.
    pub(super) fn new(scheme: &Scheme) -> Result<Self, regex::Error> {
        let element = |pattern: &Pattern| Ok(Element { form: form(pattern)?, fields: pattern.fields() });
        Ok(Self {
            elements: scheme.elements.iter().map(element).collect::<Result<_, regex::Error>>()?,
            separator: scheme.separator.clone(),
        })
    }

    /// What a value holds.
    pub(super) fn read<'a>(&self, value: &'a str) -> Found<'a> {
        let mut found = Found::default();
        for part in self.parts(value) {
            let fitting = self.elements.iter().find_map(|element| Some((element, element.form.captures(part)?)));
            let Some((element, captures)) = fitting else { continue };
            for field in &element.fields {
                let Some(text) = captures.name(field.name()) else { continue };
                match field {
                    Field::Signature => found.signatures.push(text.as_str()),
                    field => {
                        found.fields.entry(field.name()).or_insert(text.as_str());
                    }
                }
            }
        }
        found
    }

    fn parts<'a>(&self, value: &'a str) -> Vec<&'a str> {
        match self.separator.as_deref() {
            None => vec![value.trim()],
            // A blank separates, or stands beside what does.
            Some(separator) if separator.trim().is_empty() => value.split_ascii_whitespace().collect(),
            Some(separator) => value.split(separator.trim()).map(str::trim).collect(),
        }
    }
}

/// What an element looks like. Whether a timestamp is a number is asked later, so that it can be said.
fn form(pattern: &Pattern) -> Result<Regex, regex::Error> {
    let mut form = String::from("^");
    let last = pattern.pieces().len().saturating_sub(1);
    for (index, piece) in pattern.pieces().iter().enumerate() {
        match piece {
            Piece::Text(text) => {
                // Blanks around an element are no part of it.
                let text = if index == 0 { text.trim_start() } else { text };
                form.push_str(&regex::escape(if index == last { text.trim_end() } else { text }));
            }
            // All characters of base64, base64url and hexadecimal digits.
            Piece::Field(Field::Signature) => form.push_str("(?<signature>[A-Za-z0-9+/=_-]*)"),
            Piece::Field(field) => form.push_str(&format!("(?<{}>.*?)", field.name())),
        }
    }
    form.push('$');
    Regex::new(&form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::signing::{SchemeName, SigningConfig};

    fn read(value: &str, separator: Option<&str>, received: &str) -> (Vec<String>, Vec<(String, String)>) {
        let config = SigningConfig {
            header: Some("X-Signature".into()),
            value: Some(value.into()),
            separator: separator.map(str::to_owned),
            ..SigningConfig::named(SchemeName::CUSTOM, Vec::new())
        };
        let reader = Reader::new(&Scheme::of(&config).unwrap()).unwrap();
        let found = reader.read(received);
        let fields = found.fields.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned()));
        (found.signatures.into_iter().map(str::to_owned).collect(), fields.collect())
    }

    #[test]
    fn a_list_is_read_element_by_element_in_any_order() {
        let stripe = |received: &str| read("t={{timestamp}},v1={{signature}}", Some(","), received);
        let timestamp = vec![("timestamp".to_owned(), "5".to_owned())];
        let both = vec!["ab".to_owned(), "cd".to_owned()];
        assert_eq!(stripe("t=5,v1=ab,v1=cd"), (both.clone(), timestamp.clone()));
        assert_eq!(stripe("v0=xx, v1=ab,t=5,v1=cd,t=6"), (both.clone(), timestamp));
        assert_eq!(stripe("v2=ab"), (vec![], vec![]));
        assert_eq!(read("v1,{{signature}}", Some(" "), "v1,ab  v1a,xx v1,cd").0, both);
        assert_eq!(read("Sig a {{signature}} ; b", Some(";"), "Sig a ab;b;Sig a cd").0, both, "blanks within it count");
    }

    #[test]
    fn a_value_is_read_as_a_whole_without_a_separator() {
        let received = "a:b/c:5;ab=";
        let (signatures, fields) = read("{{id}}:{{timestamp}};{{signature}}", None, received);
        assert_eq!(signatures, ["ab="]);
        let id = fields.iter().find(|(name, _)| name == "id").unwrap();
        assert_eq!(id.1, "a", "the shortest that fits");
        assert_eq!(read("sha256={{signature}}", None, "sha1=ab"), (vec![], vec![]));
        assert_eq!(read("a.b={{signature}}", None, "axb=ab").0, [""; 0], "text stands for itself");
    }
}
