//! Brokers as destinations: through the connection settings of a source of that type.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::message::message_of;
use super::{Destination, Sent};
use crate::source::amqp::publisher::AmqpPublisher;
use crate::source::kafka::producer::KafkaProducer;
use crate::store::record::Letter;

/// Which connection a letter goes through.
pub struct Connections<T> {
    /// By the source of the letter's event, where that is of the broker's type itself.
    pub by_source: HashMap<Arc<str>, Arc<T>>,
    /// For the events of all others.
    pub otherwise: Arc<T>,
}

impl<T> Connections<T> {
    fn of(&self, letter: &Letter) -> &T {
        self.by_source.get(&letter.event.source).unwrap_or(&self.otherwise)
    }
}

/// `dead_letter = "kafka:topic"`
pub struct KafkaTopic {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// Where to connect.
    pub connections: Connections<KafkaProducer>,
    /// The topic to write to.
    pub topic: String,
}

impl Destination for KafkaTopic {
    fn send<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Sent> {
        let message = message_of(letter, &self.pipeline);
        async move { self.connections.of(letter).send(&self.topic, &message).await }.boxed()
    }
}

/// `dead_letter = "amqp:exchange/routing-key"`
pub struct AmqpExchange {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// Where to connect.
    pub connections: Connections<AmqpPublisher>,
    /// The exchange to publish to; empty is the default one.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
}

impl Destination for AmqpExchange {
    fn send<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Sent> {
        let message = message_of(letter, &self.pipeline);
        let publisher = self.connections.of(letter);
        async move { publisher.send(&self.exchange, &self.routing_key, &message).await }.boxed()
    }
}
