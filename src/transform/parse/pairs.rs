//! Lines of keys and values, such as those of logfmt. It splits, and knows nothing of what the values mean.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// What stands between the pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    Space,
    /// Spaces, commas and semicolons.
    SpaceOrPunctuation,
}

/// The pairs of a line; of a key that comes twice the last value counts. `None` when no key has a value: then the line is
/// most likely prose.
pub(super) fn parse(line: &str, separator: Separator) -> Option<Map<String, Value>> {
    let mut rest = line.chars().peekable();
    let mut pairs = Map::new();
    let mut some_have_values = false;
    loop {
        while rest.next_if(|character| separator.stands_between(*character)).is_some() {}
        if rest.peek().is_none() {
            return some_have_values.then_some(pairs);
        }
        let key = take_while(&mut rest, |character| character != '=' && !separator.stands_between(character));
        let value = match rest.next_if_eq(&'=') {
            Some(_) => Value::String(value(&mut rest, separator)),
            None => Value::Bool(true),
        };
        // A line that begins with `=` is none of these.
        if key.is_empty() {
            return None;
        }
        some_have_values |= value.is_string();
        pairs.insert(key, value);
    }
}

impl Separator {
    fn stands_between(self, character: char) -> bool {
        character.is_whitespace() || (self == Self::SpaceOrPunctuation && matches!(character, ',' | ';'))
    }
}

fn value(rest: &mut Peekable<Chars<'_>>, separator: Separator) -> String {
    match rest.next_if_eq(&'"') {
        Some(_) => quoted(rest),
        None => take_while(rest, |character| !separator.stands_between(character)),
    }
}

/// Up to the closing quote, or to the end where there is none.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(character) = rest.next() {
        match character {
            '"' => break,
            '\\' => text.extend(rest.next().map(unescaped)),
            character => text.push(character),
        }
    }
    text
}

fn unescaped(character: char) -> char {
    match character {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}

fn take_while(rest: &mut Peekable<Chars<'_>>, belongs: impl Fn(char) -> bool) -> String {
    let mut text = String::new();
    while let Some(character) = rest.next_if(|character| belongs(*character)) {
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn logfmt(line: &str) -> Option<Value> {
        parse(line, Separator::Space).map(Value::Object)
    }

    #[test]
    fn keys_have_plain_quoted_empty_or_no_values() {
        let line = r#"level=info  msg="two \"quoted\" words\n" took=1.5ms empty= done url=/a?b=c,d"#;
        let expected = json!({
            "level": "info", "msg": "two \"quoted\" words\n", "took": "1.5ms", "empty": "", "done": true,
            "url": "/a?b=c,d"
        });
        assert_eq!(logfmt(line), Some(expected));
    }

    #[test]
    fn commas_and_semicolons_separate_pairs_where_they_may() {
        let pairs = parse(r#"a=1, b="two, three";c=4"#, Separator::SpaceOrPunctuation);
        assert_eq!(pairs.map(Value::Object), Some(json!({"a": "1", "b": "two, three", "c": "4"})));
    }

    #[test]
    fn prose_is_none_and_a_quote_may_stay_open() {
        assert_eq!(logfmt("the server has started"), None);
        assert_eq!(logfmt(""), None);
        assert_eq!(logfmt("=x a=1"), None);
        assert_eq!(logfmt(r#"a="open"#), Some(json!({"a": "open"})));
    }
}
