//! Rules that no single type can state: about several keys of a node, or about what a key may be.
//!
//! A table whose owner has a checked form of it is checked by making that form, which is kept
//! ([`DeliveryPolicies`](crate::delivery::policies::DeliveryPolicies)). Templates, expressions, URLs and the wiring are
//! not checked here: `pipeline::compile` does that.

use crate::problem::Problem;
use crate::sink::TypeConfig;
use crate::source::SourceConfig;
use crate::template::TemplateConfig;
use crate::transform::TransformConfig;

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
    let bodies =
        [("template", webhook.template.is_some()), ("body", webhook.body.is_some()), ("jq", webhook.jq.is_some())];
    let bodies: Vec<_> = bodies.iter().filter(|(_, is_there)| *is_there).map(|(key, _)| *key).collect();
    let others = bodies.iter().skip(1).map(|key| {
        Problem::new([*key], format!("`{}` and `{key}` exclude each other", bodies[0]))
            .with_help("`template` names one of `[templates]`, `body` is a template itself, and `jq` a program")
    });
    let content_type = webhook.content_type.as_ref().map(|_| "content_type");
    let beside_form = bodies.iter().copied().chain(content_type).filter(|_| webhook.form.is_some()).map(|key| {
        Problem::new([key], format!("`form` and `{key}` exclude each other"))
            .with_help("`form` is a body of its own, of the content type `application/x-www-form-urlencoded`")
    });
    others.chain(beside_form).collect()
}

/// The rules of a transform. Paths start at its table.
pub(super) fn transform(config: &TransformConfig) -> Vec<Problem> {
    let both = config.jq.is_some() && config.parse.is_some();
    let problem = || {
        Problem::new(["parse"], "`jq` and `parse` exclude each other")
            .with_help("make two transforms: one that parses, and one that has the first in its `from`")
    };
    both.then(problem).into_iter().collect()
}

/// The rules of a named template. Paths start at its table.
pub(super) fn template(config: &TemplateConfig) -> Vec<Problem> {
    let both = config.body.is_some() && config.jq.is_some();
    let problem = || {
        Problem::new(["jq"], "`body` and `jq` exclude each other")
            .with_help("`body` is a template, and `jq` a program in its place")
    };
    both.then(problem).into_iter().collect()
}
