//! Config to graph: wires the nodes by `from`, compiles expressions, templates and requests, builds the connectors.
//!
//! No I/O happens here. Every fault is collected before any is reported.

mod dead_letters;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::graph::{FilterNode, Graph, SinkNode, SourceNode, Target};
use super::routes::Entrance;
use crate::config::{PipelineConfig, SinkConfig};
use crate::delivery::breaker::BreakerPolicy;
use crate::delivery::rate_limit::Rate;
use crate::delivery::responses::Responses;
use crate::delivery::retry::RetryPolicy;
use crate::filter::Predicate;
use crate::problem::{Problem, did_you_mean};
use crate::sink;
use crate::sink::request::{RequestTemplate, check_template, template_problem};
use crate::sink::webhook::Webhook;
use crate::source::drive::Bounds;
use crate::source::{Connector, SourceConfig, SourceContext};
use crate::store::Store;
use crate::store::config::{StoreConfig, StoreSettings};
use crate::store::thread::StoreThread;
use crate::template::{self, Escape, Template};

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

/// Compiles a pipeline.
///
/// # Errors
/// Every fault, with its path in the file.
pub fn compile(
    config: &PipelineConfig,
    declared: Declared<'_>,
    environment: &Environment,
) -> Result<Graph, Vec<Problem>> {
    let mut compiler = Compiler { config, environment, declared, problems: Vec::new() };
    let wiring = compiler.wire();
    compiler.check_templates();
    let store = compiler.store();
    let mut sources = compiler.sources(&wiring, store.as_ref().map(|(store, _)| store));
    let filters = compiler.filters(&wiring);
    let capacities = compiler.queue_capacities(&wiring);
    let mut sinks = compiler.sinks(&capacities);
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
        state_dir: environment.state_dir.clone(),
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

/// Who takes the events of each output; an output is named as in `from`: `orders`, `paid`, `paid.unmatched`.
type Wiring = HashMap<String, Vec<Target>>;

const UNMATCHED: &str = ".unmatched";

impl Compiler<'_> {
    /// Keeps the sound part of a result; its problems, put under `path`, go to the others.
    fn keep<T>(&mut self, path: &[&str], result: Result<T, Vec<Problem>>) -> Option<T> {
        result
            .map_err(|problems| {
                let under = |problem: Problem| problem.under(path.iter().copied());
                self.problems.extend(problems.into_iter().map(under));
            })
            .ok()
    }

    fn wire(&mut self) -> Wiring {
        let config = self.config;
        let mut wiring = Wiring::new();
        for (index, (name, filter)) in config.filters.iter().enumerate() {
            self.connect(&["filters", name], &filter.from, Target::Filter(index), &mut wiring);
        }
        for (index, (name, sink)) in config.sinks.iter().enumerate() {
            self.connect(&["sinks", name], &sink.delivery.from, Target::Sink(index), &mut wiring);
            if sink.delivery.from.is_empty() && !self.gets_letters(name) {
                let help = "add `from` with the names of sources or filters, or name the sink in a `dead_letter`";
                let message = format!("nothing feeds sink `{name}`");
                self.problems.push(Problem::new(["sinks", name, "from"], message).with_help(help));
            }
        }
        self.refuse_cycles(&wiring);
        self.refuse_dead_ends(&wiring);
        wiring
    }

    /// Refuses sources and filters whose events nobody takes. Where a node was left out for its own faults, it may have
    /// been the one that takes them.
    fn refuse_dead_ends(&mut self, wiring: &Wiring) {
        let config = self.config;
        let is_there = |name: &String| config.sources.contains_key(name) || config.filters.contains_key(name);
        let all_there = self.declared.nodes.iter().all(is_there)
            && self.declared.sinks.iter().all(|s| config.sinks.contains_key(s));
        if !all_there {
            return;
        }
        for name in config.sources.keys().filter(|name| !wiring.contains_key(*name)) {
            let help = format!("add \"{name}\" to the `from` of a filter or sink, or remove the source");
            let message = format!("nothing takes the events of source `{name}`");
            self.problems.push(Problem::new(["sources", name], message).with_help(help));
        }
        let is_used = |name: &str| wiring.contains_key(name) || wiring.contains_key(&format!("{name}{UNMATCHED}"));
        for name in config.filters.keys().filter(|name| !is_used(name)) {
            let help = format!(
                "add \"{name}\" or \"{name}{UNMATCHED}\" to the `from` of a filter or sink, or remove the filter"
            );
            let message = format!("nothing takes the events of filter `{name}`");
            self.problems.push(Problem::new(["filters", name], message).with_help(help));
        }
    }

    fn check_templates(&mut self) {
        let config = self.config;
        for (name, template) in &config.templates {
            let problems = check_template(template).into_iter();
            self.problems.extend(problems.map(|problem| problem.under(["templates", name])));
        }
    }

    fn connect(&mut self, path: &[&str], from: &[String], target: Target, wiring: &mut Wiring) {
        for (position, output) in from.iter().enumerate() {
            let position = position.to_string();
            let at = path.iter().copied().chain(["from", position.as_str()]);
            if let Some(problem) = self.refuse_output(output, at.clone()) {
                self.problems.push(problem);
                // Whatever was meant is not also reported as a dead end.
                if let Some(meant) = self.meant_output(output) {
                    wiring.entry(meant).or_default();
                }
                continue;
            }
            let targets = wiring.entry(output.clone()).or_default();
            if targets.contains(&target) {
                let message = format!("`{output}` is named twice");
                self.problems.push(Problem::new(at, message).with_help("remove one of the two"));
            } else {
                targets.push(target);
            }
        }
    }

    /// The fault of a name in `from`, if it has one.
    fn refuse_output<'p>(&self, output: &str, at: impl Iterator<Item = &'p str>) -> Option<Problem> {
        let config = self.config;
        let declared = self.declared.nodes;
        let node = node_of(output);
        if declared.contains(node) {
            let is_unmatched = node.len() < output.len();
            return (is_unmatched && config.sources.contains_key(node)).then(|| {
                Problem::new(at, format!("source `{node}` has no `{output}`"))
                    .with_help(format!("only filters turn events away; write \"{node}\""))
            });
        }
        if self.declared.sinks.contains(node) {
            let help = "name a source or a filter: events end at sinks";
            return Some(Problem::new(at, format!("`{node}` is a sink")).with_help(help));
        }
        let problem = Problem::new(at, format!("there is no source or filter `{node}`"));
        Some(match self.meant_output(output) {
            Some(meant) => problem.with_help(format!("did you mean `{meant}`?")),
            None if declared.is_empty() => problem,
            None => {
                let names: Vec<_> = declared.iter().map(|name| format!("`{name}`")).collect();
                problem.with_help(format!("there are {}", names.join(", ")))
            }
        })
    }

    /// The output that a name in `from` which is none was probably meant to be.
    fn meant_output(&self, output: &str) -> Option<String> {
        let unmatched = self.config.filters.keys().map(|filter| format!("{filter}{UNMATCHED}"));
        let known: Vec<String> = self.declared.nodes.iter().cloned().chain(unmatched).collect();
        let meant = did_you_mean(output, known.iter().map(String::as_str));
        let meant = meant.or_else(|| did_you_mean(node_of(output), known.iter().map(String::as_str)));
        meant.map(str::to_owned)
    }

    fn refuse_cycles(&mut self, wiring: &Wiring) {
        let config = self.config;
        let mut reported = BTreeSet::new();
        for (start, name) in config.filters.keys().enumerate() {
            let Some(cycle) = self.cycle_from(wiring, start).filter(|cycle| cycle.is_disjoint(&reported)) else {
                continue;
            };
            let others = cycle.iter().filter(|index| **index != start);
            let others: Vec<_> = others.filter_map(|index| config.filters.get_index(*index)).collect();
            let message = match others.as_slice() {
                [] => format!("filter `{name}` feeds itself"),
                others => {
                    let others: Vec<_> = others.iter().map(|(name, _)| format!("`{name}`")).collect();
                    format!("filter `{name}` feeds itself by way of {}", others.join(" and "))
                }
            };
            let help = "events would go round for ever; take one `from` out of the circle";
            self.problems.push(Problem::new(["filters", name, "from"], message).with_help(help));
            reported.extend(cycle);
        }
    }

    /// The filters of a way from a filter back to itself.
    fn cycle_from(&self, wiring: &Wiring, start: usize) -> Option<BTreeSet<usize>> {
        let mut fed_by = HashMap::new();
        let mut next = vec![start];
        while let Some(index) = next.pop() {
            for target in self.outputs_of_filter(wiring, index) {
                let Target::Filter(fed) = target else { continue };
                if fed == start {
                    return Some(std::iter::successors(Some(index), |index| fed_by.get(index).copied()).collect());
                }
                fed_by.entry(fed).or_insert_with(|| {
                    next.push(fed);
                    index
                });
            }
        }
        None
    }

    fn outputs_of_filter(&self, wiring: &Wiring, index: usize) -> Vec<Target> {
        let Some((name, _)) = self.config.filters.get_index(index) else { return Vec::new() };
        let outputs = [name.clone(), format!("{name}{UNMATCHED}")];
        outputs.iter().filter_map(|output| wiring.get(output)).flatten().copied().collect()
    }

    fn sources(&mut self, wiring: &Wiring, store: Option<&Store>) -> Vec<SourceNode> {
        let config = self.config;
        let mut standard_input = None;
        let mut nodes = Vec::new();
        for (name, source) in &config.sources {
            if matches!(source.kind, crate::source::TypeConfig::Stdin(_))
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

    /// How many deliveries may come to each sink before its sources are full, on every path and as dead letters.
    fn queue_capacities(&self, wiring: &Wiring) -> Vec<usize> {
        let mut capacities = vec![0_usize; self.config.sinks.len()];
        if !self.problems.is_empty() {
            return capacities;
        }
        for (name, source) in &self.config.sources {
            for index in self.deliveries_of(name, wiring) {
                capacities[index] = capacities[index].saturating_add(source.common.max_in_flight);
            }
        }
        capacities
    }

    /// The store, which is not open yet; `None` when there is to be none.
    fn store(&mut self) -> Option<(Store, StoreThread)> {
        let Environment { state_dir, base_dir, .. } = self.environment;
        let settings = |config: &StoreConfig| StoreSettings::new(config, &self.config.name, state_dir, base_dir);
        let checked = settings(&self.config.store);
        // In the place of a store whose table is at fault: what needs one must not be reported as a second fault.
        let stand_in = if checked.is_err() { settings(&StoreConfig::default()).ok().flatten() } else { None };
        self.keep(&["store"], checked).flatten().or(stand_in).map(StoreThread::new)
    }

    fn sinks(&mut self, capacities: &[usize]) -> Vec<SinkNode> {
        let config = self.config;
        let mut nodes = Vec::new();
        for ((name, sink), capacity) in config.sinks.iter().zip(capacities) {
            nodes.extend(self.sink(name, sink, *capacity));
        }
        nodes
    }

    fn sink(&mut self, name: &str, config: &SinkConfig, queue_capacity: usize) -> Option<SinkNode> {
        let SinkConfig { delivery, kind: sink::TypeConfig::Webhook(webhook) } = config;
        let path = ["sinks", name];
        let rendering = &self.environment.rendering;
        let request = RequestTemplate::new(webhook, &self.config.templates, self.declared.templates, rendering);
        let request = self.keep(&path, request);
        let retry = self.keep(&["sinks", name, "retry"], RetryPolicy::new(&delivery.retry));
        let responses = self.keep(&["sinks", name, "responses"], Responses::new(&delivery.responses));
        let breaker = self.keep(&["sinks", name, "breaker"], BreakerPolicy::new(&delivery.breaker));
        let limit = delivery.rate_limit.as_ref();
        let rate = self.keep(&["sinks", name, "rate_limit"], limit.map(Rate::new).transpose());
        let key = limit.and_then(|limit| limit.key.as_deref());
        let text = |text: &str| Template::compile_with(text, Escape::Text, rendering);
        let bucket = key.map(text).transpose();
        let bucket = bucket.map_err(|error| vec![template_problem(["rate_limit", "key"], &error)]);
        let bucket = self.keep(&path, bucket);
        let order_by = delivery.order_by.as_deref().map(text).transpose();
        let order_by = order_by.map_err(|error| vec![template_problem(["order_by"], &error)]);
        let order_by = self.keep(&path, order_by);
        let fixed_headers = request.as_ref().map(|request| request.fixed_headers().clone()).unwrap_or_default();
        let webhook = self.keep(&path, Webhook::new(webhook, delivery.concurrency, fixed_headers));
        Some(SinkNode {
            entrance: Arc::new(Entrance { name: name.into(), request: request?, bucket: bucket?, order_by: order_by? }),
            webhook: webhook?,
            concurrency: delivery.concurrency,
            retry: retry?,
            responses: responses?,
            rate: rate?,
            breaker: breaker?,
            queue_capacity: queue_capacity.max(1),
            dead_letter: None,
        })
    }
}

/// The node that an output belongs to.
fn node_of(output: &str) -> &str {
    output.strip_suffix(UNMATCHED).unwrap_or(output)
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
