//! `bridge diff`: what a reload would do that finds the files NEW in the place of the files OLD.
//!
//! The files are read as they are written: a reference such as `${env:NAME}` is compared by its text. Neither secrets nor
//! the environment are needed for that, and no value is ever shown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::CliError;
use crate::config::files::{PipelineNames, pipeline_files};
use crate::config::{Fingerprints, load_as_written};
use crate::node::{NodeKind, NodeName};
use crate::pipeline::changes::{Change, Changes, Rewiring};
use crate::secret::mask;

/// Says what a reload would do, pipeline by pipeline and node by node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge diff deployed/ pipelines/
  git show main:pipeline.toml > /tmp/main.toml
  bridge diff /tmp/main.toml pipeline.toml
  bridge diff --format json deployed/ pipelines/ |
    jq '.pipelines[] | select(.change == \"changed\")'

Pipelines are compared by name, wherever their files are. The files are read as they are written: \
`${env:NAME}` is compared by its text, so no secret is needed, and no value is shown. `bridge check` \
says whether NEW is sound; a reload keeps what runs when it is not.")]
pub struct DiffArgs {
    /// A pipeline file, or a folder of which every *.toml is meant: what runs
    pub old: PathBuf,
    /// A pipeline file, or a folder of which every *.toml is meant: what is to run
    pub new: PathBuf,
    /// The form of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: DiffFormat,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DiffFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Runs the subcommand. That there are differences is no error.
///
/// # Errors
/// The faults of files that cannot be read.
pub fn run(args: &DiffArgs) -> Result<(), CliError> {
    let (old, new) = (load_all(&args.old)?, load_all(&args.new)?);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let pipelines: Vec<_> =
        names.into_iter().map(|name| (name.as_str(), compare(old.get(name), new.get(name)))).collect();
    let report = match args.format {
        DiffFormat::Text => pipelines.iter().map(|(name, change)| text(name, change)).collect(),
        DiffFormat::Json => {
            let pipelines: Vec<_> = pipelines.iter().map(|(name, change)| to_json(name, change)).collect();
            format!("{:#}\n", json!({ "pipelines": pipelines }))
        }
    };
    anstream::stdout().write_all(mask(&report).as_bytes()).map_err(CliError::io("cannot print"))
}

/// The pipelines of a file or folder, by name.
fn load_all(path: &Path) -> Result<BTreeMap<String, Fingerprints>, CliError> {
    let (mut pipelines, mut faulty) = (BTreeMap::new(), Vec::new());
    let mut names = PipelineNames::default();
    for file in pipeline_files(&[path.to_owned()])? {
        let loaded = load_as_written(&file).and_then(|mut parsed| {
            parsed.refuse(names.claim(&parsed.pipeline.name, &file).err());
            parsed.into_loaded()
        });
        match loaded {
            Ok(loaded) => drop(pipelines.insert(loaded.pipeline.name, loaded.fingerprints)),
            Err(errors) => faulty.push(errors),
        }
    }
    if faulty.is_empty() { Ok(pipelines) } else { Err(CliError::Config(faulty)) }
}

/// What becomes of a pipeline.
#[derive(Debug)]
enum PipelineChange {
    Added(usize),
    Removed(usize),
    Kept(Changes),
}

fn compare(old: Option<&Fingerprints>, new: Option<&Fingerprints>) -> PipelineChange {
    match (old, new) {
        (Some(old), Some(new)) => PipelineChange::Kept(Changes::between(old, new)),
        (None, new) => PipelineChange::Added(new.map_or(0, |new| new.nodes.len())),
        (Some(old), None) => PipelineChange::Removed(old.nodes.len()),
    }
}

fn text(name: &str, change: &PipelineChange) -> String {
    let changes = match change {
        PipelineChange::Added(nodes) => return format!("pipeline {name}: new, is started ({nodes} nodes)\n"),
        PipelineChange::Removed(nodes) => {
            return format!("pipeline {name}: gone, is drained and stopped ({nodes} nodes)\n");
        }
        PipelineChange::Kept(changes) if changes.is_empty() => return format!("pipeline {name}: unchanged\n"),
        PipelineChange::Kept(changes) => changes,
    };
    let mut text = format!("pipeline {name}: changed\n");
    if let Some(reason) = &changes.restarts {
        text += &format!("  ! the whole pipeline is drained, stopped and started anew: {reason}\n");
    }
    let mut unchanged = 0;
    for (node, change) in &changes.nodes {
        match what_becomes(node, change) {
            Some((mark, outcome)) => text += &format!("  {mark} {node}: {outcome}\n"),
            None => unchanged += 1,
        }
    }
    if unchanged > 0 {
        let keeps = if changes.restarts.is_some() { "" } else { ", kept as they run" };
        text += &format!("    {unchanged} unchanged{keeps}\n");
    }
    text
}

fn what_becomes(node: &NodeName, change: &Change) -> Option<(char, String)> {
    let is_stage = matches!(node.kind(), NodeKind::Filter | NodeKind::Transform);
    Some(match change {
        Change::Unchanged => return None,
        Change::Added if is_stage => ('+', "new".to_owned()),
        Change::Added => ('+', "new, is started".to_owned()),
        Change::Removed if is_stage => ('-', "gone".to_owned()),
        Change::Removed => ('-', "gone, is drained and stopped".to_owned()),
        Change::Rewired(rewiring) => ('~', format!("kept; {}", shown(rewiring))),
        Change::Changed { keys, rewired } => {
            let outcome = match node.kind() {
                NodeKind::Source => "drained, stopped and started anew",
                NodeKind::Filter | NodeKind::Transform => "changed",
                NodeKind::Sink => "replaced, its queue is kept",
            };
            let rewired = rewired.as_ref().map(|rewiring| format!("; {}", shown(rewiring))).unwrap_or_default();
            ('~', format!("{outcome}: {}{rewired}", keys.join(", ")))
        }
    })
}

fn shown(rewiring: &Rewiring) -> String {
    let part = |verb: &str, names: &[String]| (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")));
    let parts = [part("fed by", &rewiring.added), part("no longer by", &rewiring.removed)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn to_json(name: &str, change: &PipelineChange) -> Value {
    match change {
        PipelineChange::Added(nodes) => json!({ "pipeline": name, "change": "added", "node_count": nodes }),
        PipelineChange::Removed(nodes) => json!({ "pipeline": name, "change": "removed", "node_count": nodes }),
        PipelineChange::Kept(changes) => json!({
            "pipeline": name,
            "change": if changes.is_empty() { "unchanged" } else { "changed" },
            "restarted_for": changes.restarts.as_ref().map(|reason| &reason.keys),
            "nodes": changes.nodes.iter().map(|(node, change)| node_to_json(node, change)).collect::<Vec<_>>(),
        }),
    }
}

fn node_to_json(node: &NodeName, change: &Change) -> Value {
    let from = |rewiring: &Rewiring| json!({ "added": rewiring.added, "removed": rewiring.removed });
    match change {
        Change::Added => json!({ "node": node.to_string(), "change": "added" }),
        Change::Removed => json!({ "node": node.to_string(), "change": "removed" }),
        Change::Unchanged => json!({ "node": node.to_string(), "change": "unchanged" }),
        Change::Rewired(rewiring) => json!({ "node": node.to_string(), "change": "rewired", "from": from(rewiring) }),
        Change::Changed { keys, rewired } => {
            json!({ "node": node.to_string(), "change": "changed", "keys": keys, "from": rewired.as_ref().map(from) })
        }
    }
}
