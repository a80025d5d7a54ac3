//! What becomes of a parsed program before it is compiled: calls that may go on forever are counted, long lists and objects
//! are divided so that no nesting comes of their length, and what can be checked of literals is checked.
//!
//! In jq only a definition can call itself, directly or from a definition within it. So every program that does not end
//! by itself passes through such a definition again and again, and there it is counted. The values that such a call
//! takes are counted too: each of them may stand for the one before it, without an end.

use std::ops::Range;

use jaq_core::load::Arena;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fault::Fault;
use super::marks::MARK;
use super::matching;
use super::natives::STEP;
use super::value::Value;
use crate::functions::time;
use crate::problem::did_you_mean;

/// Expressions in one another that a program may have.
const MOST_NESTED: usize = 1000;

/// About how deep a definition of the standard library is.
const OF_A_CALL: usize = 6;

/// Longer lists are divided.
const LONGEST_LIST: usize = 8;

/// Rewrites one program.
pub(super) struct Rewriting<'s> {
    text: &'s str,
    arena: &'s Arena,
    /// The variables that the program is given.
    variables: &'s [(String, Value)],
    /// The names that the program gives to values of its own.
    own: Vec<&'s str>,
    /// The definitions around this place, and whether they call themselves.
    around: Vec<(&'s str, usize, bool)>,
    depth: usize,
    /// The places of the marks, in a program that is to be marked.
    pub(super) marks: Option<Vec<Range<usize>>>,
    /// How deep expressions stand in one another, at most.
    pub(super) deepest: usize,
    /// What is wrong.
    pub(super) faults: Vec<Fault>,
}

impl<'s> Rewriting<'s> {
    pub(super) fn new(text: &'s str, arena: &'s Arena, variables: &'s [(String, Value)]) -> Self {
        let (own, around, faults) = (Vec::new(), Vec::new(), Vec::new());
        Self { text, arena, variables, own, around, depth: 0, marks: None, deepest: 0, faults }
    }

    /// A definition.
    pub(super) fn definition(&mut self, definition: Def<&'s str>) -> Def<&'s str> {
        let Def { name, args, body } = definition;
        self.own.extend(&args);
        self.around.push((name, args.len(), false));
        let body = self.term(body);
        let calls_itself = self.around.pop().is_some_and(|(.., calls_itself)| calls_itself);
        Def { name, args, body: if calls_itself { counted(body) } else { body } }
    }

    /// An expression.
    pub(super) fn term(&mut self, term: Term<&'s str>) -> Term<&'s str> {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let term = if self.depth > MOST_NESTED { self.too_deep() } else { self.within(term) };
        self.depth -= 1;
        term
    }

    fn too_deep(&mut self) -> Term<&'s str> {
        if self.faults.is_empty() {
            let message = format!("more than {MOST_NESTED} expressions stand in one another");
            self.faults.push(Fault::new(self.text, 0..0, message).help("divide the program by `def`"));
        }
        Term::Id
    }

    fn within(&mut self, term: Term<&'s str>) -> Term<&'s str> {
        match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => term,
            Term::Str(format, parts) => Term::Str(format, self.parts(parts)),
            Term::Arr(inner) => Term::Arr(inner.map(|inner| self.boxed(inner))),
            Term::Obj(members) => {
                let members = members.into_iter().map(|(name, value)| {
                    // A name without a value is that of a variable or of a member, and stays as it is.
                    let name = if value.is_some() { self.term(name) } else { name };
                    (name, value.map(|value| self.term(value)))
                });
                let members = members.collect();
                self.object(members)
            }
            Term::Neg(inner) => Term::Neg(self.boxed(inner)),
            Term::BinOp(left, BinaryOp::Comma, right) => self.list(*left, *right),
            Term::BinOp(left, operator, right) => {
                let operator = match operator {
                    BinaryOp::Pipe(Some(pattern)) => BinaryOp::Pipe(Some(self.pattern(pattern))),
                    other => other,
                };
                Term::BinOp(self.boxed(left), operator, self.boxed(right))
            }
            Term::Label(name, inner) => Term::Label(name, self.boxed(inner)),
            Term::Fold(name, values, pattern, arguments) => {
                let arguments = arguments.into_iter().map(|argument| self.term(argument)).collect();
                Term::Fold(name, self.boxed(values), self.pattern(pattern), arguments)
            }
            Term::TryCatch(inner, catch) => Term::TryCatch(self.boxed(inner), catch.map(|catch| self.boxed(catch))),
            Term::IfThenElse(branches, otherwise) => {
                let branches = branches.into_iter().map(|(condition, value)| (self.term(condition), self.term(value)));
                Term::IfThenElse(branches.collect(), otherwise.map(|otherwise| self.boxed(otherwise)))
            }
            Term::Def(definitions, inner) => {
                let definitions = definitions.into_iter().map(|definition| self.definition(definition)).collect();
                Term::Def(definitions, self.boxed(inner))
            }
            Term::Call(name, arguments) => {
                let call = self.call(name, arguments);
                self.marked(self.place_of(name), call)
            }
            Term::Path(inner, path) => {
                self.check_member(&inner, &path);
                let place = self.place_of_path(&inner, &path);
                let path = Term::Path(self.boxed(inner), self.path(path));
                self.marked(place, path)
            }
        }
    }

    fn boxed(&mut self, mut term: Box<Term<&'s str>>) -> Box<Term<&'s str>> {
        *term = self.term(std::mem::take(&mut *term));
        term
    }

    fn call(&mut self, name: &'s str, arguments: Vec<Term<&'s str>>) -> Term<&'s str> {
        self.check_literals(name, &arguments);
        if name == "need" && arguments.len() == 1 {
            return self.need(arguments);
        }
        let of_this_name = |around: &&mut (&str, usize, bool)| around.0 == name && around.1 == arguments.len();
        let calls_itself = self.around.iter_mut().rev().find(of_this_name).map(|around| around.2 = true).is_some();
        self.depth += OF_A_CALL;
        let arguments = arguments.into_iter().map(|argument| {
            let argument = self.term(argument);
            if calls_itself { counted(argument) } else { argument }
        });
        let arguments = arguments.collect();
        self.depth -= OF_A_CALL;
        Term::Call(name, arguments)
    }

    /// `need(.a.b)` is told how it is written, for its message.
    fn need(&mut self, mut arguments: Vec<Term<&'s str>>) -> Term<&'s str> {
        let message = match arguments.first().and_then(written) {
            Some(path) => format!("`{path}` is missing from the event"),
            None => "what `need` asks for is missing from the event".to_owned(),
        };
        arguments.push(Term::Str(None, vec![StrPart::Str(self.kept(message))]));
        self.call("need_", arguments)
    }

    fn kept(&self, text: String) -> &'s str {
        self.arena.alloc(text)
    }

    /// `a, b, c, …` in halves.
    fn list(&mut self, left: Term<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
        let mut items = vec![right];
        let mut rest = left;
        while let Term::BinOp(before, BinaryOp::Comma, item) = rest {
            items.push(*item);
            rest = *before;
        }
        items.push(rest);
        items.reverse();
        let mut items: Vec<_> = items.into_iter().map(|item| self.term(item)).collect();
        self.deepest = self.deepest.max(self.depth + items.len().ilog2() as usize);
        halves(&mut items, BinaryOp::Comma)
    }

    /// `{a, b, c, …}` as a sum of objects.
    fn object(&mut self, members: Vec<(Term<&'s str>, Option<Term<&'s str>>)>) -> Term<&'s str> {
        self.deepest = self.deepest.max(self.depth + members.len().min(LONGEST_LIST));
        if members.len() <= LONGEST_LIST {
            return Term::Obj(members);
        }
        let mut objects = Vec::new();
        let mut members = members.into_iter().peekable();
        while members.peek().is_some() {
            objects.push(Term::Obj(members.by_ref().take(LONGEST_LIST).collect()));
        }
        halves(&mut objects, BinaryOp::Math(Math::Add))
    }

    fn parts(&mut self, parts: Vec<StrPart<&'s str, Term<&'s str>>>) -> Vec<StrPart<&'s str, Term<&'s str>>> {
        // The parts are joined one within the other.
        self.deepest = self.deepest.max(self.depth + parts.len());
        let parts = parts.into_iter().map(|part| match part {
            StrPart::Term(term) => StrPart::Term(self.term(term)),
            other => other,
        });
        parts.collect()
    }

    fn pattern(&mut self, pattern: Pattern<&'s str>) -> Pattern<&'s str> {
        match pattern {
            Pattern::Var(name) => {
                self.own.push(name);
                Pattern::Var(name)
            }
            Pattern::Arr(items) => Pattern::Arr(items.into_iter().map(|item| self.pattern(item)).collect()),
            Pattern::Obj(members) => {
                let members = members.into_iter().map(|(name, inner)| (self.term(name), self.pattern(inner)));
                Pattern::Obj(members.collect())
            }
        }
    }

    fn path(&mut self, path: Path<Term<&'s str>>) -> Path<Term<&'s str>> {
        self.deepest = self.deepest.max(self.depth + path.0.len());
        let parts = path.0.into_iter().map(|(part, opt)| {
            let part = match part {
                Part::Index(index) => Part::Index(self.term(index)),
                Part::Range(from, to) => Part::Range(from.map(|from| self.term(from)), to.map(|to| self.term(to))),
            };
            (part, opt)
        });
        Path(parts.collect())
    }

    /// Regular expressions and time formats that are written out are checked at load.
    fn check_literals(&mut self, name: &str, arguments: &[Term<&'s str>]) {
        let Some((literal, part)) = arguments.first().and_then(literal) else { return };
        let wrong = match (name, arguments.len()) {
            ("test" | "match" | "capture" | "scan" | "splits", 1) | ("sub" | "gsub", 2) => {
                matching::compile(&literal, "").err()
            }
            ("format_time", 1 | 2) => {
                let is_wrong = time::strftime(Timestamp::UNIX_EPOCH, &literal, TimeZone::UTC).is_none();
                is_wrong.then(|| format!("`{literal}` is not a strftime format"))
            }
            _ => None,
        };
        if let Some(message) = wrong {
            self.faults.push(Fault::new(self.text, self.place(part), message));
        }
    }

    /// A member that is written out must be one of those that a variable has: `$tables.tenant` would be null for every
    /// event.
    fn check_member(&mut self, start: &Term<&'s str>, path: &Path<Term<&'s str>>) {
        let Term::Var(variable) = start else { return };
        let given = self.variables.iter().find(|(name, _)| name == variable && !self.own.contains(variable));
        let Some((_, Value::Object(object))) = given else { return };
        let Some((Part::Index(index), _)) = path.0.first() else { return };
        let Some((name, part)) = literal(index).filter(|(name, _)| object.get(name).is_none()) else { return };
        let fault = Fault::new(self.text, self.place(part), format!("`{variable}` has no `{name}`"));
        let known: Vec<&str> = object.members().keys().map(|known| known.as_str()).collect();
        self.faults.push(match did_you_mean(&name, known.iter().copied()) {
            Some(meant) => fault.help(format!("did you mean `{meant}`?")),
            None if known.is_empty() => fault.help(format!("add `[{}.{name}]` to the file", &variable[1..])),
            None => fault.help(format!("there are {}", known.join(", "))),
        });
    }

    /// An expression behind a mark of its place.
    fn marked(&mut self, place: Option<Range<usize>>, term: Term<&'s str>) -> Term<&'s str> {
        let (Some(marks), Some(place)) = (&mut self.marks, place) else { return term };
        marks.push(place);
        let number = (marks.len() - 1).to_string();
        let mark = Term::Call(MARK, vec![Term::Num(self.kept(number))]);
        Term::BinOp(Box::new(mark), BinaryOp::Pipe(None), Box::new(term))
    }

    /// Where a path stands, as far as its names tell.
    fn place_of_path(&self, start: &Term<&'s str>, path: &Path<Term<&'s str>>) -> Option<Range<usize>> {
        let of_variable = if let Term::Var(name) = start { Some(*name) } else { None };
        let of_part = |(part, _): &(Part<Term<&'s str>>, _)| match part {
            Part::Index(Term::Num(index)) => Some(*index),
            Part::Index(index) => literal(index).map(|(_, piece)| piece),
            Part::Range(..) => None,
        };
        let pieces = of_variable.into_iter().chain(path.0.iter().filter_map(of_part));
        let places: Vec<_> = pieces.filter_map(|piece| self.place_of(piece)).collect();
        let (first, last) = (places.first()?.start, places.last()?.end);
        let opening = self.text[..first].trim_end_matches(['.', '[', '"']).len();
        Some(opening..last)
    }

    /// Where a piece of the program stands in it, or its beginning.
    fn place(&self, piece: &str) -> Range<usize> {
        self.place_of(piece).unwrap_or(0..0)
    }

    /// Where a piece of the program stands in it; `None` of what the rewriting has made.
    fn place_of(&self, piece: &str) -> Option<Range<usize>> {
        let start = piece.as_ptr().addr().checked_sub(self.text.as_ptr().addr());
        let start = start.filter(|start| start + piece.len() <= self.text.len() && !piece.is_empty())?;
        Some(start..start + piece.len())
    }
}

/// An expression that counts as a call each time it is asked.
fn counted(term: Term<&str>) -> Term<&str> {
    Term::BinOp(Box::new(Term::Call(STEP, Vec::new())), BinaryOp::Pipe(None), Box::new(term))
}

/// Terms joined by an operator of which it makes no difference which two are joined first.
fn halves<'s>(terms: &mut Vec<Term<&'s str>>, operator: BinaryOp<&'s str>) -> Term<&'s str> {
    if terms.len() <= 1 {
        return terms.pop().unwrap_or_default();
    }
    let mut behind = terms.split_off(terms.len() / 2);
    let (left, right) = (halves(terms, operator.clone()), halves(&mut behind, operator.clone()));
    Term::BinOp(Box::new(left), operator, Box::new(right))
}

/// Text that is written out, and a piece of it in the program.
fn literal<'s>(term: &Term<&'s str>) -> Option<(String, &'s str)> {
    let Term::Str(None, parts) = term else { return None };
    let (mut text, mut piece) = (String::new(), "");
    for part in parts {
        match part {
            StrPart::Str(written) => {
                text.push_str(written);
                piece = if piece.is_empty() { written } else { piece };
            }
            StrPart::Char(character) => text.push(*character),
            StrPart::Term(_) => return None,
        }
    }
    Some((text, piece))
}

/// A path of plain members as it is written.
fn written(term: &Term<&str>) -> Option<String> {
    let Term::Path(start, path) = term else { return None };
    let start = match start.as_ref() {
        Term::Id => String::new(),
        Term::Var(name) => (*name).to_owned(),
        _ => return None,
    };
    path.0.iter().try_fold(start, |path, (part, _)| match part {
        Part::Index(index) => match index {
            Term::Num(index) => Some(format!("{path}[{index}]")),
            other => Some(format!("{path}.{}", literal(other)?.0)),
        },
        Part::Range(None, None) => Some(path + "[]"),
        Part::Range(..) => None,
    })
}
