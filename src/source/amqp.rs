//! The AMQP 0-9-1 connector: a consumer on one queue (RabbitMQ and its kin).

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::secret::Secret;
use crate::units::Period;

/// Reads one queue of an AMQP 0-9-1 broker, such as RabbitMQ.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpConfig {
    /// The broker, for example `amqp://user:password@host:5672/%2f`, or `amqps://` for TLS.
    pub uri: Secret,
    /// The queue to consume.
    pub queue: String,
    /// The most unacknowledged messages the broker sends us (`basic.qos`).
    #[serde(default = "default_prefetch")]
    #[schemars(range(min = 1))]
    pub prefetch: u16,
    /// Declares the queue when connecting; without it the queue must exist.
    pub declare: Option<AmqpDeclare>,
    /// Binds the queue to exchanges when connecting.
    #[serde(default)]
    pub bind: Vec<AmqpBind>,
    /// The heartbeat asked of the broker.
    #[serde(default = "default_heartbeat")]
    pub heartbeat: Period,
    /// The consumer tag, as shown by the broker's management tools. Default: `bridge-<pipeline>-<source>`.
    pub consumer_tag: Option<String>,
    /// A PEM file with the certificate authorities to trust, instead of the system's.
    pub ca_file: Option<std::path::PathBuf>,
}

/// How the queue is declared.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpDeclare {
    /// Survives a restart of the broker.
    #[serde(default = "default_true")]
    pub durable: bool,
    /// Used by one connection only, and deleted with it.
    #[serde(default)]
    pub exclusive: bool,
    /// Deleted when its last consumer goes.
    #[serde(default)]
    pub auto_delete: bool,
    /// The queue type, `x-queue-type`: `classic`, `quorum` or `stream`.
    #[serde(rename = "type")]
    pub queue_type: Option<String>,
    /// Further arguments, for example `{ x-message-ttl = 60000 }`.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// One binding of the queue.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpBind {
    /// The exchange, which must exist.
    pub exchange: String,
    /// The routing key or pattern.
    #[serde(default)]
    pub routing_key: String,
}

fn default_prefetch() -> u16 {
    256
}

fn default_heartbeat() -> Period {
    Period::from_secs(30)
}

fn default_true() -> bool {
    true
}
