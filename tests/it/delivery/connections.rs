//! Connections to receivers: what a receiver says it has not processed is no attempt.

use std::collections::BTreeSet;

use crate::delivery::numbered;
use crate::support::{Bridge, Nginx, dead_letters};

const EVENTS: usize = 5_000;

/// Delivers all events to an nginx that ends each connection after so many requests.
async fn deliver(keepalive_requests: u32) {
    let nginx = Nginx::start(keepalive_requests).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("events.jsonl"), numbered(EVENTS).join("\n") + "\n").unwrap();
    let config = format!(
        "name = \"it\"\n[sources.input]\ntype = \"file\"\npaths = [\"events.jsonl\"]\n\
         [sinks.out]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{}\"\nretry = {{ schedule = [] }}\n",
        nginx.url()
    );
    let authority = nginx.authority();
    let trust = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    let bridge = Bridge::run_in(&trust, folder.path(), &config, &["--once"], std::process::Stdio::null());
    assert!(bridge.wait().success());

    let log = std::fs::read_to_string(folder.path().join("bridge.log")).unwrap();
    assert!(dead_letters(folder.path()).is_empty());
    assert!(!log.contains("the circuit breaker opens"), "{log}");
    let processed = nginx.processed();
    let ids: BTreeSet<_> = processed.iter().collect();
    assert_eq!((processed.len(), ids.len()), (EVENTS, EVENTS), "each event is processed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_a_goaway_does_not_cover_go_again_and_are_no_attempts() {
    // The latter is what nginx has by default.
    for keepalive_requests in [100, 1000] {
        deliver(keepalive_requests).await;
    }
}
