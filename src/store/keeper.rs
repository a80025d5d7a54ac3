//! The loop of one store: takes operations, commits them in groups, and tells what has become of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::StoreError;
use super::age_limit::{AgeLimit, Round};
use super::config::StoreSettings;
use super::connection::Connection;
use super::group::{Answers, Buried, Group};
use super::handle::{FromStore, Operation};
use super::opened::Opened;
use super::record::RowId;
use super::room::Room;
use super::transaction::{Committed, Task, leave, transact};
use crate::clock::steady_now;
use crate::health::NodeHealth;
use crate::reminder::Reminder;
use crate::timer::sleep_until;
use crate::units::ByteSize;

/// Between two tries while the database refuses, and between two looks at a store that is full.
const RETRY: Duration = Duration::from_secs(1);

/// How long a shared database may take for a group before its connection counts as lost.
const SLOWEST: Duration = Duration::from_secs(30);

/// What a store has in hand.
pub(super) struct Keeper {
    settings: StoreSettings,
    operations: mpsc::UnboundedReceiver<Operation>,
    connection: Connection,
    /// This process among those that share the store.
    replica: String,
    sinks: HashMap<Arc<str>, mpsc::UnboundedSender<FromStore>>,
    /// Rows that sinks have claimed and not given back.
    in_hand: HashSet<RowId>,
    /// New dead letters that a full store cannot keep, in their order.
    held: VecDeque<Operation>,
    /// Rows that could not be read when they were claimed; the next transaction makes them dead letters.
    damaged: Vec<Buried>,
    /// The store's size after the last transaction.
    bytes: u64,
    last_beat: Instant,
    age_limit: AgeLimit,
    failing: Reminder,
    full: Reminder,
    room: Room,
    health: NodeHealth,
}

/// Why the keeper goes on.
enum Woken {
    /// It was asked for something.
    Operation(Operation),
    /// The time for something has come.
    Time,
    /// The connection wants to be looked after.
    Connection,
}

impl Keeper {
    pub(super) fn new(
        opened: Opened,
        operations: mpsc::UnboundedReceiver<Operation>,
        room: Room,
        health: NodeHealth,
    ) -> Self {
        let Opened { settings, connection, replica, bytes, .. } = opened;
        health.ready();
        room.set(bytes < settings.max_size);
        let age_limit = AgeLimit::new(settings.keep_dead_letters, Instant::now());
        Self {
            settings,
            operations,
            connection,
            replica,
            sinks: HashMap::new(),
            in_hand: HashSet::new(),
            held: VecDeque::new(),
            damaged: Vec::new(),
            bytes,
            last_beat: Instant::now(),
            age_limit,
            failing: Reminder::default(),
            full: Reminder::default(),
            room,
            health,
        }
    }

    /// Works until the last handle is gone.
    pub(super) async fn run(mut self) {
        while let Some(mut group) = self.next_group().await {
            let Some(committed) = self.commit(&mut group).await else { break };
            self.tell(group, committed);
        }
        if !self.held.is_empty() {
            warn!(
                letters = self.held.len(),
                "the store is full to the end: the events of dead letters that it could not take stay open, and are \
                  read again at the next start"
            );
        }
        let round = self.age_limit.end_round();
        self.say_forgotten(round);
        self.close().await;
    }

    /// The operations that wait; none of them when it is only time to look after the store. `None` at the end.
    async fn next_group(&mut self) -> Option<Group> {
        let mut group = Group::default();
        group.bury(std::mem::take(&mut self.damaged));
        self.release_held(&mut group);
        if self.connection.has_been_changed().await {
            self.tell_of_changes();
        }
        while group.is_empty() {
            let operation = match self.woken().await? {
                Woken::Operation(operation) => operation,
                Woken::Time if self.has_work_of_its_own() => return Some(group),
                Woken::Time | Woken::Connection => {
                    self.look_after_connection().await;
                    continue;
                }
            };
            self.sort_in(operation, &mut group);
            if group.is_empty() {
                return Some(group);
            }
        }
        while !group.is_full() {
            let Ok(operation) = self.operations.try_recv() else { break };
            self.sort_in(operation, &mut group);
        }
        Some(group)
    }

    /// Waits until there is something to do; `None` at the end.
    async fn woken(&mut self) -> Option<Woken> {
        let may_rest = self.may_rest();
        let beat = self.connection.is_shared().then(|| self.until_beat());
        // Others may make room without a word.
        let look_for_room = self.waits_for_room().then_some(RETRY);
        let look_for_old = self.age_limit.next_step().map(|at| at.saturating_duration_since(Instant::now()));
        let of_connection = self.connection.until_due(may_rest);
        let due = beat.into_iter().chain(look_for_room).chain(look_for_old).chain(of_connection).min();
        tokio::select! {
            biased;
            operation = self.operations.recv() => operation.map(Woken::Operation),
            () = sleep_until(due.map(|due| Instant::now() + due)) => Some(Woken::Time),
            () = self.connection.woken(may_rest) => Some(Woken::Connection),
        }
    }

    /// True when a transaction is worth it although nobody has asked for one.
    fn has_work_of_its_own(&self) -> bool {
        let looks_for_old = self.age_limit.next_step().is_some_and(|at| at <= Instant::now());
        self.connection.is_shared() || self.waits_for_room() || looks_for_old
    }

    fn waits_for_room(&self) -> bool {
        self.is_full() || !self.held.is_empty()
    }

    /// A store whose sinks have something of it in hand will be asked for more.
    fn may_rest(&self) -> bool {
        self.in_hand.is_empty() && !self.waits_for_room()
    }

    /// Lets the connection rest when it is time for that. Tells the sinks when others have changed the store, so that none
    /// of them has to ask for that.
    async fn look_after_connection(&mut self) {
        let has_been_changed = self.connection.is_at_rest()
            || self.connection.has_been_changed().await
            || self.may_rest() && self.connection.rest_if_due().await;
        if has_been_changed {
            self.tell_of_changes();
        }
    }

    fn tell_of_changes(&self) {
        for answers in self.sinks.values() {
            answers.send(FromStore::Changed).ok();
        }
    }

    fn until_beat(&self) -> Duration {
        (self.settings.lease / 3).saturating_sub(self.last_beat.elapsed())
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.settings.max_size
    }

    fn release_held(&mut self, group: &mut Group) {
        while !self.is_full() && !group.is_full() {
            let Some(operation) = self.held.pop_front() else { break };
            group.add(operation);
        }
    }

    /// Adds an operation to the group, or holds it when the store is full. Deliveries to park are taken all the same:
    /// they were on their way when it became full, or could wait nowhere else. So there are as many as are in flight.
    fn sort_in(&mut self, operation: Operation, group: &mut Group) {
        let must_wait = match &operation {
            Operation::Open { sink, answers } => {
                self.sinks.insert(Arc::clone(sink), answers.clone());
                false
            }
            Operation::Bury { letter, .. } => letter.core.row.is_none() && (self.is_full() || !self.held.is_empty()),
            _ => false,
        };
        if must_wait {
            self.held.push_back(operation);
        } else {
            group.add(operation);
        }
    }

    /// Commits a group, however long that takes. `None` when it failed and nobody is left to wait for it.
    async fn commit(&mut self, group: &mut Group) -> Option<Committed> {
        loop {
            let is_last = self.operations.is_closed();
            let error = match self.try_commit(group).await {
                Ok(committed) => {
                    if self.failing.end(Instant::now()).is_some() {
                        info!("the store works again");
                    }
                    return Some(committed);
                }
                Err(error) => error,
            };
            self.connection.lose().await;
            self.age_limit.failed(Instant::now());
            self.room.set(false);
            self.health.failing(error.to_string(), Instant::now());
            if is_last {
                error!(
                    "{error}; the bridge ends without it: what was not kept stays open, and is read again at the \
                       next start"
                );
                return None;
            }
            if self.failing.is_due(Instant::now()) {
                warn!("{error}; nothing is lost: what it should keep stays open, and it is tried again every second");
            }
            if matches!(error, StoreError::Full { .. }) {
                self.give_back(group);
            }
            sleep(RETRY).await;
        }
    }

    /// Gives sinks back what a full disk cannot keep and they can attempt themselves: it may be full for days.
    fn give_back(&mut self, group: &mut Group) {
        while let Ok(operation) = self.operations.try_recv() {
            self.sort_in(operation, group);
        }
        for (sink, deliveries) in group.give_back() {
            let Some(answers) = self.sinks.get(&sink) else { continue };
            if let Err(SendError(FromStore::GivenBack(deliveries))) = answers.send(FromStore::GivenBack(deliveries)) {
                // It has ended, and leaves them to the store.
                group.add(Operation::Park { sink, deliveries });
            }
        }
    }

    async fn try_commit(&mut self, group: &Group) -> Result<Committed, StoreError> {
        let (is_shared, is_new) = (self.connection.is_shared(), self.connection.is_lost());
        // After a failure also to write something: a disk may be too full for what the group no longer has.
        let beat = is_new || is_shared && self.last_beat.elapsed() >= self.settings.lease / 3;
        let database = self.connection.open().await?;
        let place = database.place().to_owned();
        let in_hand = is_new.then_some(&self.in_hand);
        let forget_before = self.age_limit.due(Instant::now(), steady_now());
        let task = Task { settings: &self.settings, replica: &self.replica, group, beat, in_hand, forget_before };
        let transaction = transact(database, &task);
        let committed = if is_shared {
            let problem = format!("no answer within {} s", SLOWEST.as_secs());
            timeout(SLOWEST, transaction).await.unwrap_or(Err(StoreError::Lost { place, problem }))?
        } else {
            transaction.await?
        };
        if beat {
            self.last_beat = Instant::now();
        }
        Ok(committed)
    }

    /// Settles acks and answers, now that all is durable.
    fn tell(&mut self, group: Group, committed: Committed) {
        self.bytes = committed.bytes;
        // Before the acks settle: what their sources read then must not come here.
        self.room.set(!self.is_full());
        self.say_how_full();
        self.measure(committed.parked);
        let round = committed.forgotten.and_then(|forgotten| {
            self.count_forgotten(forgotten.letters);
            self.age_limit.step_done(forgotten, Instant::now())
        });
        self.say_forgotten(round);
        self.count_in_hand(&group, &committed.answers);
        // Sinks know what is due when their own deliveries end or are parked, but not when letters or earlier rows do.
        let is_unforeseen = !group.buried.is_empty() || !group.parked.is_empty();
        if committed.has_promoted && is_unforeseen && !self.connection.is_shared() {
            self.tell_of_changes();
        }
        for damaged in &committed.damaged {
            error!("{}; it becomes a dead letter with whatever is left of it", damaged.end.message);
        }
        self.damaged = committed.damaged;
        let parked = group.promises.parked.into_iter().filter_map(|parked| parked.ack);
        for ack in parked.chain(group.promises.acks) {
            ack.settle();
        }
        // Who asked may be gone by now; then nobody misses the answer. What was claimed is freed at the end.
        for saved in group.promises.saved {
            saved.send(Ok(())).ok();
        }
        for (loaded, state) in group.promises.loaded.into_iter().zip(committed.answers.checkpoints) {
            loaded.send(Ok(state)).ok();
        }
        for (sink, lanes) in committed.answers.lanes {
            self.answer(&sink, FromStore::Lanes(lanes));
        }
        for (sink, claimed) in committed.answers.claimed {
            self.answer(&sink, FromStore::Claimed(claimed));
        }
    }

    fn count_in_hand(&mut self, group: &Group, answers: &Answers) {
        for row in group.given_back() {
            self.in_hand.remove(&row);
        }
        let claimed = answers.claimed.iter().flat_map(|(_, claimed)| &claimed.deliveries);
        self.in_hand.extend(claimed.filter_map(|delivery| delivery.core.row));
    }

    fn answer(&self, sink: &str, answer: FromStore) {
        if let Some(answers) = self.sinks.get(sink) {
            answers.send(answer).ok();
        }
    }

    fn say_how_full(&mut self) {
        if !self.is_full() {
            self.health.ready();
            if self.held.is_empty() && self.full.end(Instant::now()).is_some() {
                info!("the store has room again");
            }
            return;
        }
        let now = Instant::now();
        self.health.failing(format!("full: it has {} bytes; sources wait", self.bytes), now);
        if self.full.is_due(Instant::now()) {
            warn!(
                bytes = self.bytes,
                max_size = %ByteSize(usize::try_from(self.settings.max_size).unwrap_or(usize::MAX)),
                "the store is full: sources wait until deliveries succeed or dead letters are removed; nothing is lost"
            );
        }
    }

    fn say_forgotten(&self, round: Option<Round>) {
        let Some(Round { letters, before }) = round else { return };
        info!(letters, given_up_before = %before, "dead letters older than `store.keep_dead_letters` were deleted");
    }

    fn count_forgotten(&self, letters: u64) {
        let pipeline = self.settings.pipeline.clone();
        metrics::counter!("bridge_dead_letters_expired_total", "pipeline" => pipeline).increment(letters);
    }

    fn measure(&self, parked: u64) {
        let pipeline = &self.settings.pipeline;
        metrics::counter!("bridge_deliveries_parked_total", "pipeline" => pipeline.clone()).increment(parked);
        metrics::gauge!("bridge_store_bytes", "pipeline" => pipeline.clone()).set(self.bytes as f64);
        metrics::gauge!("bridge_store_full", "pipeline" => pipeline.clone()).set(f64::from(u8::from(self.is_full())));
    }

    /// Leaves everything to the others, or to the next run, at once: not when the lease is over.
    async fn close(self) {
        // Of a file at rest nothing is in hand, and whoever opens it next takes over the rest.
        let Some(mut database) = self.connection.into_open() else { return };
        let left = timeout(SLOWEST, leave(&mut database, &self.settings, &self.replica)).await;
        if let Ok(Err(error)) = left {
            warn!("{error}; what this bridge had in hand comes free when its lease is over");
        }
        if let Ok(Err(error)) = timeout(SLOWEST, database.close()).await {
            warn!("{error}; what was committed is kept all the same");
        }
    }
}
