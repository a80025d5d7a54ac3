//! Indents JSON text without reading it into values, so that what is shown is what was sent: numbers keep their
//! digits, and names their order, even when one occurs twice.

use serde::de::IgnoredAny;

/// The text spread over lines, each level indented by two spaces; `None` when it is not JSON.
pub(super) fn indent(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut indented = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut rest = text.trim_ascii_start();
    while let Some(token) = rest.chars().next() {
        let (length, after) = match token {
            '"' => (string_length(rest), ""),
            _ => (token.len_utf8(), if token == ':' { " " } else { "" }),
        };
        if matches!(token, '}' | ']') {
            depth -= 1;
            break_line(&mut indented, depth);
        }
        indented.push_str(&rest[..length]);
        indented.push_str(after);
        rest = rest[length..].trim_ascii_start();
        let empty = rest.starts_with(['}', ']']);
        match token {
            '{' | '[' if empty => {
                indented.push_str(&rest[..1]);
                rest = rest[1..].trim_ascii_start();
            }
            '{' | '[' => {
                depth += 1;
                break_line(&mut indented, depth);
            }
            ',' => break_line(&mut indented, depth),
            _ => {}
        }
    }
    Some(indented)
}

/// The length in bytes of the string that `json` starts with, quotes included.
fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn numbers_names_and_strings_stay_as_they_were_sent() {
        let sent = r#" {"n":12345678901234567890.10, "n":1E2 ,"s":"a\\\"b{[,: ]}","e":[ { } ,[]],"t":[true,null]} "#;
        let expected = r#"{
  "n": 12345678901234567890.10,
  "n": 1E2,
  "s": "a\\\"b{[,: ]}",
  "e": [
    {},
    []
  ],
  "t": [
    true,
    null
  ]
}"#;
        assert_eq!(indent(sent).unwrap(), expected);
    }

    #[test]
    fn what_is_not_json_is_left_to_others() {
        for text in ["", "{", "{} {}", "]", "hello", "\"\\\""] {
            assert_eq!(indent(text), None, "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn indented_text_is_laid_out_as_serde_json_does(value in json()) {
            prop_assert_eq!(indent(&value.to_string()).unwrap(), serde_json::to_string_pretty(&value).unwrap());
        }
    }
}
