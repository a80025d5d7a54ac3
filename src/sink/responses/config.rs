//! How `responses` is written in a sink: for each status a word, or rules about the body of the answer. Nothing is compiled
//! here.

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

/// What the answers of one status mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The same for every answer.
    Always(Action),
    /// What the first element says that applies.
    FirstOf(Vec<RuleConfig>),
}

/// An element of an array of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleConfig {
    /// Applies where its expression holds for the body.
    When(ConditionalAction),
    /// Applies to every answer.
    Otherwise(Action),
}

/// A rule about the body of an answer. The first rule that holds decides.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionalAction {
    /// A filter expression of RFC 9535 in which `$` is the JSON of the body. It does not hold for a body that is not JSON,
    /// is larger than `max_response_size`, or broke off.
    #[schemars(extend("contentMediaType" = "text/x-jsonpath-filter"))]
    #[schemars(example = &"$.errors == true")]
    pub when: InterpolatedText,
    /// What is done about the answer then.
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

/// Written by hand, because an untagged enum of serde says neither where a fault is nor which words there are.
struct MeaningVisitor;

impl<'de> de::Visitor<'de> for MeaningVisitor {
    type Value = Meaning;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or an array of rules")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Meaning, E> {
        Action::deserialize(StrDeserializer::new(word)).map(Meaning::Always)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut elements: A) -> Result<Meaning, A::Error> {
        let mut rules = Vec::new();
        while let Some(rule) = elements.next_element()? {
            rules.push(rule);
        }
        Ok(Meaning::FirstOf(rules))
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

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut word = generator.subschema_for::<Action>();
        word.insert("type".to_owned(), "string".into());
        let rule = generator.subschema_for::<ConditionalAction>();
        let rules = json_schema!({ "type": "array", "minItems": 1, "items": { "anyOf": [word, rule] } });
        json_schema!({ "anyOf": [word, rules] })
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
    fn a_status_has_a_word_or_rules() {
        assert_eq!(parse("'retry'").unwrap(), Meaning::Always(Action::Retry));
        let when = RuleConfig::When(ConditionalAction { when: "$.errors == true".into(), is: Action::Retry });
        let rules = Meaning::FirstOf(vec![when, RuleConfig::Otherwise(Action::Delivered)]);
        assert_eq!(parse("[{ when = '$.errors == true', is = 'retry' }, 'delivered']").unwrap(), rules);
        for wrong in ["'again'", "5", "[5]", "[{ when = 'x' }]", "[{ is = 'retry' }]", "['x']", "[{ a = 1 }]", "{}"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
