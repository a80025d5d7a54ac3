//! What is said of types and words, in terms of TOML: no Rust types, and "did you mean" for words.

use serde_json::Value;
use toml::de::DeValue;

use crate::problem::did_you_mean;

/// Of a schema with alternatives, such as a string or a table, the one for values of this type.
pub(super) fn fitting<'s>(value: &DeValue<'_>, schema: &'s Value) -> &'s Value {
    let fits = |schema: &&Value| wrong_type(value, schema).is_none();
    alternatives(schema).and_then(|schemas| schemas.iter().find(fits)).unwrap_or(schema)
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    let schemas = schema["anyOf"].as_array().filter(|_| schema.get("type").is_none())?;
    let has_type = |schema: &Value| schema["type"].is_string() || is_words(schema);
    Some(schemas.as_slice()).filter(|schemas| schemas.iter().all(has_type))
}

/// Whether it is a fixed set of words: a list of constants without a type of its own.
fn is_words(schema: &Value) -> bool {
    schema["oneOf"].as_array().is_some_and(|words| words.iter().all(|word| word["const"].is_string()))
}

/// What a schema asks for and a value is not, or `None` when the value is of the right type.
pub(super) fn wrong_type(value: &DeValue<'_>, schema: &Value) -> Option<String> {
    if let Some(schemas) = alternatives(schema) {
        let wrong: Option<Vec<_>> = schemas.iter().map(|schema| wrong_type(value, schema)).collect();
        let expected = wrong?
            .iter()
            .filter_map(|message| Some(message.split_once(',')?.0.replace("expected ", "")))
            .collect::<Vec<_>>();
        return Some(format!("expected {}, found {}", expected.join(" or "), kind_of(value)));
    }
    let expected = if is_words(schema) { "string" } else { schema["type"].as_str()? };
    let (expected, fits) = match expected {
        "object" => ("a table", value.is_table()),
        "array" => ("an array", value.is_array()),
        "string" => ("a string", value.is_str()),
        "boolean" => ("`true` or `false`", value.is_bool()),
        "integer" => ("a whole number", value.is_integer()),
        "number" => ("a number", value.is_integer() || value.is_float()),
        _ => return None,
    };
    (!fits).then(|| format!("expected {expected}, found {}", kind_of(value)))
}

/// The first of a schema's examples, as TOML.
pub(super) fn example(schema: &Value) -> Option<String> {
    let example = schema["examples"].as_array()?.first()?;
    // Strings and arrays are written alike in JSON and TOML; tables are not.
    let holds_a_table = example.is_object() || example.as_array().is_some_and(|list| list.iter().any(Value::is_object));
    (!holds_a_table).then(|| format!("for example {example}"))
}

fn kind_of(value: &DeValue<'_>) -> String {
    match value.type_str() {
        kind @ ("array" | "integer") => format!("an {kind}"),
        kind => format!("a {kind}"),
    }
}

/// A message of serde as a message and help. Types were compared before, so what is left are words and sizes.
pub(super) fn explain(message: &str) -> (String, Option<String>) {
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        return unknown_word(rest);
    }
    let is_too_large =
        ["invalid value: integer", "invalid type: integer"].iter().any(|start| message.starts_with(start));
    if is_too_large || message.ends_with("number overflowed") {
        return ("the number is too large".to_owned(), None);
    }
    (message.to_owned(), None)
}

/// From "`x`, expected one of `a`, `b`", or "`x`, expected `a`".
fn unknown_word(rest: &str) -> (String, Option<String>) {
    let Some((found, expected)) = rest.split_once(", expected ") else {
        return (rest.to_owned(), None);
    };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    (format!("{found} is not known here"), Some(suggestion(found.trim_matches('`'), &known)))
}

/// The word that was probably meant, or all words there are.
pub(super) fn suggestion(found: &str, known: &[&str]) -> String {
    let list = known.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    match did_you_mean(found, known.iter().copied()) {
        Some(similar) if known.len() > 1 => format!("did you mean \"{similar}\"? There are {list}"),
        Some(similar) => format!("did you mean \"{similar}\"?"),
        None if known.len() > 1 => format!("write one of {list}"),
        None => format!("write {list}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_named_in_the_words_of_toml() {
        let wrong = |value, schema| wrong_type(DeValue::parse(value).unwrap().get_ref(), &schema);
        assert_eq!(wrong("'5'", json!({"type": "integer"})).unwrap(), "expected a whole number, found a string");
        assert_eq!(wrong("{}", json!({"type": "array"})).unwrap(), "expected an array, found a table");
        assert_eq!(wrong("[]", json!({"oneOf": [{"const": "a"}]})).unwrap(), "expected a string, found an array");
        assert_eq!(wrong("5", json!({"type": "number"})), None);
        assert_eq!(wrong("5", json!(true)), None);
        let either = json!({"anyOf": [{"type": "string"}, {"type": "object"}]});
        assert_eq!(wrong("5", either.clone()).unwrap(), "expected a string or a table, found an integer");
        assert_eq!(wrong("{}", either), None);
    }

    #[test]
    fn an_example_is_written_as_toml() {
        assert_eq!(example(&json!({"examples": [["a", "b"]]})).unwrap(), r#"for example ["a","b"]"#);
        assert_eq!(example(&json!({"examples": [{"a": 1}]})), None);
    }

    #[test]
    fn a_word_that_is_not_known_comes_with_those_that_are() {
        let (message, help) = explain("unknown variant `jsno`, expected one of `json`, `text`");
        assert_eq!(message, "`jsno` is not known here");
        assert_eq!(help.unwrap(), "did you mean \"json\"? There are \"json\", \"text\"");
        assert_eq!(explain("unknown variant `x`, expected `abcde`").1.unwrap(), "write \"abcde\"");
    }
}
