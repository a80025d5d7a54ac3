//! A graph in the [language of Graphviz](https://graphviz.org/doc/info/lang.html), with a box around each pipeline.

use crate::pipeline::outline::{EdgeKind, Node, NodeKind, Outline};

/// Draws all pipelines as one graph.
pub(super) fn draw(outlines: &[Outline]) -> String {
    let mut text = String::from("digraph bridge {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for (number, outline) in outlines.iter().enumerate() {
        text += &format!("  subgraph cluster_{number} {{\n    label=\"{}\";\n", escape(&outline.name));
        for (index, node) in outline.nodes.iter().enumerate() {
            text += &format!("    p{number}n{index} [{}];\n", attributes(node));
        }
        for edge in &outline.edges {
            let attributes = match edge.kind {
                EdgeKind::Events => "",
                EdgeKind::Unmatched => " [label=\"unmatched\"]",
                EdgeKind::DeadLetters => " [label=\"dead letters\", style=dashed]",
            };
            text += &format!("    p{number}n{} -> p{number}n{}{attributes};\n", edge.from, edge.to);
        }
        text += "  }\n";
    }
    text + "}\n"
}

fn attributes(node: &Node) -> String {
    let mut label = escape(&node.name);
    if !node.detail.is_empty() {
        label += &format!("\\n{}", escape(&node.detail));
    }
    let shape = match node.kind {
        NodeKind::Source => "shape=ellipse",
        NodeKind::Filter => "shape=hexagon",
        NodeKind::Transform => "shape=parallelogram",
        NodeKind::Sink => "shape=box",
        NodeKind::Broker => "shape=cylinder",
        NodeKind::Missing => "shape=box, style=dashed",
    };
    format!("label=\"{label}\", {shape}")
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
