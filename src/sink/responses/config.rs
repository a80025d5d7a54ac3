//! How the `responses` of a sink are written: a word for each status, or rules that look at the body.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::{Deserialize, Deserializer, de};

use crate::interpolated::InterpolatedText;

/// What is done about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The receiver has the event.
    Delivered,
    /// Try again later.
    Retry,
    /// Give up and keep a dead letter.
    DeadLetter,
    /// Give up and keep nothing: the receiver does not want this event.
    Drop,
    /// Stop the sink, beyond restarts: this delivery and all that follow become dead letters, until
    /// `bridge sinks enable PIPELINE NAME` is run.
    Disable,
}

/// What a status means: one thing, or what the first rule says whose expression holds for the answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The same for every answer.
    Always(Action),
    /// By the body.
    Rules(Vec<RuleConfig>),
}

/// A rule about the answer's body, or what holds without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleConfig {
    /// For answers for whose body the expression holds.
    When(ConditionalAction),
    /// For all others.
    Otherwise(Action),
}

/// What is done about answers for whose body an expression holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionalAction {
    /// A filter expression (RFC 9535) over the body, where `$` is the JSON in it. A body that is no JSON, or larger than
    /// `max_response_size`, is one for which no expression holds.
    #[schemars(extend("contentMediaType" = "text/x-jsonpath-filter"))]
    #[schemars(example = &"$.errors == true")]
    pub when: InterpolatedText,
    /// What is done then.
    pub is: Action,
}

impl From<Action> for Meaning {
    fn from(action: Action) -> Self {
        Self::Always(action)
    }
}

impl<'de> Deserialize<'de> for Meaning {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MeaningVisitor)
    }
}

struct MeaningVisitor;

impl<'de> de::Visitor<'de> for MeaningVisitor {
    type Value = Meaning;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word, or an array of rules")
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Meaning, E> {
        Err(E::custom("expected a string or an array of rules, found an integer"))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Meaning, E> {
        Action::deserialize(StrDeserializer::new(word)).map(Meaning::Always)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut rules: A) -> Result<Meaning, A::Error> {
        let mut all = Vec::new();
        while let Some(rule) = rules.next_element()? {
            all.push(rule);
        }
        Ok(Meaning::Rules(all))
    }
}

impl<'de> Deserialize<'de> for RuleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

struct RuleVisitor;

impl<'de> de::Visitor<'de> for RuleVisitor {
    type Value = RuleConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule with `when` and `is`, or a word")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<RuleConfig, E> {
        Action::deserialize(StrDeserializer::new(word)).map(RuleConfig::Otherwise)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, rule: A) -> Result<RuleConfig, A::Error> {
        ConditionalAction::deserialize(MapAccessDeserializer::new(rule)).map(RuleConfig::When)
    }
}

impl JsonSchema for Meaning {
    fn schema_name() -> Cow<'static, str> {
        "Meaning".into()
    }

    /// The keywords for arrays and for tables stand beside the choice: of those that do not apply, none is asked.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let words = generator.subschema_for::<Action>();
        let mut rule = ConditionalAction::json_schema(generator);
        rule.remove("type");
        rule.insert("anyOf".to_owned(), serde_json::json!([words, { "type": "object" }]));
        json_schema!({ "anyOf": [words, { "type": "array" }], "minItems": 1, "items": rule })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Meaning, toml::de::Error> {
        #[derive(Deserialize)]
        struct Key {
            key: Meaning,
        }
        toml::from_str::<Key>(&format!("key = {text}")).map(|table| table.key)
    }

    #[test]
    fn a_meaning_is_a_word_or_rules() {
        assert_eq!(parse("'retry'").unwrap(), Meaning::Always(Action::Retry));
        let when = |when: &str, is| RuleConfig::When(ConditionalAction { when: when.into(), is });
        let rules = vec![when("$.errors == true", Action::Retry), RuleConfig::Otherwise(Action::Delivered)];
        assert_eq!(parse("[{ when = '$.errors == true', is = 'retry' }, 'delivered']").unwrap(), Meaning::Rules(rules));
        for wrong in ["'again'", "5", "[5]", "[{ when = 'x' }]", "[{ is = 'retry' }]", "['x']", "[{ a = 1 }]"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
