//! `[defaults.webhook]`: what every webhook sink starts from.
//!
//! Tables are merged before anything is typed, so a value keeps its place in the text wherever it ends up. Keys that mean
//! the same in upper and lower case, such as the names of headers, are the same key here ([`normalised`]).

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys that only a sink itself can have.
pub(super) const IS_OWN: [&str; 2] = ["from", "type"];

/// Keys of which a sink has one group or another. A sink that sets one takes none of the others from the defaults.
const ALTERNATIVES: [&[&[&str]]; 3] = [
    &[&["template"], &["body"], &["jq"]],
    &[&["form"], &["template", "body", "jq", "content_type"]],
    &[&["schedule"], &["initial", "factor", "max"]],
];

/// Puts `[defaults.webhook]` under the webhook sinks of `root`.
pub(super) fn apply(root: &mut DeTable<'_>) {
    let Some(defaults) = root.get("defaults").and_then(|table| table.get_ref().get("webhook")) else {
        return;
    };
    let DeValue::Table(defaults) = defaults.get_ref().clone() else {
        return;
    };
    let Some(DeValue::Table(sinks)) = root.get_mut("sinks").map(|sinks| sinks.get_mut()) else {
        return;
    };
    for (_, sink) in sinks.iter_mut() {
        if let DeValue::Table(sink) = sink.get_mut()
            && sink.get("type").and_then(|kind| kind.get_ref().as_str()) == Some("webhook")
        {
            merge("", &defaults, sink);
        }
    }
}

/// A key of the table `table` in the form in which it is compared: the names of HTTP headers are case-insensitive
/// (RFC 9110, 5.1), and so are the classes of `responses`.
pub(super) fn normalised<'k>(table: &str, key: &'k str) -> Cow<'k, str> {
    match table {
        "headers" | "responses" => key.to_ascii_lowercase().into(),
        _ => key.into(),
    }
}

/// Adds the keys of `defaults` that `own` lacks; where both have a table, within the tables. `table` is their name.
pub(super) fn merge<'i>(table: &str, defaults: &DeTable<'i>, own: &mut DeTable<'i>) {
    let replaced = replaced_alternatives(own);
    let is_another_scheme = table == "signing" && names_another_scheme(defaults, own);
    for (key, default) in defaults {
        let name = key.get_ref().as_ref();
        let is_of_another_scheme = is_another_scheme && name != "secrets";
        if IS_OWN.contains(&name) || replaced.contains(&name) || is_of_another_scheme {
            continue;
        }
        let is_same = |own: &str| normalised(table, own) == normalised(table, name);
        let own_name = own.keys().map(|key| key.get_ref().to_string()).find(|own| is_same(own));
        match (own_name.and_then(|own_name| own.get_mut(own_name.as_str())).map(Spanned::get_mut), default.get_ref()) {
            (None, _) => {
                own.insert(key.clone(), default.clone());
            }
            (Some(DeValue::Table(own)), DeValue::Table(defaults)) => merge(name, defaults, own),
            (Some(_), _) => {}
        }
    }
}

/// Whether a sink signs by another scheme than the defaults say, whose keys would not fit then.
fn names_another_scheme(defaults: &DeTable<'_>, own: &DeTable<'_>) -> bool {
    let scheme = |table: &DeTable<'_>| table.get("scheme")?.get_ref().as_str().map(str::to_owned);
    scheme(own).is_some_and(|own| scheme(defaults) != Some(own))
}

fn replaced_alternatives(own: &DeTable<'_>) -> Vec<&'static str> {
    let has_any = |keys: &[&str]| keys.iter().any(|key| own.contains_key(*key));
    let mut replaced = Vec::new();
    for groups in ALTERNATIVES {
        for (index, _) in groups.iter().enumerate().filter(|(_, group)| has_any(group)) {
            let others = groups.iter().enumerate().filter(|(other, _)| *other != index);
            replaced.extend(others.flat_map(|(_, group)| group.iter().copied()));
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sink `a`, as JSON, after the defaults were put under it.
    fn merged(text: &str) -> String {
        let mut root = DeTable::parse(text).unwrap().into_inner();
        apply(&mut root);
        let sink = root["sinks"].get_ref()["a"].clone();
        let sink: serde_json::Value = serde::Deserialize::deserialize(toml::de::ValueDeserializer::from(sink)).unwrap();
        sink.to_string()
    }

    #[test]
    fn a_sinks_own_keys_win_also_within_its_tables() {
        let text = "[defaults.webhook]\ntimeout = '1s'\nconcurrency = 3\nretry = { jitter = 0, max_elapsed = '1h' }\n\
                    [sinks.a]\ntype = 'webhook'\ntimeout = '2s'\nretry = { jitter = 1 }";
        let expected = r#"{"type":"webhook","timeout":"2s","retry":{"jitter":1,"max_elapsed":"1h"},"concurrency":3}"#;
        assert_eq!(merged(text), expected);
    }

    #[test]
    fn a_header_or_class_of_statuses_is_known_in_any_case() {
        let text = "[defaults.webhook]\nheaders = { authorization = 'd', x-tenant = 'd' }\nresponses = { 4XX = 'drop' }\n\
                    [sinks.a]\ntype = 'webhook'\nheaders = { Authorization = 'own' }\nresponses = { 4xx = 'retry' }";
        let expected =
            r#"{"type":"webhook","headers":{"Authorization":"own","x-tenant":"d"},"responses":{"4xx":"retry"}}"#;
        assert_eq!(merged(text), expected);
    }

    #[test]
    fn what_a_sink_replaces_by_an_alternative_is_not_taken() {
        let text = "[defaults.webhook]\nbody = 'x'\nretry.schedule = ['1s']\n\
                    [sinks.a]\ntype = 'webhook'\ntemplate = 't'\nretry.initial = '2s'";
        assert_eq!(merged(text), r#"{"type":"webhook","template":"t","retry":{"initial":"2s"}}"#);
    }

    #[test]
    fn of_another_scheme_only_the_secrets_are_taken() {
        let of = |own: &str| {
            merged(&format!(
                "[defaults.webhook.signing]\nscheme = 'custom'\nheader = 'X-A'\nsecrets = ['s']\n\
                 [sinks.a]\ntype = 'webhook'\nsigning = {{ {own} }}"
            ))
        };
        assert_eq!(of("scheme = 'github'"), r#"{"type":"webhook","signing":{"scheme":"github","secrets":["s"]}}"#);
        let same = r#"{"type":"webhook","signing":{"scheme":"custom","value":"v","header":"X-A","secrets":["s"]}}"#;
        assert_eq!(of("scheme = 'custom', value = 'v'"), same);
        let inherited =
            r#"{"type":"webhook","signing":{"value":"v","scheme":"custom","header":"X-A","secrets":["s"]}}"#;
        assert_eq!(of("value = 'v'"), inherited);
    }

    #[test]
    fn what_a_sink_starts_from_is_never_its_type_or_its_wiring() {
        let text = "[defaults.webhook]\nfrom = ['x']\ntype = 'y'\n[sinks.a]\ntype = 'webhook'\n";
        assert_eq!(merged(text), r#"{"type":"webhook"}"#);
        let text = "[defaults.webhook]\ntimeout = '1s'\n[sinks.a]\ntype = 'other'\n";
        assert_eq!(merged(text), r#"{"type":"other"}"#);
    }
}
