//! What is worth a second look in a sound pipeline: it runs, and is probably not meant so. Pure.
//!
//! What cannot run is a fault, and found by `config` or `compile`.

mod masking;
mod open_files;
mod same_ids;
mod signing;
mod wildcards;

use std::collections::BTreeSet;

use super::load::Compiled;
use crate::config::{Loaded, PipelineConfig, SinkConfig};
use crate::event::Format;
use crate::filter::types::{Doubt, Envelopes, doubts};
use crate::problem::{Problem, Warning, WarningCode};
use crate::sink;
use crate::sink::loopback::is_always_loopback;
use crate::source::TypeConfig;

pub use open_files::descriptor_limit;

/// Everything in a sound pipeline file that is worth a warning.
pub fn find(compiled: &Compiled) -> Vec<Warning> {
    of_file(&compiled.file).into_iter().chain(compiled.template_warnings.iter().cloned()).collect()
}

/// What can be seen without the compiled templates.
fn of_file(file: &Loaded) -> Vec<Warning> {
    let config = &file.pipeline;
    let secrets = file.written_out_secrets().iter().map(|path| literal_secret(path.clone()));
    let sinks = config.sinks.iter().flat_map(|(name, sink)| {
        let warnings = plain_http(sink).into_iter().chain(no_retry(sink)).chain(signing::doubts(sink));
        warnings.map(move |warning| warning.under(["sinks", name]))
    });
    let masking = masking::masked_values(file).chain(masking::empty_credentials(file));
    secrets
        .chain(masking)
        .chain(sinks)
        .chain(unused_templates(config))
        .chain(doubtful_filters(config))
        .chain(wildcards::that_are_literal(config))
        .chain(same_ids::of_different_deliveries(config))
        .collect()
}

fn warning(code: WarningCode, problem: Problem) -> Warning {
    Warning { code, problem }
}

fn literal_secret(path: Vec<String>) -> Warning {
    let help = "take it from the environment or a file: `${env:NAME}` or `${file:/path}`; if the file was ever shared, \
                change the secret";
    let message = "a secret is written out in the pipeline file";
    warning(WarningCode::LiteralSecret, Problem::new(path, message).with_help(help))
}

fn path(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| key.to_string()).collect()
}

fn plain_http(sink: &SinkConfig) -> Option<Warning> {
    let sink::TypeConfig::Webhook(webhook) = &sink.kind;
    let url = webhook.url.template()?.as_str();
    let is_plain = url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    (is_plain && !is_always_loopback(url)).then(|| {
        let message = "events go to another machine without encryption: anyone on the way can read and change them";
        let problem = Problem::new(["url"], message).with_help("write `https://`").with_part(0..7);
        warning(WarningCode::PlainHttp, problem)
    })
}

fn no_retry(sink: &SinkConfig) -> Option<Warning> {
    let retry = &sink.delivery.retry;
    let key = match (&retry.schedule, retry.max_attempts) {
        (Some(schedule), _) if schedule.is_empty() => "schedule",
        (_, Some(1)) => "max_attempts",
        _ => return None,
    };
    let message = "without a retry, the first attempt that fails makes a dead letter, be it for a receiver's restart";
    let help = "leave the key out for the default schedule, or give one such as `schedule = [\"5s\", \"5m\", \"1h\"]`";
    Some(warning(WarningCode::NoRetry, Problem::new(["retry", key], message).with_help(help)))
}

fn unused_templates(config: &PipelineConfig) -> impl Iterator<Item = Warning> {
    let used: BTreeSet<&String> = config
        .sinks
        .values()
        .filter_map(|sink| {
            let sink::TypeConfig::Webhook(webhook) = &sink.kind;
            webhook.template.as_ref()
        })
        .collect();
    config.templates.keys().filter(move |name| !used.contains(name)).map(|name| {
        let help = format!("name it in a sink: `template = \"{name}\"`, or remove it");
        let problem = Problem::new(["templates", name], format!("no sink uses the template `{name}`")).with_help(help);
        warning(WarningCode::UnusedTemplate, problem)
    })
}

fn doubtful_filters(config: &PipelineConfig) -> impl Iterator<Item = Warning> {
    // Of all sources, not only of those that feed the filter: a doubt less is better than a wrong one.
    let envelopes = Envelopes {
        data_is_text: config.transforms.is_empty()
            && config.sources.values().all(|source| source.common.format != Format::Json),
        headers_are_text: !config.sources.values().any(|source| matches!(source.kind, TypeConfig::Amqp(_))),
    };
    config.filters.iter().flat_map(move |(name, filter)| {
        doubts(&filter.when, envelopes).into_iter().map(move |doubt| {
            let (code, remark) = match doubt {
                Doubt::ImpossibleComparison(remark) => (WarningCode::ImpossibleComparison, remark),
                Doubt::UnknownMember(remark) => (WarningCode::UnknownMember, remark),
            };
            let problem = Problem::new(["filters", name, "when"], remark.message);
            warning(code, Problem { help: remark.help, part: remark.part, ..problem })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    /// The codes and paths of the warnings about a sound pipeline with these lines.
    fn found(lines: &str) -> Vec<String> {
        let text = format!("name = 'x'\n[sources.a]\ntype = 'stdin'\n{lines}");
        let file = parse("x.toml", &text, &|_| Some("value-of-a-variable".into()));
        let found = of_file(&file.unwrap_or_else(|errors| panic!("{errors}"))).into_iter();
        found.map(|Warning { code, problem }| format!("{} {}", code.as_str(), problem.path.join("."))).collect()
    }

    fn of_sink(lines: &str) -> Vec<String> {
        found(&format!("[sinks.b]\ntype = 'webhook'\nfrom = ['a']\n{lines}"))
    }

    const HTTPS: &str = "url = 'https://x/'\n";

    #[test]
    fn a_secret_is_to_come_from_elsewhere() {
        let signing = |secrets: &str| of_sink(&format!("{HTTPS}signing.secrets = [{secrets}]"));
        assert_eq!(signing("'${env:A}', 'whsec_YWJj'"), ["literal-secret sinks.b.signing.secrets.1"]);
        let header = |header: &str| of_sink(&format!("{HTTPS}headers = {{ {header} }}"));
        assert_eq!(header("Authorization = 'Bearer abc'"), ["literal-secret sinks.b.headers.Authorization"]);
        assert_eq!(header("X-Api-Key = '${file:Cargo.toml}'"), [""; 0]);
        assert_eq!(header("Authorization = 'Bearer {{data.token}}', X-Tenant = 'a'"), [""; 0]);
        assert_eq!(of_sink("url = 'https://u:pw@x/'"), ["literal-secret sinks.b.url"]);
        assert_eq!(of_sink("url = 'https://u:${env:P}@x/'"), [""; 0]);
        let store = |url: &str| of_sink(&format!("{HTTPS}[store]\nurl = '{url}'"));
        assert_eq!(store("postgres://u:pw@db/x"), ["literal-secret store.url"]);
        assert_eq!(store("postgres://u@db/x"), [""; 0]);
    }

    #[test]
    fn sources_have_secrets_too() {
        let sink = "[sinks.b]\ntype = 'webhook'\nfrom = ['a', 'k']\nurl = 'https://x/'\n";
        let kafka = "[sources.k]\ntype = 'kafka'\nbrokers = ['b:1']\ntopics = ['t']\n\
                     options = { 'sasl.password' = 'pw', 'sasl.username' = 'u', 'ssl.key.password' = '${env:P}' }\n";
        assert_eq!(found(&format!("{kafka}{sink}")), ["literal-secret sources.k.options.sasl.password"]);
        let amqp = "[sources.k]\ntype = 'amqp'\nuri = 'amqp://u:pw@h'\nqueue = 'q'\n";
        assert_eq!(found(&format!("{amqp}{sink}")), ["literal-secret sources.k.uri"]);
    }

    #[test]
    fn events_leave_the_machine_encrypted() {
        for (url, is_plain) in [
            ("http://crm.example.com/", true),
            ("HTTP://crm.example.com/", true),
            ("http://{{data.host}}/", true),
            ("http://10.0.0.1:8080/", true),
            ("https://crm.example.com/", false),
            ("http://127.0.0.1:8080/x", false),
            ("http://localhost/", false),
            ("http://[::1]:80/", false),
        ] {
            assert_eq!(of_sink(&format!("url = '{url}'")).len(), usize::from(is_plain), "{url}");
        }
    }

    #[test]
    fn a_sink_without_retry_is_found_also_by_its_defaults() {
        let retry = |table: &str| of_sink(&format!("{HTTPS}[defaults.webhook]\nretry = {{ {table} }}"));
        assert_eq!(retry("schedule = []"), ["no-retry sinks.b.retry.schedule"]);
        assert_eq!(retry("max_attempts = 1"), ["no-retry sinks.b.retry.max_attempts"]);
        assert_eq!(retry("max_attempts = 2"), [""; 0]);
    }

    #[test]
    fn a_template_that_no_sink_uses_is_found() {
        let templates = "[templates.t]\nbody = '{}'\n[templates.u]\nbody = '{}'";
        assert_eq!(of_sink(&format!("{HTTPS}template = 't'\n{templates}")), ["unused-template templates.u"]);
    }

    #[test]
    fn a_wildcard_from_a_variable_is_found() {
        let text = |path: &str| {
            format!(
                "name = 'x'\n[sources.a]\ntype = 'file'\npaths = ['/a/*', '{path}']\n[sinks.b]\ntype = 'webhook'\n\
                 from = ['a']\nurl = 'https://x/'\n"
            )
        };
        let found = |path: &str, value: &str| {
            let file = parse("x.toml", &text(path), &|_| Some(value.into())).unwrap();
            of_file(&file).into_iter().map(|warning| warning.problem.path.join(".")).collect::<Vec<_>>()
        };
        assert_eq!(found("${var:LOGS}", "/var/log/*.log"), ["sources.a.paths.1"]);
        assert_eq!(found("${var:LOGS}/*.log", "/var/log"), [""; 0]);
    }

    #[test]
    fn different_deliveries_of_one_event_under_one_id_are_found() {
        let sink = |from: &str| {
            let transform = |name: &str, from: &str| format!("[transforms.{name}]\nfrom = ['{from}']\njq = '.'\n");
            let filter = |name: &str| format!("[filters.{name}]\nfrom = ['a']\nwhen = '$.data.{name}'\n");
            let nodes =
                [transform("t", "a"), transform("u", "a"), transform("v", "t"), filter("f"), filter("g")].concat();
            let nodes = nodes + &transform("of_f", "f") + &transform("of_g", "g");
            let found = found(&format!(
                "{nodes}[sinks.b]\ntype = 'webhook'\nfrom = [{from}]\n{HTTPS}[sinks.rest]\ntype = 'webhook'\n\
                 from = ['u', 'v', 'of_f', 'of_g']\n{HTTPS}"
            ));
            found.into_iter().filter(|warning| !warning.contains("sinks.rest")).collect::<Vec<_>>()
        };
        for from in ["'t', 'u'", "'a', 't'", "'a', 'v'", "'v', 't'"] {
            assert_eq!(sink(from), ["same-ids sinks.b.from"], "{from}");
        }
        for from in ["'t'", "'v'", "'a', 'f'", "'of_f', 'of_g'", "'f', 'g'"] {
            assert_eq!(sink(from), [""; 0], "{from}");
        }
    }

    #[test]
    fn a_filter_that_never_matches_is_found() {
        let filter = |when: &str| of_sink(&format!("{HTTPS}[filters.f]\nfrom = ['a']\nwhen = '{when}'"));
        assert_eq!(filter("$.key == 5"), ["impossible-comparison filters.f.when"]);
        assert_eq!(filter("$.total == 5"), ["unknown-member filters.f.when"]);
        assert_eq!(filter("$.data.total == 5"), [""; 0]);
    }
}
