//! How many file descriptors pipelines ask for, and what to say when the limit of open files is lower. Pure.
//!
//! What they get is decided in [`descriptors`], while they run.

use std::iter::Sum;
use std::ops::Add;

use crate::config::PipelineConfig;
use crate::delivery::dead_letter::destination::DestinationName;
use crate::descriptors::{self, limit_for};
use crate::source::TypeConfig;

/// Descriptors that one or more pipelines would use at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// What they cannot do without.
    pub fixed: usize,
    /// Connections to receivers: the `concurrency` of all sinks.
    pub connections: usize,
    /// Files that are read: one for each of the `paths`, until somebody has counted them.
    pub files: usize,
}

impl Demand {
    /// What a pipeline asks for.
    pub fn of(config: &PipelineConfig) -> Self {
        let sources = config.sources.values().map(|source| fixed(&source.kind));
        let workers = config.runtime.workers.saturating_mul(descriptors::WORKER);
        let files = config.sources.values().map(|source| match &source.kind {
            TypeConfig::File(file) => file.paths.len(),
            _ => 0,
        });
        let connections = config.sinks.values().map(|sink| sink.delivery.concurrency);
        Self {
            fixed: sources.chain([descriptors::PIPELINE, workers, letters(config)]).fold(0, usize::saturating_add),
            connections: connections.fold(0, usize::saturating_add),
            files: files.sum(),
        }
    }

    /// What is the matter when a process with this limit cannot have all of it at once, and what to do about it.
    pub fn beyond(&self, limit: usize) -> Option<(String, String)> {
        let Self { fixed, connections, files } = *self;
        let needed = limit_for(fixed, connections.saturating_add(files));
        if needed <= limit {
            return None;
        }
        let message = format!(
            "up to {needed} open files are asked for: {files} to be read, {connections} connections to receivers, and the \
             rest for brokers, store and threads; but the limit of open files is {limit}"
        );
        let help = format!(
            "raise it where the bridge runs: `ulimit -n {needed}`, `LimitNOFILE={needed}` of systemd, `--ulimit \
             nofile={needed}` of a container; below it, files are closed and opened again by turns, what is written to \
             a file that is deleted meanwhile is lost, and deliveries wait for a connection"
        );
        Some((message, help))
    }
}

impl Add for Demand {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.saturating_add(other.fixed),
            connections: self.connections.saturating_add(other.connections),
            files: self.files.saturating_add(other.files),
        }
    }
}

impl Sum for Demand {
    fn sum<I: Iterator<Item = Self>>(demands: I) -> Self {
        demands.fold(Self::default(), Self::add)
    }
}

fn fixed(source: &TypeConfig) -> usize {
    match source {
        TypeConfig::Kafka(_) => descriptors::KAFKA,
        TypeConfig::Amqp(_) => descriptors::AMQP,
        TypeConfig::File(_) | TypeConfig::Stdin(_) => 0,
    }
}

/// For the dead letters that go to brokers: one connection for each source of that type, at most.
fn letters(config: &PipelineConfig) -> usize {
    let of_sources = config.sources.values().filter_map(|source| source.common.dead_letter.as_deref());
    let of_sinks = config.sinks.values().filter_map(|sink| sink.delivery.dead_letter.as_deref());
    let (mut kafka, mut amqp) = (false, false);
    for destination in of_sources.chain(of_sinks) {
        match DestinationName::parse(destination) {
            Ok(DestinationName::Kafka { .. }) => kafka = true,
            Ok(DestinationName::Amqp { .. }) => amqp = true,
            Ok(DestinationName::Sink(_)) | Err(_) => {}
        }
    }
    let connections = config.sources.values().map(|source| match &source.kind {
        TypeConfig::Kafka(_) if kafka => descriptors::KAFKA_PRODUCER,
        TypeConfig::Amqp(_) if amqp => descriptors::AMQP,
        _ => 0,
    });
    connections.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_lenient;

    #[test]
    fn every_part_of_a_pipeline_counts() {
        let text = "name = 'x'\n[sources.a]\ntype = 'file'\npaths = ['a', 'b*']\n[sources.k]\ntype = 'kafka'\n\
                    brokers = ['b:1']\ntopics = ['t']\ndead_letter = 'kafka:dead'\n\
                    [sinks.s]\ntype = 'webhook'\nfrom = ['a', 'k']\nurl = 'https://x/'\nconcurrency = 100\n\
                    [sinks.t]\ntype = 'webhook'\nfrom = ['a']\nurl = 'https://x/'\nconcurrency = 5\n\
                    [runtime]\nworkers = 3\n";
        let parsed = parse_lenient("x.toml", text, &|_| None);
        assert_eq!(parsed.faults, []);
        let demand = Demand::of(&parsed.pipeline);
        let fixed = descriptors::PIPELINE + 3 * descriptors::WORKER + descriptors::KAFKA + descriptors::KAFKA_PRODUCER;
        assert_eq!(demand, Demand { fixed, connections: 105, files: 2 });
        let needed = limit_for(fixed, 107);
        assert_eq!(demand.beyond(needed), None);
        let (message, help) = demand.beyond(needed - 1).unwrap();
        assert!(message.contains("105 connections") && message.ends_with(&format!("is {}", needed - 1)), "{message}");
        assert!(help.contains(&format!("LimitNOFILE={needed}")), "{help}");
        let two: Demand = [demand, demand].into_iter().sum();
        assert_eq!(two.connections, 210);
    }
}
