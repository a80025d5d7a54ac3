//! One consumer on one channel, from its queue's declaration to its last acknowledgement.

use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer, Queue};
use tokio::time::timeout;

use super::acknowledgements::Acknowledgements;
use super::connection::Connection;
use super::error::FailureKind;
use super::settings::{Declaration, Settings};
use super::shared::SharedConnection;

/// The longest time for connecting, from the name lookup to the consumer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for cancelling the consumer.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// A header of messages that have come back to a quorum queue before. Only brokers have it that count failed deliveries
/// apart from those that were given back (RabbitMQ 4.3 and later).
const ACQUIRED_COUNT: &str = "x-acquired-count";

/// A running consumer. All its messages came over one channel, so one account of acknowledgements is enough.
#[derive(Debug)]
pub(super) struct Session {
    connection: SharedConnection,
    consumer: Consumer,
    queue: ShortString,
    acknowledgements: Acknowledgements,
    /// The consumer was cancelled: no more messages arrive.
    is_cancelled: bool,
    /// The highest delivery tag received.
    received: u64,
    /// The broker tells apart what is given back from what has failed.
    knows_given_back: bool,
}

impl Session {
    /// Connects, declares and binds the queue as asked, and starts to consume. Returns the number of messages that
    /// were ready in the queue, too. With `alone` the connection is shared with no other source.
    pub(super) async fn open(settings: &Settings, alone: bool) -> Result<(Self, u64), FailureKind> {
        let starting = async {
            let connection = SharedConnection::open(settings, alone, CONNECT_TIMEOUT).await?;
            let channel = connection.channel();
            let queue = match &settings.declare {
                Some(declaration) => declare(channel, &settings.queue, declaration).await,
                None => existing_queue(channel, &settings.queue).await,
            }?;
            bind(channel, settings).await?;
            let consumer = consume(channel, settings).await?;
            let session = Self {
                connection,
                consumer,
                queue: settings.queue.clone(),
                acknowledgements: Acknowledgements::default(),
                is_cancelled: false,
                received: 0,
                knows_given_back: false,
            };
            Ok((session, u64::from(queue.message_count())))
        };
        timeout(CONNECT_TIMEOUT, starting).await.unwrap_or(Err(FailureKind::Timeout(CONNECT_TIMEOUT)))
    }

    /// The next message. Cancel safe: lapin's consumer gives a message out only when it returns it.
    pub(super) async fn next(&mut self) -> Result<Delivery, FailureKind> {
        loop {
            match self.consumer.next().await {
                // What is left in the buffer of a channel that is gone can no longer be acknowledged, and the broker
                // delivers it again: reading it now would only deliver it twice.
                Some(Ok(delivery)) if delivery.acker.poisoned() => {}
                Some(Ok(delivery)) => {
                    if self.received == 0 {
                        warn_of_a_stream(&delivery, &self.queue);
                    }
                    self.received = delivery.delivery_tag;
                    self.knows_given_back |= has_header(&delivery, ACQUIRED_COUNT);
                    return Ok(delivery);
                }
                Some(Err(error)) => return Err(FailureKind::lost(&error)),
                None => return Err(FailureKind::Cancelled),
            }
        }
    }

    /// A message that is here already.
    pub(super) fn next_buffered(&mut self) -> Option<Result<Delivery, FailureKind>> {
        self.next().now_or_never()
    }

    /// Acknowledges all messages up to the watermark at once, and those above it one by one. Waits until the
    /// acknowledgements are handed to the network; AMQP has no answer to them.
    pub(super) async fn acknowledge(&mut self, watermark: Option<u64>, above: &[u64]) -> Result<(), FailureKind> {
        let channel = self.connection.channel();
        if !channel.status().connected() {
            return Err(FailureKind::Lost("acknowledgements could not be sent".into()));
        }
        let up_to = watermark.and_then(|tag| self.acknowledgements.up_to(tag)).map(|tag| (tag, true));
        let single = above.iter().filter(|tag| self.acknowledgements.one(**tag)).map(|tag| (*tag, false));
        let acks =
            up_to.into_iter().chain(single).map(|(tag, multiple)| channel.basic_ack(tag, BasicAckOptions { multiple }));
        try_join_all(acks).await.map(|_| ()).map_err(|error| FailureKind::lost(&error))
    }

    /// How many messages were received and not acknowledged: the broker will deliver them again.
    pub(super) fn outstanding(&self) -> u64 {
        self.acknowledgements.outstanding(self.received)
    }

    /// Asks how many messages are ready in the queue. The future owns what it needs, so that it can be kept.
    pub(super) fn count_ready(&self) -> BoxFuture<'static, Result<u64, FailureKind>> {
        let (channel, queue) = (self.connection.channel().clone(), self.queue.clone());
        async move { existing_queue(&channel, &queue).await.map(|queue| u64::from(queue.message_count())) }.boxed()
    }

    /// Cancels the consumer and gives back all that was not acknowledged, also what waits in lapin's buffer: at the end of
    /// a run that is no failure. The close of a channel counts against the delivery limit of a quorum queue, and so does all
    /// else before RabbitMQ 4.3; from there on a `basic.nack` does not. Elsewhere there must be none: an older quorum queue
    /// without a limit puts what it is given back behind its other messages, and what the close of a channel gives back in
    /// front of them.
    pub(super) async fn give_back(&mut self) {
        self.cancel().await;
        let channel = self.connection.channel();
        if !self.knows_given_back || !channel.status().connected() {
            return;
        }
        // The tag 0 stands for all messages.
        let given_back = channel.basic_nack(0, BasicNackOptions { multiple: true, requeue: true });
        if !matches!(timeout(CANCEL_TIMEOUT, given_back).await, Ok(Ok(()))) {
            tracing::debug!("messages could not be given back in order");
        }
    }

    /// Cancels the consumer, so that no more messages arrive, and closes its channel; the last source on a connection closes
    /// that, too. Takes a few seconds at most.
    pub(super) async fn close(mut self) {
        self.cancel().await;
        self.connection.close().await;
    }

    async fn cancel(&mut self) {
        let channel = self.connection.channel();
        if std::mem::replace(&mut self.is_cancelled, true) || !channel.status().connected() {
            return;
        }
        let cancelled = channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        if !matches!(timeout(CANCEL_TIMEOUT, cancelled).await, Ok(Ok(()))) {
            tracing::debug!("the consumer could not be cancelled in order");
        }
    }
}

fn has_header(delivery: &Delivery, name: &str) -> bool {
    delivery.properties.headers().as_ref().is_some_and(|headers| headers.contains_key(name))
}

/// AMQP cannot be asked for a queue's type, and a message that came through a stream on its way here looks the same as
/// one from a stream: so this can be no error.
fn warn_of_a_stream(delivery: &Delivery, queue: &ShortString) {
    if has_header(delivery, "x-stream-offset") {
        tracing::warn!(%queue, "messages carry x-stream-offset: should this queue be a stream, then what is published to \
            it while the bridge is not connected is NOT read; streams are not supported");
    }
}

/// Says what is there, without taking anything and without declaring anything.
pub(super) async fn probe(settings: &Settings, limit: Duration) -> Result<String, FailureKind> {
    let probing = async {
        let connection = Connection::open(settings, limit).await?;
        let found = existing_queue(&connection.open_channel().await?, &settings.queue).await;
        connection.close().await;
        match found {
            Ok(queue) => Ok(format!(
                "queue \"{}\" on {}: {} messages ready, {} consumers",
                settings.queue,
                settings.broker,
                queue.message_count(),
                queue.consumer_count()
            )),
            Err(FailureKind::QueueMissing) if settings.declare.is_some() => Ok(format!(
                "{} answers; queue \"{}\" is not there yet and will be declared",
                settings.broker, settings.queue
            )),
            Err(fault) => Err(fault),
        }
    };
    timeout(limit, probing).await.unwrap_or(Err(FailureKind::Timeout(limit)))
}

async fn declare(channel: &Channel, queue: &ShortString, declaration: &Declaration) -> Result<Queue, FailureKind> {
    let options = QueueDeclareOptions {
        durable: declaration.durable,
        exclusive: declaration.exclusive,
        auto_delete: declaration.auto_delete,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.clone(), options, declaration.arguments.clone()).await;
    declared.map_err(|error| FailureKind::declare(&error))
}

/// A passive declaration: it only asks, and the user needs no permission for it.
async fn existing_queue(channel: &Channel, queue: &ShortString) -> Result<Queue, FailureKind> {
    let options = QueueDeclareOptions::default().passive();
    let found = channel.queue_declare(queue.clone(), options, FieldTable::default()).await;
    found.map_err(|error| FailureKind::declare(&error))
}

async fn bind(channel: &Channel, settings: &Settings) -> Result<(), FailureKind> {
    for binding in &settings.bindings {
        let (queue, exchange, key) = (settings.queue.clone(), binding.exchange.clone(), binding.routing_key.clone());
        let bound = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await;
        bound.map_err(|error| FailureKind::bind(binding.exchange.as_str(), &error))?;
    }
    Ok(())
}

async fn consume(channel: &Channel, settings: &Settings) -> Result<Consumer, FailureKind> {
    let qos = channel.basic_qos(settings.prefetch, BasicQosOptions::default()).await;
    qos.map_err(|error| FailureKind::operation("set the prefetch", &error))?;
    let (queue, tag) = (settings.queue.clone(), settings.consumer_tag.clone());
    let consumer = channel.basic_consume(queue, tag, BasicConsumeOptions::default(), FieldTable::default()).await;
    consumer.map_err(|error| FailureKind::operation("consume", &error))
}
