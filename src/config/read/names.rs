//! The names of nodes: what they are made of, and that `from` can mean one node only.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{FEEDING, Reader};
use crate::config::diagnostics::Fault;
use crate::node::NodeKind;

/// The names of the nodes of a section, those at fault included.
pub(super) fn node_names<'a>(root: &'a DeTable<'_>, section: &str) -> impl Iterator<Item = String> + use<'a> {
    let table = root.get(section).and_then(|section| section.get_ref().as_table());
    table.into_iter().flat_map(|table| table.keys()).map(|key| key.get_ref().to_string())
}

impl Reader<'_> {
    pub(super) fn require_a_name(&mut self, name: &str, place: Range<usize>) {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            let shown = self.findings.as_written(&place).unwrap_or(name);
            let message = format!("\"{shown}\" cannot be a name");
            let help = Some("a name is made of the letters A to Z and a to z, digits, `_` and `-`".to_owned());
            self.findings.faults.push(Fault { span: Some(place), message, help });
        }
    }

    pub(super) fn names_used_twice(&mut self, root: &DeTable<'_>) {
        let mut known = HashMap::new();
        for kind in FEEDING {
            let table = root.get(kind.section()).and_then(|table| table.get_ref().as_table());
            for key in table.into_iter().flat_map(|table| table.keys()) {
                let name = key.get_ref().to_string();
                if let Some(other) = known.get(&name) {
                    let message = format!("`{name}` names a {} and a {}", NodeKind::word(*other), kind.word());
                    let help = Some("`from` could mean either of them: rename one".to_owned());
                    self.findings.faults.push(Fault { span: Some(key.span()), message, help });
                } else {
                    known.insert(name, kind);
                }
            }
        }
    }

    pub(super) fn require_a_node(&mut self, root: &DeTable<'_>, section: &str, node: &str) {
        let entry = root.get_key_value(section);
        let is_empty = |value: &Spanned<DeValue<'_>>| value.get_ref().as_table().is_some_and(DeTable::is_empty);
        if entry.is_none_or(|(_, value)| is_empty(value)) {
            let span = entry.map_or(0..0, |(key, _)| key.span());
            let message = format!("the pipeline has no {node}");
            let help = Some(format!("add a table such as `[{section}.orders]`"));
            self.findings.faults.push(Fault { span: Some(span), message, help });
        }
    }
}
