//! `bridge check`: finds the faults of pipeline files and what is worth a warning, for people and for machines; with
//! `--connect` also whether brokers, receivers, the store and the destinations of dead letters are there.
//!
//! `report` is what was found, and its form for people; `github` and `sarif` are forms for machines, `connect` does
//! the probing.

mod connect;
mod github;
mod report;
mod sarif;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::CliError;
use super::load::{Compiled, StateArgs, compile_parsed};
use super::logging::LogFormat;
use crate::config::files::{PipelineNames, pipeline_files};
use crate::config::load_lenient;
use crate::descriptors::hard_limit;
use crate::pipeline::Graph;
use crate::pipeline::compile::base_dir;
use crate::pipeline::warnings::{self, descriptor_limit};
use crate::secret::mask;
use connect::count_files;
use report::{CheckedFile, Report};

/// Checks pipeline files and reports every fault and warning, without touching the network.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # every *.toml in the folder
  bridge check pipelines/
  # in CI: annotations at the lines of a pull request
  bridge check --deny-warnings --format github pipelines/
  # for code scanning
  bridge check --format sarif pipelines/ > bridge.sarif
  # also reach for brokers, receivers, the store and where
  # dead letters go; no event is read or sent
  bridge check --connect pipeline.toml

Warnings are given for files without a fault. Each has a code, such as literal-secret; the README lists them.")]
pub struct CheckArgs {
    /// Pipeline files, and folders of which every *.toml is meant
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Also connect to every broker, look for the topics and exchanges of dead letters, open a connection to every
    /// receiver whose address is fixed, and open the store
    #[arg(long)]
    pub connect: bool,
    /// The form of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: CheckFormat,
    /// Fail, with exit code 3, when there are warnings
    #[arg(long)]
    pub deny_warnings: bool,
    /// Where durable state is kept: the store is looked for there, unless the pipeline says where it is
    #[command(flatten)]
    pub state: StateArgs,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckFormat {
    /// For people: a line for each file on standard output, faults and warnings on standard error
    #[default]
    Text,
    /// One JSON object
    Json,
    /// Workflow commands of GitHub Actions
    Github,
    /// SARIF 2.1.0
    Sarif,
}

/// Runs the subcommand. `form` is that of the logs, which faults and warnings for people take too.
///
/// # Errors
/// [`CliError::Faulty`] or [`CliError::Warnings`] when files are not as they must be, or how many probes failed.
pub fn run(args: &CheckArgs, form: LogFormat) -> Result<(), CliError> {
    if args.connect && args.format != CheckFormat::Text {
        return Err(CliError::Usage("--connect goes with --format text only".to_owned()));
    }
    // Only a connection needs the folder: without one, any will do.
    let state = if args.connect { args.state.folder()? } else { PathBuf::new() };
    let mut names = PipelineNames::default();
    let mut report = Report::default();
    let mut unreachable = 0;
    for path in pipeline_files(&args.paths)? {
        let (file, graph) = check(&path, &state, &mut names, args.connect)?;
        if args.format == CheckFormat::Text {
            say(&file.line())?;
            file.show_findings(form);
        }
        if let Some(graph) = graph.filter(|_| args.connect) {
            unreachable += connect::probe_all(graph)?;
        }
        report.files.push(file);
    }
    match args.format {
        CheckFormat::Text => {}
        CheckFormat::Json => say(&format!("{:#}", report.to_json()))?,
        CheckFormat::Github => report.files.iter().flat_map(github::annotations).try_for_each(|line| say(&line))?,
        CheckFormat::Sarif => say(&format!("{:#}", sarif::log(&report)))?,
    }
    report.verdict(args.deny_warnings)?;
    if unreachable > 0 { Err(CliError::Unreachable(unreachable)) } else { Ok(()) }
}

/// Checks one file. There is a graph when it has no fault.
fn check(
    path: &Path,
    state: &Path,
    names: &mut PipelineNames,
    connect: bool,
) -> Result<(CheckedFile, Option<Graph>), CliError> {
    let compiled = load_lenient(path).and_then(|mut parsed| {
        parsed.refuse(names.claim(&parsed.pipeline.name, path).err());
        compile_parsed(parsed, path, state, true)
    });
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(errors) => return Ok((CheckedFile::faulty(path, errors), None)),
    };
    let mut found = warnings::find(&compiled);
    let Compiled { file, graph, .. } = compiled;
    // Only a connection may look at files. `bridge run` raises its limit to the hard one.
    let matching = if connect { count_files(&file.pipeline, &base_dir(path))? } else { BTreeMap::new() };
    found.extend(descriptor_limit(&file.pipeline, hard_limit(), &matching));
    Ok((CheckedFile::sound(path, &graph, file.warnings(found)), Some(graph)))
}

/// Prints a line. When nobody reads on, as in `bridge check … | head -1`, the verdict is still to come: it is the exit code.
fn say(line: &str) -> Result<(), CliError> {
    match writeln!(anstream::stdout(), "{}", mask(line)) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(CliError::io("cannot print")),
    }
}
