//! The Kafka connector: a consumer group member on librdkafka.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// Reads topics of an Apache Kafka cluster as a member of a consumer group.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to ask first, each as `host:port`.
    #[schemars(length(min = 1), example = ["127.0.0.1:9092"])]
    pub brokers: Vec<String>,
    /// Topics to read. A name that begins with `^` is a regular expression, as in librdkafka.
    #[schemars(length(min = 1), example = ["orders"])]
    pub topics: Vec<String>,
    /// The consumer group. Default: `bridge-<pipeline>-<source>`.
    pub group_id: Option<String>,
    /// Where to start when the group has no offset for a partition.
    #[serde(default)]
    pub start: KafkaStart,
    /// How long a partition that is being taken away may hold up the rebalance so that its deliveries in flight can
    /// end. What has not ended by then is delivered again by the partition's next owner.
    #[serde(default = "default_revoke_timeout")]
    pub revoke_timeout: Period,
    /// Options of librdkafka, passed through as they are, for example TLS and SASL settings.
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
    /// At the records that arrive after the start.
    Latest,
}

fn default_revoke_timeout() -> Period {
    Period::from_secs(10)
}
