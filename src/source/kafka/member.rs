//! librdkafka's consumer as a member of the group, and the calls of it that block.
//!
//! Must not keep account of partitions: the session does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info, warn};

use super::assignment::TopicPartition;
use super::group::{GroupContext, GroupEvent, Revocation, give_back, offset_list};
use super::positions;
use crate::off_worker::{Answer, in_background, on_own_thread};
use crate::source::{SourceContext, SourceError};

/// How long one question for metadata or offsets may take before it is asked again.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a broker may take to answer for the first time, TLS and a slow token service included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest wait for the group to be left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often brokers that are away are looked for, and the ends of partitions asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often the end of a partition is asked for.
const ASK_FOR_END: usize = 5;

type GroupConsumer = StreamConsumer<GroupContext>;

/// The consumer. Dropping it leaves the group in the background.
pub(super) struct Member {
    /// `None` only once the group is being left.
    consumer: Option<Arc<GroupConsumer>>,
    /// The topic that brokers are asked for when any answer will do.
    topic: Option<String>,
    /// Brokers are being watched already.
    watching: Arc<AtomicBool>,
}

impl Member {
    /// Makes the client, which connects in the background.
    pub(super) fn new(
        config: &ClientConfig,
        context: &SourceContext,
        topics: &[String],
        events: mpsc::UnboundedSender<GroupEvent>,
        anew: Vec<TopicPartition>,
    ) -> Result<Self, SourceError> {
        let consumer =
            config.create_with_context(GroupContext::new(context, events, anew)).map_err(SourceError::transient)?;
        Ok(Self { consumer: Some(Arc::new(consumer)), topic: one_by_name(topics), watching: Arc::default() })
    }

    pub(super) fn consumer(&self) -> &Arc<GroupConsumer> {
        self.consumer
            .as_ref()
            .expect("only `leave` takes the consumer away, and nothing is asked of a member after that")
    }

    pub(super) fn context(&self) -> &GroupContext {
        self.consumer().context()
    }

    /// Asks for metadata until a broker answers. Gives up early when a connection has failed meanwhile: the driver says
    /// why, and waits before it tries again.
    pub(super) async fn await_brokers(&self) -> Result<(), SourceError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        loop {
            let (consumer, topic) = (self.consumer().clone(), self.topic.clone());
            let answer = on_own_thread(move || consumer.fetch_metadata(topic.as_deref(), ASK_TIMEOUT).map(drop));
            let error = match self.poll_errors_until(answer).await? {
                Ok(()) => break,
                Err(error) => error,
            };
            if let Some(reason) = self.context().last_failure() {
                return Err(SourceError::transient(format!("no Kafka broker can be reached: {reason}")));
            }
            if Instant::now() >= deadline {
                return Err(SourceError::transient(format!("no Kafka broker answers: {error}")));
            }
        }
        self.context().broker_answered();
        Ok(())
    }

    /// Sees to it that the end seen at the group's first start is known to the broker; see [`positions`].
    pub(super) async fn commit_first_start(&self, topics: &[String]) -> Result<(), SourceError> {
        let (consumer, topics) = (self.consumer().clone(), topics.to_vec());
        let committed = on_own_thread(move || positions::commit_first_start(consumer.as_ref(), &topics));
        self.poll_errors_until(committed).await?.map_err(|error| {
            SourceError::transient(format!(
                "cannot commit where the group starts, as `start = \"latest\"` asks: {error}"
            ))
        })
    }

    /// Polls while something else is awaited, for the errors that say why it does not come. There are no messages
    /// before the subscription.
    async fn poll_errors_until<T>(&self, answer: Answer<T>) -> Result<T, SourceError> {
        let errors = async {
            loop {
                self.consumer().recv().await.ok();
            }
        };
        tokio::select! {
            answer = answer => answer.map_err(SourceError::transient),
            never = errors => never,
        }
    }

    /// Makes a blocking call whose result comes as an event, and so does its panic.
    fn in_background(&self, call: impl FnOnce() + Send + 'static) {
        let events = self.context().events().clone();
        let told = move |panic| drop(events.send(GroupEvent::Panicked(panic)));
        if let Err(error) = in_background(call, told) {
            self.context().send(GroupEvent::NoThread(error));
        }
    }

    /// Why a call was not made. The session ends with it, as the call may have been one that it waits for.
    pub(super) fn no_thread(&self, error: &io::Error) -> SourceError {
        SourceError::transient(format!("no thread can be started for a call of librdkafka: {error}"))
    }

    /// Completes a revocation.
    pub(super) fn give_back(&self, revocation: &Revocation) -> KafkaResult<()> {
        give_back(self.consumer().as_ref(), revocation)
    }

    /// Commits offsets in the background; [`GroupEvent::CommitEnded`] tells the result. There must be one commit at a
    /// time: librdkafka keeps those that a broker's outage interrupts and may send them again out of order, which would
    /// move the group back.
    ///
    /// The blocking call is used because the other one tells no result: librdkafka reports that to a callback only,
    /// which rdkafka does not set. Each topic has a request of its own because a request's result hides the refusal of
    /// some of its partitions, and what a broker refuses (a topic that is gone or forbidden), it refuses by topic.
    ///
    /// A position in a topic that was deleted and created anew would skip what it has now, so nothing is committed when
    /// the broker has forgotten one of the `known` positions, or does not say. That may happen between the question and
    /// the commit: so the ends are asked for afterwards, which a topic that is just created anew has not filled up to there.
    pub(super) fn start_commit(&self, mut offsets: Vec<(TopicPartition, u64)>, known: Vec<TopicPartition>) {
        offsets.sort_by(|a, b| a.0.topic.cmp(&b.0.topic));
        let consumer = self.consumer().clone();
        self.in_background(move || {
            let forgotten = positions::forgotten(consumer.as_ref(), &known);
            if report_forgotten(&consumer, forgotten) != PositionsAnswer::AllThere {
                return consumer.context().send(GroupEvent::CommitEnded { confirmed: Vec::new(), failed: true });
            }
            let mut confirmed = Vec::with_capacity(offsets.len());
            let mut failure = None;
            for of_topic in offsets.chunk_by(|a, b| a.0.topic == b.0.topic) {
                match offset_list(of_topic).and_then(|list| consumer.commit(&list, CommitMode::Sync)) {
                    Ok(()) => confirmed.extend_from_slice(of_topic),
                    Err(error) => failure = Some(error),
                }
            }
            let failed = failure.is_some();
            consumer.context().commit_result(failure);
            report_forgotten(&consumer, positions::overshot(consumer.as_ref(), &confirmed, &known));
            consumer.context().send(GroupEvent::CommitEnded { confirmed, failed });
        });
    }

    /// Leaves the group.
    pub(super) async fn leave(&mut self) {
        let Some(left) = self.leave_in_background() else { return };
        if timeout(LEAVE_TIMEOUT, left).await.is_err() {
            warn!(
                "the Kafka consumer group could not be left in order within {LEAVE_TIMEOUT:?}; its other members \
                   get our partitions when our session times out"
            );
        }
    }

    /// Dropping the consumer is what closes it, and blocks until the group has been left.
    fn leave_in_background(&mut self) -> Option<Answer<()>> {
        let consumer = self.consumer.take()?;
        consumer.context().set_leaving();
        Some(on_own_thread(move || drop(consumer)))
    }

    /// The error that ends this member for good, in librdkafka's words.
    pub(super) fn fatal(&self, code: RDKafkaErrorCode) -> SourceError {
        let reason = self.consumer().client().fatal_error().map_or_else(|| code.to_string(), |(_, reason)| reason);
        SourceError::transient(format!("librdkafka has given up: {reason}"))
    }

    /// Asks for metadata until a broker answers, and lets the context say when none does and when one does again.
    /// Reconnecting is librdkafka's business; this is only to know of it.
    pub(super) fn watch_brokers(&self) {
        if self.watching.swap(true, Ordering::Relaxed) {
            return;
        }
        let (watching, topic) = (self.watching.clone(), self.topic.clone());
        let consumer = Arc::downgrade(self.consumer());
        self.in_background(move || {
            while let Some(consumer) = still_member(&consumer) {
                let answered = consumer.fetch_metadata(topic.as_deref(), ASK_TIMEOUT).is_ok();
                if answered {
                    consumer.context().broker_answered();
                    break;
                }
                consumer.context().brokers_silent();
                drop(consumer);
                thread::sleep(ASK_AGAIN_AFTER);
            }
            watching.store(false, Ordering::Relaxed);
        });
    }

    /// Asks where these partitions end now. The answers come as events. A partition whose end is not told is read
    /// until nothing more comes.
    pub(super) fn ask_for_ends(&self, partitions: Vec<(u32, TopicPartition)>) {
        let consumer = Arc::downgrade(self.consumer());
        self.in_background(move || {
            for (number, place) in partitions {
                ask_for_end(&consumer, number, &place);
            }
        });
    }

    /// Asks where these partitions stand. The answer comes as an event; without one nothing is lost, as reading begins
    /// there in any case.
    pub(super) fn ask_for_starts(&self, places: Vec<TopicPartition>, anew: Vec<TopicPartition>) {
        let consumer = Arc::downgrade(self.consumer());
        self.in_background(move || {
            let Some(consumer) = still_member(&consumer) else { return };
            match positions::starts(consumer.as_ref(), &places, &anew) {
                Ok(starts) => consumer.context().send(GroupEvent::StartsKnown(starts)),
                Err(error) => debug!("cannot ask for the group's positions: {error}"),
            }
        });
    }

    /// Asks whether the broker still has the group's positions in these partitions.
    pub(super) fn check_positions(&self, known: Vec<TopicPartition>) {
        if known.is_empty() {
            return;
        }
        let consumer = Arc::downgrade(self.consumer());
        self.in_background(move || {
            if let Some(consumer) = still_member(&consumer) {
                report_forgotten(&consumer, positions::forgotten(consumer.as_ref(), &known));
            }
        });
    }

    /// Says that a topic is another one now, which ends the session.
    pub(super) fn log_forgotten(&self, partitions: &[TopicPartition]) -> SourceError {
        let (pipeline, source) = self.context().names();
        error!(
            %pipeline, %source,
            "the broker has forgotten the group's offsets of {}: the topic was deleted. Created anew, it is read from \
             its beginning; what the deleted one had and was not read is lost", listed(partitions)
        );
        SourceError::transient("a topic was deleted; reading goes on with what there is now")
    }

    pub(super) fn log_begun_anew(&self, partitions: &[TopicPartition]) {
        let (pipeline, source) = self.context().names();
        info!(%pipeline, %source, "the group has begun anew in {}", listed(partitions));
    }

    pub(super) fn log_assigned(&self, partitions: &[TopicPartition]) {
        let (pipeline, source) = self.context().names();
        info!(%pipeline, %source, "assigned: {}", listed(partitions));
    }

    pub(super) fn log_revoked(&self, partitions: &[TopicPartition]) {
        let (pipeline, source) = self.context().names();
        info!(%pipeline, %source, "to be given back to the group: {}", listed(partitions));
    }

    pub(super) fn log_unconfirmed(&self, waited: Duration) {
        let (pipeline, source) = self.context().names();
        warn!(
            %pipeline, %source,
            "the broker has not confirmed the last commit within {waited:?}: what it covers may be delivered again"
        );
    }

    pub(super) fn log_lost(&self, partitions: &[TopicPartition]) {
        let (pipeline, source) = self.context().names();
        warn!(
            %pipeline, %source,
            "the group has taken partitions away without notice: {}; what was in flight of them is delivered again by \
             their next owner", listed(partitions)
        );
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave_in_background();
    }
}

/// A topic to ask for, unless all are regular expressions, in which case all topics must be asked for.
pub(super) fn one_by_name(topics: &[String]) -> Option<String> {
    topics.iter().find(|topic| !topic.starts_with('^')).cloned()
}

fn still_member(consumer: &Weak<GroupConsumer>) -> Option<Arc<GroupConsumer>> {
    consumer.upgrade().filter(|consumer| !consumer.context().is_leaving())
}

/// What a broker says of the group's positions.
#[derive(PartialEq)]
enum PositionsAnswer {
    AllThere,
    SomeForgotten,
    Nothing,
}

/// Where there are positions that the broker has forgotten, the group begins anew, and the session is told. A broker that
/// does not answer is asked again with the next commit.
fn report_forgotten(consumer: &GroupConsumer, answer: KafkaResult<Vec<TopicPartition>>) -> PositionsAnswer {
    let forgotten = match answer {
        Ok(forgotten) if forgotten.is_empty() => return PositionsAnswer::AllThere,
        Ok(forgotten) => forgotten,
        Err(error) => {
            debug!("cannot ask for the group's positions: {error}");
            return PositionsAnswer::Nothing;
        }
    };
    let known = consumer.context().anew().clone();
    consumer.context().anew().extend(forgotten.iter().filter(|place| !known.contains(place)).cloned());
    if let Err(error) = positions::begin_anew(consumer, &forgotten) {
        debug!("cannot commit the beginning of what was created anew: {error}");
    }
    consumer.context().send(GroupEvent::Forgotten(forgotten));
    PositionsAnswer::SomeForgotten
}

fn ask_for_end(consumer: &Weak<GroupConsumer>, number: u32, place: &TopicPartition) {
    for _ in 0..ASK_FOR_END {
        let Some(consumer) = still_member(consumer) else { return };
        if let Ok((_, end)) = consumer.fetch_watermarks(&place.topic, place.partition, ASK_TIMEOUT) {
            let end = u64::try_from(end).unwrap_or_default();
            return consumer.context().send(GroupEvent::EndKnown { number, end });
        }
        drop(consumer);
        thread::sleep(ASK_AGAIN_AFTER);
    }
    warn!("the broker does not tell where {place} ends: with --once it is read until nothing more comes");
}

/// A short list for the log.
fn listed(partitions: &[TopicPartition]) -> String {
    const SHOWN: usize = 20;
    let mut text = partitions.iter().take(SHOWN).map(TopicPartition::to_string).collect::<Vec<_>>().join(", ");
    match partitions.len() {
        0 => text.push_str("nothing"),
        count if count > SHOWN => text.push_str(&format!(" and {} more", count - SHOWN)),
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_call_in_the_background_reaches_the_session() {
        let context = SourceContext::for_tests("p", "in");
        let mut config = ClientConfig::new();
        config.set("group.id", "bridge");
        let (sender, mut events) = mpsc::unbounded_channel();
        let member = Member::new(&config, &context, &[], sender, Vec::new()).unwrap();
        member.in_background(|| panic!("a bug"));
        let event = events.recv().await.unwrap();
        assert!(matches!(event, GroupEvent::Panicked(_)), "{event:?}");
    }
}
