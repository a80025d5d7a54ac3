//! How a running sink applies what it is told when its pipeline is reloaded: between two rounds of its loop.

use tokio::time::Instant;
use tracing::{info, warn};

use super::Running;
use crate::delivery::control::{SinkContext, SinkControl, SinkSettings};
use crate::delivery::step::Occasion;

impl Running {
    /// Applies what it is told.
    pub(super) fn apply_control(&mut self, control: SinkControl) {
        match control {
            SinkControl::SetContext(context) => self.set_context(context),
            SinkControl::Change(settings, context, queue) => {
                self.set_context(context);
                self.change_settings(*settings, Instant::now());
                if let Some(queue) = queue {
                    self.intake.add(queue);
                }
            }
            SinkControl::Remove => self.begin_removal(Instant::now()),
        }
    }

    /// Lets everything go when the time of a removed sink is up.
    pub(super) fn end_removal(&mut self, now: Instant) {
        if !self.standing.expire(now) {
            return;
        }
        // Nobody should send anything any more. A dead letter that is on its way here must find another.
        self.intake.close();
        let heads = self.worker.schedule.drain(now);
        // With a store they follow the head of their lane there, in order, once it has ended.
        let followers = if self.parking.is_none() { self.lanes.drain() } else { Vec::new() };
        let deliveries = heads.len() + followers.len() + self.lanes.waiting() + self.intake.undecided();
        let fate = if self.parking.is_some() { "stay parked in the store" } else { "become dead letters" };
        warn!(sink = %self.worker.name, deliveries, "the sink is removed and its time is up: its open deliveries {fate}");
        heads.into_iter().for_each(|(head, _)| self.advance(Occasion::Turn, head, now));
        let later = self.intake.take_undecided().into_iter().chain(followers);
        later.for_each(|delivery| self.advance(Occasion::Arrived, delivery, now));
    }

    fn set_context(&mut self, context: SinkContext) {
        if self.standing.keep() {
            info!(sink = %self.worker.name, "the sink is in the pipeline again");
        }
        self.worker.context = context;
    }

    fn change_settings(&mut self, settings: SinkSettings, now: Instant) {
        let SinkSettings { webhook, concurrency, retry, rate, breaker, has_keyed_buckets } = settings;
        let worker = &mut self.worker;
        worker.webhook = webhook;
        worker.concurrency = concurrency;
        worker.retry = retry;
        worker.schedule.change_limits(rate, breaker, now);
        match &mut self.parking {
            Some(parking) => parking.claims.change_keys(has_keyed_buckets),
            // With a store, `bridge sinks enable` lifts a disabling.
            None => {
                self.standing.enable();
            }
        }
        self.show_state();
        info!(sink = %self.worker.name, waiting = self.worker.schedule.len() + self.lanes.waiting(),
            "the sink goes on with its new settings");
    }

    fn begin_removal(&mut self, now: Instant) {
        let timeout = self.worker.shutdown.timeout();
        info!(sink = %self.worker.name, ?timeout, waiting = self.worker.schedule.len() + self.lanes.waiting(),
            "the sink is removed; it finishes what it can");
        self.standing.remove(now + timeout);
        // Nobody else would put them back: their claims last as long as the process.
        for claimed in self.worker.schedule.take_from_lines(|delivery| delivery.core.row.is_some()) {
            self.advance(Occasion::MakeRoom, claimed, now);
        }
    }
}
