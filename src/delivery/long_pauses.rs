//! Which long pauses a sink knows of, what ends them, and what it learns of them from the store. Pure: the caller brings
//! both clocks and does what is to be done; `pauses` is that caller.
//!
//! A pause has two ends that mean one moment: an [`Instant`], which decides, and a time of day, which people and the store
//! get. The time of day that the caller brings must be that of `clock`, as for everything that waits: it does not go back.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::schedule::BucketName;
use crate::store::handle::Pause;

/// A pause that is longer is worth a word.
const LONG: Duration = Duration::from_secs(60);

/// Answers to requests that were under way together ask for the same pause, a moment apart.
const SAME: Duration = Duration::from_secs(1);

/// Buckets that probes are told by name.
const NAMED: usize = 3;

/// The long pauses of one sink.
#[derive(Debug, Default)]
pub(super) struct LongPauses {
    known: Vec<LongPause>,
}

#[derive(Debug)]
struct LongPause {
    bucket: BucketName,
    until: Instant,
    /// The same moment, for people and for the store.
    wall_until: Timestamp,
    /// The answer to the claim under way does not know of it yet.
    is_younger_than_claim: bool,
}

/// What is new about the pauses that lie in the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Were ended by a person, here or for another replica.
    pub(super) ended: Vec<Pause>,
    /// Come from before a restart or from another replica; until when they hold their buckets.
    pub(super) begun: Vec<(Pause, Instant)>,
    /// Are known, and end a moment later than was known: until when they hold their buckets. That is not worth a word.
    pub(super) prolonged: Vec<(BucketName, Instant)>,
}

impl LongPauses {
    /// Notes a pause that the receiver has asked for. Returns what is to be kept of it, `None` when it is short or known.
    /// `is_claiming` says that a claim is under way, whose answer cannot know of it.
    pub(super) fn note(
        &mut self,
        bucket: &BucketName,
        pause: Duration,
        (now, wall_now): (Instant, Timestamp),
        is_claiming: bool,
    ) -> Option<Pause> {
        let until = now + pause;
        let known = self.known.iter().position(|known| known.bucket == *bucket);
        if pause <= LONG || known.is_some_and(|known| self.known[known].until + SAME >= until) {
            return None;
        }
        known.map(|known| self.known.swap_remove(known));
        let wall_until = wall_now.checked_add(pause).unwrap_or(Timestamp::MAX);
        let bucket = bucket.clone();
        self.known.push(LongPause { bucket: bucket.clone(), until, wall_until, is_younger_than_claim: is_claiming });
        Some(Pause { bucket, until: wall_until })
    }

    /// Takes the pauses that lie in the store. None of them lasts for longer than `longest`, as the clock may have been
    /// set back since, and the bound be lower now.
    pub(super) fn take_stored(
        &mut self,
        stored: &[Pause],
        longest: Duration,
        (now, wall_now): (Instant, Timestamp),
    ) -> News {
        let mut news = News::default();
        self.known.retain_mut(|pause| {
            let is_there = stored.iter().any(|stored| stored.bucket == pause.bucket);
            // One that is over was not ended by anybody: see `end`.
            let stays = is_there || std::mem::take(&mut pause.is_younger_than_claim) || pause.until <= now;
            if !stays {
                news.ended.push(Pause { bucket: pause.bucket.clone(), until: pause.wall_until });
            }
            stays
        });
        for pause in stored {
            let left: Duration = pause.until.duration_since(wall_now).try_into().unwrap_or_default();
            self.take_over(pause, now, left.min(longest), &mut news);
        }
        news
    }

    /// Forgets the pauses that are over, and gives their buckets.
    pub(super) fn end(&mut self, now: Instant) -> Vec<BucketName> {
        let over = self.known.extract_if(.., |pause| pause.until <= now);
        over.map(|pause| pause.bucket).collect()
    }

    /// When the first of them is over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.known.iter().map(|pause| pause.until).min()
    }

    /// The number of buckets that are paused.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The buckets and their ends, for people; `None` when there are none.
    pub(super) fn text(&self) -> Option<String> {
        if self.known.is_empty() {
            return None;
        }
        let text = |pause: &LongPause| match &*pause.bucket {
            "" => format!("until {:.0}", pause.wall_until),
            bucket => format!("bucket {bucket:?} until {:.0}", pause.wall_until),
        };
        let mut named: Vec<_> = self.known.iter().take(NAMED).map(text).collect();
        if self.known.len() > NAMED {
            named.push(format!("{} more buckets", self.known.len() - NAMED));
        }
        Some(named.join(", "))
    }

    /// Takes over a pause out of the store for what is left of it, unless it is known or over.
    fn take_over(&mut self, pause: &Pause, now: Instant, left: Duration, news: &mut News) {
        let (until, bucket) = (now + left, &pause.bucket);
        let known = self.known.iter_mut().find(|known| known.bucket == *bucket);
        match known {
            _ if left.is_zero() => {}
            Some(known) if known.wall_until >= pause.until => {}
            Some(known) => {
                // The store keeps full milliseconds, and another replica may have been asked a moment later.
                let later = pause.until.duration_since(known.wall_until);
                if later.unsigned_abs() <= SAME {
                    news.prolonged.push((bucket.clone(), until));
                } else {
                    news.begun.push((pause.clone(), until));
                }
                (known.until, known.wall_until) = (until, pause.until);
            }
            None => {
                news.begun.push((pause.clone(), until));
                let (bucket, wall_until) = (bucket.clone(), pause.until);
                self.known.push(LongPause { bucket, until, wall_until, is_younger_than_claim: false });
            }
        }
    }
}

#[cfg(test)]
mod tests;
