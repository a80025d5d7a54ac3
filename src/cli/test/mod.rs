//! `bridge test`: runs the `[[tests]]` of pipeline files, without network and state.
//!
//! Running and judging are the library's part; this module goes through the files, reports in one of the formats
//! (`text`, `json`, `junit`), and writes files that are to be updated.

mod json;
mod junit;
mod text;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::CliError;
use super::load::{Compiled, compile_for_trials};
use crate::config::files::{PipelineNames, pipeline_files};
use crate::config::test_case::TestCase;
use crate::config::{self, ConfigErrors};
use crate::pipeline::trial::{Course, FrozenClock, Trial};
use crate::problem::did_you_mean;
use crate::testing::explain::{Finding, explain};
use crate::testing::judge::judge;
use crate::testing::update::{Updated, update};

/// Runs the tests in pipeline files: events through filters, templates and signing, without network and state.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge test examples/quickstart/pipeline.toml
  # tests with `refund` in their name, of all *.toml there
  bridge test --only refund pipelines/
  # write what was found into the file
  bridge test --update pipeline.toml
  bridge test --format junit pipelines/ > tests.xml

A test, in the pipeline file:
  [[tests]]
  name   = \"a paid order reaches the CRM\"
  source = \"orders\"
  event  = { key = \"o-1\", data = { id = \"o-1\" } }
  expect = [{ sink = \"crm\", json = { \"$.id\" = \"o-1\" } }]

Every delivery and every dead letter must be expected; with `expect = []` the event reaches nothing.")]
pub struct TestArgs {
    /// Pipeline files, and folders of which every *.toml is meant
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Run only tests with this text in their name; with several of these, tests with any of them
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t)]
    pub format: TestFormat,
    /// Write what was found into the files, in the place of what failing tests expect, and run them again
    #[arg(long)]
    pub update: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TestFormat {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// JUnit XML, which CI systems read
    Junit,
}

/// A pipeline file and what its tests have shown.
struct TestedFile {
    path: PathBuf,
    result: Result<TestedPipeline, ConfigErrors>,
}

struct TestedPipeline {
    name: String,
    /// Those that were to be run.
    tests: Vec<Tested>,
    /// The names of all that the file has, be they run or not.
    declared: Vec<String>,
}

/// A test that was run.
struct Tested {
    /// Its index in the file.
    index: usize,
    test: TestCase,
    course: Course,
}

impl Tested {
    /// What is not as the test expects it. Nothing when it passes.
    fn findings(&self) -> Vec<Finding> {
        explain(&judge(&self.test, &self.course.outcomes))
    }

    fn passes(&self) -> bool {
        judge(&self.test, &self.course.outcomes).is_empty()
    }
}

/// How many tests passed and failed.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    passed: usize,
    failed: usize,
}

/// Runs the subcommand.
///
/// # Errors
/// Faulty pipeline files, or how many tests failed.
pub fn run(args: &TestArgs) -> Result<(), CliError> {
    let paths = pipeline_files(&args.paths)?;
    let run_all = || -> Vec<TestedFile> {
        let mut names = PipelineNames::default();
        paths.iter().map(|path| run_file(path, &mut names, &args.only)).collect()
    };
    let mut files = run_all();
    if args.update && update_all(&files)? {
        files = run_all();
    }
    let count = count(&files);
    let report = match args.format {
        TestFormat::Text => text::report(&files, count),
        TestFormat::Json => json::report(&files, count),
        TestFormat::Junit => junit::report(&files, count),
    };
    anstream::stdout().write_all(report.as_bytes()).map_err(CliError::io("cannot print"))?;
    verdict(files, count, &args.only)
}

fn run_file(path: &Path, names: &mut PipelineNames, only: &[String]) -> TestedFile {
    let result = config::load_lenient(path).and_then(|mut parsed| {
        parsed.refuse(names.claim(&parsed.pipeline.name, path).err());
        let name = parsed.pipeline.name.clone();
        let tests = std::mem::take(&mut parsed.pipeline.tests);
        let clock = FrozenClock::default();
        let Compiled { graph, .. } = compile_for_trials(parsed, path, &clock)?;
        let trial = Trial::new(&graph, &clock);
        let declared = tests.iter().map(|test| test.name.clone()).collect();
        let is_meant = |test: &TestCase| only.is_empty() || only.iter().any(|text| test.name.contains(text));
        let meant = tests.into_iter().enumerate().filter(|(_, test)| is_meant(test));
        let tests = meant.map(|(index, test)| Tested { index, course: trial.run(&test), test }).collect();
        Ok(TestedPipeline { name, tests, declared })
    });
    TestedFile { path: path.to_owned(), result }
}

/// Updates the files with tests that fail, and says what was done. True when a file was written.
fn update_all(files: &[TestedFile]) -> Result<bool, CliError> {
    let mut has_written = false;
    for TestedFile { path, result } in files {
        let Ok(pipeline) = result else { continue };
        let failing = pipeline.tests.iter().filter(|tested| !tested.passes());
        let failing: Vec<_> =
            failing.map(|tested| (tested.index, judge(&tested.test, &tested.course.outcomes))).collect();
        if failing.is_empty() {
            continue;
        }
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(CliError::io(format!("cannot read {shown}")))?;
        let Updated { text: new, left } =
            update(&text, &failing).map_err(|error| CliError::Usage(format!("cannot update {shown}: {error}")))?;
        for left in left {
            say(&format!("{shown}: {left}"));
        }
        if new != text {
            std::fs::write(path, new).map_err(CliError::io(format!("cannot write {shown}")))?;
            say(&format!("{shown}: updated"));
            has_written = true;
        }
    }
    Ok(has_written)
}

/// Says something that is no result.
fn say(line: &str) {
    // Nobody is left to tell when standard error is closed.
    writeln!(anstream::stderr(), "{line}").ok();
}

fn count(files: &[TestedFile]) -> Count {
    let pipelines = files.iter().filter_map(|file| file.result.as_ref().ok());
    let mut count = Count::default();
    for tested in pipelines.flat_map(|pipeline| &pipeline.tests) {
        match tested.passes() {
            true => count.passed += 1,
            false => count.failed += 1,
        }
    }
    count
}

/// A faulty file goes before a failing test: its tests say nothing at all. What was asked for and is not there must not
/// pass for a success.
fn verdict(files: Vec<TestedFile>, count: Count, only: &[String]) -> Result<(), CliError> {
    let (pipelines, faulty): (Vec<_>, Vec<_>) = files.into_iter().map(|file| file.result).partition(Result::is_ok);
    if !faulty.is_empty() {
        return Err(CliError::Config(faulty.into_iter().filter_map(Result::err).collect()));
    }
    if count.failed > 0 {
        return Err(CliError::TestsFailed(count.failed));
    }
    let declared: Vec<String> = pipelines.into_iter().flatten().flat_map(|pipeline| pipeline.declared).collect();
    if declared.is_empty() {
        return Err(CliError::Usage("there is no test; `bridge test --help` shows what one looks like".to_owned()));
    }
    match only.iter().find(|text| !declared.iter().any(|name| name.contains(*text))) {
        Some(text) => Err(CliError::Usage(format!("no test has `{text}` in its name{}", hint(text, &declared)))),
        None => Ok(()),
    }
}

/// The test that may be meant, by its name or by a word of it.
fn hint(text: &str, declared: &[String]) -> String {
    let words = declared.iter().flat_map(|name| name.split_whitespace().map(move |word| (word, name)));
    let known: Vec<(&str, &String)> = declared.iter().map(|name| (name.as_str(), name)).chain(words).collect();
    let meant = did_you_mean(text, known.iter().map(|(word, _)| *word));
    let name = meant.and_then(|meant| known.iter().find(|(word, _)| *word == meant));
    name.map(|(_, name)| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}
