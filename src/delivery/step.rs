//! What is next for a delivery: an attempt, a wait in memory or in the store, or its end.
//!
//! Pure. The worker says on which occasion it asks and what is known at that moment, and carries the step out. What
//! follows from an answer is decided before (`outcome`), and when a retry is due too (`retry`).

use std::time::Duration;

use tokio::time::Instant;

use super::schedule::Hold;
use crate::store::record::Reason;

/// Why it is asked what is next for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// It has come from the queue. Others of its lane may be before it.
    Arrived,
    /// Its turn has come in its lane, or it has no lane.
    Turn,
    /// It was claimed from the store.
    Claimed,
    /// It has to wait for its next attempt until then, as one has failed or as its bucket is closed.
    Wait(Instant),
    /// An attempt has failed. The next one is due then; `None` when there is to be none.
    Failed(Option<Instant>),
    /// Its request was not processed, which was no attempt.
    NotProcessed,
    /// The store could not keep it, and has given it back to wait until then.
    GivenBack(Instant),
    /// The store has room again. It has waited in memory meanwhile, for this moment.
    Room(Instant),
    /// The sink was disabled while it waited here.
    Disabled,
    /// It has to leave memory: to follow others of its lane to the store, or to make room.
    MakeRoom,
    /// It is due then, which is after the end of the run.
    RunEnds(Instant),
}

/// What is known when it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) now: Instant,
    /// The delivery has a row in the store.
    pub(super) is_stored: bool,
    /// When it came to the sink.
    pub(super) since: Instant,
    pub(super) lane: LaneFact,
    /// What keeps its bucket from starting attempts.
    pub(super) hold: Option<Hold>,
    /// Deliveries of its bucket wait in the store although they are due.
    pub(super) is_backlogged: bool,
    /// Its bucket has more claimed deliveries in memory than it may.
    pub(super) has_too_many: bool,
    pub(super) store: StoreFact,
    /// A receiver has said that the sink is to be disabled.
    pub(super) is_disabled: bool,
    pub(super) removal: RemovalFact,
    /// Sources of this sink feed other sinks too, which it must not hold up.
    pub(super) shares_sources: bool,
    /// A longer wait is spent in the store.
    pub(super) park_after: Duration,
}

/// Where the lane of a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneFact {
    /// It has no lane.
    None,
    /// Others of its lane are in memory.
    InMemory,
    /// None is in memory, but the store may have some.
    MayBeStored,
    /// It is the only one of its lane.
    Free,
}

/// Whether a delivery can go to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreFact {
    /// There is no store.
    None,
    /// It is full, or fails.
    Full,
    /// It has room.
    HasRoom,
}

/// Whether the pipeline still has the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RemovalFact {
    /// It has.
    Present,
    /// It has not, and the sink finishes what it can.
    Finishing,
    /// Its time is up: no attempt begins any more.
    Gone,
}

/// What is next for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is attempted when it is its turn in its bucket.
    Attempt,
    /// It is attempted before all others of its bucket.
    AttemptFirst,
    /// It waits in memory until then.
    WaitUntil(Instant),
    /// It waits in the store until then, and what waits behind it in its lane goes there too.
    Park(Instant),
    /// It takes its place in its lane. With `ask_store` that is unknown until the store has been asked.
    JoinLane {
        /// The store may have others of the lane.
        ask_store: bool,
    },
    /// It becomes a dead letter.
    DeadLetter(Reason),
    /// Its ack is dropped, so that its event is read again; what is in the store is claimed again.
    LetGo,
}

/// A step, and whether it was taken for want of room in the store: then it is asked again when there is some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) step: Step,
    pub(super) lacks_room: bool,
}

impl Occasion {
    /// False when another delivery of its lane may have the turn, which does not end with this one.
    pub(super) fn has_turn(self) -> bool {
        !matches!(self, Self::Arrived | Self::GivenBack(_))
    }
}

impl From<Step> for Decision {
    fn from(step: Step) -> Self {
        Self { step, lacks_room: false }
    }
}

/// What is next for a delivery.
pub(super) fn next_step(occasion: Occasion, facts: &Facts) -> Decision {
    // A sink that wants nothing any more ends what is fresh. What has a row keeps it: the sink may be enabled again.
    let is_refused = facts.is_disabled && !facts.is_stored;
    let is_gone = facts.removal == RemovalFact::Gone;
    match occasion {
        Occasion::Arrived | Occasion::Failed(_) | Occasion::GivenBack(_) | Occasion::Disabled if is_refused => {
            Step::DeadLetter(Reason::SinkDisabled).into()
        }
        Occasion::Failed(None) => Step::DeadLetter(Reason::RetriesExhausted).into(),
        Occasion::RunEnds(due) => facts.end_of_run(due).into(),
        Occasion::MakeRoom => facts.park(facts.now).into(),
        Occasion::Arrived if is_gone && facts.lane == LaneFact::InMemory && facts.store != StoreFact::None => {
            Step::JoinLane { ask_store: false }.into()
        }
        _ if is_gone => facts.leave().into(),
        Occasion::NotProcessed if is_refused => Step::DeadLetter(Reason::SinkDisabled).into(),
        Occasion::Arrived => facts.arrive(),
        Occasion::Turn => facts.take_turn(Step::Attempt),
        Occasion::Claimed => facts.start_claimed().into(),
        Occasion::Wait(due) | Occasion::Failed(Some(due)) | Occasion::GivenBack(due) => facts.wait(due),
        Occasion::Disabled => facts.wait(facts.now),
        Occasion::NotProcessed => match facts.hold {
            Some(hold) if !hold.is_probe_due => facts.wait(facts.now),
            _ => Step::AttemptFirst.into(),
        },
        Occasion::Room(due) if facts.is_stored => Step::WaitUntil(due).into(),
        Occasion::Room(due) if due > facts.now => facts.wait(due),
        Occasion::Room(_) => facts.take_turn(Step::Attempt),
    }
}

impl Facts {
    fn arrive(&self) -> Decision {
        match self.lane {
            LaneFact::None => self.take_turn(Step::Attempt),
            LaneFact::InMemory => Step::JoinLane { ask_store: false }.into(),
            LaneFact::MayBeStored => self.take_turn(Step::JoinLane { ask_store: true }),
            LaneFact::Free => self.take_turn(Step::JoinLane { ask_store: false }),
        }
    }

    /// A fresh delivery whose turn it is takes this step, unless it would have to wait for long.
    fn take_turn(&self, step: Step) -> Decision {
        match self.long_wait() {
            Some(due) if !self.is_stored => self.park_if_room(due, step),
            _ => step.into(),
        }
    }

    /// Until when a fresh delivery whose turn it is belongs into the store.
    fn long_wait(&self) -> Option<Instant> {
        let long_hold = self.hold.filter(|hold| hold.by_breaker || self.is_long(hold.until - self.now));
        let is_overdue = self.shares_sources && self.is_long(self.now - self.since);
        long_hold.map(|hold| hold.until).or((self.is_backlogged || is_overdue).then_some(self.now))
    }

    fn start_claimed(&self) -> Step {
        // The bucket may have closed while the claim was under way.
        let is_closed = |hold: &Hold| hold.by_breaker && !hold.is_probe_due || self.is_long(hold.until - self.now);
        if self.is_disabled || self.removal != RemovalFact::Present || self.has_too_many {
            return self.park(self.now);
        }
        self.hold.filter(is_closed).map_or(Step::Attempt, |hold| self.park(hold.until))
    }

    fn wait(&self, due: Instant) -> Decision {
        let due = self.hold.map_or(due, |hold| hold.until.max(due));
        if self.is_stored {
            return self.park(due).into();
        }
        let is_long = self.is_long(due - self.now) || self.is_long(due - self.since);
        let belongs_into_store = is_long || self.hold.is_some_and(|hold| hold.by_breaker);
        if belongs_into_store { self.park_if_room(due, Step::WaitUntil(due)) } else { Step::WaitUntil(due).into() }
    }

    /// What a removed sink does with a delivery whose turn it is.
    fn leave(&self) -> Step {
        match self.store {
            StoreFact::HasRoom | StoreFact::Full => Step::Park(self.now),
            // The store has ended by a bug; its row is still there.
            StoreFact::None if self.is_stored => Step::LetGo,
            StoreFact::None => Step::DeadLetter(Reason::SinkRemoved),
        }
    }

    fn end_of_run(&self, due: Instant) -> Step {
        match self.store {
            StoreFact::HasRoom => Step::Park(due),
            StoreFact::Full if self.is_stored => Step::Park(due),
            StoreFact::Full | StoreFact::None => Step::LetGo,
        }
    }

    /// Goes to the store, whether there is room or not.
    fn park(&self, due: Instant) -> Step {
        if self.store == StoreFact::None { Step::WaitUntil(due) } else { Step::Park(due) }
    }

    /// Goes to the store if there is room. Otherwise it takes the other step.
    fn park_if_room(&self, due: Instant, otherwise: Step) -> Decision {
        match self.store {
            StoreFact::HasRoom => Step::Park(due).into(),
            StoreFact::Full => Decision { step: otherwise, lacks_room: true },
            StoreFact::None => otherwise.into(),
        }
    }

    fn is_long(&self, wait: Duration) -> bool {
        wait > self.park_after
    }
}

#[cfg(test)]
mod tests;
