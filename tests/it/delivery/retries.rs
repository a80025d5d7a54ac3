//! Failed attempts are repeated: when, with what, and what becomes of those that never succeed.

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Reply, Verifier};
use webhook_bridge::secret::Secret;
use webhook_bridge::sink::signing::{SchemeName, SigningConfig};

use super::{Site, answer, header, millis_between, number, numbered, numbers};

const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn verifies_with(secret: &str, request: &ReceivedRequest) -> bool {
    let signing = SigningConfig::named(SchemeName::default(), vec![Secret::new(secret)]);
    Verifier::new(&signing).unwrap().verify(request).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_repeats_the_same_event_with_fresh_signatures() {
    let mut site = Site::start(Behaviour { fail_first: 3, ..Behaviour::default() }).await;
    let sink = format!(
        "retry = {{ schedule = [\"1100ms\", \"50ms\", \"50ms\"], jitter = 0 }}\n\
         signing = {{ secrets = [\"{NEW}\", \"{OLD}\"] }}"
    );
    site.deliver(&sink, &[r#"{"n": 1}"#]);
    let requests = site.received();
    assert_eq!(requests.len(), 4);
    for request in &requests {
        assert_eq!(request.body, r#"{"n": 1}"#);
        assert_eq!(header(request, "webhook-id"), header(&requests[0], "webhook-id"));
        assert!(!header(request, "webhook-id").is_empty());
        let sent: i64 = header(request, "webhook-timestamp").parse().unwrap();
        assert!((request.at.as_second() - sent).abs() <= 1, "the timestamp is that of the attempt");
        assert!(verifies_with(NEW, request) && verifies_with(OLD, request), "both secrets sign every attempt");
    }
    assert_ne!(header(&requests[0], "webhook-timestamp"), header(&requests[1], "webhook-timestamp"));
    assert_ne!(header(&requests[0], "webhook-signature"), header(&requests[1], "webhook-signature"));
    for (pair, wait) in requests.windows(2).zip([1100, 50, 50]) {
        assert!(millis_between(&pair[0], &pair[1]) >= wait, "the schedule is not undercut");
    }
    assert_eq!(site.dead_letters().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exponential_backoff_grows_to_its_bound() {
    let mut site = Site::start(Behaviour { fail_first: 4, ..Behaviour::default() }).await;
    site.deliver("retry = { initial = \"100ms\", factor = 4, max = \"500ms\", jitter = 0 }", &numbered(1));
    let requests = site.received();
    assert_eq!(requests.len(), 5);
    for (pair, wait) in requests.windows(2).zip([100, 400, 500, 500]) {
        assert!(millis_between(&pair[0], &pair[1]) >= wait, "waits {wait} ms at least");
    }
    // Unbounded, the last two waits alone would be 8 s.
    assert!(millis_between(&requests[0], &requests[4]) < 7000);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_reset_or_hang_are_tried_again() {
    let mut site = Site::choosing(|request| match request.number {
        1 => Reply::Reset,
        2 => Reply::Hang,
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    site.deliver("timeout = \"300ms\"\nretry = { schedule = [\"10ms\", \"10ms\"], jitter = 0 }", &numbered(1));
    let requests = site.received();
    assert_eq!(requests.len(), 3);
    assert!(millis_between(&requests[1], &requests[2]) >= 250, "the hanging attempt had its whole timeout");
    assert_eq!(site.dead_letters().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_used_up_leaves_a_dead_letter_that_tells_everything() {
    let mut site = Site::choosing(|_| answer(503, &[], "out of order, come back on Monday")).await;
    let sink = "retry = { schedule = [\"10ms\", \"10ms\"], jitter = 0 }\nheaders = { X-Tenant = \"{{data.tenant}}\" }\n\
                body = '{\"number\": {{data.n}}}'";
    site.deliver(sink, &[r#"{"n": 7, "tenant": "acme"}"#]);
    let requests = site.received();
    assert_eq!(requests.len(), 3);
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter["pipeline"], "it");
    assert_eq!(letter["node"], "sinks.out");
    assert_eq!(letter["reason"], "retries-exhausted");
    assert_eq!(letter["attempts"], 3);
    assert_eq!(letter["last_answer"]["status"], 503);
    assert_eq!(letter["last_answer"]["body_excerpt"], "out of order, come back on Monday");
    assert_eq!(letter["event"]["payload"], r#"{"n": 7, "tenant": "acme"}"#);
    assert_eq!(letter["request"]["method"], "POST");
    assert_eq!(letter["request"]["url"], format!("{}/hook", site.receiver.url()));
    assert_eq!(letter["request"]["headers"]["x-tenant"], "acme");
    assert_eq!(letter["request"]["headers"]["webhook-id"], header(&requests[0], "webhook-id"));
    assert_eq!(letter["request"]["body"], r#"{"number": 7}"#);
    let message = letter["message"].as_str().unwrap();
    assert!(message.contains("503") && message.contains("schedule is used up"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn max_attempts_and_max_elapsed_end_the_retries() {
    let mut site = Site::start(Behaviour { status: StatusCode::BAD_GATEWAY, ..Behaviour::default() }).await;
    site.deliver("retry = { initial = \"10ms\", max_attempts = 4 }", &numbered(1));
    assert_eq!(site.received().len(), 4);
    site.deliver("retry = { initial = \"100ms\", factor = 1, jitter = 0, max_elapsed = \"450ms\" }", &numbered(1));
    let attempts = site.received().len();
    assert!((2..=5).contains(&attempts), "{attempts} attempts in 450 ms, 100 ms apart");
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 2);
    assert!(letters[0]["message"].as_str().unwrap().contains("max_attempts"));
    assert!(letters[1]["message"].as_str().unwrap().contains("max_elapsed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_not_there_is_tried_again_and_one_bad_event_holds_up_no_other() {
    let mut site = Site::choosing(|request| match number(request) {
        2 => Reply::status(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Reply::status(StatusCode::OK),
    })
    .await;
    site.deliver("retry = { schedule = [\"200ms\"], jitter = 0 }\nconcurrency = 1", &numbered(5));
    assert_eq!(numbers(&site.received()), [1, 2, 3, 4, 5, 2]);
    assert_eq!(site.dead_letters().len(), 1);

    site.deliver("url = \"http://127.0.0.1:1/\"\nretry = { schedule = [\"10ms\"] }", &numbered(1));
    let letters = site.dead_letters();
    assert_eq!(letters[1]["attempts"], 2);
    assert!(letters[1]["last_answer"]["error"].as_str().unwrap().contains("cannot connect"), "{}", letters[1]);
}
