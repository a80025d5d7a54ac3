//! The reference of the pipeline file's keys, in Markdown: `docs/reference.md`.
//!
//! It is made of the same schema that editors and `shape` use, and so of the config structs and their doc comments.
//! What is written here are headings and the words between them.

use serde_json::{Map, Value};

use super::schema::{STRICT, WEBHOOK_DEFAULTS, node_types};
use crate::template;
use crate::units::{LEAST, MOST};

/// The reference page.
pub fn reference() -> String {
    let mut page = Page { text: INTRODUCTION.to_owned() };
    let top: Map<String, Value> = properties(&STRICT).filter(|(key, _)| *key == "name").map(owned).collect();
    page.keys(&top, &STRICT["required"]);
    page.typed_section("sources", "A source: where events come from.");
    page.table("filters.NAME", &STRICT["properties"]["filters"]["additionalProperties"], 2);
    page.table("transforms.NAME", &STRICT["properties"]["transforms"]["additionalProperties"], 2);
    page.table("templates.NAME", &STRICT["properties"]["templates"]["additionalProperties"], 2);
    page.typed_section("sinks", "A sink: where events go.");
    page.heading(2, "[defaults.webhook]");
    page.paragraph(WEBHOOK_DEFAULTS["description"].as_str().unwrap_or_default());
    let sections = ["name", "sources", "filters", "transforms", "templates", "sinks"];
    for (name, schema) in properties(&STRICT).filter(|(name, _)| !sections.contains(name)) {
        match schema["items"].get("properties") {
            Some(_) => page.headed_table(&format!("[[{name}]]"), name, &schema["items"], 2),
            None => page.table(name, schema, 2),
        }
    }
    page.helpers();
    page.text.trim_end().to_owned() + "\n"
}

const INTRODUCTION: &str = "\
# Reference of the pipeline file

<!-- Made by `make schemas` of the config structs. Change their doc comments, not this page. -->

A pipeline is one TOML file. Keys that are not on this page are faults, which `bridge check` shows with what was probably
meant. `bridge schema` prints the same as a JSON Schema, for editors: with `#:schema ./pipeline.schema.json` on the first
line of a pipeline file, those that know [taplo](https://taplo.tamasfe.dev) (such as Even Better TOML) complete and check
keys.

- In every string, `${env:NAME}`, `${var:NAME}` (both with `:-default`) and `${file:/path}` are replaced when the file is
  read; `$${` is a literal `${`. What `${env:…}` and `${file:…}` bring is masked wherever it is printed.
- A **duration** is a number and a unit (`ns us ms s m h d`), or several of them: `\"250ms\"`, `\"5s\"`, `\"1h 30m\"`.
- A **size** is a number and a unit (`B KiB MiB GiB`, and `kB MB GB` as powers of ten): `\"64KiB\"`.
- A **template** is Handlebars, an **expression** a filter expression of RFC 9535; both see the event as `id`, `time`,
  `source`, `key`, `headers`, `meta` and `data`.

## The top of the file

";

struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, level: usize, text: &str) {
        self.text += &format!("{} `{text}`\n\n", "#".repeat(level));
    }

    fn paragraph(&mut self, text: &str) {
        self.text += &format!("{}\n\n", text.trim());
    }

    /// The helpers of templates, each with an example.
    fn helpers(&mut self) {
        self.text += "## The helpers of templates\n\nThe examples are those of this event:\n\n";
        self.text += &format!("```json\n{}\n```\n\n", template::reference::EVENT.trim());
        self.paragraph(
            "A value that is missing, of another type or of another form than a helper takes is an error that names the \
             expression and the value's type; the event is `unrenderable`.",
        );
        for helper in template::reference::helpers() {
            let output = helper.output.map(|output| format!(" → `{output}`")).unwrap_or_default();
            self.text += &format!("- **`{}`**: `{}`{output}\n\n  {}\n\n", helper.name, helper.example, helper.gives);
        }
    }

    /// A section whose nodes have types: what all types share is told once.
    fn typed_section(&mut self, section: &str, description: &str) {
        let types: Vec<(&str, &Value)> = node_types(&STRICT["properties"][section]).collect();
        self.heading(2, &format!("[{section}.NAME]"));
        self.paragraph(description);
        let shared = |(key, schema): &(&str, &Value)| {
            types.len() > 1 && types.iter().all(|(_, table)| table["properties"].get(key) == Some(*schema))
        };
        if let Some((_, first)) = types.first() {
            let keys: Map<String, Value> = properties(first).filter(shared).map(owned).collect();
            if !keys.is_empty() {
                self.paragraph("Every one has these keys, beside those of its type:");
                self.keys(&keys, &first["required"]);
            }
        }
        for (name, table) in &types {
            self.heading(3, &format!("type = \"{name}\""));
            self.paragraph(table["description"].as_str().unwrap_or_default());
            let own: Map<String, Value> =
                properties(table).filter(|(key, _)| *key != "type").filter(|entry| !shared(entry)).map(owned).collect();
            self.keys(&own, &table["required"]);
            self.inner_tables(&format!("{section}.NAME"), &own, 4);
        }
    }

    /// A table with all of its keys, and the tables within it.
    fn table(&mut self, path: &str, schema: &Value, level: usize) {
        self.headed_table(&format!("[{path}]"), path, schema, level);
    }

    fn headed_table(&mut self, heading: &str, path: &str, schema: &Value, level: usize) {
        self.heading(level, heading);
        self.paragraph(schema["description"].as_str().unwrap_or_default());
        let keys: Map<String, Value> = properties(schema).map(owned).collect();
        self.keys(&keys, &schema["required"]);
        self.inner_tables(path, &keys, level + 1);
    }

    fn inner_tables(&mut self, path: &str, keys: &Map<String, Value>, level: usize) {
        for (key, schema) in keys {
            let inner = if schema["items"].get("properties").is_some() { &schema["items"] } else { schema };
            // What may be a word or a table has both described.
            let in_the_place_of_words = alternatives(inner).iter().filter(|_| !words(schema).is_empty());
            let tables = std::iter::once(inner).chain(in_the_place_of_words);
            if let Some(table) = tables.into_iter().find(|table| table.get("properties").is_some()) {
                self.table(&format!("{path}.{key}"), table, level);
            }
            if let Some(element) = element_of_values(schema) {
                self.headed_table(&format!("{path}.{key}.KEY = [{{ … }}]"), path, element, level);
            }
        }
    }

    fn keys(&mut self, keys: &Map<String, Value>, required: &Value) {
        for (key, schema) in keys {
            let is_required = required.as_array().is_some_and(|required| required.iter().any(|one| one == key));
            self.text += &format!("- **`{key}`**: {}\n", facts(schema, is_required));
            for paragraph in schema["description"].as_str().unwrap_or_default().split("\n\n") {
                self.text += &format!("\n  {}\n", paragraph.replace('\n', "\n  "));
            }
            for word in words(schema) {
                let (word, meaning) = (word["const"].as_str().unwrap_or_default(), &word["description"]);
                self.text += &format!("  - `\"{word}\"`: {}\n", meaning.as_str().unwrap_or_default());
            }
            self.text.push('\n');
        }
    }
}

/// Type, range, whether it must be there, default and example of a key.
fn facts(schema: &Value, is_required: bool) -> String {
    let mut facts = vec![type_of(schema)];
    facts.extend(range(schema));
    if is_required {
        facts.push("required".to_owned());
    }
    let is_telling = |value: &&Value| {
        !matches!(value, Value::Null) && **value != Value::Array(Vec::new()) && **value != Value::Object(Map::new())
    };
    if let Some(default) = schema.get("default").filter(is_telling) {
        facts.push(format!("default `{}`", toml(default)));
    } else if let Some(example) = schema["examples"].as_array().and_then(|examples| examples.first()) {
        facts.push(format!("for example `{}`", toml(example)));
    }
    facts.join("; ")
}

fn type_of(schema: &Value) -> String {
    if !words(schema).is_empty() {
        let has_table = alternatives(schema).iter().any(|alternative| alternative.get("properties").is_some());
        return if has_table { "one of the words below, or a table" } else { "one of the words below" }.to_owned();
    }
    if let (None, Some(alternatives)) = (schema.get("type"), schema["anyOf"].as_array()) {
        return alternatives.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    match (schema["type"].as_str().unwrap_or_default(), schema["title"].as_str()) {
        (_, Some(unit @ ("duration" | "size"))) => unit.to_owned(),
        ("array", _) if schema["items"].get("properties").is_some() => "array of tables".to_owned(),
        ("array", _) => format!("array of {}s", type_of(&schema["items"])),
        ("object", _) => "table".to_owned(),
        ("integer", _) => "whole number".to_owned(),
        ("boolean", _) => "`true` or `false`".to_owned(),
        ("", _) => "any value".to_owned(),
        (other, _) => other.to_owned(),
    }
}

fn range(schema: &Value) -> Option<String> {
    if let (Some(least), Some(most)) = (schema[LEAST].as_str(), schema[MOST].as_str()) {
        return Some(format!("{least} to {most}"));
    }
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (None, None) => schema.get("minItems").map(|_| "not empty".to_owned()),
        (Some(0.0), None) => None,
        (Some(least), None) => Some(format!("{least} or more")),
        (None, Some(most)) => Some(format!("{most} or less")),
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
    }
}

/// The words that a key, or each value in its table, may have.
fn words(schema: &Value) -> &[Value] {
    let of = |schema: &Value| {
        schema["oneOf"].as_array().is_some_and(|words| words.iter().all(|word| word["const"].is_string()))
    };
    let mut holders = alternatives(schema).iter().chain(alternatives(&schema["additionalProperties"]));
    holders.find(|holder| of(holder)).and_then(|holder| holder["oneOf"].as_array()).map_or(&[], Vec::as_slice)
}

/// The table that is an element of an array, where a table may have such arrays as its values.
fn element_of_values(schema: &Value) -> Option<&Value> {
    let elements = alternatives(&schema["additionalProperties"]).iter().flat_map(|value| alternatives(&value["items"]));
    elements.into_iter().find(|element| element.get("properties").is_some())
}

/// The schemas of which a value fits one.
fn alternatives(schema: &Value) -> &[Value] {
    schema["anyOf"].as_array().map_or(std::slice::from_ref(schema), Vec::as_slice)
}

/// A value as it is written in TOML.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let bare = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let key = |key: &str| if bare(key) { key.to_owned() } else { format!("\"{key}\"") };
            let entries: Vec<_> =
                table.iter().map(|(name, value)| format!("{} = {}", key(name), toml(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(elements) => format!("[{}]", elements.iter().map(toml).collect::<Vec<_>>().join(", ")),
        // A literal string needs no escapes.
        Value::String(text) if text.contains('"') => format!("'{text}'"),
        other => other.to_string(),
    }
}

fn properties(table: &Value) -> impl Iterator<Item = (&str, &Value)> {
    table["properties"].as_object().into_iter().flatten().map(|(key, schema)| (key.as_str(), schema))
}

fn owned((key, schema): (&str, &Value)) -> (String, Value) {
    (key.to_owned(), schema.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_toml() {
        assert_eq!(toml(&json!({"a.b": ["c", 1], "d": {"e": true}})), r#"{ "a.b" = ["c", 1], d = { e = true } }"#);
        assert_eq!(toml(&json!(r#"{"a": 1}"#)), r#"'{"a": 1}'"#);
    }

    #[test]
    fn every_key_is_told() {
        let page = reference();
        let mut tables = vec![&*STRICT];
        while let Some(table) = tables.pop() {
            for (key, schema) in properties(table) {
                let is_told =
                    page.contains(&format!("**`{key}`**")) || page.contains(&format!("[{key}")) || key == "type";
                assert!(is_told, "{key}");
                tables.push(schema);
            }
            tables.extend(["oneOf", "anyOf"].iter().filter_map(|choice| table[*choice].as_array()).flatten());
            tables.extend(table.get("additionalProperties"));
            tables.extend(table.get("items"));
        }
    }
}
