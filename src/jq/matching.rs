//! Regular expressions: `test`, `match`, `capture`, `scan`, `split`, `sub`, `gsub` are built on these.
//!
//! A search takes time by the length of the text times the size of the expression, so both are bounded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use jaq_core::{Error, ValR};
use regex::{Captures, Regex, RegexBuilder};

use super::budget::charge;
use super::natives::text_of;
use super::value::{Value, error};

/// The longest text that is searched, in bytes.
const LONGEST_TEXT: usize = 256 << 10;

/// The largest compiled expression, in bytes.
const LARGEST_EXPRESSION: usize = 256 << 10;

/// Expressions that are kept compiled, on each thread.
const MOST_KEPT: usize = 64;

thread_local! {
    static COMPILED: RefCell<HashMap<(String, String), Regex>> = RefCell::default();
}

/// Of each match the whole and its groups.
pub(super) fn matches(text: &Value, pattern: &Value, flags: &Value) -> ValR<Value> {
    let search = Search::new(text, pattern, flags)?;
    Ok(search.found().iter().map(|found| search.groups(found)).collect())
}

/// What stands between the matches.
pub(super) fn split(text: &Value, pattern: &Value, flags: &Value) -> ValR<Value> {
    let search = Search::new(text, pattern, flags)?;
    let mut parts = Vec::new();
    let mut end = 0;
    for (place, past) in search.found().iter().map(whole) {
        parts.push(Value::text(&search.text[end..place]));
        end = past;
    }
    parts.push(Value::text(&search.text[end..]));
    Ok(Value::array(parts))
}

/// What stands between the matches, and the matches, by turns.
pub(super) fn split_matches(text: &Value, pattern: &Value, flags: &Value) -> ValR<Value> {
    let search = Search::new(text, pattern, flags)?;
    let mut parts = Vec::new();
    let mut end = 0;
    for found in &search.found() {
        let (place, past) = whole(found);
        parts.push(Value::text(&search.text[end..place]));
        parts.push(search.groups(found));
        end = past;
    }
    parts.push(Value::text(&search.text[end..]));
    Ok(Value::array(parts))
}

struct Search<'a> {
    text: &'a str,
    regex: Regex,
    is_global: bool,
    ignores_empty: bool,
}

impl<'a> Search<'a> {
    fn new(text: &'a Value, pattern: &Value, flags: &Value) -> Result<Self, Error<Value>> {
        let text = text_of(text, "a regular expression")?;
        if text.len() > LONGEST_TEXT {
            return Err(error(format!("a regular expression takes text of up to {LONGEST_TEXT} bytes")));
        }
        let flags = match flags {
            Value::Null => "",
            other => text_of(other, "flags")?,
        };
        let regex = compiled(text_of(pattern, "a regular expression")?, flags)?;
        let has = |flag| flags.contains(flag);
        Ok(Self { text, regex, is_global: has('g'), ignores_empty: has('n') })
    }

    fn found(&self) -> Vec<Captures<'a>> {
        let mut found = Vec::new();
        charge(self.text.len() as u64 * 4);
        for captures in self.regex.captures_iter(self.text) {
            let (place, past) = whole(&captures);
            // To find that no longer match is there may take a look at all that follows.
            charge(64 + (self.text.len() - place) as u64);
            if self.ignores_empty && place == past {
                continue;
            }
            found.push(captures);
            if !self.is_global {
                break;
            }
        }
        found
    }

    /// The whole and its groups as `{offset, length, string, name}`, counted in characters.
    fn groups(&self, found: &Captures<'_>) -> Value {
        let mut groups = Vec::new();
        for (index, (group, name)) in found.iter().zip(self.regex.capture_names()).enumerate() {
            let (offset, length, string) = match group {
                Some(group) => {
                    charge(group.end() as u64 / 4);
                    let offset = self.text[..group.start()].chars().count();
                    let length = group.as_str().chars().count();
                    (Value::from(offset), Value::from(length), Value::text(group.as_str()))
                }
                None => (Value::from(-1_isize), Value::from(0_usize), Value::Null),
            };
            let members = [("offset", offset), ("length", length), ("string", string)];
            let name = (index > 0).then(|| ("name", name.map_or(Value::Null, Value::text)));
            let members = members.into_iter().chain(name);
            groups.push(Value::object(members.map(|(name, value)| (Arc::new(name.to_owned()), value))));
        }
        Value::array(groups)
    }
}

fn whole(found: &Captures<'_>) -> (usize, usize) {
    found.get(0).map_or((0, 0), |whole| (whole.start(), whole.end()))
}

fn compiled(pattern: &str, flags: &str) -> Result<Regex, Error<Value>> {
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(regex) = COMPILED.with_borrow(|kept| kept.get(&key).cloned()) {
        return Ok(regex);
    }
    charge(64 << 10);
    let regex = compile(pattern, flags).map_err(error)?;
    COMPILED.with_borrow_mut(|kept| {
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(key, regex.clone());
    });
    Ok(regex)
}

/// A regular expression with the flags of jq.
pub(super) fn compile(pattern: &str, flags: &str) -> Result<Regex, String> {
    if let Some(unknown) = flags.chars().find(|flag| !"gnimslxp".contains(*flag)) {
        return Err(format!("`{unknown}` is no flag of a regular expression: they are g, i, l, n, p, s and x"));
    }
    let has = |flag| flags.contains(flag);
    RegexBuilder::new(pattern)
        .case_insensitive(has('i'))
        .dot_matches_new_line(has('s') || has('p'))
        .multi_line(has('m') || has('p'))
        .swap_greed(has('l'))
        .ignore_whitespace(has('x'))
        .size_limit(LARGEST_EXPRESSION)
        .build()
        .map_err(|fault| {
            let text = fault.to_string();
            format!(
                "the regular expression is wrong: {}",
                text.lines().next_back().unwrap_or_default().trim_start_matches("error: ")
            )
        })
}
