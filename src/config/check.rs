//! Rules that no single type can state: about several keys of a node, or about what a key may be.
//!
//! A table whose owner has a checked form of it is checked by making that form, which is kept
//! ([`DeliveryPolicies`](crate::delivery::policies::DeliveryPolicies)). Templates, expressions, URLs and the wiring are
//! not checked here: `pipeline::compile` does that.

use crate::problem::Problem;
use crate::sink::TypeConfig;
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

/// The rules of a sink's own keys. Paths start at its table.
pub(super) fn sink(kind: &TypeConfig) -> Vec<Problem> {
    let TypeConfig::Webhook(webhook) = kind;
    let mut problems = Vec::new();
    if webhook.template.is_some() && webhook.body.is_some() {
        problems.push(
            Problem::new(["body"], "`template` and `body` exclude each other")
                .with_help("`template` names one of `[templates]`, `body` is a template itself"),
        );
    }
    let beside_form = [
        ("template", webhook.template.is_some()),
        ("body", webhook.body.is_some()),
        ("content_type", webhook.content_type.is_some()),
    ];
    for (key, _) in beside_form.iter().filter(|(_, is_there)| webhook.form.is_some() && *is_there) {
        problems.push(
            Problem::new([*key], format!("`form` and `{key}` exclude each other"))
                .with_help("`form` is a body of its own, of the content type `application/x-www-form-urlencoded`"),
        );
    }
    problems
}
