//! What changes between two versions of a pipeline file, node by node. Pure: a reload does what this says, and
//! `bridge diff` prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::config::{Fingerprints, NodeFingerprint, Settings};
use crate::node::NodeName;

/// What a reload has to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Why the whole pipeline has to be stopped and started anew; the nodes are then compared all the same.
    pub restarts: Option<RestartReason>,
    /// Every node of either version, in the order of an event's way.
    pub nodes: BTreeMap<NodeName, Change>,
}

/// What becomes of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is made of other values, and has to be replaced.
    Changed {
        /// The keys whose values differ, for example `url`, `retry.schedule` or `templates.slack.body`.
        keys: Vec<String>,
        /// Its `from`, if that differs too.
        rewired: Option<Rewiring>,
    },
    /// Only its `from` differs: it is kept as it is, and its events come from elsewhere.
    Rewired(Rewiring),
    /// It is the same.
    Unchanged,
}

/// How a node's `from` differs. The order of the names does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewiring {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
}

/// Tables that belong to the whole pipeline and differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartReason {
    /// The keys whose values differ, for example `store.url`. There is at least one.
    pub keys: Vec<String>,
}

impl Changes {
    /// Compares two versions of one pipeline. Pipelines of different names have nothing in common and must not be
    /// compared.
    pub fn between(old: &Fingerprints, new: &Fingerprints) -> Self {
        let of_pipeline = [("store", &old.store, &new.store), ("runtime", &old.runtime, &new.runtime)];
        let keys = of_pipeline
            .into_iter()
            .flat_map(|(table, old, new)| changed_keys(old, new).into_iter().map(move |key| format!("{table}.{key}")));
        let keys: Vec<String> = keys.collect();
        let names: BTreeSet<&NodeName> = old.nodes.keys().chain(new.nodes.keys()).collect();
        let change = |name: &NodeName| change(old.nodes.get(name), new.nodes.get(name));
        Self {
            restarts: (!keys.is_empty()).then_some(RestartReason { keys }),
            nodes: names.into_iter().map(|name| (name.clone(), change(name))).collect(),
        }
    }

    /// Whether the two versions are the same to a running pipeline.
    pub fn is_empty(&self) -> bool {
        self.restarts.is_none() && self.nodes.values().all(|change| *change == Change::Unchanged)
    }
}

fn change(old: Option<&NodeFingerprint>, new: Option<&NodeFingerprint>) -> Change {
    let (Some(old), Some(new)) = (old, new) else {
        return if new.is_some() { Change::Added } else { Change::Removed };
    };
    let keys = changed_keys(&old.settings, &new.settings);
    let rewired = (old.from != new.from).then(|| Rewiring {
        added: new.from.difference(&old.from).cloned().collect(),
        removed: old.from.difference(&new.from).cloned().collect(),
    });
    match rewired {
        rewired if !keys.is_empty() => Change::Changed { keys, rewired },
        Some(rewired) => Change::Rewired(rewired),
        None => Change::Unchanged,
    }
}

fn changed_keys(old: &Settings, new: &Settings) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|key| format!("`{key}`")).collect();
        write!(f, "{} changed", keys.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::parse_lenient;

    const OLD: &str = "name = 'shop'\n[sources.a]\ntype = 'stdin'\n[sources.b]\ntype = 'stdin'\nformat = 'text'\n\
                       [filters.f]\nfrom = ['a']\nwhen = '$.key'\n\
                       [sinks.crm]\ntype = 'webhook'\nfrom = ['f', 'b']\nurl = 'http://x/'\n\
                       [sinks.log]\ntype = 'webhook'\nfrom = ['b']\nurl = 'http://y/'\ntimeout = '5s'\n";

    fn fingerprints(text: &str) -> Fingerprints {
        parse_lenient("x.toml", text, &|_| None).fingerprints
    }

    fn changes(replacements: &[(&str, &str)]) -> Changes {
        let new = replacements.iter().fold(OLD.to_owned(), |text, (old, new)| {
            assert!(text.contains(old), "{old}");
            text.replace(old, new)
        });
        Changes::between(&fingerprints(OLD), &fingerprints(&new))
    }

    fn shown(changes: &Changes) -> Vec<(String, &Change)> {
        let nodes = changes.nodes.iter().filter(|(_, change)| **change != Change::Unchanged);
        nodes.map(|(name, change)| (name.to_string(), change)).collect()
    }

    fn changed(keys: &[&str]) -> Change {
        Change::Changed { keys: keys.iter().map(|key| key.to_string()).collect(), rewired: None }
    }

    #[test]
    fn nodes_are_compared_by_name() {
        let changes = changes(&[("[sinks.log]", "[sinks.archive]"), ("format = 'text'", "max_in_flight = 5")]);
        let expected = [
            ("sources.b".to_owned(), &changed(&["format", "max_in_flight"])),
            ("sinks.archive".to_owned(), &Change::Added),
            ("sinks.log".to_owned(), &Change::Removed),
        ];
        assert_eq!(shown(&changes), expected);
        assert_eq!(changes.nodes.len(), 6, "unchanged ones are there too: {changes:?}");
    }

    #[test]
    fn a_node_that_is_only_fed_by_others_is_told_apart() {
        let rewiring = Rewiring { added: vec!["a".into()], removed: vec!["b".into()] };
        let only = changes(&[("from = ['f', 'b']", "from = ['a', 'f']")]);
        assert_eq!(shown(&only), [("sinks.crm".to_owned(), &Change::Rewired(rewiring.clone()))]);
        let both = changes(&[("from = ['f', 'b']", "from = ['a', 'f']"), ("http://x/", "http://z/")]);
        let expected = Change::Changed { keys: vec!["url".into()], rewired: Some(rewiring) };
        assert_eq!(shown(&both), [("sinks.crm".to_owned(), &expected)]);
    }

    #[test]
    fn what_belongs_to_the_whole_pipeline_restarts_it() {
        let changes = changes(&[("name = 'shop'", "name = 'shop'\nstore.url = 'none'\nruntime.workers = 2")]);
        assert_eq!(changes.restarts.as_ref().unwrap().to_string(), "`store.url` and `runtime.workers` changed");
        assert!(!changes.is_empty());
    }

    /// Versions of [`OLD`] with some of its lines left out.
    fn version() -> impl Strategy<Value = Fingerprints> {
        let lines: Vec<&str> = OLD.lines().collect();
        proptest::sample::subsequence(lines.clone(), 0..=lines.len()).prop_map(|lines| fingerprints(&lines.join("\n")))
    }

    proptest! {
        #[test]
        fn the_way_back_is_the_mirror_image(old in version(), new in version()) {
            let (there, back) = (Changes::between(&old, &new), Changes::between(&new, &old));
            prop_assert_eq!(there.is_empty(), old == new);
            prop_assert!(there.nodes.keys().eq(back.nodes.keys()));
            for (there, back) in there.nodes.values().zip(back.nodes.values()) {
                let is_mirrored = match (there, back) {
                    (Change::Added, Change::Removed) | (Change::Removed, Change::Added) => true,
                    (Change::Unchanged, Change::Unchanged) => true,
                    (Change::Rewired(there), Change::Rewired(back)) => there.added == back.removed,
                    (Change::Changed { keys: there, .. }, Change::Changed { keys: back, .. }) => there == back,
                    _ => false,
                };
                prop_assert!(is_mirrored, "{:?} {:?}", there, back);
            }
        }
    }
}
