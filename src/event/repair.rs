//! Repairs JSON text that is well-formed and names what no value can hold, so that one member does not make the whole
//! payload undecodable. Only for reading: the payload itself stays as it is. Pure.

/// The text with every half of a surrogate pair that stands alone (RFC 8259, 8.2) as U+FFFD. `None` when there is nothing
/// to repair.
pub(super) fn repaired(payload: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut repaired = String::with_capacity(text.len() + 2);
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        let (before, string) = rest.split_at(start);
        repaired.push_str(before);
        let length = string_length(string);
        push_string(&mut repaired, &string[..length]);
        rest = &string[length..];
    }
    repaired.push_str(rest);
    (repaired != text).then(|| repaired.into_bytes())
}

/// The bytes of a string with both its quotes, or of all that follows when it is not closed.
pub(super) fn string_length(token: &str) -> usize {
    let mut escaped = false;
    for (offset, character) in token.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset + 1,
            _ => {}
        }
    }
    token.len()
}

fn push_string(repaired: &mut String, string: &str) {
    let mut rest = string;
    while let Some(start) = rest.find('\\') {
        let (before, escape) = rest.split_at(start);
        repaired.push_str(before);
        let length = match (code_unit(escape), escape.get(6..).and_then(code_unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                repaired.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            (Some(_), _) => 6,
            // The backslash and what it escapes.
            (None, _) => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        repaired.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    repaired.push_str(rest);
}

/// The code unit of an escape such as `\ud83d` at the beginning of a text.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn repair(text: &str) -> Option<String> {
        repaired(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_what_no_value_can_hold_is_replaced() {
        for (text, expected) in [
            (r#"{"a": "x\ud83d", "b": 1}"#, r#"{"a": "x\ufffd", "b": 1}"#),
            (r#"["\uDE00 \ud83d\uD83D\ude00"]"#, r#"["\ufffd \ufffd\uD83D\ude00"]"#),
            (r#"{"\ud83d": 1}"#, r#"{"\ufffd": 1}"#),
        ] {
            assert_eq!(repair(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            r#"{"a": "\\ud83d \"1e400\"", "b": -1.5e3, "c": "\ud83d\ude00 \u00e4"}"#,
            "[1e400]",
            "",
            "\"\\",
            "\"\\u",
            "1e",
            "{",
        ] {
            assert_eq!(repair(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_json_is_left_alone(text in ".*", number: f64) {
            let json = serde_json::json!({"a": [text, number], "b": i64::MIN}).to_string();
            prop_assert_eq!(repair(&json), None);
        }

        #[test]
        fn any_half_of_a_pair_is_repaired(text in "[a-z\"\\\\]*", half in 0xd800u16..0xe000) {
            let inner = Value::from(text.as_str()).to_string();
            let inner = inner.strip_prefix('"').unwrap();
            let json = format!("{{\"t\": \"\\u{half:04x}{inner}}}");
            prop_assert!(serde_json::from_str::<Value>(&json).is_err());
            let value: Value = serde_json::from_str(&repair(&json).unwrap()).unwrap();
            prop_assert_eq!(value["t"].as_str().unwrap(), format!("\u{fffd}{text}"));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, text in "[\"\\\\ud8c0e19+. \u{e9}-]*") {
            repaired(&bytes);
            repair(&text);
        }
    }
}
