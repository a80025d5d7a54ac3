//! The JSON Schema of the pipeline file, generated from the config structs.
//!
//! There are two: the strict one, which says what a table must hold once `[defaults.webhook]` is merged in, and by
//! which `shape` judges; and the published one ([`schema`]), which editors apply to the text as it is written: a key
//! that the defaults may supply is not required there, and wherever a fixed set of words is allowed a `${…}` is too.
//! Nothing is written twice: both come from the same structs and their doc comments.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::{PipelineConfig, SinkConfig};
use crate::delivery::DeliveryConfig;
use crate::sink;
use crate::source::{self, CommonConfig, SourceConfig};
use crate::units::LEAST;

/// What a string that may hold `${…}` instead of its final value looks like.
const REFERENCE: &str = r"\$\{";

/// A name, or a reference to one.
pub(super) const NAME_OR_REFERENCE: &str = r"^[A-Za-z0-9_-]+$|\$\{";

/// The strict schema of the whole file. It holds no `$ref`.
pub(super) static STRICT: LazyLock<Value> = LazyLock::new(schema_of::<PipelineConfig>);

/// The strict schema of `[defaults.webhook]`: a webhook sink of which nothing is required.
pub(super) static WEBHOOK_DEFAULTS: LazyLock<Value> = LazyLock::new(|| {
    let webhook = node_type(&STRICT["properties"]["sinks"], "webhook").cloned().unwrap_or_default();
    let mut defaults = without_required(webhook);
    if let Some(properties) = defaults["properties"].as_object_mut() {
        properties.retain(|key, _| !super::defaults::IS_OWN.contains(&key.as_str()));
    }
    defaults["description"] =
        "What every webhook sink starts from: any of its keys but `from`. A sink's own keys win, \
                               also within its tables."
            .into();
    defaults
});

/// The strict schema of the whole file as it is written, with `defaults`, as far as its keys go.
pub(super) static AS_WRITTEN: LazyLock<Value> = LazyLock::new(|| {
    let mut file = STRICT.clone();
    file["properties"]["defaults"] = json!({ "type": "object", "properties": { "webhook": { "type": "object" } } });
    file
});

/// The JSON Schema (draft 2020-12) of a pipeline file, for editors: `schemas/pipeline.schema.json`.
pub fn schema() -> Value {
    let mut file = STRICT.clone();
    let sinks = &mut file["properties"]["sinks"]["additionalProperties"];
    *sinks = without_required(sinks.take());
    if let Some(sink_types) = sinks["oneOf"].as_array_mut() {
        sink_types.iter_mut().for_each(|sink_type| sink_type["required"] = json!(["type"]));
        // Of a choice without alternatives an editor can say where the fault is, and not only that there is one.
        if let [only] = sink_types.as_mut_slice() {
            *sinks = only.take();
        }
    }
    file["properties"]["defaults"] = json!({
        "type": "object",
        "description": "What nodes start from.",
        "properties": { "webhook": &*WEBHOOK_DEFAULTS },
        "additionalProperties": false,
    });
    let mut published = Map::new();
    published.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    published.insert("title".into(), "bridge pipeline".into());
    published.insert("description".into(), file["description"].clone());
    if let Value::Object(file) = allowing_references(file) {
        published.extend(file);
    }
    published.into()
}

/// The schema as it is printed by `bridge schema` and checked in.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// The types that a node of a section can have, and the strict schema of each one's table.
pub(super) fn node_types(section: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let types = section["additionalProperties"]["oneOf"].as_array().into_iter().flatten();
    types.filter_map(|node| Some((node["properties"]["type"]["const"].as_str()?, node)))
}

/// The strict schema of a node's table, if there is such a type in its section.
pub(super) fn node_type<'a>(section: &'a Value, name: &str) -> Option<&'a Value> {
    node_types(section).find(|(known, _)| *known == name).map(|(_, schema)| schema)
}

/// The keys of a struct. The schema is made once: it costs as much as all else that is done with a small file.
pub(super) fn keys_of<T: JsonSchema + 'static>() -> Arc<[String]> {
    static KNOWN: Mutex<BTreeMap<TypeId, Arc<[String]>>> = Mutex::new(BTreeMap::new());
    // Nothing is left half done under the lock.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let keys = known.entry(TypeId::of::<T>()).or_insert_with(|| {
        schema_of::<T>()["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect()
    });
    Arc::clone(keys)
}

/// What the names of nodes look like.
pub(super) fn node_name() -> Value {
    json!({ "pattern": "^[A-Za-z0-9_-]+$" })
}

impl JsonSchema for SourceConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        tagged::<CommonConfig, source::TypeConfig>()
    }
}

impl JsonSchema for SinkConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sink".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        tagged::<DeliveryConfig, sink::TypeConfig>()
    }
}

/// A table that holds `type`, the keys of that variant of `Kind`, and the keys of `Common`.
fn tagged<Common: JsonSchema, Kind: JsonSchema>() -> Schema {
    let (common, kinds) = (schema_of::<Common>(), schema_of::<Kind>());
    let variants = kinds["oneOf"].as_array().into_iter().flatten();
    let tables = variants.filter_map(|variant| {
        let (name, own) = variant["properties"].as_object()?.iter().next()?;
        let mut properties = Map::new();
        properties.insert("type".into(), json!({ "type": "string", "const": name, "description": own["description"] }));
        let mut required = vec![Value::from("type")];
        for part in [own, &common] {
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        let mut exclusions = Map::new();
        for part in [own, &common] {
            exclusions.extend(part["dependentSchemas"].as_object().cloned().unwrap_or_default());
        }
        Some(json!({
            "type": "object",
            "title": name,
            "description": own["description"],
            "properties": properties,
            "required": required,
            "dependentSchemas": exclusions,
            "additionalProperties": false,
        }))
    });
    let tables: Vec<Value> = tables.collect();
    json_schema!({ "oneOf": tables })
}

fn schema_of<T: JsonSchema>() -> Value {
    let mut generator =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    tidied(generator.subschema_for::<T>().to_value())
}

/// The schema without what is Rust's and not the file's. TOML has no null: an optional key is left out. Formats such
/// as `uint16` are no formats of JSON Schema. Doc comments are wrapped, descriptions are not,
/// except their tables.
fn tidied(schema: Value) -> Value {
    rewrite(schema, &|mut object| {
        // `properties` may have a key of that name; the keyword is a string.
        if object.get("format").is_some_and(Value::is_string) {
            object.remove("format");
        }
        if let Some(Value::String(description)) = object.get_mut("description") {
            let unwrapped = |text: &str| if text.starts_with('|') { text.to_owned() } else { text.replace('\n', " ") };
            let paragraphs: Vec<String> = description.split("\n\n").map(unwrapped).collect();
            *description = paragraphs.join("\n\n");
        }
        if object.get("default").is_some_and(Value::is_null) {
            object.remove("default");
        }
        if let Some(types) = object.get_mut("type")
            && let Some([one, null]) = types.as_array().map(Vec::as_slice)
            && null == "null"
        {
            *types = one.clone();
        }
        let Some([inner, null]) = object.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) else {
            return object;
        };
        let (Value::Object(inner), true) = (inner, null["type"] == "null") else {
            return object;
        };
        // What a field says of itself goes before what its type says of itself.
        let mut merged = inner.clone();
        object.remove("anyOf");
        merged.extend(object);
        merged
    })
}

/// The schema with nothing required, at any depth.
fn without_required(schema: Value) -> Value {
    rewrite(schema, &|mut object| {
        // `properties` may have a key of that name; the keyword is an array.
        if object.get("required").is_some_and(Value::is_array) {
            object.remove("required");
        }
        object
    })
}

/// The schema with a `${…}` allowed wherever a fixed set of words or a pattern is.
fn allowing_references(schema: Value) -> Value {
    rewrite(schema, &|mut object| {
        let is_set_of_words =
            |list: &Value| list.as_array().is_some_and(|list| list.iter().all(|one| one["const"].is_string()));
        if object.get("oneOf").is_some_and(is_set_of_words)
            && let Some(Value::Array(mut words)) = object.remove("oneOf")
        {
            words.push(json!({ "type": "string", "pattern": REFERENCE, "description": "A value put in at load." }));
            object.insert("anyOf".into(), words.into());
        }
        if object.contains_key(LEAST)
            && let Some(Value::String(pattern)) = object.get_mut("pattern")
        {
            *pattern = format!("{pattern}|{REFERENCE}");
        }
        object
    })
}

/// Applies `change` to every object of a tree, from the leaves up.
fn rewrite(value: Value, change: &dyn Fn(Map<String, Value>) -> Map<String, Value>) -> Value {
    match value {
        Value::Object(object) => {
            change(object.into_iter().map(|(key, value)| (key, rewrite(value, change))).collect()).into()
        }
        Value::Array(array) => array.into_iter().map(|value| rewrite(value, change)).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MOST;

    #[test]
    fn every_number_duration_and_size_has_both_bounds() {
        let mut unbounded = Vec::new();
        let mut found = 0;
        let mut tables = vec![(String::new(), &*STRICT)];
        while let Some((path, schema)) = tables.pop() {
            let (is_number, title) =
                (["integer", "number"].map(Value::from).contains(&schema["type"]), &schema["title"]);
            let bounds = if is_number { ["minimum", "maximum"] } else { [LEAST, MOST] };
            if is_number || title == "duration" || title == "size" {
                found += 1;
                unbounded.extend(bounds.iter().any(|bound| schema[*bound].is_null()).then(|| path.clone()));
            }
            let properties = schema["properties"].as_object().into_iter().flatten();
            tables.extend(properties.map(|(key, schema)| (format!("{path}.{key}"), schema)));
            tables.extend(schema["oneOf"].as_array().into_iter().flatten().map(|one| (path.clone(), one)));
            let inner = ["additionalProperties", "items"].iter().filter_map(|key| schema.get(key));
            tables.extend(inner.map(|schema| (format!("{path}.*"), schema)));
        }
        assert_eq!(unbounded, [""; 0]);
        assert!(found > 30, "{found}");
    }
}
