//! What happened, as far as it can be known from outside the bridge. Pure: no broker, no process, no clock. What must
//! hold of it in the end is in [`rules`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use super::plan::{Answer, Plan, Sink};

mod rules;

/// An event's way to a sink.
pub(super) type Delivery = (Sink, u64);

/// One request at the receiver.
#[derive(Debug, Clone)]
struct Attempt {
    /// Since the torture began.
    at: Duration,
    /// The id and the body: what must never change.
    content: String,
    answer: Answer,
}

/// A dead letter of a sink.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) sink: Sink,
    pub(super) event: u64,
    pub(super) reason: String,
    pub(super) attempts: i64,
}

/// A dead letter of the source, for bytes of its file that it could not read.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) reason: String,
    pub(super) start: u64,
    /// `None` when the source does not know how far it goes.
    pub(super) end: Option<u64>,
    pub(super) message: String,
}

/// A topic that was deleted and created anew.
#[derive(Debug, Clone)]
struct Anew {
    /// The first event of the new one.
    first: u64,
    /// When the old one was deleted.
    at: Duration,
    while_running: bool,
    /// Events up to this were produced before the bridge, which had read the old one, can have noticed.
    noticed: u64,
}

/// Everything that can be known from outside the bridge.
#[derive(Debug)]
pub(super) struct Ledger {
    plan: Plan,
    /// Events that a source may have in flight.
    max_in_flight: usize,
    /// Events 0 up to this were produced.
    produced: u64,
    attempts: BTreeMap<Delivery, Vec<Attempt>>,
    kills: Vec<Duration>,
    /// As many events were produced before each kill.
    produced_at_kill: Vec<u64>,
    letters: Vec<Letter>,
    /// When each delivery was first seen among the dead letters. It is attempted again when its event is read again.
    given_up_at: BTreeMap<Delivery, Duration>,
    losses: Vec<Loss>,
    /// The ids that events must have, where the source does not choose them.
    ids: BTreeMap<u64, String>,
    /// Deliveries that may be missing: what their event was in is gone.
    may_be_missing: BTreeSet<Delivery>,
    /// The file was copied and not yet truncated.
    is_copied: bool,
    /// What files had when they were truncated and their copies have not, in bytes.
    gaps: Vec<Range<u64>>,
    /// Partition and offset of the events of the topic that there is now.
    places: BTreeMap<u64, (i32, i64)>,
    topics_anew: Vec<Anew>,
    /// The receiver has got well.
    is_the_end: bool,
}

/// What happened.
impl Ledger {
    pub(super) fn new(plan: Plan, max_in_flight: usize) -> Self {
        Self {
            plan,
            max_in_flight,
            produced: 0,
            attempts: BTreeMap::new(),
            kills: Vec::new(),
            produced_at_kill: Vec::new(),
            letters: Vec::new(),
            given_up_at: BTreeMap::new(),
            losses: Vec::new(),
            ids: BTreeMap::new(),
            may_be_missing: BTreeSet::new(),
            is_copied: false,
            gaps: Vec::new(),
            places: BTreeMap::new(),
            topics_anew: Vec::new(),
            is_the_end: false,
        }
    }

    /// So many more events are written. What is written between the copy of a file and its truncation may be missing.
    pub(super) fn produced(&mut self, events: u64) {
        let new = self.produced..self.produced + events;
        self.produced = new.end;
        if self.is_copied {
            self.may_be_missing.extend(new.flat_map(|event| Sink::ALL.map(|sink| (sink, event))));
        }
    }

    /// An event has this id.
    pub(super) fn has_id(&mut self, event: u64, id: String) {
        self.ids.insert(event, id);
    }

    /// An event is at this partition and offset of the topic.
    pub(super) fn is_at(&mut self, event: u64, partition: i32, offset: i64) {
        self.places.insert(event, (partition, offset));
    }

    /// The file was copied and will be truncated.
    pub(super) fn copied(&mut self) {
        self.is_copied = true;
    }

    /// The file was truncated; it had these bytes that its copy has not.
    pub(super) fn truncated(&mut self, gap: Range<u64>) {
        self.is_copied = false;
        if !gap.is_empty() {
            self.gaps.push(gap);
        }
    }

    /// The topic is about to be deleted; the group has committed these offsets, and these deliveries are in the store.
    /// What was not committed may have been in memory only, or not been read at all, and may be missing.
    pub(super) fn topic_goes(
        &mut self,
        at: Duration,
        committed: &BTreeMap<i32, i64>,
        parked: &BTreeSet<Delivery>,
        while_running: bool,
    ) {
        let is_committed = |(partition, offset)| committed.get(&partition).is_some_and(|committed| offset < *committed);
        let places = std::mem::take(&mut self.places).into_iter();
        let open = places.filter(|(_, place)| !is_committed(*place)).map(|(event, _)| event);
        let deliveries = open.flat_map(|event| Sink::ALL.map(|sink| (sink, event)));
        self.may_be_missing.extend(deliveries.filter(|delivery| !parked.contains(delivery)));
        self.topics_anew.push(Anew { first: self.produced, at, while_running, noticed: self.produced });
    }

    /// The bridge has noticed that the topic is another one.
    pub(super) fn topic_is_noticed(&mut self) {
        if let Some(anew) = self.topics_anew.last_mut() {
            anew.noticed = self.produced;
        }
    }

    /// From now on attempts fail only where they must.
    pub(super) fn the_end_begins(&mut self) {
        self.is_the_end = true;
    }

    pub(super) fn killed(&mut self, at: Duration) {
        self.kills.push(at);
        self.produced_at_kill.push(self.produced);
    }

    /// The dead letters that there are now: of sinks, and of the source.
    pub(super) fn has_letters(&mut self, letters: Vec<Letter>, losses: Vec<Loss>, at: Duration) {
        for letter in &letters {
            self.given_up_at.entry((letter.sink, letter.event)).or_insert(at);
        }
        self.letters = letters;
        self.losses = losses;
    }

    /// Notes an attempt, and says what it gets.
    pub(super) fn attempted(&mut self, sink: Sink, event: u64, content: String, at: Duration) -> Answer {
        let earlier = self.attempts.entry((sink, event)).or_default();
        let number = u32::try_from(earlier.len() + 1).unwrap_or(u32::MAX);
        let answer = match self.is_the_end {
            true => self.plan.answer_in_the_end(sink, event),
            false => self.plan.answer(sink, event, number),
        };
        earlier.push(Attempt { at, content, answer });
        answer
    }
}

/// What is known.
impl Ledger {
    /// How many events were produced.
    pub(super) fn count(&self) -> u64 {
        self.produced
    }

    /// Deliveries that have neither succeeded nor become a letter, and may not be missing.
    pub(super) fn open(&self) -> Vec<Delivery> {
        let mut unsettled = self.unsettled();
        unsettled.retain(|delivery| !self.may_be_missing.contains(delivery));
        unsettled
    }

    /// Deliveries that have neither succeeded nor become a letter.
    fn unsettled(&self) -> Vec<Delivery> {
        let given_up = self.given_up();
        let all = Sink::ALL.into_iter().flat_map(|sink| (0..self.produced).map(move |event| (sink, event)));
        all.filter(|delivery| self.successes(*delivery).is_empty() && !given_up.contains(delivery)).collect()
    }

    pub(super) fn summary(&self) -> String {
        let attempts: usize = self.attempts.values().map(Vec::len).sum();
        let mut text = format!(
            "{} events for {} sinks, {} kills, {attempts} attempts, {} dead letters, {} repetitions",
            self.produced,
            Sink::ALL.len(),
            self.kills.len(),
            self.letters.len(),
            self.repetitions(),
        );
        if !self.gaps.is_empty() {
            write!(text, ", {} rotations with a gap, {} of them told", self.gaps.len(), self.losses.len()).ok();
        }
        if !self.topics_anew.is_empty() {
            let running = self.topics_anew.iter().filter(|anew| anew.while_running).count();
            write!(text, ", {} topics created anew, {running} of them while it ran", self.topics_anew.len()).ok();
        }
        if !self.may_be_missing.is_empty() {
            let missing = self.unsettled().len() - self.open().len();
            write!(text, ", {missing} deliveries missing of {} that may be", self.may_be_missing.len()).ok();
        }
        text
    }

    /// How often a delivery succeeded that had succeeded before.
    fn repetitions(&self) -> usize {
        let successes = self.attempts.keys().map(|delivery| self.successes(*delivery).len());
        successes.map(|count| count.saturating_sub(1)).sum()
    }

    fn kills_since_production(&self, event: u64) -> usize {
        let before = self.produced_at_kill.iter().filter(|produced| **produced <= event).count();
        self.kills.len() - before
    }

    /// The number of the life that was at this time; the first is 0, and its kill has the same number.
    fn life(&self, at: Duration) -> usize {
        self.kills.iter().filter(|kill| **kill < at).count()
    }

    /// The number of the topic that an event is in; the first is 0.
    fn topic(&self, event: u64) -> usize {
        self.topics_anew.partition_point(|anew| anew.first <= event)
    }

    /// True for an event in a topic that was created anew, which the bridge may have read while it still took that for
    /// the old one.
    fn may_be_read_unnoticed(&self, event: u64) -> bool {
        let anew = self.topic(event).checked_sub(1).map(|index| &self.topics_anew[index]);
        anew.is_some_and(|anew| event < anew.noticed)
    }

    fn attempts_of(&self, sink: Sink) -> impl Iterator<Item = (u64, &Vec<Attempt>)> {
        let range = self.attempts.range((sink, 0)..=(sink, u64::MAX));
        range.map(|((_, event), attempts)| (*event, attempts))
    }

    fn successes(&self, delivery: Delivery) -> Vec<Duration> {
        let attempts = self.attempts.get(&delivery).into_iter().flatten();
        attempts.filter(|attempt| attempt.answer.is_success()).map(|attempt| attempt.at).collect()
    }

    fn given_up(&self) -> BTreeSet<Delivery> {
        self.letters.iter().map(|letter| (letter.sink, letter.event)).collect()
    }

    /// All that is known of a delivery.
    fn history(&self, (sink, event): Delivery) -> String {
        let (key, fate, topic) = (self.plan.key(event), self.plan.fate(sink, event), self.topic(event));
        let mut text = format!("event {event} of key {key} at sink `{}`, meant to be {fate:?}", sink.name());
        if topic > 0 {
            write!(text, ", in topic {topic}").ok();
        }
        if let Some(id) = self.ids.get(&event) {
            write!(text, ", with the id {id}").ok();
        }
        if self.may_be_missing.contains(&(sink, event)) {
            write!(text, ", may be missing").ok();
        }
        for letter in self.letters.iter().filter(|letter| (letter.sink, letter.event) == (sink, event)) {
            write!(text, "\n    letter: {}, {} attempts", letter.reason, letter.attempts).ok();
        }
        for attempt in self.attempts.get(&(sink, event)).into_iter().flatten() {
            let life = self.life(attempt.at);
            write!(text, "\n    {:?} in life {life}: {:?} to {}", attempt.at, attempt.answer, attempt.content).ok();
        }
        text
    }
}
