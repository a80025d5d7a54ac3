//! What is checked and what librdkafka gets, without a broker.

use std::time::Instant;

use super::*;
use crate::event::Format;
use crate::source::kafka::options::{COMMON_OPTIONS, refusal};

fn context() -> SourceContext {
    SourceContext { format: Format::Json, max_event_size: 1 << 20, ..SourceContext::for_tests("orders", "shop") }
}

fn config(more: serde_json::Value) -> KafkaConfig {
    let mut keys = serde_json::json!({"brokers": ["127.0.0.1:9"], "topics": ["orders"]});
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(keys).unwrap()
}

fn with_options(options: &[(&str, &str)]) -> KafkaConfig {
    let options: BTreeMap<_, _> = options.iter().copied().collect();
    config(serde_json::json!({ "options": options }))
}

fn problems(config: &KafkaConfig) -> Vec<Problem> {
    config.client_config(&context()).err().unwrap_or_default()
}

#[test]
fn the_bridges_own_settings_and_the_defaults_are_in_place() {
    let client = config(serde_json::json!({})).client_config(&context()).unwrap();
    for (key, value) in [
        ("bootstrap.servers", "127.0.0.1:9"),
        ("group.id", "bridge-orders-shop"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("partition.assignment.strategy", "cooperative-sticky"),
    ] {
        assert_eq!(client.get(key), Some(value), "{key}");
    }
    assert_eq!(client.get("ssl.ca.location"), None);
}

#[test]
fn options_go_before_defaults_whatever_their_alias() {
    let chosen = with_options(&[("client.id", "mine"), ("max.partition.fetch.bytes", "77777")]);
    let client = chosen.client_config(&context()).unwrap();
    assert_eq!(client.get("client.id"), Some("mine"));
    assert_eq!(client.create_native_config().unwrap().get("fetch.message.max.bytes").unwrap(), "77777");
    let producer = with_options(&[("delivery.timeout.ms", "5000"), ("acks", "0")]).producer_config();
    assert_eq!((producer.get("message.timeout.ms"), producer.get("delivery.timeout.ms")), (Some("5000"), None));
    assert_eq!((producer.get("request.required.acks"), producer.get("acks")), (Some("all"), None));
}

#[test]
fn one_option_by_two_names_is_refused() {
    let problems = problems(&with_options(&[("sasl.mechanism", "PLAIN"), ("sasl.mechanisms", "SCRAM-SHA-256")]));
    assert_eq!(problems[0].path, ["options", "sasl.mechanisms"]);
    assert!(problems[0].message.contains("`sasl.mechanism`"), "{problems:?}");
}

#[test]
fn an_option_of_the_bridges_own_is_refused_with_the_reason() {
    for key in [
        "group.id",
        "bootstrap.servers",
        "metadata.broker.list",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.commit.interval.ms",
        "enable.partition.eof",
        "offset.store.method",
    ] {
        let problems = problems(&with_options(&[(key, "true")]));
        assert_eq!(problems.len(), 1, "{key}: {problems:?}");
        assert_eq!(problems[0].path, ["options", key]);
        assert!(problems[0].message.contains("cannot be set here"), "{}", problems[0]);
    }
}

#[test]
fn every_wrong_option_is_found_and_a_slip_is_recognised() {
    let problems = problems(&with_options(&[
        ("sasl.pasword", "x"),
        ("session.timeout.ms", "soon"),
        ("isolation.level", "read_uncommitted"),
        ("security.protocol", "TLS"),
    ]));
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path[1].as_str()).collect();
    assert_eq!(paths, ["sasl.pasword", "security.protocol", "session.timeout.ms"]);
    assert_eq!(problems[0].help.as_deref(), Some("did you mean `sasl.password`?"));
}

#[test]
fn every_option_a_slip_is_compared_with_exists() {
    for key in COMMON_OPTIONS {
        let native = ClientConfig::new().create_native_config().unwrap();
        assert!(native.get(key).is_ok() || refusal(key).is_some() || option_problem(key, "").is_none(), "{key}");
    }
}

#[test]
fn options_that_fight_each_other_are_found_without_a_broker() {
    let problems = problems(&with_options(&[("session.timeout.ms", "400000")]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("session.timeout.ms"), "{}", problems[0]);
}

#[test]
fn a_certificate_that_cannot_be_read_is_found_without_a_broker() {
    let missing = [("security.protocol", "ssl"), ("ssl.ca.location", "/nowhere/ca.pem")];
    let problems = problems(&with_options(&missing));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].path, ["options", "ssl.ca.location"]);
    assert!(problems[0].help.as_ref().unwrap().starts_with("/nowhere/ca.pem: No such file"), "{problems:?}");
}

#[test]
fn tls_looks_for_the_systems_certificates() {
    let client = with_options(&[
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", "u"),
        ("sasl.password", "p"),
    ]);
    assert_eq!(client.client_config(&context()).unwrap().get("ssl.ca.location"), Some("probe"));
}

#[test]
fn oidc_is_built_in_and_other_tokens_are_refused() {
    let oidc = with_options(&[
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", "OAUTHBEARER"),
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.client.id", "bridge"),
        ("sasl.oauthbearer.client.secret", "s3cr3t-of-oidc"),
        ("sasl.oauthbearer.token.endpoint.url", "https://127.0.0.1:9/token"),
    ]);
    let client = oidc.client_config(&context()).unwrap();
    assert_eq!(client.get("https.ca.location"), Some("probe"));
    assert_eq!(crate::secret::mask("s3cr3t-of-oidc"), crate::secret::MASK);
    assert!(!format!("{oidc:?}").contains("s3cr3t-of-oidc"));
    let problems = problems(&with_options(&[("sasl.mechanism", "OAUTHBEARER")]));
    assert!(problems[0].message.contains("OIDC only"), "{problems:?}");
}

#[test]
fn a_bad_pattern_and_a_topic_named_twice_are_found_quickly() {
    let started = Instant::now();
    let bad_pattern = config(serde_json::json!({"topics": ["orders", "^shop-(", "^good-.*"]}));
    let found = problems(&bad_pattern);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, ["topics", "1"]);
    let twice = problems(&config(serde_json::json!({"topics": ["orders", "orders"]})));
    assert_eq!(twice[0].path, ["topics", "1"]);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn what_a_variable_brings_is_a_part_of_a_topics_name() {
    let topics = config(serde_json::json!({"topics": ["^shop-.*", ["^", "eu.west", "-orders-.*"], ["", "a.b", ""]]}));
    assert_eq!(topics.subscription(), ["^shop-.*", "^(eu\\.west)-orders-.*", "a.b"]);
    assert_eq!(problems(&topics), []);
    for value in ["^orders-.*", "orders|payments", "a b", ".*"] {
        let found = problems(&config(serde_json::json!({"topics": [["", value, ""], ["^shop-", value, ""]]})));
        let paths: Vec<_> = found.iter().map(|problem| problem.path.join(".")).collect();
        assert_eq!(paths, ["topics.0", "topics.1"], "{value}");
        assert!(found[0].message.contains("a part of a topic's name"), "{found:?}");
    }
    let in_class = problems(&config(serde_json::json!({"topics": [["^shop-[", "a-z", "]"]]})));
    assert!(in_class[0].message.contains("within"), "{in_class:?}");
}

#[test]
fn a_revoke_timeout_beyond_the_brokers_patience_is_found() {
    let too_long = config(serde_json::json!({"revoke_timeout": "10s", "options": {"max.poll.interval.ms": "9000",
        "session.timeout.ms": "6000"}}));
    assert_eq!(problems(&too_long)[0].path, ["revoke_timeout"]);
}

#[test]
fn the_new_group_protocol_is_accepted() {
    let client = with_options(&[("group.protocol", "consumer")]).client_config(&context()).unwrap();
    assert_eq!(client.get("partition.assignment.strategy"), None);
}
