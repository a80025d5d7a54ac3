//! What happened, and what must hold of it in the end. Pure: no broker, no process, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::plan::{Answer, Fate, Plan, Sink};

/// One request at the receiver.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// Since the torture began.
    pub(super) at: Duration,
    /// The id and the body: what must never change.
    pub(super) content: String,
    pub(super) answer: Answer,
}

/// A dead letter of a sink.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) sink: Sink,
    pub(super) event: u64,
    pub(super) reason: String,
    pub(super) attempts: i64,
}

/// Everything that can be known from outside the bridge.
#[derive(Debug)]
pub(super) struct Ledger {
    plan: Plan,
    /// Events that a source may have in flight.
    max_in_flight: usize,
    /// Events 0 up to this were produced.
    produced: u64,
    attempts: BTreeMap<(Sink, u64), Vec<Attempt>>,
    kills: Vec<Duration>,
    /// As many events were produced before each kill.
    produced_at_kill: Vec<u64>,
    letters: Vec<Letter>,
    /// The receiver has got well.
    is_the_end: bool,
}

/// What is settled but not yet confirmed to the source or the store when the bridge dies was settled within this time:
/// the commit interval (20 ms) and, generously, the commit itself.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

/// How many violations of one kind are told.
const TOLD: usize = 5;

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
            is_the_end: false,
        }
    }

    pub(super) fn produced(&mut self, events: u64) {
        self.produced += events;
    }

    /// From now on attempts fail only where they must.
    pub(super) fn the_end_begins(&mut self) {
        self.is_the_end = true;
    }

    /// How many events were produced.
    pub(super) fn count(&self) -> u64 {
        self.produced
    }

    pub(super) fn killed(&mut self, at: Duration) {
        self.kills.push(at);
        self.produced_at_kill.push(self.produced);
    }

    /// The dead letters that there are now.
    pub(super) fn has_letters(&mut self, letters: Vec<Letter>) {
        self.letters = letters;
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

    /// Deliveries that have neither succeeded nor become a letter.
    pub(super) fn open(&self) -> Vec<(Sink, u64)> {
        let given_up = self.given_up();
        let all = Sink::ALL.into_iter().flat_map(|sink| (0..self.produced).map(move |event| (sink, event)));
        all.filter(|delivery| self.successes(*delivery).is_empty() && !given_up.contains(delivery)).collect()
    }

    /// Every rule that was broken, with the history of the events concerned.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        self.none_is_lost(&mut violations);
        self.none_is_made_up(&mut violations);
        self.letters_are_deserved(&mut violations);
        self.requests_never_change(&mut violations);
        self.repetitions_are_bounded(&mut violations);
        self.keys_keep_their_order(&mut violations);
        violations
    }

    /// How often a delivery succeeded that had succeeded before.
    pub(super) fn repetitions(&self) -> usize {
        let successes = self.attempts.keys().map(|delivery| self.successes(*delivery).len());
        successes.map(|count| count.saturating_sub(1)).sum()
    }

    pub(super) fn summary(&self) -> String {
        let attempts: usize = self.attempts.values().map(Vec::len).sum();
        format!(
            "{} events for {} sinks, {} kills, {attempts} attempts, {} dead letters, {} repetitions",
            self.produced,
            Sink::ALL.len(),
            self.kills.len(),
            self.letters.len(),
            self.repetitions(),
        )
    }

    fn none_is_lost(&self, violations: &mut Vec<String>) {
        let lost = self.open().into_iter().map(|delivery| format!("lost: {}", self.history(delivery)));
        violations.extend(lost.take(TOLD));
    }

    fn none_is_made_up(&self, violations: &mut Vec<String>) {
        let unknown = self.attempts.keys().filter(|(_, event)| *event >= self.produced);
        violations.extend(unknown.map(|delivery| format!("never produced: {}", self.history(*delivery))).take(TOLD));
    }

    /// What the receiver would take is delivered, what it will not take is a letter, each with the right reason. While a
    /// sink is disabled, everything may become a letter.
    fn letters_are_deserved(&self, violations: &mut Vec<String>) {
        for letter in &self.letters {
            let fits = match letter.reason.as_str() {
                "rejected" => matches!(self.plan.fate(letter.sink, letter.event), Fate::Rejected { .. }),
                "retries-exhausted" => {
                    self.plan.fate(letter.sink, letter.event) == Fate::Hopeless
                        && letter.attempts >= i64::from(super::plan::MAX_ATTEMPTS)
                }
                "sink-disabled" => self.was_disabled(letter.sink),
                _ => false,
            };
            if !fits {
                violations.push(format!("undeserved: {}", self.history((letter.sink, letter.event))));
            }
        }
    }

    fn was_disabled(&self, sink: Sink) -> bool {
        self.attempts_of(sink).any(|(_, attempts)| attempts.iter().any(|attempt| attempt.answer == Answer::Status(410)))
    }

    /// Every attempt of a delivery sends the same id and the same body, across restarts too.
    fn requests_never_change(&self, violations: &mut Vec<String>) {
        let changed = self
            .attempts
            .iter()
            .filter(|(_, attempts)| attempts.iter().any(|attempt| attempt.content != attempts[0].content));
        violations.extend(changed.map(|(delivery, _)| format!("changed: {}", self.history(*delivery))).take(TOLD));
    }

    /// A delivery succeeds a second time only for a kill at which it was not confirmed. Mostly the first success was
    /// before the kill: just before it, or longer ago when it had to stay unconfirmed, as an earlier event of its source
    /// was open: at most the source's window, for each kill and sink. But it may also be parked at the kill, with its
    /// source not yet told: then it comes from the store and from the source, and may succeed twice in the next life.
    fn repetitions_are_bounded(&self, violations: &mut Vec<String>) {
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
                if successes.len() > 1 + self.kills_since_production(event) {
                    violations.push(format!("repeated for no reason: {}", self.history((sink, event))));
                }
            }
            for (kill, events) in repeated.iter().filter(|(_, events)| events.len() > self.max_in_flight) {
                let (count, history) = (events.len(), self.history((sink, events[0])));
                violations.push(format!("kill {kill} let {count} deliveries be repeated, one of them: {history}"));
            }
        }
    }

    fn kills_since_production(&self, event: u64) -> usize {
        let before = self.produced_at_kill.iter().filter(|produced| **produced <= event).count();
        self.kills.len() - before
    }

    /// In the sink with `order_by` no delivery is attempted before every earlier one of its key has succeeded, unless
    /// that became a letter: then its later fate (it may be read again) says nothing about the order.
    fn keys_keep_their_order(&self, violations: &mut Vec<String>) {
        let given_up = self.given_up();
        let mut last_success: BTreeMap<String, (Duration, u64)> = BTreeMap::new();
        let before = violations.len();
        for (event, attempts) in self.attempts_of(Sink::Ordered) {
            let key = self.plan.key(event);
            if let Some((success, earlier)) = last_success.get(&key).filter(|(success, _)| attempts[0].at < *success) {
                let (one, other) = (self.history((Sink::Ordered, *earlier)), self.history((Sink::Ordered, event)));
                violations.push(format!("out of order, success at {success:?}: {one}\n  before {other}"));
            }
            let success = self.successes((Sink::Ordered, event)).first().copied();
            if let Some(success) = success.filter(|_| !given_up.contains(&(Sink::Ordered, event))) {
                let last = last_success.entry(key).or_insert((success, event));
                *last = (*last).max((success, event));
            }
        }
        violations.truncate(before + TOLD);
    }

    fn attempts_of(&self, sink: Sink) -> impl Iterator<Item = (u64, &Vec<Attempt>)> {
        let range = self.attempts.range((sink, 0)..=(sink, u64::MAX));
        range.map(|((_, event), attempts)| (*event, attempts))
    }

    fn successes(&self, delivery: (Sink, u64)) -> Vec<Duration> {
        let attempts = self.attempts.get(&delivery).into_iter().flatten();
        attempts.filter(|attempt| attempt.answer.is_success()).map(|attempt| attempt.at).collect()
    }

    fn given_up(&self) -> BTreeSet<(Sink, u64)> {
        self.letters.iter().map(|letter| (letter.sink, letter.event)).collect()
    }

    /// All that is known of a delivery.
    fn history(&self, (sink, event): (Sink, u64)) -> String {
        let (key, fate) = (self.plan.key(event), self.plan.fate(sink, event));
        let mut text = format!("event {event} of key {key} at sink `{}`, meant to be {fate:?}", sink.name());
        for letter in self.letters.iter().filter(|letter| (letter.sink, letter.event) == (sink, event)) {
            write!(text, "\n    letter: {}, {} attempts", letter.reason, letter.attempts).ok();
        }
        for attempt in self.attempts.get(&(sink, event)).into_iter().flatten() {
            let life = self.kills.iter().filter(|kill| **kill < attempt.at).count();
            write!(text, "\n    {:?} in life {life}: {:?} to {}", attempt.at, attempt.answer, attempt.content).ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger of a plan in which these events are welcome at their first attempt, and of one key.
    fn ledger() -> (Ledger, [u64; 3]) {
        let plan = Plan { seed: 1 };
        let welcome = |event: &u64| plan.fate(Sink::Ordered, *event) == Fate::Delivered { failures: 0 };
        let same_key = |event: &u64| plan.key(*event) == "k0";
        let events: Vec<u64> = (0..1000).filter(|event| welcome(event) && same_key(event)).take(3).collect();
        (Ledger::new(plan, 0), events.try_into().unwrap())
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn attempted(ledger: &mut Ledger, event: u64, at: u64) {
        ledger.attempted(Sink::Ordered, event, String::new(), millis(at));
    }

    #[test]
    fn an_event_that_is_nowhere_is_lost() {
        let (mut ledger, _) = ledger();
        ledger.produced(1);
        assert_eq!(ledger.violations().len(), 2, "one for each sink");
    }

    #[test]
    fn a_follower_attempted_before_its_head_succeeded_is_out_of_order() {
        let (mut ledger, [first, second, _]) = ledger();
        attempted(&mut ledger, second, 10);
        attempted(&mut ledger, first, 20);
        assert!(ledger.violations().iter().any(|violation| violation.starts_with("out of order")));
    }

    #[test]
    fn a_repetition_needs_a_kill_and_an_unconfirmed_success() {
        for (kill, is_fine) in [(None, false), (Some(millis(5000)), false), (Some(millis(500)), true)] {
            let (mut ledger, [first, ..]) = ledger();
            ledger.produced(1000);
            attempted(&mut ledger, first, 10);
            kill.into_iter().for_each(|kill| ledger.killed(kill));
            attempted(&mut ledger, first, 9000);
            let repeated = ledger.violations().iter().any(|violation| violation.contains("repeated"));
            assert_eq!(repeated, !is_fine, "{kill:?}");
        }
    }

    #[test]
    fn a_welcome_event_among_the_letters_is_undeserved() {
        let (mut ledger, [first, ..]) = ledger();
        ledger.has_letters(vec![Letter { sink: Sink::Ordered, event: first, reason: "rejected".into(), attempts: 1 }]);
        assert!(ledger.violations().iter().any(|violation| violation.starts_with("undeserved")));
    }
}
