//! Publishes messages to the broker that a source reads from, with the source's own connection settings.
//!
//! A message counts as sent when the broker has confirmed it and has not returned it: it is `mandatory`, as the broker
//! would confirm and drop one that no queue takes. Must not decide what follows a failure.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};
use serde_json::Map;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::config::AmqpConfig;
use super::connection::Connection;
use super::error::FailureKind;
use super::fields;
use super::settings::Settings;
use crate::descriptors::{self, Budget, KeptBack};
use crate::problem::Problem;
use crate::source::SourceContext;
use crate::source::outgoing::{OutgoingMessage, SendError};

/// The longest time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for one message, from a channel to the broker's confirmation.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time for a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a broker that could not be reached is not tried again, however many messages wait for it.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Messages under way at once.
const CHANNELS: usize = 16;
/// The delivery mode of messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// A publisher with the connection settings of one source. It connects when the first message is sent.
///
/// A channel carries one message at a time: lapin takes a returned message for the one whose confirmation comes next,
/// which with several under way need not be the one that was returned.
pub struct AmqpPublisher {
    settings: Settings,
    state: Mutex<PublisherState>,
    channels: Semaphore,
    _kept_back: KeptBack,
}

#[derive(Default)]
struct PublisherState {
    connection: Option<Connection>,
    idle: Vec<Channel>,
    /// Why the last attempt to connect failed, and when the next may be made.
    refused: Option<(SendError, Instant)>,
}

impl AmqpPublisher {
    /// Checks the settings. Connects to nothing.
    ///
    /// # Errors
    /// Those of the source.
    pub fn new(context: &SourceContext, config: &AmqpConfig) -> Result<Self, Vec<Problem>> {
        let mut settings = Settings::new(context, config)?;
        settings.connection_name.push_str(" (dead letters)");
        let kept_back = Budget::of_process().keep_back(descriptors::AMQP);
        let (state, channels) = (Mutex::default(), Semaphore::new(CHANNELS));
        Ok(Self { settings, state, channels, _kept_back: kept_back })
    }

    /// Publishes a message, and returns once the broker has taken it over. An empty `exchange` is the default one,
    /// whose routing keys are the names of queues.
    ///
    /// # Errors
    /// When that is not known: the broker is away, there is no such exchange, or no queue takes the message.
    pub async fn send(&self, exchange: &str, routing_key: &str, message: &OutgoingMessage) -> Result<(), SendError> {
        let _permit = self.channels.acquire().await.map_err(SendError::new)?;
        let channel = self.channel().await?;
        let published = timeout(PUBLISH_TIMEOUT, publish(&channel, exchange, routing_key, message));
        let confirmation = match published.await {
            Ok(confirmation) => {
                confirmation.map_err(|error| SendError::new(FailureKind::operation("publish", &error)))?
            }
            Err(_) => return Err(SendError::new(FailureKind::Timeout(PUBLISH_TIMEOUT))),
        };
        // Only a channel on which everything is accounted for is used again.
        self.state.lock().await.idle.push(channel);
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(SendError::new(format!(
                "exchange \"{exchange}\" has no queue for the routing key \"{routing_key}\""
            ))),
            Confirmation::Nack(_) => Err(SendError::new("the broker could not take the message over")),
            Confirmation::NotRequested => Err(SendError::new("the broker does not confirm messages")),
        }
    }

    /// Closes the connection in order, if there is one. Takes a few seconds at most.
    pub async fn close(self) {
        if let Some(connection) = self.state.into_inner().connection {
            connection.close().await;
        }
    }

    /// Asks over a connection of its own whether the exchange is there, or for the default one the queue. Publishes
    /// nothing and declares nothing.
    ///
    /// # Errors
    /// When the broker does not answer, or does not have it.
    pub async fn probe(&self, exchange: &str, routing_key: &str) -> Result<String, SendError> {
        let broker = &self.settings.broker;
        let probing = async {
            let connection = Connection::open(&self.settings, PROBE_TIMEOUT).await?;
            let found = look_for(&connection.open_channel().await?, exchange, routing_key).await;
            connection.close().await;
            found
        };
        let found = timeout(PROBE_TIMEOUT, probing).await.unwrap_or(Err(FailureKind::Timeout(PROBE_TIMEOUT)));
        found.map(|found| format!("{broker}: {found}")).map_err(|fault| SendError::new(format!("{broker}: {fault}")))
    }

    async fn channel(&self) -> Result<Channel, SendError> {
        let mut state = self.state.lock().await;
        state.idle.retain(|channel| channel.status().connected());
        if let Some(channel) = state.idle.pop() {
            return Ok(channel);
        }
        if let Some((error, until)) = &state.refused
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match self.open_channel(&mut state.connection).await {
            Ok(channel) => {
                state.refused = None;
                Ok(channel)
            }
            Err(fault) => {
                let error = SendError::new(format!("{}: {fault}", self.settings.broker));
                state.refused = Some((error.clone(), Instant::now() + TRY_AGAIN_AFTER));
                Err(error)
            }
        }
    }

    async fn open_channel(&self, connection: &mut Option<Connection>) -> Result<Channel, FailureKind> {
        if !connection.as_ref().is_some_and(Connection::is_open) {
            *connection = None;
        }
        let connection = match connection {
            Some(connection) => connection,
            None => {
                let opened = Connection::open(&self.settings, CONNECT_TIMEOUT).await?;
                info!(broker = %self.settings.broker, "connected, to send dead letters");
                connection.insert(opened)
            }
        };
        let opening = async {
            let channel = connection.open_channel().await?;
            let confirmed = channel.confirm_select(ConfirmSelectOptions::default()).await;
            confirmed.map_err(|error| FailureKind::operation("ask for confirmations", &error))?;
            Ok(channel)
        };
        timeout(CONNECT_TIMEOUT, opening).await.unwrap_or(Err(FailureKind::Timeout(CONNECT_TIMEOUT)))
    }
}

/// Passive declarations: they only ask, and the user needs no permission for them.
async fn look_for(channel: &Channel, exchange: &str, routing_key: &str) -> Result<String, FailureKind> {
    let nothing = FieldTable::default;
    if exchange.is_empty() {
        let queue = channel.queue_declare(routing_key.into(), QueueDeclareOptions::default().passive(), nothing());
        let queue = queue.await.map_err(|error| FailureKind::operation("find the queue", &error))?;
        return Ok(format!("queue \"{routing_key}\" is there, with {} messages ready", queue.message_count()));
    }
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    // A passive declaration does not compare the kind.
    let found = channel.exchange_declare(exchange.into(), ExchangeKind::Direct, options, nothing());
    found.await.map_err(|error| FailureKind::operation("find the exchange", &error))?;
    Ok(format!("exchange \"{exchange}\" is there; whether a queue takes what is sent to it cannot be asked"))
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    routing_key: &str,
    message: &OutgoingMessage,
) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let payload = message.payload.as_deref().unwrap_or_default();
    // Both names were checked when the pipeline was loaded.
    let published =
        channel.basic_publish(exchange.into(), routing_key.into(), options, payload, properties(message)).await?;
    published.await
}

/// What a message says of itself. Names in AMQP have 255 bytes at most; what is longer cannot be sent and is left out.
fn properties(message: &OutgoingMessage) -> BasicProperties {
    let mut headers = Map::new();
    for (name, value) in &message.headers {
        if ShortString::try_new(name.as_str()).is_ok() {
            headers.insert(name.clone(), value.clone());
        } else {
            warn!(event = %message.id, "a header whose name is longer than 255 bytes is left out of the message");
        }
    }
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let Ok(table) = fields::table_from_json(&headers) {
        properties = properties.with_headers(table);
    }
    if let Ok(id) = ShortString::try_new(message.id.as_str()) {
        properties = properties.with_message_id(id);
    }
    match message.content_type.as_deref().map(ShortString::try_new) {
        Some(Ok(content_type)) => properties.with_content_type(content_type),
        _ => properties,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(headers: Vec<(String, serde_json::Value)>) -> OutgoingMessage {
        let content_type = Some("application/json".to_owned());
        OutgoingMessage { id: "m-1".into(), key: None, headers, payload: None, content_type }
    }

    #[test]
    fn a_message_is_persistent_and_says_what_it_is() {
        let properties = properties(&message(vec![("bridge-reason".into(), json!("rejected"))]));
        assert_eq!(properties.delivery_mode(), &Some(PERSISTENT));
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "m-1");
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
        let headers: Vec<_> = fields::table_to_json(properties.headers().as_ref().unwrap()).collect();
        assert_eq!(headers, [("bridge-reason".to_owned(), json!("rejected"))]);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_rest_is_sent() {
        let long = "x".repeat(256);
        let mut message = message(vec![(long.clone(), json!(1)), ("short".into(), json!(2))]);
        message.id = long;
        let properties = properties(&message);
        assert!(properties.message_id().is_none());
        let headers: Vec<_> = fields::table_to_json(properties.headers().as_ref().unwrap()).collect();
        assert_eq!(headers, [("short".to_owned(), json!(2))]);
    }
}
