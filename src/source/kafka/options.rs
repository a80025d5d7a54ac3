//! librdkafka's options by name: which hold secrets, which are the bridge's own, and what is wrong with a value.
//!
//! Must not connect to anything.

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
