//! What must hold of what happened. Pure, as the ledger is.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::{Ledger, Loss};
use crate::torture::plan::{Answer, Fate, MAX_ATTEMPTS, Sink};

#[cfg(test)]
mod tests;

/// What is settled but not yet confirmed to the source or the store when the bridge dies was settled within this time:
/// the commit interval (20 ms) and, generously, the commit itself.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

/// How many violations of one kind are told.
const TOLD: usize = 5;

impl Ledger {
    /// Every rule that was broken, with the history of the events concerned.
    pub(in crate::torture) fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for rule in [
            Self::none_is_lost,
            Self::none_is_made_up,
            Self::letters_are_deserved,
            Self::letters_are_shown_once,
            Self::losses_are_real,
            Self::requests_never_change,
            Self::ids_are_those_of_the_source,
            Self::repetitions_are_bounded,
            Self::keys_keep_their_order,
        ] {
            violations.extend(rule(self).into_iter().take(TOLD));
        }
        violations
    }

    /// Each event has a fate of its own, also one that shares its id with others, or its place with one of a topic that
    /// is gone.
    fn none_is_lost(&self) -> Vec<String> {
        self.open().into_iter().map(|delivery| format!("lost: {}", self.history(delivery))).collect()
    }

    fn none_is_made_up(&self) -> Vec<String> {
        let unknown = self.attempts.keys().filter(|(_, event)| *event >= self.produced);
        unknown.map(|delivery| format!("never produced: {}", self.history(*delivery))).collect()
    }

    /// What the receiver would take is delivered, what it will not take is a letter, each with the right reason. While a
    /// sink is disabled, everything may become a letter.
    fn letters_are_deserved(&self) -> Vec<String> {
        let undeserved = self.letters.iter().filter(|letter| match letter.reason.as_str() {
            "rejected" => !matches!(self.plan.fate(letter.sink, letter.event), Fate::Rejected { .. }),
            "retries-exhausted" => {
                self.plan.fate(letter.sink, letter.event) != Fate::Hopeless || letter.attempts < i64::from(MAX_ATTEMPTS)
            }
            "sink-disabled" => !self.was_disabled(letter.sink),
            _ => true,
        });
        undeserved.map(|letter| format!("undeserved: {}", self.history((letter.sink, letter.event)))).collect()
    }

    fn was_disabled(&self, sink: Sink) -> bool {
        self.attempts_of(sink).any(|(_, attempts)| attempts.iter().any(|attempt| attempt.answer == Answer::Status(410)))
    }

    /// An event that is read again is known again, also when its file was rotated meanwhile.
    fn letters_are_shown_once(&self) -> Vec<String> {
        let mut shown: BTreeMap<_, usize> = BTreeMap::new();
        for letter in &self.letters {
            *shown.entry((letter.sink, letter.event)).or_default() += 1;
        }
        let twice = shown.into_iter().filter(|(_, times)| *times > 1);
        twice.map(|(delivery, times)| format!("shown {times} times: {}", self.history(delivery))).collect()
    }

    /// The source says that bytes are lost only where they were in no copy.
    fn losses_are_real(&self) -> Vec<String> {
        let is_real = |loss: &Loss| loss.reason == "lost" && self.gaps.iter().any(|gap| is_in(loss, gap));
        let false_ones = self.losses.iter().filter(|loss| !is_real(loss));
        let told = |loss: &Loss| {
            let Loss { reason, start, end, message } = loss;
            format!("{reason}, but not lost: {start} to {end:?}, {message}; what was lost: {:?}", self.gaps)
        };
        false_ones.map(told).collect()
    }

    /// Every attempt of a delivery sends the same id and the same body, across restarts too.
    fn requests_never_change(&self) -> Vec<String> {
        let changed = self
            .attempts
            .iter()
            .filter(|(_, attempts)| attempts.iter().any(|attempt| attempt.content != attempts[0].content));
        changed.map(|(delivery, _)| format!("changed: {}", self.history(*delivery))).collect()
    }

    fn ids_are_those_of_the_source(&self) -> Vec<String> {
        let has_another = |event: &u64, content: &str| {
            self.ids.get(event).is_some_and(|id| content.split(' ').next() != Some(id.as_str()))
        };
        let wrong = self
            .attempts
            .iter()
            .filter(|((_, event), attempts)| attempts.iter().any(|attempt| has_another(event, &attempt.content)));
        wrong.map(|(delivery, _)| format!("under another id: {}", self.history(*delivery))).collect()
    }

    /// A delivery succeeds a second time only for a kill at which it was not confirmed. Mostly the first success was
    /// before the kill: just before it, or longer ago when it had to stay unconfirmed, as an earlier event of its source
    /// was open: at most the source's window, for each kill and sink. But it may also be parked at the kill, with its
    /// source not yet told: then it comes from the store and from the source, and may succeed twice in the next life.
    ///
    /// When a topic is created anew while the bridge runs, what is read of it before that is noticed is read again.
    fn repetitions_are_bounded(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for sink in Sink::ALL {
            let mut repeated: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
            for (event, _) in self.attempts_of(sink) {
                let successes = self.successes((sink, event));
                for pair in successes.windows(2) {
                    let kill = self.kills.iter().position(|kill| pair[0] < *kill && *kill < pair[1]);
                    if let Some(kill) = kill.filter(|kill| pair[0] + CONFIRMED_WITHIN < self.kills[*kill]) {
                        repeated.entry(kill).or_default().push(event);
                    }
                }
                let reasons = self.kills_since_production(event) + usize::from(self.may_be_read_unnoticed(event));
                if successes.len() > 1 + reasons {
                    violations.push(format!("repeated for no reason: {}", self.history((sink, event))));
                }
            }
            for (kill, events) in repeated.iter().filter(|(kill, events)| events.len() > self.window(**kill)) {
                let (count, history) = (events.len(), self.history((sink, events[0])));
                violations.push(format!("kill {kill} let {count} deliveries be repeated, one of them: {history}"));
            }
        }
        violations
    }

    /// How many deliveries may be unconfirmed at a kill.
    fn window(&self, kill: usize) -> usize {
        let anew = self.topics_anew.iter().filter(|anew| anew.while_running && self.life(anew.at) == kill).count();
        self.max_in_flight * (1 + anew)
    }

    /// In the sink with `order_by` no delivery is attempted before every earlier one of its key has succeeded. This says
    /// nothing of one that has become a letter: when its event is read again, it is attempted again, outside the order.
    ///
    /// A topic that is created anew while the bridge runs may be read on from the old position until that is noticed.
    /// What was read then is before the rest of that topic.
    fn keys_keep_their_order(&self) -> Vec<String> {
        let mut last_success: BTreeMap<(String, usize), (Duration, u64)> = BTreeMap::new();
        let mut violations = Vec::new();
        for (event, attempts) in self.attempts_of(Sink::Ordered) {
            let given_up_at = self.given_up_at.get(&(Sink::Ordered, event)).copied();
            if given_up_at.is_some_and(|given_up_at| given_up_at < attempts[0].at) {
                continue;
            }
            let (key, first, topic) = (self.plan.key(event), attempts[0].at, self.topic(event));
            let end = if self.may_be_read_unnoticed(event) { topic } else { topic + 1 };
            let earlier = last_success.range((key.clone(), 0)..(key.clone(), end));
            if let Some((_, (success, earlier))) = earlier.into_iter().find(|(_, (success, _))| first < *success) {
                let (one, other) = (self.history((Sink::Ordered, *earlier)), self.history((Sink::Ordered, event)));
                violations.push(format!("out of order, success at {success:?}: {one}\n  before {other}"));
            }
            let success = self.successes((Sink::Ordered, event)).first().copied();
            if let Some(success) = success.filter(|_| given_up_at.is_none()) {
                let last = last_success.entry((key, topic)).or_insert((success, event));
                *last = (*last).max((success, event));
            }
        }
        violations
    }
}

/// Whether all that is said to be lost is in a gap. Where it ends is known from the copy. Only where that is empty nothing
/// can be found of the file, and what is said is that more may have been written than was read.
fn is_in(loss: &Loss, gap: &Range<u64>) -> bool {
    match loss.end {
        Some(end) => gap.start <= loss.start && loss.start < end && end <= gap.end,
        None => gap.start == 0 && loss.start <= gap.end,
    }
}
