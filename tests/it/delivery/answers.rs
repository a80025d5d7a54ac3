//! What an answer's status means, and what is kept of an answer.

use std::io::Write as _;

use axum::http::StatusCode;
use flate2::Compression;
use flate2::write::GzEncoder;
use webhook_bridge::receiver::{Behaviour, Reply};

use super::{Site, answer, number, numbered, numbers};
use crate::support::{command, run_to_end};

/// The events' numbers are the statuses that they are answered with.
async fn site_answering_as_asked() -> Site {
    Site::choosing(|request| answer(number(request).try_into().unwrap(), &[("location", "/elsewhere")], "")).await
}

fn statuses(statuses: &[u16]) -> Vec<String> {
    statuses.iter().map(|status| format!(r#"{{"n":{status}}}"#)).collect()
}

/// The dead letters' last statuses, with their reasons.
fn given_up(site: &Site) -> Vec<(u64, String)> {
    let status = |letter: &serde_json::Value| letter["last_answer"]["status"].as_u64().unwrap();
    let mut given_up: Vec<_> = site
        .dead_letters()
        .iter()
        .map(|letter| (status(letter), letter["reason"].as_str().unwrap().to_owned()))
        .collect();
    given_up.sort();
    given_up
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_statuses_mean_what_http_says() {
    let mut site = site_answering_as_asked().await;
    let asked = [200, 201, 204, 299, 301, 302, 307, 308, 400, 401, 404, 408, 409, 425, 429, 500, 503, 599];
    site.deliver("retry = { schedule = [\"10ms\"] }", &statuses(&asked));
    let rejected = [301, 302, 307, 308, 400, 401, 404, 409].map(|status| (status, "rejected".to_owned()));
    let exhausted = [408, 425, 429, 500, 503, 599].map(|status| (status, "retries-exhausted".to_owned()));
    let mut expected = [&rejected[..], &exhausted[..]].concat();
    expected.sort();
    assert_eq!(given_up(&site), expected);
    let requests = site.received();
    assert_eq!(requests.len(), asked.len() + exhausted.len(), "only what may pass is repeated");
    assert!(requests.iter().all(|request| request.path_and_query == "/hook"), "no redirect is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_responses_goes_before_the_defaults() {
    let mut site = site_answering_as_asked().await;
    let sink = "retry = { schedule = [\"10ms\"] }\n\
                responses = { \"409\" = \"delivered\", \"404\" = \"drop\", \"4xx\" = \"retry\", \"503\" = \"dead-letter\" }";
    site.deliver(sink, &statuses(&[409, 404, 400, 503]));
    assert_eq!(given_up(&site), [(400, "retries-exhausted".to_owned()), (503, "rejected".to_owned())]);
    let mut asked = numbers(&site.received());
    asked.sort_unstable();
    assert_eq!(asked, [400, 400, 404, 409, 503]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_disables_its_sink_and_no_other() {
    let mut site = Site::choosing(|request| match (request.path_and_query.as_str(), number(request)) {
        ("/hook", 3) => Reply::status(StatusCode::GONE),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let url = site.receiver.url();
    let other = format!("[sinks.other]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/other\"");
    let config = format!("{}\n{other}", site.pipeline("concurrency = 1"));
    site.deliver_all(&config, &numbered(10));
    let requests = site.received();
    let at = |path: &str| {
        let mut requests = requests.clone();
        requests.retain(|request| request.path_and_query == path);
        numbers(&requests)
    };
    assert_eq!(at("/hook"), [1, 2, 3]);
    let mut others = at("/other");
    others.sort_unstable();
    assert_eq!(others, (1..=10).collect::<Vec<u64>>());
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 8);
    assert!(letters.iter().all(|letter| letter["reason"] == "sink-disabled"));
    let first = letters.iter().find(|letter| letter["event"]["payload"] == r#"{"n":3}"#).unwrap();
    assert_eq!(first["last_answer"]["status"], 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_answer_can_be_read_in_the_dead_letter() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"the field `total` is missing").unwrap();
    let body = encoder.finish().unwrap();
    let site = Site::choosing(move |_| answer(422, &[("content-encoding", "gzip")], body.clone())).await;
    site.deliver("", &numbered(1));
    assert_eq!(site.dead_letters()[0]["last_answer"]["body_excerpt"], "the field `total` is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_answer_only_the_beginning_is_kept() {
    let response_body = "no! ".repeat(1 << 20).into();
    let behaviour = Behaviour { status: StatusCode::BAD_REQUEST, response_body, ..Behaviour::default() };
    let site = Site::start(behaviour).await;
    site.deliver("", &numbered(1));
    let letters = site.dead_letters();
    let excerpt = letters[0]["last_answer"]["body_excerpt"].as_str().unwrap();
    assert!(excerpt.starts_with("no! no! ") && excerpt.len() <= 1024, "{} bytes", excerpt.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_needs_to_mend_it_is_kept_of_an_answer() {
    let long = "x".repeat(2000);
    let headers = [
        ("location", "https://new.example.com/hook"),
        ("www-authenticate", "Bearer realm=\"hooks\""),
        ("allow", "PUT, PATCH"),
        ("retry-after", long.as_str()),
        ("x-other", "left out"),
    ];
    let headers = headers.map(|(name, value)| (name, value.to_owned()));
    let site = Site::choosing(move |request| {
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        answer(number(request).try_into().unwrap(), &headers, "")
    });
    let site = site.await;
    site.deliver("", &statuses(&[302]));
    let letter = &site.dead_letters()[0];
    let kept = &letter["last_answer"]["headers"];
    assert_eq!(kept["location"], "https://new.example.com/hook");
    assert_eq!(kept["www-authenticate"], "Bearer realm=\"hooks\"");
    assert_eq!(kept["allow"], "PUT, PATCH");
    assert_eq!(kept["retry-after"].as_str().unwrap().len(), 256);
    assert!(kept.get("x-other").is_none());
    let log = std::fs::read_to_string(site.folder.path().join("bridge.log")).unwrap();
    let said = "the receiver answered 302 (location: https://new.example.com/hook;";
    assert!(log.contains(said) && letter["message"].as_str().unwrap().starts_with(said), "{log}");

    let mut show = command();
    show.args(["dead", "show", "--state-dir"]).arg(site.folder.path().join("state"));
    let (code, stdout, _) = run_to_end(show.arg(site.folder.path().join("pipeline.toml")).arg("1"));
    assert!(code == 0 && stdout.contains("302  allow: PUT, PATCH  location: https://new.example.com/hook"), "{stdout}");
}
