//! Words of other languages (SQL, JavaScript, Python, jq) in expressions, and what to write in their place.

use super::{ExpressionError, FUNCTIONS};
use crate::problem::did_you_mean;

/// Words that stand between values, without case.
const OPERATORS: [(&[&str], &str); 14] = [
    (&["and"], "write `&&`"),
    (&["or"], "write `||`"),
    (&["not"], "write `!(…)`"),
    (
        &["in"],
        "write `$.data.a in ['x', 'y']`, with literals in brackets; `$.data.tags[?@ == 'x']` asks whether an array has it",
    ),
    (
        &["like", "ilike", "rlike", "regexp", "matches", "contains", "includes", "similar"],
        "write `search($.data.a, 'x')`, or `match($.data.a, 'x.*')` for the whole text",
    ),
    (&["startswith", "endswith"], "write `match($.data.a, 'x.*')`, or `match($.data.a, '.*x')`"),
    (
        &["is", "isnull", "notnull"],
        "write `$.data.a == null` or `$.data.a != null`; `$.data.a` and `!$.data.a` ask whether there is a value at all",
    ),
    (&["between"], "write `$.data.a >= 1 && $.data.a <= 2`"),
    (&["exists", "defined"], "a path alone asks whether there is a value: `$.data.a`"),
    (&["eq", "equals"], "write `==`"),
    (&["ne", "neq"], "write `!=`"),
    (&["gt", "lt"], "write `>` or `<`"),
    (&["gte", "ge", "lte", "le"], "write `>=` or `<=`"),
    (&["where", "select", "if", "when", "then", "return"], "write the condition alone: `$.data.type == 'order.paid'`"),
];

/// Literals as others write them.
const LITERALS: [(&[&str], &str); 3] = [
    (&["True", "TRUE"], "true"),
    (&["False", "FALSE"], "false"),
    (&["NULL", "Null", "None", "nil", "undefined"], "null"),
];

/// Functions that are not in the standard, without case and `_`, and what does the same.
const CALLS: [(&[&str], &str); 9] = [
    (
        &["contains", "includes", "like", "test", "find", "regex", "regexmatch", "indexof", "instr", "grep", "strpos"],
        "write `search($.data.a, 'text')`; `$.data.tags[?@ == 'x']` asks whether an array has it",
    ),
    (&["matches", "fullmatch", "regexpmatch"], "write `match($.data.a, 'pattern')`"),
    (&["startswith", "beginswith", "hasprefix"], "write `match($.data.a, 'text.*')`"),
    (&["endswith", "hassuffix"], "write `match($.data.a, '.*text')`"),
    (&["size", "len", "strlen", "charlength", "cardinality"], "write `length($.data.a) > 0`"),
    (
        &["exists", "defined", "isset", "has", "haskey", "isnotnull", "present", "isdefined", "bool", "boolean"],
        "a path alone asks whether there is a value: `$.data.a`",
    ),
    (&["isnull", "isempty", "empty", "ismissing"], "write `$.data.a == null`, or `!$.data.a` for what is not there"),
    (
        &["select", "filter", "where", "any", "all", "some", "every", "map"],
        "write the condition alone; over an array it stands within `[?…]`: `$.data.items[?@.n > 1]`",
    ),
    (
        &["now", "date", "time", "today", "timestamp", "parsedate"],
        "expressions know no clock: times in RFC 3339 and the same zone compare as text",
    ),
];

/// What is wrong with a word that is no call; `Some(None)` says that it is right.
pub(super) fn wrong_word(word: &str) -> Option<Option<ExpressionError>> {
    if matches!(word, "true" | "false" | "null") {
        return Some(None);
    }
    if let Some((_, literal)) = LITERALS.iter().find(|(words, _)| words.contains(&word)) {
        let error = ExpressionError::new(format!("`{word}` stands alone")).with_help(format!("write `{literal}`"));
        return Some(Some(error));
    }
    operator(word).map(Some)
}

/// What is wrong with a call, if it is none of the standard's functions.
pub(super) fn wrong_call(word: &str) -> Option<ExpressionError> {
    if FUNCTIONS.contains(&word) {
        return None;
    }
    let is_sign = ["and", "or", "not", "in"].iter().any(|sign| word.eq_ignore_ascii_case(sign));
    if let Some(error) = Some(word).filter(|_| is_sign).and_then(operator) {
        return Some(error);
    }
    Some(ExpressionError::new(format!("`{word}` is not a function of RFC 9535")).with_help(functions_help(word)))
}

/// What to say to someone who calls `name`.
pub(super) fn functions_help(name: &str) -> String {
    let plain = name.replace('_', "").to_lowercase();
    if let Some((_, help)) = CALLS.iter().find(|(words, _)| words.contains(&plain.as_str())) {
        return (*help).to_owned();
    }
    match did_you_mean(name, FUNCTIONS) {
        Some(function) => format!("did you mean `{function}`?"),
        None => format!("the functions are {}", FUNCTIONS.join(", ")),
    }
}

/// What does the same as a method that is called on a value.
pub(super) fn pattern_call(method: &str, value: &str) -> Option<String> {
    let call = match method.to_lowercase().as_str() {
        "includes" | "contains" | "indexof" | "search" | "test" | "find" => format!("search({value}, 'text')"),
        "startswith" => format!("match({value}, 'text.*')"),
        "endswith" => format!("match({value}, '.*text')"),
        "match" | "matches" | "equals" => format!("match({value}, 'pattern')"),
        "length" | "size" | "len" | "count" => format!("length({value}) > 0"),
        _ => return None,
    };
    Some(format!("write `{call}`"))
}

fn operator(word: &str) -> Option<ExpressionError> {
    let plain = word.to_lowercase();
    let (_, help) = OPERATORS.iter().find(|(words, _)| words.contains(&plain.as_str()))?;
    Some(ExpressionError::new(format!("`{word}` is not an operator")).with_help(*help))
}
