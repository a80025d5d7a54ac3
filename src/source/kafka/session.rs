//! One membership in the consumer group, from `connect` to `close`.
//!
//! The session owns librdkafka's consumer and everything that is void once it is gone. It must not decide when to
//! read, pause or commit: the driver does, through [`KafkaSource`](super::KafkaSource). `events` takes in what comes out of
//! librdkafka.
//!
//! No method may block the worker's thread. What librdkafka offers as blocking calls only is called
//! [off the worker](crate::off_worker).

mod events;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::assignment::{Assignment, TopicPartition};
use super::group::{GroupEvent, Revocation, topic_partition_list};
use super::member::Member;
use super::record::RecordMaker;
use crate::source::{Input, Record, Room, SourceContext, SourceError};
use crate::timer::sleep_until;
use events::polled;

/// A full driver often has room again within this time. Pausing throws librdkafka's prefetched messages away and
/// fetches them again later, so it is not done before.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// The longest wait for a commit that must be over before partitions are given back or the group is left.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// With `--once`: a member that joins a busy group is often given nothing at first, and its share a moment later.
const EMPTY_GRACE: Duration = Duration::from_secs(3);

/// How often it is asked whether the broker still has the group's positions, beside every commit.
const CHECK_POSITIONS_EVERY: Duration = Duration::from_secs(5);

/// What to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topics<'a> {
    /// Names, or regular expressions that begin with `^`.
    pub(super) names: &'a [String],
    /// `start = "latest"`: where the group starts is committed at once, in what is there and in what appears later.
    pub(super) is_latest: bool,
    /// Nothing was read in this process yet, so that this may be the group's first start.
    pub(super) may_be_first_start: bool,
}

/// A membership and what it reads.
pub(super) struct Session {
    member: Member,
    events: mpsc::UnboundedReceiver<GroupEvent>,
    maker: RecordMaker,
    revoke_timeout: Duration,
    once: bool,
    flow: Flow,
    assignment: Assignment,
    /// Partitions that begin anew, until the broker knows their beginning as the group's position.
    anew: Vec<TopicPartition>,
    /// A partition's beginning is committed when it is assigned without a position; see [`Topics::is_latest`].
    commits_starts: bool,
    /// A commit is under way.
    committing: bool,
    /// When it is asked next whether the broker still has the group's positions.
    check_positions_at: Instant,
    /// Revocations that wait for these of their partitions to be released.
    revocations: Vec<(Vec<u32>, Revocation)>,
    /// What `read` returns before it asks librdkafka for more.
    inputs: VecDeque<Input>,
    /// Records that came out of librdkafka's queue while the driver wanted none.
    kept: VecDeque<Record>,
    /// With `--once`: the time from which an empty assignment counts as the end; `None` before the first assignment.
    end_if_empty: Option<Instant>,
}

/// Whether the driver wants records.
#[derive(Debug, Clone, Copy)]
enum Flow {
    Reading,
    /// It does not, and if that lasts, librdkafka is paused at this time.
    Full {
        pause_at: Instant,
    },
    Paused,
}

impl Session {
    /// Joins the group once a broker has answered.
    pub(super) async fn open(
        config: &ClientConfig,
        context: &SourceContext,
        revoke_timeout: Duration,
        topics: Topics<'_>,
        anew: Vec<TopicPartition>,
    ) -> Result<Self, SourceError> {
        let (sender, events) = mpsc::unbounded_channel();
        let member = Member::new(config, context, topics.names, sender, anew)?;
        member.await_brokers().await?;
        if topics.is_latest && topics.may_be_first_start {
            member.commit_first_start(topics.names).await?;
        }
        let names: Vec<&str> = topics.names.iter().map(String::as_str).collect();
        member.consumer().subscribe(&names).map_err(SourceError::transient)?;
        Ok(Self {
            member,
            events,
            maker: RecordMaker::new(context),
            revoke_timeout,
            once: context.once,
            flow: Flow::Reading,
            assignment: Assignment::default(),
            anew: Vec::new(),
            commits_starts: topics.is_latest,
            committing: false,
            check_positions_at: Instant::now() + CHECK_POSITIONS_EVERY,
            revocations: Vec::new(),
            inputs: VecDeque::new(),
            kept: VecDeque::new(),
            end_if_empty: None,
        })
    }

    /// Partitions that were to begin anew and have not: the next session has to see to it.
    pub(super) fn still_anew(&self) -> Vec<TopicPartition> {
        let mut anew = self.anew.clone();
        anew.extend_from_slice(&self.member.context().anew());
        anew
    }

    /// The next input: an event of the group, records, or the end.
    pub(super) async fn read(&mut self, room: Room) -> Result<Input, SourceError> {
        self.resume()?;
        loop {
            self.take_waiting_events()?;
            if let Some(input) = self.inputs.pop_front() {
                return Ok(input);
            }
            if self.kept.is_empty() && self.is_at_end() {
                return Ok(Input::End);
            }
            let records = self.records_at_hand(room)?;
            if !records.is_empty() {
                return Ok(Input::Records(records));
            }
            let polled = self.poll().await;
            let record = self.take(polled)?;
            self.kept.extend(record);
        }
    }

    /// The records that can be had without waiting. An event of the group ends them: what it says may be that the
    /// partition of the next one is no longer ours.
    fn records_at_hand(&mut self, room: Room) -> Result<Vec<Record>, SourceError> {
        let consumer = Arc::clone(self.member.consumer());
        let mut messages = consumer.stream();
        room.try_fill(|| {
            if !self.events.is_empty() {
                return Ok(None);
            }
            if let Some(record) = self.kept.pop_front() {
                return Ok(Some(record));
            }
            let Some(message) = messages.next().now_or_never().flatten() else { return Ok(None) };
            let polled = polled(&self.assignment, &self.maker, message);
            self.take(polled)
        })
    }

    /// The next event of the group. Records stay where they are.
    pub(super) async fn read_paused(&mut self) -> Result<Input, SourceError> {
        loop {
            self.take_waiting_events()?;
            if let Some(input) = self.inputs.pop_front() {
                return Ok(input);
            }
            match self.flow {
                Flow::Reading => self.flow = Flow::Full { pause_at: Instant::now() + PAUSE_AFTER },
                Flow::Full { pause_at } => {
                    sleep_until(Some(pause_at)).await;
                    self.pause()?;
                }
                Flow::Paused => {
                    let polled = self.poll().await;
                    let record = self.take(polled)?;
                    self.kept.extend(record);
                }
            }
        }
    }

    /// Remembers watermarks and begins to commit them. What fails, and what comes while another commit is under way,
    /// is committed by the next: so a failed commit is no error of this session.
    pub(super) fn commit(&mut self, watermarks: &[(u32, u64)]) -> Result<(), SourceError> {
        // A partition may have been lost since the driver last read: then nothing is committed for it.
        self.take_waiting_events()?;
        for (number, position) in watermarks {
            self.assignment.settle(*number, *position);
        }
        self.start_commit();
        Ok(())
    }

    fn start_commit(&mut self) {
        let offsets = self.assignment.uncommitted(None);
        if !self.committing && !offsets.is_empty() {
            self.committing = true;
            self.check_positions_at = Instant::now() + CHECK_POSITIONS_EVERY;
            self.member.start_commit(offsets, self.assignment.known_to_broker());
        }
    }

    /// Gives partitions back that have been drained, which lets the rebalance go on.
    pub(super) async fn release(&mut self, numbers: &[u32]) -> Result<(), SourceError> {
        self.take_waiting_events()?;
        self.finish_commits(Some(numbers)).await?;
        self.assignment.remove(numbers);
        for (waiting, _) in &mut self.revocations {
            waiting.retain(|number| !numbers.contains(number));
        }
        let done = self.revocations.extract_if(.., |(waiting, _)| waiting.is_empty());
        for (_, revocation) in done.collect::<Vec<_>>() {
            self.member.give_back(&revocation).map_err(SourceError::transient)?;
        }
        Ok(())
    }

    /// Commits what is left and leaves the group.
    pub(super) async fn close(mut self) {
        if let Err(error) = self.finish_commits(None).await {
            warn!("while leaving the Kafka consumer group: {error}");
        }
        self.give_everything_back();
        self.member.leave().await;
    }

    /// Completes the revocations that nobody will release any more: librdkafka would wait for them for ever and stay
    /// in the group.
    fn give_everything_back(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            if let GroupEvent::Revoked(revocation) = event {
                self.revocations.push((Vec::new(), revocation));
            }
        }
        for (_, revocation) in self.revocations.drain(..) {
            if let Err(error) = self.member.give_back(&revocation) {
                debug!("while giving partitions back: {error}");
            }
        }
    }

    /// Waits until everything that has settled is committed, of these partitions or of all; or a commit has failed, or
    /// time is up.
    ///
    /// A commit overtaken by its time limit may still arrive when the partition has a new owner. It may then move the
    /// group's offset back, but never over a record that has not settled.
    async fn finish_commits(&mut self, only: Option<&[u32]>) -> Result<(), SourceError> {
        self.take_waiting_events()?;
        let deadline = Instant::now() + COMMIT_TIMEOUT;
        let mut failed = false;
        while self.committing || (!failed && !self.assignment.uncommitted(only).is_empty()) {
            self.start_commit();
            let Ok(Some(event)) = timeout_at(deadline, self.events.recv()).await else {
                self.member.log_unconfirmed(COMMIT_TIMEOUT);
                return Ok(());
            };
            failed |= matches!(event, GroupEvent::CommitEnded { failed: true, .. });
            self.take_event(event)?;
        }
        Ok(())
    }
}

/// Dropped without [`close`](Session::close), as when the driver connects again: the member leaves in the background.
impl Drop for Session {
    fn drop(&mut self) {
        self.give_everything_back();
    }
}

/// Pausing and resuming.
impl Session {
    fn pause(&mut self) -> Result<(), SourceError> {
        // Before the call, so that no assignment slips through between the two.
        self.member.context().set_paused(true);
        self.flow = Flow::Paused;
        let list = topic_partition_list(&self.assignment.readable());
        self.member.consumer().pause(&list).map_err(SourceError::transient)
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        let was_paused = matches!(self.flow, Flow::Paused);
        self.flow = Flow::Reading;
        if !was_paused {
            return Ok(());
        }
        self.member.context().set_paused(false);
        let list = topic_partition_list(&self.assignment.readable());
        self.member.consumer().resume(&list).map_err(SourceError::transient)
    }
}

/// Reading to an end, with `--once`.
impl Session {
    fn take_before_end(&mut self, record: Record) -> Result<Option<Record>, SourceError> {
        let read = self.assignment.read_to(record.partition, record.position);
        if read.finished {
            self.take_turns()?;
        }
        Ok(read.wanted.then_some(record))
    }

    /// Stops fetching what is finished, and begins with what may be read in its place.
    fn take_turns(&mut self) -> Result<(), SourceError> {
        let turns = self.assignment.turns();
        let consumer = self.member.consumer();
        if !turns.pause.is_empty() {
            consumer.pause(&topic_partition_list(&turns.pause)).map_err(SourceError::transient)?;
        }
        // While everything is paused, the next `read` resumes these with the others.
        if !turns.resume.is_empty() && !matches!(self.flow, Flow::Paused) {
            consumer.resume(&topic_partition_list(&turns.resume)).map_err(SourceError::transient)?;
        }
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        let Some(end_if_empty) = self.end_if_empty else { return false };
        self.assignment.is_finished() && (!self.assignment.is_empty() || Instant::now() >= end_if_empty)
    }
}
