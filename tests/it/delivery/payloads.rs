//! What goes out: the payload as it came in, rendered bodies, and events of which no request can be made.

use serde_json::Value;
use webhook_bridge::receiver::Behaviour;

use super::{Site, header};

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_without_a_template_goes_out_byte_for_byte() {
    let lines = ["{ \"a\" :\t 1.10 ,  \"b\":[ ] }  ", "  {\"z\":1e2,\"a\":\"\\u00e9 é\",\"a\":2}", "[1 , 2]"];
    let mut site = Site::start(Behaviour::default()).await;
    site.deliver("concurrency = 1", &lines);
    let requests = site.received();
    assert_eq!(requests.iter().map(|request| &request.body[..]).collect::<Vec<_>>(), lines.map(str::as_bytes));
    assert!(requests.iter().all(|request| header(request, "content-type") == "application/json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_text_keep_their_bytes_and_say_what_they_are() {
    // Not with a NUL at the beginning, which is no part of a text.
    let binary: Vec<u8> = (1..=255).chain(0..=255).filter(|byte| *byte != b'\n').collect();
    let mut site = Site::start(Behaviour::default()).await;
    let typed = |format: &str, sink: &str| {
        let config = site.pipeline(sink);
        config.replace("\"stdin\"", &format!("\"stdin\"\nformat = \"{format}\""))
    };
    let configs = [
        (typed("bytes", ""), "application/octet-stream"),
        (typed("text", ""), "text/plain; charset=utf-8"),
        (typed("bytes", "content_type = \"image/x-odd\""), "image/x-odd"),
    ];
    for (config, content_type) in configs {
        site.deliver_all(&config, &[&binary]);
        let requests = site.received();
        assert_eq!(requests.len(), 1, "{content_type}");
        assert_eq!(requests[0].body, binary, "{content_type}");
        assert_eq!(header(&requests[0], "content-type"), content_type);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendered_request_is_escaped_where_its_values_stand() {
    let mut site = Site::start(Behaviour::default()).await;
    let url = site.receiver.url();
    let sink = format!(
        "url = \"{url}/{{{{data.region}}}}?q={{{{data.name}}}}\"\nmethod = \"PUT\"\n\
         headers = {{ X-Name = \"{{{{data.region}}}}\" }}\nbody = '{{\"name\": \"{{{{data.name}}}}\"}}'"
    );
    site.deliver(&sink, &[r#"{"region": "eu/south", "name": "Grace \"Amazing\" H&per"}"#]);
    let request = &site.received()[0];
    assert_eq!(request.method, "PUT");
    assert_eq!(request.path_and_query, "/eu%2Fsouth?q=Grace%20%22Amazing%22%20H%26per");
    assert_eq!(header(request, "x-name"), "eu/south");
    assert_eq!(request.body, r#"{"name": "Grace \"Amazing\" H&per"}"#);
}

/// Runs one bad line among good ones and gives the only dead letter there must be.
async fn one_bad_among_good(sink: &str, bad: &str, good: &str) -> Value {
    let mut site = Site::start(Behaviour::default()).await;
    site.deliver(sink, &[good, bad, good]);
    assert_eq!(site.received().len(), 2, "the good ones arrive");
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["event"]["payload"], bad, "the payload is kept as it was");
    assert_eq!(letters[0]["attempts"], 0);
    letters[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_value_is_a_dead_letter_that_names_it() {
    let letter = one_bad_among_good("body = '{\"id\": \"{{data.id}}\"}'", r#"{"x": 1}"#, r#"{"id": 1}"#).await;
    assert_eq!(letter["reason"], "unrenderable");
    assert!(letter["message"].as_str().unwrap().contains("`data.id` is missing"), "{letter}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_not_json_is_a_dead_letter_where_json_is_asked_for() {
    let letter = one_bad_among_good("body = '{\"id\": \"{{data.id}}\"}'", r#"{"id": "#, r#"{"id": 1}"#).await;
    assert_eq!(letter["reason"], "undecodable");
    assert!(letter["message"].as_str().unwrap().contains("not JSON"), "{letter}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendered_body_that_is_not_json_is_a_dead_letter() {
    let letter = one_bad_among_good("body = '{\"id\": {{{data.id}}}}'", r#"{"id": "one"}"#, r#"{"id": 1}"#).await;
    assert_eq!(letter["reason"], "unrenderable");
    assert!(letter["message"].as_str().unwrap().contains("body is not JSON"), "{letter}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_break_cannot_get_into_a_header() {
    let sink = "headers = { X-Tenant = \"{{data.tenant}}\" }";
    let letter = one_bad_among_good(sink, r#"{"tenant": "a\r\nX-Evil: 1"}"#, r#"{"tenant": "a"}"#).await;
    assert_eq!(letter["reason"], "unrenderable");
    assert!(letter["message"].as_str().unwrap().to_lowercase().contains("x-tenant"), "{letter}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_cannot_lead_to_another_path() {
    let site = Site::start(Behaviour::default()).await;
    let url = format!("url = \"{}/hooks/{{{{data.id}}}}/in\"", site.receiver.url());
    site.deliver(&url, &[r#"{"id": ".."}"#]);
    assert_eq!(site.receiver.requests(), 0);
    assert_eq!(site.dead_letters()[0]["reason"], "unrenderable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_over_the_limit_is_a_dead_letter() {
    let mut site = Site::start(Behaviour::default()).await;
    let config = site.pipeline("").replace("\"stdin\"", "\"stdin\"\nmax_event_size = \"1KiB\"");
    let huge = format!(r#"{{"x": "{}"}}"#, "y".repeat(5000));
    site.deliver_all(&config, &["{}", &huge, "{}"]);
    assert_eq!(site.received().len(), 2);
    let letter = &site.dead_letters()[0];
    assert_eq!((&letter["reason"], &letter["node"]), (&"too-large".into(), &"sources.input".into()));
    assert!(letter["message"].as_str().unwrap().contains("max_event_size"), "{letter}");
}
