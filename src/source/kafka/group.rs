//! What librdkafka tells us while it is polled: rebalances, errors and log lines.
//!
//! These callbacks run inside our own poll, on the worker's only thread: they must not block and must not wait. They
//! do what has to be done at once and send everything else to the session as a [`GroupEvent`].

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::assignment::TopicPartition;
use super::health::{BrokerHealth, Notice, is_of_connection};
use super::positions::Start;
use crate::off_worker::Panic;
use crate::secret::mask;
use crate::source::SourceContext;

/// The target of librdkafka's own log lines, to be filtered by (`RUST_LOG=librdkafka=debug`).
pub(super) const LOG_TARGET: &str = "librdkafka";

/// What the session has to hear of.
#[derive(Debug)]
pub(super) enum GroupEvent {
    /// These partitions are ours now; fetching has begun, in those of `anew` at their beginning.
    Assigned { places: Vec<TopicPartition>, anew: Vec<TopicPartition> },
    /// These partitions are to be given back as soon as they have been drained.
    Revoked(Revocation),
    /// These partitions have been taken away.
    Lost(Vec<TopicPartition>),
    /// The commit under way has ended, and the broker has confirmed these offsets.
    CommitEnded { confirmed: Vec<(TopicPartition, u64)>, failed: bool },
    /// Where partitions stand that were assigned.
    StartsKnown(Vec<Start>),
    /// The group has no position in these partitions any more, as their topic was deleted.
    Forgotten(Vec<TopicPartition>),
    /// With `--once`: the partition with this number ended here when it was assigned.
    EndKnown { number: u32, end: u64 },
    /// A connection has failed: it is to be found out whether any broker still answers.
    ConnectionFailed,
    /// No broker can be reached any more.
    BrokersAway { reason: String },
    /// One answers again.
    BrokersBack,
    /// The client is of no use any more.
    Failed(KafkaError),
    /// No thread could be started for a call in the background, so it is not made.
    NoThread(io::Error),
    /// A call in the background has panicked.
    Panicked(Panic),
}

/// A revocation that librdkafka waits for us to complete.
///
/// The calls that complete it need not be made in the callback. The event API, which rdkafka uses, hands rebalances
/// over as events for the application to act on in its own time: until it unassigns, librdkafka stays in its state
/// `wait-unassign-call`, in which it goes on sending heartbeats and joins no rebalance (rdkafka_cgrp.c,
/// `rd_kafka_cgrp_join_state_serve`). Only the broker limits the time, to `max.poll.interval.ms`. The price is that
/// librdkafka pauses all partitions of this member meanwhile, not only those that go.
#[derive(Debug)]
pub(super) struct Revocation {
    pub(super) partitions: Vec<TopicPartition>,
    /// Asked for in the callback: while the member leaves the group, librdkafka no longer knows its protocol.
    pub(super) cooperative: bool,
}

/// The callbacks' side of a session.
pub(super) struct GroupContext {
    pipeline: Arc<str>,
    source: Arc<str>,
    events: mpsc::UnboundedSender<GroupEvent>,
    health: Mutex<BrokerHealth>,
    /// Until a broker has answered for the first time, `connect` says what is wrong.
    connected: AtomicBool,
    /// New partitions begin paused.
    paused: AtomicBool,
    /// Nobody is left to drain anything: give back at once what is revoked.
    leaving: AtomicBool,
    /// The last commit failed, which has been said.
    commits_fail: AtomicBool,
    /// Partitions of topics that were deleted. Created anew they begin at their beginning, whatever the broker says: a
    /// commit that was under way may have given the group a position there that was one in the deleted topic.
    anew: Mutex<Vec<TopicPartition>>,
}

impl GroupContext {
    pub(super) fn new(
        context: &SourceContext,
        events: mpsc::UnboundedSender<GroupEvent>,
        anew: Vec<TopicPartition>,
    ) -> Self {
        Self {
            pipeline: context.pipeline.clone(),
            source: context.name.clone(),
            events,
            health: Mutex::default(),
            connected: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            commits_fail: AtomicBool::new(false),
            anew: Mutex::new(anew),
        }
    }

    /// Partitions that are to begin at their beginning when they are assigned.
    pub(super) fn anew(&self) -> std::sync::MutexGuard<'_, Vec<TopicPartition>> {
        self.anew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(super) fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Why the last connection failed, unless a broker has answered since.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.health().last_failure().map(str::to_owned)
    }

    /// No broker has answered in time.
    pub(super) fn brokers_silent(&self) {
        let notice = self.health().unanswered(Instant::now());
        self.log_notice(notice);
    }

    /// A broker has answered.
    pub(super) fn broker_answered(&self) {
        let notice = self.health().answered(Instant::now());
        self.log_notice(notice);
        self.connected.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// The names to log with.
    pub(super) fn names(&self) -> (&Arc<str>, &Arc<str>) {
        (&self.pipeline, &self.source)
    }

    /// Says that commits have begun to fail, or that they succeed again.
    pub(super) fn commit_result(&self, error: Option<KafkaError>) {
        let (pipeline, source) = (&self.pipeline, &self.source);
        let failed_before = self.commits_fail.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !failed_before => warn!(
                %pipeline, %source,
                "cannot commit offsets: {error}; the next commit repeats it, and until one succeeds a restart delivers \
                 again what has been delivered since the last"
            ),
            Some(error) => debug!(%pipeline, %source, "cannot commit offsets: {error}"),
            None if failed_before => info!(%pipeline, %source, "offsets are committed again"),
            None => {}
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, BrokerHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_notice(&self, notice: Notice) {
        if !self.connected.load(Ordering::Relaxed) {
            return;
        }
        let (pipeline, source) = (&self.pipeline, &self.source);
        match notice {
            Notice::Nothing => {}
            Notice::Away { reason } => {
                warn!(%pipeline, %source, "no Kafka broker can be reached: {reason}; nothing is read until one is back, \
                       which librdkafka keeps trying");
                self.send(GroupEvent::BrokersAway { reason });
            }
            Notice::Back { after } => {
                let seconds = after.as_secs_f64();
                info!(%pipeline, %source, "a Kafka broker answers again after {seconds:.1} s; reading goes on");
                self.send(GroupEvent::BrokersBack);
            }
            Notice::Trouble { reason } => {
                warn!(%pipeline, %source, "Kafka: {reason}; the source goes on trying");
            }
        }
    }

    /// The session may be gone while its consumer still leaves the group: then nobody needs to hear.
    /// For what has events to send when the context may be gone.
    pub(super) fn events(&self) -> &mpsc::UnboundedSender<GroupEvent> {
        &self.events
    }

    pub(super) fn send(&self, event: GroupEvent) {
        self.events.send(event).ok();
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let places = places(list);
        let anew = self.take_anew(&places);
        for place in &anew {
            if let Err(error) = list.set_partition_offset(&place.topic, place.partition, Offset::Beginning) {
                return self.send(GroupEvent::Failed(error));
            }
        }
        let list = &*list;
        let assigned = if is_cooperative(consumer) { consumer.incremental_assign(list) } else { consumer.assign(list) };
        let paused = match assigned {
            Ok(()) if self.paused.load(Ordering::Relaxed) => consumer.pause(list),
            other => other,
        };
        match paused {
            Ok(()) => self.send(GroupEvent::Assigned { places, anew }),
            Err(error) => self.send(GroupEvent::Failed(error)),
        }
    }

    /// Those of the assigned partitions that begin anew. Others of their topics are another member's to begin.
    fn take_anew(&self, assigned: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut anew = self.anew();
        let of_these = anew.extract_if(.., |place| assigned.iter().any(|other| other.topic == place.topic));
        of_these.filter(|place| assigned.contains(place)).collect()
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let revocation = Revocation { partitions: places(list), cooperative: is_cooperative(consumer) };
        if !lost && list.count() > 0 && !self.is_leaving() {
            return self.send(GroupEvent::Revoked(revocation));
        }
        if let Err(error) = give_back(consumer, &revocation) {
            self.send(GroupEvent::Failed(error));
        }
        if lost {
            self.send(GroupEvent::Lost(revocation.partitions));
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            // rdkafka calls this for assignments and revocations only.
            _ => self.revoke(consumer, list),
        }
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let (pipeline, source, message) = (&self.pipeline, &self.source, mask(message));
        match (level, facility) {
            // Records are gone: the one line of librdkafka that must not drown among the others.
            (_, "OFFSET") => error!(
                target: LOG_TARGET, %pipeline, %source,
                "the broker no longer has the next records (retention?): those that were not read are lost: {message}"
            ),
            // These also arrive as errors, where they are counted and not repeated without end.
            (_, "FAIL" | "ERROR") => debug!(target: LOG_TARGET, %pipeline, %source, "{facility}: {message}"),
            (RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info, _) => {
                debug!(target: LOG_TARGET, %pipeline, %source, "{facility}: {message}");
            }
            (RDKafkaLogLevel::Notice, _) => info!(target: LOG_TARGET, %pipeline, %source, "{facility}: {message}"),
            _ => warn!(target: LOG_TARGET, %pipeline, %source, "{facility}: {message}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let statistics = String::from_utf8_lossy(statistics);
        debug!(target: LOG_TARGET, pipeline = %self.pipeline, source = %self.source, "statistics: {statistics}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // The end of a partition comes this way too, and is no error. Whether all brokers are down is asked for.
        if matches!(code, RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        debug!(target: LOG_TARGET, pipeline = %self.pipeline, source = %self.source, "{error}: {}", mask(reason));
        let notice = self.health().failed(code, &mask(reason), Instant::now());
        self.log_notice(notice);
        if is_of_connection(code) {
            self.send(GroupEvent::ConnectionFailed);
        }
    }
}

/// Completes a revocation. Partitions that we had paused are resumed first: librdkafka would remember the pause when
/// the same partition comes back to this member.
pub(super) fn give_back<C: Consumer<GroupContext>>(consumer: &C, revocation: &Revocation) -> KafkaResult<()> {
    let list = topic_partition_list(revocation.partitions.iter());
    if let Err(error) = consumer.resume(&list) {
        debug!("cannot resume partitions before giving them back: {error}");
    }
    if revocation.cooperative { consumer.incremental_unassign(&list) } else { consumer.unassign() }
}

/// The names as librdkafka wants them.
pub(super) fn topic_partition_list<'a>(places: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for place in places {
        list.add_partition(&place.topic, place.partition);
    }
    list
}

/// Watermarks as librdkafka wants them.
pub(super) fn offset_list(offsets: &[(TopicPartition, u64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (place, offset) in offsets {
        let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
        list.add_partition_offset(&place.topic, place.partition, offset)?;
    }
    Ok(list)
}

fn is_cooperative(consumer: &BaseConsumer<GroupContext>) -> bool {
    matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative)
}

fn places(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let places =
        elements.iter().map(|element| TopicPartition { topic: element.topic().into(), partition: element.partition() });
    places.collect()
}
