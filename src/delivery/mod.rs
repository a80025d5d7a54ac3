//! Deliveries: from a sink's queue to an outcome.
//!
//! [`worker`] is the loop; [`schedule`], [`rate_limit`], [`retry`] and [`responses`] are the decisions it follows, pure
//! and without I/O. A delivery that waits holds no connection and no slot, and every attempt passes the rate limit. It
//! does hold its memory and its place among its source's events in flight: there is no store for waiting deliveries
//! yet.

mod dead_letter;
mod health;
pub mod rate_limit;
pub mod responses;
pub mod retry;
pub mod schedule;
pub mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::ack::Ack;
use crate::event::Event;
use crate::sink::request::Request;
use crate::sink::signing::webhook_id;
use crate::store::dead_letters::AnswerRecord;

use rate_limit::RateLimitConfig;
use responses::Action;
use retry::RetryConfig;

/// Keys that every sink has, beside those of its type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Names of sources or filters whose events come in; `<filter>.unmatched` takes what a filter turns away.
    #[schemars(length(min = 1))]
    pub from: Vec<String>,
    /// Attempts under way at the same time, at most. A delivery that waits is not under way.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1))]
    pub concurrency: usize,
    /// When and how often a failed attempt is repeated.
    #[serde(default)]
    pub retry: RetryConfig,
    /// How many attempts may start in a time, retries included. Without it there is no limit.
    pub rate_limit: Option<RateLimitConfig>,
    /// What an answer's status means, where it differs from the defaults: `2xx` delivered; `408 425 429 5xx` retry;
    /// `410` disable; all others dead-letter. Keys are a status (`"409"`) or a class (`"4xx"`).
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[1-5]([xX]{2}|[0-9]{2})$" }))]
    pub responses: BTreeMap<String, Action>,
}

/// One event for one sink.
#[derive(Debug)]
pub struct Delivery {
    /// The event.
    pub event: Arc<Event>,
    /// What every attempt sends.
    pub request: Request,
    /// The `webhook-id` of every attempt.
    pub webhook_id: HeaderValue,
    /// The rate limit's bucket.
    pub bucket: schedule::BucketName,
    /// Settles when the delivery has ended.
    pub ack: Ack,
    /// Attempts made.
    pub attempts: u32,
    /// When the first attempt began.
    pub first_attempt: Option<Instant>,
    /// How the last attempt failed.
    pub last_answer: Option<AnswerRecord>,
}

/// A receiver may ask for a longer pause than this in vain: it must not be able to silence a sink for good.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 24 * 3600);

impl Delivery {
    /// A delivery of which no attempt has been made.
    pub fn new(event: Arc<Event>, request: Request, bucket: schedule::BucketName, ack: Ack) -> Self {
        // `webhook_id` makes every id fit for a header; an empty one would still be delivered.
        let webhook_id = HeaderValue::try_from(webhook_id(&event.id)).unwrap_or(HeaderValue::from_static(""));
        Self { event, request, webhook_id, bucket, ack, attempts: 0, first_attempt: None, last_answer: None }
    }
}

fn default_concurrency() -> usize {
    32
}
