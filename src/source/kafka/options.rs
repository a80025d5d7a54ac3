//! librdkafka's options by name: which hold secrets, which are the bridge's own, and what is wrong with a value.
//!
//! Must not connect to anything.

use std::collections::{BTreeMap, HashMap};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::problem::{Problem, did_you_mean};
use crate::secret::mask;

/// Whether the value of a librdkafka option is a secret, by the option's name.
pub fn holds_a_secret(option: &str) -> bool {
    const SMELLS: [&str; 5] = ["password", "secret", "passphrase", "key.pem", "sasl.oauthbearer.config"];
    SMELLS.iter().any(|smell| option.contains(smell))
}

/// The option's own name where librdkafka knows it by another one too.
pub(super) fn own_name(option: &str) -> &str {
    match option {
        "max.in.flight" => "max.in.flight.requests.per.connection",
        "sasl.mechanism" => "sasl.mechanisms",
        "sasl.oauthbearer.client.credentials.client.id" => "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.credentials.client.secret" => "sasl.oauthbearer.client.secret",
        "max.partition.fetch.bytes" => "fetch.message.max.bytes",
        "linger.ms" => "queue.buffering.max.ms",
        "retries" => "message.send.max.retries",
        "compression.type" => "compression.codec",
        "acks" => "request.required.acks",
        "delivery.timeout.ms" => "message.timeout.ms",
        own_name => own_name,
    }
}

/// Options that are one and the same to librdkafka: which of their values holds would be chance.
pub(super) fn named_twice(options: &BTreeMap<String, String>) -> impl Iterator<Item = Problem> {
    let mut names = HashMap::new();
    options.keys().filter_map(move |option| {
        let first = names.insert(own_name(option), option)?;
        let message = format!("`{option}` and `{first}` are names of the same option");
        Some(Problem::new(["options", option], message).with_help("keep one of the two"))
    })
}

/// What is wrong with one option taken by itself.
pub(super) fn option_problem(key: &str, value: &str) -> Option<Problem> {
    if let Some(reason) = refusal(key) {
        return Some(Problem::new(["options", key], format!("`{key}` cannot be set here: {reason}")));
    }
    let error = ClientConfig::new().set(key, value).create_native_config().err()?;
    let KafkaError::ClientConfig(kind, message, ..) = error else {
        return Some(Problem::new(["options", key], error));
    };
    let problem = Problem::new(["options", key], mask(&message));
    let similar = match kind {
        RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => did_you_mean(key, COMMON_OPTIONS),
        _ => None,
    };
    Some(match similar {
        Some(similar) => problem.with_help(format!("did you mean `{similar}`?")),
        None => problem,
    })
}

/// Why the bridge does not let the user set an option.
pub(super) fn refusal(key: &str) -> Option<&'static str> {
    Some(match key {
        "bootstrap.servers" | "metadata.broker.list" => "use the key `brokers`",
        "group.id" => "use the key `group_id`",
        "auto.offset.reset" => "use the key `start`",
        "enable.auto.commit" | "auto.commit.enable" | "auto.commit.interval.ms" | "enable.auto.offset.store" => {
            "the bridge commits itself, and only what has been delivered, filtered or dead-lettered; see the key \
             `commit_interval`"
        }
        "offset.store.method" | "offset.store.path" | "offset.store.sync.interval.ms" => {
            "offsets are committed to the group, so that its other members can go on from them"
        }
        "enable.partition.eof" => "the bridge sets it when it runs with --once",
        _ => return None,
    })
}

/// Option names to compare a misspelt one with: librdkafka does not list its own. Those that pipelines are likely to
/// set; one that is missing here costs a hint and nothing else.
pub(super) const COMMON_OPTIONS: [&str; 38] = [
    "broker.address.family",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "debug",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "reconnect.backoff.max.ms",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "topic.metadata.refresh.interval.ms",
];
