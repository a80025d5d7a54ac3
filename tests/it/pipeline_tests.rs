//! `bridge test` and `bridge eval` as a user meets them, and the tests of the examples.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{command, run_to_end};

const FAILING: &str = "tests/config/tested/failing.toml";

/// What examples and tests need to have in their environment.
const VARIABLES: [(&str, &str); 13] = [
    ("SLACK_WEBHOOK_URL", "https://hooks.slack.example/services/T1/B2/not-a-secret"),
    ("WEBHOOK_SECRET", "whsec_bmV3LXNlY3JldC1vZi10aGUtZXhhbXBsZS1mb3ItdGVzdHM="),
    ("WEBHOOK_SECRET_PREVIOUS", "whsec_b2xkLXNlY3JldC1vZi10aGUtZXhhbXBsZS1mb3ItdGVzdHM="),
    ("CRM_TOKEN", "hunter2-token-of-the-crm"),
    ("DISCORD_WEBHOOK_URL", "https://discord.example/api/webhooks/1/not-a-secret"),
    ("TEAMS_WEBHOOK_URL", "https://teams.example/workflows/not-a-secret"),
    ("PAGERDUTY_ROUTING_KEY", "pagerduty-routing-key-of-the-tests"),
    ("OPSGENIE_KEY", "opsgenie-key-of-the-tests"),
    ("GITHUB_TOKEN", "github-token-of-the-tests"),
    ("TWILIO_TOKEN", "twilio-token-of-the-tests"),
    ("ELASTICSEARCH_API_KEY", "elasticsearch-key-of-the-tests"),
    ("SPLUNK_TOKEN", "splunk-token-of-the-tests"),
    ("PSEUDONYM_KEY", "pseudonym-key-of-the-tests"),
];

fn bridge(args: &[&str]) -> Command {
    let mut command = command();
    command.args(args).envs(VARIABLES);
    command
}

/// The folders of the examples with a pipeline.
fn examples() -> Vec<PathBuf> {
    let folders = std::fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("pipeline.toml").exists()).collect();
    folders.sort();
    folders
}

#[test]
fn every_example_is_sound_has_tests_and_passes_them() {
    let folders = examples();
    for asked_for in [
        "quickstart",
        "kafka-to-slack",
        "rabbitmq-fan-out",
        "audit-log-tail",
        "per-tenant-limits",
        "ordered-per-customer",
        "signed-with-rotation",
        "dead-letters-to-kafka",
    ] {
        assert!(folders.iter().any(|folder| folder.ends_with(asked_for)), "{asked_for}");
    }
    for folder in folders {
        let folder = folder.to_str().unwrap();
        let pipeline = format!("{folder}/pipeline.toml");
        let (code, stdout, stderr) = run_to_end(&mut bridge(&["check", "--deny-warnings", &pipeline]));
        assert_eq!(code, 0, "{stdout}\n{stderr}");
        let (code, stdout, stderr) = run_to_end(&mut bridge(&["test", folder]));
        assert_eq!(code, 0, "{stdout}\n{stderr}");
        assert!(stdout.contains("  ok    "), "{folder} has no tests: {stdout}");
    }
}

#[test]
fn every_receiver_has_a_short_pipeline_with_tests_that_pass() {
    let files = std::fs::read_dir("examples/receivers").unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    assert!(files.len() >= 12, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let pipeline = text.split("[[tests]]").next().unwrap();
        assert!(pipeline.lines().count() <= 30, "{} is longer than 30 lines", file.display());
        let file = file.to_str().unwrap();
        let (code, stdout, stderr) = run_to_end(&mut bridge(&["check", "--deny-warnings", file]));
        assert_eq!(code, 0, "{stdout}\n{stderr}");
        let (code, stdout, stderr) = run_to_end(&mut bridge(&["test", file]));
        assert_eq!(code, 0, "{stdout}\n{stderr}");
        assert!(stdout.contains("  ok    "), "{file} has no tests: {stdout}");
    }
}

#[test]
fn presets_are_listed_and_shown() {
    let (code, stdout, _) = run_to_end(&mut bridge(&["presets"]));
    assert_eq!(code, 0);
    insta::assert_snapshot!("presets", stdout);
    let (code, stdout, _) = run_to_end(&mut bridge(&["presets", "--format", "json"]));
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(code == 0 && lines.len() == 8, "{stdout}");
    assert_eq!((&lines[0]["preset"], &lines[0]["sink"]["content_type"]), (&"slack".into(), &"application/json".into()));
    let (code, stdout, _) = run_to_end(&mut bridge(&["presets", "slack"]));
    assert!(code == 0 && stdout.contains("$.ok == false") && stdout.contains("# One message a second"), "{stdout}");
    let (code, _, stderr) = run_to_end(&mut bridge(&["presets", "slak"]));
    assert!(code != 0 && stderr.contains("did you mean `slack`?"), "{stderr}");
}

#[test]
fn lines_of_text_are_events_for_eval() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    std::fs::write(&file, "GET /x 404\r\n{\"data\": 1}\n").unwrap();
    let args = ["eval", "--format", "text", "--template", "{\"line\": {{data}}}", file.to_str().unwrap()];
    let (code, stdout, stderr) = run_to_end(&mut bridge(&args));
    assert_eq!(
        (code, stdout.as_str()),
        (0, "{\"line\": \"GET /x 404\"}\n{\"line\": \"{\\\"data\\\": 1}\"}\n"),
        "{stderr}"
    );
}

#[test]
fn dev_feeds_a_source_from_a_file_of_payloads() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events.jsonl");
    std::fs::write(&events, "{\"n\": 1}\n{\"n\": 2}\n").unwrap();
    let pipeline = folder.path().join("p.toml");
    let text = "name = 'p'\n[sources.q]\ntype = 'amqp'\nuri = 'amqp://nowhere.invalid'\nqueue = 'q'\n\
                [sinks.a]\ntype = 'webhook'\nfrom = ['q']\nurl = 'https://h.example/x'\nmethod = 'GET'\n\
                query = { n = '{{data.n}}', q = '{{meta.queue}}' }\n";
    std::fs::write(&pipeline, text).unwrap();
    let args = ["dev", "--once", "--events", events.to_str().unwrap(), pipeline.to_str().unwrap()];
    let (code, stdout, stderr) = run_to_end(&mut bridge(&args));
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    for shown in ["GET /x?n=1&q=q", "GET /x?n=2&q=q"] {
        assert!(stdout.contains(shown), "{stdout}");
    }
    let args = ["dev", "--once", "--events", folder.path().to_str().unwrap(), pipeline.to_str().unwrap()];
    let (code, _, stderr) = run_to_end(&mut bridge(&args));
    assert!(code == 1 && stderr.contains("is a directory"), "{code} {stderr}");
}

#[test]
fn every_example_has_its_page_and_is_listed() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    for folder in examples() {
        let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let folder = folder.to_str().unwrap();
        assert!(readme.contains(&format!("({folder})")), "README.md does not list {folder}");
        assert!(page.contains(&format!("test {folder}")), "{folder}/README.md says how to run its tests");
        assert!(
            page.contains(" run ") || page.contains("bridge run"),
            "{folder}/README.md says how to run it for real"
        );
    }
}

/// The secrets of the tests must be those that the example names.
#[test]
fn the_secrets_of_the_signing_example_are_in_its_folder() {
    let file = std::fs::read_to_string("examples/signed-with-rotation/test.env").unwrap();
    for (name, value) in &VARIABLES[1..3] {
        assert!(file.contains(&format!("{name}={value}")), "{name}");
    }
}

#[test]
fn failures_are_shown_in_every_format() {
    let files = [FAILING, "tests/config/invalid/missing_name.toml", "tests/config/valid/minimal.toml"];
    for format in ["text", "json", "junit"] {
        let args = [&["test", "--format", format][..], &files].concat();
        let (code, stdout, stderr) = run_to_end(&mut bridge(&args));
        assert_eq!(code, 3, "a faulty file goes before failing tests: {stderr}");
        assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"), "{stdout}\n{stderr}");
        assert!(!stdout.contains('\x1b'), "colour without a terminal");
        insta::assert_snapshot!(format!("test_{format}"), stdout);
        let (code, _, stderr) = run_to_end(&mut bridge(&["test", "--format", format, FAILING]));
        assert_eq!((code, stderr.as_str()), (1, "error: 7 of the tests failed\n"));
    }
}

#[test]
fn json_and_junit_can_be_read_by_machines() {
    let (_, stdout, _) = run_to_end(&mut bridge(&["test", "--format", "json", FAILING]));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["passed"], &report["failed"]), (&2.into(), &7.into()));
    let (_, stdout, _) = run_to_end(&mut bridge(&["test", "--format", "junit", FAILING]));
    let mut reader = quick_xml::Reader::from_str(&stdout);
    let mut failures = 0;
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(element) => failures += usize::from(element.name().as_ref() == "failure"),
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(failures, 7);
}

#[test]
fn only_some_tests_are_run() {
    let (code, stdout, stderr) = run_to_end(&mut bridge(&["test", "--only", "passes", "--only", "goes on", FAILING]));
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.ends_with("2 tests: 2 passed, 0 failed\n"), "{stdout}");
    let (code, _, stderr) = run_to_end(&mut bridge(&["test", "--only", "no such", FAILING]));
    assert_eq!((code, stderr.as_str()), (2, "error: no test has `no such` in its name\n"));
}

#[test]
fn a_pipeline_without_tests_is_said() {
    let (code, stdout, stderr) = run_to_end(&mut bridge(&["test", "tests/config/valid/minimal.toml"]));
    assert_eq!(
        (code, stderr.as_str()),
        (2, "error: there is no test; `bridge test --help` shows what one looks like\n")
    );
    assert_eq!(stdout, "tests/config/valid/minimal.toml: no tests\n0 tests: 0 passed, 0 failed\n");
}

#[test]
fn an_update_makes_tests_pass_and_leaves_the_rest_of_the_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.toml");
    let original = std::fs::read_to_string(FAILING).unwrap();
    std::fs::write(&file, &original).unwrap();
    let update = |file: &Path| run_to_end(&mut bridge(&["test", "--update", file.to_str().unwrap()]));

    let (code, stdout, stderr) = update(&file);
    assert_eq!(code, 1, "a secret and a header that is not there cannot be written: {stdout}\n{stderr}");
    assert!(stderr.contains("it holds a secret") && stderr.contains("by hand"), "{stderr}");
    assert!(stdout.ends_with("9 tests: 7 passed, 2 failed (-: expected, +: found)\n"), "{stdout}");
    let updated = std::fs::read_to_string(&file).unwrap();
    assert!(!updated.contains("hunter2"), "{updated}");
    let until_the_tests = |text: &str| text.split_once("[[tests]]").unwrap().0.to_owned();
    assert_eq!(until_the_tests(&updated), until_the_tests(&original));
    insta::assert_snapshot!("test_update", updated.split_once("name   = \"each part").unwrap().1);

    let (.., stderr) = update(&file);
    assert!(!stderr.contains("updated"), "what cannot be written is not written again: {stderr}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), updated);
}

#[test]
fn a_file_whose_tests_pass_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.toml");
    std::fs::copy("examples/quickstart/pipeline.toml", &file).unwrap();
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    let (code, ..) = run_to_end(&mut bridge(&["test", "--update", file.to_str().unwrap()]));
    assert_eq!(code, 0);
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), before);
}

#[test]
fn a_node_of_a_pipeline_file_is_tried_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (pipeline, events) = (folder.path().join("p.toml"), folder.path().join("events.json"));
    let text = "
        name = 'p'
        [sources.in]
        type = 'stdin'
        [filters.large]
        from = ['in']
        when = '$.data.total > 100'
        [sinks.crm]
        type = 'webhook'
        from = ['large']
        method = 'PUT'
        url = 'http://127.0.0.1:9/{{data.id}}'
        headers = { Authorization = 'Bearer ${env:CRM_TOKEN}' }
        jq = '.data | { total, note: need(.note) }'
    ";
    std::fs::write(&pipeline, text).unwrap();
    std::fs::write(&events, r#"{"id": "a b", "total": 7.10, "note": "n"} {"id": "c", "total": 700}"#).unwrap();
    let run = |node: &[&str]| {
        let mut command = bridge(&["eval"]);
        command.env("CRM_TOKEN", "a-long-secret-of-the-crm").arg(&pipeline).args(node).arg(&events);
        run_to_end(&mut command)
    };
    let (code, stdout, stderr) = run(&["--sink", "crm"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stdout.starts_with("PUT http://127.0.0.1:9/a%20b\n"), "{stdout}");
    assert!(stdout.contains("authorization: Bearer ***\n") && !stdout.contains("a-long-secret"), "{stdout}");
    assert!(stdout.ends_with("\n\n{\"total\":7.10,\"note\":\"n\"}\n\n"), "{stdout}");
    assert!(stderr.contains("event 2: sinks.crm gives it up (unrenderable)"), "{stderr}");
    assert!(stderr.contains("`.note` is missing from the event"), "{stderr}");
    assert_eq!(run(&["--filter", "large"]).1, "false\ntrue\n");
    let (code, _, stderr) = run(&["--sink", "cmr"]);
    assert!(code == 2 && stderr.contains("has no `sinks.cmr`; did you mean `crm`?"), "{code} {stderr}");
    for (node, advice) in [
        (["--filter", "crm"], "has no `filters.crm`, but `sinks.crm`: write `--sink crm`"),
        (["--sink", "large"], "has no `sinks.large`, but `filters.large`: write `--filter large`"),
        (["--sink", "billing"], "has no `sinks.billing`; its sinks are crm"),
    ] {
        let (code, _, stderr) = run(&node);
        assert!(code == 2 && stderr.contains(advice), "{code} {stderr}");
    }
    let (code, _, stderr) = run_to_end(&mut bridge(&["eval", "--sink", "crm", "-"]));
    assert!(code == 2 && stderr.contains("`bridge eval pipeline.toml --sink NAME event.json`"), "{code} {stderr}");
    std::fs::write(&events, "{\"id\": 1}\n{\"id\"").unwrap();
    let (code, _, stderr) = run(&["--filter", "large"]);
    assert!(code == 1 && stderr.contains(&format!("event 2 of {} is not JSON", events.display())), "{code} {stderr}");
}

/// What `bridge eval` prints for the events in a file.
fn eval(args: &[&str], events: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events");
    std::fs::write(&file, events).unwrap();
    let (code, stdout, stderr) = run_to_end(bridge(&["eval"]).args(args).arg(&file));
    let stderr = stderr.replace(&file.display().to_string(), "EVENTS");
    format!("exit code {code}\n{stdout}--\n{stderr}")
}

#[test]
fn expressions_and_templates_are_tried_on_events() {
    let orders = "{\"id\":\"o-1\",\"total\":120}\n{\n  \"id\": \"o \\\"2\\\"\",\n  \"total\": 80\n}";
    let whole = r#"{"key":"k","data":{"id":"o-3"}}"#;
    let all = [
        eval(&["--when", "$.data.total >= 100"], orders),
        eval(&["--when", "$.key == 'k'"], whole),
        eval(&["--template", r#"{"text": "{{data.id}}"}"#], orders),
        eval(&["--template", "{{data.id}}", "--text"], orders),
        eval(&["--template", "https://h/{{data.id}}", "--url"], orders),
        eval(&["--template", "Order {{data.id}}"], whole),
        eval(&["--template", "{\n  \"n\": {{data.total}}\n}"], &format!("{whole}{orders}")),
        eval(&["--when", "$.data.total => 100"], orders),
        eval(&["--template", "{{uper data.id}}"], orders),
        eval(&["--when", "$.data"], "{"),
        eval(&["--when", "$.data"], " \n"),
    ];
    insta::assert_snapshot!("eval", all.join("\n"));
}

#[test]
fn events_come_from_standard_input_too() {
    use std::io::Write as _;
    let mut command = bridge(&["eval", "--when", "$.data == 5"]);
    let mut child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"5 6").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "true\nfalse\n");
}
