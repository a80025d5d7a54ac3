//! `bridge sinks`: the sinks of a pipeline and what lies in the store for them, and enabling one again.

use std::io::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliError;
use super::dead::{OutputFormat, PipelineArgs};
use super::show::printable;
use super::table::Table;
use crate::pipeline::load::Compiled;
use crate::pipeline::run::new_runtime;
use crate::problem::did_you_mean;
use crate::secret::mask;
use crate::store::handle::Pause;
use crate::store::sinks::{Resumed, SinkState, SinkStates};

/// Lists the sinks of a pipeline and what waits for them, or enables one again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge sinks list pipeline.toml
  bridge sinks enable pipeline.toml crm
  bridge sinks resume pipeline.toml crm

A sink is paused when its receiver asks for it (Retry-After), and disabled when its receiver answers 410, or another \
status that `responses` maps to `disable`. \
A bridge may be running on the store meanwhile.")]
pub struct SinksArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SinksCommand,
}

/// The subcommands of `bridge sinks`.
#[derive(Debug, Subcommand)]
pub enum SinksCommand {
    /// Show of each sink whether it is enabled, what waits in the store, and how many dead letters there are
    List(SinksListArgs),
    /// Enable a sink that its receiver has disabled; a running bridge notices within a second
    Enable(SinksEnableArgs),
    /// End the pause that a receiver has asked for, and make due what is parked; a running bridge notices within seconds
    Resume(SinksResumeArgs),
}

/// The arguments of `bridge sinks list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge sinks list pipeline.toml
  bridge sinks list pipeline.toml --format json |
    jq 'select(.parked > 1000)'")]
pub struct SinksListArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// The arguments of `bridge sinks enable`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge sinks enable pipeline.toml crm

What was parked for the sink is attempted again. What came while it was disabled are dead letters:
  bridge dead replay pipeline.toml \\
    --sink crm --reason sink-disabled")]
pub struct SinksEnableArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The sink
    #[arg(value_name = "NAME")]
    name: String,
}

/// The arguments of `bridge sinks resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge sinks resume pipeline.toml crm

All that waits in the store for the sink is due at once, be it for a pause or for its retry.")]
pub struct SinksResumeArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The sink
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs the subcommand.
///
/// # Errors
/// A faulty pipeline file, a store that cannot be used, or a sink that is not there.
pub fn run(args: &SinksArgs) -> Result<(), CliError> {
    match &args.command {
        SinksCommand::List(args) => list(args),
        SinksCommand::Enable(args) => enable(args),
        SinksCommand::Resume(args) => resume(args),
    }
}

/// A sink of the pipeline, or one of which only the store knows.
struct Listed {
    name: String,
    state: SinkState,
    is_in_pipeline: bool,
}

fn list(args: &SinksListArgs) -> Result<(), CliError> {
    let (compiled, settings) = args.pipeline.load()?;
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let mut states = runtime.block_on(async { SinkStates::open(&settings).await?.all().await })?;
    let mut sinks = Vec::new();
    for sink in &compiled.graph.sinks {
        let name = sink.route.name.to_string();
        let state = states.remove(&name).unwrap_or_default();
        sinks.push(Listed { name, state, is_in_pipeline: true });
    }
    // What waits for a sink that was removed or renamed must not be out of sight.
    sinks.extend(states.into_iter().map(|(name, state)| Listed { name, state, is_in_pipeline: false }));
    match args.format {
        OutputFormat::Text => say(&table(&sinks)),
        OutputFormat::Json => say(&sinks.iter().map(json_line).collect::<String>()),
    }
}

fn enable(args: &SinksEnableArgs) -> Result<(), CliError> {
    let (compiled, settings) = args.pipeline.load()?;
    let name = args.name.as_str();
    must_have_sink(&compiled, name)?;
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let lifted = runtime.block_on(async { SinkStates::open(&settings).await?.enable(name).await })?;
    say(&if lifted { format!("sink {name} is enabled again\n") } else { format!("sink {name} was not disabled\n") })
}

fn resume(args: &SinksResumeArgs) -> Result<(), CliError> {
    let (compiled, settings) = args.pipeline.load()?;
    let name = args.name.as_str();
    must_have_sink(&compiled, name)?;
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let Resumed { pauses, due } = runtime.block_on(async { SinkStates::open(&settings).await?.resume(name).await })?;
    let was = if pauses > 0 { "is no longer paused" } else { "was not paused" };
    let deliveries = if due == 1 { "1 delivery is".to_owned() } else { format!("{due} deliveries are") };
    say(&format!("sink {name} {was}; {deliveries} due now instead of later\n"))
}

fn must_have_sink(compiled: &Compiled, name: &str) -> Result<(), CliError> {
    let names: Vec<&str> = compiled.graph.sinks.iter().map(|sink| &*sink.route.name).collect();
    if !names.contains(&name) {
        let help = did_you_mean(name, names).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        return Err(CliError::Usage(format!("the pipeline has no sink `{name}`{help}")));
    }
    Ok(())
}

fn table(sinks: &[Listed]) -> String {
    let mut table = Table::new(["SINK", "PARKED", "OLDEST DUE", "DEAD LETTERS", "STATE"]);
    for Listed { name, state, is_in_pipeline } in sinks {
        let due = state.oldest_due.map_or_else(|| "-".to_owned(), |due| format!("{due:.0}"));
        let shown = match &state.disabled {
            _ if !is_in_pipeline => "not in the pipeline any more".to_owned(),
            None if !state.pauses.is_empty() => pauses_text(&state.pauses),
            None => "enabled".to_owned(),
            Some((since, reason)) => format!("disabled since {since:.0}: {}", printable(reason)),
        };
        table.add([name.clone(), state.parked.to_string(), due, state.dead.to_string(), shown]);
    }
    table.render(None)
}

/// Until when the sink, or which of its buckets, is paused.
fn pauses_text(pauses: &[Pause]) -> String {
    let text = |pause: &Pause| match &*pause.bucket {
        "" => format!("paused until {:.0} (Retry-After)", pause.until),
        bucket => format!("bucket {} paused until {:.0} (Retry-After)", printable(bucket), pause.until),
    };
    pauses.iter().map(text).collect::<Vec<_>>().join("; ")
}

fn json_line(Listed { name, state, is_in_pipeline }: &Listed) -> String {
    let (since, reason) = state.disabled.clone().unzip();
    let pauses = state.pauses.iter().map(|pause| json!({"bucket": mask(&pause.bucket), "until": pause.until}));
    let pauses: Vec<_> = pauses.collect();
    let line = json!({
        "sink": name, "in_pipeline": is_in_pipeline, "enabled": state.disabled.is_none(), "disabled_since": since,
        "disabled_because": reason.map(|reason| mask(&reason).into_owned()),
        "paused": pauses, "parked": state.parked, "oldest_due": state.oldest_due, "dead_letters": state.dead,
    });
    format!("{line}\n")
}

fn say(text: &str) -> Result<(), CliError> {
    anstream::stdout().write_all(text.as_bytes()).map_err(CliError::io("cannot print"))
}
