//! The shape of a pipeline, for drawings: its nodes and who feeds whom, with events and with dead letters. Pure.
//!
//! It is made of the config and not of the compiled graph, so that a pipeline can be drawn without its secrets. A name
//! that leads nowhere is drawn as what it is; that it is a fault, `compile` says.

use indexmap::IndexMap;

use crate::config::PipelineConfig;
use crate::delivery::dead_letter::destination::DestinationName;
use crate::interpolated::InterpolatedText;
use crate::jq::ValueText;
use crate::secret::{blot_out_passwords, mask};
use crate::sink;
use crate::source::TypeConfig;
use crate::transform::TransformConfig;

/// A pipeline's nodes and edges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The pipeline's name.
    pub name: String,
    /// Sources, filters, transforms and sinks in the order of the file, then what lies outside of it.
    pub nodes: Vec<Node>,
    /// In the order of the nodes that are fed.
    pub edges: Vec<Edge>,
}

/// One node. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its name, or the destination of dead letters as it is written.
    pub name: String,
    /// What it does, in a few words: a source's type, a filter's expression, a transform's program, a sink's method and URL.
    pub detail: String,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A source.
    Source,
    /// A filter.
    Filter,
    /// A transform.
    Transform,
    /// A sink.
    Sink,
    /// A topic or an exchange that gets dead letters.
    Broker,
    /// A name that leads nowhere.
    Missing,
}

/// One way of events from node to node, by their indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The node that feeds.
    pub from: usize,
    /// The node that is fed.
    pub to: usize,
    /// With what.
    pub kind: EdgeKind,
}

/// What goes along an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeKind {
    /// A source's events, those that match a filter, or those that a transform makes.
    Events,
    /// Those that a filter turns away, or that do not match a transform's `parse`.
    Unmatched,
    /// Those that are given up.
    DeadLetters,
}

impl Outline {
    /// The outline of a pipeline.
    pub fn of(config: &PipelineConfig) -> Self {
        let mut drawing = Drawing::default();
        for (name, source) in &config.sources {
            drawing.add(NodeKind::Source, name, source_type(&source.kind).to_owned());
        }
        for (name, filter) in &config.filters {
            drawing.add(NodeKind::Filter, name, on_one_line(filter.when.as_str()));
        }
        for (name, transform) in &config.transforms {
            drawing.add(NodeKind::Transform, name, detail_of(transform));
        }
        for (name, sink) in &config.sinks {
            let sink::TypeConfig::Webhook(webhook) = &sink.kind;
            let method = webhook.method.template().map_or("jq", InterpolatedText::as_str);
            drawing.add(NodeKind::Sink, name, format!("{method} {}", url_of(&webhook.url)));
        }
        drawing.wire(config);
        let nodes = drawing.nodes.into_iter().map(|((kind, name), detail)| Node {
            kind,
            name: mask(&name).into_owned(),
            detail: mask(&detail).into_owned(),
        });
        Self { name: mask(&config.name).into_owned(), nodes: nodes.collect(), edges: drawing.edges }
    }

    /// The edges that leave a node, in the order of the nodes that are fed.
    pub fn edges_from(&self, node: usize) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == node)
    }
}

#[derive(Debug, Default)]
struct Drawing {
    nodes: IndexMap<(NodeKind, String), String>,
    edges: Vec<Edge>,
}

impl Drawing {
    fn add(&mut self, kind: NodeKind, name: &str, detail: String) -> usize {
        self.nodes.insert_full((kind, name.to_owned()), detail).0
    }

    fn wire(&mut self, config: &PipelineConfig) {
        for (name, filter) in &config.filters {
            self.feed(&filter.from, NodeKind::Filter, name);
        }
        for (name, transform) in &config.transforms {
            self.feed(&transform.from, NodeKind::Transform, name);
        }
        for (name, sink) in &config.sinks {
            self.feed(&sink.delivery.from, NodeKind::Sink, name);
        }
        for (name, source) in &config.sources {
            self.dead_letters(source.common.dead_letter.as_deref(), NodeKind::Source, name);
        }
        for (name, sink) in &config.sinks {
            self.dead_letters(sink.delivery.dead_letter.as_deref(), NodeKind::Sink, name);
        }
    }

    fn feed(&mut self, from: &[String], kind: NodeKind, name: &str) {
        for output in from {
            let (node, edge) = match output.strip_suffix(".unmatched") {
                Some(filter) => (filter, EdgeKind::Unmatched),
                None => (output.as_str(), EdgeKind::Events),
            };
            let feeding = [NodeKind::Source, NodeKind::Filter, NodeKind::Transform];
            let known = feeding.into_iter().find_map(|kind| self.find(kind, node));
            let feeding = known.unwrap_or_else(|| self.missing(node));
            self.connect(feeding, (kind, name), edge);
        }
    }

    fn dead_letters(&mut self, destination: Option<&str>, kind: NodeKind, name: &str) {
        let Some(destination) = destination else { return };
        let to = match DestinationName::parse(destination) {
            Ok(DestinationName::Sink(sink)) => self.find(NodeKind::Sink, sink).unwrap_or_else(|| self.missing(sink)),
            Ok(_) => self.add(NodeKind::Broker, destination, String::new()),
            Err(_) => self.missing(destination),
        };
        if let Some(from) = self.find(kind, name) {
            self.edges.push(Edge { from, to, kind: EdgeKind::DeadLetters });
        }
    }

    fn connect(&mut self, from: usize, (kind, name): (NodeKind, &str), edge: EdgeKind) {
        if let Some(to) = self.find(kind, name) {
            self.edges.push(Edge { from, to, kind: edge });
        }
    }

    fn find(&self, kind: NodeKind, name: &str) -> Option<usize> {
        self.nodes.get_index_of(&(kind, name.to_owned()))
    }

    fn missing(&mut self, name: &str) -> usize {
        self.add(NodeKind::Missing, name, "there is no such node".to_owned())
    }
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The beginning of the program, or what is parsed.
fn detail_of(transform: &TransformConfig) -> String {
    if let Some(parse) = &transform.parse {
        return format!("parse {}", parse.name());
    }
    let program = on_one_line(transform.jq.as_ref().map_or("", |jq| jq.as_ref().as_str()));
    match program.char_indices().nth(LONGEST_PROGRAM) {
        Some((end, _)) => format!("jq {}…", &program[..end]),
        None => format!("jq {program}"),
    }
}

/// Characters of a program that are shown.
const LONGEST_PROGRAM: usize = 60;

fn source_type(kind: &TypeConfig) -> &'static str {
    match kind {
        TypeConfig::Kafka(_) => "kafka",
        TypeConfig::Amqp(_) => "amqp",
        TypeConfig::File(_) => "file",
        TypeConfig::Stdin(_) => "stdin",
    }
}

/// A URL as it is shown. What a program gives is not known.
fn url_of(url: &ValueText) -> String {
    match url.template() {
        Some(url) => blot_out_passwords(url.as_str()),
        None => "jq".to_owned(),
    }
}
