//! Where the dead letters of sources and sinks are sent on to: names resolved, circles refused, connections chosen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Compiler;
use super::wiring::Wiring;
use crate::delivery::dead_letter::brokers::{AmqpExchange, Connections, KafkaTopic};
use crate::delivery::dead_letter::destination::DestinationName;
use crate::pipeline::graph::{LetterTarget, Target};
use crate::problem::{Problem, did_you_mean};
use crate::source::TypeConfig;
use crate::source::amqp::publisher::AmqpPublisher;
use crate::source::kafka::producer::KafkaProducer;

/// Where the letters of each node go, in the order of the file.
pub(super) struct LetterTargets {
    pub(super) sources: Vec<Option<LetterTarget>>,
    pub(super) sinks: Vec<Option<LetterTarget>>,
}

/// A node with a `dead_letter`.
struct Node<'a> {
    section: &'static str,
    name: &'a str,
    /// The sources whose events may become letters of this node.
    fed_by: BTreeSet<&'a str>,
}

/// What the connections of one kind of broker are made of.
struct Kind<T> {
    /// As it is written in `type` and `dead_letter`.
    name: &'static str,
    /// The sources of this type, in the order of the file.
    sources: Vec<String>,
    /// Those made so far: one for each source, however many nodes send through it.
    made: BTreeMap<String, Arc<T>>,
}

impl<T> Kind<T> {
    fn new(name: &'static str, sources: Vec<String>) -> Self {
        Self { name, sources, made: BTreeMap::new() }
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn letter_targets(&mut self, wiring: &Wiring) -> LetterTargets {
        let config = self.config;
        self.refuse_circles_of_letters();
        let fed_by = self.sources_of_letters(wiring);
        let of_type = |wanted: fn(&TypeConfig) -> bool| {
            let sources = config.sources.iter().filter(|(_, source)| wanted(&source.kind));
            sources.map(|(name, _)| name.clone()).collect()
        };
        let mut kafka = Kind::new("kafka", of_type(|kind| matches!(kind, TypeConfig::Kafka(_))));
        let mut amqp = Kind::new("amqp", of_type(|kind| matches!(kind, TypeConfig::Amqp(_))));
        let mut sources = Vec::new();
        for (name, source) in &config.sources {
            let node = Node { section: "sources", name, fed_by: BTreeSet::from([name.as_str()]) };
            sources.push(self.letter_target(&node, source.common.dead_letter.as_deref(), &mut kafka, &mut amqp));
        }
        let mut sinks = Vec::new();
        for ((name, sink), fed_by) in config.sinks.iter().zip(fed_by) {
            let node = Node { section: "sinks", name, fed_by };
            sinks.push(self.letter_target(&node, sink.delivery.dead_letter.as_deref(), &mut kafka, &mut amqp));
        }
        LetterTargets { sources, sinks }
    }

    fn letter_target(
        &mut self,
        node: &Node<'_>,
        text: Option<&str>,
        kafka: &mut Kind<KafkaProducer>,
        amqp: &mut Kind<AmqpPublisher>,
    ) -> Option<LetterTarget> {
        let pipeline: Arc<str> = self.config.name.as_str().into();
        let target = match DestinationName::parse(text?) {
            Err(problem) => Err(Some(problem)),
            Ok(DestinationName::Sink(name)) => self.letter_sink(name).map(LetterTarget::Sink),
            Ok(DestinationName::Kafka { source, topic }) => {
                let make = |compiler: &mut Self, name: &str| compiler.producer(name);
                self.connections(node, source, kafka, topic, make).map(|connections| {
                    LetterTarget::Broker(Arc::new(KafkaTopic { pipeline, connections, topic: topic.to_owned() }))
                })
            }
            Ok(DestinationName::Amqp { source, exchange, routing_key }) => {
                let make = |compiler: &mut Self, name: &str| compiler.publisher(name);
                let rest = format!("{exchange}/{routing_key}");
                self.connections(node, source, amqp, &rest, make).map(|connections| {
                    let (exchange, routing_key) = (exchange.to_owned(), routing_key.to_owned());
                    LetterTarget::Broker(Arc::new(AmqpExchange { pipeline, connections, exchange, routing_key }))
                })
            }
        };
        target
            .map_err(|problem| {
                self.problems.extend(problem.map(|problem| problem.under([node.section, node.name, "dead_letter"])));
            })
            .ok()
    }

    /// The index of a sink. The error is empty when the sink is at fault itself, which is told elsewhere.
    fn letter_sink(&self, name: &str) -> Result<usize, Option<Problem>> {
        if let Some(index) = self.config.sinks.get_index_of(name) {
            return Ok(index);
        }
        if self.declared.sinks.contains(name) {
            return Err(None);
        }
        let problem = here(format!("there is no sink `{name}`"));
        let brokers = ["kafka", "amqp"];
        let help = match did_you_mean(name, self.declared.sinks.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if brokers.contains(&name) => "write \"kafka:topic\" or \"amqp:exchange/routing-key\"".to_owned(),
            None => {
                let names: Vec<_> = self.declared.sinks.iter().map(|name| format!("`{name}`")).collect();
                format!(
                    "there are {}; for a broker write \"kafka:topic\" or \"amqp:exchange/routing-key\"",
                    names.join(", ")
                )
            }
        };
        Err(Some(problem.with_help(help)))
    }

    /// The connections that a node's letters go through: that of the named source; or each event's own source if it is
    /// of the broker's type, and for the other events the only source that is.
    fn connections<T>(
        &mut self,
        node: &Node<'_>,
        named: Option<&str>,
        kind: &mut Kind<T>,
        rest: &str,
        make: impl Fn(&mut Self, &str) -> Option<Arc<T>>,
    ) -> Result<Connections<T>, Option<Problem>> {
        let mut connection = |compiler: &mut Self, name: &str| {
            if !kind.made.contains_key(name) {
                kind.made.insert(name.to_owned(), make(compiler, name).ok_or(None)?);
            }
            kind.made.get(name).cloned().ok_or(None)
        };
        if let Some(name) = named {
            self.check_named_source(name, kind.name, &kind.sources)?;
            return Ok(Connections { by_source: HashMap::new(), otherwise: connection(self, name)? });
        }
        let Some(first) = kind.sources.first() else { return Err(self.no_source_of(kind.name)) };
        let stranger = node.fed_by.iter().find(|source| !kind.sources.iter().any(|known| known == **source));
        if let Some(stranger) = stranger
            && kind.sources.len() > 1
        {
            let kind_name = kind.name;
            let named: Vec<_> = kind.sources.iter().map(|name| format!("\"{kind_name}@{name}:{rest}\"")).collect();
            let message =
                format!("the connection is not clear: `{stranger}` is no {kind_name} source, and several others are");
            return Err(Some(here(message).with_help(format!("name the one to use: write {}", named.join(" or ")))));
        }
        let otherwise = connection(self, first)?;
        let mut by_source = HashMap::new();
        for source in kind.sources.iter().filter(|source| node.fed_by.contains(source.as_str())) {
            by_source.insert(source.as_str().into(), connection(self, source)?);
        }
        Ok(Connections { by_source, otherwise })
    }

    fn check_named_source(&self, name: &str, kind: &str, of_kind: &[String]) -> Result<(), Option<Problem>> {
        if of_kind.iter().any(|known| known == name) {
            return Ok(());
        }
        if self.config.sources.contains_key(name) {
            return Err(Some(here(format!("source `{name}` is not of type \"{kind}\""))));
        }
        // A source that is at fault itself is told of elsewhere.
        if self.declared.nodes.contains(name) && !self.config.feeds_others(name) {
            return Err(None);
        }
        let problem = here(format!("there is no source `{name}`"));
        Err(Some(match did_you_mean(name, of_kind.iter().map(String::as_str)) {
            Some(meant) => problem.with_help(format!("did you mean `{meant}`?")),
            None => problem,
        }))
    }

    fn no_source_of(&self, kind: &str) -> Option<Problem> {
        // One that is at fault may be of that type.
        let config = self.config;
        if !self.declared.nodes.iter().all(|name| config.feeds_others(name)) {
            return None;
        }
        let help = "letters go through the connection of such a source; add one, or send them to a sink";
        Some(here(format!("there is no source of type \"{kind}\"")).with_help(help))
    }

    fn producer(&mut self, name: &str) -> Option<Arc<KafkaProducer>> {
        let TypeConfig::Kafka(config) = &self.config.sources.get(name)?.kind else { return None };
        // What is wrong with the source itself is told already, and may only confuse here.
        if self.is_at_fault(name) {
            return None;
        }
        let help = "dead letters are written with the options of the source, idempotently and with acks=all";
        let producer = KafkaProducer::new(name.into(), config).map_err(|problem| vec![problem.with_help(help)]);
        self.keep(&["sources", name], producer).map(Arc::new)
    }

    fn publisher(&mut self, name: &str) -> Option<Arc<AmqpPublisher>> {
        let source = self.config.sources.get(name)?;
        let TypeConfig::Amqp(config) = &source.kind else { return None };
        AmqpPublisher::new(&self.source_context(name, source, None), config).ok().map(Arc::new)
    }

    fn is_at_fault(&self, source: &str) -> bool {
        let path = ["sources", source];
        self.problems.iter().any(|problem| problem.path.iter().take(2).eq(path.iter()))
    }

    /// For each sink, the sources whose events may become its letters, or another sink's letters that are sent to it.
    fn sources_of_letters(&self, wiring: &Wiring) -> Vec<BTreeSet<&'a str>> {
        let config = self.config;
        let mut fed_by = vec![BTreeSet::new(); config.sinks.len()];
        for name in config.sources.keys() {
            for index in self.deliveries_of(name, wiring) {
                fed_by[index].insert(name.as_str());
            }
        }
        fed_by
    }

    /// The sinks that one event of a source may come to, by index, dead letters included: one entry for each way.
    fn deliveries_of(&self, source: &str, wiring: &Wiring) -> Vec<usize> {
        let mut sinks = Vec::new();
        let letters = self.config.sources.get(source).and_then(|source| source.common.dead_letter.as_deref());
        sinks.extend(letters.and_then(|text| self.sink_named(text)).into_iter().flat_map(|sink| self.chain_from(sink)));
        let mut next = wiring.get(source).cloned().unwrap_or_default();
        let mut steps = 0_usize;
        while let Some(target) = next.pop() {
            match target {
                Target::Sink(index) => sinks.extend(self.chain_from(index)),
                Target::Stage(index) => next.extend(self.outputs_of_stage(wiring, index)),
            }
            steps += 1;
            if steps > MOST_STEPS {
                break;
            }
        }
        sinks
    }

    /// A sink, the sink of its dead letters, and so on. Ends where a circle closes.
    fn chain_from(&self, sink: usize) -> Vec<usize> {
        let mut chain = vec![sink];
        while let Some(next) = chain.last().and_then(|last| self.sink_of_letters(*last)) {
            if chain.contains(&next) {
                break;
            }
            chain.push(next);
        }
        chain
    }

    fn sink_of_letters(&self, sink: usize) -> Option<usize> {
        let (_, sink) = self.config.sinks.get_index(sink)?;
        self.sink_named(sink.delivery.dead_letter.as_deref()?)
    }

    fn sink_named(&self, text: &str) -> Option<usize> {
        match DestinationName::parse(text) {
            Ok(DestinationName::Sink(name)) => self.config.sinks.get_index_of(name),
            _ => None,
        }
    }

    /// True when some node sends its dead letters to this sink.
    pub(super) fn gets_letters(&self, sink: &str) -> bool {
        let config = self.config;
        let of_sources = config.sources.values().map(|source| &source.common.dead_letter);
        let of_sinks = config.sinks.values().map(|sink| &sink.delivery.dead_letter);
        of_sources.chain(of_sinks).any(|letters| letters.as_deref() == Some(sink))
    }

    fn refuse_circles_of_letters(&mut self) {
        let mut reported = BTreeSet::new();
        for (start, name) in self.config.sinks.keys().enumerate() {
            let chain = self.chain_from(start);
            let closes = chain.last().and_then(|last| self.sink_of_letters(*last)) == Some(start);
            if !closes || reported.contains(&start) {
                continue;
            }
            let names = chain.iter().filter_map(|index| self.config.sinks.get_index(*index));
            let others: Vec<_> = names.skip(1).map(|(name, _)| format!("`{name}`")).collect();
            let message = match others.as_slice() {
                [] => format!("sink `{name}` would get its own dead letters"),
                others => format!("sink `{name}` would get its own dead letters by way of {}", others.join(" and ")),
            };
            let help =
                "what it cannot deliver would go round for ever; send it to a broker or to a sink outside the circle";
            self.problems.push(Problem::new(["sinks", name, "dead_letter"], message).with_help(help));
            reported.extend(chain);
        }
    }
}

/// More ways than this through a graph are not counted: filters and transforms in a circle, which are refused elsewhere, have no end.
const MOST_STEPS: usize = 100_000;

/// A problem of the value itself; the caller knows where that stands.
fn here(message: String) -> Problem {
    Problem::new(Vec::<String>::new(), message)
}
