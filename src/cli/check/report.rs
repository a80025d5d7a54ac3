//! What was found in pipeline files, and how people see it.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tracing::{error, warn};

use crate::cli::CliError;
use crate::cli::logging::LogFormat;
use crate::config::finding::{Finding, Level};
use crate::config::{ConfigErrors, ConfigWarnings, ReportStyle};
use crate::node::NodeKind;
use crate::pipeline::Graph;

/// What was found in all files.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// In the order in which they were checked.
    pub(super) files: Vec<CheckedFile>,
}

/// What was found in one file.
#[derive(Debug)]
pub(super) struct CheckedFile {
    /// The file, as it is named in the report.
    pub(super) file: String,
    outcome: Result<Sound, ConfigErrors>,
}

/// A file without a fault.
#[derive(Debug)]
struct Sound {
    pipeline: String,
    sources: usize,
    filters: usize,
    transforms: usize,
    sinks: usize,
    warnings: ConfigWarnings,
}

impl Report {
    /// Fails when a file has a fault, or a warning where none is allowed.
    pub(super) fn verdict(&self, deny_warnings: bool) -> Result<(), CliError> {
        let wrong = self.files.iter().filter(|file| file.outcome.is_err()).count();
        if wrong > 0 {
            return Err(CliError::Faulty { wrong, files: self.files.len() });
        }
        let warnings = self.count(Level::Warning);
        if deny_warnings && warnings > 0 { Err(CliError::Warnings(warnings)) } else { Ok(()) }
    }

    /// The report as one JSON object.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "files": self.files.iter().map(CheckedFile::to_json).collect::<Vec<_>>(),
            "errors": self.count(Level::Error),
            "warnings": self.count(Level::Warning),
        })
    }

    fn count(&self, level: Level) -> usize {
        self.files.iter().flat_map(CheckedFile::findings).filter(|finding| finding.level == level).count()
    }
}

impl CheckedFile {
    /// A file with faults.
    pub(super) fn faulty(path: &Path, errors: ConfigErrors) -> Self {
        Self { file: path.display().to_string(), outcome: Err(errors) }
    }

    /// A file without faults.
    pub(super) fn sound(path: &Path, graph: &Graph, warnings: ConfigWarnings) -> Self {
        let pipeline = graph.name.to_string();
        let (sources, sinks) = (graph.sources.len(), graph.sinks.len());
        let filters = graph.stages.iter().filter(|stage| stage.name.kind() == NodeKind::Filter).count();
        let transforms = graph.stages.len() - filters;
        let sound = Sound { pipeline, sources, filters, transforms, sinks, warnings };
        Self { file: path.display().to_string(), outcome: Ok(sound) }
    }

    /// Everything that was found, in the order of the file.
    pub(super) fn findings(&self) -> Vec<Finding> {
        match &self.outcome {
            Ok(sound) => sound.warnings.findings(),
            Err(errors) => errors.findings(),
        }
    }

    /// The file's line in the report for people.
    pub(super) fn line(&self) -> String {
        let file = &self.file;
        match &self.outcome {
            Ok(Sound { sources, filters, transforms, sinks, .. }) => {
                let nodes = [(*sources, "source"), (*filters, "filter"), (*transforms, "transform"), (*sinks, "sink")];
                let nodes = nodes.into_iter().filter(|(count, node)| *count > 0 || *node == "filter");
                let nodes = nodes.map(counted).collect::<Vec<_>>().join(", ");
                match self.findings().len() {
                    0 => format!("{file}: ok ({nodes})"),
                    warnings => format!("{file}: ok ({nodes}), {}", counted((warnings, "warning"))),
                }
            }
            Err(errors) => format!("{file}: {}", counted((errors.faults().len(), "fault"))),
        }
    }

    /// Draws the findings on standard error, or logs them where logs are for machines.
    pub(super) fn show_findings(&self, form: LogFormat) {
        let look = if form == LogFormat::Text { ReportStyle::for_stderr() } else { ReportStyle::Plain };
        let drawn = match &self.outcome {
            Ok(sound) if sound.warnings.is_empty() => return,
            Ok(sound) => sound.warnings.render(look),
            Err(errors) => errors.render(look),
        };
        match (form, &self.outcome) {
            // Nobody is left to tell when standard error is closed.
            (LogFormat::Text, _) => writeln!(std::io::stderr(), "{drawn}").unwrap_or_default(),
            (LogFormat::Json, Ok(_)) => warn!("{drawn}"),
            (LogFormat::Json, Err(_)) => error!("{drawn}"),
        }
    }

    fn to_json(&self) -> Value {
        let findings = self.findings();
        match &self.outcome {
            Ok(Sound { pipeline, sources, filters, transforms, sinks, .. }) => json!({
                "file": self.file, "ok": true, "pipeline": pipeline,
                "sources": sources, "filters": filters, "transforms": transforms, "sinks": sinks,
                "findings": findings,
            }),
            Err(_) => json!({ "file": self.file, "ok": false, "findings": findings }),
        }
    }
}

/// "1 source", "2 sources".
fn counted((count, noun): (usize, &str)) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
