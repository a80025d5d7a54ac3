//! A drawing for the terminal: a tree from each source. What several nodes feed is drawn once and named after that.

use crate::cli::show::printable;
use crate::pipeline::outline::{EdgeKind, Node, NodeKind, Outline};

/// Draws all pipelines, with a blank line between them.
pub(super) fn draw(outlines: &[Outline]) -> String {
    outlines.iter().map(|outline| Tree::new(outline).draw()).collect::<Vec<_>>().join("\n")
}

struct Tree<'a> {
    outline: &'a Outline,
    drawn: Vec<bool>,
    text: String,
}

impl<'a> Tree<'a> {
    fn new(outline: &'a Outline) -> Self {
        let text = format!("pipeline {}\n", printable(&outline.name));
        Self { outline, drawn: vec![false; outline.nodes.len()], text }
    }

    fn draw(mut self) -> String {
        let nodes = self.outline.nodes.iter().enumerate();
        let sources: Vec<usize> =
            nodes.filter(|(_, node)| node.kind == NodeKind::Source).map(|(index, _)| index).collect();
        sources.into_iter().for_each(|source| self.root(source));
        // What no source leads to would be missing otherwise.
        while let Some(left) = self.drawn.iter().position(|drawn| !drawn) {
            self.root(left);
        }
        self.text
    }

    fn root(&mut self, index: usize) {
        self.node("", "", index);
        self.children("", index);
    }

    fn children(&mut self, indent: &str, parent: usize) {
        let edges: Vec<_> = self.outline.edges_from(parent).copied().collect();
        for (position, edge) in edges.iter().enumerate() {
            let (branch, below) = if position + 1 == edges.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let label = match edge.kind {
                EdgeKind::Events => "",
                EdgeKind::Unmatched => "unmatched: ",
                EdgeKind::DeadLetters => "dead letters: ",
            };
            if self.node(&format!("{indent}{branch}"), label, edge.to) {
                self.children(&format!("{indent}{below}"), edge.to);
            }
        }
    }

    /// Draws a node's line, and says whether what it feeds is to be drawn, too.
    fn node(&mut self, indent: &str, label: &str, index: usize) -> bool {
        let is_first = !std::mem::replace(&mut self.drawn[index], true);
        let Node { name, detail, .. } = &self.outline.nodes[index];
        let (name, detail) = (printable(name), printable(detail));
        let line = match (is_first, self.outline.edges_from(index).next()) {
            (false, Some(_)) => format!("{indent}{label}{name} (see above)"),
            _ => format!("{indent}{label}{name}  {detail}"),
        };
        self.text.push_str(line.trim_end());
        self.text.push('\n');
        is_first
    }
}
