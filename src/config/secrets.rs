//! Where a pipeline has secrets. Nothing here says whether they are written out.

use reqwest::header::HeaderName;
use url::Url;

use super::PipelineConfig;
use crate::jq::ValueText;
use crate::sink;
use crate::sink::config::WebhookConfig;
use crate::sink::pairs;
use crate::sink::request::holds_a_secret;
use crate::source::{SourceConfig, TypeConfig, kafka};

/// The paths of all values that are secret, or hold a secret.
pub(super) fn paths(config: &PipelineConfig) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    if config.store.url.as_ref().is_some_and(|url| has_password(url.expose())) {
        paths.push(path(&["store", "url"]));
    }
    for (name, source) in &config.sources {
        paths.extend(secrets_of_source(source).into_iter().map(|keys| [path(&["sources", name]), keys].concat()));
    }
    for (name, sink) in &config.sinks {
        let sink::TypeConfig::Webhook(webhook) = &sink.kind;
        paths.extend(secrets_of_webhook(webhook).into_iter().map(|keys| [path(&["sinks", name]), keys].concat()));
    }
    paths
}

fn secrets_of_source(source: &SourceConfig) -> Vec<Vec<String>> {
    match &source.kind {
        TypeConfig::Kafka(kafka) => {
            let secret = kafka.options.iter().filter(|(key, value)| kafka::holds_a_secret(key) && !value.is_empty());
            secret.map(|(key, _)| path(&["options", key])).collect()
        }
        TypeConfig::Amqp(amqp) if has_password(amqp.uri.expose()) => vec![path(&["uri"])],
        TypeConfig::Amqp(_) | TypeConfig::File(_) | TypeConfig::Stdin(_) => Vec::new(),
    }
}

fn secrets_of_webhook(webhook: &WebhookConfig) -> Vec<Vec<String>> {
    let signing = webhook.signing.iter().flat_map(|signing| signing.secrets.iter().enumerate());
    let signing = signing.filter(|(_, secret)| !secret.expose().is_empty());
    let mut paths: Vec<_> = signing.map(|(index, _)| path(&["signing", "secrets", &index.to_string()])).collect();
    for (name, value) in &webhook.headers {
        let is_secret = HeaderName::try_from(name.as_str()).is_ok_and(|name| holds_a_secret(&name));
        if is_secret && is_written_out(value) {
            paths.push(path(&["headers", name]));
        }
    }
    for (table, pairs) in [("query", Some(&webhook.query)), ("form", webhook.form.as_ref())] {
        let secret = |(name, value): &(&String, &ValueText)| pairs::holds_a_secret(name) && is_written_out(value);
        paths.extend(pairs.into_iter().flatten().filter(secret).map(|(name, _)| path(&[table, name])));
    }
    if webhook.url.template().is_some_and(|url| has_password(url.as_str())) {
        paths.push(path(&["url"]));
    }
    paths
}

/// Whether it is text of the file, and not what an event brings.
fn is_written_out(value: &ValueText) -> bool {
    value.template().is_some_and(|text| !text.as_str().is_empty() && !text.as_str().contains("{{"))
}

fn path(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| key.to_string()).collect()
}

fn has_password(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.password().is_some_and(|password| !password.is_empty()))
}

#[cfg(test)]
mod tests {
    use crate::config::parse_lenient;

    #[test]
    fn no_report_shows_a_secret_that_is_written_out() {
        let sink = "{ type = 'webhook', from = ['a'], url = 'https://x/', headers = { Authorization = 'Bearer hunter2' }, \
                    signing = { secrets = ['whsec_aHVudGVyMg'] }, timeout = 'soon' }";
        let parsed =
            parse_lenient("x.toml", &format!("name = 'x'\nsources.a.type = 'stdin'\nsinks.b = {sink}"), &|_| None);
        let shown = parsed.into_loaded().unwrap_err().to_string();
        assert!(shown.contains("timeout = 'soon'"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    }
}
