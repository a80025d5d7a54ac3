use std::path::PathBuf;

use super::*;
use crate::config::parse_lenient;
use crate::pipeline::Environment;
use crate::pipeline::load::compile_in;
use crate::pipeline::walk::StageResult;

const PIPELINE: &str = r#"
    name = "test"
    [sources.a]
    type = "stdin"
    max_event_size = "40B"
    dead_letter = "alerts"
    [filters.paid]
    from = ["a"]
    when = "$.data.paid == true"
    [filters.large]
    from = ["paid"]
    when = "$.data.n > 5"
    [sinks.crm]
    type = "webhook"
    from = ["paid", "large"]
    url = "http://127.0.0.1:9/{{data.n}}"
    body = '"{{uuid}} {{now}}"'
    signing = { secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] }
    [sinks.alerts]
    type = "webhook"
    url = "http://127.0.0.1:9/"
    body = '"{{meta.dead_letter.node}} {{meta.dead_letter.reason}}"'
"#;

/// What becomes of each payload.
fn run<const N: usize>(payloads: [&str; N]) -> [Course; N] {
    run_pipeline(PIPELINE, &|_| None, payloads)
}

fn run_pipeline<const N: usize>(text: &str, env: &dyn Fn(&str) -> Option<String>, payloads: [&str; N]) -> [Course; N] {
    run_events(text, env, payloads.map(|payload| format!("payload = '{payload}'")))
}

/// What becomes of events with these keys.
fn run_events<const N: usize>(text: &str, env: &dyn Fn(&str) -> Option<String>, events: [String; N]) -> [Course; N] {
    let parsed = parse_lenient("test", text, env);
    assert_eq!(parsed.faults, []);
    let clock = FrozenClock::default();
    let folder = PathBuf::from("/nowhere");
    let rendering = clock.options();
    let environment = Environment { state_dir: folder.clone(), base_dir: folder, once: true, rendering };
    let graph = compile_in(parsed, environment).unwrap().graph;
    let trial = Trial::new(&graph, &clock);
    events.map(|event| {
        let test = format!("name = 't'\nsource = 'a'\nevent = {{ {event} }}\nexpect = []");
        trial.run(&toml::from_str(&test).unwrap())
    })
}

/// Each outcome as the sink and its body, or as the node of the letter and the reason.
fn shown(course: &Course) -> Vec<(String, String)> {
    let outcomes = course.outcomes.iter().map(|outcome| match outcome {
        Outcome::Delivery(attempt) => (attempt.sink.to_string(), String::from_utf8(attempt.body.to_vec()).unwrap()),
        Outcome::DeadLetter { node, reason, .. } => (node.to_string(), reason.as_str().to_owned()),
    });
    outcomes.collect()
}

fn pair(node: &str, what: &str) -> (String, String) {
    (node.to_owned(), what.to_owned())
}

#[test]
fn every_path_to_a_sink_is_a_delivery_and_the_filters_are_told() {
    let [filtered, once, twice] = run([r#"{"paid":false}"#, r#"{"paid":true,"n":1}"#, r#"{"paid":true,"n":9}"#]);
    assert_eq!((filtered.outcomes.len(), once.outcomes.len(), twice.outcomes.len()), (0, 1, 2));
    let decision = |name: &str, result| Decision { node: NodeName::filter(name), result };
    assert_eq!(filtered.decisions, [decision("paid", StageResult::DoesNotMatch)]);
    let both = ["paid", "large"].map(|name| decision(name, StageResult::Matches));
    assert_eq!(twice.decisions, both);
}

#[test]
fn an_event_has_the_meta_of_its_source_and_what_the_test_says_instead() {
    let sink = "\n[sinks.s]\ntype = 'webhook'\nfrom = ['a']\nurl = 'http://h/'\nbody = '{{json meta}}'";
    for (source, meta, expected) in [
        ("type = 'stdin'", "", r#"{"offset":0}"#),
        (
            "type = 'kafka'\nbrokers = ['b:1']\ntopics = ['orders', 'more']",
            "offset = 7, own = [1]",
            r#"{"topic":"orders","partition":0,"offset":7,"own":[1]}"#,
        ),
        (
            "type = 'amqp'\nuri = 'amqp://h'\nqueue = 'q'",
            "properties = { priority = 3 }",
            r#"{"exchange":"","routing_key":"q","queue":"q","redelivered":false,"properties":{"priority":3}}"#,
        ),
        (
            "type = 'file'\npaths = ['logs/*.log']",
            "offset = 12",
            r#"{"path":"logs/*.log","offset":12,"file":"0000000000000000"}"#,
        ),
    ] {
        let pipeline = format!("name = 't'\n[sources.a]\n{source}{sink}");
        let [course] = run_events(&pipeline, &|_| None, [format!("meta = {{ {meta} }}")]);
        assert_eq!(shown(&course), [pair("s", expected)]);
    }
}

#[test]
fn clock_and_ids_stand_still_and_begin_anew_with_each_event() {
    let courses = run([r#"{"paid":true,"n":1}"#; 2]);
    let body = "\"00000000-0000-4000-8000-000000000001 2026-01-01T00:00:00Z\"";
    assert_eq!(shown(&courses[0]), [pair("crm", body)]);
    assert_eq!(courses[0], courses[1]);
    let Outcome::Delivery(attempt) = &courses[0].outcomes[0] else { panic!("{courses:?}") };
    assert_eq!(attempt.headers["webhook-timestamp"], "1767225600");
    assert!(attempt.headers.contains_key("webhook-signature") && attempt.headers["webhook-id"] == "test/1");
}

#[test]
fn what_the_environment_brings_is_data_in_every_language() {
    let pipeline = r#"
        name = "test"
        [sources.a]
        type = "stdin"
        [filters.own]
        from = ["a"]
        when = "$.data.tenant == '${env:TENANT}' && $.data.n >= ${env:LEAST}"
        [templates.t]
        body = '{"token": "${env:TOKEN}", "n": {{data.n}}, "basic": "{{base64 "${env:USER}:${env:TOKEN}"}}"}'
        [defaults.webhook]
        headers = { authorization = "Bearer ${env:TOKEN}" }
        [sinks.crm]
        type = "webhook"
        from = ["own"]
        url = "${env:BASE}/{{data.n}}/${env:TENANT}?t=${env:TOKEN}"
        template = "t"
        order_by = "${env:TOKEN} {{data.n}}"
        rate_limit = { requests = 1, key = "${env:TOKEN} {{data.n}}" }
    "#;
    let env = |name: &str| {
        let value = match name {
            "TENANT" => "o'brien {{x}}",
            "TOKEN" => r#"x{{data.n}}"\y"#,
            "USER" => r#"u"}}"#,
            "LEAST" => "2",
            _ => "http://127.0.0.1:9/{{data}}",
        };
        Some(value.to_owned())
    };
    let event = |n: u8| format!(r#"{{"tenant":"o\u0027brien {{{{x}}}}","n":{n}}}"#);
    let [course, filtered] = run_pipeline(pipeline, &env, [&event(2), &event(1)]);
    assert_eq!(filtered.outcomes, []);
    let [Outcome::Delivery(attempt)] = &course.outcomes[..] else { panic!("{course:?}") };
    assert_eq!(attempt.headers["authorization"], r#"Bearer x{{data.n}}"\y"#);
    let path = "/%7B%7Bdata%7D%7D/2/o%27brien%20%7B%7Bx%7D%7D?t=x%7B%7Bdata.n%7D%7D%22%5Cy";
    assert_eq!(attempt.url.as_str(), format!("http://127.0.0.1:9{path}"));
    let body: serde_json::Value = serde_json::from_slice(&attempt.body).unwrap();
    let basic = "dSJ9fTp4e3tkYXRhLm59fSJceQ==";
    assert_eq!(body, serde_json::json!({"token": r#"x{{data.n}}"\y"#, "n": 2, "basic": basic}));
}

#[test]
fn filters_that_are_looked_up_decide_as_if_each_were_asked() {
    let tenants = ["'a'", "'b'", "1", "1.0", "null", "true"];
    let mut pipeline = "name = 'test'\n[sources.a]\ntype = 'stdin'\n".to_owned();
    for (index, tenant) in tenants.iter().enumerate() {
        pipeline += &format!(
            "[filters.f{index}]\nfrom = ['a']\nwhen = \"$.data.type == 'x' && $.data.tenant == {tenant}\"\n\
             [sinks.s{index}]\ntype = 'webhook'\nfrom = ['f{index}']\nurl = 'http://127.0.0.1:9/'\n"
        );
    }
    let payloads = [
        r#"{"type":"x","tenant":"b"}"#,
        r#"{"type":"x","tenant":1}"#,
        r#"{"type":"x","tenant":null}"#,
        r#"{"type":"x"}"#,
        r#"{"type":"y","tenant":"b"}"#,
        "no JSON",
    ];
    let courses = run_pipeline(&pipeline, &|_| None, payloads);
    let sinks = courses.each_ref().map(|course| shown(course).into_iter().map(|(node, _)| node).collect::<Vec<_>>());
    assert_eq!(sinks[..5], [vec!["s1"], vec!["s2", "s3"], vec!["s4"], vec![], vec![]]);
    let letters: Vec<_> =
        (0..6).map(|index| pair(&NodeName::filter(format!("f{index}")).to_string(), "undecodable")).collect();
    let mut given_up = shown(&courses[5]);
    given_up.sort();
    assert_eq!(given_up, letters, "each filter that cannot read it says so");
    assert_eq!(courses[4].decisions.len(), 6);
}

#[test]
fn a_letter_is_followed_to_the_sink_that_it_is_sent_on_to() {
    let [undecodable, too_large, unrenderable] =
        run(["no JSON", &format!("\"{}\"", "x".repeat(39)), r#"{"paid":true}"#]);
    let at = |node: &str, reason: &str| [pair(node, reason), pair("alerts", &format!("\"{node} {reason}\""))];
    assert_eq!(shown(&too_large), at("sources.a", "too-large"));
    assert_eq!(shown(&undecodable), at("filters.paid", "undecodable"));
    assert_eq!(shown(&unrenderable), [pair("sinks.crm", "unrenderable")], "the sink sends its letters nowhere");
}
