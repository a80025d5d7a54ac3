//! What is named on the command line and is not there: always an error that says so, never a success that did nothing.

use axum::http::StatusCode;
use serde_json::Value;
use webhook_bridge::receiver::Reply;

use crate::delivery::{Site, numbered};
use crate::support::{command, run_to_end};

/// Exit code and what is said on both streams.
fn bridge(args: &[&str]) -> (i32, String) {
    let (code, stdout, stderr) = run_to_end(command().args(args));
    (code, stdout + &stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_nodes_and_sinks_that_are_not_there_are_errors() {
    let site = Site::choosing(|_| Reply::status(StatusCode::BAD_REQUEST)).await;
    site.deliver("retry = { schedule = [] }", &numbered(1));
    let letter = site.dead_letters()[0]["id"].to_string();
    let state = site.folder.path().join("state");
    let pipeline = site.folder.path().join("pipeline.toml");
    let (state, pipeline) = (state.to_str().unwrap(), pipeline.to_str().unwrap());
    let with_sink = "[sinks.other]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"http://127.0.0.1:9/\"\n";
    std::fs::write(pipeline, site.pipeline("") + with_sink).unwrap();

    for (args, code, expected) in [
        // Before what acts on all letters at the end.
        ("dead list P --sink outt", 2, "did you mean `sinks.out`?"),
        ("dead list P --node sinks.ot", 2, "did you mean `sinks.out`?"),
        ("dead list P --node input", 2, "did you mean `sources.input`?"),
        ("dead list P --node filters.paid", 2, "there is no `filters.paid` in the pipeline"),
        ("dead list P --reason rejectd", 2, "rejected"),
        ("dead show P 99", 1, "there is no dead letter 99"),
        ("dead export P --sink outt", 2, "did you mean `sinks.out`?"),
        ("dead purge P --sink outt", 2, "did you mean `sinks.out`?"),
        ("dead purge P 99", 1, "there is no dead letter 99"),
        ("dead purge P LETTER 99", 1, "there is no dead letter 99; nothing was done"),
        (
            "dead purge P LETTER --sink other",
            2,
            "the other options leave out the dead letters of these numbers: LETTER",
        ),
        ("dead replay P --node sources.inpt", 2, "did you mean `sources.input`?"),
        ("dead replay P 99", 1, "there is no dead letter 99"),
        ("dead replay P LETTER --reason too-large", 2, "leave out the dead letters of these numbers: LETTER"),
        ("sinks enable P outt", 2, "did you mean `out`?"),
        ("sinks resume P outt", 2, "did you mean `out`?"),
        ("sinks enable P input", 2, "the pipeline has no sink `input`"),
        ("sinks list no-such.toml", 3, "cannot read no-such.toml"),
        // A condition that happens to hold for none is no name.
        ("dead list P --sink other", 0, "no dead letters"),
        ("dead list P --key nobody", 0, "no dead letters"),
        ("dead purge P LETTER --yes", 0, "purged 1 dead letter"),
    ] {
        let place = |word: &str| match word {
            "P" => pipeline.to_owned(),
            word => word.replace("LETTER", &letter),
        };
        let words: Vec<String> = args.split(' ').map(place).collect();
        let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
        args.splice(2..2, ["--state-dir", state]);
        let (found, said) = bridge(&args);
        assert_eq!(found, code, "{args:?}: {said}");
        assert!(said.contains(&place(expected)), "{args:?}: {said}");
    }
    assert_eq!(site.dead_letters(), [] as [Value; 0], "the last one was carried out");
}

#[test]
fn tests_and_files_that_are_not_there_are_errors() {
    let quickstart = "examples/quickstart/pipeline.toml";
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let some_test = "examples/per-tenant-limits/pipeline.toml";
    for (args, code, expected) in [
        (&["test", "tests/config/valid/minimal.toml"][..], 2, "there is no test"),
        (&["test", "--only", "no such", quickstart], 2, "no test has `no such` in its name"),
        (&["test", "--only", "", "--only", "quixotic", quickstart], 2, "no test has `quixotic` in its name"),
        (&["test", "--only", "", quickstart, some_test], 0, "0 failed"),
        (&["test", "no-such.toml"], 3, "cannot read no-such.toml"),
        (&["test", empty], 2, "there is no *.toml"),
        (&["check", quickstart, "no-such.toml"], 3, "cannot read no-such.toml"),
        (&["graph", quickstart, "no-such.toml"], 3, "cannot read no-such.toml"),
        (&["graph", empty], 2, "there is no *.toml"),
        (&["diff", quickstart, "no-such.toml"], 3, "cannot read no-such.toml"),
        (&["diff", "no-such.toml", quickstart], 3, "cannot read no-such.toml"),
        (&["eval", "--when", "$.data", "no-such.json"], 1, "cannot read no-such.json"),
        (&["eval", "--when", "$.data", "/dev/null"], 1, "there is no event"),
        (&["run", "no-such.toml"], 3, "cannot read no-such.toml"),
        (&["run", empty], 2, "there is no *.toml"),
    ] {
        let (found, said) = bridge(args);
        assert_eq!(found, code, "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
}

#[test]
fn a_test_that_is_misspelt_is_suggested() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    let config = "name = 'x'\n[sources.a]\ntype = 'stdin'\n[sinks.b]\ntype = 'webhook'\nfrom = ['a']\n\
                  url = 'https://x/'\n[[tests]]\nname = 'a refund is sent'\nsource = 'a'\nevent = { data = 1 }\n\
                  expect = [{ sink = 'b' }]\n";
    std::fs::write(&path, config).unwrap();
    let (code, said) = bridge(&["test", "--only", "refnud", path.to_str().unwrap()]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no test has `refnud` in its name; did you mean \"a refund is sent\"?"), "{said}");
}
