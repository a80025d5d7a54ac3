//! Deliveries: from a sink's queue to an outcome.
//!
//! [`worker`] is the loop, and carries out what `step` says is next for a delivery. An `attempt` is one request for
//! deliveries that are due; what it was worth, the sink says in its [verdict](crate::sink::verdict). `parking` is the
//! store as the worker uses it, [`control`] what the worker is given and told. `step`, [`schedule`], [`rate_limit`],
//! [`breaker`], [`lane`], [`retry`], `claims`, `long_pauses` and `shortage` are the decisions it follows, pure and without
//! I/O. A delivery that waits holds no connection and no slot, and every attempt passes the rate limit and the breaker. A
//! short wait is spent in memory, a long one in the store, and then the delivery holds no place among its source's events
//! in flight either.

mod attempt;
pub mod breaker;
mod claims;
pub mod control;
pub mod dead_letter;
mod failure_log;
pub mod lane;
mod long_pauses;
mod parking;
pub mod policies;
pub mod rate_limit;
pub mod retry;
pub mod schedule;
mod shortage;
mod step;
pub mod stored;
pub mod unprocessed;
pub mod worker;

use std::collections::BTreeMap;

use reqwest::header::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ack::Ack;
use crate::jq::ValueText;
use crate::sink::parts::webhook_id;
use crate::sink::request::Request;
use crate::sink::responses::Meaning;
use crate::store::record::DeliveryCore;

use breaker::BreakerConfig;
use rate_limit::RateLimitConfig;
use retry::RetryConfig;
use tokio::time::Instant;
use unprocessed::Unprocessed;

/// Keys that every sink has, beside those of its type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Names of sources or filters whose events come in; `<filter>.unmatched` takes what a filter turns away. Only a
    /// sink that a `dead_letter` names can do without.
    #[serde(default)]
    #[schemars(length(min = 1))]
    #[schemars(example = ["paid"])]
    pub from: Vec<String>,
    /// Attempts under way at the same time, at most. A delivery that waits is not under way.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// When and how often a failed attempt is repeated.
    #[serde(default)]
    pub retry: RetryConfig,
    /// How many attempts may start in a time, retries included. Without it there is no limit.
    pub rate_limit: Option<RateLimitConfig>,
    /// A template over the envelope, for example `{{data.customer.id}}`: deliveries for which it gives the same text go
    /// one at a time, in the order of their source. `{ jq = "…" }` is a program in its place. Without it all go in parallel.
    #[schemars(example = &"{{data.customer.id}}")]
    pub order_by: Option<ValueText>,
    /// When attempts stop for a while because the receiver fails.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// Where dead letters are sent before they go into the store: `"kafka:topic"`, `"amqp:exchange/routing-key"`
    /// (`"amqp:/queue"` for a queue), or another sink's name. A broker is reached through the connection of the event's
    /// own source if that is of its type, otherwise of the only source that is; `"kafka@SOURCE:topic"` names one.
    /// Without it they go into the store only.
    ///
    /// The templates of that sink see `meta.dead_letter`, with `node`, `reason`, `message`, `attempts` and `format`. A
    /// payload that cannot be read as its source's `format` is `data` all the same, as a string: its text, or base64
    /// where it is no text. `meta.dead_letter.format` says what `data` is: `json`, `text` or `bytes`.
    #[schemars(example = &"kafka:orders-dead")]
    pub dead_letter: Option<String>,
    /// What an answer means, where it differs from the defaults: `2xx` delivered; `408 425 429 5xx` retry; `410` disable;
    /// all others dead-letter. Keys are a status (`"409"`) or a class (`"4xx"`).
    ///
    /// An array in the place of a word looks at the body: the first rule that holds decides, and the word at the end where
    /// none does: `"2xx" = [{ when = "$.errors == true", is = "retry" }, "delivered"]`. Without a word at the end the status
    /// then means what it means by default. For a body that is not JSON, is larger than `max_response_size` or broke off,
    /// no rule holds; the reason in the log and in the dead letter says so. The words are:
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[1-5]([xX]{2}|[0-9]{2})$" }))]
    #[schemars(example = serde_json::json!({"409": "delivered", "404": "drop"}))]
    pub responses: BTreeMap<String, Meaning>,
}

/// A delivery in the memory of its sink.
#[derive(Debug)]
pub struct Delivery {
    /// What it is. It has a row when it came from the store.
    pub core: DeliveryCore,
    /// What every attempt sends.
    pub request: Request,
    /// The `webhook-id` of every attempt.
    pub webhook_id: HeaderValue,
    /// When it came to the sink.
    pub since: Instant,
    /// Settles when the delivery has ended or is parked; `None` when that is done.
    pub ack: Option<Ack>,
    /// Requests that were no attempts, as the receiver has not processed them.
    pub unprocessed: Unprocessed,
}

/// Several deliveries, in the boxes in which they came and go on.
type Deliveries = Vec<Box<Delivery>>;

impl Delivery {
    /// A delivery that came to its sink at `since`. The ack settles once it has ended or is parked; what comes from the
    /// store has none.
    pub fn new(core: DeliveryCore, request: Request, ack: Option<Ack>, since: Instant) -> Self {
        // `webhook_id` makes every id fit for a header; an empty one would still be delivered.
        let webhook_id = HeaderValue::try_from(webhook_id(&core.event.id)).unwrap_or(HeaderValue::from_static(""));
        Self { core, request, webhook_id, since, ack, unprocessed: Unprocessed::default() }
    }
}

fn default_concurrency() -> usize {
    32
}
