//! Brokers as destinations: through the connection settings of a source of that type.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all, try_join_all};

use super::message::message_of;
use super::{Destination, Sent};
use crate::source::amqp::publisher::AmqpPublisher;
use crate::source::kafka::producer::KafkaProducer;
use crate::source::outgoing::SendError;
use crate::store::record::Letter;

/// A destination that can be asked whether it is there.
pub trait BrokerDestination: Destination {
    /// Connects once, sends nothing and changes nothing, for `check --connect`: says what was found.
    ///
    /// # Errors
    /// When a broker does not answer, or does not have what letters are sent to.
    fn probe(&self) -> BoxFuture<'_, Result<String, SendError>>;
}

/// Which connection a letter goes through.
pub struct Connections<T> {
    /// By the source of the letter's event, where that is of the broker's type itself.
    pub by_source: HashMap<Arc<str>, Arc<T>>,
    /// For the events of all others.
    pub otherwise: Arc<T>,
}

impl<T> Connections<T> {
    fn of(&self, letter: &Letter) -> &T {
        self.by_source.get(&letter.core.event.source).unwrap_or(&self.otherwise)
    }

    /// The connections that nobody else has any more.
    fn unshared(self) -> impl Iterator<Item = T> {
        self.by_source.into_values().chain([self.otherwise]).filter_map(Arc::into_inner)
    }

    /// Each connection once.
    fn distinct(&self) -> Vec<&T> {
        let mut distinct: Vec<&Arc<T>> = Vec::new();
        for connection in self.by_source.values().chain([&self.otherwise]) {
            if !distinct.iter().any(|known| Arc::ptr_eq(known, connection)) {
                distinct.push(connection);
            }
        }
        distinct.into_iter().map(Arc::as_ref).collect()
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

    fn release(self: Arc<Self>) -> BoxFuture<'static, ()> {
        let producers = Arc::into_inner(self).into_iter().flat_map(|last| last.connections.unshared());
        join_all(producers.map(KafkaProducer::close)).map(drop).boxed()
    }
}

impl BrokerDestination for KafkaTopic {
    fn probe(&self) -> BoxFuture<'_, Result<String, SendError>> {
        let probes = self.connections.distinct().into_iter().map(|producer| producer.probe(&self.topic));
        try_join_all(probes).map(|found| found.map(|found| found.join("; "))).boxed()
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

    fn release(self: Arc<Self>) -> BoxFuture<'static, ()> {
        let publishers = Arc::into_inner(self).into_iter().flat_map(|last| last.connections.unshared());
        join_all(publishers.map(AmqpPublisher::close)).map(drop).boxed()
    }
}

impl BrokerDestination for AmqpExchange {
    fn probe(&self) -> BoxFuture<'_, Result<String, SendError>> {
        let publishers = self.connections.distinct().into_iter();
        let probes = publishers.map(|publisher| publisher.probe(&self.exchange, &self.routing_key));
        try_join_all(probes).map(|found| found.map(|found| found.join("; "))).boxed()
    }
}
