//! What a reload compares: a hash of every value of a pipeline file, as it stands after `${…}` and the defaults.
//!
//! Hashes, because a value may be a secret, and a changed secret is a change like any other. Whether a difference
//! matters, and what is to be done about it, others decide: see `pipeline::changes`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest as _, Sha256};
use toml::de::{DeTable, DeValue};

use crate::delivery::dead_letter::destination::DestinationName;
use crate::node::{NodeKind, NodeName};
use crate::secret::MASK;

/// The SHA-256 of a value. It never prints: that of a short secret could be guessed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// The hashes of the values of a table, by their keys (`url`, `retry.schedule`). Order and comments are no part of it.
pub type Settings = BTreeMap<String, Fingerprint>;

/// What a pipeline file says, in a form that can be compared and holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// The `[store]` table.
    pub store: Settings,
    /// The `[runtime]` table.
    pub runtime: Settings,
    /// The nodes, by section and name: `sources.orders`, `filters.paid`, `transforms.split`, `sinks.crm`.
    pub nodes: BTreeMap<NodeName, NodeFingerprint>,
}

/// One source, filter, transform or sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFingerprint {
    /// All keys but `from`. What else the node is made of is here too, by its place in the file: the template that a sink
    /// names (`templates.slack.body`), and the sources through whose connections its dead letters go.
    pub settings: Settings,
    /// Whose events come in.
    pub from: BTreeSet<String>,
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Fingerprint {
    /// That of the content of a file.
    pub(super) fn of_text(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl Fingerprints {
    /// The fingerprints of a file whose references are resolved and whose sinks have their defaults.
    pub(super) fn of(root: &DeTable<'_>) -> Self {
        let mut nodes = BTreeMap::new();
        for kind in [NodeKind::Source, NodeKind::Filter, NodeKind::Transform, NodeKind::Sink] {
            for (name, node) in tables(root, kind.section()) {
                nodes.insert(NodeName::new(kind, name), node_fingerprint(root, node));
            }
        }
        let settings = |name| table(root, name).map(|table| settings_of(table, "")).unwrap_or_default();
        Self { store: settings("store"), runtime: settings("runtime"), nodes }
    }
}

fn node_fingerprint(root: &DeTable<'_>, node: &DeTable<'_>) -> NodeFingerprint {
    let mut settings = settings_of(node, "");
    settings.retain(|key, _| key != FROM);
    if let Some(name) = text(node, "template")
        && let Some(template) = table(root, "templates").and_then(|templates| table(templates, name))
    {
        settings.extend(settings_of(template, &format!("templates.{name}.")));
    }
    if mentions_tables(root, node) {
        settings.extend(table(root, TABLES).map(|tables| settings_of(tables, "tables.")).unwrap_or_default());
    }
    if let Some(destination) = text(node, "dead_letter") {
        settings.extend(way_of_letters(root, destination));
    }
    NodeFingerprint { settings, from: names(node, FROM).collect() }
}

const FROM: &str = "from";
const TABLES: &str = "tables";

/// Whether a node, or the template that it names, may look something up in a table.
fn mentions_tables(root: &DeTable<'_>, node: &DeTable<'_>) -> bool {
    let template = text(node, "template").and_then(|name| table(table(root, "templates")?, name));
    [Some(node), template]
        .into_iter()
        .flatten()
        .any(|table| table.values().any(|value| mentions(value.get_ref(), TABLES)))
}

fn mentions(value: &DeValue<'_>, word: &str) -> bool {
    match value {
        DeValue::String(text) => text.contains(word),
        DeValue::Array(array) => array.iter().any(|element| mentions(element.get_ref(), word)),
        DeValue::Table(table) => table.values().any(|value| mentions(value.get_ref(), word)),
        _ => false,
    }
}

/// The connections that a node's dead letters go through are those of sources, so a change of these is one of the node.
fn way_of_letters(root: &DeTable<'_>, destination: &str) -> Settings {
    let (kind, named) = match DestinationName::parse(destination) {
        Ok(DestinationName::Kafka { source, .. }) => ("kafka", source),
        Ok(DestinationName::Amqp { source, .. }) => ("amqp", source),
        Ok(DestinationName::Sink(_)) | Err(_) => return Settings::new(),
    };
    let mut settings = Settings::new();
    let mut connections = 0;
    for (name, source) in tables(root, "sources") {
        if text(source, "type") == Some(kind) && named.is_none_or(|named| named == name) {
            settings.extend(settings_of(source, &format!("{}.", NodeName::source(name))));
            connections += 1;
        }
    }
    if connections > 1 {
        settings.extend(wiring(root));
    }
    settings
}

/// Who feeds whom, with events and with letters. Where letters may go through several connections, each goes through
/// that of its event's source: which ones are needed follows from the wiring of the whole file.
fn wiring(root: &DeTable<'_>) -> Settings {
    let mut settings = Settings::new();
    for kind in [NodeKind::Filter, NodeKind::Transform, NodeKind::Sink] {
        for (name, node) in tables(root, kind.section()) {
            let name = NodeName::new(kind, name);
            let mut keys = settings_of(node, "");
            keys.retain(|key, _| [FROM, "dead_letter"].contains(&key.as_str()));
            settings.extend(keys.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
        }
    }
    settings
}

fn settings_of(table: &DeTable<'_>, prefix: &str) -> Settings {
    let mut settings = Settings::new();
    add_settings(table, prefix, &mut settings);
    settings
}

fn add_settings(table: &DeTable<'_>, prefix: &str, settings: &mut Settings) {
    for (key, value) in table {
        let key = format!("{prefix}{}", written_key(key.get_ref()));
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => add_settings(inner, &format!("{key}."), settings),
            value => {
                let mut hash = Sha256::new();
                hash_value(value, &mut hash);
                settings.insert(key, Fingerprint(hash.finalize().into()));
            }
        }
    }
}

/// A key as TOML writes it: one with a dot in it is not the same as two keys.
fn written_key(key: &str) -> Cow<'_, str> {
    if key.contains('.') { format!("{key:?}").into() } else { key.into() }
}

/// Takes in a value with its type and its length, so that no two values are the same bytes.
fn hash_value(value: &DeValue<'_>, hash: &mut Sha256) {
    let mut part = |kind: &str, text: &str| hash.update(format!("{kind}:{}:{text}", text.len()));
    match value {
        DeValue::String(text) => part("string", text),
        DeValue::Integer(number) => part("integer", &format!("{}/{}", number.radix(), number.as_str())),
        DeValue::Float(number) => part("float", number.as_str()),
        DeValue::Boolean(value) => part("boolean", &value.to_string()),
        DeValue::Datetime(time) => part("datetime", &time.to_string()),
        DeValue::Array(array) => {
            part("array", &array.len().to_string());
            array.iter().for_each(|element| hash_value(element.get_ref(), hash));
        }
        DeValue::Table(table) => {
            part("table", &table.len().to_string());
            let sorted: BTreeMap<_, _> = table.iter().map(|(key, value)| (key.get_ref().as_ref(), value)).collect();
            for (key, value) in sorted {
                hash.update(format!("key:{}:{key}", key.len()));
                hash_value(value.get_ref(), hash);
            }
        }
    }
}

fn table<'t, 'i>(parent: &'t DeTable<'i>, key: &str) -> Option<&'t DeTable<'i>> {
    parent.get(key)?.get_ref().as_table()
}

fn tables<'t, 'i>(root: &'t DeTable<'i>, section: &str) -> impl Iterator<Item = (&'t str, &'t DeTable<'i>)> {
    let nodes = table(root, section).into_iter().flatten();
    nodes.filter_map(|(name, node)| Some((name.get_ref().as_ref(), node.get_ref().as_table()?)))
}

fn text<'t>(table: &'t DeTable<'_>, key: &str) -> Option<&'t str> {
    table.get(key)?.get_ref().as_str()
}

fn names(table: &DeTable<'_>, key: &str) -> impl Iterator<Item = String> {
    let array = table.get(key).and_then(|value| value.get_ref().as_array());
    array.into_iter().flat_map(|array| array.iter()).filter_map(|name| Some(name.get_ref().as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_lenient;

    const PIPELINE: &str = r#"
        name = "shop"
        store = { url = "none" }
        runtime = { workers = 2 }
        [sources.orders]
        type = "kafka"
        brokers = ["a:1", "b:1"]
        topics = ["orders"]
        [sources.audit]
        type = "stdin"
        [filters.paid]
        from = ["orders", "audit"]
        when = "$.data.paid"
        [templates.slack]
        body = "{}"
        [sinks.crm]
        type = "webhook"
        from = ["paid"]
        url = "https://x/${env:TOKEN}"
        template = "slack"
        headers = { A = "1", B = "2" }
        [sinks.rest]
        type = "webhook"
        from = ["audit"]
        url = "https://rest/"
        dead_letter = "kafka:dead"
        [defaults.webhook]
        timeout = "10s"
    "#;

    fn fingerprints(text: &str, token: &str) -> Fingerprints {
        let parsed = parse_lenient("x.toml", text, &|_| Some(token.to_owned()));
        assert_eq!(parsed.faults, []);
        parsed.fingerprints
    }

    /// The nodes that are no longer the same once `old` is replaced by `new`.
    fn changed_by(old: &str, new: &str) -> Vec<String> {
        assert!(PIPELINE.contains(old), "{old}");
        let (before, after) = (fingerprints(PIPELINE, "t"), fingerprints(&PIPELINE.replace(old, new), "t"));
        before
            .nodes
            .iter()
            .filter(|(name, node)| after.nodes[*name] != **node)
            .map(|(name, _)| name.to_string())
            .collect()
    }

    #[test]
    fn a_value_belongs_to_the_nodes_that_are_made_of_it() {
        assert_eq!(changed_by("$.data.paid", "$.data.total"), ["filters.paid"]);
        assert_eq!(changed_by("https://rest/", "https://rest/v2"), ["sinks.rest"]);
        assert_eq!(changed_by("body = \"{}\"", "body = \"[]\""), ["sinks.crm"]);
        assert_eq!(changed_by("timeout = \"10s\"", "timeout = \"9s\""), ["sinks.crm", "sinks.rest"]);
        assert_eq!(changed_by("\"a:1\", \"b:1\"", "\"b:1\", \"a:1\""), ["sources.orders", "sinks.rest"]);
        assert_eq!(changed_by("from = [\"paid\"]", "from = [\"paid.unmatched\"]"), ["sinks.crm"]);
    }

    #[test]
    fn a_row_of_a_table_belongs_to_the_nodes_that_may_look_it_up() {
        let text =
            PIPELINE.replace("body = \"{}\"", "body = \"{{lookup tables.t data.x}}\"") + "[tables.t]\n'b.c' = 'one'\n";
        let before = fingerprints(&text, "t");
        for (old, new) in [("'one'", "'two'"), ("'b.c' =", "b.c ="), ("'b.c' = 'one'", ""), ("'one'", "'one'\nd = []")]
        {
            let after = fingerprints(&text.replace(old, new), "t");
            let changed = |name: &str| before.nodes[&NodeName::sink(name)] != after.nodes[&NodeName::sink(name)];
            assert!(changed("crm") && !changed("rest"), "{old} {new}");
        }
        let keys = |text: &str| fingerprints(text, "t").nodes[&NodeName::sink("crm")].settings.clone();
        assert!(keys(&text).contains_key("tables.t.\"b.c\""), "{:?}", keys(&text));
    }

    #[test]
    fn what_does_not_matter_is_no_change() {
        assert_eq!(changed_by("A = \"1\", B = \"2\"", "B = '2', \"A\" = \"1\" # the other way round\n"), [""; 0]);
        assert_eq!(changed_by("[\"orders\", \"audit\"]", "[\"audit\", \"orders\"]"), [""; 0]);
    }

    #[test]
    fn the_connections_of_dead_letters_depend_on_the_wiring_where_there_are_several() {
        let another = "[sources.more]\ntype = 'kafka'\nbrokers = ['c:1']\ntopics = ['t']\n[filters.paid]";
        let text = PIPELINE.replace("[filters.paid]", another).replace("\"audit\"]\n", "\"audit\", \"more\"]\n");
        let rewired = text.replace("[\"orders\", \"audit\", \"more\"]", "[\"orders\", \"more\"]");
        assert_ne!(text, rewired);
        let (before, after) = (fingerprints(&text, "t"), fingerprints(&rewired, "t"));
        assert_ne!(before.nodes[&NodeName::sink("rest")], after.nodes[&NodeName::sink("rest")]);
        assert_eq!(before.nodes[&NodeName::sink("crm")], after.nodes[&NodeName::sink("crm")]);
    }

    #[test]
    fn a_changed_secret_is_a_change_and_is_not_shown() {
        let before = fingerprints(PIPELINE, "hunter2-before");
        let after = fingerprints(PIPELINE, "hunter2-after");
        let differs = |key: &str| {
            before.nodes[&NodeName::sink("crm")].settings[key] != after.nodes[&NodeName::sink("crm")].settings[key]
        };
        assert!(differs("url") && !differs("template"));
        assert!(!format!("{before:?}").contains("hunter2"));
    }

    #[test]
    fn values_that_look_alike_differ() {
        let hash = |value: &str| {
            let root = DeTable::parse(value).unwrap();
            settings_of(root.get_ref(), "")["a"]
        };
        for (one, other) in [
            ("a = 1", "a = '1'"),
            ("a = ['b', 'c']", "a = ['bc']"),
            ("a = [['b'], 'c']", "a = [['b', 'c']]"),
            ("a = 1", "a = 1.0"),
        ] {
            assert!(hash(one) != hash(other), "{one} {other}");
        }
        assert!(hash("a = 'b'") == hash("a = \"b\""));
    }
}
