//! Doubts about templates.

use super::warning;
use crate::config::PipelineConfig;
use crate::interpolated::InterpolatedText;
use crate::problem::{Problem, Warning, WarningCode};
use crate::sink::{self, rendering::template_problem};
use crate::template::{Doubt, Escape, Template, default_content_type};

/// What is worth a second look in the templates of a pipeline; none in those that are at fault.
pub(super) fn doubts(config: &PipelineConfig) -> Vec<Warning> {
    let mut found = Vec::new();
    for (name, template) in &config.templates {
        found.extend(body(&template.body, &template.content_type, &["templates", name, "body"]));
    }
    for (name, sink) in &config.sinks {
        let sink::TypeConfig::Webhook(webhook) = &sink.kind;
        if let Some(text) = &webhook.body {
            let content_type = webhook.content_type.clone().unwrap_or_else(default_content_type);
            found.extend(body(text, &content_type, &["sinks", name, "body"]));
        }
        found.extend(of(&webhook.url, Escape::Url, &["sinks", name, "url"]));
        for (header, value) in &webhook.headers {
            found.extend(of(value, Escape::Header, &["sinks", name, "headers", header]));
        }
        let key = sink.delivery.rate_limit.as_ref().and_then(|limit| limit.key.as_ref());
        found.extend(key.into_iter().flat_map(|key| of(key, Escape::Key, &["sinks", name, "rate_limit", "key"])));
        let order_by = sink.delivery.order_by.iter();
        found.extend(order_by.flat_map(|order_by| of(order_by, Escape::Key, &["sinks", name, "order_by"])));
    }
    found
}

fn body(text: &InterpolatedText, content_type: &str, path: &[&str]) -> Vec<Warning> {
    let escape = Escape::for_content_type(content_type);
    let mut found = of(text, escape, path);
    let inserts =
        text.as_str().contains("{{") && Template::compile(text, escape).is_ok_and(|template| template.inserts());
    if escape == Escape::Text && inserts {
        let message = format!("values go into this body as they are: nothing is known of `{content_type}`");
        let help =
            "set the content type of what it is, such as \"application/json\", or write `{{{…}}}` if it is meant so";
        found.push(warning(WarningCode::UnescapedValues, Problem::new(path.iter().copied(), message).with_help(help)));
    }
    found
}

fn of(text: &InterpolatedText, escape: Escape, path: &[&str]) -> Vec<Warning> {
    let Ok(template) = Template::compile(text, escape) else { return Vec::new() };
    let doubts = template.doubts().iter().map(|doubt| {
        let (code, error) = match doubt {
            Doubt::SingleValueRepeated(error) => (WarningCode::SingleValueRepeated, error),
            Doubt::UnknownMember(error) => (WarningCode::UnknownMember, error),
            Doubt::NotAnExpression(error) => (WarningCode::NotAnExpression, error),
        };
        warning(code, template_problem(path.iter().copied(), error))
    });
    doubts.collect()
}
