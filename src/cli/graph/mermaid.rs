//! A [Mermaid flowchart](https://mermaid.js.org/syntax/flowchart.html), with a box around each pipeline.

use crate::pipeline::outline::{EdgeKind, Node, NodeKind, Outline};

/// Draws all pipelines as one chart.
pub(super) fn draw(outlines: &[Outline]) -> String {
    let mut text = String::from("flowchart LR\n");
    for (number, outline) in outlines.iter().enumerate() {
        text += &format!("  subgraph p{number}[\"{}\"]\n", escape(&outline.name));
        for (index, node) in outline.nodes.iter().enumerate() {
            text += &format!("    p{number}n{index}{}\n", shape(node));
        }
        for edge in &outline.edges {
            let arrow = match edge.kind {
                EdgeKind::Events => "-->",
                EdgeKind::Unmatched => "-- unmatched -->",
                EdgeKind::DeadLetters => "-. dead letters .->",
            };
            text += &format!("    p{number}n{} {arrow} p{number}n{}\n", edge.from, edge.to);
        }
        text += "  end\n";
    }
    text
}

fn shape(node: &Node) -> String {
    let mut label = escape(&node.name);
    if !node.detail.is_empty() {
        label += &format!("<br>{}", escape(&node.detail));
    }
    match node.kind {
        NodeKind::Source => format!("([\"{label}\"])"),
        NodeKind::Filter => format!("{{{{\"{label}\"}}}}"),
        NodeKind::Transform => format!("[/\"{label}\"/]"),
        NodeKind::Sink => format!("[\"{label}\"]"),
        NodeKind::Broker => format!("[(\"{label}\")]"),
        NodeKind::Missing => format!(">\"{label}\"]"),
    }
}

/// Characters that mean something to Mermaid or HTML, as Mermaid's entity codes.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '#' | '"' | '<' | '>' | '&' | '`' | ';' | '\\' | '*' | '_' | '~' => {
                escaped.push_str(&format!("#{};", u32::from(character)));
            }
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
