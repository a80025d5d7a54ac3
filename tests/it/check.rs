//! What `bridge check`, `diff` and `graph` print, for people and for machines.

use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::command;

const DOUBTFUL: &str = "tests/config/warnings/doubtful.toml";
const WRONG: &str = "tests/config/invalid/unknown_nodes.toml";

/// Exit code, standard output and standard error of a run that must show no secret.
fn bridge(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command().args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    for shown in [&stdout, &stderr] {
        for secret in ["hunter2", "aHVudGVy", "\x1b", "panicked"] {
            assert!(!shown.contains(secret), "{secret:?} is shown:\n{shown}");
        }
    }
    (status.code().unwrap(), stdout, stderr)
}

fn checked(format: &str) -> (i32, String) {
    let (code, stdout, stderr) = bridge(&["check", "--format", format, "tests/config/warnings", WRONG]);
    assert_eq!(stderr, "error: 1 of 3 pipeline files is wrong\n");
    (code, stdout)
}

#[test]
fn text_has_a_line_for_each_file_and_draws_what_is_the_matter() {
    let (code, stdout, stderr) = bridge(&["check", "tests/config/warnings", WRONG]);
    assert_eq!(code, 3);
    insta::assert_snapshot!("check_text", format!("{stdout}--- standard error\n{stderr}"));
}

#[test]
fn json_is_one_object() {
    let (code, stdout) = checked("json");
    assert_eq!(code, 3);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["errors"], &report["files"][1]["ok"]), (&Value::from(8), &Value::from(true)), "{stdout}");
    insta::assert_snapshot!("check_json", stdout);
}

#[test]
fn github_gets_one_annotation_a_line() {
    let (code, stdout) = checked("github");
    assert_eq!(code, 3);
    assert!(stdout.lines().all(|line| line.starts_with("::error file=") || line.starts_with("::warning file=")));
    insta::assert_snapshot!("check_github", stdout);
}

#[test]
fn sarif_is_valid_by_its_schema() {
    let schema = std::fs::read_to_string("tests/schemas/sarif-schema-2.1.0.json").unwrap();
    // A pattern for languages has a bracket too many, which only lenient engines take for a character.
    let schema = schema.replace("|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$", "(-[a-zA-Z]{2})?$");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    for paths in [&["tests/config/warnings", WRONG][..], &["tests/config/warnings/sound.toml"], &["no-such-file.toml"]]
    {
        let (_, stdout, _) = bridge(&[&["check", "--format", "sarif"], paths].concat());
        let log: Value = serde_json::from_str(&stdout).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&log).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        if paths.len() > 1 {
            let version = format!("\"semanticVersion\": \"{}\"", env!("CARGO_PKG_VERSION"));
            insta::assert_snapshot!("check_sarif", stdout.replace(&version, "\"semanticVersion\": \"…\""));
            let mut wrong = log;
            wrong["runs"][0]["results"][0]["level"] = "bad".into();
            assert!(!validator.is_valid(&wrong), "the schema sees what is wrong");
        }
    }
}

#[test]
fn warnings_fail_only_where_they_are_denied() {
    let (code, _, stderr) = bridge(&["check", DOUBTFUL]);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = bridge(&["check", "--deny-warnings", DOUBTFUL]);
    assert_eq!(code, 3);
    assert!(stderr.ends_with("error: there are warnings (13), and --deny-warnings allows none\n"), "{stderr}");
    let (code, _, stderr) = bridge(&["check", "--deny-warnings", "tests/config/warnings/sound.toml"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn the_verdict_does_not_depend_on_who_reads_the_report() {
    for format in ["text", "github"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut check = command();
        check.args(["check", "--format", format, DOUBTFUL, WRONG]).stdout(writer).stderr(Stdio::null());
        assert_eq!(check.status().unwrap().code(), Some(3), "{format}");
    }
}

#[test]
fn logs_for_machines_stay_so() {
    let (code, _, stderr) = bridge(&["--log-format", "json", "check", DOUBTFUL, WRONG]);
    assert_eq!(code, 3);
    for line in stderr.lines() {
        serde_json::from_str::<Value>(line).expect(line);
    }
}

#[test]
fn two_files_cannot_have_one_name() {
    let (code, stdout, stderr) = bridge(&["check", "tests/config/same_name"]);
    assert_eq!(code, 3);
    assert_eq!(stdout.lines().next(), Some("tests/config/same_name/a.toml: ok (1 source, 0 filters, 1 sink)"));
    assert!(stderr.contains("b.toml:1:8") && stderr.contains("same_name/a.toml"), "{stderr}");
}

#[test]
fn a_folder_without_pipelines_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = bridge(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("error: there is no *.toml in the folder "), "{stderr}");
}

#[test]
fn a_form_for_machines_has_no_room_for_probes() {
    let (code, stdout, stderr) = bridge(&["check", "--connect", "--format", "json", DOUBTFUL]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("--format text"), "{stderr}");
}

#[test]
fn diff_says_what_a_reload_would_do() {
    let (code, stdout, stderr) = bridge(&["diff", "tests/config/diff/old", "tests/config/diff/new"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!("diff_text", stdout);
    let (code, stdout, _) = bridge(&["diff", "--format", "json", "tests/config/diff/old", "tests/config/diff/new"]);
    assert_eq!(code, 0);
    serde_json::from_str::<Value>(&stdout).unwrap();
    insta::assert_snapshot!("diff_json", stdout);
}

#[test]
fn diff_refuses_what_a_reload_would_refuse() {
    let (code, stdout, stderr) = bridge(&["diff", "tests/config/diff/old", "tests/config/invalid/unknown_keys.toml"]);
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("unknown key"), "{stderr}");
    let (code, _, stderr) = bridge(&["diff", "tests/config/same_name", "tests/config/diff/new"]);
    assert_eq!(code, 3, "{stderr}");
}

#[test]
fn graph_draws_without_secrets() {
    for format in ["text", "mermaid", "dot"] {
        let (code, stdout, stderr) = bridge(&["graph", "--format", format, "tests/config/diff/new"]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.contains("crm") && stdout.contains("stored"), "{stdout}");
    }
    let (code, ..) = bridge(&["graph", "tests/config/invalid/unknown_keys.toml"]);
    assert_eq!(code, 3);
}
