//! The keys of `type = "amqp"`, as they are written in the pipeline file. What they must be is checked in `settings`.

use lapin::BasicProperties;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::message::meta;
use crate::event::Meta;
use crate::secret::Secret;
use crate::units::Period;

/// Reads one queue of an AMQP 0-9-1 broker, such as RabbitMQ. A message is acknowledged once all its deliveries have
/// ended; until then the broker keeps it, and delivers it again when the connection is lost.
///
/// The event's id is the message's `message-id`. A message without one gets a random id each time it is received, so
/// that a receiver cannot recognise a repeated delivery of it: let producers set `message-id`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpConfig {
    /// The broker, for example `amqp://user:password@host:5672/%2f`, or `amqps://` for TLS. The path is the virtual
    /// host, percent-encoded: `/%2f` is the default one, `/`. Of the query parameters `auth_mechanism`, `frame_max`
    /// and `channel_max` are understood.
    #[serde(deserialize_with = "crate::interpolated::deserialize_url")]
    #[schemars(with = "Secret", extend("contentMediaType" = "text/uri-list"))]
    #[schemars(example = &"amqps://bridge:${file:/run/secrets/amqp}@rabbit:5671/%2f")]
    pub uri: Secret,
    /// The queue to consume. Streams are not supported yet.
    #[schemars(example = &"orders")]
    pub queue: String,
    /// The most unacknowledged messages the broker sends us (`basic.qos`). They are in memory beside those that
    /// `max_in_flight_bytes` counts: choose a smaller number for a queue of large messages.
    #[schemars(range(min = 1, max = 65_535))]
    #[serde(default = "default_prefetch")]
    pub prefetch: u16,
    /// Declares the queue when connecting; without it the queue must exist.
    pub declare: Option<AmqpDeclare>,
    /// Binds the queue to exchanges when connecting. Without it the queue's bindings stay as they are.
    #[serde(default)]
    #[schemars(example = serde_json::json!([{"exchange": "shop", "routing_key": "order.#"}]))]
    pub bind: Vec<AmqpBind>,
    /// The heartbeat asked of the broker, in whole seconds; the broker may choose a shorter one. A connection is given
    /// up after two of them without a sign of life.
    #[serde(default = "default_heartbeat")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "65535s"))]
    pub heartbeat: Period,
    /// The consumer tag, as shown by the broker's management tools. Default: `bridge-<pipeline>-<source>`.
    #[schemars(example = &"bridge-orders")]
    pub consumer_tag: Option<String>,
    /// A PEM file with the certificate authorities to trust. Without it those of the system are.
    #[schemars(example = &"/etc/ssl/rabbitmq-ca.pem")]
    pub ca_file: Option<std::path::PathBuf>,
}

impl AmqpConfig {
    /// The `meta` of an event that nothing was read for: a message without properties that was sent to the queue itself.
    pub fn meta_of_tests(&self) -> Meta {
        meta("", &self.queue, self.queue.as_str().into(), false, &BasicProperties::default())
    }
}

/// How the queue is declared.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpDeclare {
    /// Survives a restart of the broker.
    #[serde(default = "default_true")]
    pub durable: bool,
    /// Used by one connection only, and deleted with it: what is in the queue when the connection ends is lost.
    #[serde(default)]
    pub exclusive: bool,
    /// Deleted when its last consumer goes: what is in the queue when the connection ends is lost.
    #[serde(default)]
    pub auto_delete: bool,
    /// The queue type, `x-queue-type`: `classic` or `quorum`. Default: what the virtual host says, usually `classic`.
    #[serde(rename = "type")]
    #[schemars(example = &"quorum")]
    pub queue_type: Option<String>,
    /// Further arguments, for example `{ x-message-ttl = 60000 }`.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"x-message-ttl": 60000}))]
    pub arguments: Map<String, Value>,
}

/// One binding of the queue.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpBind {
    /// The exchange, which must exist. Every queue is bound to the default exchange already.
    #[schemars(example = &"shop")]
    pub exchange: String,
    /// The routing key or pattern.
    #[serde(default)]
    #[schemars(example = &"order.#")]
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
