//! Config to graph: wires the nodes by `from`, compiles expressions, templates and requests, builds the connectors.
//!
//! No I/O happens here. Every fault is collected before any is reported.

mod dead_letters;
mod stages;
mod wiring;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::graph::{Graph, SinkNode, SourceNode};
use super::routes::SinkRoute;
use crate::config::test_case::Json;
use crate::config::{PipelineConfig, SinkConfig};
use crate::delivery::control::SinkSettings;
use crate::delivery::policies::DeliveryPolicies;
use crate::jq::{self, ValueText};
use crate::problem::{Problem, Warning};
use crate::sink;
use crate::sink::encoding::NamedTemplates;
use crate::sink::rendering::{TemplateCompiler, options_of_programs};
use crate::sink::request::RequestTemplate;
use crate::sink::webhook::Webhook;
use crate::source::drive::Bounds;
use crate::source::{Connector, SourceConfig, SourceContext};
use crate::store::Store;
use crate::store::config::{StoreConfig, StoreSettings};
use crate::store::running::UnopenedStore;
use crate::template::{self, Escape};

use wiring::Wiring;

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
    /// Sources, filters and transforms.
    pub nodes: &'a BTreeSet<String>,
    /// Sinks.
    pub sinks: &'a BTreeSet<String>,
    /// Templates.
    pub templates: &'a BTreeSet<String>,
}

/// A pipeline that was compiled.
pub struct Compilation {
    /// The graph.
    pub graph: Graph,
    /// Where the store is; `None` with `store.url = "none"`.
    pub store: Option<StoreSettings>,
    /// What is worth a second look in the templates.
    pub warnings: Vec<Warning>,
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
) -> Result<Compilation, Vec<Problem>> {
    let rendering = template::Options { tables: tables(config), ..environment.rendering.clone() };
    let (problems, warnings) = (Vec::new(), Vec::new());
    let of_programs = options_of_programs(&rendering);
    let mut compiler = Compiler {
        config,
        environment,
        rendering: &rendering,
        of_programs: &of_programs,
        declared,
        problems,
        warnings,
    };
    let wiring = compiler.wire();
    let templates = compiler.templates();
    let store = compiler.store();
    let store_settings = store.as_ref().map(|(_, store)| store.settings().clone());
    let store = store.filter(|_| running_store.is_none());
    let mut sources = compiler.sources(&wiring, running_store.or(store.as_ref().map(|(store, _)| store)));
    let stages = compiler.stages(&wiring);
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
    let graph = Graph {
        name: config.name.as_str().into(),
        sources,
        stages: stages.into(),
        sinks,
        store,
        workers: config.runtime.workers,
        shutdown_timeout: config.runtime.shutdown_timeout.0,
    };
    Ok(Compilation { graph, store: store_settings, warnings: compiler.warnings })
}

struct Compiler<'a> {
    config: &'a PipelineConfig,
    environment: &'a Environment,
    /// What templates may use besides the event.
    rendering: &'a template::Options,
    /// The same for programs.
    of_programs: &'a jq::Options,
    declared: Declared<'a>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
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
        let mut compiler = TemplateCompiler::new(self.rendering, self.of_programs);
        let templates = NamedTemplates::compile(&self.config.templates, self.declared.templates, &mut compiler);
        self.take_findings(&["templates"], compiler);
        templates
    }

    /// Keeps what was found in templates, put under `path`.
    fn take_findings(&mut self, path: &[&str], compiler: TemplateCompiler<'_>) {
        let TemplateCompiler { problems, warnings, .. } = compiler;
        self.problems.extend(problems.into_iter().map(|problem| problem.under(path.iter().copied())));
        self.warnings.extend(warnings.into_iter().map(|warning| warning.under(path.iter().copied())));
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
                let (name, meta_of_tests) = (name.as_str().into(), source.kind.meta_of_tests());
                let node = SourceNode { name, connector, bounds, format, meta_of_tests, outputs, dead_letter: None };
                nodes.push(node);
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
            meta_beside: source.meta_beside.clone(),
        }
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
        let SinkConfig { delivery, policies, kind: sink::TypeConfig::Webhook(webhook) } = config;
        let path = ["sinks", name];
        let mut compiler = TemplateCompiler::new(self.rendering, self.of_programs);
        let request = RequestTemplate::compile(webhook, templates, &mut compiler);
        let mut key = |path: &[&str], value: Option<&ValueText>| match value {
            Some(value) => compiler.compile_value(path, value, Escape::Key).map(Some),
            None => Some(None),
        };
        let limit = delivery.rate_limit.as_ref();
        let bucket = key(&["rate_limit", "key"], limit.and_then(|limit| limit.key.as_ref()));
        let order_by = key(&["order_by"], delivery.order_by.as_ref());
        self.take_findings(&path, compiler);
        let fixed_headers = request.as_ref().map(|request| request.fixed_headers().clone()).unwrap_or_default();
        // Tables at fault have been reported, and must not hide what is wrong with the webhook itself.
        let answers = policies.as_ref().map(|policies| policies.answers.clone()).unwrap_or_default();
        let webhook = self.keep(&path, Webhook::new(webhook, delivery.concurrency, fixed_headers, answers));
        let DeliveryPolicies { retry, rate, breaker, .. } = policies.clone()?;
        let (request, bucket, order_by) = (request?, bucket?, order_by?);
        Some(SinkNode {
            settings: SinkSettings {
                webhook: Arc::new(webhook?),
                concurrency: delivery.concurrency,
                retry,
                rate,
                breaker,
                has_keyed_buckets: bucket.is_some(),
            },
            route: Arc::new(SinkRoute { name: name.into(), request, bucket, order_by }),
            dead_letter: None,
        })
    }
}

/// The tables of a file, as templates see them.
pub fn tables(config: &PipelineConfig) -> template::Tables {
    let rows = |rows: &IndexMap<String, Json>| -> Vec<_> {
        rows.iter().map(|(key, Json(value))| (key.clone(), value.clone())).collect()
    };
    template::Tables::new(config.tables.iter().map(|(name, table)| (name.clone(), rows(table))))
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
