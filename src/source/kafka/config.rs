//! The keys of a Kafka source, the librdkafka options made of them, and all checks that need no broker.
//!
//! Must not connect to anything: `bridge check` runs this without a network.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::{holds_a_secret, named_twice, option_problem, own_name};
use super::record::meta;
use crate::event::Meta;
use crate::interpolated::{InterpolatedText, Part, are_patterns};
use crate::problem::Problem;
use crate::secret;
use crate::source::SourceContext;
use crate::units::Period;

/// Reads topics of an Apache Kafka cluster as a member of a consumer group.
///
/// Offsets are committed by the bridge, never by librdkafka: only what has been delivered, filtered or dead-lettered
/// is committed.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to ask first, each as `host:port`.
    #[schemars(length(min = 1), example = ["127.0.0.1:9092"])]
    pub brokers: Vec<String>,
    /// Topics to read. A name that begins with `^` is a regular expression, as in librdkafka. A topic that does not
    /// exist is waited for. What `${…}` brings is a name or a part of one, and matches itself in a regular expression.
    #[schemars(length(min = 1), example = ["orders"], transform = are_patterns)]
    pub topics: Vec<InterpolatedText>,
    /// The consumer group. Default: `bridge-<pipeline>-<source>`.
    #[schemars(example = &"bridge-orders")]
    pub group_id: Option<String>,
    /// Where the group starts that has no offset in any of the topics. What appears after its first start, a partition
    /// or a topic, is read from its beginning. So is what the broker still has when retention has removed the records
    /// at the group's offset (which is logged as a loss).
    #[serde(default)]
    pub start: KafkaStart,
    /// How long a partition that is being taken away may hold up the rebalance so that its deliveries in flight can
    /// end. What has not ended by then is delivered again by the partition's next owner. librdkafka fetches nothing
    /// for this source meanwhile. It must be shorter than the option `max.poll.interval.ms`, after which the broker
    /// gives up on this member.
    #[serde(default = "default_revoke_timeout")]
    pub revoke_timeout: Period,
    /// Options of librdkafka, passed through as they are, for example TLS and SASL settings.
    ///
    /// They go before these defaults of the bridge, most of which bound the memory that a backlog can take:
    ///
    /// | option | default | why |
    /// |---|---|---|
    /// | `client.id` | `bridge` | shown in the broker's logs and quotas |
    /// | `partition.assignment.strategy` | `cooperative-sticky` | a rebalance takes away only what must move (not with `group.protocol = "consumer"`) |
    /// | `queued.min.messages` | `5000` | prefetch stops at this many messages; each costs some 500 bytes beside its payload |
    /// | `queued.max.messages.kbytes` | `4096` | prefetch stops at 4 MiB |
    /// | `fetch.message.max.bytes` | `262144` | 256 KiB at most per partition and request, as a request goes past the two bounds above; a larger message still comes whole |
    /// | `fetch.max.bytes` | `1048576` | 1 MiB at most per request over all partitions; raised by librdkafka to `message.max.bytes` |
    /// | `fetch.queue.backoff.ms` | `10` | how soon fetching goes on once prefetch is below its bounds; librdkafka's 1000 would stall so short a queue |
    /// | `topic.metadata.refresh.interval.ms` | `10000` | how soon a new topic, or one that a regular expression matches, is found |
    /// | `reconnect.backoff.max.ms` | `3000` | how soon a broker that is back is found; librdkafka would wait up to 10 s |
    /// | `ssl.ca.location`, `https.ca.location` | `probe` | OpenSSL may be built in and know no system paths of its own: look where distributions keep their certificates |
    ///
    /// `group.id`, `bootstrap.servers`, `auto.offset.reset` and the options of automatic commits are the bridge's own
    /// and are refused.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"security.protocol": "SASL_SSL", "sasl.mechanisms": "SCRAM-SHA-512"}))]
    pub options: BTreeMap<String, String>,
}

/// Where a group without an offset starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KafkaStart {
    /// At the oldest record that the broker still has.
    #[default]
    Earliest,
    /// At the records that arrive after the group's first start. Where that is, is committed before anything is read.
    Latest,
}

/// The values of `options` may be secrets, so only their names are shown.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("group_id", &self.group_id)
            .field("start", &self.start)
            .field("revoke_timeout", &self.revoke_timeout)
            .field("options", &self.options.keys())
            .finish()
    }
}

impl KafkaConfig {
    /// The `meta` of an event that nothing was read for: the first record of the first topic, as it is written.
    pub fn meta_of_tests(&self) -> Meta {
        meta(self.topics.first().map_or("", InterpolatedText::as_str).into(), 0, 0)
    }

    /// The options of the group's member.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, as far as it can be told without a broker.
    pub(super) fn client_config(&self, context: &SourceContext) -> Result<ClientConfig, Vec<Problem>> {
        self.register_secrets();
        let mut problems = self.list_problems();
        problems.extend(self.options.iter().filter_map(|(key, value)| option_problem(key, value)));
        problems.extend(named_twice(&self.options));
        problems.extend(self.oauthbearer_problem());
        problems.extend(self.revoke_timeout_problem());
        let config = self.assemble(context);
        if problems.is_empty() {
            problems.extend(self.combination_problems(&config));
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The topics as librdkafka takes them: names, and regular expressions in which values match themselves.
    pub(super) fn subscription(&self) -> Vec<String> {
        let expression = |topic: &InterpolatedText| {
            let parts = topic.as_ref().parts().map(|part| match part {
                Part::Written(written) => written.to_owned(),
                // The dot is the only character of a topic's name that says something else there.
                Part::Value(value) => format!("({})", value.replace('.', "\\.")),
            });
            parts.collect()
        };
        let topics = self.topics.iter().map(|topic| match topic.as_str() {
            name if name.starts_with('^') => expression(topic),
            name => name.to_owned(),
        });
        topics.collect()
    }

    /// Masks the values of options that smell of secrets wherever they may be printed.
    fn register_secrets(&self) {
        self.options.iter().filter(|(key, _)| holds_a_secret(key)).for_each(|(_, value)| secret::register(value));
    }

    fn list_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.brokers.is_empty() {
            problems.push(Problem::new(["brokers"], "is empty").with_help("write for example [\"127.0.0.1:9092\"]"));
        }
        if self.topics.is_empty() {
            problems.push(Problem::new(["topics"], "is empty").with_help("write for example [\"orders\"]"));
        }
        for (index, broker) in self.brokers.iter().enumerate() {
            if broker.trim().is_empty() {
                problems.push(Problem::new(["brokers", &index.to_string()], "is an empty address"));
            }
        }
        for (index, topic) in self.topics.iter().enumerate() {
            let path = ["topics", &index.to_string()];
            let name = topic.as_str();
            if name.is_empty() {
                problems.push(Problem::new(path, "is an empty name"));
            } else if self.topics[..index].iter().any(|other| other.as_str() == name) {
                problems.push(Problem::new(path, format!("`{name}` is named twice")));
            } else if let Some(message) = not_a_name(topic) {
                let help = "a regular expression is written here, as in `^${var:PREFIX}-.*`";
                problems.push(Problem::new(path, message).with_help(help));
            }
        }
        if self.group_id.as_deref() == Some("") {
            problems.push(Problem::new(["group_id"], "is empty"));
        }
        problems
    }

    /// librdkafka would wait for ever for a token that nobody fetches.
    fn oauthbearer_problem(&self) -> Option<Problem> {
        let key = ["sasl.mechanisms", "sasl.mechanism"].into_iter().find(|key| self.options.contains_key(*key))?;
        let wants_token = self.options[key].eq_ignore_ascii_case("OAUTHBEARER");
        let problem = Problem::new(["options", key], "OAUTHBEARER tokens can be fetched by OIDC only")
            .with_help("set \"sasl.oauthbearer.method\" = \"oidc\" and its client id, secret and token endpoint");
        (wants_token && !self.uses_oidc()).then_some(problem)
    }

    fn revoke_timeout_problem(&self) -> Option<Problem> {
        const DEFAULT_MAX_POLL_INTERVAL_MS: u128 = 300_000;
        let max_poll_interval = match self.options.get("max.poll.interval.ms") {
            Some(text) => text.parse().ok()?,
            None => DEFAULT_MAX_POLL_INTERVAL_MS,
        };
        (self.revoke_timeout.0.as_millis() >= max_poll_interval).then(|| {
            let message = format!(
                "{} is not shorter than the option max.poll.interval.ms ({max_poll_interval} ms), after which the \
                 broker takes this member's partitions away without waiting",
                self.revoke_timeout
            );
            Problem::new(["revoke_timeout"], message)
        })
    }

    /// The bridge's defaults, then the user's options, then what the bridge insists on.
    fn assemble(&self, context: &SourceContext) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in self.defaults() {
            config.set(key, value);
        }
        for (key, value) in &self.options {
            config.set(own_name(key), value);
        }
        let group = self.group_id.clone().unwrap_or_else(|| format!("bridge-{}-{}", context.pipeline, context.name));
        // Lines below this level are not even made. Info has few of them, and the one that says records are lost.
        let debugging = self.options.contains_key("debug");
        config.set_log_level(if debugging { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("group.id", group);
        // Also for `start = "latest"`, which commits where the group starts (see `positions`): what appears after that,
        // and what retention leaves of records that were not read, is never skipped.
        config.set("auto.offset.reset", "earliest");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        // The end of a partition is news only to a run that stops there.
        config.set("enable.partition.eof", if context.once { "true" } else { "false" });
        config
    }

    /// The options of a producer that connects as the source does, and whose messages are safe once confirmed.
    pub(super) fn producer_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // A broker that does not answer is reported so soon, and the message sent again by the bridge. How large a
        // message may be is for the broker to say.
        let defaults = [("message.timeout.ms", "10000"), ("message.max.bytes", "1000000000")];
        for (key, value) in self.connection_defaults().into_iter().chain(defaults) {
            config.set(key, value);
        }
        for (key, value) in &self.options {
            config.set(own_name(key), value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("request.required.acks", "all");
        config.set("enable.idempotence", "true");
        config
    }

    /// See the table at [`options`](Self::options).
    fn defaults(&self) -> Vec<(&'static str, &'static str)> {
        let mut defaults = self.connection_defaults();
        defaults.extend([
            ("queued.min.messages", "5000"),
            ("queued.max.messages.kbytes", "4096"),
            ("fetch.max.bytes", "1048576"),
            ("fetch.queue.backoff.ms", "10"),
        ]);
        // An alias of this option given by the user would otherwise fight with our default.
        if !self.options.contains_key("max.partition.fetch.bytes") {
            defaults.push(("fetch.message.max.bytes", "262144"));
        }
        // KIP-848 groups are assigned by the broker; librdkafka refuses the option there.
        if self.option("group.protocol") != "consumer" {
            defaults.push(("partition.assignment.strategy", "cooperative-sticky"));
        }
        defaults
    }

    /// Those of them that are not about reading.
    fn connection_defaults(&self) -> Vec<(&'static str, &'static str)> {
        let mut defaults = vec![
            ("client.id", "bridge"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("reconnect.backoff.max.ms", "3000"),
        ];
        if self.option("security.protocol").ends_with("ssl") && !self.options.contains_key("ssl.ca.pem") {
            defaults.push(("ssl.ca.location", "probe"));
        }
        if self.uses_oidc() && !self.options.contains_key("https.ca.pem") {
            defaults.push(("https.ca.location", "probe"));
        }
        defaults
    }

    pub(super) fn uses_oidc(&self) -> bool {
        self.option("sasl.oauthbearer.method") == "oidc"
    }

    /// The option in lower case, or an empty text.
    fn option(&self, key: &str) -> String {
        self.options.get(key).map(|value| value.to_ascii_lowercase()).unwrap_or_default()
    }

    /// Lets librdkafka make a client that knows no broker: only so does it check options against each other, read the
    /// files they name and compile the topics' regular expressions.
    fn combination_problems(&self, config: &ClientConfig) -> Vec<Problem> {
        // A client that signs in by OIDC asks for its token at once, broker or not.
        if self.uses_oidc() {
            return Vec::new();
        }
        let mut config = config.clone();
        config.remove("bootstrap.servers");
        let consumer: BaseConsumer = match config.create() {
            Ok(consumer) => consumer,
            Err(KafkaError::ClientCreation(message)) => return vec![self.blamed_on_an_option(&message)],
            Err(error) => return vec![Problem::new(["options"], error)],
        };
        let refused = |topic: &&(usize, String)| consumer.subscribe(&[topic.1.as_str()]).is_err();
        let topics: Vec<_> = self.subscription().into_iter().enumerate().collect();
        let problems = topics.iter().filter(refused).map(|(index, topic)| {
            Problem::new(
                ["topics", &index.to_string()],
                format!("`{topic}` is not a regular expression that librdkafka knows"),
            )
        });
        problems.collect()
    }

    /// Points at the option that librdkafka's message names. OpenSSL does not say of a file that it does not exist.
    pub(super) fn blamed_on_an_option(&self, message: &str) -> Problem {
        let named = self.options.iter().filter(|(key, _)| message.contains(key.as_str()));
        let Some((key, value)) = named.max_by_key(|(key, _)| key.len()) else {
            return Problem::new(["options"], message);
        };
        let problem = Problem::new(["options", key], message);
        match std::fs::metadata(value) {
            Err(error) if key.ends_with(".location") => problem.with_help(format!("{value}: {error}")),
            _ => problem,
        }
    }
}

/// What keeps a value in this topic from being a part of a topic's name.
fn not_a_name(topic: &InterpolatedText) -> Option<&'static str> {
    let is_of_a_name = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let mut before = String::new();
    for part in topic.as_ref().parts() {
        match part {
            Part::Written(written) => before.push_str(written),
            Part::Value(value) if !value.chars().all(is_of_a_name) => {
                return Some("what `${…}` brings is a part of a topic's name: letters, digits, `.`, `_` and `-` only");
            }
            Part::Value(_) if before.rfind('[') > before.rfind(']') => return Some("no `${…}` can stand within `[…]`"),
            Part::Value(value) => before.push_str(value),
        }
    }
    None
}

fn default_revoke_timeout() -> Period {
    Period::from_secs(10)
}

#[cfg(test)]
mod tests;
