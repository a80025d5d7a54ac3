//! Texts with placeholders in double braces: what is signed (`{{timestamp}}.{{body}}`), and the value of the header with
//! the signature. They are no templates: nothing of the event but what a request carries can be named, and nothing is
//! escaped. This module must not know any scheme.

use std::ops::Range;

use strum::IntoStaticStr;

use crate::problem::{Problem, did_you_mean};

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Field {
    /// The request's method.
    Method,
    /// The path of the request's URL, with its query.
    Path,
    /// The value of `webhook-id`.
    Id,
    /// The time of the attempt, in seconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// The bytes of the body.
    Body,
    /// The encoded signature.
    Signature,
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text that stands for itself.
    Text(String),
    /// A placeholder.
    Field(Field),
}

/// A text with placeholders, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
}

impl Field {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

impl Pattern {
    /// Reads the text of the key `key`, which may name the fields `allowed`.
    ///
    /// # Errors
    /// One problem for each placeholder that is unknown, not closed, or written with single braces.
    pub(super) fn parse(key: &str, text: &str, allowed: &[Field]) -> Result<Self, Vec<Problem>> {
        let (mut pieces, mut problems) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(open) = text[at..].find("{{").map(|open| at + open) {
            pieces.extend(written(&text[at..open]));
            problems.extend(single_braces(key, text, at..open, allowed));
            let Some(close) = text[open..].find("}}").map(|close| open + close + 2) else {
                let problem = Problem::new([key], "a placeholder is not closed").with_part(open..text.len());
                problems.push(problem.with_help("close it by `}}`"));
                at = text.len();
                break;
            };
            let name = text[open + 2..close - 2].trim();
            match allowed.iter().find(|field| field.name() == name) {
                Some(field) => pieces.push(Piece::Field(*field)),
                None => problems.push(unknown(key, name, allowed).with_part(open..close)),
            }
            at = close;
        }
        pieces.extend(written(&text[at..]));
        problems.extend(single_braces(key, text, at..text.len(), allowed));
        if problems.is_empty() { Ok(Self { pieces }) } else { Err(problems) }
    }

    /// Its parts, in their order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// How often it names a field.
    pub(crate) fn count(&self, field: Field) -> usize {
        self.pieces.iter().filter(|piece| **piece == Piece::Field(field)).count()
    }

    /// Whether it names a field.
    pub(crate) fn names(&self, field: Field) -> bool {
        self.count(field) > 0
    }

    /// The fields that it names, each once, in their order.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        for piece in &self.pieces {
            if let Piece::Field(field) = piece
                && !fields.contains(field)
            {
                fields.push(*field);
            }
        }
        fields
    }

    /// The patterns between the separators in its text.
    pub(super) fn split(self, separator: &str) -> Vec<Self> {
        let mut patterns = vec![Self { pieces: Vec::new() }];
        for piece in self.pieces {
            let Piece::Text(text) = piece else {
                patterns.last_mut().into_iter().for_each(|last| last.pieces.push(piece.clone()));
                continue;
            };
            for (index, part) in text.split(separator).enumerate() {
                if index > 0 {
                    patterns.push(Self { pieces: Vec::new() });
                }
                patterns.last_mut().into_iter().for_each(|last| last.pieces.extend(written(part)));
            }
        }
        patterns
    }
}

/// As it is written in a pipeline file.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Field(field) => write!(f, "{{{{{}}}}}", field.name())?,
            }
        }
        Ok(())
    }
}

fn written(text: &str) -> Option<Piece> {
    (!text.is_empty()).then(|| Piece::Text(text.to_owned()))
}

fn unknown(key: &str, name: &str, allowed: &[Field]) -> Problem {
    let names = allowed.iter().map(|field| field.name());
    let help = match did_you_mean(name, names.clone()) {
        Some(meant) => format!("did you mean `{{{{{meant}}}}}`?"),
        None => {
            let names: Vec<_> = names.map(|name| format!("`{{{{{name}}}}}`")).collect();
            format!("write one of {}", names.join(", "))
        }
    };
    Problem::new([key], format!("`{key}` cannot name `{name}`")).with_help(help)
}

/// Names of fields within single braces, as other languages write them.
fn single_braces(key: &str, text: &str, part: Range<usize>, allowed: &[Field]) -> Vec<Problem> {
    let found = allowed.iter().filter_map(|field| {
        let slip = format!("{{{}}}", field.name());
        let at = part.start + text[part.clone()].find(&slip)?;
        let problem = Problem::new([key], format!("`{slip}` would be taken as it stands"));
        Some(problem.with_help(format!("write `{{{slip}}}`")).with_part(at..at + slip.len()))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Field; 3] = [Field::Id, Field::Timestamp, Field::Body];

    fn without_blanks(text: &str) -> String {
        text.split_whitespace().collect()
    }

    fn problems(text: &str) -> Vec<(String, String, Range<usize>)> {
        let problems = Pattern::parse("content", text, &ALL).unwrap_err();
        problems.into_iter().map(|one| (one.message, one.help.unwrap(), one.part.unwrap())).collect()
    }

    #[test]
    fn placeholders_and_text_take_turns() {
        let pattern = Pattern::parse("content", "{{ id }}.{{timestamp}}}{{body}}", &ALL).unwrap();
        let (text, field) = (|text: &str| Piece::Text(text.into()), Piece::Field);
        let expected = [field(Field::Id), text("."), field(Field::Timestamp), text("}"), field(Field::Body)];
        assert_eq!(pattern.pieces(), expected);
        assert_eq!(pattern.to_string(), "{{id}}.{{timestamp}}}{{body}}");
        assert_eq!(Pattern::parse("content", "", &ALL).unwrap().pieces(), []);
    }

    #[test]
    fn a_list_is_split_between_its_elements() {
        let pattern = Pattern::parse("value", "a,t={{timestamp}},{{id}}{{body}}", &ALL).unwrap();
        let split: Vec<_> = pattern.split(",").iter().map(ToString::to_string).collect();
        assert_eq!(split, ["a", "t={{timestamp}}", "{{id}}{{body}}"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([{}é ]|id|body|\\PC){0,12}") {
            match Pattern::parse("content", &text, &ALL) {
                Ok(pattern) => prop_assert_eq!(without_blanks(&pattern.to_string()), without_blanks(&text)),
                Err(problems) => for problem in problems {
                    prop_assert!(text.get(problem.part.unwrap()).is_some(), "the part is one of the text");
                },
            }
        }
    }

    #[test]
    fn each_wrong_placeholder_is_shown_where_it_stands() {
        let message = |name: &str| format!("`content` cannot name `{name}`");
        assert_eq!(
            problems("{{ids}}.{{signature}}"),
            [
                (message("ids"), "did you mean `{{id}}`?".into(), 0..7),
                (message("signature"), "write one of `{{id}}`, `{{timestamp}}`, `{{body}}`".into(), 8..21),
            ]
        );
        assert_eq!(problems("é{{body"), [("a placeholder is not closed".into(), "close it by `}}`".into(), 2..8)]);
        assert_eq!(problems("{{{body}}}")[0].1, "did you mean `{{body}}`?");
        let single = "`{body}` would be taken as it stands";
        assert_eq!(problems("{{id}}.{body}"), [(single.into(), "write `{{body}}`".into(), 7..13)]);
    }
}
