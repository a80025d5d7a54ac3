//! Finds the tags of a template in its text, those that are no Handlebars too: for what is said about a template that
//! cannot be parsed. What can be parsed is never judged by this.

use std::ops::Range;

/// What stands between two braces and two braces. Comments and raw blocks are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// Where it stands, with its braces.
    pub(super) place: Range<usize>,
    pub(super) kind: Kind,
    /// What it says, without braces, `~`, the sign of its kind and blanks around it.
    pub(super) body: &'a str,
    /// Its closing braces are there.
    pub(super) is_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{…}}`, `{{{…}}}`, `{{&…}}`
    Value,
    /// `{{#…}}`
    Open,
    /// `{{else}}`, `{{else …}}`, `{{^}}`, `{{^…}}`
    Else,
    /// `{{/…}}`
    Close,
    /// Partials and decorators.
    Other,
}

impl Tag<'_> {
    /// The first word: the helper's name, or a path.
    pub(super) fn name(&self) -> &str {
        self.body.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default()
    }
}

/// The tags of a text, in order.
pub(super) fn tags(text: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let mut offset = 0;
    while let Some(start) = text[offset..].find("{{").map(|found| offset + found) {
        let rest = &text[start..];
        let is_escaped = text[offset..start].bytes().rev().take_while(|byte| *byte == b'\\').count() == 1;
        offset = start
            + match () {
                () if is_escaped && rest.starts_with("{{{{") => 4,
                () if is_escaped => 2,
                () if rest.starts_with("{{!") => comment_length(rest),
                () if rest.starts_with("{{{{") => raw_block_length(rest),
                () => {
                    let (length, is_closed) = tag_length(rest);
                    tags.push(tag(&rest[..length], start, is_closed));
                    length
                }
            };
    }
    tags
}

/// How far a comment goes, with its braces.
pub(super) fn comment_length(rest: &str) -> usize {
    let long = rest.starts_with("{{!--").then(|| rest[5..].find("--}}").map(|end| 5 + end + 4)).flatten();
    long.or_else(|| rest.find("}}").map(|end| end + 2)).unwrap_or(rest.len())
}

fn raw_block_length(rest: &str) -> usize {
    let end = rest.find("{{{{/").and_then(|end| Some(end + rest[end..].find("}}}}")? + 4));
    end.unwrap_or(rest.len())
}

/// The length of the tag at the beginning of `rest`, and whether it is closed. One that is not ends with a single brace,
/// with its line, or before the next tag.
fn tag_length(rest: &str) -> (usize, bool) {
    let closing = if rest.starts_with("{{{") { "}}}" } else { "}}" };
    if let Some(end) = end_outside_of_quotes(&rest[closing.len()..], closing) {
        return (closing.len() + end, true);
    }
    let inner = &rest[closing.len()..];
    let next = inner.find("{{").unwrap_or(inner.len());
    match inner.find(closing).filter(|end| *end < next) {
        Some(end) => (closing.len() + end + closing.len(), true),
        None => {
            let end = inner.find('}').map(|brace| brace + 1).into_iter().chain(inner.find('\n')).min();
            (closing.len() + end.unwrap_or(inner.len()).min(next), false)
        }
    }
}

fn end_outside_of_quotes(inner: &str, closing: &str) -> Option<usize> {
    let (mut quote, mut escaped, mut depth) = (None, false, 0_usize);
    for (offset, character) in inner.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote.is_some() => escaped = true,
            _ if quote.is_some() => quote = quote.filter(|open| *open != character),
            '"' | '\'' => quote = Some(character),
            _ if inner[offset..].starts_with("{{") => return None,
            // A table that is written out.
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' if inner[offset..].starts_with(closing) => return Some(offset + closing.len()),
            _ => {}
        }
    }
    None
}

fn tag(whole: &str, start: usize, is_closed: bool) -> Tag<'_> {
    let is_edge = |character: char| character.is_whitespace() || character == '~';
    let braces = if whole.starts_with("{{{") { 3 } else { 2 };
    let end = if is_closed { whole.len().saturating_sub(braces) } else { whole.len() };
    let inner = whole.get(braces..end).unwrap_or_default().trim_matches(is_edge);
    // `{{~{data.id}~}}`
    let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner);
    let is_else = |rest: &str| rest.is_empty() || rest.starts_with(char::is_whitespace);
    let (kind, body) = match inner.chars().next() {
        Some('#') if inner.starts_with("#>") || inner.starts_with("#*") => (Kind::Other, inner),
        Some('>' | '*') => (Kind::Other, inner),
        Some('#') => (Kind::Open, &inner[1..]),
        Some('/') => (Kind::Close, &inner[1..]),
        Some('^') => (Kind::Else, &inner[1..]),
        Some('&') => (Kind::Value, &inner[1..]),
        _ => match inner.strip_prefix("else").filter(|rest| is_else(rest)) {
            Some(rest) => (Kind::Else, rest),
            None => (Kind::Value, inner),
        },
    };
    Tag { place: start..start + whole.len(), kind, body: body.trim(), is_closed }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_found_with_their_kinds() {
        use Kind::{Close, Else, Open, Other, Value};
        for (text, expected) in [
            ("a {{ data.id }} b", vec![(Value, "data.id", true)]),
            ("{{{data.id}}}{{&x}}", vec![(Value, "data.id", true), (Value, "x", true)]),
            ("{{~#if a~}}b{{^}}c{{~/if}}", vec![(Open, "if a", true), (Else, "", true), (Close, "if", true)]),
            ("{{else if x == y}}{{elsewhere}}", vec![(Else, "if x == y", true), (Value, "elsewhere", true)]),
            ("{{upper \"}}\"}}", vec![(Value, "upper \"}}\"", true)]),
            ("{{json {\"a\": {\"b\": 1}}}}", vec![(Value, "json {\"a\": {\"b\": 1}}", true)]),
            ("{{upper \"a}} b", vec![(Value, "upper \"a", true)]),
            ("{{data.id {{x}}", vec![(Value, "data.id", false), (Value, "x", true)]),
            ("{{data.id}\nb", vec![(Value, "data.id}", false)]),
            ("{{data.id}, b", vec![(Value, "data.id}", false)]),
            ("{{~{data.id}~}}", vec![(Value, "data.id", true)]),
            (r"\{{a}} \\{{b}} {{! {{c}} {{!-- }} --}}{{{{raw}}}}{{d}}{{{{/raw}}}}", vec![(Value, "b", true)]),
            ("{{> a}}{{#*inline \"x\"}}", vec![(Other, "> a", true), (Other, "#*inline \"x\"", true)]),
        ] {
            let found: Vec<_> = tags(text).into_iter().map(|tag| (tag.kind, tag.body, tag.is_closed)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_its_tags(text in "(\\{\\{|\\}\\}|\\{|\\}|\\\\|\"|'|~|#|/|!|--|else|a|é| |\n|\\^){0,20}") {
            for tag in tags(&text) {
                prop_assert!(text.get(tag.place).is_some());
            }
        }
    }
}
