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
        let TypeConfig::Webhook(webhook) = sink.kind;
        assert_eq!(webhook.checks.len(), 2);
    }

    /// Answers as the receivers document them.
    #[test]
    fn answers_mean_what_the_receivers_document() {
        use crate::sink::responses::Action::{DeadLetter, Delivered, Retry};
        let bulk = |items: &str| format!("{{\"errors\": true, \"items\": [{items}]}}");
        let failed = |action: &str, status: u16| {
            format!("{{\"{action}\": {{\"status\": {status}, \"error\": {{\"type\": \"x\"}}}}}}")
        };
        let created = "{\"create\": {\"status\": 201, \"_seq_no\": 503, \"_version\": 429}}";
        let elasticsearch = [
            ("{\"errors\": false, \"items\": []}".to_owned(), Delivered),
            (bulk(&failed("index", 429)), Retry),
            (bulk(&failed("index", 400)), DeadLetter),
            (bulk(&failed("index", 409)), DeadLetter),
            (bulk(&failed("create", 409)), Delivered),
            (bulk(&format!("{created}, {}", failed("create", 409))), Delivered),
            (bulk(&format!("{created}, {}", failed("create", 400))), DeadLetter),
            (bulk(&format!("{}, {}", failed("create", 409), failed("create", 400))), DeadLetter),
            (bulk(&format!("{}, {}", failed("create", 409), failed("delete", 503))), Retry),
        ];
        for (body, expected) in elasticsearch {
            assert_eq!(action_for("elasticsearch-bulk", 200, &body), expected, "{body}");
        }
        for (preset, status, body, expected) in [
            ("slack", 200, "ok", Delivered),
            ("slack", 403, "action_prohibited", DeadLetter),
            ("slack", 500, "rollup_error", Retry),
            ("slack", 200, "{\"ok\": true}", Delivered),
            ("slack", 200, "{\"ok\": false, \"error\": \"channel_not_found\"}", DeadLetter),
            ("slack", 200, "{\"ok\": false, \"error\": \"ratelimited\"}", Retry),
            ("discord", 204, "", Delivered),
            ("discord", 400, "{\"code\": 50006}", DeadLetter),
            ("discord", 429, "{\"retry_after\": 0.5}", Retry),
            ("teams", 202, "", Delivered),
            ("teams", 429, "", Retry),
            ("pagerduty", 202, "{\"status\": \"success\"}", Delivered),
            ("pagerduty", 400, "{\"status\": \"invalid event\"}", DeadLetter),
            ("pagerduty", 429, "", Retry),
            ("splunk-hec", 200, "{\"text\": \"Success\", \"code\": 0}", Delivered),
            ("splunk-hec", 400, "{\"text\": \"Invalid data format\", \"code\": 6}", DeadLetter),
            ("splunk-hec", 503, "{\"text\": \"Server is busy\", \"code\": 9}", Retry),
            ("loki", 204, "", Delivered),
            ("loki", 400, "entry too far behind", DeadLetter),
            ("loki", 429, "Ingestion rate limit exceeded", Retry),
            ("opsgenie", 202, "{\"result\": \"Request will be processed\"}", Delivered),
            ("opsgenie", 422, "{\"message\": \"Request body is not processable.\"}", DeadLetter),
            ("opsgenie", 429, "", Retry),
        ] {
            assert_eq!(action_for(preset, status, body), expected, "{preset}: {status} {body}");
        }
    }

    /// What a sink of this preset does about an answer.
    fn action_for(preset: &str, status: u16, body: &str) -> crate::sink::responses::Action {
        use crate::sink::responses::{AnswerBody, Unjudgeable};
        let sink = load(&format!("preset = '{preset}'"), "").unwrap();
        let body = serde_json::from_str(body).map_or(AnswerBody::Unjudgeable(Unjudgeable::NotJson), AnswerBody::Json);
        sink.policies.unwrap().answers.responses.decide(status, &body).action
    }

    /// A reload and `diff` compare the keys that are in effect.
    #[test]
    fn the_keys_of_a_preset_are_among_those_that_a_reload_compares() {
        let settings = |sink: &str| {
            let text = format!("name = 'p'\n[sinks.a]\ntype = 'webhook'\nurl = 'https://h/'\n{sink}");
            let fingerprints = config::parse_lenient("p.toml", &text, &|_| None).fingerprints;
            fingerprints.nodes.into_values().next().unwrap().settings
        };
        let (plain, preset) = (settings(""), settings("preset = 'teams'"));
        let own = settings("preset = 'teams'\nmax_body_size = '1KiB'");
        assert!(!plain.contains_key("max_body_size") && preset.contains_key("rate_limit.requests"));
        assert!(preset["max_body_size"] != own["max_body_size"]);
    }

    #[test]
    fn an_unknown_preset_is_told_what_was_meant() {
        let error = format!("{:?}", load("preset = 'slak'", "").unwrap_err());
        assert!(error.contains("slack"), "{error}");
    }
}
