//! Reads JSON in which members have names that `serde_json` keeps for itself: to it an object such as
//! `{"$serde_json::private::Number": "1"}` is the number 1, and one whose text is no number is no JSON at all. Those names are
//! put behind a mark while it reads, and the mark is taken away from what it gives. Pure.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// What such names begin with.
const RESERVED: &str = "$serde_json::private::";

/// Stands before such a name, and once more before one that has it already: so each can be told from the others.
const MARK: char = '!';

/// The beginning of an ASCII character as an escape: without one, a name stands in the text as it is.
const ESCAPED: &str = "\\u00";

/// The value of JSON text.
pub(crate) fn read(payload: &[u8]) -> serde_json::Result<Value> {
    let Some(marked) = marked(payload) else { return serde_json::from_slice(payload) };
    let mut value = serde_json::from_slice(marked.as_bytes())
        // What is wrong is told with its place in the payload itself.
        .map_err(|error| serde_json::from_slice::<IgnoredAny>(payload).err().unwrap_or(error))?;
    unmark(&mut value);
    Ok(value)
}

/// The text with a mark in every string that begins with such a name; `None` when there is none.
fn marked(payload: &[u8]) -> Option<String> {
    if !may_hold_one(payload) {
        return None;
    }
    let text = std::str::from_utf8(payload).ok()?;
    let mut marked = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        let (before, string) = rest.split_at(start);
        let (string, behind) = string.split_at(super::repair::string_length(string));
        marked.push_str(before);
        if is_token_reserved(string) {
            marked.extend(['"', MARK]);
            marked.push_str(&string[1..]);
        } else {
            marked.push_str(string);
        }
        rest = behind;
    }
    marked.push_str(rest);
    (marked.len() > text.len()).then_some(marked)
}

/// Asked of every payload, so it takes hardly any time.
fn may_hold_one(payload: &[u8]) -> bool {
    static FINDERS: LazyLock<[Finder<'_>; 2]> = LazyLock::new(|| [RESERVED, ESCAPED].map(Finder::new));
    FINDERS.iter().any(|finder| finder.find(payload).is_some())
}

/// Whether a string as it is written, with its quotes, is such a name.
fn is_token_reserved(string: &str) -> bool {
    match string.contains('\\') {
        true => serde_json::from_str::<String>(string).is_ok_and(|name| is_reserved(&name)),
        false => is_reserved(&string[1..]),
    }
}

fn is_reserved(name: &str) -> bool {
    name.trim_start_matches(MARK).starts_with(RESERVED)
}

/// Takes the marks away.
fn unmark(value: &mut Value) {
    match value {
        Value::String(text) if is_reserved(text) => drop(text.remove(0)),
        Value::Array(items) => items.iter_mut().for_each(unmark),
        Value::Object(members) => {
            members.values_mut().for_each(unmark);
            if members.keys().any(|name| is_reserved(name)) {
                *members = std::mem::take(members).into_iter().map(unmarked).collect::<Map<_, _>>();
            }
        }
        _ => {}
    }
}

fn unmarked((mut name, value): (String, Value)) -> (String, Value) {
    if is_reserved(&name) {
        name.remove(0);
    }
    (name, value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn objects_with_such_names_are_read_as_what_they_are() {
        for text in [
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"{"$serde_json::private::Number":"no number"}"#,
            r#"[{"a":{"$serde_json::private::Number":1,"b":2.50}}]"#,
            r#"{"$serde_json::private::RawValue":"[1,2]"}"#,
            r#"{"!$serde_json::private::Number":"1","$serde_json::private::Number":"!!$serde_json::private::"}"#,
            r#"{"a":"$serde_json::private::Number","b":"<\n>"}"#,
        ] {
            assert_eq!(read(text.as_bytes()).unwrap().to_string(), text);
        }
        let escaped = read(br#"{"\u0024serde_json::priv\u0061te::Number":"1"}"#).unwrap();
        assert_eq!(escaped.to_string(), r#"{"$serde_json::private::Number":"1"}"#);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_in_the_payload() {
        let error = read(br#"{"$serde_json::private::Number":"1",}"#).unwrap_err();
        assert_eq!((error.line(), error.column()), (1, 37), "{error}");
        assert!(read(b"\"$serde_json::private::\xff\"").is_err());
    }

    proptest! {
        #[test]
        fn any_other_text_is_read_as_ever(text in "[\"\\\\u0024{}:,$!a ]{0,12}") {
            let expected = serde_json::from_str::<Value>(&text).map_err(|error| error.to_string());
            prop_assert_eq!(read(text.as_bytes()).map_err(|error| error.to_string()), expected);
        }
    }
}
