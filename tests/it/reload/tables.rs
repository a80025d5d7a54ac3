//! Reloads of files in which only a table has changed.

use serde_json::Value;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest};

use super::{APPLIED, reload};
use crate::delivery::{Site, number, numbers};
use crate::support::{Bridge, command, run_to_end, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_alone_is_in_use_for_the_events_that_follow() {
    let mut site = Site::start(Behaviour::default()).await;
    let url = site.receiver.url();
    let config = site.file_pipeline("body = '{\"n\": {{data.n}}, \"row\": {{lookup tables.rows \"a\"}}}'")
        + &format!(
            "[sinks.program]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/program\"\n\
             jq = '{{n: .data.n, row: $tables.rows.a}}'\n\
             [sinks.other]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/other\"\n[tables.rows]\n"
        );
    let version = |row: u64| format!("{config}a = {row}\n");
    let bridge = Bridge::run(site.folder.path(), &version(0));
    for row in 0..4 {
        // The file names no node that has changed, only the table.
        if row > 0 {
            let (code, diff, _) = bridge_diff(&site, &version(row));
            assert_eq!(code, 0);
            for (sink, becomes) in [("out", "tables.rows.a"), ("program", "tables.rows.a")] {
                assert!(diff.lines().any(|line| line.contains(sink) && line.ends_with(becomes)), "{diff}");
            }
            assert!(!diff.contains("sinks.other"), "{diff}");
            reload(&site, &bridge, &version(row), APPLIED).await;
        }
        // Each sink has its events before the next reload, so that what they are rendered with is known.
        let lines: Vec<_> = (1..=50).map(|n| format!("{{\"n\":{}}}", row * 50 + n)).collect();
        site.append(&lines);
        wait_until("all arrive", || site.receiver.requests() == (row + 1) * 150).await;
    }
    assert!(bridge.stop().success());
    let received = site.received();
    for path in ["/hook", "/program"] {
        let of_sink = received.iter().filter(|request| request.path_and_query == path);
        let mut seen: Vec<(u64, u64)> = of_sink.map(|request| (number(request), row_of(request))).collect();
        seen.sort_unstable();
        let expected: Vec<(u64, u64)> = (1..=200).map(|n| (n, (n - 1) / 50)).collect();
        assert_eq!(seen, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_under_load_loses_no_event() {
    let mut site = Site::start(Behaviour::default()).await;
    let config = site.file_pipeline(
        "order_by = \"{{source}}\"\nbody = '{\"n\": {{data.n}}, \"row\": {{lookup tables.rows \"a\"}}}'",
    );
    let version = |row: u64| format!("{config}[tables.rows]\na = {row}\n");
    let bridge = Bridge::run(site.folder.path(), &version(0));
    for row in 0..5 {
        let lines: Vec<_> = (1..=200).map(|n| format!("{{\"n\":{}}}", row * 200 + n)).collect();
        site.append(&lines);
        wait_until("some arrive", || site.receiver.requests() > row * 200).await;
        reload(&site, &bridge, &version(row + 1), APPLIED).await;
    }
    site.append(&["{\"n\":1001}"]);
    wait_until("all arrive", || site.receiver.requests() == 1001).await;
    assert!(bridge.stop().success());
    let received = site.received();
    assert_eq!(numbers(&received), (1..=1001).collect::<Vec<u64>>());
    let rows: Vec<u64> = received.iter().map(row_of).collect();
    assert!(rows.is_sorted() && rows.last() == Some(&5), "{rows:?}");
}

/// What `bridge diff` says of the file that runs and this text in its place.
fn bridge_diff(site: &Site, config: &str) -> (i32, String, String) {
    let (old, new) = (site.folder.path().join("pipeline.toml"), site.folder.path().join("next.toml"));
    std::fs::write(&new, config).unwrap();
    run_to_end(command().arg("diff").args([old, new]))
}

/// The row of the table that a request was rendered with.
fn row_of(request: &ReceivedRequest) -> u64 {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["row"].as_u64().unwrap()
}
