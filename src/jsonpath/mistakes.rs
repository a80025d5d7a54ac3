//! Finds the slips that people make in expressions, and says what to write instead.
//!
//! It reads words and signs only, never meaning, and objects to nothing that RFC 9535 allows.

use super::ExpressionError;
use super::words::{self, pattern_call};
use crate::event::ENVELOPE;

/// A piece of an expression. Text in quotes comes as one piece.
pub(super) enum Token<'a> {
    Quoted {
        closed: bool,
        /// The first wrong escape sequence, from the beginning of the piece.
        wrong_escape: Option<usize>,
    },
    /// A word that is not the name of a member, and whether it is followed by `(`.
    Word {
        word: &'a str,
        is_call: bool,
    },
    /// A dot and the name of a member, which may be empty, and whether it is followed by `(`.
    Member {
        name: &'a str,
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
            Token::Quoted { closed: false, .. } => {
                return Some(ExpressionError::new("a quote is not closed").at(offset..text.len()));
            }
            Token::Quoted { wrong_escape, .. } => return wrong_escape.map(|at| escape(text, offset + at)),
            Token::Word { word, is_call: false } => wrong_path(text, offset, word).map(|error| (word.len(), error)),
            Token::Word { word, is_call: true } => words::wrong_call(word).map(|error| (word.len(), error)),
            Token::Member { name, is_call } => wrong_member(text, offset, name, is_call),
            Token::Sign(_) => wrong_sign(text, offset),
        };
        slip.map(|(length, error)| error.at(offset..offset + length))
    })
}

/// What is said where the parser meets a sign that it does not expect.
pub(super) fn unexpected(text: &str, offset: usize) -> Option<ExpressionError> {
    let (before, here) = text.split_at_checked(offset)?;
    let sign = here.chars().next().filter(|sign| "=!<>".contains(*sign))?;
    let left = before.rsplit(['&', '|']).next().unwrap_or_default();
    let finds_several = ["*", "..", "[?", ":"].iter().any(|sign| left.contains(sign));
    finds_several.then(|| {
        ExpressionError::new("a comparison takes one value, and the query before it may find several")
            .at(offset..offset + sign.len_utf8())
            .with_help("compare within it: `$.data.items[?@.price > 100]` asks whether there is such an element")
    })
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

/// RFC 9535, 2.3.1.1.
fn escape(text: &str, offset: usize) -> ExpressionError {
    let length = 1 + text[offset + 1..].chars().next().map_or(0, char::len_utf8);
    let sequence = &text[offset..offset + length];
    let message = format!("`{sequence}` is not an escape sequence of text in JSONPath");
    ExpressionError::new(message).at(offset..offset + length).with_help(format!(
        "a backslash within quotes is doubled, as in `'\\{sequence}'`; where double quotes of TOML stand around the \
         expression, both of them once more"
    ))
}

/// A word that stands alone, or that begins a path.
fn wrong_path(text: &str, offset: usize, word: &str) -> Option<ExpressionError> {
    let path = path_at(text, offset);
    if path.len() > word.len() && text[offset + path.len()..].starts_with('(') {
        return Some(method(path));
    }
    if let Some(error) = words::wrong_word(word) {
        return error;
    }
    let error = ExpressionError::new(format!("`{word}` stands alone"));
    let rooted = rooted(path);
    Some(match path.len() > word.len() || ENVELOPE.contains(&word) {
        true => error.with_help(format!("write `{rooted}`: a path begins with `$`, which is the envelope")),
        false => {
            error.with_help(format!("write `'{word}'` if it is text, or `{rooted}` if it is a member of the payload"))
        }
    })
}

/// `.data.type`, as in jq, and `.includes('x')`, as in JavaScript.
fn wrong_member(text: &str, offset: usize, name: &str, is_call: bool) -> Option<(usize, ExpressionError)> {
    let before = text[..offset].trim_end();
    if is_call && !name.is_empty() {
        let start = before.rfind(|c: char| c.is_whitespace() || "(!=<>&|,".contains(c)).map_or(0, |found| found + 1);
        let path = text.get(start..offset + 1 + name.len())?;
        return Some((1 + name.len(), method(path)));
    }
    if !before.is_empty() && !before.ends_with(['(', '!', '=', '<', '>', '&', '|', ',']) {
        return None;
    }
    let path = path_at(text, offset);
    let error = ExpressionError::new("a path begins with `$`").with_help(format!("write `{}`", rooted(path)));
    Some((path.len(), error))
}

/// A call of a method: `data.note.includes`.
fn method(path: &str) -> ExpressionError {
    let (value, name) = path.rsplit_once('.').unwrap_or((path, ""));
    let value = rooted(value);
    let error = ExpressionError::new(format!("`{name}()` cannot be called on a value"));
    error.with_help(pattern_call(name, &value).unwrap_or_else(|| {
        format!(
            "a function stands before its value, as in `length({value}) > 0`; there are {}",
            super::FUNCTIONS.join(", ")
        )
    }))
}

/// The path that begins at an offset, as far as it is one.
fn path_at(text: &str, offset: usize) -> &str {
    let rest = &text[offset..];
    let (mut quote, mut end) = (None, rest.len());
    for (at, character) in rest.char_indices() {
        match quote {
            Some(open) if open == character => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'') && rest[..at].ends_with('[') => quote = Some(character),
            None if is_word(character) || ".[]".contains(character) => {}
            None => {
                end = at;
                break;
            }
        }
    }
    rest[..end].trim_end_matches('.')
}

/// A path from the envelope, for one that is written as elsewhere.
fn rooted(path: &str) -> String {
    const PAYLOAD: [&str; 8] = ["payload", "body", "message", "value", "record", "msg", "event", "this"];
    let path = path.trim_start_matches(['$', '@']).trim_start_matches('.');
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (first, rest) = path.split_at(end);
    let next = rest.trim_start_matches('.').split(['.', '[']).next().unwrap_or_default();
    match first {
        "" => format!("${rest}"),
        _ if ENVELOPE.contains(&first) => format!("$.{path}"),
        _ if PAYLOAD.contains(&first) && ENVELOPE.contains(&next) => format!("${rest}"),
        _ if PAYLOAD.contains(&first) => format!("$.data{rest}"),
        _ => format!("$.data.{path}"),
    }
}

/// A wrong operator at `offset`, and its length.
fn wrong_sign(text: &str, offset: usize) -> Option<(usize, ExpressionError)> {
    const OPERATORS: [&str; 8] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">"];
    // The longer ones first, as `=` is the beginning of every other.
    const WRONG: [(&str, &str); 14] = [
        ("===", "write `==`"),
        ("!==", "write `!=`"),
        ("=~", "write `search(…, 'pattern')`, or `match(…, 'pattern')` for the whole text"),
        ("!~", "write `!search(…, 'pattern')`"),
        ("~=", "write `search(…, 'pattern')`"),
        ("<>", "write `!=`"),
        ("=>", "write `>=`"),
        ("=<", "write `<=`"),
        ("??", "a path that finds nothing equals nothing but another such path; ask for it alone: `$.data.vip`"),
        ("?.", "leave out the `?`: a path may find nothing"),
        ("=", "write `==`"),
        ("&", "write `&&`"),
        ("|", "write `||`"),
        ("~", "write `search(…, 'pattern')`"),
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
    let Some((wrong, help)) = WRONG.iter().find(wrong).filter(|(wrong, _)| wrong.len() > right) else {
        return (right == 0).then(|| other_sign(before, here)).flatten();
    };
    let is_pipe = *wrong == "|" && here[1..].trim_start().starts_with(|c: char| c.is_ascii_alphabetic());
    let help = if is_pipe { "a function takes its value in parentheses: `length($.data.items) > 2`" } else { help };
    Some((wrong.len(), ExpressionError::new(format!("`{wrong}` is not an operator")).with_help(help)))
}

/// Signs that no expression has, and a `?` that is out of place.
fn other_sign(before: &str, here: &str) -> Option<(usize, ExpressionError)> {
    let sign = here.chars().next()?;
    let before = before.trim_end();
    let is_operand = before.ends_with(|c: char| is_word(c) || ")]".contains(c));
    let is_exponent =
        before.ends_with(['e', 'E']) && before.trim_end_matches(['e', 'E']).ends_with(|c: char| c.is_ascii_digit());
    let (message, help) = match sign {
        '{' => ("an expression is no template", "write a path from the envelope, such as `$.data.type`"),
        '`' => ("text does not stand between backticks", "write it between single or double quotes: `'text'`"),
        '?' if before.is_empty() => ("an expression begins without `?`", "leave it out"),
        '?' if !before.ends_with(['[', ',']) => ("`?` stands only within `[?…]`", "write `&&` and `||` for choices"),
        '/' if !is_operand => ("a pattern is text in quotes", "write `search($.data.note, 'pattern')`"),
        '+' | '/' | '%' | '*' | '-' if is_operand && !is_exponent && (sign != '-' || here.starts_with("- ")) => (
            "expressions do not calculate",
            "compare the value as it is, as in `$.data.total >= 100`; before a filter a transform can calculate: \
                 `[transforms.NAME]` with `jq = \".data + {total: (.data.cents / 100)}\"`",
        ),
        _ => return None,
    };
    Some((sign.len_utf8(), ExpressionError::new(message).with_help(help)))
}

/// The pieces of an expression, numbers left out, each with its offset.
pub(super) fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    let mut offset = 0;
    while let Some(first) = text[offset..].chars().next() {
        let rest = &text[offset..];
        let (length, token) = match first {
            '\'' | '"' => quoted(rest, first),
            _ if is_word(first) => word(rest),
            // The name of a member is no word of the language.
            '.' => {
                let (length, name) = name(&rest[1..]);
                (1 + length, Token::Member { name, is_call: rest[1 + length..].starts_with('(') })
            }
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

fn name(rest: &str) -> (usize, &str) {
    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    (length, &rest[..length])
}

fn word(rest: &str) -> (usize, Token<'_>) {
    let (length, word) = name(rest);
    (length, Token::Word { word, is_call: rest[length..].starts_with('(') })
}

fn quoted(rest: &str, quote: char) -> (usize, Token<'_>) {
    let (mut escaped, mut wrong_escape) = (false, None);
    for (offset, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => {
                escaped = false;
                if !"bfnrtu/\\'\"".contains(c) {
                    wrong_escape = wrong_escape.or(Some(offset - 1));
                }
            }
            '\\' => escaped = true,
            _ if c == quote => return (offset + 1, Token::Quoted { closed: true, wrong_escape }),
            _ => {}
        }
    }
    (rest.len(), Token::Quoted { closed: false, wrong_escape })
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
            ("$.data.a !~ 'x'", "!~", "!search("),
            ("$.data.a <> 1", "<>", "write `!=`"),
            ("$.data.a == 1 and $.data.b == 2", "and", "write `&&`"),
            ("$.data.a == 1 OR $.data.b == 2", "OR", "write `||`"),
            ("$.data.a == 1 & $.data.b == 2", "&", "write `&&`"),
            ("not $.data.a", "not", "write `!"),
            ("NOT($.data.a)", "NOT", "write `!"),
            ("$.data.a in 'x'", "in", "in ['x', 'y']"),
            ("$.data.a IN ('x', 'y')", "IN", "in ['x', 'y']"),
            ("$.data.a not in ['x']", "not", "write `!"),
            ("$.data.a LIKE 'x%'", "LIKE", "search($.data.a, 'x')"),
            ("$.data.a is null", "is", "== null"),
            ("$.data.a IS NOT NULL", "IS", "!= null"),
            ("$.data.a between 1 and 2", "between", ">="),
            ("$.data.a == NULL", "NULL", "`null`"),
            ("$.data.a == True", "True", "`true`"),
            ("$.data.a eq 1", "eq", "`==`"),
            ("$.data.a b == 1", "b", "'b'"),
            ("data.type == 'x'", "data", "write `$.data.type`"),
            ("data.type = 'x' AND data.total > 1", "data", "write `$.data.type`"),
            ("event.data.type == 'x'", "event", "write `$.data.type`"),
            ("payload.type == 'x'", "payload", "write `$.data.type`"),
            ("total > 100", "total", "`$.data.total`"),
            ("$.data.type == paid", "paid", "'paid'"),
            (".data.type == \"x\"", ".data.type", "write `$.data.type`"),
            ("$.key && .total > 1", ".total", "write `$.data.total`"),
            ("select(.data.type == \"x\")", "select", "the condition alone"),
            (".data.items | length > 2", ".data.items", "`$.data.items`"),
            ("$.data.items | length > 2", "|", "length($.data.items) > 2"),
            ("$.data.a.includes('y')", ".includes", "search($.data.a, 'text')"),
            ("data.a.includes('y')", "data", "search($.data.a, 'text')"),
            ("$.data.a.startsWith('y')", ".startsWith", "match($.data.a, 'text.*')"),
            ("$.data.items.length() > 1", ".length", "length($.data.items)"),
            ("$.data.a.foo(1)", ".foo", "there are length"),
            ("contains($.data.a, 'y')", "contains", "`search($.data.a, 'text')`"),
            ("exists($.data.a)", "exists", "a path alone"),
            ("lenght($.data.a) > 1", "lenght", "did you mean `length`?"),
            ("uppercase($.data.a) == 'A'", "uppercase", "the functions are"),
            ("$.data.type == 'paid", "'paid", ""),
            ("$.data.a == 'it''s' = 1", "=", "write `==`"),
            ("match($.data.a, 'o-\\d')", "\\d", "doubled, as in `'\\\\d'`"),
            ("$.data.total / 100 > 5", "/", "$.data.total >= 100"),
            ("$.data.a + $.data.b > 5", "+", "$.data.total >= 100"),
            ("$.data.a * 2 > 5", "*", "$.data.total >= 100"),
            ("$.data.a - 1 > 5", "-", "$.data.total >= 100"),
            ("search($.data.a, /x/)", "/", "in quotes|search("),
            ("{{data.type}} == 'x'", "{", "$.data.type"),
            ("?@.data.a == 1", "?", "leave it out"),
            ("$.data?.a == 1", "?.", "leave out"),
            ("$.data.a ? true : false", "?", "choices"),
            ("$.data.a == `x`", "`", "quotes"),
            ("$.data.items[*].price > 100", ">", "[?@.price > 100]"),
        ];
        let mut wrong = Vec::new();
        for (text, part, help) in table {
            let Err(error) = parse_filter(text) else {
                wrong.push(format!("{text} is taken"));
                continue;
            };
            let said = format!("{error}; {}", error.help.clone().unwrap_or_default());
            let place = error.part.clone().map_or("", |part| &text[part]);
            if place != part || !help.split('|').all(|help| said.contains(help)) {
                wrong.push(format!("{text}: at {place:?}: {said}"));
            }
            let pieces =
                said.split('`').skip(1).step_by(2).filter(|piece| piece.contains("$.") && !piece.contains('…'));
            let unsound = pieces.filter(|piece| !piece.starts_with("length($") && parse_filter(piece).is_err());
            wrong.extend(unsound.map(|piece| format!("{text} is told to write {piece}")));
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn operators_and_names_that_are_right_are_left_alone() {
        let right = [
            "$.data.and == 'and' && !($.or['not'] != \"=\" || @.a <= 1 && @.b >= 1e3 || @.c<-1 || @.d>1)",
            "$.data.a == true || $.data.b == null || $.größe != false && $.😀x == 1.5e3",
            "$.data.a == 1e+3 && $.data.items[?@.n > 1, ?@.m] && $.data['a/b'] == '\\u00e9\\\\d\\/' && ($.key)",
            "$.data.items [0] .sku == 'x' && $..sku && $.data.*",
        ];
        for text in right {
            assert!(parse_filter(text).is_ok(), "{text}: {:?}", parse_filter(text));
            assert!(super::find(text).is_none(), "{text}");
        }
    }
}
