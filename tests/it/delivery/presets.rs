//! Presets of sinks with the real process: receivers that answer as they are documented.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::{Site, answer, header, number, numbered};

fn body_of(request: &webhook_bridge::receiver::ReceivedRequest) -> String {
    String::from_utf8(request.body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_answers_ok_as_text_and_says_by_the_status_what_it_does_not_take() {
    let mut site = Site::choosing(|request| match body_of(request).contains("Order 2") {
        true => answer(404, &[], "channel_not_found"),
        false => answer(200, &[], "ok"),
    })
    .await;
    let sink = "preset = \"slack\"\nbody = '{\"text\": \"Order {{data.n}}\"}'\n\
                rate_limit = { requests = 100 }";
    site.deliver(sink, &numbered(3));
    let requests = site.received();
    let mut bodies: Vec<_> = requests.iter().map(body_of).collect();
    bodies.sort();
    assert_eq!(bodies, [1, 2, 3].map(|n| format!("{{\"text\": \"Order {n}\"}}")));
    assert!(requests.iter().all(|request| header(request, "content-type") == "application/json"));
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&letters[0]["reason"], &letters[0]["event"]["payload"]), (&"rejected".into(), &r#"{"n":2}"#.into()));
    assert_eq!(letters[0]["last_answer"]["body_excerpt"], "channel_not_found");
}

/// The answer of the Bulk API to one document.
fn of_bulk(action: &str, status: u16) -> String {
    let error = if status < 300 { "null" } else { r#"{"type": "some_exception", "reason": "some reason"}"# };
    let errors = status >= 300;
    format!(
        r#"{{"took": 3, "errors": {errors}, "items": [{{"{action}": {{"_index": "logs", "status": {status}, "error": {error}}}}}]}}"#
    )
    .replace(", \"error\": null", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_answers_200_for_a_document_that_it_has_refused() {
    let asked_for_first = AtomicUsize::new(0);
    let mut site = Site::choosing(move |request| {
        let body = body_of(request);
        let answered = match body.lines().last().unwrap() {
            // It is busy at first.
            r#"{"n":1}"# if asked_for_first.fetch_add(1, Ordering::Relaxed) == 0 => of_bulk("create", 429),
            // The mapping does not fit.
            r#"{"n":2}"# => of_bulk("create", 400),
            // An attempt before has created it.
            r#"{"n":3}"# => of_bulk("create", 409),
            _ => of_bulk("create", 201),
        };
        answer(200, &[("content-type", "application/json")], answered)
    })
    .await;
    let sink = "preset = \"elasticsearch-bulk\"\nretry = { schedule = [\"10ms\"], jitter = 0 }\n\
                body = '''\n{\"create\": {\"_index\": \"logs\"}}\n{{json data}}\n'''";
    site.deliver(sink, &numbered(4));
    let requests = site.received();
    assert!(requests.iter().all(|request| header(request, "content-type") == "application/x-ndjson"));
    let last_line = |request| body_of(request).lines().last().unwrap().to_owned();
    let mut asked: Vec<_> = requests.iter().map(last_line).collect();
    asked.sort();
    assert_eq!(asked, [1, 1, 2, 3, 4].map(|n| format!("{{\"n\":{n}}}")));
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["event"]["payload"], r#"{"n":2}"#);
    let message = letters[0]["message"].as_str().unwrap();
    assert!(message.contains("200: the answer matched \"$.errors == true\""), "{message}");
    let excerpt = letters[0]["last_answer"]["body_excerpt"].as_str().unwrap();
    assert!(excerpt.contains("some_exception"), "{excerpt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_would_refuse_for_its_size_is_not_sent() {
    let mut site = Site::choosing(|_| answer(202, &[], "")).await;
    let large = format!(r#"{{"n":2,"text":"{}"}}"#, "x".repeat(29_000));
    site.deliver("preset = \"teams\"", &[r#"{"n":1}"#, large.as_str()]);
    let numbers: Vec<u64> = site.received().iter().map(number).collect();
    assert_eq!(numbers, [1]);
    let letters: Vec<Value> = site.dead_letters();
    assert_eq!((letters.len(), &letters[0]["reason"]), (1, &"unrenderable".into()));
    let message = letters[0]["message"].as_str().unwrap();
    assert!(message.contains("max_body_size"), "{message}");
}
