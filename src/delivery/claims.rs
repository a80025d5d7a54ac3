//! When a sink asks the store for deliveries that are due, for how many, and what it knows from the answers. Pure; the
//! caller brings the time and does the asking.
//!
//! Deliveries come out of the store in pages and memory holds few of them, however many there are. One claim is under
//! way at a time, so that a slow disk is not asked faster than it answers.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::schedule::BucketName;
use crate::store::handle::Claimed;

/// What one sink knows of its deliveries in the store.
#[derive(Debug)]
pub(super) struct Claims {
    has_keyed_buckets: bool,
    /// Claimed deliveries in memory, by bucket.
    held: HashMap<BucketName, usize>,
    held_in_all: usize,
    under_way: Option<Sent>,
    /// `None` when the answer to the claim under way will tell.
    poll_at: Option<Instant>,
    answer: Option<LastAnswer>,
    /// Something was sent to the store after the last claim: its answer does not tell the end of it.
    has_changed: bool,
    /// A delivery with a lane was parked after the last claim.
    parked_a_lane: bool,
    /// At this moment the store, which others share, had no delivery with a lane, and this sink has parked none since.
    was_free_of_lanes: Option<Instant>,
    /// Buckets that have had their turn while others wait for room.
    resting: HashSet<BucketName>,
    /// Buckets whose deliveries come faster than their receiver takes them: the new ones go to the store.
    backlogged: HashSet<BucketName>,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    limit: usize,
    excepted: HashSet<BucketName>,
    /// A delivery with a lane was parked before this claim, and after the one before it.
    follows_a_lane: bool,
    /// The sink was disabled after this claim was sent, so that its answer cannot know of it.
    is_older_than_disabling: bool,
}

#[derive(Debug)]
struct LastAnswer {
    next_due: Option<Timestamp>,
    has_lanes: bool,
    is_shared: bool,
    excepted: HashSet<BucketName>,
}

/// Claimed deliveries that a sink holds in memory, at most.
const MOST_HELD: usize = 256;
/// Deliveries in one page where buckets are keyed: small, so that one bucket cannot take all the room.
const KEYED_PAGE: usize = 64;
/// Claimed deliveries of one keyed bucket, at most.
const ENOUGH_OF_A_BUCKET: usize = 16;
/// Once as few of a keyed bucket are left, the store is asked for more of it.
const LITTLE_OF_A_BUCKET: usize = 8;
/// How often a store is asked at least that does not tell of changes, or while something is withheld: replays and other
/// replicas put deliveries there without saying so.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a store is asked at least that tells of changes, while something of the sink's waits there: the time of
/// the machine may be set anew.
const RARE_POLL_INTERVAL: Duration = Duration::from_secs(30);
/// The same while nothing waits there. It is no more than a net below what the store tells, and each question wakes a
/// store at rest.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(600);
/// The wait before the store is asked again for what it called due and did not hand out: another replica is at it.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);

impl Claims {
    /// Nothing is known yet; the first claim is due.
    pub(super) fn new(has_keyed_buckets: bool, now: Instant) -> Self {
        Self {
            has_keyed_buckets,
            held: HashMap::new(),
            held_in_all: 0,
            under_way: None,
            poll_at: Some(now),
            answer: None,
            has_changed: false,
            parked_a_lane: false,
            was_free_of_lanes: None,
            resting: HashSet::new(),
            backlogged: HashSet::new(),
        }
    }

    /// From now on buckets are keyed, or not.
    pub(super) fn change_keys(&mut self, has_keyed_buckets: bool) {
        self.has_keyed_buckets = has_keyed_buckets;
    }

    /// True while the answer to a claim is awaited.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// When the next claim is due; `None` while one is under way or there is no room.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.poll_at.filter(|_| self.under_way.is_none() && !self.is_full())
    }

    /// True when memory has no room for a further page.
    pub(super) fn is_full(&self) -> bool {
        // Without keys, asking only for half a house at a time keeps the pages large.
        let page = if self.has_keyed_buckets { KEYED_PAGE } else { MOST_HELD / 2 };
        self.held_in_all + page > MOST_HELD
    }

    /// How many deliveries to ask for, and of which buckets none. `dying` are claimed deliveries whose dead letters are
    /// still on their way: they take up room too. A sink whose only bucket is closed asks for nothing: the store would
    /// look through all that is due to find none that may be handed out.
    pub(super) fn question(
        &self,
        dying: usize,
        closed: impl Iterator<Item = BucketName>,
    ) -> (usize, HashSet<BucketName>) {
        let room = MOST_HELD.saturating_sub(self.held_in_all + dying);
        if self.has_keyed_buckets {
            let full = self.held.iter().filter(|(_, held)| **held >= ENOUGH_OF_A_BUCKET).map(|(name, _)| name);
            return (room.min(KEYED_PAGE), closed.chain(full.chain(&self.resting).cloned()).collect());
        }
        let closed: HashSet<_> = closed.collect();
        (if closed.is_empty() { room } else { 0 }, closed)
    }

    /// Whether a keyed bucket has more in memory than it may, so that it takes the room of others. While there is much
    /// room, the rest of a page may stay.
    pub(super) fn has_too_many(&self, bucket: &BucketName) -> bool {
        self.has_keyed_buckets
            && self.held_in_all > MOST_HELD / 2
            && self.held.get(bucket).is_some_and(|held| *held > ENOUGH_OF_A_BUCKET)
    }

    /// True when keyed buckets have to take turns, as memory has no room for all that are due.
    pub(super) fn must_take_turns(&self) -> bool {
        self.has_keyed_buckets && self.is_full()
    }

    /// Leaves a bucket out until all others have had their turn.
    pub(super) fn rest(&mut self, bucket: &BucketName) {
        self.resting.insert(bucket.clone());
    }

    /// Notes that a claim is under way.
    pub(super) fn sent(&mut self, limit: usize, excepted: HashSet<BucketName>, now: Instant) {
        // The answer to a question for nothing, as there is no room, tells nothing of what is due.
        self.has_changed = limit == 0 && excepted.is_empty();
        let follows_a_lane = std::mem::take(&mut self.parked_a_lane);
        self.under_way = Some(Sent { at: now, limit, excepted, follows_a_lane, is_older_than_disabling: false });
        self.poll_at = None;
    }

    /// Takes the store's answer. `has_caught_up` tells whether a bucket's receiver waits for more than has come with
    /// this answer. Returns whether the sink is disabled.
    pub(super) fn answered(
        &mut self,
        claimed: &Claimed,
        now: Instant,
        wall_now: Timestamp,
        has_caught_up: impl Fn(&BucketName) -> bool,
    ) -> bool {
        let sent = self.under_way.take();
        if let Some(sent) = sent.as_ref().filter(|_| !claimed.has_lanes && !self.parked_a_lane) {
            self.was_free_of_lanes = Some(sent.at);
        }
        let (limit, excepted, is_stale) =
            sent.map_or((0, HashSet::new(), false), |sent| (sent.limit, sent.excepted, sent.is_older_than_disabling));
        let count = claimed.deliveries.len();
        // What was not asked for, as all is closed or the sink is disabled, is no news when it is due.
        let next_due = claimed.next_due.filter(|_| limit > 0 && !claimed.disabled);
        let is_told = claimed.tells_changes && limit > 0 && excepted.is_empty() && claimed.pauses.is_empty();
        let longest = match next_due {
            _ if !is_told => POLL_INTERVAL,
            Some(_) => RARE_POLL_INTERVAL,
            None => IDLE_POLL_INTERVAL,
        };
        let wait = next_due.map_or(longest, |due| until(due, wall_now).min(longest));
        let more_is_due = wait.is_zero();
        let wait = match count {
            0 if more_is_due => BUSY_INTERVAL,
            0 if !self.resting.is_empty() => Duration::ZERO,
            _ => wait,
        };
        if count == 0 {
            self.resting.clear();
        }
        self.soon(now + wait);
        if !more_is_due && count < limit {
            self.backlogged.retain(|bucket| excepted.contains(bucket) || !has_caught_up(bucket));
        }
        let (has_lanes, is_shared) = (claimed.has_lanes, claimed.is_shared);
        self.answer = Some(LastAnswer { next_due, has_lanes, is_shared, excepted });
        claimed.disabled || is_stale
    }

    /// False until the store has answered once: whether the sink is disabled is not known before.
    pub(super) fn has_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Asks again at this moment at the latest.
    pub(super) fn soon(&mut self, moment: Instant) {
        self.poll_at = Some(self.poll_at.map_or(moment, |poll_at| poll_at.min(moment)));
    }

    /// Notes that a delivery goes to the store until `due`.
    pub(super) fn parked(&mut self, due: Instant, has_lane: bool) {
        self.has_changed = true;
        if has_lane {
            self.parked_a_lane = true;
            self.was_free_of_lanes = None;
        }
        self.soon(due);
    }

    /// Notes that a claimed delivery is in memory.
    pub(super) fn took(&mut self, bucket: &BucketName) {
        *self.held.entry(bucket.clone()).or_default() += 1;
        self.held_in_all += 1;
    }

    /// Notes that a claimed delivery is no longer in memory: it has ended, or is back in the store.
    pub(super) fn released(&mut self, bucket: &BucketName, now: Instant) {
        self.has_changed = true;
        self.held_in_all = self.held_in_all.saturating_sub(1);
        let Some(held) = self.held.get_mut(bucket) else { return };
        *held = held.saturating_sub(1);
        match *held {
            0 => drop(self.held.remove(bucket)),
            // It was left out as it had enough, and the store may have more of it.
            LITTLE_OF_A_BUCKET if self.has_keyed_buckets => self.soon(now),
            _ => {}
        }
    }

    /// Notes that the store is told that the sink is disabled.
    pub(super) fn disabled(&mut self) {
        if let Some(sent) = &mut self.under_way {
            sent.is_older_than_disabling = true;
        }
    }

    /// True when the store may have an earlier delivery of the lane and the partition of one that has come, so that it must
    /// be asked before the lane starts. `alone_since` says since when this process alone reads that partition.
    ///
    /// Other replicas may park at any time. But what came before in the partition was settled when this process began to
    /// read it, and so was in the store if it was parked, or has come through this sink. If the store had no delivery with
    /// a lane after that beginning, and this sink has parked none since, then none of those is there, whatever others have
    /// parked meanwhile. So a store that is away holds up no lane of such a partition.
    pub(super) fn must_ask_for_lanes(&self, alone_since: Option<Instant>) -> bool {
        if self.parked_a_lane || self.under_way.as_ref().is_some_and(|sent| sent.follows_a_lane) {
            return true;
        }
        let Some(answer) = &self.answer else { return true };
        if answer.is_shared {
            return alone_since.zip(self.was_free_of_lanes).is_none_or(|(since, free)| since > free);
        }
        answer.has_lanes
    }

    /// Sends what comes for this bucket to the store, until the store has nothing more due for it. Returns true when
    /// that is new.
    pub(super) fn set_backlogged(&mut self, bucket: &BucketName) -> bool {
        self.backlogged.insert(bucket.clone())
    }

    /// True while deliveries of this bucket wait in the store although they are due.
    pub(super) fn is_backlogged(&self, bucket: &BucketName) -> bool {
        !self.backlogged.is_empty() && self.backlogged.contains(bucket)
    }

    /// Notes that the store's content changes otherwise: the last answer does not tell the end of it.
    pub(super) fn changed(&mut self) {
        self.has_changed = true;
    }

    /// True when the last answer is still good: nothing was changed and nothing asked since.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.under_way.is_none() && !self.has_changed && self.answer.is_some()
    }

    /// True when the store has nothing that is due within this time. `stays_closed` tells whether a bucket that the
    /// last claim left out stays closed for as long.
    pub(super) fn has_nothing_due(
        &self,
        within: Duration,
        wall_now: Timestamp,
        stays_closed: impl Fn(&BucketName) -> bool,
    ) -> bool {
        let answer = self.answer.as_ref().filter(|_| self.is_up_to_date());
        answer.is_some_and(|answer| {
            answer.next_due.is_none_or(|due| until(due, wall_now) > within) && answer.excepted.iter().all(stays_closed)
        })
    }
}

/// The time from `now` to `due`; zero when that has passed.
fn until(due: Timestamp, now: Timestamp) -> Duration {
    due.duration_since(now).try_into().unwrap_or_default()
}

#[cfg(test)]
mod lanes_tests;
#[cfg(test)]
mod tests;
