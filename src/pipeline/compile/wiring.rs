//! Who feeds whom: the names in `from` resolved, circles and dead ends refused.

use std::collections::{BTreeSet, HashMap};

use super::Compiler;
use crate::pipeline::graph::Target;
use crate::problem::{Problem, did_you_mean};

/// Who takes the events of each output; an output is named as in `from`: `orders`, `paid`, `paid.unmatched`.
pub(super) type Wiring = HashMap<String, Vec<Target>>;

/// What the name of a filter's second output ends in.
pub(super) const UNMATCHED: &str = ".unmatched";

impl Compiler<'_> {
    /// Connects the nodes by their `from`, and refuses what leads nowhere.
    pub(super) fn wire(&mut self) -> Wiring {
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

    pub(super) fn outputs_of_filter(&self, wiring: &Wiring, index: usize) -> Vec<Target> {
        let Some((name, _)) = self.config.filters.get_index(index) else { return Vec::new() };
        let outputs = [name.clone(), format!("{name}{UNMATCHED}")];
        outputs.iter().filter_map(|output| wiring.get(output)).flatten().copied().collect()
    }
}

/// The node that an output belongs to.
fn node_of(output: &str) -> &str {
    output.strip_suffix(UNMATCHED).unwrap_or(output)
}
