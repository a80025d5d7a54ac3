//! Connections to receivers: which are opened, by which way, how many stay, and what is no attempt although it failed.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Stdio;

use webhook_bridge::receiver::Behaviour;

use crate::delivery::{Site, answer, number, numbered, numbers};
use crate::support::{Bridge, Nginx, dead_letters, limited};

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
    let bridge = Bridge::run_in(&trust, folder.path(), &config, &["--once"], Stdio::null());
    assert!(bridge.wait().success());

    let log = std::fs::read_to_string(folder.path().join("bridge.log")).unwrap();
    let letters = dead_letters(folder.path());
    assert!(letters.is_empty(), "{} letters, such as {}", letters.len(), letters[0]);
    assert!(!log.contains("the circuit breaker opens"), "{log}");
    let processed = nginx.processed();
    let ids: BTreeSet<_> = processed.iter().collect();
    assert_eq!((processed.len(), ids.len()), (EVENTS, EVENTS), "each event is processed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_a_goaway_does_not_cover_go_again_and_are_no_attempts() {
    // Fewer than are under way at once, and what nginx has by default.
    for keepalive_requests in [10, 100, 1000] {
        deliver(keepalive_requests).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_hosts_than_descriptors_are_all_delivered_to() {
    let mut site = Site::start(Behaviour::default()).await;
    let port = site.receiver.local_addr().port();
    let config = site.pipeline(&format!("url = \"http://h{{{{data.n}}}}.localhost:{port}/hook\""));
    let (pipeline, input) = (site.folder.path().join("pipeline.toml"), site.folder.path().join("input"));
    std::fs::write(&pipeline, config).unwrap();
    std::fs::write(&input, numbered(1_500).join("\n")).unwrap();
    let mut limited = limited(300);
    limited.args(["-v", "run", "--admin", "none", "--state-dir"]).arg(site.folder.path().join("state")).arg(&pipeline);
    let output = limited.stdin(File::open(&input).unwrap()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let mut sent = numbers(&site.received());
    sent.sort_unstable();
    assert_eq!(sent, (1..=1_500).collect::<Vec<u64>>());
    assert!(!log.contains("attempts fail"), "no receiver is blamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_stands_between_the_bridge_and_this_machine() {
    let (mut site, mut proxy) = (Site::start(Behaviour::default()).await, Site::start(Behaviour::default()).await);
    let port = site.receiver.local_addr().port();
    let hosts = ["LOCALHOST", "api.localhost", "127.1", "[::ffff:127.0.0.1]", "{{data.host}}"];
    let local = hosts.iter().enumerate().map(|(index, host)| (index, format!("http://{host}:{port}/")));
    let sinks = local
        .chain([(hosts.len(), "http://receiver.example/".to_owned())])
        .map(|(index, url)| format!("[sinks.s{index}]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}\"\n"));
    let config = "name = \"it\"\n[sources.input]\ntype = \"stdin\"\n".to_owned() + &sinks.collect::<String>();
    let input = site.folder.path().join("input");
    std::fs::write(&input, "{\"n\":1,\"host\":\"localhost\"}\n").unwrap();
    let address = proxy.receiver.url();
    let environment = [("http_proxy", address.as_str())];
    let stdin = Stdio::from(File::open(&input).unwrap());
    assert!(Bridge::run_in(&environment, site.folder.path(), &config, &[], stdin).wait().success());
    assert_eq!(site.received().len(), hosts.len());
    assert_eq!(proxy.received().len(), 1, "what is elsewhere goes through the proxy");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_headers_of_an_answer_do_not_undo_its_status() {
    let names: Vec<String> = (0..5_000).map(|index| format!("x-{index}")).collect();
    let mut site = Site::choosing(move |request| {
        let count = [150, 500, 3_000, 5_000][usize::try_from(number(request)).unwrap() - 1];
        let headers: Vec<_> = names[..count].iter().map(|name| (name.as_str(), "some value of a header")).collect();
        answer(200, &headers, "")
    })
    .await;
    site.deliver("", &numbered(4));
    let mut sent = numbers(&site.received());
    sent.sort_unstable();
    assert_eq!(sent, [1, 2, 3, 4], "each is sent once");
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["event"]["payload"], r#"{"n":4}"#);
    assert!(letters[0]["message"].as_str().unwrap().contains("the answer's headers are too large"), "{letters:?}");
}
