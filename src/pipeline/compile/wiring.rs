//! Who feeds whom: the names in `from` resolved, circles and dead ends refused.

use std::collections::{BTreeSet, HashMap};

use super::Compiler;
use crate::config::StageConfig;
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
        for (index, StageConfig { kind, name, from }) in config.stages().enumerate() {
            self.connect(&[kind.section(), name], from, Target::Stage(index), &mut wiring);
        }
        for (index, (name, sink)) in config.sinks.iter().enumerate() {
            self.connect(&["sinks", name], &sink.delivery.from, Target::Sink(index), &mut wiring);
            if sink.delivery.from.is_empty() && !self.gets_letters(name) {
                let help = "add `from` with the names of sources, filters or transforms, or name the sink in a \
                            `dead_letter`";
                let message = format!("nothing feeds sink `{name}`");
                self.problems.push(Problem::new(["sinks", name, "from"], message).with_help(help));
            }
        }
        self.refuse_cycles(&wiring);
        self.refuse_dead_ends(&wiring);
        wiring
    }

    /// Refuses sources, filters and transforms whose events nobody takes. Where a node was left out for its own faults, it may have
    /// been the one that takes them.
    fn refuse_dead_ends(&mut self, wiring: &Wiring) {
        let config = self.config;
        let all_there = self.declared.nodes.iter().all(|name| config.feeds_others(name))
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
        for StageConfig { kind, name, .. } in config.stages().filter(|stage| !is_used(stage.name)) {
            let word = kind.word();
            let or_unmatched = if self.turns_away(name) { format!(" or \"{name}{UNMATCHED}\"") } else { String::new() };
            let help = format!("add \"{name}\"{or_unmatched} to the `from` of a filter or sink, or remove the {word}");
            let message = format!("nothing takes the events of {word} `{name}`");
            self.problems.push(Problem::new([kind.section(), name], message).with_help(help));
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
            let word = match (config.sources.contains_key(node), config.transforms.contains_key(node)) {
                (true, _) => "source",
                (_, true) if !self.turns_away(node) => "transform",
                _ => return None,
            };
            return is_unmatched.then(|| {
                Problem::new(at, format!("{word} `{node}` has no `{output}`"))
                    .with_help(format!("only filters, and transforms with `parse`, turn events away; write \"{node}\""))
            });
        }
        if self.declared.sinks.contains(node) {
            let help = "name a source, a filter or a transform: events end at sinks";
            return Some(Problem::new(at, format!("`{node}` is a sink")).with_help(help));
        }
        let problem = Problem::new(at, format!("there is no source, filter or transform `{node}`"));
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
        let turning_away = self.config.stages().filter(|stage| self.turns_away(stage.name));
        let unmatched = turning_away.map(|stage| format!("{}{UNMATCHED}", stage.name));
        let known: Vec<String> = self.declared.nodes.iter().cloned().chain(unmatched).collect();
        let meant = did_you_mean(output, known.iter().map(String::as_str));
        let meant = meant.or_else(|| did_you_mean(node_of(output), known.iter().map(String::as_str)));
        meant.map(str::to_owned)
    }

    /// Whether a filter or transform has a second output. One that was left out for its faults may have one.
    fn turns_away(&self, name: &str) -> bool {
        self.config.transforms.get(name).is_none_or(|transform| transform.jq.is_none())
    }

    fn refuse_cycles(&mut self, wiring: &Wiring) {
        let config = self.config;
        let mut reported = BTreeSet::new();
        for (start, StageConfig { kind, name, .. }) in config.stages().enumerate() {
            let Some(cycle) = self.cycle_from(wiring, start).filter(|cycle| cycle.is_disjoint(&reported)) else {
                continue;
            };
            let others = cycle.iter().filter(|index| **index != start);
            let others: Vec<_> = others.filter_map(|index| config.stages().nth(*index)).collect();
            let word = kind.word();
            let message = match others.as_slice() {
                [] => format!("{word} `{name}` feeds itself"),
                others => {
                    let others: Vec<_> = others.iter().map(|other| format!("`{}`", other.name)).collect();
                    format!("{word} `{name}` feeds itself by way of {}", others.join(" and "))
                }
            };
            let help = "events would go round for ever; take one `from` out of the circle";
            self.problems.push(Problem::new([kind.section(), name, "from"], message).with_help(help));
            reported.extend(cycle);
        }
    }

    /// The filters and transforms of a way from one of them back to itself.
    fn cycle_from(&self, wiring: &Wiring, start: usize) -> Option<BTreeSet<usize>> {
        let mut fed_by = HashMap::new();
        let mut next = vec![start];
        while let Some(index) = next.pop() {
            for target in self.outputs_of_stage(wiring, index) {
                let Target::Stage(fed) = target else { continue };
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

    pub(super) fn outputs_of_stage(&self, wiring: &Wiring, index: usize) -> Vec<Target> {
        let Some(StageConfig { name, .. }) = self.config.stages().nth(index) else { return Vec::new() };
        let outputs = [name.to_owned(), format!("{name}{UNMATCHED}")];
        outputs.iter().filter_map(|output| wiring.get(output)).flatten().copied().collect()
    }
}

/// The node that an output belongs to.
fn node_of(output: &str) -> &str {
    output.strip_suffix(UNMATCHED).unwrap_or(output)
}
