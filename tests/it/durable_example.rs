//! `examples/durable`, as its page tells it: a receiver that is down, refuses an order, and then wants nothing any more.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::http::StatusCode;
use serde_json::Value;
use sqlx::Row as _;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Reply};

use crate::delivery::{Site, header};
use crate::support::{Bridge, command, dead_letters, rows, run_to_end, wait_until};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/durable");

/// Deliveries that wait in the example's own store.
fn parked(folder: &Path) -> usize {
    rows(&folder.join("state/store.db"), "SELECT id FROM deliveries WHERE state = 'parked'").len()
}

/// True when the source has confirmed all orders.
fn is_at_end(folder: &Path) -> bool {
    let end = fs::metadata(folder.join("orders.jsonl")).unwrap().len();
    let sql = "SELECT json_extract(state, '$.state.files[0].offset') AS at FROM checkpoints";
    rows(&folder.join("state/store.db"), sql).first().is_some_and(|row| row.get::<i64, _>("at") == end as i64)
}

fn add_order(folder: &Path, id: &str) {
    use std::io::Write as _;
    let mut orders = fs::File::options().append(true).open(folder.join("orders.jsonl")).unwrap();
    writeln!(orders, r#"{{"id":"{id}","customer":"ada","total":60}}"#).unwrap();
}

/// Runs a subcommand on the example's pipeline; gives what it prints. It must succeed.
fn bridge(folder: &Path, subcommand: &[&str], args: &[&str]) -> String {
    let mut command = command();
    command.args(subcommand).arg("--state-dir").arg(folder.join("state")).arg(folder.join("pipeline.toml")).args(args);
    let (code, stdout, stderr) = run_to_end(&mut command);
    assert_eq!(code, 0, "{subcommand:?}: {stdout}\n{stderr}");
    stdout
}

fn body(request: &ReceivedRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// The orders of each customer, as they came.
fn by_customer(requests: &[ReceivedRequest]) -> HashMap<String, Vec<String>> {
    let mut orders: HashMap<String, Vec<String>> = HashMap::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for body in requests.iter().map(body) {
        orders.entry(text(&body["customer"])).or_default().push(text(&body["order"]));
    }
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn the_durable_example_goes_as_its_page_says() {
    let status = Arc::new(AtomicU16::new(503));
    let answer = |code: u16| status.store(code, Ordering::SeqCst);
    let chosen = Arc::clone(&status);
    let mut billing =
        Site::choosing(move |_| Reply::status(StatusCode::from_u16(chosen.load(Ordering::SeqCst)).unwrap())).await;
    let mut others = Site::start(Behaviour::default()).await;
    let folder = billing.folder.path().to_owned();
    fs::copy(Path::new(EXAMPLE).join("orders.jsonl"), folder.join("orders.jsonl")).unwrap();
    let config = fs::read_to_string(Path::new(EXAMPLE).join("pipeline.toml")).unwrap();
    let config = config.replace("http://127.0.0.1:9000", &billing.receiver.url());
    let config = config.replace("http://127.0.0.1:9001", &others.receiver.url());

    let bridge_process = Bridge::run(&folder, &config);
    wait_until("billing's orders are parked, and read for good", || parked(&folder) == 5 && is_at_end(&folder)).await;
    bridge_process.kill();
    let first_attempts = billing.received();
    answer(200);
    let bridge_process = Bridge::run(&folder, &config);
    wait_until("all are delivered", || parked(&folder) == 0).await;
    let delivered = billing.received();
    assert_eq!(delivered.len(), 5);
    let expected = [("ada", vec!["o-1", "o-3", "o-5"]), ("grace", vec!["o-2", "o-4"])];
    let expected = expected.map(|(name, ids)| (name.to_owned(), ids.into_iter().map(str::to_owned).collect()));
    assert_eq!(by_customer(&delivered), HashMap::from(expected));
    for before in &first_attempts {
        let same = delivered.iter().find(|after| after.body == before.body).unwrap();
        assert_eq!(header(same, "webhook-id"), header(before, "webhook-id"));
    }
    let searched = others.received();
    assert_eq!(searched.len(), 5, "search has not noticed");
    assert!(searched.iter().all(|request| request.path_and_query == "/search"));

    answer(422);
    add_order(&folder, "o-6");
    wait_until("the letter is kept", || dead_letters(&folder).len() == 1).await;
    let alerts: Vec<Value> =
        others.received().iter().filter(|request| request.path_and_query == "/alerts").map(body).collect();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["text"], "sinks.billing gave up on order o-6: the receiver answered 422");
    answer(200);
    let replayed = bridge(&folder, &["dead", "replay"], &["--sink", "billing"]);
    assert!(replayed.contains("1 delivery: 1 delivered"), "{replayed}");

    answer(410);
    add_order(&folder, "o-7");
    wait_until("the sink is disabled", || bridge(&folder, &["sinks", "list"], &[]).contains("disabled since")).await;
    answer(200);
    wait_until("the letter is kept", || dead_letters(&folder).len() == 1).await;
    assert!(bridge(&folder, &["sinks", "enable"], &["billing"]).contains("enabled"));
    let replayed = bridge(&folder, &["dead", "replay"], &["--sink", "billing", "--reason", "sink-disabled"]);
    assert!(replayed.contains("1 delivery: 1 delivered"), "{replayed}");
    assert!(bridge_process.stop().success());
    assert!(dead_letters(&folder).is_empty());
}
