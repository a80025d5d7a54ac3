//! The handles by which sources, routers and sinks reach the store. They only send: nothing here waits for a disk.
//!
//! One task owns the database (see [`UnopenedStore`](super::running::UnopenedStore)) and answers through channels. What is
//! sent by one sink is carried out in the order of sending.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::record::{AttemptLog, Letter, RowId, StoredDelivery};
use super::room::Room;
use crate::ack::Ack;

/// A handle on the store; all clones are one.
#[derive(Debug, Clone)]
pub struct Store {
    operations: mpsc::UnboundedSender<Operation>,
    room: Room,
}

/// A handle that does not keep the store open: it ends when the last of the others is gone.
#[derive(Debug, Clone)]
pub struct WeakStore {
    operations: mpsc::WeakUnboundedSender<Operation>,
    room: Room,
}

/// The handle of one sink.
#[derive(Debug, Clone)]
pub struct SinkStore {
    sink: Arc<str>,
    operations: mpsc::UnboundedSender<Operation>,
    room: Room,
}

/// What the store's keeper is asked to do. The queue is unbounded by type and bounded in fact: by the events in flight
/// and by what a sink has claimed.
#[derive(Debug)]
pub(super) enum Operation {
    /// A sink is there and wants its answers here. Sent first.
    Open { sink: Arc<str>, answers: mpsc::UnboundedSender<FromStore> },
    /// Keep deliveries, then settle their acks. One that the store has already (its event was read a second time)
    /// stays as it is there.
    Park { sink: Arc<str>, deliveries: Vec<(StoredDelivery, Option<Ack>)> },
    /// Which of these lanes have deliveries in the store?
    AskLanes { sink: Arc<str>, lanes: Vec<Arc<str>> },
    /// A claimed delivery waits again.
    Reschedule { row: RowId, due: Timestamp, attempts: AttemptLog },
    /// A claimed delivery was delivered or dropped.
    Finish { row: RowId },
    /// Keep a dead letter, then settle its ack.
    Bury { letter: Box<Letter>, ack: Option<Ack> },
    /// Hand out deliveries that are due.
    Claim { sink: Arc<str>, claim: Claim },
    /// Remember that a sink is disabled.
    Disable { sink: Arc<str>, reason: String },
    /// Remember that a receiver has asked for a pause.
    Pause { sink: Arc<str>, pause: Pause },
    /// A pause was ended early: what was parked until its end is due now.
    Resume { sink: Arc<str>, pause: Pause, now: Timestamp },
    /// Forget the pauses of a sink that are over at this time.
    ForgetPauses { sink: Arc<str>, now: Timestamp },
    /// Read a source's checkpoint.
    LoadCheckpoint { source: Arc<str>, answer: oneshot::Sender<Result<Option<String>, StoreError>> },
    /// Replace a source's checkpoint.
    SaveCheckpoint { source: Arc<str>, state: String, answer: oneshot::Sender<Result<(), StoreError>> },
}

/// Which deliveries a sink can take.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Due at this time.
    pub now: Timestamp,
    /// As many, at most. With 0 the answer only tells whether the sink has lanes and is disabled, which is cheap
    /// however many deliveries are due.
    pub limit: usize,
    /// None of these buckets: they are closed, or have enough in memory. Their due deliveries are passed over one by
    /// one.
    pub except_buckets: HashSet<Arc<str>>,
    /// Only what belongs to this replay: `bridge dead replay` without a running bridge.
    pub only_replay: Option<Arc<str>>,
}

/// What the store tells a sink.
#[derive(Debug)]
pub enum FromStore {
    /// The answer to [`SinkStore::ask_lanes`]: which of the lanes have deliveries in the store.
    Lanes(Vec<(Arc<str>, bool)>),
    /// The answer to [`SinkStore::claim`].
    Claimed(Claimed),
    /// Somebody else has changed the store: something may be due, or the sink may be enabled again.
    Changed,
    /// The disk is full: these were to be parked, and are the sink's again.
    GivenBack(Vec<(StoredDelivery, Option<Ack>)>),
}

/// A pause that a receiver has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The bucket that it holds, `""` when the sink has but one.
    pub bucket: Arc<str>,
    /// Its end.
    pub until: Timestamp,
}

/// Deliveries handed out, and what else a sink should know.
#[derive(Debug)]
pub struct Claimed {
    /// Now this sink's to attempt, in the order in which they were due.
    pub deliveries: Vec<StoredDelivery>,
    /// When the next delivery that is not handed out is due, among the buckets that were not excepted; may be past.
    pub next_due: Option<Timestamp>,
    /// True when the sink has deliveries with a lane in the store, handed out or not.
    pub has_lanes: bool,
    /// True when other replicas may put deliveries there at any time.
    pub is_shared: bool,
    /// True while the sink is disabled.
    pub disabled: bool,
    /// The pauses that are remembered, those among them that are over as well.
    pub pauses: Vec<Pause>,
    /// True when the store says by [`FromStore::Changed`] that others have changed it, so that no sink has to ask for it
    /// again and again.
    pub tells_changes: bool,
}

impl Store {
    pub(super) fn new(operations: mpsc::UnboundedSender<Operation>, room: Room) -> Self {
        Self { operations, room }
    }

    /// A handle that does not keep the store open.
    pub fn downgrade(&self) -> WeakStore {
        WeakStore { operations: self.operations.downgrade(), room: self.room.clone() }
    }

    /// The handle of a sink, and where the answers to it come.
    pub fn open_sink(&self, sink: Arc<str>) -> (SinkStore, mpsc::UnboundedReceiver<FromStore>) {
        let (answers, from_store) = mpsc::unbounded_channel();
        let handle =
            SinkStore { sink: Arc::clone(&sink), operations: self.operations.clone(), room: self.room.clone() };
        handle.send(Operation::Open { sink, answers });
        (handle, from_store)
    }

    /// Keeps a dead letter, then settles its ack.
    pub fn bury(&self, letter: Letter, ack: Option<Ack>) {
        // Without its keeper (it has panicked) the ack drops here, and the event fails as it must.
        self.operations.send(Operation::Bury { letter: Box::new(letter), ack }).ok();
    }

    /// The checkpoint of a source, as it was saved; `None` when none ever was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load_checkpoint(&self, source: Arc<str>) -> Result<Option<String>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.operations.send(Operation::LoadCheckpoint { source, answer }).ok();
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Replaces the checkpoint of a source: at the call, in the order of the calls. It is durable when the future is
    /// ready; nobody has to wait for that.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn save_checkpoint(
        &self,
        source: Arc<str>,
        state: String,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.operations.send(Operation::SaveCheckpoint { source, state, answer }).ok();
        async { answered.await.map_err(|_| StoreError::Closed)? }
    }
}

impl WeakStore {
    /// The store, unless it has ended or is about to.
    pub fn upgrade(&self) -> Option<Store> {
        self.operations.upgrade().map(|operations| Store::new(operations, self.room.clone()))
    }
}

impl SinkStore {
    /// False while the store is full or fails: what is given to it now may wait for long, and nobody attempts it
    /// meanwhile.
    pub fn has_room(&self) -> bool {
        self.room.is_there()
    }

    /// Keeps deliveries until they are due, then settles their acks. Of several with one lane, and of those whose lane
    /// has deliveries in the store already, each waits for the one before it and not for its time. One that was claimed
    /// goes back by [`reschedule`](Self::reschedule) instead. They are kept beyond `max_size` too: whoever can do
    /// otherwise asks [`has_room`](Self::has_room) first. When the disk is full, those without a lane are
    /// [given back](FromStore::GivenBack) to a sink that still listens.
    pub fn park(&self, deliveries: Vec<(StoredDelivery, Option<Ack>)>) {
        self.send(Operation::Park { sink: Arc::clone(&self.sink), deliveries });
    }

    /// Asks which of these lanes have deliveries in the store.
    pub fn ask_lanes(&self, lanes: Vec<Arc<str>>) {
        self.send(Operation::AskLanes { sink: Arc::clone(&self.sink), lanes });
    }

    /// Puts a claimed delivery back until `due`.
    pub fn reschedule(&self, row: RowId, due: Timestamp, attempts: AttemptLog) {
        self.send(Operation::Reschedule { row, due, attempts });
    }

    /// Removes a claimed delivery that has ended; the next of its lane is due.
    pub fn finish(&self, row: RowId) {
        self.send(Operation::Finish { row });
    }

    /// Keeps a dead letter, then settles its ack. When it was parked, the next of its lane is due.
    pub fn bury(&self, letter: Letter, ack: Option<Ack>) {
        self.send(Operation::Bury { letter: Box::new(letter), ack });
    }

    /// Asks for deliveries that are due.
    pub fn claim(&self, claim: Claim) {
        self.send(Operation::Claim { sink: Arc::clone(&self.sink), claim });
    }

    /// Remembers, beyond restarts, that the sink is disabled.
    pub fn disable(&self, reason: String) {
        self.send(Operation::Disable { sink: Arc::clone(&self.sink), reason });
    }

    /// Remembers, beyond restarts, that the receiver has asked for a pause. An earlier one that lasts longer stays.
    pub fn pause(&self, pause: Pause) {
        self.send(Operation::Pause { sink: Arc::clone(&self.sink), pause });
    }

    /// Makes due at this time what was parked until the end of a pause, or for less, as the pause was ended early.
    pub fn resume(&self, pause: Pause, now: Timestamp) {
        self.send(Operation::Resume { sink: Arc::clone(&self.sink), pause, now });
    }

    /// Forgets the pauses that are over at this time.
    pub fn forget_pauses(&self, now: Timestamp) {
        self.send(Operation::ForgetPauses { sink: Arc::clone(&self.sink), now });
    }

    fn send(&self, operation: Operation) {
        // Without its keeper (it has panicked) the acks within drop here, and their events fail as they must.
        self.operations.send(operation).ok();
    }
}
