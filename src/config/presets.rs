//! Puts the keys of a `preset` under the sink that names it, before anything is typed.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::defaults::merge;
use crate::sink::presets::Preset;

const PRESET: &str = "preset";

/// Puts the keys of presets under the webhook sinks of `root` that name one. A sink that has them already stays as it is.
pub(super) fn apply(root: &mut DeTable<'_>) {
    let Some(DeValue::Table(sinks)) = root.get_mut("sinks").map(|sinks| sinks.get_mut()) else {
        return;
    };
    for (_, sink) in sinks.iter_mut() {
        if let DeValue::Table(sink) = sink.get_mut()
            && let Some((key, name)) = sink.get_key_value(PRESET)
            // What is no preset is found by the check of the key.
            && let Some(preset) = name.get_ref().as_str().and_then(Preset::of_name)
        {
            // Their place is that of the key: it is what a fault of theirs follows from.
            let keys = keys(preset, &key.span());
            merge("", &keys, sink);
        }
    }
}

/// The keys of a preset, all of them at this place.
fn keys(preset: Preset, place: &Range<usize>) -> DeTable<'static> {
    // A test reads all presets.
    let file = DeTable::parse(preset.text()).map(Spanned::into_inner).unwrap_or_default();
    match file.get("sink").map(Spanned::get_ref) {
        Some(DeValue::Table(keys)) => table_at(place, keys),
        _ => DeTable::new(),
    }
}

fn table_at(place: &Range<usize>, table: &DeTable<'static>) -> DeTable<'static> {
    let entries = table.iter().map(|(key, value)| {
        let key = Spanned::new(place.clone(), key.get_ref().clone());
        (key, value_at(place, value))
    });
    entries.collect()
}

fn value_at(place: &Range<usize>, value: &Spanned<DeValue<'static>>) -> Spanned<DeValue<'static>> {
    let moved = match value.get_ref() {
        DeValue::Table(table) => DeValue::Table(table_at(place, table)),
        DeValue::Array(array) => {
            let mut moved = DeArray::new();
            array.iter().for_each(|element| moved.push(value_at(place, element)));
            DeValue::Array(moved)
        }
        other => other.clone(),
    };
    Spanned::new(place.clone(), moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::sink::TypeConfig;

    fn load(sink: &str, defaults: &str) -> Result<config::SinkConfig, config::ConfigErrors> {
        let text = format!(
            "name = 'p'\n{defaults}\n[sources.q]\ntype = 'stdin'\n\
             [sinks.a]\ntype = 'webhook'\nfrom = ['q']\nurl = 'https://h/'\n{sink}"
        );
        config::parse("p.toml", &text, &|_| None).map(|mut loaded| loaded.pipeline.sinks.swap_remove("a").unwrap())
    }

    #[test]
    fn every_preset_is_a_file_of_sound_keys() {
        for preset in Preset::all() {
            let file = DeTable::parse(preset.text()).unwrap().into_inner();
            for key in ["about", "documentation"] {
                assert!(file[key].get_ref().as_str().is_some(), "{}", preset.name());
            }
            let sink = load(&format!("preset = '{}'", preset.name()), "").unwrap_or_else(|error| {
                panic!("{}: {error:?}", preset.name());
            });
            let TypeConfig::Webhook(webhook) = sink.kind;
            assert_eq!(webhook.preset, Some(preset));
            assert!(webhook.content_type.is_some(), "{}", preset.name());
            for check in &webhook.checks {
                let condition = crate::jsonpath::Condition::parse(check.when.as_str());
                assert!(condition.is_ok(), "{}: {condition:?}", preset.name());
            }
        }
    }

    #[test]
    fn the_sinks_own_keys_win_and_those_of_the_defaults_do_not() {
        let defaults = "[defaults.webhook]\ncontent_type = 'text/plain'\ntimeout = '1s'\n";
        let sink =
            load("preset = 'slack'\nrate_limit = { per = '2s' }\nresponses = { 2xx = 'drop' }", defaults).unwrap();
        let TypeConfig::Webhook(webhook) = sink.kind;
        assert_eq!(webhook.content_type.as_deref(), Some("application/json"));
        assert_eq!(webhook.timeout, crate::units::Period::from_secs(1));
        let limit = sink.delivery.rate_limit.unwrap();
        assert_eq!((limit.requests, limit.per), (1, crate::units::Period::from_secs(2)));
        assert_eq!(sink.delivery.responses.len(), 1);
        let sink = load("", "[defaults.webhook]\npreset = 'discord'\n").unwrap();
        assert!(sink.delivery.rate_limit.is_some());
    }

    #[test]
    fn an_unknown_preset_is_told_what_was_meant() {
        let error = format!("{:?}", load("preset = 'slak'", "").unwrap_err());
        assert!(error.contains("slack"), "{error}");
    }
}
