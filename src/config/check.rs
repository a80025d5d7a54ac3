//! Rules that no single type can state: about several keys of a node, or about what a key may be.
//!
//! A table whose owner has a checked form of it is checked by making that form. Templates, expressions, URLs and the
//! wiring are not checked here: `pipeline::compile` does that.

use super::SinkConfig;
use crate::delivery::breaker::BreakerPolicy;
use crate::delivery::rate_limit::Rate;
use crate::delivery::retry::RetryPolicy;
use crate::problem::Problem;
use crate::sink::TypeConfig;
use crate::sink::config::WebhookConfig;
use crate::sink::responses::Responses;
use crate::source::SourceConfig;

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
    problems
}

/// The rules of a sink. Paths start at its table.
pub(super) fn sink(config: &SinkConfig) -> Vec<Problem> {
    let TypeConfig::Webhook(webhook) = &config.kind;
    let delivery = &config.delivery;
    let rate_limit = delivery.rate_limit.as_ref().map(Rate::new);
    let tables = [
        ("retry", RetryPolicy::new(&delivery.retry).err()),
        ("rate_limit", rate_limit.and_then(Result::err)),
        ("breaker", BreakerPolicy::new(&delivery.breaker).err()),
        ("responses", Responses::new(&delivery.responses).err()),
    ];
    let of_tables = tables
        .into_iter()
        .flat_map(|(table, problems)| problems.into_iter().flatten().map(move |problem| problem.under([table])));
    of_tables.chain(self::webhook(webhook)).collect()
}

fn webhook(config: &WebhookConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.template.is_some() && config.body.is_some() {
        problems.push(
            Problem::new(["body"], "`template` and `body` exclude each other")
                .with_help("`template` names one of `[templates]`, `body` is a template itself"),
        );
    }
    problems
}
