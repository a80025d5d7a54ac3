//! The group's positions as the broker keeps them: where a group begins, and whether the broker has forgotten them.
//!
//! All calls block, so they are made [off the worker](crate::off_worker). Must not keep account of partitions:
//! the session does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use regex::Regex;

use super::assignment::TopicPartition;
use super::group::{GroupContext, offset_list, topic_partition_list};

/// How long one question to the broker may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where a partition stands when it is assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) place: TopicPartition,
    pub(super) position: u64,
    /// False when the group has no position there yet, or one of a topic that is gone: reading begins at the partition's
    /// beginning, which is `position`.
    pub(super) committed: bool,
}

/// With `start = "latest"`: when the group has no position in any of its topics, this is its first start, and all
/// partitions that there are begin where they end now. That is committed before the group is joined, so that it holds
/// whatever happens next. Partitions that appear later have no position and are read from their beginning.
///
/// Two members may do this at the same time. The broker accepts it only while the group is empty, so neither has read
/// anything yet, and the later one's ends count.
pub(super) fn commit_first_start<C: Consumer<GroupContext>>(consumer: &C, topics: &[String]) -> KafkaResult<()> {
    let places = existing(consumer, topics)?;
    if places.is_empty() || has_positions(consumer, &places)? {
        return Ok(());
    }
    let mut ends = Vec::with_capacity(places.len());
    for place in &places {
        let (_, end) = consumer.fetch_watermarks(&place.topic, place.partition, TIMEOUT)?;
        ends.push((place.clone(), u64::try_from(end).unwrap_or_default()));
    }
    match offset_list(&ends).and_then(|list| consumer.commit(&list, CommitMode::Sync)) {
        // Another member was faster and has joined by now.
        Err(error) if is_of_membership(&error) && has_positions(consumer, &places)? => Ok(()),
        committed => committed,
    }
}

/// Where these partitions stand. One whose beginning the broker does not tell is left out. In those of `anew` a position
/// does not count.
pub(super) fn starts<C: Consumer<GroupContext>>(
    consumer: &C,
    places: &[TopicPartition],
    anew: &[TopicPartition],
) -> KafkaResult<Vec<Start>> {
    let committed = committed(consumer, places)?.into_iter();
    let starts = committed.filter_map(|(place, position)| match position {
        Some(position) if !anew.contains(&place) => Some(Start { place, position, committed: true }),
        _ => {
            let position = beginning(consumer, &place)?;
            Some(Start { place, position, committed: false })
        }
    });
    Ok(starts.collect())
}

/// Those of the partitions, in all of which the group had a position, whose topic is another one now. A broker forgets
/// the positions of a topic that is deleted. While the group has members it never does so for another reason. A commit
/// that was under way may have given it a new one in some of the partitions, so that one without tells of all.
pub(super) fn forgotten<C: Consumer<GroupContext>>(
    consumer: &C,
    places: &[TopicPartition],
) -> KafkaResult<Vec<TopicPartition>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let committed = committed(consumer, places)?.into_iter();
    let forgotten = committed.filter(|(_, position)| position.is_none()).map(|(place, _)| place.topic);
    Ok(of_topics(places, &forgotten.collect()))
}

/// Those of the known partitions whose topic was deleted while these positions in it were being committed: it is not there,
/// or it was created anew, and the broker has taken them for positions in the new one, which ends before them.
pub(super) fn overshot<C: Consumer<GroupContext>>(
    consumer: &C,
    committed: &[(TopicPartition, u64)],
    known: &[TopicPartition],
) -> KafkaResult<Vec<TopicPartition>> {
    if committed.is_empty() {
        return Ok(Vec::new());
    }
    let mut asked = topic_partition_list(committed.iter().map(|(place, _)| place));
    asked.set_all_offsets(Offset::End)?;
    let answer = consumer.offsets_for_times(asked, TIMEOUT).and_then(|ends| {
        ends.elements().iter().try_for_each(|element| element.error())?;
        Ok(ends)
    });
    let topics: HashSet<Arc<str>> = match answer {
        Ok(ends) => topics_that_end_before(committed, &ends),
        // It may be that the broker does not have the topic any more.
        Err(error) => match gone(consumer, committed)? {
            gone if gone.is_empty() => return Err(error),
            gone => gone,
        },
    };
    let all = known.iter().chain(committed.iter().map(|(place, _)| place)).cloned();
    let all: HashSet<TopicPartition> = all.collect();
    Ok(of_topics(&all.into_iter().collect::<Vec<_>>(), &topics))
}

fn topics_that_end_before(committed: &[(TopicPartition, u64)], ends: &TopicPartitionList) -> HashSet<Arc<str>> {
    let is_beyond = |(place, position): &&(TopicPartition, u64)| {
        let end = ends.find_partition(&place.topic, place.partition).map(|element| element.offset());
        matches!(end, Some(Offset::Offset(end)) if u64::try_from(end).is_ok_and(|end| end < *position))
    };
    committed.iter().filter(is_beyond).map(|(place, _)| place.topic.clone()).collect()
}

/// Those of the topics that the broker does not have. It takes positions in a topic that was just deleted, and they would
/// stay when that is created anew.
fn gone<C: Consumer<GroupContext>>(
    consumer: &C,
    committed: &[(TopicPartition, u64)],
) -> KafkaResult<HashSet<Arc<str>>> {
    let topics: HashSet<Arc<str>> = committed.iter().map(|(place, _)| place.topic.clone()).collect();
    let mut gone = HashSet::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(&topic), TIMEOUT)?;
        let unknown = Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        if metadata.topics().iter().any(|found| found.name() == &*topic && found.error() == unknown) {
            gone.insert(topic);
        }
    }
    Ok(gone)
}

fn of_topics(places: &[TopicPartition], topics: &HashSet<Arc<str>>) -> Vec<TopicPartition> {
    places.iter().filter(|place| topics.contains(&place.topic)).cloned().collect()
}

/// Lets the group begin anew in topics that were created anew. In those that do not exist (yet) it has no position, and
/// so begins at their beginning as well.
pub(super) fn begin_anew<C: Consumer<GroupContext>>(consumer: &C, places: &[TopicPartition]) -> KafkaResult<()> {
    let beginnings = places.iter().filter_map(|place| Some((place.clone(), beginning(consumer, place)?)));
    let beginnings: Vec<_> = beginnings.collect();
    if beginnings.is_empty() {
        return Ok(());
    }
    consumer.commit(&offset_list(&beginnings)?, CommitMode::Sync)
}

/// The partitions of the topics that are there. A name with `^` is a regular expression. One that only librdkafka can
/// read finds nothing here: its topics are then read from their beginning, which repeats records and loses none.
fn existing<C: Consumer<GroupContext>>(consumer: &C, topics: &[String]) -> KafkaResult<Vec<TopicPartition>> {
    let patterns: Vec<Regex> =
        topics.iter().filter(|topic| topic.starts_with('^')).filter_map(|topic| Regex::new(topic).ok()).collect();
    let mut places = Vec::new();
    if !patterns.is_empty() {
        let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
        places.extend(partitions(&metadata, |name| patterns.iter().any(|pattern| pattern.is_match(name))));
    }
    for topic in topics.iter().filter(|topic| !topic.starts_with('^')) {
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
        let found = partitions(&metadata, |name| name == topic);
        places.extend(found.into_iter().filter(|place| !places.contains(place)).collect::<Vec<_>>());
    }
    Ok(places)
}

fn partitions(metadata: &Metadata, is_wanted: impl Fn(&str) -> bool) -> Vec<TopicPartition> {
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none() && is_wanted(topic.name()));
    let places = topics.flat_map(|topic| {
        let name: std::sync::Arc<str> = topic.name().into();
        topic
            .partitions()
            .iter()
            .map(move |partition| TopicPartition { topic: name.clone(), partition: partition.id() })
    });
    places.collect()
}

fn has_positions<C: Consumer<GroupContext>>(consumer: &C, places: &[TopicPartition]) -> KafkaResult<bool> {
    Ok(committed(consumer, places)?.iter().any(|(_, position)| position.is_some()))
}

fn committed<C: Consumer<GroupContext>>(
    consumer: &C,
    places: &[TopicPartition],
) -> KafkaResult<Vec<(TopicPartition, Option<u64>)>> {
    let list: TopicPartitionList = consumer.committed_offsets(topic_partition_list(places), TIMEOUT)?;
    let elements = list.elements().into_iter().map(|element| {
        element.error()?;
        let position = match element.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        };
        Ok((TopicPartition { topic: element.topic().into(), partition: element.partition() }, position))
    });
    elements.collect()
}

fn beginning<C: Consumer<GroupContext>>(consumer: &C, place: &TopicPartition) -> Option<u64> {
    let (beginning, _) = consumer.fetch_watermarks(&place.topic, place.partition, TIMEOUT).ok()?;
    u64::try_from(beginning).ok()
}

/// Whether the broker refuses a commit because the group has members, and we are none of them.
fn is_of_membership(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress | Code::UnknownTopicOrPartition
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_without_a_position_tells_of_its_whole_topic_and_of_no_other() {
        let place = |topic: &str, partition| TopicPartition { topic: topic.into(), partition };
        let known = [place("a", 0), place("a", 1), place("b", 0)];
        assert_eq!(of_topics(&known, &[Arc::from("a")].into()), known[..2]);
        assert_eq!(of_topics(&known, &HashSet::new()), []);
    }
}
