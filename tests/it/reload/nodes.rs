//! What becomes of nodes that are changed or removed while something waits at them.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, Reply};

use super::{APPLIED, reload};
use crate::delivery::{Site, number, numbered, numbers};
use crate::support::{Bridge, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_and_fails_holds_no_reload_up() {
    let mut site = Site::choosing(|request| match (&*request.path_and_query, number(request)) {
        ("/old", 1) => Reply::Hang,
        ("/old", _) => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    site.append(&numbered(3));
    let sink = |path: &str| {
        let url = site.receiver.url();
        site.file_pipeline(&format!(
            "url = \"{url}{path}\"\ntimeout = \"60s\"\nretry = {{ initial = \"1h\", max = \"1h\" }}"
        ))
    };
    let bridge = Bridge::run(site.folder.path(), &sink("/old"));
    wait_until("all three are tried", || site.receiver.requests() == 3).await;
    let began = Instant::now();
    reload(&site, &bridge, &sink("/new"), APPLIED).await;
    site.append(&["{\"n\":4}"]);
    wait_until("the new receiver gets the next", || site.receiver.requests() == 4).await;
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert_eq!(site.received().last().unwrap().path_and_query, "/new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_sink_sends_what_waits_in_its_order() {
    let mut site = Site::start(Behaviour { fail_first: 1, ..Behaviour::default() }).await;
    let lines: Vec<String> = (1..=50).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    site.append(&lines);
    let config = site.file_pipeline("order_by = \"{{source}}\"\nretry = { initial = \"2s\", jitter = 0.0 }\n");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the first has failed", || site.receiver.requests() == 1).await;
    for timeout in 1..=3 {
        reload(&site, &bridge, &format!("{config}timeout = \"{timeout}s\"\n"), APPLIED).await;
    }
    wait_until("all arrive", || site.receiver.requests() == 51).await;
    assert!(bridge.stop().success());
    let expected: Vec<u64> = std::iter::once(1).chain(1..=50).collect();
    assert_eq!(numbers(&site.received()), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_a_removed_sink_is_parked_and_sent_when_it_is_back() {
    let mut site = Site::choosing(|request| match &*request.path_and_query {
        "/failing" if request.number < 20 => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let url = site.receiver.url();
    let runtime = "[runtime]\nshutdown_timeout = \"300ms\"\n";
    let one = site.file_pipeline("").replace("name = \"it\"", &format!("name = \"it\"\n{runtime}"));
    let failing = format!(
        "[sinks.failing]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/failing\"\n\
         retry = {{ initial = \"20s\", jitter = 0.0 }}\n"
    );
    let both = format!("{one}{failing}");
    let bridge = Bridge::run(site.folder.path(), &both);
    site.append(&numbered(3));
    wait_until("both sinks were tried", || site.receiver.requests() == 6).await;
    reload(&site, &bridge, &one, "its open deliveries stay parked").await;
    wait_until("they are parked", || site.parked().len() == 3).await;
    site.append(&["{\"n\":4}"]);
    wait_until("the other goes on", || site.receiver.requests() == 7).await;

    for _ in 0..13 {
        site.append(&["{\"n\":5}"]);
    }
    wait_until("the receiver is well", || site.receiver.requests() == 20).await;
    site.received();
    reload(&site, &bridge, &both, APPLIED).await;
    wait_until("what was parked is sent", || site.receiver.requests() == 23).await;
    let mut sent = numbers(&site.received());
    sent.sort_unstable();
    assert_eq!(sent, [1, 2, 3]);
    assert!(bridge.stop().success());
    assert_eq!(site.parked().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_what_waits_at_a_removed_sink_becomes_dead_letters() {
    use std::io::Write as _;
    let mut site = Site::choosing(|request| match &*request.path_and_query {
        "/failing" => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let url = site.receiver.url();
    let one = site
        .pipeline("dead_letter = \"letters\"")
        .replace("name = \"it\"", "name = \"it\"\nstore.url = \"none\"\nruntime.shutdown_timeout = \"300ms\"")
        + &format!(
            "[sinks.letters]\ntype = \"webhook\"\nurl = \"{url}/letters\"\nbody = '\"{{{{meta.dead_letter.reason}}}}\"'\n"
        );
    let both = format!(
        "{one}[sinks.failing]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/failing\"\n\
         dead_letter = \"letters\"\norder_by = \"{{{{source}}}}\"\nretry = {{ initial = \"1h\", max = \"1h\" }}\n"
    );
    let mut bridge = Bridge::run_with(site.folder.path(), &both, &[], std::process::Stdio::piped());
    let mut input = bridge.take_stdin();
    input.write_all(b"{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n").unwrap();
    wait_until("one fails and the others wait for it", || site.receiver.requests() == 4).await;
    reload(&site, &bridge, &one, "its open deliveries become dead letters").await;
    wait_until("the letters arrive", || site.receiver.requests() == 7).await;
    drop(input);
    assert!(bridge.wait().success(), "nothing is held");
    let letters = site.received().split_off(4);
    assert!(letters.iter().all(|request| &*request.body == b"\"sink-removed\""), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_restarts_the_pipeline() {
    let mut site = Site::start(Behaviour::default()).await;
    site.append(&numbered(2));
    let config = site.file_pipeline("");
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("both arrive", || site.receiver.requests() == 2).await;
    reload(&site, &bridge, &format!("{config}[runtime]\nworkers = 2\n"), "workers=2").await;
    site.append(&["{\"n\":3}"]);
    wait_until("the next arrives", || site.receiver.requests() == 3).await;
    assert!(bridge.stop().success());
    assert_eq!(numbers(&site.received()).len(), 3, "and nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_stays_with_its_source() {
    use std::io::Write as _;
    let site = Site::start(Behaviour::default()).await;
    let config = site.pipeline("");
    let mut bridge = Bridge::run_with(site.folder.path(), &config, &[], std::process::Stdio::piped());
    let mut input = bridge.take_stdin();
    input.write_all(b"{\"n\":1}\n").unwrap();
    wait_until("it reads", || site.receiver.requests() == 1).await;
    let text = config.replace("type = \"stdin\"", "type = \"stdin\"\nformat = \"text\"");
    reload(&site, &bridge, &text, "cannot be begun anew").await;
    reload(&site, &bridge, &format!("{config}timeout = \"3s\"\n"), APPLIED).await;
    input.write_all(b"{\"n\":2}\n").unwrap();
    wait_until("it reads on", || site.receiver.requests() == 2).await;
    drop(input);
    assert!(bridge.wait().success());
}
