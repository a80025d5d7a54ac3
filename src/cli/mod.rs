//! The command line: one module a subcommand, what they share, and the exit codes.
//!
//! A subcommand parses nothing but its own arguments, calls the library, and prints. Standard output is for results,
//! standard error for logs and errors.

pub mod check;
pub mod completions;
pub mod dead;
pub mod dev;
pub mod diff;
pub mod error;
pub mod eval;
pub mod graph;
pub mod health;
mod json_text;
pub mod listen;
pub mod load;
pub mod logging;
pub mod presets;
pub mod run;
pub mod schema;
pub mod show;
pub mod signals;
pub mod signing_args;
pub mod sinks;
mod table;
pub mod test;
pub mod version;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

pub use error::CliError;

/// Turns events from Kafka, AMQP and growing files into webhooks, and never loses one without saying so.
#[derive(Debug, Parser)]
#[command(name = "bridge", arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Print the version; with --verbose also how it was built, and with what
    #[arg(short = 'V', long)]
    pub version: bool,
    /// What to log.
    #[command(flatten)]
    pub log: logging::LogArgs,
}

impl Cli {
    /// Parses the command line; what is wrong with it ends the process with exit code 2. `None` when the version is to be
    /// printed.
    pub fn parse_or_exit() -> (Option<Command>, logging::LogArgs) {
        let cli = Self::parse();
        if cli.command.is_none() && !cli.version {
            Self::command().error(ErrorKind::MissingSubcommand, "a subcommand is missing").exit();
        }
        (cli.command.filter(|_| !cli.version), cli.log)
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline until it is told to stop
    Run(run::RunArgs),
    /// Check pipeline files and report every fault, without touching the network
    Check(check::CheckArgs),
    /// Say what a reload would do, node by node
    Diff(diff::DiffArgs),
    /// Draw pipelines, for a terminal, Mermaid or Graphviz
    Graph(graph::GraphArgs),
    /// Run the tests in pipeline files, without network and state
    Test(test::TestArgs),
    /// Try one filter expression or template on an event
    Eval(eval::EvalArgs),
    /// Try a pipeline: run it for real, with a local receiver in the place of every sink
    Dev(dev::DevArgs),
    /// Listen for webhooks and show them, to try a sink
    Listen(listen::ListenArgs),
    /// Look at dead letters, send them again, throw them away
    Dead(dead::DeadArgs),
    /// List the sinks of a pipeline and what waits for them, enable one or end its pause
    Sinks(sinks::SinksArgs),
    /// Ask a running bridge whether it works, or whether it is ready
    Health(health::HealthArgs),
    /// List the presets of sinks, or show what one stands for
    Presets(presets::PresetsArgs),
    /// Print the JSON Schema of pipeline files, or a reference of their keys
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

const AFTER_HELP: &str = "\
Examples:
  # see events become webhooks
  bridge dev --once examples/quickstart/pipeline.toml
  # find every fault before anything runs
  bridge check pipeline.toml
  # run the file's own tests
  bridge test pipeline.toml
  # run until SIGTERM or Ctrl-C
  bridge run pipeline.toml
  # what could not be delivered, and why
  bridge dead list pipeline.toml
  # feed a pipeline that has a stdin source
  journalctl -fo json | bridge run pipeline.toml

Exit codes:
  0    everything went well
  1    it failed, and the last error says why;
       after `dead replay`: some letters are still dead;
       after `test`: a test failed;
       after `health`: it does not work, or is not ready
  2    the command line is wrong, or does not fit
  3    a pipeline file is wrong,
       or `check --deny-warnings` has warnings
  4    `check --connect` could not reach something,
       or open the store
  130  ended at once by a second signal;
       what was in flight stays uncommitted";
