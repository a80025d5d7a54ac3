//! The names of a pipeline's nodes: their kind, and the key of their table in the pipeline file.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use strum::{EnumString, IntoStaticStr};

/// What a node is. In the order of an event's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr)]
pub enum NodeKind {
    /// In the section `sources`.
    #[strum(serialize = "sources")]
    Source,
    /// In the section `filters`.
    #[strum(serialize = "filters")]
    Filter,
    /// In the section `transforms`.
    #[strum(serialize = "transforms")]
    Transform,
    /// In the section `sinks`.
    #[strum(serialize = "sinks")]
    Sink,
}

/// A node of a pipeline. It is shown, and stored, as its place in the file: `sinks.crm`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    kind: NodeKind,
    name: Arc<str>,
}

/// A text that names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no node: write for example `sinks.crm`")]
pub struct NotANode(String);

impl NodeKind {
    /// The section of the pipeline file.
    pub fn section(self) -> &'static str {
        self.into()
    }

    /// What one of its kind is called in messages: `filter`.
    pub fn word(self) -> &'static str {
        self.section().trim_end_matches('s')
    }
}

impl NodeName {
    /// A node of a kind.
    pub fn new(kind: NodeKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    /// A source.
    pub fn source(name: impl Into<Arc<str>>) -> Self {
        Self::new(NodeKind::Source, name)
    }

    /// A filter.
    pub fn filter(name: impl Into<Arc<str>>) -> Self {
        Self::new(NodeKind::Filter, name)
    }

    /// A transform.
    pub fn transform(name: impl Into<Arc<str>>) -> Self {
        Self::new(NodeKind::Transform, name)
    }

    /// A sink.
    pub fn sink(name: impl Into<Arc<str>>) -> Self {
        Self::new(NodeKind::Sink, name)
    }

    /// What it is.
    pub fn kind(&self) -> NodeKind {
        self.kind
    }

    /// The key of its table.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its name, if it is a sink.
    pub fn as_sink(&self) -> Option<&Arc<str>> {
        (self.kind == NodeKind::Sink).then_some(&self.name)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind.section(), self.name)
    }
}

impl FromStr for NodeName {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        let (section, name) = text.split_once('.').ok_or_else(|| NotANode(text.to_owned()))?;
        let kind = NodeKind::from_str(section).map_err(|_| NotANode(text.to_owned()))?;
        Ok(Self::new(kind, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_as_it_is_shown() {
        for text in ["sources.a", "filters.a.b", "transforms.t", "sinks.Ä-1"] {
            assert_eq!(text.parse::<NodeName>().unwrap().to_string(), text);
        }
        assert_eq!("sinks.crm".parse::<NodeName>().unwrap().as_sink().map(|name| &**name), Some("crm"));
        for text in ["", "crm", "sink.crm", "templates.a"] {
            assert!(text.parse::<NodeName>().is_err(), "{text}");
        }
    }

    #[test]
    fn nodes_are_in_the_order_of_an_events_way() {
        let stages = [NodeName::filter("b"), NodeName::transform("a")];
        let nodes = [&[NodeName::source("z")][..], &stages, &[NodeName::sink("a"), NodeName::sink("b")]].concat();
        assert!(nodes.is_sorted());
    }
}
