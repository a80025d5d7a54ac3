//! What chance decides, all of it a pure function of the seed: the load, how the receiver treats each event, when the
//! bridge is killed, and what is done to the source meanwhile. A seed that failed therefore fails (or not) under the same decisions; only the machine's own
//! timing differs.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

mod changes;

pub(super) use changes::{Change, Moment};

/// One of the two sinks of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Sink {
    /// With `order_by`.
    Ordered,
    /// Without.
    Free,
}

/// What becomes of an event at a sink in the end, however often the bridge crashes on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Delivered, after so many attempts that fail.
    Delivered { failures: u32 },
    /// Refused with a 400, after so many attempts that fail: a dead letter.
    Rejected { failures: u32 },
    /// Every attempt fails: a dead letter once the retries are used up.
    Hopeless,
    /// The first attempt is answered 410, which disables the sink. Every other is welcome.
    Gone,
}

/// What the receiver does with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// This status.
    Status(u16),
    /// This status, and `Retry-After` so many seconds.
    RetryAfter(u16, u32),
    /// Nothing, until the bridge loses patience.
    Hang,
    /// A TCP reset.
    Reset,
}

/// One life of the bridge.
#[derive(Debug, Clone)]
pub(super) struct Cycle {
    /// Events written when the bridge starts.
    pub(super) at_start: u64,
    /// Events written while it runs.
    pub(super) while_running: u64,
    /// From the start to the second load.
    pub(super) first_part: Duration,
    /// From there to the kill.
    pub(super) second_part: Duration,
}

/// Attempts after which the bridge gives up. Far more than [`MOST_FAILURES`], as a busy machine makes attempts fail, too.
pub(super) const MAX_ATTEMPTS: u32 = 8;

/// The most failures of an event that is to be delivered.
const MOST_FAILURES: u32 = 3;

/// So many events in a row share good times or hard ones; hard times open the circuit breaker.
const SEASON: u64 = 40;

const KEYS: u64 = 12;

/// Partitions of a topic.
pub(super) const PARTITIONS: i32 = 2;

/// All decisions of one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) seed: u64,
}

impl Sink {
    pub(super) const ALL: [Self; 2] = [Self::Ordered, Self::Free];

    /// Its name in the pipeline file, and the path of its URL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Free => "free",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sink| sink.name() == name)
    }
}

impl Answer {
    pub(super) fn is_success(self) -> bool {
        self == Self::Status(200)
    }
}

impl Plan {
    /// What `order_by` gives for an event.
    pub(super) fn key(self, event: u64) -> String {
        format!("k{}", self.random("key", (event, 0, 0)).random_range(0..KEYS))
    }

    /// The partition of an event. A key is always in the same.
    pub(super) fn partition(self, event: u64) -> i32 {
        let key = self.key(event);
        i32::from(key.as_bytes().last().is_some_and(|digit| digit % 2 == 1))
    }

    /// The id of an event whose publisher chooses it. Some share theirs with events just before or after them, some
    /// with events of long ago.
    pub(super) fn message_id(self, event: u64) -> String {
        let mut random = self.random("message-id", (event, 0, 0));
        match random.random_range(0..100) {
            0..20 => format!("near-{}", event / 20),
            20..25 => format!("far-{}", random.random_range(0..3)),
            _ => format!("own-{event}"),
        }
    }

    /// True when the pattern of a file source names the rotated files, too.
    pub(super) fn names_rotated_files(self) -> bool {
        self.random("pattern", (0, 0, 0)).random_bool(0.5)
    }

    pub(super) fn cycle(self, number: u64) -> Cycle {
        let mut random = self.random("cycle", (number, 0, 0));
        // One in ten is killed before it can have done much.
        let longest = if random.random_bool(0.1) { 150 } else { 700 };
        let mut part = || Duration::from_millis(random.random_range(20..longest));
        let (first_part, second_part) = (part(), part());
        Cycle {
            at_start: random.random_range(0..80),
            while_running: random.random_range(0..80),
            first_part,
            second_part,
        }
    }

    pub(super) fn fate(self, sink: Sink, event: u64) -> Fate {
        let hard = self.random("season", (event / SEASON, sink as u64, 0)).random_bool(0.15);
        let mut random = self.random("fate", (event, sink as u64, 0));
        let failures = match random.random_range(0..100) {
            _ if hard => random.random_range(1..=MOST_FAILURES),
            0..70 => 0,
            _ => random.random_range(1..=MOST_FAILURES),
        };
        match random.random_range(0..2000) {
            0 => Fate::Gone,
            1..20 => Fate::Hopeless,
            20..80 => Fate::Rejected { failures },
            _ => Fate::Delivered { failures },
        }
    }

    /// What the receiver does with an event's attempt; the first is number 1.
    pub(super) fn answer(self, sink: Sink, event: u64, attempt: u32) -> Answer {
        match self.fate(sink, event) {
            Fate::Delivered { failures } if attempt > failures => Answer::Status(200),
            Fate::Rejected { failures } if attempt > failures => Answer::Status(400),
            Fate::Gone if attempt == 1 => Answer::Status(410),
            Fate::Gone => Answer::Status(200),
            _ => self.failure(sink, event, attempt),
        }
    }

    /// What it does in the end, when it has got well: attempts fail only where they must, and with a status that does
    /// not open the circuit breaker.
    pub(super) fn answer_in_the_end(self, sink: Sink, event: u64) -> Answer {
        match self.fate(sink, event) {
            Fate::Delivered { .. } | Fate::Gone => Answer::Status(200),
            Fate::Rejected { .. } => Answer::Status(400),
            Fate::Hopeless => Answer::Status(429),
        }
    }

    fn failure(self, sink: Sink, event: u64, attempt: u32) -> Answer {
        let mut random = self.random("failure", (event, sink as u64, attempt));
        match random.random_range(0..100) {
            0..60 => Answer::Status([500, 502, 503, 504, 429, 408][random.random_range(0..6)]),
            60..62 => Answer::RetryAfter([429, 503][random.random_range(0..2)], 1),
            62..70 => Answer::RetryAfter([429, 503][random.random_range(0..2)], 0),
            70..80 => Answer::Hang,
            _ => Answer::Reset,
        }
    }

    fn random(self, what: &str, about: (u64, u64, u32)) -> StdRng {
        let mut hasher = DefaultHasher::new();
        (self.seed, what, about).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const PLAN: Plan = Plan { seed: 7 };

    #[test]
    fn some_events_share_their_message_id() {
        let mut ids: BTreeMap<String, u64> = BTreeMap::new();
        (0..1000).for_each(|event| *ids.entry(PLAN.message_id(event)).or_default() += 1);
        let sharing: u64 = ids.values().filter(|count| **count > 1).sum();
        assert!((150..350).contains(&sharing), "{sharing}");
    }

    #[test]
    fn a_key_is_in_one_partition_and_both_have_some() {
        let places: BTreeSet<(String, i32)> = (0..1000).map(|event| (PLAN.key(event), PLAN.partition(event))).collect();
        assert_eq!(places.len(), 12);
        assert_eq!(places.iter().filter(|(_, partition)| *partition == 0).count(), 6);
    }
}
