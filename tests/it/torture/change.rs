//! What is done to the source itself: its file is rotated by copytruncate, or its topic deleted and created anew, while
//! the bridge runs, is down, or comes or goes in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::plan::{Change, Moment, Plan};
use super::run::{Shared, Torture};
use super::source::{Source, offsets_are_forgotten};

/// How long it may take until a running bridge reads a topic that was created anew. The broker's word for that has to
/// be asked for, which is done every five seconds.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

/// How long the first commits of a life are waited for.
const COMMITTED_WITHIN: Duration = Duration::from_secs(3);

/// The change of a cycle, and what it began with.
pub(super) struct Changing {
    cycle: u64,
    change: Option<Change>,
    /// What the group had committed before the bridge was started.
    committed: BTreeMap<i32, i64>,
    /// The same just before the topic was deleted.
    position: u64,
    /// The length of the bridge's log then.
    logged: usize,
}

impl Changing {
    pub(super) fn new(plan: Plan, cycle: u64, source: &Source) -> Self {
        let change = source.change(plan, cycle);
        let committed = match (source, change) {
            (Source::Kafka(topic), Some(_)) => topic.committed(),
            _ => BTreeMap::new(),
        };
        Self { cycle, change, committed, position: 0, logged: 0 }
    }
}

impl Torture {
    /// Does what is to be done at this moment of a cycle.
    pub(super) async fn change(&mut self, changing: &mut Changing, now: Moment, shared: &Shared) {
        let Some(change) = changing.change else { return };
        let is_running = now == Moment::UnderLoad;
        if change.begins == now && !self.may_begin(changing, is_running).await {
            changing.change = None;
            return;
        }
        for _ in 0..change.times {
            if change.begins == now {
                self.begin_change(changing, is_running, shared).await;
            }
            if (change.begins, change.ends) == (now, now) {
                self.produce(change.meanwhile, shared).await;
                tokio::time::sleep(change.takes).await;
            }
            if change.ends == now {
                self.end_change(changing, is_running, shared).await;
            }
        }
    }

    /// False while the bridge could not do what it promises. It reads copies that its pattern does not name only when
    /// they appear after its first start. And it must have committed something in a topic to know it from the next.
    async fn may_begin(&self, changing: &Changing, is_running: bool) -> bool {
        match &self.source {
            Source::File(file) => file.names_copies() || self.store.has_checkpoint().await,
            Source::Kafka(topic) if is_running => {
                let deadline = Instant::now() + COMMITTED_WITHIN;
                let ends = topic.ends();
                let is_known = |committed: &BTreeMap<i32, i64>| {
                    *committed != changing.committed && ends.keys().all(|partition| committed.contains_key(partition))
                };
                while !is_known(&topic.committed()) {
                    if Instant::now() > deadline {
                        return false;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                true
            }
            Source::Kafka(_) | Source::Amqp(_) => true,
        }
    }

    async fn begin_change(&mut self, changing: &mut Changing, is_running: bool, shared: &Shared) {
        let logged = self.log().len();
        self.look_at_letters(shared).await;
        match &mut self.source {
            Source::File(file) => {
                file.copy();
                shared.ledger().copied();
            }
            Source::Kafka(topic) => {
                // In this order: what is committed by now was in the store before, or settled.
                let committed = topic.committed();
                let parked = self.store.parked_deliveries().await;
                shared.ledger().topic_goes(shared.now(), &committed, &parked, is_running);
                changing.position = committed.get(&0).copied().unwrap_or_default().try_into().unwrap_or_default();
                changing.logged = logged;
                topic.delete().await;
                if !is_running {
                    offsets_are_forgotten(topic).await;
                }
                self.is_gone = true;
            }
            Source::Amqp(_) => {}
        }
    }

    async fn end_change(&mut self, changing: &mut Changing, is_running: bool, shared: &Shared) {
        match &mut self.source {
            Source::File(file) => {
                let gap = file.truncate();
                shared.ledger().truncated(gap);
            }
            Source::Kafka(topic) => {
                topic.create_anew().await;
                self.is_gone = false;
                let first = shared.ledger().count();
                let events = self.plan.events_anew(changing.cycle, first, changing.position);
                self.produce(events, shared).await;
                if is_running {
                    self.expect_notice(changing.logged).await;
                    shared.ledger().topic_is_noticed();
                }
            }
            Source::Amqp(_) => {}
        }
    }

    /// Waits until the bridge says that it has been assigned what there is now, and, if it has noticed before that the
    /// old topic was deleted, that the group has begun anew in the new one. A bridge that is killed before that may leave
    /// behind an old position, if a commit was under way when the topic was deleted; no other can tell it from a new one.
    async fn expect_notice(&mut self, logged: usize) {
        let began = Instant::now();
        let has_begun = |log: &str| {
            let anew = log.rfind("has forgotten").is_none_or(|at| log[at..].contains("begun anew"));
            anew && log.contains("assigned: ")
        };
        while !has_begun(&self.log()[logged..]) {
            if began.elapsed() > NOTICED_WITHIN {
                self.faults.push("the bridge did not notice that its topic was created anew".to_owned());
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("bridge.log")).unwrap_or_default()
    }
}
