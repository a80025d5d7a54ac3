//! Config to graph: wires the nodes by `from`, compiles expressions, templates and requests, builds the connectors.
//!
//! No I/O happens here. Every fault is collected before any is reported.

mod dead_letters;
mod wiring;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::graph::{FilterNode, Graph, SinkNode, SourceNode};
use super::routes::SinkRoute;
use crate::config::{PipelineConfig, SinkConfig};
use crate::delivery::breaker::BreakerPolicy;
use crate::delivery::rate_limit::Rate;
use crate::delivery::retry::RetryPolicy;
use crate::filter::Predicate;
use crate::interpolated::InterpolatedText;
use crate::problem::Problem;
use crate::sink;
use crate::sink::encoding::NamedTemplates;
use crate::sink::rendering::template_problems;
use crate::sink::request::RequestTemplate;
use crate::sink::responses::Responses;
use crate::sink::verdict::AnswerRules;
use crate::sink::webhook::Webhook;
use crate::source::drive::Bounds;
use crate::source::{Connector, SourceConfig, SourceContext};
use crate::store::Store;
use crate::store::config::{StoreConfig, StoreSettings};
use crate::store::running::UnopenedStore;
use crate::template::{self, Escape, Template};

use wiring::{UNMATCHED, Wiring};

/// What a compiled pipeline needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The pipeline's own state folder.
    pub state_dir: PathBuf,
    /// The folder of the pipeline file: relative paths in it start there.
    pub base_dir: PathBuf,
    /// Stop at the end that each source sees at the start.
    pub once: bool,
    /// What templates may use besides the event.
    pub rendering: template::Options,
}

/// The names that a file has, of sound nodes and of others: a reference to a node that is at fault itself is not a
/// second fault.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    /// Sources and filters.
    pub nodes: &'a BTreeSet<String>,
    /// Sinks.
    pub sinks: &'a BTreeSet<String>,
    /// Templates.
    pub templates: &'a BTreeSet<String>,
}

/// Compiles a pipeline. One that is to go on with the store of the one that runs is given it, and its graph then has none
/// of its own.
///
/// # Errors
/// Every fault, with its path in the file.
pub fn compile(
    config: &PipelineConfig,
    declared: Declared<'_>,
    environment: &Environment,
    running_store: Option<&Store>,
) -> Result<Graph, Vec<Problem>> {
    let mut compiler = Compiler { config, environment, declared, problems: Vec::new() };
    let wiring = compiler.wire();
    let templates = compiler.templates();
    let store = compiler.store().filter(|_| running_store.is_none());
    let mut sources = compiler.sources(&wiring, running_store.or(store.as_ref().map(|(store, _)| store)));
    let filters = compiler.filters(&wiring);
    let mut sinks = compiler.sinks(&templates);
    let letters = compiler.letter_targets(&wiring);
    if !compiler.problems.is_empty() {
        return Err(compiler.problems);
    }
    for (source, target) in sources.iter_mut().zip(letters.sources) {
        source.dead_letter = target;
    }
    for (sink, target) in sinks.iter_mut().zip(letters.sinks) {
        sink.dead_letter = target;
    }
    Ok(Graph {
        name: config.name.as_str().into(),
        sources,
        filters: filters.into(),
        sinks,
        store,
        workers: config.runtime.workers,
        shutdown_timeout: config.runtime.shutdown_timeout.0,
    })
}

struct Compiler<'a> {
    config: &'a PipelineConfig,
    environment: &'a Environment,
    declared: Declared<'a>,
    problems: Vec<Problem>,
}

impl<'a> Compiler<'a> {
    /// Keeps the sound part of a result; its problems, put under `path`, go to the others.
    fn keep<T>(&mut self, path: &[&str], result: Result<T, Vec<Problem>>) -> Option<T> {
        result
            .map_err(|problems| {
                let under = |problem: Problem| problem.under(path.iter().copied());
                self.problems.extend(problems.into_iter().map(under));
            })
            .ok()
    }

    fn templates(&mut self) -> NamedTemplates<'a> {
        let (configs, rendering) = (&self.config.templates, &self.environment.rendering);
        let (templates, problems) = NamedTemplates::compile(configs, self.declared.templates, rendering);
        self.problems.extend(problems);
        templates
    }

    fn sources(&mut self, wiring: &Wiring, store: Option<&Store>) -> Vec<SourceNode> {
        let config = self.config;
        let mut standard_input = None;
        let mut nodes = Vec::new();
        for (name, source) in &config.sources {
            if source.kind.is_standard_input()
                && let Some(first) = standard_input.replace(name)
            {
                let message = format!("source `{first}` reads standard input already");
                let help = "keep one of the two: what one reads, the other would not get";
                self.problems.push(Problem::new(["sources", name, "type"], message).with_help(help));
            }
            let connector = Connector::new(self.source_context(name, source, store), &source.kind);
            if let Some(connector) = self.keep(&["sources", name], connector) {
                let outputs = wiring.get(name).cloned().unwrap_or_default();
                let (bounds, format) = (bounds(source), source.common.format);
                let name = name.as_str().into();
                nodes.push(SourceNode { name, connector, bounds, format, outputs, dead_letter: None });
            }
        }
        nodes
    }

    fn source_context(&self, name: &str, source: &SourceConfig, store: Option<&Store>) -> SourceContext {
        SourceContext {
            pipeline: self.config.name.as_str().into(),
            name: name.into(),
            format: source.common.format,
            max_event_size: source.common.max_event_size.0,
            once: self.environment.once,
            store: store.cloned(),
            base_dir: self.environment.base_dir.clone(),
        }
    }

    fn filters(&mut self, wiring: &Wiring) -> Vec<FilterNode> {
        let config = self.config;
        let mut nodes = Vec::new();
        for (name, filter) in &config.filters {
            let predicate = Predicate::parse(&filter.when).map_err(|error| {
                let problem = Problem::new(["when"], format!("in the expression: {error}"));
                let problem = match error.part.clone() {
                    Some(range) => problem.with_part(range),
                    None => problem,
                };
                vec![match &error.help {
                    Some(help) => problem.with_help(help),
                    None => problem,
                }]
            });
            if let Some(predicate) = self.keep(&["filters", name], predicate) {
                let targets = |output: &str| wiring.get(output).cloned().unwrap_or_default();
                let (matched, unmatched) = (targets(name), targets(&format!("{name}{UNMATCHED}")));
                nodes.push(FilterNode { name: name.as_str().into(), predicate, matched, unmatched });
            }
        }
        nodes
    }

    /// The store, which is not open yet; `None` when there is to be none.
    fn store(&mut self) -> Option<(Store, UnopenedStore)> {
        let Environment { state_dir, base_dir, .. } = self.environment;
        let settings = |config: &StoreConfig| StoreSettings::new(config, &self.config.name, state_dir, base_dir);
        let checked = settings(&self.config.store);
        // In the place of a store whose table is at fault: what needs one must not be reported as a second fault.
        let stand_in = if checked.is_err() { settings(&StoreConfig::default()).ok().flatten() } else { None };
        self.keep(&["store"], checked).flatten().or(stand_in).map(UnopenedStore::new)
    }

    fn sinks(&mut self, templates: &NamedTemplates<'_>) -> Vec<SinkNode> {
        let config = self.config;
        config.sinks.iter().filter_map(|(name, sink)| self.sink(name, sink, templates)).collect()
    }

    fn sink(&mut self, name: &str, config: &SinkConfig, templates: &NamedTemplates<'_>) -> Option<SinkNode> {
        let SinkConfig { delivery, kind: sink::TypeConfig::Webhook(webhook) } = config;
        let path = ["sinks", name];
        let rendering = &self.environment.rendering;
        let request = self.keep(&path, RequestTemplate::new(webhook, templates, rendering));
        let retry = self.keep(&["sinks", name, "retry"], RetryPolicy::new(&delivery.retry));
        let breaker = self.keep(&["sinks", name, "breaker"], BreakerPolicy::new(&delivery.breaker));
        let limit = delivery.rate_limit.as_ref();
        let rate = self.keep(&["sinks", name, "rate_limit"], limit.map(Rate::new).transpose());
        let key = limit.and_then(|limit| limit.key.as_ref());
        let text = |text: &InterpolatedText| Template::compile_with(text, Escape::Key, rendering);
        let bucket = key.map(text).transpose();
        let bucket = bucket.map_err(|faults| template_problems(&["rate_limit", "key"], &faults));
        let bucket = self.keep(&path, bucket);
        let order_by = delivery.order_by.as_ref().map(text).transpose();
        let order_by = order_by.map_err(|faults| template_problems(&["order_by"], &faults));
        let order_by = self.keep(&path, order_by);
        let fixed_headers = request.as_ref().map(|request| request.fixed_headers().clone()).unwrap_or_default();
        let responses = self.keep(&["sinks", name, "responses"], Responses::new(&delivery.responses));
        // A table at fault has been reported, and must not hide what is wrong with the webhook itself.
        let max_retry_after = retry.as_ref().map(RetryPolicy::max_retry_after).unwrap_or_default();
        let rules = AnswerRules { responses: responses.unwrap_or_default(), max_retry_after };
        let webhook = self.keep(&path, Webhook::new(webhook, delivery.concurrency, fixed_headers, rules));
        Some(SinkNode {
            route: Arc::new(SinkRoute { name: name.into(), request: request?, bucket: bucket?, order_by: order_by? }),
            webhook: webhook?,
            concurrency: delivery.concurrency,
            retry: retry?,
            rate: rate?,
            breaker: breaker?,
            dead_letter: None,
        })
    }
}

fn bounds(source: &SourceConfig) -> Bounds {
    Bounds {
        max_in_flight: source.common.max_in_flight,
        max_in_flight_bytes: source.common.max_in_flight_bytes.0,
        max_event_size: source.common.max_event_size.0,
        commit_interval: source.common.commit_interval.map(|period| period.0),
    }
}

/// The folder that relative paths of a pipeline file start at.
pub fn base_dir(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}
