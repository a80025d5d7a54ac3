//! Writes an expression of another language (`data.type == "x" && !data.vip`) as calls of helpers, for advice only.
//!
//! It reads what is plain, and gives nothing for what is not.

use super::foreign;
use crate::event::ENVELOPE;

/// Signs and the helpers that stand for them. The longer ones first.
const SIGNS: [(&str, &str); 17] = [
    ("===", "eq"),
    ("!==", "ne"),
    ("==", "eq"),
    ("!=", "ne"),
    ("<>", "ne"),
    (">=", "gte"),
    ("=>", "gte"),
    ("<=", "lte"),
    ("=<", "lte"),
    ("&&", "and"),
    ("||", "or"),
    ("??", "default"),
    ("//", "default"),
    ("=", "eq"),
    ("<", "lt"),
    (">", "gt"),
    ("!", "not"),
];

/// Words that stand between two values, or before one.
const WORDS: [(&str, &str); 18] = [
    ("and", "and"),
    ("or", "or"),
    ("not", "not"),
    ("eq", "eq"),
    ("is", "eq"),
    ("equals", "eq"),
    ("ne", "ne"),
    ("gt", "gt"),
    ("gte", "gte"),
    ("ge", "gte"),
    ("lt", "lt"),
    ("lte", "lte"),
    ("le", "lte"),
    ("isnt", "ne"),
    ("+", "add"),
    ("-", "sub"),
    ("*", "mul"),
    ("/", "div"),
];

const CALCULATIONS: [&str; 4] = ["add", "sub", "mul", "div"];

/// From those that bind least.
const LEVELS: [&[&str]; 5] =
    [&["or", "default"], &["and"], &["eq", "ne", "gt", "gte", "lt", "lte"], &["add", "sub"], &["mul", "div"]];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Value(String),
    Operator(&'static str),
    Open,
    Close,
}

/// An expression in the words of Handlebars: a path or a literal, or a call in parentheses.
pub(super) fn to_helpers(expression: &str) -> Option<String> {
    let tokens = tokens(expression)?;
    if let [Token::Operator(helper), values @ ..] = tokens.as_slice()
        && values.len() > usize::from(*helper == "not")
        && let Some(values) = values.iter().map(value).collect::<Option<Vec<_>>>()
    {
        // As in Go: `eq .data.type "x"`.
        return Some(format!("({helper} {})", values.join(" ")));
    }
    let mut rest = tokens.as_slice();
    let text = level(&mut rest, 0)?;
    rest.is_empty().then_some(text)
}

/// What to write for a calculation with signs between its values.
pub(super) fn calculation(expression: &str) -> String {
    let in_payload = |word: &str| {
        let is_path = word.starts_with(char::is_alphabetic) && !is_calculation(word) && !starts_in_envelope(word);
        if is_path { foreign::in_payload(word) } else { word.to_owned() }
    };
    match to_helpers(expression).filter(|call| is_calculation(call)) {
        Some(call) => {
            let inner = call.strip_prefix('(').and_then(|call| call.strip_suffix(')')).unwrap_or(&call);
            format!("write `{{{{{}}}}}`", inner.split(' ').map(in_payload).collect::<Vec<_>>().join(" "))
        }
        None => "the helpers that calculate stand before their values: `{{div data.cents 100}}`".to_owned(),
    }
}

/// Whether a text in the words of Handlebars calculates.
pub(super) fn is_calculation(text: &str) -> bool {
    CALCULATIONS.contains(&text.trim_start_matches('(').split(' ').next().unwrap_or_default())
}

/// The first sign of an operator in a text without quotes.
pub(super) fn first_sign(bare: &str) -> Option<&'static str> {
    let found = SIGNS.iter().filter_map(|(sign, _)| Some((bare.find(sign)?, std::cmp::Reverse(sign.len()), *sign)));
    found.min().map(|(.., sign)| sign)
}

/// Whether a word or sign stands between two values.
pub(super) fn is_operator(word: &str) -> bool {
    SIGNS.iter().chain(&WORDS).any(|(known, _)| *known == word)
}

/// A path as JavaScript, jq, Go or JSONPath write it, in the words of Handlebars.
pub(super) fn path(text: &str) -> Option<String> {
    let text = text.replace("?.", ".");
    let ups = text.len() - text.trim_start_matches("../").len();
    let (ups, rest) = text.split_at(ups);
    let rest = rest.strip_prefix("$.").or_else(|| rest.strip_prefix(['$', '.', '@'])).unwrap_or(rest);
    let mut segments = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let (segment, behind) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (inner, behind) = inner.split_once(']')?;
                (bracketed(inner)?, behind)
            }
            None => {
                let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                (rest.get(..end).filter(|name| !name.is_empty())?.to_owned(), &rest[end..])
            }
        };
        segments.push(segment);
        rest = match behind.strip_prefix(['.', '/']) {
            Some(next) if !next.is_empty() => next,
            None if behind.is_empty() || behind.starts_with('[') => behind,
            _ => return None,
        };
    }
    (!segments.is_empty()).then(|| format!("{ups}{}", segments.join(".")))
}

/// The name of a member as a part of a path.
pub(super) fn segment(name: &str) -> String {
    let is_plain = !name.is_empty() && name.chars().all(is_name) && name != "this";
    if is_plain { name.to_owned() } else { format!("[{name}]") }
}

/// The text with `x` for everything within quotes, of the same length. `None` when a quote is not closed.
pub(super) fn without_quotes(text: &str) -> Option<String> {
    let (mut bare, mut quote, mut escaped) = (String::with_capacity(text.len()), None, false);
    for character in text.chars() {
        let is_inside = quote.is_some();
        match character {
            _ if escaped => escaped = false,
            '\\' if is_inside => escaped = true,
            _ if quote == Some(character) => quote = None,
            '"' | '\'' if !is_inside => quote = Some(character),
            _ => {}
        }
        match is_inside || quote.is_some() {
            true => bare.extend(std::iter::repeat_n('x', character.len_utf8())),
            false => bare.push(character),
        }
    }
    quote.is_none().then_some(bare)
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '$' | ':')
}

fn bracketed(inner: &str) -> Option<String> {
    let inner = inner.trim();
    let unquoted = |quote: char| inner.strip_prefix(quote)?.strip_suffix(quote);
    match unquoted('"').or_else(|| unquoted('\'')) {
        Some(name) => Some(segment(name)),
        None => inner.chars().all(|c| c.is_ascii_digit()).then(|| format!("[{inner}]")).filter(|_| !inner.is_empty()),
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
        let (token, length) = match (first, sign) {
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            (_, Some((sign, helper))) => (Token::Operator(helper), sign.len()),
            ('"' | '\'', _) => {
                let length = quoted_length(rest)?;
                (Token::Value(rest[..length].to_owned()), length)
            }
            ('+' | '*', _) => (word(&rest[..1])?, 1),
            _ => {
                let length = word_length(rest);
                (word(&rest[..length])?, length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

fn quoted_length(rest: &str) -> Option<usize> {
    let quote = rest.chars().next()?;
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, character)| {
        let ends = *character == quote && !escaped;
        escaped = *character == '\\' && !escaped;
        ends
    });
    end.map(|(offset, _)| offset + 1)
}

fn word_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let end = rest.char_indices().skip(1).find(|(_, character)| {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (character.is_whitespace() || "=!<>&|()+*,".contains(*character))
    });
    end.map_or(rest.len(), |(offset, _)| offset)
}

fn word(text: &str) -> Option<Token> {
    if let Some((_, helper)) = WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)) {
        return Some(Token::Operator(helper));
    }
    Some(Token::Value(match text {
        "True" | "TRUE" => "true".to_owned(),
        "False" | "FALSE" => "false".to_owned(),
        "None" | "NULL" | "nil" | "undefined" => "null".to_owned(),
        _ if serde_json::from_str::<serde_json::Number>(text).is_ok() => text.to_owned(),
        _ => path(text)?,
    }))
}

fn value(token: &Token) -> Option<&str> {
    match token {
        Token::Value(text) => Some(text),
        _ => None,
    }
}

fn level(rest: &mut &[Token], depth: usize) -> Option<String> {
    let Some(operators) = LEVELS.get(depth) else { return operand(rest) };
    let mut left = level(rest, depth + 1)?;
    while let [Token::Operator(helper), behind @ ..] = rest
        && operators.contains(helper)
    {
        *rest = behind;
        let right = level(rest, depth + 1)?;
        left = format!("({helper} {left} {right})");
    }
    Some(left)
}

fn operand(rest: &mut &[Token]) -> Option<String> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    match first {
        Token::Value(text) => Some(text.clone()),
        Token::Operator("not") => Some(format!("(not {})", operand(rest)?)),
        Token::Open => {
            let inner = level(rest, 0)?;
            let (close, behind) = rest.split_first()?;
            *rest = behind;
            (*close == Token::Close).then_some(inner)
        }
        Token::Operator(_) | Token::Close => None,
    }
}

/// Whether a path begins with a member of the envelope.
pub(super) fn starts_in_envelope(path: &str) -> bool {
    path.split(['.', '/', '[']).next().is_some_and(|first| ENVELOPE.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_is_written_as_calls_of_helpers() {
        for (text, expected) in [
            ("data.type == \"x\"", Some("(eq data.type \"x\")")),
            ("data.type === 'x' && !data.vip", Some("(and (eq data.type 'x') (not data.vip))")),
            ("$.data.total >= 100 || data['odd name']", Some("(or (gte data.total 100) data.[odd name])")),
            ("not .data.vip", Some("(not data.vip)")),
            ("eq .data.type \"x\"", Some("(eq data.type \"x\")")),
            ("(data.a or data.b) and data.c", Some("(and (or data.a data.b) data.c)")),
            ("data?.items[0].sku", Some("data.items.[0].sku")),
            ("data.a ?? 'y'", Some("(default data.a 'y')")),
            ("data.a == None", Some("(eq data.a null)")),
            ("../a == 1", Some("(eq ../a 1)")),
            ("data.cents / 100 + 1 > data.n * 2", Some("(gt (add (div data.cents 100) 1) (mul data.n 2))")),
            ("data.a-b - -5", Some("(sub data.a-b -5)")),
            ("data.a+data.b", Some("(add data.a data.b)")),
            ("data.a ==", None),
            ("(data.a", None),
            ("data.a data.b", None),
            ("data..a", None),
            ("data.items[-1]", None),
            ("f(x)", None),
        ] {
            assert_eq!(to_helpers(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn signs_within_quotes_are_none() {
        assert_eq!(without_quotes("a == \"é=\" 'x\\''").as_deref(), Some("a == xxxxx xxxxx"));
        assert_eq!(without_quotes("a \"b"), None);
        assert_eq!(first_sign("a !== b || c"), Some("!=="));
    }
}
