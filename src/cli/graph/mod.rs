//! `bridge graph`: draws pipelines. The files are read as they are written, so no secret is needed, and none shown.

mod dot;
mod mermaid;
mod text;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::CliError;
use crate::config::ConfigErrors;
use crate::config::files::pipeline_files;
use crate::config::load_as_written;
use crate::pipeline::outline::Outline;

/// Draws pipelines: who feeds whom, with events and with dead letters.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # a drawing for the terminal
  bridge graph pipeline.toml
  # for Markdown on GitHub and GitLab
  bridge graph --format mermaid pipelines/ > graph.mmd
  bridge graph --format dot pipeline.toml |
    dot -Tsvg > graph.svg

The files are read as they are written: `${env:NAME}` and `${file:/path}` stand for themselves.")]
pub struct GraphArgs {
    /// Pipeline files, and folders of which every *.toml is meant
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// The form of the drawing
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
}

/// The forms of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum GraphFormat {
    /// Trees of characters, one for each source
    #[default]
    Text,
    /// A Mermaid flowchart
    Mermaid,
    /// Graphviz
    Dot,
}

/// Runs the subcommand.
///
/// # Errors
/// The faults of files that cannot be read.
pub fn run(args: &GraphArgs) -> Result<(), CliError> {
    let loaded = pipeline_files(&args.paths)?.into_iter().map(|path| {
        let parsed = load_as_written(&path)?;
        let outline = Outline::of(&parsed.pipeline);
        parsed.into_loaded().map(|_| outline)
    });
    let (outlines, faulty): (Vec<_>, Vec<_>) = loaded.partition(Result::is_ok);
    let faulty: Vec<ConfigErrors> = faulty.into_iter().filter_map(Result::err).collect();
    if !faulty.is_empty() {
        return Err(CliError::Config(faulty));
    }
    let outlines: Vec<Outline> = outlines.into_iter().flatten().collect();
    let drawn = match args.format {
        GraphFormat::Text => text::draw(&outlines),
        GraphFormat::Mermaid => mermaid::draw(&outlines),
        GraphFormat::Dot => dot::draw(&outlines),
    };
    anstream::stdout().write_all(drawn.as_bytes()).map_err(CliError::io("cannot print"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_lenient;

    const PIPELINE: &str = r#"
        name = "shop"
        [sources.orders]
        type = "kafka"
        brokers = ["b:1"]
        topics = ["orders"]
        dead_letter = "kafka:lost"
        [sources.audit]
        type = "stdin"
        [filters.paid]
        from = ["orders", "audit"]
        when = '''$.data.type == "paid" &&
                  $.data.total >= 100'''
        [filters.vip]
        from = ["paid"]
        when = "$.data.vip"
        [transforms.items]
        from = ["vip"]
        jq = '''.data.items[] |
                {sku}'''
        [transforms.lines]
        from = ["audit"]
        parse = "nginx"
        [sinks.crm]
        type = "webhook"
        from = ["vip", "vip.unmatched", "items"]
        url = "https://user:pw@crm.example.com/{{data.id}}"
        dead_letter = "end"
        [sinks.end]
        type = "webhook"
        from = ["lines", "lines.unmatched"]
        method = "PUT"
        url = "https://archive.example.com/a#b<c>"
    "#;

    fn outlines() -> Vec<Outline> {
        let parsed = parse_lenient("x.toml", PIPELINE, &|_| None);
        assert_eq!(parsed.faults, []);
        vec![Outline::of(&parsed.pipeline)]
    }

    #[test]
    fn a_drawing_for_the_terminal() {
        insta::assert_snapshot!(text::draw(&outlines()));
    }

    #[test]
    fn a_flowchart() {
        insta::assert_snapshot!(mermaid::draw(&outlines()));
    }

    #[test]
    fn a_graph_for_graphviz() {
        insta::assert_snapshot!(dot::draw(&outlines()));
    }

    #[test]
    fn what_cannot_run_can_be_drawn() {
        let text = "name = 'x'\n[sources.a]\ntype = 'stdin'\n[filters.f]\nfrom = ['f', 'nowhere']\nwhen = '$.key'\n\
                    [sinks.b]\ntype = 'webhook'\nfrom = ['f']\nurl = 'https://x/'\ndead_letter = 'b'\n";
        let parsed = parse_lenient("x.toml", text, &|_| None);
        insta::assert_snapshot!(text::draw(&[Outline::of(&parsed.pipeline)]));
    }
}
