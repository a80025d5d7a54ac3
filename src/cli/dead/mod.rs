//! `bridge dead`: looks at dead letters, sends them again, throws them away. One module a subcommand.

mod export;
mod filter;
mod list;
mod progress;
mod purge;
mod record;
mod replay;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::CliError;
use super::load::{Compiled, StateArgs, load};
use crate::pipeline::Graph;
use crate::problem::did_you_mean;
use crate::store::config::{Location, StoreSettings};
use crate::store::letters::{LetterFilter, Letters};

/// Looks at dead letters, sends them again, throws them away.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # what was given up lately, and why
  bridge dead list pipeline.toml --sink crm --since 2h
  # event, request, every attempt of one
  bridge dead show pipeline.toml 17
  # send again, with today's pipeline file
  bridge dead replay pipeline.toml --reason rejected
  # for other programs
  bridge dead export pipeline.toml > letters.jsonl
  # throw away what is older than 30 days
  bridge dead purge pipeline.toml --until 30d

A bridge may be running on the store meanwhile.")]
pub struct DeadArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeadCommand,
}

/// The subcommands of `bridge dead`.
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead letters, the newest first
    List(list::ListArgs),
    /// Show all about one dead letter: event, request, every attempt
    Show(show::ShowArgs),
    /// Send dead letters again
    Replay(replay::ReplayArgs),
    /// Throw dead letters away
    Purge(purge::PurgeArgs),
    /// Print dead letters as JSON lines, the oldest first
    Export(export::ExportArgs),
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// JSON, one object a line
    Json,
}

/// Which pipeline's letters.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// Where durable state is kept
    #[command(flatten)]
    pub state: StateArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// A faulty pipeline file, a store that cannot be used, or what the subcommand could not do.
pub fn run(args: &DeadArgs) -> Result<(), CliError> {
    match &args.command {
        DeadCommand::List(args) => list::run(args),
        DeadCommand::Show(args) => show::run(args),
        DeadCommand::Replay(args) => replay::run(args),
        DeadCommand::Purge(args) => purge::run(args),
        DeadCommand::Export(args) => export::run(args),
    }
}

impl PipelineArgs {
    /// The compiled pipeline, and where its store is.
    pub(super) fn load(&self) -> Result<(Compiled, StoreSettings), CliError> {
        let compiled = load(&self.pipeline, &self.state.folder()?, true, |_| {})?;
        let Some(settings) = compiled.store.clone() else {
            return Err(CliError::Usage("the pipeline has no store: its `store.url` is \"none\"".to_owned()));
        };
        if let Location::Sqlite(path) = &settings.location
            && !path.exists()
        {
            let path = path.display();
            let message = format!("there is no store {path} yet: has the pipeline run with another --state-dir?");
            return Err(CliError::Usage(message));
        }
        Ok((compiled, settings))
    }

    /// The letters of the pipeline, to be chosen from by this filter.
    async fn letters(&self, filter: &LetterFilter) -> Result<Letters, CliError> {
        let (Compiled { graph, .. }, settings) = self.load()?;
        let mut letters = Letters::open(&settings).await?;
        expect_known(&mut letters, &graph, filter).await?;
        Ok(letters)
    }
}

/// Refuses a filter that names what is not there: it would do nothing, and look like a success. A filter that only
/// happens to match nothing is none of these.
async fn expect_known(letters: &mut Letters, graph: &Graph, filter: &LetterFilter) -> Result<(), CliError> {
    expect_known_node(letters, graph, filter).await?;
    let missing = letters.missing(&LetterFilter { ids: filter.ids.clone(), ..LetterFilter::default() }).await?;
    if !missing.is_empty() {
        return Err(CliError::NoSuchLetter(missing));
    }
    let left_out = letters.missing(filter).await?;
    if left_out.is_empty() { Ok(()) } else { Err(CliError::LeftOut(left_out)) }
}

/// Refuses a filter by a node that neither the pipeline nor any letter knows: that is a slip, and "no dead letters" would
/// be a false comfort.
async fn expect_known_node(letters: &mut Letters, graph: &Graph, filter: &LetterFilter) -> Result<(), CliError> {
    let Some(node) = &filter.node else { return Ok(()) };
    let nodes: Vec<String> = graph.nodes().map(|node| node.to_string()).collect();
    let of_node = LetterFilter { node: Some(node.clone()), ..LetterFilter::default() };
    if nodes.contains(node) || letters.count(&of_node).await? > 0 {
        return Ok(());
    }
    let names = nodes.iter().map(String::as_str);
    let without_section = names.clone().find(|known| known.split_once('.').is_some_and(|(_, name)| name == node));
    let meant = without_section.or_else(|| did_you_mean(node, names));
    let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    Err(CliError::Usage(format!("there is no `{node}` in the pipeline, and no dead letter of it{hint}")))
}
