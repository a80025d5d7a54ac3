//! Long pauses that a receiver has asked for with `Retry-After`: shown, remembered beyond restarts, and ended by a person.
//!
//! A pause holds a bucket in the schedule however long it lasts. One that is longer than [`LONG`] is a state that people
//! must see and be able to end: it is said in the log and to probes, and lies in the store, where `bridge sinks list`
//! finds it and from where `bridge sinks resume` takes it away. Each claim brings what lies there.

use std::time::Duration;

use jiff::Timestamp;
use metrics::gauge;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::schedule::{BucketName, shown};
use super::worker::Running;
use crate::store::handle::Pause;

/// A pause of this bucket that people are told of.
#[derive(Debug)]
pub(super) struct LongPause {
    bucket: BucketName,
    until: Instant,
    /// The same moment, for people.
    wall_until: Timestamp,
    /// The answer to the claim under way does not know of it yet.
    is_younger_than_claim: bool,
}

/// A pause that is longer is worth a word.
const LONG: Duration = Duration::from_secs(60);

/// Answers to requests that were under way together ask for the same pause, a moment apart.
const SAME: Duration = Duration::from_secs(1);

/// Buckets that probes are told by name.
const NAMED: usize = 3;

/// The gauge of the buckets of a sink that its receiver has paused for long.
const PAUSED: &str = "bridge_sink_paused_buckets";

impl Running {
    /// Pauses a bucket, as its receiver asked.
    pub(super) fn pause(&mut self, bucket: &BucketName, pause: Duration, now: Instant) {
        let until = now + pause;
        self.worker.schedule.pause(bucket, until, now);
        let known = self.pauses.iter().position(|known| known.bucket == *bucket);
        if pause <= LONG || known.is_some_and(|known| self.pauses[known].until + SAME >= until) {
            debug!(sink = %self.worker.name, bucket = shown(bucket), ?pause, "paused, as the receiver asked");
            return;
        }
        let wall_until = Timestamp::now().checked_add(pause).unwrap_or(Timestamp::MAX);
        let mut is_younger_than_claim = false;
        if let Some(parking) = &mut self.parking {
            is_younger_than_claim = parking.claims.is_under_way();
            parking.store.pause(Pause { bucket: bucket.clone(), until: wall_until });
        }
        known.map(|known| self.pauses.swap_remove(known));
        self.pauses.push(LongPause { bucket: bucket.clone(), until, wall_until, is_younger_than_claim });
        self.warn_of_pause(bucket, wall_until);
        self.show_state();
    }

    /// Takes the pauses that lie in the store: what is not among them any more was ended by a person, and what is new
    /// here comes from before a restart or from another replica.
    pub(super) fn hear_of_pauses(&mut self, stored: &[Pause], now: Instant) {
        let mut ended = Vec::new();
        self.pauses.retain_mut(|pause| {
            let is_there = stored.iter().any(|stored| stored.bucket == pause.bucket);
            let stays = is_there || std::mem::take(&mut pause.is_younger_than_claim);
            if !stays {
                ended.push(pause.bucket.clone());
            }
            stays
        });
        for bucket in &ended {
            info!(sink = %self.worker.name, bucket = shown(bucket), "the pause was ended; attempts go on");
            self.worker.schedule.resume(bucket, now);
        }
        let mut has_changed = !ended.is_empty();
        for pause in stored {
            has_changed |= self.take_over(pause, now);
        }
        if has_changed {
            self.show_state();
            if let Some(parking) = &mut self.parking {
                parking.claims.soon(now);
            }
        }
    }

    /// Forgets the pauses that are over.
    pub(super) fn end_pauses(&mut self, now: Instant) {
        let before = self.pauses.len();
        let name = &self.worker.name;
        self.pauses.retain(|pause| {
            let lasts = pause.until > now;
            if !lasts {
                info!(sink = %name, bucket = shown(&pause.bucket), "the pause is over; attempts go on");
            }
            lasts
        });
        if self.pauses.len() < before {
            self.show_state();
        }
    }

    /// When the first of the long pauses is over.
    pub(super) fn next_end_of_pause(&self) -> Option<Instant> {
        self.pauses.iter().map(|pause| pause.until).min()
    }

    /// What probes are told of pauses; `None` when there is none.
    pub(super) fn pauses_text(&self) -> Option<String> {
        let labels = [("pipeline", self.worker.pipeline.to_string()), ("sink", self.worker.name.to_string())];
        gauge!(PAUSED, &labels).set(self.pauses.len() as f64);
        if self.pauses.is_empty() {
            return None;
        }
        let text = |pause: &LongPause| match &*pause.bucket {
            "" => format!("until {:.0}", pause.wall_until),
            bucket => format!("bucket {bucket:?} until {:.0}", pause.wall_until),
        };
        let mut named: Vec<_> = self.pauses.iter().take(NAMED).map(text).collect();
        if self.pauses.len() > NAMED {
            named.push(format!("{} more buckets", self.pauses.len() - NAMED));
        }
        Some(format!("paused {}, as the receiver asked (Retry-After); {}", named.join(", "), self.way_out()))
    }

    /// Takes over a pause out of the store. Returns false when it is known.
    fn take_over(&mut self, pause: &Pause, now: Instant) -> bool {
        let left = pause.until.duration_since(Timestamp::now()).try_into().unwrap_or(Duration::ZERO);
        // The clock may have been set back since, and the bound be lower now.
        let until = now + left.min(self.worker.retry.max_retry_after());
        let known = self.pauses.iter_mut().find(|known| known.bucket == pause.bucket);
        match known {
            _ if left.is_zero() => return false,
            Some(known) if known.wall_until >= pause.until => return false,
            Some(known) => (known.until, known.wall_until) = (until, pause.until),
            None => self.pauses.push(LongPause {
                bucket: pause.bucket.clone(),
                until,
                wall_until: pause.until,
                is_younger_than_claim: false,
            }),
        }
        self.worker.schedule.pause(&pause.bucket, until, now);
        self.warn_of_pause(&pause.bucket, pause.until);
        true
    }

    fn warn_of_pause(&self, bucket: &BucketName, until: Timestamp) {
        warn!(sink = %self.worker.name, bucket = shown(bucket), until = %format_args!("{until:.0}"),
            "paused, as the receiver asked (Retry-After): there are no attempts until then; {}", self.way_out());
    }

    fn way_out(&self) -> String {
        match self.parking {
            Some(_) => format!("`bridge sinks resume PIPELINE {}` ends it", self.worker.name),
            None => "a restart of the bridge ends it".to_owned(),
        }
    }
}
