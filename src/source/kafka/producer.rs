//! Writes messages to topics of the cluster that a source reads from, with the source's own connection settings.
//!
//! A message counts as written when all in-sync replicas have it (`acks=all`); librdkafka's idempotence keeps its own
//! retries from writing it twice. Must not decide what follows a failure.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use serde_json::Value;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::config::KafkaConfig;
use super::group::LOG_TARGET;
use super::probe;
use crate::descriptors::{self, Budget, KeptBack};
use crate::off_worker::{Answer, on_own_thread};
use crate::problem::Problem;
use crate::secret::mask;
use crate::source::outgoing::{OutgoingMessage, SendError};

/// The longest time for ending a producer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

type Producer = FutureProducer<ProducerContext>;

/// A producer with the connection settings of one source. It connects when the first message is sent, and has one
/// thread of its own from then on.
pub struct KafkaProducer {
    source: Arc<str>,
    config: ClientConfig,
    producer: Mutex<Option<Producer>>,
    failure: LastFailure,
    _kept_back: KeptBack,
}

impl KafkaProducer {
    /// Checks the settings. Connects to nothing. `source` names the source in the log.
    ///
    /// # Errors
    /// What of the source's options does not go together with writing.
    pub fn new(source: Arc<str>, config: &KafkaConfig) -> Result<Self, Problem> {
        let client = config.producer_config();
        // A client that signs in by OIDC asks for its token at once, broker or not.
        if !config.uses_oidc() {
            let mut unconnected = client.clone();
            unconnected.remove("bootstrap.servers");
            let created = create(&unconnected, &source, LastFailure::default());
            created.map(drop).map_err(|error| match error {
                KafkaError::ClientCreation(message) => config.blamed_on_an_option(&message),
                error => Problem::new(["options"], error),
            })?;
        }
        let kept_back = Budget::of_process().keep_back(descriptors::KAFKA_PRODUCER);
        let (producer, failure) = (Mutex::default(), LastFailure::default());
        Ok(Self { source, config: client, producer, failure, _kept_back: kept_back })
    }

    /// Writes a message, and returns once all in-sync replicas have it.
    ///
    /// # Errors
    /// When that is not known: the broker is away, refuses the message, or has not confirmed it in time.
    pub async fn send(&self, topic: &str, message: &OutgoingMessage) -> Result<(), SendError> {
        let producer = self.producer().map_err(SendError::new)?;
        let mut record = FutureRecord::<str, [u8]>::to(topic).headers(headers(message));
        record.key = message.key.as_deref();
        record.payload = message.payload.as_deref();
        let confirmed = match producer.send_result(record) {
            Ok(confirmed) => {
                confirmed.await.map_err(|_| SendError::new("the producer ended before it was confirmed"))?
            }
            Err((error, _)) => return Err(self.explain(&producer, &error)),
        };
        confirmed.map(drop).map_err(|(error, _)| self.explain(&producer, &error))
    }

    /// Ends the producer, if there is one. What is not confirmed by now is given up. Takes a few seconds at most.
    pub async fn close(self) {
        if let Some(ended) = self.discard()
            && timeout(CLOSE_TIMEOUT, ended).await.is_err()
        {
            debug!(source = %self.source, "the Kafka producer has not ended within {CLOSE_TIMEOUT:?}");
        }
    }

    /// Asks which brokers there are and whether the topic is. Writes nothing, and does not create the topic.
    ///
    /// # Errors
    /// When no broker answers in time, or the topic cannot be written to.
    pub async fn probe(&self, topic: &str) -> Result<String, SendError> {
        let mut config = self.config.clone();
        // A producer that asks for a topic would have it created, where the brokers allow that.
        config.set("allow.auto.create.topics", "false");
        let failure = LastFailure::default();
        let producer = create(&config, &self.source, failure.clone()).map_err(SendError::new)?;
        let name = topic.to_owned();
        let look = on_own_thread(move || {
            probe::look_for_topic(producer.client(), &name).map_err(|error| match (error, failure.get()) {
                (probe::TopicError::Silent(_), Some(reason)) => format!("no Kafka broker has answered: {reason}"),
                (error, _) => error.to_string(),
            })
        });
        look.await.map_err(SendError::new)?.map_err(SendError::new)
    }

    fn explain(&self, producer: &Producer, error: &KafkaError) -> SendError {
        if let Some((_, reason)) = producer.client().fatal_error() {
            // Nothing can be sent with it any more; the next message gets a new one.
            self.discard();
            return SendError::new(format!("librdkafka has given up: {reason}"));
        }
        let code = error.rdkafka_error_code();
        let timed_out = code == Some(RDKafkaErrorCode::MessageTimedOut);
        match self.failure.get() {
            Some(reason) if timed_out => SendError::new(format!("not confirmed in time: {reason}")),
            _ => SendError::new(code.map_or_else(|| error.to_string(), |code| code.to_string())),
        }
    }

    fn producer(&self) -> Result<Producer, KafkaError> {
        let mut producer = self.lock();
        if let Some(producer) = producer.as_ref() {
            return Ok(producer.clone());
        }
        Ok(producer.insert(create(&self.config, &self.source, self.failure.clone())?).clone())
    }

    /// Dropping a producer waits for its thread. Gives where its end is heard of.
    fn discard(&self) -> Option<Answer<()>> {
        let producer = self.lock().take()?;
        Some(on_own_thread(move || drop(producer)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Producer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        self.discard();
    }
}

fn create(config: &ClientConfig, source: &Arc<str>, failure: LastFailure) -> Result<Producer, KafkaError> {
    config.create_with_context(ProducerContext { source: Arc::clone(source), failure })
}

/// The last error of the connection: librdkafka only says of a message that it timed out, and here why.
#[derive(Clone, Default)]
struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// The headers of a record: text as it is, other values as JSON. The content type is one of them in Kafka.
fn headers(message: &OutgoingMessage) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(message.headers.len() + 1);
    for (name, value) in &message.headers {
        let text = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        headers = headers.insert(Header { key: name, value: text.as_deref() });
    }
    let has_content_type = message.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    match &message.content_type {
        Some(content_type) if !has_content_type => {
            headers.insert(Header { key: "content-type", value: Some(content_type.as_str()) })
        }
        _ => headers,
    }
}

/// Hears what librdkafka has to say of the connection.
struct ProducerContext {
    source: Arc<str>,
    failure: LastFailure,
}

impl ClientContext for ProducerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let (source, message) = (&self.source, mask(message));
        match (level, facility) {
            // Errors arrive as such, and the source's options for reading are of no use to a producer, as is meant.
            (_, "FAIL" | "ERROR" | "CONFWARN") | (RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info, _) => {
                debug!(target: LOG_TARGET, %source, "{facility}: {message}");
            }
            (RDKafkaLogLevel::Notice, _) => info!(target: LOG_TARGET, %source, "{facility}: {message}"),
            _ => warn!(target: LOG_TARGET, %source, "{facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = mask(reason);
        debug!(target: LOG_TARGET, source = %self.source, "{error}: {reason}");
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.failure.set(reason.into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::Headers as _;
    use serde_json::json;

    fn config(options: Value) -> KafkaConfig {
        let config = json!({"brokers": ["127.0.0.1:9"], "topics": ["orders"], "options": options});
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn options_for_reading_are_no_hindrance_and_those_that_clash_are_named() {
        assert!(KafkaProducer::new("orders".into(), &config(json!({"fetch.min.bytes": "10"}))).is_ok());
        let clash = config(json!({"max.in.flight.requests.per.connection": "100"}));
        let problem = KafkaProducer::new("orders".into(), &clash).err().unwrap();
        assert_eq!(problem.path[0], "options");
        assert!(problem.message.contains("max.in.flight"), "{problem}");
    }

    #[test]
    fn headers_are_text_or_json_or_nothing() {
        let message = OutgoingMessage {
            id: "orders/0/1".into(),
            key: None,
            headers: vec![("a".into(), json!("text")), ("b".into(), json!({"n": 1})), ("c".into(), Value::Null)],
            payload: None,
            content_type: Some("text/csv".into()),
        };
        let headers = headers(&message);
        let shown: Vec<_> = headers.iter().map(|header| (header.key, header.value)).collect();
        let expected: [(&str, Option<&[u8]>); 4] =
            [("a", Some(b"text")), ("b", Some(br#"{"n":1}"#)), ("c", None), ("content-type", Some(b"text/csv"))];
        assert_eq!(shown, expected);
    }
}
