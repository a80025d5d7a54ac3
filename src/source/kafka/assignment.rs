//! The partitions that this member of the group has: their numbers, what is still to be committed for them, and with
//! `--once` how far each is to be read.
//!
//! Pure bookkeeping: must not call librdkafka.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::positions::Start;

/// A partition as Kafka names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TopicPartition {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// All partitions assigned to this member, from the assignment until they are lost or released.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    next_number: u32,
    /// By topic first, so that a message is looked up without an allocation.
    numbers: HashMap<Arc<str>, HashMap<i32, u32>>,
    partitions: BTreeMap<u32, Assigned>,
}

#[derive(Debug)]
struct Assigned {
    place: TopicPartition,
    /// Revoked and being drained: still committed, no longer read.
    closing: bool,
    /// The highest watermark that the broker has not confirmed.
    uncommitted: Option<u64>,
    /// The broker has a position of the group here.
    known_to_broker: bool,
    once: Once,
}

/// How far a partition is to be read with `--once`.
#[derive(Debug, Default)]
struct Once {
    /// The end seen at the assignment, once the broker has told it.
    end: Option<u64>,
    /// The offset behind the last record read.
    position: u64,
    finished: bool,
    /// Paused because it is finished or because it is another topic's turn.
    held: bool,
}

/// What to do with a message that has come out of librdkafka's queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is a record of the partition with this number.
    Wanted { number: u32, topic: Arc<str> },
    /// Its partition is closing, gone, or read to its end: it stays uncommitted and is read again by whoever is next.
    Unwanted,
}

/// Where a record stands to its partition's end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadTo {
    /// False for a record behind the end, which comes when the last offsets before the end hold no records
    /// (transaction markers, compaction).
    pub(super) wanted: bool,
    /// Nothing more is wanted of the partition.
    pub(super) finished: bool,
}

/// Partitions whose fetching must change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turns {
    pub(super) pause: Vec<TopicPartition>,
    pub(super) resume: Vec<TopicPartition>,
}

impl Assignment {
    /// Takes partitions in and gives each a number never used before.
    pub(super) fn add(&mut self, places: Vec<TopicPartition>) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(places.len());
        for place in places {
            let number = self.next_number;
            self.next_number += 1;
            self.numbers.entry(place.topic.clone()).or_default().insert(place.partition, number);
            let assigned =
                Assigned { place, closing: false, uncommitted: None, known_to_broker: false, once: Once::default() };
            self.partitions.insert(number, assigned);
            numbers.push(number);
        }
        numbers
    }

    /// The numbers of those partitions that are known.
    pub(super) fn numbers(&self, places: &[TopicPartition]) -> Vec<u32> {
        places.iter().filter_map(|place| self.number(place)).collect()
    }

    /// No more records are read of these.
    pub(super) fn begin_closing(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(assigned) = self.partitions.get_mut(number) {
                assigned.closing = true;
            }
        }
    }

    /// Forgets partitions, and with them what was not committed.
    pub(super) fn remove(&mut self, numbers: &[u32]) {
        for number in numbers {
            let Some(Assigned { place, .. }) = self.partitions.remove(number) else { continue };
            if let Some(partitions) = self.numbers.get_mut(&place.topic) {
                partitions.remove(&place.partition);
            }
        }
        self.numbers.retain(|_, partitions| !partitions.is_empty());
    }

    /// The partitions that records are wanted of now.
    pub(super) fn readable(&self) -> Vec<TopicPartition> {
        let readable = self.partitions.values().filter(|assigned| !assigned.closing && !assigned.once.held);
        readable.map(|assigned| assigned.place.clone()).collect()
    }

    /// Decides about a message.
    pub(super) fn reading(&self, topic: &str, partition: i32) -> Reading {
        let found = self.numbers.get_key_value(topic).and_then(|(topic, partitions)| {
            let number = *partitions.get(&partition)?;
            let assigned = self.partitions.get(&number)?;
            let wanted = !assigned.closing && !assigned.once.finished;
            wanted.then(|| Reading::Wanted { number, topic: topic.clone() })
        });
        found.unwrap_or(Reading::Unwanted)
    }

    /// Remembers a watermark until the broker has confirmed it. Nothing is remembered for a partition that is gone.
    pub(super) fn settle(&mut self, number: u32, position: u64) {
        if let Some(assigned) = self.partitions.get_mut(&number) {
            assigned.uncommitted = assigned.uncommitted.max(Some(position));
        }
    }

    /// All watermarks that the broker has not confirmed, of all partitions or of the given ones.
    pub(super) fn uncommitted(&self, only: Option<&[u32]>) -> Vec<(TopicPartition, u64)> {
        let asked = self.partitions.iter().filter(|(number, _)| only.is_none_or(|only| only.contains(number)));
        asked.filter_map(|(_, assigned)| Some((assigned.place.clone(), assigned.uncommitted?))).collect()
    }

    /// The broker has confirmed these offsets.
    pub(super) fn confirm(&mut self, offsets: &[(TopicPartition, u64)]) {
        for (place, offset) in offsets {
            let Some(assigned) = self.number(place).and_then(|number| self.partitions.get_mut(&number)) else {
                continue;
            };
            assigned.known_to_broker = true;
            assigned.uncommitted = assigned.uncommitted.filter(|uncommitted| uncommitted > offset);
        }
    }

    /// Takes in where partitions stood when they were assigned. The beginning of one without a position is committed if
    /// it should be, unless a watermark has been meanwhile.
    pub(super) fn begin_at(&mut self, starts: &[Start], commits_beginning: impl Fn(&TopicPartition) -> bool) {
        for Start { place, position, committed } in starts {
            let Some(assigned) = self.number(place).and_then(|number| self.partitions.get_mut(&number)) else {
                continue;
            };
            if *committed {
                assigned.known_to_broker = true;
            } else if commits_beginning(place) && !assigned.known_to_broker {
                assigned.uncommitted = assigned.uncommitted.max(Some(*position));
            }
        }
    }

    /// The partitions of which the broker has a position of the group.
    pub(super) fn known_to_broker(&self) -> Vec<TopicPartition> {
        let known = self.partitions.values().filter(|assigned| assigned.known_to_broker);
        known.map(|assigned| assigned.place.clone()).collect()
    }

    fn number(&self, place: &TopicPartition) -> Option<u32> {
        self.numbers.get(&place.topic)?.get(&place.partition).copied()
    }
}

/// Reading to an end, with `--once`.
impl Assignment {
    /// The broker has told where the partition ended when it was assigned.
    pub(super) fn set_end(&mut self, number: u32, end: u64) {
        if let Some(once) = self.once(number) {
            once.end = Some(end);
            once.finished |= once.position >= end;
        }
    }

    /// A record was read; `position` is the offset behind it.
    pub(super) fn read_to(&mut self, number: u32, position: u64) -> ReadTo {
        let Some(once) = self.once(number) else { return ReadTo { wanted: false, finished: false } };
        once.position = position;
        once.finished |= once.end.is_some_and(|end| position >= end);
        ReadTo { wanted: once.end.is_none_or(|end| position <= end), finished: once.finished }
    }

    /// librdkafka has reached the end of the one partition with this number that is not held.
    ///
    /// Its message does not say of which topic, hence [`turns`](Self::turns).
    pub(super) fn end_of_partition(&mut self, partition: i32) {
        let readable = self.partitions.values_mut().filter(|assigned| !assigned.closing && !assigned.once.held);
        for assigned in readable.filter(|assigned| assigned.place.partition == partition) {
            assigned.once.finished = true;
        }
    }

    /// Partitions of the same number in different topics are read one after the other, and those that are finished
    /// no more: so the end of partition 0 can only mean one of them.
    pub(super) fn turns(&mut self) -> Turns {
        let mut turns = Turns::default();
        let mut taken = Vec::new();
        for assigned in self.partitions.values_mut().filter(|assigned| !assigned.closing) {
            let partition = assigned.place.partition;
            let hold = assigned.once.finished || taken.contains(&partition);
            if !hold {
                taken.push(partition);
            }
            if hold != assigned.once.held {
                assigned.once.held = hold;
                let change = if hold { &mut turns.pause } else { &mut turns.resume };
                change.push(assigned.place.clone());
            }
        }
        turns
    }

    /// True when no partition is left to read: none was assigned, or all are finished or closing.
    pub(super) fn is_finished(&self) -> bool {
        self.partitions.values().all(|assigned| assigned.closing || assigned.once.finished)
    }

    /// True when nothing is assigned.
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    fn once(&mut self, number: u32) -> Option<&mut Once> {
        self.partitions.get_mut(&number).map(|assigned| &mut assigned.once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    fn wanted(assignment: &Assignment, topic: &str, partition: i32) -> Option<u32> {
        match assignment.reading(topic, partition) {
            Reading::Wanted { number, .. } => Some(number),
            Reading::Unwanted => None,
        }
    }

    #[test]
    fn a_number_is_never_used_twice() {
        let mut assignment = Assignment::default();
        assert_eq!(assignment.add(vec![place("a", 0), place("b", 0)]), [0, 1]);
        assignment.remove(&[0]);
        assert_eq!(wanted(&assignment, "a", 0), None);
        assert_eq!(assignment.add(vec![place("a", 0)]), [2]);
        assert_eq!(wanted(&assignment, "a", 0), Some(2));
        assert_eq!(wanted(&assignment, "b", 0), Some(1));
    }

    #[test]
    fn a_closing_partition_is_committed_but_not_read() {
        let mut assignment = Assignment::default();
        assignment.add(vec![place("a", 0), place("a", 1)]);
        assignment.begin_closing(&[0]);
        assignment.settle(0, 7);
        assert_eq!(wanted(&assignment, "a", 0), None);
        assert_eq!(assignment.readable(), [place("a", 1)]);
        assert_eq!(assignment.uncommitted(None), [(place("a", 0), 7)]);
        assignment.remove(&[0]);
        assignment.settle(0, 8);
        assert_eq!(assignment.uncommitted(None), []);
    }

    #[test]
    fn a_watermark_is_kept_until_it_is_confirmed() {
        let mut assignment = Assignment::default();
        assignment.add(vec![place("a", 0), place("a", 1)]);
        assignment.settle(0, 5);
        assignment.settle(1, 9);
        assignment.settle(0, 8);
        assignment.confirm(&[(place("a", 0), 5), (place("a", 1), 9)]);
        assert_eq!(assignment.uncommitted(None), [(place("a", 0), 8)]);
        assert_eq!(assignment.uncommitted(Some(&[1])), []);
        assignment.confirm(&[(place("a", 0), 8)]);
        assert_eq!(assignment.uncommitted(None), []);
    }

    #[test]
    fn a_beginning_is_committed_only_where_the_group_has_no_position() {
        let mut assignment = Assignment::default();
        let places = [place("a", 0), place("a", 1), place("a", 2)];
        assignment.add(places.to_vec());
        assignment.settle(2, 9);
        assignment.confirm(&[(place("a", 2), 9)]);
        let start = |place: &TopicPartition, committed| Start { place: place.clone(), position: 5, committed };
        let starts = [start(&places[0], true), start(&places[1], false), start(&places[2], false)];
        assignment.begin_at(&starts, |_| true);
        assert_eq!(assignment.uncommitted(None), [(place("a", 1), 5)]);
        assert_eq!(assignment.known_to_broker(), [place("a", 0), place("a", 2)]);
    }

    #[test]
    fn partitions_of_one_number_take_turns_until_all_are_finished() {
        let mut assignment = Assignment::default();
        assignment.add(vec![place("a", 0), place("a", 1), place("b", 0)]);
        assert_eq!(assignment.turns(), Turns { pause: vec![place("b", 0)], resume: vec![] });
        assignment.end_of_partition(0);
        assert_eq!(assignment.turns(), Turns { pause: vec![place("a", 0)], resume: vec![place("b", 0)] });
        assignment.end_of_partition(1);
        assert!(!assignment.is_finished());
        assignment.end_of_partition(0);
        assert!(assignment.is_finished());
        assert_eq!(assignment.turns().resume, []);
        assert_eq!(assignment.readable(), []);
    }

    #[test]
    fn reading_ends_at_the_end_that_was_seen_first() {
        let mut assignment = Assignment::default();
        assignment.add(vec![place("a", 0)]);
        assert_eq!(assignment.read_to(0, 1), ReadTo { wanted: true, finished: false });
        assignment.set_end(0, 3);
        assert_eq!(assignment.read_to(0, 2), ReadTo { wanted: true, finished: false });
        assert_eq!(assignment.read_to(0, 3), ReadTo { wanted: true, finished: true });
        assert_eq!(wanted(&assignment, "a", 0), None);
    }

    #[test]
    fn a_record_behind_the_end_is_left_for_the_next_run() {
        let mut assignment = Assignment::default();
        assignment.add(vec![place("a", 0)]);
        assignment.set_end(0, 3);
        assert_eq!(assignment.read_to(0, 5), ReadTo { wanted: false, finished: true });
    }

    #[test]
    fn an_end_that_is_told_late_still_counts() {
        let mut assignment = Assignment::default();
        assignment.add(vec![place("a", 0)]);
        assignment.read_to(0, 3);
        assert!(!assignment.is_finished());
        assignment.set_end(0, 3);
        assert!(assignment.is_finished());
    }
}
