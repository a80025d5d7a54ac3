//! Connections to receivers: which are opened, by which way, how many stay, and what is no attempt although it failed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use webhook_bridge::receiver::Behaviour;

use crate::delivery::{Site, answer, number, numbered, numbers};
use crate::support::{Bridge, Nginx, NginxSetup, dead_letters, limited, wait_until};

const EVENTS: usize = 5_000;

/// Delivers all events to an nginx that ends each connection after so many requests. Gives the log too.
async fn deliver(keepalive_requests: u32) -> (Nginx, String) {
    let nginx = Nginx::start(NginxSetup { keepalive_requests, ..NginxSetup::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let sink = format!("url = \"{}\"\nretry = {{ schedule = [] }}", nginx.url());
    let (log, letters) = deliver_to(&nginx, folder.path(), &sink, &numbered(EVENTS));
    assert!(letters.is_empty(), "{} letters, such as {}", letters.len(), letters[0]);
    assert!(!log.contains("the circuit breaker opens"), "{log}");
    let processed = nginx.processed();
    let ids: BTreeSet<_> = processed.iter().collect();
    assert_eq!((processed.len(), ids.len()), (EVENTS, EVENTS), "each event is processed once");
    (nginx, log)
}

/// Runs a pipeline from a file to one sink with these keys, which trusts the authority of nginx; its log and letters.
fn deliver_to(nginx: &Nginx, folder: &Path, sink: &str, lines: &[String]) -> (String, Vec<Value>) {
    std::fs::write(folder.join("events.jsonl"), lines.join("\n") + "\n").unwrap();
    let config = format!(
        "name = \"it\"\n[sources.input]\ntype = \"file\"\npaths = [\"events.jsonl\"]\n\
         [sinks.out]\ntype = \"webhook\"\nfrom = [\"input\"]\n{sink}\n"
    );
    let authority = nginx.authority();
    let trust = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    let bridge = Bridge::run_in(&trust, folder, &config, &["-v", "--once"], Stdio::null());
    assert!(bridge.wait().success());
    (std::fs::read_to_string(folder.join("bridge.log")).unwrap(), dead_letters(folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_a_goaway_does_not_cover_go_again_and_are_no_attempts() {
    // Fewer than are under way at once, and what nginx has by default.
    for keepalive_requests in [10, 100, 1000] {
        deliver(keepalive_requests).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_ends_connections_gets_one_at_a_time_by_a_resumed_session() {
    let (nginx, log) = deliver(100).await;
    let (connections, resumed) = nginx.connections();
    let needed = EVENTS / 100;
    // Which of the first requests come by one connection is open until the receiver has chosen HTTP/2, and how many one takes
    // has yet to be learned.
    assert!(connections <= needed + 10, "{connections} connections");
    assert!(resumed + 5 >= connections, "{resumed} of {connections} connections went on with an earlier session");
    // Those that were under way when the first few connections ended; otherwise it would be as many for each of them.
    let in_vain = log.matches("goes again at once").count();
    assert!(in_vain < 10 * 32, "{in_vain} requests were sent in vain");
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
    let names: Vec<String> = (0..300).map(|index| format!("x-{index}")).collect();
    let mut site = Site::choosing(move |request| {
        let count = [20, 150, 250, 300][usize::try_from(number(request)).unwrap() - 1];
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
    assert!(letters[0]["message"].as_str().unwrap().contains("its headers are too large"), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_headers_of_an_answer_do_not_undo_its_status_by_http2_either() {
    let location = |count: usize, size: usize| {
        let value = "v".repeat(size);
        let headers: String = (0..count).map(|index| format!("add_header x-{index} {value};\n")).collect();
        format!("location /hook/{count} {{ {headers} return 204; }}\n")
    };
    let answers = [location(150, 30), location(3_000, 60), location(200, 3_000)].concat();
    let nginx = Nginx::start(NginxSetup { answers, ..NginxSetup::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/{{{{data.n}}}}", nginx.url());
    let lines = [150, 3_000, 200].map(|count| format!("{{\"n\":{count}}}"));
    let (_, letters) = deliver_to(&nginx, folder.path(), &format!("url = \"{url}\""), &lines);
    assert_eq!(nginx.processed().len(), 3, "each is sent once");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["event"]["payload"], r#"{"n":200}"#);
    assert!(letters[0]["message"].as_str().unwrap().contains("its headers are too large"), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_descriptors_blames_no_receiver() {
    let mut site = Site::start(Behaviour::default()).await;
    let port = site.receiver.local_addr().port();
    // The lookup of a name needs descriptors as well. A single failed attempt would make a dead letter.
    let sinks = [("address", "127.0.0.1"), ("name", "localhost")].map(|(sink, host)| {
        format!(
            "[sinks.{sink}]\ntype = \"webhook\"\nfrom = [\"all\"]\nurl = \"http://{host}:{port}/hook\"\n\
             retry = {{ schedule = [] }}\n"
        )
    });
    let config = "name = \"it\"\n[sources.input]\ntype = \"stdin\"\n\
                  [filters.all]\nfrom = [\"input\"]\nwhen = \"$.data.n > 0\"\n"
        .to_owned()
        + &sinks.concat();
    let mut bridge = Bridge::run_limited_piped(64, site.folder.path(), &config);
    let mut input = bridge.take_stdin();
    input.write_all(b"{\"n\":0}\n").unwrap();
    wait_until("it runs, and has opened no connection", || bridge.log().contains("filtered")).await;
    bridge.limit_open_files(bridge.lowest_free_descriptor());
    // No more than the connections that the limit leaves to a sink, for which it would wait first.
    input.write_all((numbered(8).join("\n") + "\n").as_bytes()).unwrap();
    let is_said = |bridge: &Bridge, sink: &str| {
        let text = format!(
            "deliveries wait for a connection: this process has no file descriptor left; its limit of open files is 64 (`ulimit -n`, LimitNOFILE=) sink={sink}"
        );
        bridge.log().contains(&text)
    };
    wait_until("both sinks say it", || is_said(&bridge, "address") && is_said(&bridge, "name")).await;
    assert_eq!(site.receiver.requests(), 0);
    bridge.limit_open_files(64);
    drop(input);
    let log = site.folder.path().join("bridge.log");
    assert!(bridge.wait().success());
    let mut sent = numbers(&site.received());
    sent.sort_unstable();
    assert_eq!(sent, (1..=8).flat_map(|n| [n, n]).collect::<Vec<u64>>(), "each is sent once to each");
    let letters = site.dead_letters();
    assert!(letters.is_empty(), "{letters:?}");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("attempts fail") && !log.contains("breaker opens"), "no receiver is blamed:\n{log}");
    assert!(log.matches("deliveries wait for a connection: ").count() == 2, "it is said once for each sink:\n{log}");
}
