//! The AMQP 0-9-1 connector: a consumer on one queue (RabbitMQ and its kin).
//!
//! Every message is acknowledged by itself, once all its deliveries have ended. What is not acknowledged when the
//! channel ends the broker requeues and delivers again, flagged as redelivered; so a failed event needs nothing but a
//! new connection, and the driver's backoff keeps that from becoming a hot loop.
//!
//! This module must not decide when to commit or to reconnect: that is the driver's.

mod acknowledgements;
mod config;
mod connection;
mod end;
mod error;
mod fields;
mod message;
pub mod publisher;
mod session;
mod settings;
mod shared;

use std::time::Duration;

use jiff::Timestamp;
use tracing::info;

use super::{CommitPolicy, Input, Progress, Room, Source, SourceContext, SourceError};
use crate::problem::Problem;

pub use config::{AmqpBind, AmqpConfig, AmqpDeclare};
pub use error::{AmqpError, FailureKind};

use end::End;
use message::Origin;
use session::Session;
use settings::Settings;

/// The longest time for a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A source that consumes one queue.
pub struct AmqpSource {
    settings: Settings,
    origin: Origin,
    once: bool,
    session: Option<Session>,
    /// True after an attempt over which the broker ended the connection: the next one must not take others with it.
    alone: bool,
    /// The number of the session's channel. Delivery tags count per channel, so each has a partition of its own, and
    /// what settles late from an earlier channel is never acknowledged on a later one.
    partition: u32,
    end: Option<End>,
}

impl AmqpSource {
    /// Checks the config. Connects to nothing and reads no file.
    ///
    /// # Errors
    /// All faults of the config, with paths that start below the source's own table.
    pub fn new(context: SourceContext, config: AmqpConfig) -> Result<Self, Vec<Problem>> {
        let settings = Settings::new(&context, &config)?;
        let origin = Origin::new(&context, settings.queue.as_str());
        Ok(Self { settings, origin, once: context.once, session: None, alone: false, partition: 0, end: None })
    }

    fn error(&self, fault: FailureKind) -> SourceError {
        let (queue, broker) = (self.settings.queue.to_string(), self.settings.broker.clone());
        SourceError::transient(AmqpError { queue, broker, fault })
    }

    /// Closes the session, if there is one. Returns how many of its messages the broker will deliver again.
    async fn disconnect(&mut self) -> u64 {
        let Some(session) = self.session.take() else { return 0 };
        let outstanding = session.outstanding();
        session.close().await;
        outstanding
    }
}

impl Source for AmqpSource {
    const ACKNOWLEDGES_EACH: bool = true;

    /// Often, and early when many have settled: the broker sends nothing beyond `prefetch` unacknowledged messages.
    fn commit_policy(&self) -> CommitPolicy {
        let settled = usize::from(self.settings.prefetch / 4).max(1);
        CommitPolicy { interval: Duration::from_millis(50), settled }
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        let outstanding = self.disconnect().await;
        let opened = Session::open(&self.settings, self.alone).await;
        self.alone = matches!(opened, Err(FailureKind::ConnectionEnded { .. }));
        let (session, ready) = opened.map_err(|fault| self.error(fault))?;
        info!(queue = %self.settings.queue, broker = %self.settings.broker, ready, "consuming");
        self.session = Some(session);
        self.partition += 1;
        match &mut self.end {
            Some(end) => end.reconnected(ready, outstanding),
            None => self.end = self.once.then(|| End::new(ready)),
        }
        Ok(())
    }

    async fn read(&mut self, room: Room) -> Result<Input, SourceError> {
        let Some(session) = &mut self.session else { return Err(self.error(FailureKind::NotConnected)) };
        let first = match &mut self.end {
            Some(end) => end.next(session).await,
            None => session.next().await.map(Some),
        };
        let mut first = match first {
            Ok(Some(delivery)) => Some(delivery),
            Ok(None) => return Ok(Input::End),
            Err(fault) => return Err(self.error(fault)),
        };
        let now = Timestamp::now();
        let records = room.try_fill(|| {
            let at_hand = first.take().map(Ok).or_else(|| match &mut self.end {
                Some(end) => end.next_buffered(session),
                None => session.next_buffered(),
            });
            Ok(at_hand.transpose()?.map(|delivery| self.origin.record(delivery, self.partition, now)))
        });
        records.map(Input::Records).map_err(|fault| self.error(fault))
    }

    async fn commit(&mut self, progress: Progress) -> Result<(), SourceError> {
        let current = |entries: Vec<(u32, u64)>| {
            let partition = self.partition;
            entries.into_iter().filter(move |entry| entry.0 == partition).map(|entry| entry.1)
        };
        let watermark = current(progress.watermarks).max();
        let settled: Vec<u64> = current(progress.settled).collect();
        if watermark.is_none() && settled.is_empty() {
            return Ok(());
        }
        let Some(session) = &mut self.session else { return Err(self.error(FailureKind::NotConnected)) };
        let acknowledged = session.acknowledge(watermark, &settled).await;
        if let Some(end) = &mut self.end {
            end.acknowledged();
        }
        acknowledged.map_err(|fault| self.error(fault))
    }

    /// All that is not acknowledged by now is open, or has not been read.
    async fn give_back(&mut self, _open: &[(u32, u64)]) {
        if let Some(session) = &mut self.session {
            session.give_back().await;
        }
    }

    async fn close(&mut self) {
        self.disconnect().await;
    }

    async fn probe(&mut self) -> Result<String, SourceError> {
        session::probe(&self.settings, PROBE_TIMEOUT).await.map_err(|fault| self.error(fault))
    }
}
