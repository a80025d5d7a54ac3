//! Programs, which most are, that only put members of the event into objects, arrays and text: they write JSON from the
//! envelope without the interpreter, which takes some twenty allocations for each member.
//!
//! Only what succeeds is written here. Whatever else there is to an event (a value is of another type, the output is too
//! large), the interpreter runs the program and finds, so that every failure is told in one way. Nothing here may give
//! what the interpreter would not.

use std::collections::HashSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::path::{Part, Path};
use serde_json::Value as Json;

use super::json;
use super::value::Value;

/// A program, or a part of one, that gives one value.
#[derive(Debug)]
pub(super) enum Direct {
    /// `.a.b`, or `.` when there are no names.
    Place(Vec<String>),
    /// `need(.a.b)`
    Needed(Vec<String>),
    /// `.a.b // .c // …`
    Default(Vec<Vec<String>>, Box<Self>),
    /// `.a.b | …`
    Within(Vec<String>, Box<Self>),
    /// A number, `true`, `false` or `null` that is written out.
    Literal(Json),
    /// `"… \(.a.b) …"`
    Text(Vec<Piece>),
    /// `[…, …]`
    Array(Vec<Self>),
    /// `{…: …, …: …}` with names that are written out. Of each member the name is JSON.
    Object(Vec<(String, Self)>),
}

/// A piece of a text.
#[derive(Debug)]
pub(super) enum Piece {
    Written(String),
    Inserted(Direct),
}

/// Expressions in one another. JSON has 128 levels at most where it is read, and may have 200 where it is written.
const MOST_LEVELS: usize = 32;

impl Direct {
    /// A program that has been read, if it is of this kind.
    pub(super) fn of(program: &Term<&str>) -> Option<Self> {
        Self::of_term(program, MOST_LEVELS)
    }

    fn of_term(term: &Term<&str>, levels: usize) -> Option<Self> {
        let levels = levels.checked_sub(1)?;
        let inner = |term: &Term<&str>| Self::of_term(term, levels);
        Some(match term {
            Term::Id | Term::Path(..) => Self::Place(place(term)?),
            Term::Call("need", arguments) => match arguments.as_slice() {
                [argument] => Self::Needed(place(argument)?),
                _ => return None,
            },
            Term::Call("null", arguments) if arguments.is_empty() => Self::Literal(Json::Null),
            Term::Call(name @ ("true" | "false"), arguments) if arguments.is_empty() => {
                Self::Literal(Json::Bool(*name == "true"))
            }
            Term::Num(digits) => Self::Literal(number(digits)?),
            Term::Str(None, parts) => Self::Text(parts.iter().map(|part| piece(part, levels)).collect::<Option<_>>()?),
            Term::Arr(None) => Self::Array(Vec::new()),
            Term::Arr(Some(items)) => Self::Array(items_of(items).into_iter().map(inner).collect::<Option<_>>()?),
            Term::Obj(members) => Self::of_members(members, levels)?,
            Term::BinOp(left, BinaryOp::Pipe(None), right) => Self::Within(place(left)?, Box::new(inner(right)?)),
            Term::BinOp(left, BinaryOp::Alt, right) => Self::Default(places(left)?, Box::new(inner(right)?)),
            _ => return None,
        })
    }

    fn of_members(members: &[(Term<&str>, Option<Term<&str>>)], levels: usize) -> Option<Self> {
        let mut names = HashSet::new();
        let members = members.iter().map(|(name, value)| {
            let name = written(name)?;
            // Of two members of one name the interpreter takes the latter.
            names.insert(name.clone()).then_some(())?;
            let value = match value {
                Some(value) => Self::of_term(value, levels)?,
                None => Self::Place(vec![name.clone()]),
            };
            Some((Value::text(name).to_json(), value))
        });
        members.collect::<Option<_>>().map(Self::Object)
    }

    /// The JSON of its result, of so many bytes at most. `None` when the interpreter must be asked.
    pub(super) fn json(&self, input: &Json, most: u64) -> Option<String> {
        let mut output = Output { text: String::with_capacity(256), most };
        self.write(input, &mut output)?;
        Some(output.text)
    }

    /// Its result as text, of so many bytes at most. `None` when the interpreter must be asked.
    pub(super) fn text(&self, input: &Json, most: u64) -> Option<String> {
        let mut output = Output { text: String::new(), most };
        self.insert(input, &mut output, false)?;
        Some(output.text)
    }

    fn write(&self, input: &Json, output: &mut Output) -> Option<()> {
        match self {
            Self::Place(names) => output.json(find(input, names)?),
            Self::Needed(names) => output.json(find(input, names).filter(|value| !value.is_null())?),
            Self::Default(places, default) => match first(input, places)? {
                Some(value) => output.json(value),
                None => default.write(input, output),
            },
            Self::Within(names, inner) => inner.write(find(input, names)?, output),
            Self::Literal(value) => output.json(value),
            Self::Text(pieces) => {
                let text = text_of(pieces, input, output.most)?;
                json::push_text(&mut output.text, &text);
                output.is_within()
            }
            Self::Array(items) => {
                output.push("[")?;
                for (index, item) in items.iter().enumerate() {
                    output.push(if index > 0 { "," } else { "" })?;
                    item.write(input, output)?;
                }
                output.push("]")
            }
            Self::Object(members) => {
                output.push("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    output.push(if index > 0 { "," } else { "" })?;
                    output.push(name)?;
                    output.push(":")?;
                    value.write(input, output)?;
                }
                output.push("}")
            }
        }
    }

    /// Writes its result as text: text as it is, anything else as its JSON. Only a piece of a text may be null, an array or
    /// an object.
    fn insert(&self, input: &Json, output: &mut Output, is_piece: bool) -> Option<()> {
        let value = match self {
            Self::Place(names) => find(input, names)?,
            Self::Needed(names) => find(input, names).filter(|value| !value.is_null())?,
            Self::Default(places, default) => match first(input, places)? {
                Some(value) => value,
                None => return default.insert(input, output, is_piece),
            },
            Self::Within(names, inner) => return inner.insert(find(input, names)?, output, is_piece),
            Self::Literal(value) => value,
            Self::Text(pieces) => return output.push(&text_of(pieces, input, output.most)?),
            Self::Array(_) | Self::Object(_) => return is_piece.then(|| self.write(input, output))?,
        };
        match value {
            Json::String(text) => output.push(text),
            Json::Null | Json::Array(_) | Json::Object(_) if !is_piece => None,
            value => output.json(value),
        }
    }
}

/// Collects the output up to its limit.
struct Output {
    text: String,
    most: u64,
}

impl Output {
    fn push(&mut self, text: &str) -> Option<()> {
        self.text.push_str(text);
        self.is_within()
    }

    fn json(&mut self, value: &Json) -> Option<()> {
        json::push_json(&mut self.text, value);
        self.is_within()
    }

    fn is_within(&self) -> Option<()> {
        (self.text.len() as u64 <= self.most).then_some(())
    }
}

fn text_of(pieces: &[Piece], input: &Json, most: u64) -> Option<String> {
    let mut output = Output { text: String::new(), most };
    for piece in pieces {
        match piece {
            Piece::Written(text) => output.push(text)?,
            Piece::Inserted(value) => value.insert(input, &mut output, true)?,
        }
    }
    Some(output.text)
}

/// What stands at a place of the input: null when it is missing, and `None` when that is an error.
fn find<'a>(input: &'a Json, names: &[String]) -> Option<&'a Json> {
    names.iter().try_fold(input, |value, name| match value {
        Json::Object(members) => Some(members.get(name).unwrap_or(&Json::Null)),
        Json::Null => Some(&Json::Null),
        _ => None,
    })
}

/// The first of the values at these places that is neither null nor false, if one is; `None` when one is an error.
fn first<'a>(input: &'a Json, places: &[Vec<String>]) -> Option<Option<&'a Json>> {
    for names in places {
        match find(input, names)? {
            Json::Null | Json::Bool(false) => {}
            value => return Some(Some(value)),
        }
    }
    Some(None)
}

/// The places between `//`.
fn places(term: &Term<&str>) -> Option<Vec<Vec<String>>> {
    match term {
        Term::BinOp(left, BinaryOp::Alt, right) => {
            let mut places = places(left)?;
            places.push(place(right)?);
            Some(places)
        }
        other => Some(vec![place(other)?]),
    }
}

/// The names of a path that begins in the input.
fn place(term: &Term<&str>) -> Option<Vec<String>> {
    match term {
        Term::Id => Some(Vec::new()),
        Term::Path(start, Path(parts)) => {
            let mut names = place(start)?;
            for (part, _) in parts {
                let Part::Index(name) = part else { return None };
                names.push(written(name)?);
            }
            Some(names)
        }
        Term::BinOp(left, BinaryOp::Pipe(None), right) => Some([place(left)?, place(right)?].concat()),
        _ => None,
    }
}

/// A number as the interpreter writes it.
fn number(digits: &str) -> Option<Json> {
    let written = Value::Number(json::number(digits)).to_json();
    let number = serde_json::from_str::<serde_json::Number>(&written).ok()?;
    (number.as_str() == written).then_some(Json::Number(number))
}

/// Text that is written out.
fn written(term: &Term<&str>) -> Option<String> {
    let Term::Str(None, parts) = term else { return None };
    let mut text = String::new();
    for part in parts {
        match part {
            StrPart::Str(written) => text.push_str(written),
            StrPart::Char(character) => text.push(*character),
            StrPart::Term(_) => return None,
        }
    }
    Some(text)
}

fn piece(part: &StrPart<&str, Term<&str>>, levels: usize) -> Option<Piece> {
    Some(match part {
        StrPart::Str(written) => Piece::Written((*written).to_owned()),
        StrPart::Char(character) => Piece::Written(character.to_string()),
        StrPart::Term(term) => Piece::Inserted(Direct::of_term(term, levels)?),
    })
}

/// The terms between commas.
fn items_of<'t, 's>(term: &'t Term<&'s str>) -> Vec<&'t Term<&'s str>> {
    let (mut items, mut rest) = (Vec::new(), term);
    while let Term::BinOp(before, BinaryOp::Comma, item) = rest {
        items.push(&**item);
        rest = before;
    }
    items.push(rest);
    items.reverse();
    items
}

#[cfg(test)]
mod tests;
