//! Filters: an RFC 9535 filter expression over the envelope, parsed and checked once.
//!
//! Both `$` and a top-level `@` are the envelope; within `[?…]`, `@` is the member that is looked at, as ever. A query
//! alone holds when it finds something, whatever its value: `$.data.paid` holds for `false` and for `null` too.
//! Comparisons follow RFC 9535 (2.3.5.2.2): values of different types are unequal and unordered, a missing member equals
//! only another missing one, and 1 equals 1.0. Limits are listed in [`crate::jsonpath`].
//!
//! Everything is compiled at load. This module must not do I/O, and nothing in it can fail on an event.

pub mod types;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::event::Envelope;
use crate::interpolated::{InterpolatedText, TextRef};
use crate::jsonpath::index::ConditionIndex;
use crate::jsonpath::{self, Condition, ExpressionError};

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

impl Predicate {
    /// Parses the `when` of a filter.
    ///
    /// # Errors
    /// When it is not one well-typed filter expression of RFC 9535, or exceeds the limits in [`crate::jsonpath`].
    pub fn parse<'a>(when: impl Into<TextRef<'a>>) -> Result<Self, ExpressionError> {
        Condition::parse(&jsonpath::with_values(when.into())?).map(Self)
    }

    /// Whether the expression holds for this envelope.
    pub fn matches(&self, envelope: &Envelope) -> bool {
        self.0.holds(envelope.as_value())
    }
}

/// Of many predicates, those that may hold for an envelope, without asking each. `T` names a predicate.
#[derive(Debug, Clone)]
pub struct PredicateIndex<T>(ConditionIndex<T>);

impl<T: Copy> PredicateIndex<T> {
    /// An index of these predicates.
    pub fn new<'a>(predicates: impl IntoIterator<Item = (T, &'a Predicate)>) -> Self {
        Self(ConditionIndex::new(predicates.into_iter().map(|(name, predicate)| (name, &predicate.0))))
    }

    /// Whether it rules out any for any envelope.
    pub fn rules_out_any(&self) -> bool {
        self.0.rules_out_any()
    }

    /// The predicates that may hold for this envelope, each once. No other holds.
    pub fn candidates<'a>(&'a self, envelope: &'a Envelope) -> impl Iterator<Item = T> + 'a {
        self.0.candidates(envelope.as_value())
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::jsonpath::Query;

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
            ("$[?@[?@.b]]", vec![value["a"].clone()]),
            ("$.a[?@ == @]", value["a"].as_array().unwrap().clone()),
        ];
        for (query, expected) in table {
            let selected: Vec<_> = Query::parse(query).unwrap().select(&value).into_iter().cloned().collect();
            assert_eq!(selected, expected, "{query}");
        }
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
    fn numbers_compare_by_value_and_exactly_at_every_level() {
        let event = json!({"data": {
            "id": 175_928_847_299_117_063_i64, "next": 175_928_847_299_117_064_i64, "most": u64::MAX, "least": i64::MIN,
            "huge": 1e20, "tenth": 0.1, "near": 0.100_000_000_000_000_02, "whole": {"x": [1, {"y": 2}]},
            "float": {"x": [1.0, {"y": 2.0}]}, "text": "175928847299117063",
        }});
        let table = [
            ("%.id == 175928847299117063", true),
            ("175928847299117063 == %.id", true),
            ("(%.id==175928847299117063)", true),
            ("%.id == 175928847299117064", false),
            ("%.id != 175928847299117064", true),
            ("%.id < 175928847299117064 && %.id > 175928847299117062", true),
            ("%.id == %.next", false),
            ("%.id < %.next", true),
            ("%.most == 18446744073709551615", true),
            ("%.most == 18446744073709551614", false),
            ("%.most > 9223372036854775807", true),
            ("%.most < 18446744073709551616", true),
            ("%.least == -9223372036854775808", true),
            ("%.least == -9223372036854775807", false),
            ("%.huge == 100000000000000000000", true),
            ("%.huge == 1e20", true),
            ("%.id == 175928847299117063.0", false), // the nearest double is another number
            ("%.tenth == %.near", false),
            ("%.tenth == 0.1", true),
            ("%.whole == %.float", true),
            ("%.text == 175928847299117063", false),
            ("%.text >= 175928847299117063", false),
            ("length(%.text) == 18", true),
        ];
        for (when, expected) in table {
            for when in [when.replace('%', "$.data"), format!("$[?{}]", when.replace('%', "@"))] {
                assert_eq!(holds(&when, &event), expected, "{when}");
            }
        }
        for when in ["$.data.a == 1e999", "$.data[?@.a == -1e999]", "$.data[9007199254740993] == 1", "$.a == 0123"] {
            assert!(Predicate::parse(when).is_err(), "{when}");
        }
    }

    /// A value as a number of quarters, or text.
    #[derive(Debug, Clone)]
    enum Model {
        Quarters(i128),
        Text(String),
    }

    /// A value, as an expression and an event have it.
    fn any_value() -> impl Strategy<Value = (Model, String, Value)> {
        let edges = prop_oneof![Just(0_i128), Just(1 << 53), Just(1 << 63), Just((1 << 64) - 4), Just(-(1 << 63) + 4)];
        let integers = (edges, -3_i128..4).prop_map(|(edge, near)| {
            let number = edge + near;
            let value = i64::try_from(number).map_or_else(|_| json!(u64::try_from(number).unwrap()), |n| json!(n));
            (Model::Quarters(number * 4), number.to_string(), value)
        });
        let quarters = (-20_i32..20).prop_map(|quarters| {
            let float = f64::from(quarters) / 4.0;
            (Model::Quarters(quarters.into()), format!("{float:?}"), json!(float))
        });
        let texts = "[a-c]{0,2}".prop_map(|text| (Model::Text(text.clone()), format!("'{text}'"), json!(text)));
        prop_oneof![4 => integers, 2 => quarters, 1 => texts]
    }

    proptest! {
        #[test]
        fn comparisons_hold_as_in_exact_arithmetic(one in any_value(), other in any_value()) {
            let order = match (&one.0, &other.0) {
                (Model::Quarters(one), Model::Quarters(other)) => Some(one.cmp(other)),
                (Model::Text(one), Model::Text(other)) => Some(one.cmp(other)),
                _ => None,
            };
            let event = json!({"data": {"one": one.2, "other": other.2}});
            for (operator, expected) in [
                ("==", order.is_some_and(Ordering::is_eq)),
                ("!=", !order.is_some_and(Ordering::is_eq)),
                ("<", order.is_some_and(Ordering::is_lt)),
                ("<=", order.is_some_and(Ordering::is_le)),
                (">", order.is_some_and(Ordering::is_gt)),
                (">=", order.is_some_and(Ordering::is_ge)),
            ] {
                for when in [
                    format!("$.data.one {operator} $.data.other"),
                    format!("$.data.one {operator} {}", other.1),
                    format!("{}{operator}@.data.other", one.1),
                    format!("$[?@.one{operator}{}]", other.1),
                    format!("$[?{} {operator} @.other]", one.1),
                    format!("{} {operator} {}", one.1, other.1),
                ] {
                    prop_assert_eq!(holds(&when, &event), expected, "{}", when);
                }
            }
        }
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
