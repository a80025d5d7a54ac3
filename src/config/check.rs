//! Rules that no single type can state: about several keys of a node, or about the keys of a map.
//!
//! Templates, expressions, URLs and the wiring are not checked here: `pipeline::compile` does that.

use std::time::Duration;

use super::SinkConfig;
use crate::delivery::DeliveryConfig;
use crate::delivery::retry::RetryConfig;
use crate::problem::Problem;
use crate::sink::TypeConfig;
use crate::sink::webhook::WebhookConfig;
use crate::source::SourceConfig;
use crate::units::Period;

/// The rules of a source. Paths start at its table.
pub(super) fn source(config: &SourceConfig) -> Vec<Problem> {
    let common = &config.common;
    let mut problems = Vec::new();
    if common.max_event_size > common.max_in_flight_bytes {
        let message = "`max_event_size` is more than `max_in_flight_bytes`, so the largest event could never be read";
        let key = "max_event_size";
        problems.push(Problem::new([key], message).with_help(format!(
            "`max_event_size` is {} and `max_in_flight_bytes` is {}",
            common.max_event_size, common.max_in_flight_bytes
        )));
    }
    if let Some(interval) = common.commit_interval {
        problems.extend(must_last(&["commit_interval"], interval));
    }
    problems
}

/// The rules of a sink. Paths start at its table.
pub(super) fn sink(config: &SinkConfig) -> Vec<Problem> {
    let TypeConfig::Webhook(webhook) = &config.kind;
    let delivery = &config.delivery;
    [retry(&delivery.retry), responses(delivery), self::webhook(webhook), rate_limit(delivery)].concat()
}

fn retry(config: &RetryConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let backoff =
        [("initial", config.initial.is_some()), ("factor", config.factor.is_some()), ("max", config.max.is_some())];
    for (key, _) in backoff.into_iter().filter(|(_, is_set)| *is_set) {
        if config.schedule.is_some() {
            problems.push(
                Problem::new(["retry", key], format!("`{key}` and `schedule` exclude each other"))
                    .with_help("waits come from `schedule`, or from `initial`, `factor` and `max`"),
            );
        } else if config.initial.is_none() {
            problems.push(
                Problem::new(["retry", key], format!("`{key}` has no effect without `initial`"))
                    .with_help("set `initial`, the first wait"),
            );
        }
    }
    if let Some(initial) = config.initial {
        problems.extend(must_last(&["retry", "initial"], initial));
        if config.max.is_some_and(|max| max < initial) {
            problems.push(Problem::new(["retry", "max"], "`max` is shorter than `initial`"));
        }
    }
    problems
}

fn responses(config: &DeliveryConfig) -> Vec<Problem> {
    let wrong = config.responses.keys().filter(|key| !is_status_or_class(key));
    wrong
        .map(|key| {
            Problem::new(["responses", key], format!("`{key}` is neither a status nor a class of them"))
                .with_help("write a status from 100 to 599, such as \"409\", or a class such as \"4xx\"")
        })
        .collect()
}

/// Whether a key is one of `100` to `599`, or of `1xx` to `5xx`.
fn is_status_or_class(key: &str) -> bool {
    match key.as_bytes() {
        [b'1'..=b'5', b'x', b'x'] => true,
        [b'1'..=b'5', rest @ ..] => rest.len() == 2 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn rate_limit(config: &DeliveryConfig) -> Vec<Problem> {
    config.rate_limit.iter().flat_map(|limit| must_last(&["rate_limit", "per"], limit.per)).collect()
}

fn webhook(config: &WebhookConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.template.is_some() && config.body.is_some() {
        problems.push(
            Problem::new(["body"], "`template` and `body` exclude each other")
                .with_help("`template` names one of `[templates]`, `body` is a template itself"),
        );
    }
    problems.extend(must_last(&["timeout"], config.timeout));
    problems.extend(must_last(&["connect_timeout"], config.connect_timeout));
    problems
}

fn must_last(path: &[&str], period: Period) -> Option<Problem> {
    let key = path.last().copied().unwrap_or_default();
    (period.0 == Duration::ZERO)
        .then(|| Problem::new(path.iter().copied(), format!("`{key}` must be longer than zero")))
}
