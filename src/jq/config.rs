//! Programs in the pipeline file: as a key of their own, and in the place of text as `{ jq = "…" }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, de};

use crate::interpolated::{InterpolatedText, TextRef};

/// The text of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ProgramText(InterpolatedText);

/// A value that depends on the event: a template, or a program in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueText {
    /// A template.
    Template(InterpolatedText),
    /// `{ jq = "…" }`
    Program(ProgramText),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramTable {
    jq: ProgramText,
}

impl ProgramText {
    /// The text as a view.
    pub fn as_ref(&self) -> TextRef<'_> {
        self.0.as_ref()
    }
}

impl ValueText {
    /// The template, with the values in it; `None` for a program.
    pub fn template(&self) -> Option<&InterpolatedText> {
        match self {
            Self::Template(text) => Some(text),
            Self::Program(_) => None,
        }
    }

    /// The text of the template or program, with the values in it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Template(text) => text.as_str(),
            Self::Program(program) => program.0.as_str(),
        }
    }
}

impl From<&str> for ValueText {
    fn from(template: &str) -> Self {
        Self::Template(template.into())
    }
}

impl<'de> Deserialize<'de> for ValueText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable)
    }
}

struct TextOrTable;

impl<'de> de::Visitor<'de> for TextOrTable {
    type Value = ValueText;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or `{ jq = \"…\" }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueText, E> {
        Ok(text.into())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, parts: A) -> Result<ValueText, A::Error> {
        InterpolatedText::deserialize(SeqAccessDeserializer::new(parts)).map(ValueText::Template)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<ValueText, A::Error> {
        let table = ProgramTable::deserialize(MapAccessDeserializer::new(table))?;
        Ok(ValueText::Program(table.jq))
    }
}

impl JsonSchema for ProgramText {
    fn schema_name() -> Cow<'static, str> {
        "ProgramText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentMediaType": "application/jq" })
    }
}

impl JsonSchema for ValueText {
    fn schema_name() -> Cow<'static, str> {
        "ValueText".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut program = ProgramText::json_schema(generator);
        program.insert(
            "description".into(),
            "A program in jq: `.` is the envelope, and its one result is the value.".into(),
        );
        program.insert("examples".into(), serde_json::json!([".data.region | ascii_downcase"]));
        json_schema!({
            "anyOf": [
                InterpolatedText::json_schema(generator),
                {
                    "type": "object",
                    "properties": { "jq": program },
                    "required": ["jq"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_text_or_a_table_with_a_program() {
        let value = |json: serde_json::Value| serde_json::from_value::<ValueText>(json);
        assert_eq!(value(serde_json::json!("{{id}}")).unwrap(), "{{id}}".into());
        assert_eq!(value(serde_json::json!(["a", "b", "c"])).unwrap().as_str(), "abc");
        let program = value(serde_json::json!({"jq": [".a + \"", "b", "\""]})).unwrap();
        assert!(matches!(program, ValueText::Program(_)) && program.as_str() == ".a + \"b\"");
        assert!(value(serde_json::json!({"jq": ".", "text": "x"})).is_err());
        assert!(value(serde_json::json!(5)).is_err());
    }
}
