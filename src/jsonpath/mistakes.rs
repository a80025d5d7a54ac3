//! Finds the slips that people make in expressions, and says what to write instead.
//!
//! It reads words and signs only, never meaning, and objects to nothing that RFC 9535 allows.

use super::{ExpressionError, FUNCTIONS};
use crate::event::ENVELOPE;
use crate::problem::did_you_mean;

/// A piece of an expression. Text in quotes comes as one piece.
enum Token<'a> {
    Quoted {
        closed: bool,
    },
    /// A word that is not the name of a member, and whether it is followed by `(`.
    Word {
        word: &'a str,
        is_call: bool,
    },
    Sign(char),
}

/// The first slip in `text`.
pub(super) fn find(text: &str) -> Option<ExpressionError> {
    if text.trim().is_empty() {
        return Some(
            ExpressionError::new("the expression is empty").with_help("for example `$.data.type == 'order.paid'`"),
        );
    }
    tokens(text).into_iter().find_map(|(offset, token)| {
        let slip = match token {
            Token::Quoted { closed: true } => None,
            Token::Quoted { closed: false } => {
                return Some(ExpressionError::new("a quote is not closed").at(offset..text.len()));
            }
            Token::Word { word, is_call } => wrong_word(word, is_call).map(|error| (word.len(), error)),
            Token::Sign(_) => wrong_sign(text, offset),
        };
        slip.map(|(length, error)| error.at(offset..offset + length))
    })
}

/// What to say to someone who calls `name`.
pub(super) fn functions_help(name: &str) -> String {
    match did_you_mean(name, FUNCTIONS) {
        Some(function) => format!("did you mean `{function}`?"),
        None => format!("the functions are {}", FUNCTIONS.join(", ")),
    }
}

/// The offset of every bracket and parenthesis outside quotes, and whether it opens a function call.
pub(super) fn brackets(text: &str) -> impl Iterator<Item = (usize, char, bool)> {
    let mut called = false;
    tokens(text).into_iter().filter_map(move |(offset, token)| {
        let is_call = std::mem::replace(&mut called, matches!(token, Token::Word { is_call: true, .. }));
        match token {
            Token::Sign(sign @ ('(' | '[' | ')' | ']')) => Some((offset, sign, is_call)),
            _ => None,
        }
    })
}

fn wrong_word(word: &str, is_call: bool) -> Option<ExpressionError> {
    let (message, help) = match word {
        "true" | "false" | "null" => return None,
        _ if is_call && FUNCTIONS.contains(&word) => return None,
        _ if word.eq_ignore_ascii_case("and") => (format!("`{word}` is not an operator"), "write `&&`".to_owned()),
        _ if word.eq_ignore_ascii_case("or") => (format!("`{word}` is not an operator"), "write `||`".to_owned()),
        _ if word.eq_ignore_ascii_case("not") => (format!("`{word}` is not an operator"), "write `!(…)`".to_owned()),
        "in" => ("`in` is not an operator".to_owned(), "write `$.data.a == 'x' || $.data.a == 'y'`".to_owned()),
        _ if is_call => (format!("`{word}` is not a function of RFC 9535"), functions_help(word)),
        _ if ENVELOPE.contains(&word) => {
            (format!("`{word}` stands alone"), format!("write `$.{word}` for the envelope's member"))
        }
        _ => {
            let help = format!("write `'{word}'` if it is text, or `$.data.{word}` if it is a member of the payload");
            (format!("`{word}` stands alone"), help)
        }
    };
    Some(ExpressionError::new(message).with_help(help))
}

/// A wrong operator at `offset`, and its length.
fn wrong_sign(text: &str, offset: usize) -> Option<(usize, ExpressionError)> {
    const OPERATORS: [&str; 8] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">"];
    // The longer ones first, as `=` is the beginning of every other.
    const WRONG: [(&str, &str); 9] = [
        ("===", "write `==`"),
        ("!==", "write `!=`"),
        ("=~", "write `search(…, 'pattern')`, or `match(…, 'pattern')` for the whole text"),
        ("<>", "write `!=`"),
        ("=>", "write `>=`"),
        ("=<", "write `<=`"),
        ("=", "write `==`"),
        ("&", "write `&&`"),
        ("|", "write `||`"),
    ];
    let (before, here) = (&text[..offset], &text[offset..]);
    // The second character of an operator is not a sign of its own.
    if OPERATORS
        .iter()
        .any(|operator| operator.len() == 2 && before.ends_with(&operator[..1]) && here.starts_with(&operator[1..]))
    {
        return None;
    }
    let wrong = |(wrong, _): &&(&str, &str)| here.starts_with(wrong);
    let right = OPERATORS.iter().find(|operator| here.starts_with(**operator)).map_or(0, |operator| operator.len());
    let (wrong, help) = WRONG.iter().find(wrong).filter(|(wrong, _)| wrong.len() > right)?;
    Some((wrong.len(), ExpressionError::new(format!("`{wrong}` is not an operator")).with_help(*help)))
}

fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    let mut offset = 0;
    while let Some(first) = text[offset..].chars().next() {
        let rest = &text[offset..];
        let (length, token) = match first {
            '\'' | '"' => quoted(rest, first),
            _ if is_word(first) => word(rest),
            // The name of a member is no word of the language.
            '.' => (1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1), Token::Sign('.')),
            _ => (first.len_utf8(), Token::Sign(first)),
        };
        if !matches!(token, Token::Word { word, .. } if word.starts_with(|c: char| c.is_ascii_digit())) {
            tokens.push((offset, token));
        }
        offset += length;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

fn word(rest: &str) -> (usize, Token<'_>) {
    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    (length, Token::Word { word: &rest[..length], is_call: rest[length..].starts_with('(') })
}

fn quoted(rest: &str, quote: char) -> (usize, Token<'_>) {
    let mut escaped = false;
    for (offset, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return (offset + 1, Token::Quoted { closed: true }),
            _ => {}
        }
    }
    (rest.len(), Token::Quoted { closed: false })
}

#[cfg(test)]
mod tests {
    use crate::jsonpath::parse_filter;

    #[test]
    fn a_common_slip_is_pointed_at_and_corrected() {
        let table = [
            ("$.data.a = 1", "=", "write `==`"),
            ("$.data.a === 1", "===", "write `==`"),
            ("$.data.a =~ /x/", "=~", "search("),
            ("$.data.a <> 1", "<>", "write `!=`"),
            ("$.data.a == 1 and $.data.b == 2", "and", "write `&&`"),
            ("$.data.a == 1 OR $.data.b == 2", "OR", "write `||`"),
            ("$.data.a == 1 & $.data.b == 2", "&", "write `&&`"),
            ("not $.data.a", "not", "write `!"),
            ("$.data.a in ['x']", "in", "=="),
            ("$.data.a b == 1", "b", "'b'"),
            ("data.type == 'x'", "data", "write `$.data`"),
            ("$.data.type == paid", "paid", "'paid'"),
            ("lenght($.data.a) > 1", "lenght", "did you mean `length`?"),
            ("uppercase($.data.a) == 'A'", "uppercase", "the functions are"),
            ("$.data.type == 'paid", "'paid", ""),
            ("$.data.a == 'it''s' = 1", "=", "write `==`"),
        ];
        for (text, part, help) in table {
            let error = parse_filter(text).unwrap_err();
            assert_eq!(&text[error.part.clone().unwrap()], part, "{text}: {error}");
            assert!(error.help.unwrap_or_default().contains(help), "{text}");
        }
    }

    #[test]
    fn operators_and_names_that_are_right_are_left_alone() {
        let right = [
            "$.data.and == 'and' && !($.or['not'] != \"=\" || @.a <= 1 && @.b >= 1e3 || @.c<-1 || @.d>1)",
            "$.data.a == true || $.data.b == null || $.größe != false && $.😀x == 1.5e3",
        ];
        for text in right {
            assert!(parse_filter(text).is_ok(), "{text}: {:?}", parse_filter(text));
            assert!(super::find(text).is_none(), "{text}");
        }
    }
}
