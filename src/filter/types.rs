//! What can be said of a filter before any event comes: which of its comparisons can never hold, because the types
//! differ, and which of its queries never find anything.
//!
//! Only members of the envelope itself are looked at; what `data` holds is the sender's. Nothing here is a fault: the
//! expression means what RFC 9535 says, which is rarely what was meant.

use std::fmt::Write as _;
use std::ops::Range;

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, Literal, Segment, Selector, SingularQuery, SingularQuerySegment,
    Test, TestFunction,
};

use crate::event::ENVELOPE;
use crate::interpolated::TextRef;
use crate::jsonpath;
use crate::problem::did_you_mean;

/// What is known of the events that come to a filter.
#[derive(Debug, Clone, Copy)]
pub struct Envelopes {
    /// `data` is always text: none of the sources has `format = "json"`.
    pub data_is_text: bool,
    /// Headers are always text: none of the sources is AMQP, where they may be anything.
    pub headers_are_text: bool,
}

/// Something in a filter that is probably not meant so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A comparison of values whose types differ in every event.
    ImpossibleComparison(Remark),
    /// A query for what no event has.
    UnknownMember(Remark),
}

/// What is to be said of a part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// In one sentence without a final stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The bytes of the expression it is about, when they are known.
    pub part: Option<Range<usize>>,
}

/// The doubts about the `when` of a filter; none about one that cannot be parsed.
pub fn doubts<'a>(when: impl Into<TextRef<'a>>, envelopes: Envelopes) -> Vec<Doubt> {
    let Ok(when) = jsonpath::with_values(when.into()) else { return Vec::new() };
    let when = when.as_ref();
    let mut finder = Finder { when, envelopes, doubts: Vec::new() };
    if let Ok(filter) = jsonpath::parse_filter(when) {
        finder.filter(&filter);
    }
    finder.doubts
}

/// The types that a value may have in some event, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Types(u8);

impl Types {
    const ABSENT: Self = Self(1);
    const NULL: Self = Self(2);
    const BOOLEAN: Self = Self(4);
    const NUMBER: Self = Self(8);
    const TEXT: Self = Self(16);
    const OBJECT: Self = Self(32);
    const ANY: Self = Self(u8::MAX);

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn have_one_in_common(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The types in words, without absence, which no literal is equal to.
    fn describe(self) -> String {
        let names = [
            (Self::TEXT, "a string"),
            (Self::NUMBER, "a number"),
            (Self::BOOLEAN, "true or false"),
            (Self::NULL, "null"),
            (Self::OBJECT, "an object"),
        ];
        let names: Vec<_> =
            names.iter().filter(|(one, _)| self.have_one_in_common(*one)).map(|(_, name)| *name).collect();
        names.join(" or ")
    }
}

struct Finder<'a> {
    when: &'a str,
    envelopes: Envelopes,
    doubts: Vec<Doubt>,
}

impl Finder<'_> {
    fn filter(&mut self, filter: &Filter) {
        match filter {
            Filter::Or(parts) | Filter::And(parts) => parts.iter().for_each(|part| self.filter(part)),
            Filter::Atom(FilterAtom::Filter { expr, .. }) => self.filter(expr),
            Filter::Atom(FilterAtom::Test { expr, .. }) => self.test(expr),
            Filter::Atom(FilterAtom::Comparison(comparison)) => self.comparison(comparison),
        }
    }

    fn test(&mut self, test: &Test) {
        match test {
            Test::RelQuery(segments) => self.first_member(segments),
            Test::AbsQuery(query) => self.first_member(&query.segments),
            Test::Function(call) => self.function(call),
        }
    }

    fn function(&mut self, call: &TestFunction) {
        let arguments = match call {
            TestFunction::Length(argument) => vec![&**argument],
            TestFunction::Count(argument) | TestFunction::Value(argument) => vec![argument],
            TestFunction::Match(text, pattern) | TestFunction::Search(text, pattern) => vec![text, pattern],
            TestFunction::Custom(_, arguments) => arguments.iter().collect(),
        };
        for argument in arguments {
            if let FnArg::Test(test) = argument {
                self.test(test);
            }
        }
    }

    /// The first step of a query is one into the envelope.
    fn first_member(&mut self, segments: &[Segment]) {
        if let Some(Segment::Selector(Selector::Name(name))) = segments.first() {
            self.member(unquoted(name));
        }
    }

    fn member(&mut self, name: &str) {
        if ENVELOPE.contains(&name) {
            return;
        }
        let help = match did_you_mean(name, ENVELOPE) {
            Some(meant) => format!("did you mean `$.{meant}`?"),
            None => format!("an event has {}; a member of the payload is `$.data.{name}`", ENVELOPE.join(", ")),
        };
        let message = format!("no event has a member `{name}`");
        let part = self.place(name);
        let doubt = Doubt::UnknownMember(Remark { message, help: Some(help), part });
        if !self.doubts.contains(&doubt) {
            self.doubts.push(doubt);
        }
    }

    fn comparison(&mut self, comparison: &Comparison) {
        let (left, right) = comparison.vals();
        let known_before = self.doubts.len();
        [left, right].into_iter().for_each(|operand| self.operand(operand));
        let (left_types, right_types) = (self.types(left), self.types(right));
        // Of a member that no event has, more than that need not be said.
        if self.doubts.len() > known_before || left_types.have_one_in_common(right_types) {
            return;
        }
        let outcome = if matches!(comparison, Comparison::Ne(..)) { "always holds" } else { "never holds" };
        let (one, other) =
            if is_literal(left) { ((right, right_types), left_types) } else { ((left, left_types), right_types) };
        let name = shown(one.0);
        let message = format!("this comparison {outcome}: {name} is {}, not {}", one.1.describe(), other.describe());
        let part = name.strip_prefix('`').and_then(|name| self.place(name.trim_end_matches('`')));
        let help = help(one.1, if is_literal(left) { left } else { right });
        self.doubts.push(Doubt::ImpossibleComparison(Remark { message, help, part }));
    }

    fn operand(&mut self, operand: &Comparable) {
        match operand {
            Comparable::Literal(_) => {}
            Comparable::Function(call) => self.function(call),
            Comparable::SingularQuery(query) => {
                if let Some(SingularQuerySegment::Name(name)) = steps(query).first() {
                    self.member(unquoted(name));
                }
            }
        }
    }

    fn types(&self, operand: &Comparable) -> Types {
        match operand {
            Comparable::Literal(Literal::Int(_) | Literal::Float(_)) => Types::NUMBER,
            Comparable::Literal(Literal::String(_)) => Types::TEXT,
            Comparable::Literal(Literal::Bool(_)) => Types::BOOLEAN,
            Comparable::Literal(Literal::Null) => Types::NULL,
            Comparable::Function(TestFunction::Length(_)) => Types::NUMBER.or(Types::ABSENT),
            Comparable::Function(TestFunction::Count(_)) => Types::NUMBER,
            Comparable::Function(TestFunction::Custom(..)) => Types::NUMBER,
            Comparable::Function(_) => Types::ANY,
            Comparable::SingularQuery(query) => self.types_of_query(steps(query)),
        }
    }

    fn types_of_query(&self, steps: &[SingularQuerySegment]) -> Types {
        let text_at_most = Types::TEXT.or(Types::NULL).or(Types::ABSENT);
        let [first, rest @ ..] = steps else { return Types::OBJECT };
        let SingularQuerySegment::Name(name) = first else { return Types::ABSENT };
        match (unquoted(name), rest) {
            ("id" | "time" | "source", []) => Types::TEXT,
            ("key", []) => Types::TEXT.or(Types::NULL),
            ("headers" | "meta", []) => Types::OBJECT,
            ("headers", [_]) if self.envelopes.headers_are_text => text_at_most,
            ("data", []) if self.envelopes.data_is_text => text_at_most,
            _ => Types::ANY,
        }
    }

    /// Where a member or a query stands in the expression, if only one place can be meant: the parsed query keeps no
    /// positions.
    fn place(&self, piece: &str) -> Option<Range<usize>> {
        let is_name = |character: char| character.is_alphanumeric() || character == '_';
        let stands_alone = |place: &Range<usize>| {
            !self.when[..place.start].ends_with(is_name) && !self.when[place.end..].starts_with(is_name)
        };
        let places = self.when.match_indices(piece).map(|(start, _)| start..start + piece.len());
        let mut places = places.filter(stands_alone);
        places.next().filter(|_| places.next().is_none())
    }
}

fn help(types: Types, literal: &Comparable) -> Option<String> {
    let literal = match literal {
        Comparable::Literal(literal @ (Literal::Int(_) | Literal::Float(_) | Literal::Bool(_))) => literal.to_string(),
        Comparable::Function(TestFunction::Custom(number, _)) => number.clone(),
        _ => return None,
    };
    types.have_one_in_common(Types::TEXT).then(|| format!("write the value in quotes: '{literal}'"))
}

/// An integer beyond 2^63 stands as a custom function; see [`jsonpath::parse_filter`].
fn is_literal(operand: &Comparable) -> bool {
    matches!(operand, Comparable::Literal(_) | Comparable::Function(TestFunction::Custom(..)))
}

fn steps(query: &SingularQuery) -> &[SingularQuerySegment] {
    match query {
        SingularQuery::Current(steps) | SingularQuery::Root(steps) => steps,
    }
}

/// The name of a member; the library keeps the quotes of `['name']`.
fn unquoted(name: &str) -> &str {
    let inside = |quote| name.strip_prefix(quote).and_then(|name: &str| name.strip_suffix(quote));
    inside('\'').or_else(|| inside('"')).unwrap_or(name)
}

/// An operand as it is named in messages.
fn shown(operand: &Comparable) -> String {
    let query = match operand {
        Comparable::SingularQuery(query) => query,
        Comparable::Function(TestFunction::Length(_)) => return "what `length` gives".to_owned(),
        Comparable::Function(_) => return "what the function gives".to_owned(),
        Comparable::Literal(literal) => return format!("`{literal}`"),
    };
    let mut text = String::from(if matches!(query, SingularQuery::Root(_)) { "`$" } else { "`@" });
    for step in steps(query) {
        // Writing to a string does not fail.
        match step {
            SingularQuerySegment::Name(name) if unquoted(name).len() < name.len() => write!(text, "[{name}]").ok(),
            SingularQuerySegment::Name(name) => write!(text, ".{name}").ok(),
            SingularQuerySegment::Index(index) => write!(text, "[{index}]").ok(),
        };
    }
    text + "`"
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Envelopes = Envelopes { data_is_text: false, headers_are_text: true };

    fn impossible(when: &str, envelopes: Envelopes) -> Option<String> {
        jsonpath::parse_filter(when).unwrap_or_else(|error| panic!("{when}: {error}"));
        doubts(when, envelopes).into_iter().find_map(|doubt| match doubt {
            Doubt::ImpossibleComparison(remark) => Some(remark.message),
            Doubt::UnknownMember(_) => None,
        })
    }

    fn unknown(when: &str) -> Option<Remark> {
        doubts(when, JSON).into_iter().find_map(|doubt| match doubt {
            Doubt::UnknownMember(remark) => Some(remark),
            Doubt::ImpossibleComparison(_) => None,
        })
    }

    #[test]
    fn a_comparison_of_different_types_is_found() {
        for when in [
            "$.key == 5",
            "5 == $.key",
            "$.key == 175928847299117063",
            "18446744073709551615 != $.key",
            "@.key == true",
            "$.headers.x > 3",
            "$.headers['x'] <= 3",
            "$.time == 1",
            "$.id == null",
            "$.source != 7",
            "$.data.a == 1 || !($.key >= 2)",
            "$.headers == 'x'",
            "length($.data.a) == '3'",
            "1 == '1'",
            "$.meta == 1",
        ] {
            assert!(impossible(when, JSON).is_some(), "{when}");
        }
    }

    #[test]
    fn what_may_hold_is_left_alone() {
        for when in [
            "$.key == '5'",
            "$.key == null",
            "$.headers.x == 'a'",
            "$.headers.x == null",
            "$.headers.x == $.headers.y",
            "$.time < '2026'",
            "$.data == 5",
            "$.data.total > 3",
            "$.meta.offset > 3",
            "length($.key) > 3",
            "count($.headers.*) == 0",
            "value($..a) == 1",
            "$.data.items[?@.key == 5]",
            "$ == @",
        ] {
            assert_eq!(doubts(when, JSON), [], "{when}");
        }
    }

    #[test]
    fn what_the_sources_bring_decides() {
        let text = Envelopes { data_is_text: true, headers_are_text: false };
        assert!(impossible("$.data == 5", text).is_some());
        assert_eq!(impossible("$.headers.x > 3", text), None);
    }

    #[test]
    fn the_message_says_what_happens_and_where() {
        let doubts = doubts("$.data.a == 1 && $.headers.retries > 3", JSON);
        let [Doubt::ImpossibleComparison(remark)] = &*doubts else { panic!("{doubts:?}") };
        assert_eq!(
            remark.message,
            "this comparison never holds: `$.headers.retries` is a string or null, not a number"
        );
        assert_eq!(remark.help.as_deref(), Some("write the value in quotes: '3'"));
        assert_eq!(remark.part, Some(17..34));
        let always = impossible("$.key != 5", JSON).unwrap();
        assert_eq!(always, "this comparison always holds: `$.key` is a string or null, not a number");
    }

    #[test]
    fn a_member_that_no_event_has_is_found_wherever_it_is_asked_for() {
        for when in ["$.dta", "!@.dta.x", "$.dta.x == 5", "match($.dta, 'a')", "count($.dta[*]) > 1", "$['dta'][0]"] {
            let remark = unknown(when).unwrap_or_else(|| panic!("{when}"));
            assert_eq!(remark.help.as_deref(), Some("did you mean `$.data`?"), "{when}");
            assert_eq!(doubts(when, JSON).len(), 1, "{when}");
        }
        let remark = unknown("$.total > 5").unwrap();
        assert_eq!((remark.message.as_str(), remark.part), ("no event has a member `total`", Some(2..7)));
        assert!(remark.help.unwrap().contains("`$.data.total`"));
        assert_eq!(unknown("$.data.a == 1 && $.dat").unwrap().part, Some(19..22));
        assert_eq!(unknown("$..total"), None);
        assert_eq!(unknown("$.data[?@.total > 1]"), None);
    }
}
