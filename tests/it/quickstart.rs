//! The first thing a new user tries: `bridge dev --once` on the quickstart example.

use crate::support::command;

#[test]
fn the_quickstart_shows_what_its_events_become_and_leaves_nothing_behind() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart");
    let before = files(folder);
    let output = command().args(["dev", "--once", "examples/quickstart/pipeline.toml"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("POST /hooks/eu%2Fsouth"), "a value is percent-encoded: {text}");
    assert!(text.contains(r#""text": "Barbara \"B\" Liskov ordered for 2400 USD (order o-1003)""#), "{text}");
    assert!(text.contains("crm: 3 requests: 3 answered 200; signatures: 3 verified, 0 failed"), "{text}");
    assert!(text.contains("sales: 1 request"), "{text}");
    assert!(text.contains("dead letters: 1"), "the order without a region cannot be rendered: {text}");
    assert_eq!(files(folder), before);
}

fn files(folder: &str) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
