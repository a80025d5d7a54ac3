//! Answers whose status says success and whose body does not: `responses` with rules about the body.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Site, answer, millis_between, numbered, numbers};
use crate::support::{command, run_to_end};

const RULES: &str = "retry = { schedule = [\"10ms\"], jitter = 0 }\n\
    responses = { 2xx = [{ when = \"$.errors == true\", is = \"retry\" }, { when = \"$.ok == false\", is = \"dead-letter\" }, \
                         { when = \"$.known == true\", is = \"drop\" }, \"delivered\"] }";

/// A receiver that gives these answers with the status 200, one after the other, and the last one for ever.
async fn site_answering(bodies: &'static [&'static str]) -> Site {
    let next = AtomicUsize::new(0);
    Site::choosing(move |_| {
        let index = next.fetch_add(1, Ordering::Relaxed).min(bodies.len() - 1);
        answer(200, &[("retry-after", "1")], bodies[index])
    })
    .await
}

fn only_letter(site: &Site) -> Value {
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    letters[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_says_it_has_failed_makes_a_dead_letter() {
    let mut site = site_answering(&[r#"{"ok": false, "error": "no_text"}"#]).await;
    site.deliver(RULES, &numbered(1));
    assert_eq!(numbers(&site.received()), [1]);
    let letter = only_letter(&site);
    assert_eq!((&letter["reason"], &letter["last_answer"]["status"]), (&json!("rejected"), &json!(200)));
    let message = letter["message"].as_str().unwrap();
    assert!(message.contains("200: the answer matched \"$.ok == false\""), "{message}");
    assert!(letter["last_answer"]["body_excerpt"].as_str().unwrap().contains("no_text"), "{letter}");

    let (folder, id) = (site.folder.path(), letter["id"].to_string());
    let mut show = command();
    show.args(["dead", "show", "--state-dir"]).arg(folder.join("state")).arg(folder.join("pipeline.toml")).arg(id);
    let (code, shown, stderr) = run_to_end(&mut show);
    assert_eq!(code, 0, "{stderr}");
    for part in ["200: the answer matched \"$.ok == false\"", "no_text"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let log = std::fs::read_to_string(folder.join("bridge.log")).unwrap();
    assert!(log.contains("the answer matched"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_asks_for_a_retry_is_followed_by_one_after_its_pause() {
    let mut site = site_answering(&[r#"{"errors": true, "ok": false}"#, r#"{"errors": false}"#]).await;
    site.deliver(RULES, &numbered(1));
    let requests = site.received();
    assert_eq!(numbers(&requests), [1, 1]);
    assert_eq!(site.dead_letters(), [] as [Value; 0]);
    let waited = Duration::from_millis(millis_between(&requests[0], &requests[1]).try_into().unwrap());
    assert!(waited >= Duration::from_millis(950), "`Retry-After` says 1 s: {waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_say_that_the_event_is_not_wanted() {
    let mut site = site_answering(&[r#"{"known": true}"#]).await;
    site.deliver(RULES, &numbered(1));
    assert_eq!((numbers(&site.received()), site.dead_letters().len()), (vec![1], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_body_that_cannot_be_judged_the_last_word_counts_and_the_reason_says_so() {
    let mut site = site_answering(&["<p>ok</p>"]).await;
    site.deliver(RULES, &numbered(1));
    assert_eq!((numbers(&site.received()), site.dead_letters().len()), (vec![1], 0));

    let strict = "responses = { 200 = [{ when = \"$.ok == true\", is = \"delivered\" }, \"dead-letter\"] }";
    for (body, more, said) in [
        ("<p>ok</p>", "", "is not JSON"),
        (r#"{"ok": true}"#, "max_response_size = \"11B\"", "is larger than `max_response_size`, which is 11B"),
    ] {
        let site = Site::choosing(move |_| answer(200, &[], body)).await;
        site.deliver(&format!("{strict}\n{more}"), &numbered(1));
        let message = only_letter(&site)["message"].to_string();
        assert!(message.contains("200: the rules in `responses` could not be applied"), "{message}");
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_cannot_be_judged() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let receiver = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 16 * 1024];
        assert!(connection.read(&mut request).await.unwrap() > 0);
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"ok\": true}").await.unwrap();
    });
    let site = site_answering(&[""]).await;
    let sink = format!(
        "url = \"{url}\"\nresponses = {{ 200 = [{{ when = \"$.ok == true\", is = \"delivered\" }}, \"dead-letter\"] }}"
    );
    site.deliver(&sink, &numbered(1));
    receiver.await.unwrap();
    let message = only_letter(&site)["message"].to_string();
    assert!(message.contains("200: ") && message.contains("the body of the answer broke off"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_rule_is_masked_in_the_reason() {
    let site = site_answering(&[r#"{"token": "t0k3n-4711-8812", "ok": false}"#]).await;
    let sink = "headers = { Authorization = \"t0k3n-4711-8812\" }\n\
                responses = { 2xx = [{ when = \"$.token == 't0k3n-4711-8812'\", is = \"dead-letter\" }] }";
    site.deliver(sink, &numbered(1));
    let letter = only_letter(&site);
    assert!(letter["message"].to_string().contains("$.token == '***'"), "{letter}");
    assert!(!letter.to_string().contains("4711"), "{letter}");
}
