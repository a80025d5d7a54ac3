//! Sinks that get one event on several ways of which a transform changes one: different deliveries have the same id. Pure.

use std::collections::BTreeMap;

use super::warning;
use crate::config::PipelineConfig;
use crate::problem::{Problem, Warning, WarningCode};

/// How the events of an output come to a node, by transforms alone.
#[derive(Debug, Clone, Copy, Default)]
struct Ways {
    /// How many ways there are, counted up to two.
    count: u8,
    /// Whether one of them leads through a transform.
    is_transformed: bool,
}

/// The warnings about such sinks. What comes through a filter is not counted: mostly two filters do not let the same event
/// through.
pub(super) fn of_different_deliveries(config: &PipelineConfig) -> impl Iterator<Item = Warning> {
    let mut known = BTreeMap::new();
    let sinks = config.sinks.iter().filter_map(move |(name, sink)| {
        let ways = ways_to(&sink.delivery.from, config, &mut known);
        let (output, _) = ways.iter().find(|(_, ways)| ways.count > 1 && ways.is_transformed)?;
        let message = format!("events of `{output}` come here on two ways, under the same `webhook-id` with different data");
        let help = "a receiver may take the second for a repetition of the first: send them to sinks of their own, or let \
                    one transform make all of them";
        let problem = Problem::new(["sinks", name, "from"], message).with_help(help);
        Some(warning(WarningCode::SameIds, problem))
    });
    sinks.collect::<Vec<_>>().into_iter()
}

type WaysByOutput<'a> = BTreeMap<&'a str, Ways>;

/// The ways to a node that takes from these outputs, by the sources and filters where they begin. There are no circles.
fn ways_to<'a>(
    from: &'a [String],
    config: &'a PipelineConfig,
    known: &mut BTreeMap<&'a str, WaysByOutput<'a>>,
) -> WaysByOutput<'a> {
    let mut all = WaysByOutput::new();
    for output in from {
        let Some(transform) = config.transforms.get(output) else {
            all.entry(output).or_default().add(Ways { count: 1, is_transformed: false });
            continue;
        };
        let ways = match known.get(&**output) {
            Some(ways) => ways.clone(),
            None => ways_to(&transform.from, config, known),
        };
        for (origin, ways) in &ways {
            all.entry(origin).or_default().add(Ways { is_transformed: true, ..*ways });
        }
        known.insert(output, ways);
    }
    all
}

impl Ways {
    fn add(&mut self, others: Self) {
        self.count = (self.count + others.count).min(2);
        self.is_transformed |= others.is_transformed;
    }
}
