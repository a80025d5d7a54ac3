//! How fast: `Retry-After`, rate limits, the bound on concurrency, and connections that are used again.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderValue, StatusCode};
use serde_json::Value;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Reply};

use super::{Site, answer, millis_between, number, numbered, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_in_seconds_pauses_the_whole_sink() {
    let behaviour = Behaviour {
        fail_first: 1,
        fail_status: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some(HeaderValue::from_static("2")),
        ..Behaviour::default()
    };
    let mut site = Site::start(behaviour).await;
    site.deliver("concurrency = 1\nretry = { schedule = [\"10ms\"], jitter = 0 }", &numbered(5));
    let requests = site.received();
    assert_eq!(requests.len(), 6);
    assert!(millis_between(&requests[0], &requests[1]) >= 2000, "no event arrives before the pause is over");
    assert_eq!(site.dead_letters().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_as_a_date_is_never_undercut() {
    let until = SystemTime::now() + Duration::from_secs(4);
    let date = httpdate::fmt_http_date(until);
    let until = httpdate::parse_http_date(&date).unwrap();
    let mut site = Site::choosing(move |request| match request.number {
        1 => answer(503, &[("retry-after", &date)], ""),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    site.deliver("concurrency = 1\nretry = { schedule = [\"10ms\"], jitter = 0 }", &numbered(3));
    let requests = site.received();
    assert_eq!(requests.len(), 4);
    assert!(SystemTime::from(requests[0].at) < until, "the first request came too late for this test");
    for request in &requests[1..] {
        assert!(SystemTime::from(request.at) >= until, "{} is before {until:?}", request.at);
    }
}

fn tenant(request: &ReceivedRequest) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["tenant"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_keyed_rate_limit_retry_after_pauses_its_bucket_only() {
    let mut site = Site::choosing(|request| match request.number {
        1 => answer(429, &[("retry-after", "2")], ""),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    let lines: Vec<String> = ["a", "b", "a", "b", "b"].iter().map(|t| format!(r#"{{"tenant":"{t}"}}"#)).collect();
    let sink = "concurrency = 1\nrate_limit = { requests = 1000, burst = 100, key = \"{{data.tenant}}\" }\n\
                retry = { schedule = [\"10ms\"], jitter = 0 }";
    site.deliver(sink, &lines);
    let requests = site.received();
    let tenants: Vec<String> = requests.iter().map(tenant).collect();
    assert_eq!(tenants[0], "a");
    assert_eq!(tenants[1..4], ["b", "b", "b"], "the other bucket goes on");
    assert_eq!(tenants[4..], ["a", "a"]);
    assert!(millis_between(&requests[0], &requests[4]) >= 2000);
    assert!(millis_between(&requests[0], &requests[3]) < 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_holds_for_every_attempt() {
    const BURST: i64 = 3;
    const SPACING: i64 = 100;
    let mut site = Site::start(Behaviour { fail_first: 6, ..Behaviour::default() }).await;
    let sink = "rate_limit = { requests = 5, per = \"500ms\", burst = 3 }\n\
                retry = { schedule = [\"10ms\", \"10ms\", \"10ms\", \"10ms\", \"10ms\", \"10ms\"], jitter = 0 }";
    site.deliver(sink, &numbered(12));
    let requests = site.received();
    assert_eq!(requests.len(), 18);
    for (index, first) in requests.iter().enumerate() {
        for (count, last) in (1..).zip(&requests[index..]) {
            // Attempts start as far apart as the limit says; on the way they may come a little closer.
            let allowed = BURST + (millis_between(first, last) + SPACING / 2) / SPACING;
            assert!(count <= allowed, "{count} attempts in {} ms", millis_between(first, last));
        }
    }
    assert!(millis_between(&requests[0], &requests[2]) < SPACING, "the burst goes at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_attempts_than_concurrency_are_under_way() {
    const DELAY: i64 = 400;
    let delay = Duration::from_millis(DELAY.unsigned_abs());
    let mut site = Site::start(Behaviour { delay, ..Behaviour::default() }).await;
    site.deliver("concurrency = 3", &numbered(9));
    let requests = site.received();
    assert_eq!(requests.len(), 9);
    assert!(millis_between(&requests[0], &requests[2]) < DELAY, "three at a time");
    for (first, fourth) in requests.iter().zip(&requests[3..]) {
        assert!(millis_between(first, fourth) >= DELAY, "a fourth was under way");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_waits_for_its_retry_holds_no_slot() {
    let mut site = Site::start(Behaviour { fail_first: 1, ..Behaviour::default() }).await;
    site.deliver("concurrency = 1\nretry = { schedule = [\"1s\"], jitter = 0 }", &numbered(10));
    assert_eq!(numbers(&site.received()), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_one_request_after_the_other() {
    let response_body = "thank you".repeat(1000).into();
    let mut site = Site::start(Behaviour { response_body, ..Behaviour::default() }).await;
    site.deliver("concurrency = 1", &numbered(50));
    assert_eq!(site.received().len(), 50);
    assert_eq!(site.receiver.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let response_body = vec![b'x'; 64 << 20].into();
    let mut site = Site::start(Behaviour { response_body, ..Behaviour::default() }).await;
    site.deliver("concurrency = 1\nmax_response_size = \"16KiB\"", &numbered(3));
    let requests = site.received();
    assert_eq!(numbers(&requests), [1, 2, 3]);
    assert_eq!(site.receiver.connections(), 3, "a connection with an unread answer is closed");
    assert_eq!(number(&requests[0]), 1);
}
