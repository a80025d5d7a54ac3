//! Long pauses that a receiver has asked for with `Retry-After`: shown, remembered beyond restarts, and ended by a person.
//!
//! A pause holds a bucket in the schedule however long it lasts. One of more than a minute (`long_pauses`) is a state that
//! people must see and be able to end: it is said in the log and to probes, and lies in the store, where `bridge sinks
//! list` finds it and from where `bridge sinks resume` takes it away. Each claim brings what lies there, so every replica
//! keeps the pause that one of them was asked for, and every replica learns of its end.

use std::time::Duration;

use jiff::Timestamp;
use metrics::gauge;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Running;
use crate::clock::steady_now;
use crate::delivery::schedule::{BucketName, shown};
use crate::store::handle::Pause;

/// The gauge of the buckets of a sink that its receiver has paused for long.
const PAUSED: &str = "bridge_sink_paused_buckets";

impl Running {
    /// Pauses a bucket, as its receiver asked.
    pub(super) fn pause(&mut self, bucket: &BucketName, pause: Duration, now: Instant) {
        self.worker.schedule.pause(bucket, now + pause, now);
        let is_claiming = self.parking.as_ref().is_some_and(|parking| parking.claims.is_under_way());
        let Some(long) = self.pauses.note(bucket, pause, (now, steady_now()), is_claiming) else {
            debug!(sink = %self.worker.name, bucket = shown(bucket), ?pause, "paused, as the receiver asked");
            return;
        };
        self.warn_of_pause(bucket, long.until);
        if let Some(parking) = &mut self.parking {
            parking.keep_pause(long);
        }
        self.show_state();
    }

    /// Takes the pauses that lie in the store: what is not among them any more was ended by a person, and what is new
    /// here comes from before a restart or from another replica.
    pub(super) fn handle_stored_pauses(&mut self, stored: &[Pause], now: Instant) {
        let news = self.pauses.take_stored(stored, self.worker.retry.max_retry_after(), (now, steady_now()));
        for (bucket, until) in news.prolonged {
            self.worker.schedule.pause(&bucket, until, now);
        }
        if news.ended.is_empty() && news.begun.is_empty() {
            return;
        }
        for (pause, until) in news.begun {
            self.worker.schedule.pause(&pause.bucket, until, now);
            self.warn_of_pause(&pause.bucket, pause.until);
        }
        for pause in &news.ended {
            info!(sink = %self.worker.name, bucket = shown(&pause.bucket), "the pause was ended; attempts go on");
            self.worker.schedule.resume(&pause.bucket, now);
        }
        self.show_state();
        let Some(parking) = &mut self.parking else { return };
        // What was parked until the end of a pause after that had been taken away, here or at another replica, would wait
        // for it all the same.
        parking.end_pauses(news.ended, now);
    }

    /// Forgets the pauses that are over.
    pub(super) fn end_pauses(&mut self, now: Instant) {
        let over = self.pauses.end(now);
        for bucket in &over {
            info!(sink = %self.worker.name, bucket = shown(bucket), "the pause is over; attempts go on");
        }
        if over.is_empty() {
            return;
        }
        if let Some(parking) = &self.parking {
            parking.forget_pauses();
        }
        self.show_state();
    }

    /// What probes are told of pauses; `None` when there is none.
    pub(super) fn pauses_text(&self) -> Option<String> {
        let labels = [("pipeline", self.worker.pipeline.to_string()), ("sink", self.worker.name.to_string())];
        gauge!(PAUSED, &labels).set(self.pauses.len() as f64);
        let paused = self.pauses.text()?;
        Some(format!("paused {paused}, as the receiver asked (Retry-After); {}", self.way_out()))
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
