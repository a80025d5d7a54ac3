//! serde's error messages in the words of the pipeline file: no Rust types, and "did you mean" for words.

use crate::problem::did_you_mean;

/// A message of serde or toml as a message and help.
pub(super) fn explain(message: &str) -> (String, Option<String>) {
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        return unknown_word(rest);
    }
    let mismatch = ["invalid type: ", "invalid value: ", "invalid length "];
    let Some(rest) = mismatch.iter().find_map(|prefix| message.strip_prefix(prefix)) else {
        return (plain(message), None);
    };
    let Some((found, expected)) = rest.rsplit_once(", expected ") else {
        return (plain(message), None);
    };
    let help =
        found.contains("${").then(|| "what `${…}` stands for is always a string; write the value itself here".into());
    (format!("expected {}, found {}", plain(expected), plain(found)), help)
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

fn plain(words: &str) -> String {
    match words {
        "a sequence" => "an array".into(),
        "a map" => "a table".into(),
        "sequence" => "an array".into(),
        "map" => "a table".into(),
        "f64" => "a number".into(),
        "u16" | "u32" | "u64" | "usize" => "a whole number".into(),
        "wanted string or table" => "expected a string".into(),
        _ if words.starts_with("struct ") => "a table".into(),
        _ => match words.split_once(' ') {
            Some((article @ ("string" | "boolean" | "float" | "integer"), value)) => format!("the {article} {value}"),
            _ => words.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_in_the_words_of_toml() {
        let shown = |message| explain(message).0;
        assert_eq!(
            shown("invalid type: string \"5\", expected usize"),
            "expected a whole number, found the string \"5\""
        );
        assert_eq!(shown("invalid type: map, expected a sequence"), "expected an array, found a table");
        assert_eq!(
            shown("invalid type: integer `5`, expected struct RetryConfig"),
            "expected a table, found the integer `5`"
        );
        assert_eq!(shown("anything else"), "anything else");
    }

    #[test]
    fn a_word_that_is_not_known_comes_with_those_that_are() {
        let (message, help) = explain("unknown variant `jsno`, expected one of `json`, `text`");
        assert_eq!(message, "`jsno` is not known here");
        assert_eq!(help.unwrap(), "did you mean \"json\"? There are \"json\", \"text\"");
        assert_eq!(explain("unknown variant `x`, expected `abcde`").1.unwrap(), "write \"abcde\"");
    }
}
