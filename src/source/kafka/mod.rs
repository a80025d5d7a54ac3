//! The Kafka connector: a consumer group member on librdkafka.
//!
//! - [`config`]: the keys, what librdkafka gets, and all checks that need no broker; `options`: librdkafka's options
//! - `session`: one membership: what is read, paused, committed and given back
//! - `member`: librdkafka's consumer and its calls that block
//! - `group`: librdkafka's callbacks; `positions`: the group's positions, as the broker keeps them
//! - [`producer`]: messages written with the source's connection settings
//! - `assignment`: the account of partitions, `health`: what to say of brokers, `record`: messages to events
//!
//! librdkafka reconnects by itself, so a broker that goes away ends nothing here: it is logged, and reading goes on
//! when it is back. Only errors that librdkafka calls fatal, and brokers that are away at the start, reach the driver.

mod assignment;
pub mod config;
mod group;
mod health;
mod member;
mod options;
mod positions;
mod probe;
pub mod producer;
mod record;
mod session;

use rdkafka::ClientConfig;

use self::assignment::TopicPartition;
use self::session::{Session, Topics};
use super::{Input, Progress, Room, Source, SourceContext, SourceError};
use crate::problem::Problem;

pub use self::config::{KafkaConfig, KafkaStart};
pub use self::options::holds_a_secret;
pub use self::probe::library;

/// Reads topics as a member of a consumer group. See [`KafkaConfig`].
pub struct KafkaSource {
    context: SourceContext,
    config: KafkaConfig,
    client: ClientConfig,
    topics: Vec<String>,
    /// `None` before `connect` and after `close`.
    session: Option<Session>,
    /// With `start = "latest"`, only the first connection may be the group's first start.
    has_connected: bool,
    /// Partitions of topics that were deleted: created anew, they are read from their beginning.
    anew: Vec<TopicPartition>,
}

impl KafkaSource {
    /// Checks the configuration. Connects to nothing.
    ///
    /// # Errors
    /// Everything that is wrong as far as it can be told without a broker: unknown or wrong librdkafka options, options
    /// that are the bridge's own, regular expressions, certificate files that cannot be read.
    pub fn new(context: SourceContext, config: KafkaConfig) -> Result<Self, Vec<Problem>> {
        let client = config.client_config(&context)?;
        let topics = config.subscription();
        Ok(Self { context, config, client, topics, session: None, has_connected: false, anew: Vec::new() })
    }

    fn session(&mut self) -> Result<&mut Session, SourceError> {
        self.session.as_mut().ok_or_else(|| SourceError::transient("not connected to Kafka"))
    }
}

impl Source for KafkaSource {
    /// Within its group, and a commit of an earlier owner is refused once a partition has another one.
    const READS_PARTITIONS_ALONE: bool = true;

    async fn connect(&mut self) -> Result<(), SourceError> {
        if let Some(session) = self.session.take() {
            self.anew = session.still_anew();
        }
        let revoke_timeout = self.config.revoke_timeout.0;
        let is_latest = self.config.start == KafkaStart::Latest;
        let topics = Topics { names: &self.topics, is_latest, may_be_first_start: !self.has_connected };
        self.session =
            Some(Session::open(&self.client, &self.context, revoke_timeout, topics, self.anew.clone()).await?);
        self.has_connected = true;
        Ok(())
    }

    async fn read(&mut self, room: Room) -> Result<Input, SourceError> {
        self.session()?.read(room).await
    }

    async fn read_paused(&mut self) -> Result<Input, SourceError> {
        self.session()?.read_paused().await
    }

    async fn commit(&mut self, progress: Progress) -> Result<(), SourceError> {
        self.session()?.commit(&progress.watermarks)
    }

    async fn release(&mut self, partitions: &[u32]) -> Result<(), SourceError> {
        self.session()?.release(partitions).await
    }

    async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    async fn probe(&mut self) -> Result<String, SourceError> {
        probe::probe(&self.client, &self.context, &self.topics).await
    }
}
