//! Filters: an RFC 9535 filter expression over the envelope, parsed and checked once.
//!
//! Both `$` and a top-level `@` are the envelope; within `[?…]`, `@` is the member that is looked at, as ever. A query
//! alone holds when it finds something, whatever its value: `$.data.paid` holds for `false` and for `null` too.
//! Comparisons follow RFC 9535 (2.3.5.2.2): values of different types are unequal and unordered, a missing member equals
//! only another missing one, and 1 equals 1.0. Differences from the standard are listed in [`crate::jsonpath`].
//!
//! A predicate costs some 0.4 µs for each comparison. `match` and `search` compile their pattern at load where they
//! stand on their own or under `&&`, `||`, `!` and parentheses; within `[?…]` the library compiles it again for every
//! member it looks at, some 20 to 60 µs each. This module must not do I/O, and nothing in it can fail on an event.

pub mod types;

use jsonpath_rust::parser::model::{Filter, FilterAtom, FnArg, JpQuery, Literal, Test, TestFunction};
use jsonpath_rust::query::Query as _;
use jsonpath_rust::query::state::State;
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::event::Envelope;
use crate::interpolated::{InterpolatedText, TextRef};
use crate::jsonpath::{self, ExpressionError, Query};

/// Lets through the events for which an expression holds. Those it turns away leave by `<name>.unmatched`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// Names of sources or filters whose events come in; `<filter>.unmatched` takes what a filter turns away.
    #[schemars(length(min = 1))]
    #[schemars(example = ["orders"])]
    pub from: Vec<String>,
    /// An RFC 9535 filter expression over the envelope, for example
    /// `$.data.type == 'order.paid' && $.data.total >= 100`. A query alone holds when it finds something.
    #[schemars(extend("contentMediaType" = "text/x-jsonpath-filter"))]
    #[schemars(example = &"$.data.type == 'order.paid' && $.data.total >= 100")]
    pub when: InterpolatedText,
}

/// A filter expression that is ready to be asked about envelopes.
#[derive(Debug, Clone)]
pub struct Predicate(Condition);

/// The logical part of an expression. It is kept apart from the library's tree because that one can only be asked about
/// the children of a value, and because it has no place for a compiled pattern.
#[derive(Debug, Clone)]
enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    Matches { text: Query, pattern: Regex },
    Atom(FilterAtom),
}

impl Predicate {
    /// Parses the `when` of a filter.
    ///
    /// # Errors
    /// When it is not one well-typed filter expression of RFC 9535, or exceeds the limits in [`crate::jsonpath`].
    pub fn parse<'a>(when: impl Into<TextRef<'a>>) -> Result<Self, ExpressionError> {
        jsonpath::parse_filter(&jsonpath::with_values(when.into())?).map(|filter| Self(Condition::new(filter)))
    }

    /// Whether the expression holds for this envelope.
    pub fn matches(&self, envelope: &Envelope) -> bool {
        self.0.holds(envelope.as_value())
    }
}

impl Condition {
    fn new(filter: Filter) -> Self {
        match filter {
            Filter::Or(parts) => Self::Any(parts.into_iter().map(Self::new).collect()),
            Filter::And(parts) => Self::All(parts.into_iter().map(Self::new).collect()),
            Filter::Atom(FilterAtom::Filter { expr, not }) => Self::new(*expr).negated_if(not),
            Filter::Atom(FilterAtom::Test { expr, not }) => match pattern_match(&expr) {
                Some((text, pattern)) => Self::Matches { text, pattern }.negated_if(not),
                None => Self::Atom(FilterAtom::Test { expr, not }),
            },
            Filter::Atom(comparison @ FilterAtom::Comparison(_)) => Self::Atom(comparison),
        }
    }

    fn negated_if(self, not: bool) -> Self {
        if not { Self::Not(Box::new(self)) } else { self }
    }

    fn holds(&self, envelope: &Value) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(envelope)),
            Self::All(parts) => parts.iter().all(|part| part.holds(envelope)),
            Self::Not(part) => !part.holds(envelope),
            Self::Matches { text, pattern } => {
                let nodes = text.select(envelope);
                nodes.first().and_then(|node| node.as_str()).is_some_and(|text| pattern.is_match(text))
            }
            Self::Atom(atom) => atom.process(State::root(envelope)).ok_val() == Some(Value::Bool(true)),
        }
    }
}

/// `match` or `search` of what a query finds, taken out of the library's hands so that the pattern is compiled once.
/// Rarer forms, such as a function in place of the query, are left to the library.
fn pattern_match(test: &Test) -> Option<(Query, Regex)> {
    let Test::Function(call) = test else { return None };
    let (text, pattern) = match &**call {
        TestFunction::Match(text, FnArg::Literal(Literal::String(pattern))) => (text, format!("^(?:{pattern})$")),
        TestFunction::Search(text, FnArg::Literal(Literal::String(pattern))) => (text, pattern.clone()),
        _ => return None,
    };
    let FnArg::Test(query) = text else { return None };
    // Outside of `[?…]`, a query from `@` is one from `$`.
    let query = match &**query {
        Test::AbsQuery(query) => query.clone(),
        Test::RelQuery(segments) => JpQuery::new(segments.clone()),
        Test::Function(_) => return None,
    };
    // An I-Regexp's dot matches neither line feed nor carriage return (RFC 9485, 5.3), as the dot of the CRLF mode.
    let pattern = RegexBuilder::new(&pattern).crlf(true).build().ok()?;
    Some((query.into(), pattern))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(when: &str, envelope: &Value) -> bool {
        let predicate = Predicate::parse(when).unwrap_or_else(|error| panic!("{when}: {error:?}"));
        predicate.matches(&Envelope::new(envelope.clone()))
    }

    fn order() -> Value {
        json!({
            "id": "orders/3/1042", "time": "1970-01-01T00:00:00Z", "source": "orders", "key": "o-1",
            "headers": {"trace-id": "b"}, "meta": {"topic": "orders", "offset": 7},
            "data": {
                "type": "order.paid", "total": 120, "vip": false, "note": null, "sku": "A-12\r", "empty": [],
                "limit": 1, "items": [{"sku": "a", "n": 1, "tags": []}, {"sku": "b", "n": 2, "tags": ["x"]}],
            },
        })
    }

    #[test]
    fn an_expression_sees_the_envelope() {
        let table = [
            ("$.data.type == 'order.paid' && $.data.total >= 100", true),
            ("$.data.type == \"order.paid\"", true),
            ("@.data.total >= 100 && @.key == 'o-1'", true),
            ("$.data.total < 100 || $.meta.offset == 7", true),
            ("$.data.total < 100 || $.meta.offset == 7 && $.source == 'x'", false),
            ("!($.data.total < 100)", true),
            ("$.headers['trace-id'] == 'b'", true),
            ("$ == @", true),
            ("$", true),
            ("@[?@.topic]", true),
            ("$[?@.topics]", false),
            (" \t$.data.total\n>= 100 ", true),
        ];
        for (when, expected) in table {
            assert_eq!(holds(when, &order()), expected, "{when}");
        }
    }

    #[test]
    fn a_query_alone_asks_for_existence_whatever_the_value() {
        let table = [
            ("$.data.vip", true),
            ("$.data.note", true),
            ("$.data.empty", true),
            ("$.data.missing", false),
            ("!$.data.missing", true),
            ("$.data.items[*]", true),
            ("$.data.empty[*]", false),
            ("$.data.items[?@.n > 1]", true),
            ("$.data.items[?@.n > 2]", false),
            ("$..sku", true),
            ("$.data['type', 'missing']", true),
        ];
        for (when, expected) in table {
            assert_eq!(holds(when, &order()), expected, "{when}");
        }
    }

    #[test]
    fn the_root_is_the_envelope_within_nested_filters_too() {
        assert!(holds("$.data.items[?@.n > $.data.limit]", &order()));
        assert!(!holds("$.data.items[?@.n > $.data.total]", &order()));
        assert!(holds("$.data.items[?@.tags[?@ == 'x' && $.key == 'o-1']]", &order()));
        assert!(holds("count($.data.items[?@.n == $.data.limit]) == 1", &order()));
    }

    #[test]
    fn types_do_not_mix_and_missing_is_not_null() {
        let table = [
            ("$.data.note == null", true),
            ("$.data.missing == null", false),
            ("$.data.missing == $.data.absent", true),
            ("$.data.missing <= $.data.absent", true),
            ("$.data.missing < 1", false),
            ("$.data.missing != 1", true),
            ("$.data.total == '120'", false),
            ("$.data.total != '120'", true),
            ("$.data.total > '1'", false),
            ("$.data.total == 120.0", true),
            ("$.data.total == 1.2e2", true),
            ("$.data.vip == false", true),
            ("$.data.vip == 0", false),
            ("$.data.note <= null", true),
            ("$.data.note < null", false),
            ("$.data.items == $.data.items", true),
            ("$.data.items < $.data.items", false),
        ];
        for (when, expected) in table {
            assert_eq!(holds(when, &order()), expected, "{when}");
        }
    }

    /// RFC 9535, table 11 (2.3.5.3).
    #[test]
    fn comparisons_of_the_standard() {
        let value = json!({"obj": {"x": "y"}, "arr": [2, 3]});
        let table = [
            ("$.absent1 == $.absent2", true),
            ("$.absent1 <= $.absent2", true),
            ("$.absent == 'g'", false),
            ("$.absent1 != $.absent2", false),
            ("$.absent != 'g'", true),
            ("1 <= 2", true),
            ("1 > 2", false),
            ("13 == '13'", false),
            ("'a' <= 'b'", true),
            ("'a' > 'b'", false),
            ("$.obj == $.arr", false),
            ("$.obj != $.arr", true),
            ("$.obj == $.obj", true),
            ("$.obj != $.obj", false),
            ("$.arr == $.arr", true),
            ("$.arr != $.arr", false),
            ("$.obj == 17", false),
            ("$.obj != 17", true),
            ("$.obj <= $.arr", false),
            ("$.obj < $.arr", false),
            ("$.obj <= $.obj", true),
            ("$.arr <= $.arr", true),
            ("1 <= $.arr", false),
            ("1 >= $.arr", false),
            ("1 > $.arr", false),
            ("1 < $.arr", false),
            ("true <= true", true),
            ("true > true", false),
        ];
        for (when, expected) in table {
            assert_eq!(holds(when, &value), expected, "{when}");
        }
    }

    /// RFC 9535, table 12 (2.3.5.3): the queries, as tests of whether they select what the standard says.
    #[test]
    fn filter_selectors_of_the_standard() {
        let value = json!({
            "a": [3, 5, 1, 2, 4, 6, {"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}],
            "o": {"p": 1, "q": 2, "r": 3, "s": 5, "t": {"u": 6}},
            "e": "f",
        });
        let table = [
            ("$.a[?@.b == 'kilo']", vec![json!({"b": "kilo"})]),
            ("$.a[?(@.b == 'kilo')]", vec![json!({"b": "kilo"})]),
            ("$.a[?@ > 3.5]", vec![json!(5), json!(4), json!(6)]),
            ("$.a[?@.b]", vec![json!({"b": "j"}), json!({"b": "k"}), json!({"b": {}}), json!({"b": "kilo"})]),
            ("$[?@.*]", vec![value["a"].clone(), value["o"].clone()]),
            ("$.o[?@ < 3, ?@ < 3]", vec![json!(1), json!(2), json!(1), json!(2)]),
            ("$.a[?@ < 2 || @.b == 'k']", vec![json!(1), json!({"b": "k"})]),
            ("$.a[?match(@.b, '[jk]')]", vec![json!({"b": "j"}), json!({"b": "k"})]),
            ("$.a[?search(@.b, '[jk]')]", vec![json!({"b": "j"}), json!({"b": "k"}), json!({"b": "kilo"})]),
            ("$.o[?@ > 1 && @ < 4]", vec![json!(2), json!(3)]),
            ("$.o[?@.u || @.x]", vec![json!({"u": 6})]),
            ("$.a[?@.b == $.x]", [3, 5, 1, 2, 4, 6].map(Value::from).to_vec()),
            ("$.a[?@ == @]", value["a"].as_array().unwrap().clone()),
        ];
        for (query, expected) in table {
            let selected: Vec<_> = Query::parse(query).unwrap().select(&value).into_iter().cloned().collect();
            assert_eq!(selected, expected, "{query}");
        }
        // `$[?@[?@.b]]` of the same table is what the library gets wrong; see `jsonpath::check`.
        assert!(Query::parse("$[?@[?@.b]]").unwrap_err().message.contains("directly behind `@`"));
    }

    /// RFC 9535, table 14 (2.4.9).
    #[test]
    fn function_calls_are_well_typed_as_the_standard_says() {
        for (when, well_typed) in [
            ("length(@) < 3", true),
            ("length(@.*) < 3", false),
            ("count(@.*) == 1", true),
            ("count(1) == 1", false),
            ("count(foo(@.*)) == 1", false),
            ("match(@.timezone, 'Europe/.*')", true),
            ("match(@.timezone, 'Europe/.*') == true", false),
            ("value(@..color) == \"red\"", true),
            ("value(@..color)", false),
            ("length(@.a)", false),
            ("!length(@.a)", false),
            ("$.a[?length(@.b)]", false),
            ("length(match(@.a, 'b')) == 1", false),
            ("value('a') == 'a'", false),
            ("match(@.*, 'a')", false),
            ("search(@.a, '[')", false),
            ("$.a[?search(@.b, '(?=x)')]", false),
            ("match(@.a, @.pattern)", false),
            ("match(@.a)", false),
            ("in(@.a, @.b)", false),
            ("$.a[?any_of(@.a, @.b)]", false),
            ("length(value(@..a)) == 1", true),
        ] {
            assert_eq!(Predicate::parse(when).is_ok(), well_typed, "{when}: {:?}", Predicate::parse(when));
        }
        let error = Predicate::parse("$.key && length($.data.a)").unwrap_err();
        assert_eq!(error.part, Some(9..16));
        assert!(error.message.contains("gives a value"), "{error}");
    }

    #[test]
    fn functions_compute_what_the_standard_says() {
        let table = [
            ("length($.data.type) == 10", true),
            ("length($.data.items) == 2", true),
            ("length($.data.items[0]) == 3", true),
            ("length($.data.total) == 3", false),
            ("length($.data.missing) == 0", false),
            ("length('größe') == 5", true),
            ("count($.data.items[*]) == 2", true),
            ("count($.data.empty[*]) == 0", true),
            ("count($.data.missing) == 0", true),
            ("count($.data.missing) < 1 && 1 > count($.data.empty[*])", true),
            ("count($.data.missing) != 0", false),
            ("count($.data.items[*]) == count($.data.empty[*])", false),
            ("count($.data.missing) == count($.data.empty[*])", true),
            ("count($.data.items[?count(@.tags[*]) == 0]) == 1", true),
            ("value($..total) == 120", true),
            ("value($..sku) == 'a'", false),
        ];
        for (when, expected) in table {
            assert_eq!(holds(when, &order()), expected, "{when}");
        }
    }

    #[test]
    fn patterns_match_alike_at_the_top_and_within_a_filter() {
        let table = [
            ("match(%, 'A-[0-9]+.')", false), // the text ends with a carriage return, which no dot matches
            ("match(%, 'A-[0-9]+\\\\r')", true),
            ("match(%, 'A-[0-9]+')", false),
            ("search(%, '[0-9]{2}')", true),
            ("search(%, 'b|1')", true),
            ("match(%, 'A|B')", false),
            ("!match(%, 'B.*')", true),
            ("!(search(%, 'B') || search(%, 'C'))", true),
        ];
        for (when, expected) in table {
            assert_eq!(holds(&when.replace('%', "$.data.sku"), &order()), expected, "{when}");
            assert_eq!(holds(&when.replace('%', "@.data.sku"), &order()), expected, "{when}");
            assert_eq!(holds(&when.replace('%', "value($.data['sku'])"), &order()), expected, "{when}");
            let nested = format!("$[?{}]", when.replace('%', "@.sku").replace("!", "@.sku && !"));
            assert_eq!(holds(&nested, &order()), expected, "{nested}");
        }
        assert!(!holds("match($.data.total, '1.*')", &order()), "a number is no text");
        assert!(!holds("match($.data.missing, '.*')", &order()));
    }

    #[test]
    fn nothing_but_one_expression_is_taken() {
        for when in [
            "",
            " ",
            "true",
            "'x'",
            "$.a] , $[?$.b",
            "$.a == 1][?@.b == 1",
            "$.a == 1]..[?@.b == 1",
            "$.a, ?$.b",
            "$.a == 1, 0",
            "$.a == 1]",
            "[$.a]",
            "$.a == (1)",
            "$.* == 1",
            "$..a == 1",
            "!!$.a",
            "$.a ==",
            "($.a",
            "$.a)",
        ] {
            assert!(Predicate::parse(when).is_err(), "{when}");
        }
    }
}
