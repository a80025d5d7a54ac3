//! Findings as a SARIF log, for code scanning and for editors.
//!
//! [SARIF 2.1.0](https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).

use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use strum::VariantArray as _;

use super::report::Report;
use crate::config::finding::{Finding, INVALID, Level, TextRange};
use crate::problem::WarningCode;

/// What must not stand as it is in the path of a URI (RFC 3986 section 3.3). A colon could be taken for a scheme's.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'[')
    .add(b']')
    .add(b'\\')
    .add(b'^')
    .add(b'|')
    .add(b':');

/// The log of one run.
pub(super) fn log(report: &Report) -> Value {
    let results = report.files.iter().flat_map(|file| {
        let uri = uri(&file.file);
        file.findings().into_iter().map(move |finding| result(&uri, &finding))
    });
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "bridge",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules(),
            }},
            "columnKind": "unicodeCodePoints",
            "artifacts": report.files.iter().map(|file| json!({ "location": { "uri": uri(&file.file) } })).collect::<Vec<_>>(),
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// Every rule, whether it was broken or not, so that a rule's place in the list is always the same.
fn rules() -> Vec<Value> {
    let rule = |id: &str, summary: &str, level: Level| json!({ "id": id, "shortDescription": { "text": summary }, "defaultConfiguration": { "level": level } });
    let invalid = rule(INVALID, "The pipeline file cannot be used", Level::Error);
    let warnings = WarningCode::VARIANTS.iter().map(|code| rule(code.as_str(), code.summary(), Level::Warning));
    std::iter::once(invalid).chain(warnings).collect()
}

fn result(uri: &str, finding: &Finding) -> Value {
    let warning = WarningCode::VARIANTS.iter().position(|code| code.as_str() == finding.code);
    let text = match &finding.help {
        Some(help) => format!("{}. {help}", finding.message),
        None => finding.message.clone(),
    };
    let mut place = json!({ "artifactLocation": { "uri": uri } });
    if let Some(TextRange { line, column, end_column }) = finding.place {
        place["region"] = json!({ "startLine": line, "startColumn": column, "endColumn": end_column });
    }
    json!({
        "ruleId": finding.code,
        "ruleIndex": warning.map_or(0, |index| index + 1),
        "level": finding.level,
        "message": { "text": text },
        "locations": [{ "physicalLocation": place }],
    })
}

/// A relative path stays relative: who reads the log knows the folder it starts at.
fn uri(file: &str) -> String {
    let path = utf8_percent_encode(file.strip_prefix("./").unwrap_or(file), NOT_IN_PATHS);
    if Path::new(file).is_absolute() { format!("file://{path}") } else { path.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("./pipelines/größe 1.toml"), "pipelines/gr%C3%B6%C3%9Fe%201.toml");
        assert_eq!(uri("/etc/bridge/a.toml"), "file:///etc/bridge/a.toml");
        assert_eq!(uri("c:x.toml"), "c%3Ax.toml");
    }

    #[test]
    fn every_result_points_at_its_rule() {
        for (index, rule) in rules().iter().enumerate() {
            let code = std::iter::once(INVALID)
                .chain(WarningCode::VARIANTS.iter().map(|code| code.as_str()))
                .nth(index)
                .unwrap();
            let finding = Finding { level: Level::Warning, code, message: "m".into(), help: None, place: None };
            let result = result("x.toml", &finding);
            assert_eq!((&result["ruleIndex"], &result["ruleId"]), (&json!(index), &rule["id"]));
        }
    }
}
