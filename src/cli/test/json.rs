//! Results of tests as one JSON document.

use serde::Serialize;

use super::{Count, Tested, TestedFile};
use crate::testing::explain::Finding;

#[derive(Serialize)]
struct Report<'a> {
    passed: usize,
    failed: usize,
    files: Vec<FileReport<'a>>,
}

#[derive(Serialize)]
struct FileReport<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<&'a str>,
    /// All faults of the file, as `check` shows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    tests: Vec<TestReport<'a>>,
}

#[derive(Serialize)]
struct TestReport<'a> {
    name: &'a str,
    line: usize,
    passed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
}

/// All results.
pub(super) fn report(files: &[TestedFile], count: Count) -> String {
    let Count { passed, failed } = count;
    let report = Report { passed, failed, files: files.iter().map(file).collect() };
    // Strings, numbers and lists can always be written as JSON.
    serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
}

fn file(TestedFile { path, result }: &TestedFile) -> FileReport<'_> {
    let path = path.display().to_string();
    match result {
        Err(errors) => FileReport { path, pipeline: None, error: Some(errors.to_string()), tests: Vec::new() },
        Ok(pipeline) => {
            let tests = pipeline.tests.iter().map(test).collect();
            FileReport { path, pipeline: Some(&pipeline.name), error: None, tests }
        }
    }
}

fn test(tested: &Tested) -> TestReport<'_> {
    let findings = tested.findings();
    TestReport { name: &tested.test.name, line: tested.test.line, passed: findings.is_empty(), findings }
}
