//! Where values go beside the body: the method, the query, a form; and what is looked up in tables of the file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use url::form_urlencoded;
use webhook_bridge::receiver::Behaviour;

use super::{Site, header};
use crate::support::{Bridge, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_method_may_depend_on_the_event() {
    let mut site = Site::start(Behaviour::default()).await;
    let sink = "method = '{{data.method}}'\nconcurrency = 1";
    let lines = ["PUT", "DELETE", "GET", "TRACE", "POST"].map(|method| format!("{{\"method\":\"{method}\"}}"));
    site.deliver(sink, &lines);
    let requests = site.received();
    let seen: Vec<_> = requests.iter().map(|request| (request.method.as_str(), request.body.len())).collect();
    assert_eq!(seen, [("PUT", 16), ("DELETE", 0), ("GET", 0), ("POST", 17)]);
    for request in &requests {
        assert_eq!(header(request, "content-type").is_empty(), request.body.is_empty(), "{}", request.method);
    }
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1);
    assert!(letters[0]["message"].as_str().unwrap().contains("none of POST, PUT"), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_of_the_event_survives_in_the_store() {
    let mut site = Site::start(Behaviour { fail_first: 1, ..Behaviour::default() }).await;
    site.append(&[r#"{"method":"DELETE"}"#]);
    let sink = "method = '{{data.method}}'\nretry = { schedule = [\"1s\"], jitter = 0, park_after = \"10ms\" }";
    let config = site.file_pipeline(sink);
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("the delivery is parked", || site.parked().len() == 1).await;
    bridge.kill();
    let bridge = Bridge::run(site.folder.path(), &config);
    wait_until("it is delivered", || site.parked().is_empty()).await;
    assert!(bridge.stop().success());
    let methods: Vec<_> = site.received().iter().map(|request| request.method.to_string()).collect();
    // A crash may repeat an event; its method is the same each time.
    assert!(methods.len() >= 2 && methods.iter().all(|method| method == "DELETE"), "{methods:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_and_a_form_have_the_values_of_the_event_and_no_empty_ones() {
    let mut site = Site::start(Behaviour::default()).await;
    let url = site.receiver.url();
    let sink = format!(
        "url = \"{url}/hook?v=1\"\nomit_empty = true\nquery = {{ region = \"{{{{data.region}}}}\", none = \"{{{{data.none}}}}\" }}\n\
         form = {{ To = \"{{{{data.to}}}}\", \"a b\" = \"{{{{data.text}}}}\", Empty = \"{{{{data.empty}}}}\" }}\n\
         headers = {{ X-None = \"{{{{data.none}}}}\", X-Some = \"{{{{data.to}}}}\" }}"
    );
    site.deliver(&sink, &[r#"{"region": "eu & co", "to": "+49 1", "text": "a=b&c\nd", "empty": ""}"#]);
    let request = &site.received()[0];
    assert_eq!(request.path_and_query, "/hook?v=1&region=eu%20%26%20co");
    assert_eq!(header(request, "content-type"), "application/x-www-form-urlencoded");
    let fields: BTreeMap<Cow<'_, str>, Cow<'_, str>> = form_urlencoded::parse(&request.body).collect();
    let expected = [("To", "+49 1"), ("a b", "a=b&c\nd")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(fields, BTreeMap::from(expected));
    assert!(request.headers.get("x-none").is_none() && header(request, "x-some") == "+49 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_query_is_masked_where_the_url_is_shown() {
    let site = Site::choosing(|_| super::answer(400, &[], "")).await;
    let sink = "query = { api_key = 'hunter2-of-the-query' }";
    site.deliver(sink, &["{}"]);
    let letters = site.dead_letters();
    let shown = serde_json::to_string(&letters).unwrap();
    assert!(shown.contains("api_key=***") && !shown.contains("hunter2"), "{shown}");
    let log = std::fs::read_to_string(site.folder.path().join("bridge.log")).unwrap();
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_are_looked_up_and_a_missing_one_is_a_dead_letter() {
    let mut site = Site::start(Behaviour::default()).await;
    let url = site.receiver.url();
    let sink = format!(
        "url = \"{url}/{{{{lookup (lookup tables.tenants data.tenant) 'path'}}}}\"\n\
         headers = {{ Authorization = \"Bearer {{{{lookup (lookup tables.tenants data.tenant) 'token'}}}}\" }}\n\
         [tables.tenants]\nacme = {{ path = \"a/1\", token = \"token-of-acme\" }}"
    );
    site.deliver(&sink, &[r#"{"tenant": "acme"}"#, r#"{"tenant": "other"}"#]);
    let requests = site.received();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path_and_query, "/a%2F1");
    assert_eq!(header(&requests[0], "authorization"), "Bearer token-of-acme");
    let letters = site.dead_letters();
    let message = letters[0]["message"].as_str().unwrap();
    assert_eq!(letters[0]["reason"], "unrenderable");
    assert!(message.contains("finds nothing") && !message.contains("token-of-acme"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preset_checks_what_is_sent_and_judges_what_is_answered() {
    let mut site = Site::choosing(|request| {
        let is_busy = request.body.windows(4).any(|part| part == b"busy");
        super::answer(200, &[], if is_busy { r#"{"ok": false, "error": "channel_not_found"}"# } else { "ok" })
    })
    .await;
    let sink = "preset = 'slack'\nrate_limit = { requests = 100 }";
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(40_001));
    site.deliver(sink, &[r#"{"text": "hello"}"#, r#"{"text": "busy"}"#, &long]);
    assert_eq!(site.received().len(), 2);
    let mut messages: Vec<_> =
        site.dead_letters().iter().map(|letter| letter["message"].as_str().unwrap().to_owned()).collect();
    messages.sort();
    assert!(messages[0].contains("answered 200") && messages[0].contains("$.ok == false"), "{messages:?}");
    assert!(messages[1].contains("Slack cuts `text`"), "{messages:?}");
}
