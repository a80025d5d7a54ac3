//! Whether a sink still delivers: its receiver may have disabled it, its pipeline may have no such sink any more, and the
//! run may be about to end. What follows for its deliveries is not decided here.

use tokio::time::Instant;

use crate::delivery::step::RemovalFact;

/// How a sink stands. It begins as one that delivers.
#[derive(Debug, Default)]
pub(super) struct Standing {
    is_disabled: bool,
    removal: Option<Removal>,
    run_is_ending: bool,
}

/// How far a removed sink has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// Deliveries go on until then.
    Until(Instant),
    /// Time is up: no attempt begins any more.
    Gone,
}

impl Standing {
    /// The receiver wants nothing any more. False when that is no news.
    pub(super) fn disable(&mut self) -> bool {
        !std::mem::replace(&mut self.is_disabled, true)
    }

    /// The receiver may be tried again. False when that is no news.
    pub(super) fn enable(&mut self) -> bool {
        std::mem::take(&mut self.is_disabled)
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.is_disabled
    }

    /// The pipeline has no such sink any more; it may finish what it can until the deadline.
    pub(super) fn remove(&mut self, deadline: Instant) {
        self.removal = Some(Removal::Until(deadline));
    }

    /// The pipeline has the sink. False when that is no news.
    pub(super) fn keep(&mut self) -> bool {
        self.removal.take().is_some()
    }

    /// Ends the time of a removed sink if it is up. False when it is not, or had ended before.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let is_up = self.leaves_at().is_some_and(|deadline| deadline <= now);
        if is_up {
            self.removal = Some(Removal::Gone);
        }
        is_up
    }

    /// When the time of a removed sink is up, if it is not yet.
    pub(super) fn leaves_at(&self) -> Option<Instant> {
        match self.removal {
            Some(Removal::Until(deadline)) => Some(deadline),
            Some(Removal::Gone) | None => None,
        }
    }

    pub(super) fn removal(&self) -> RemovalFact {
        match self.removal {
            None => RemovalFact::Present,
            Some(Removal::Until(_)) => RemovalFact::Finishing,
            Some(Removal::Gone) => RemovalFact::Gone,
        }
    }

    /// The sink is removed, and its time is up.
    pub(super) fn is_gone(&self) -> bool {
        self.removal == Some(Removal::Gone)
    }

    /// The shutdown has begun. False when that is no news.
    pub(super) fn end_run(&mut self) -> bool {
        !std::mem::replace(&mut self.run_is_ending, true)
    }

    /// False once the sink is to leave what is in the store there.
    pub(super) fn may_claim(&self) -> bool {
        !self.run_is_ending && self.removal.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_a_change_is_news() {
        let mut standing = Standing::default();
        assert!(!standing.enable() && !standing.keep());
        assert!(standing.disable() && !standing.disable() && standing.is_disabled());
        assert!(standing.enable() && !standing.is_disabled());
        assert!(standing.end_run() && !standing.end_run() && !standing.may_claim());
    }

    #[test]
    fn a_removed_sink_is_gone_at_its_deadline_unless_it_is_kept() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut standing = Standing::default();
        assert!(!standing.expire(later) && standing.may_claim());
        standing.remove(later);
        assert!(!standing.expire(now) && !standing.is_gone() && !standing.may_claim());
        assert_eq!((standing.leaves_at(), standing.removal()), (Some(later), RemovalFact::Finishing));
        assert!(standing.expire(later) && !standing.expire(later) && standing.is_gone());
        assert_eq!((standing.leaves_at(), standing.removal()), (None, RemovalFact::Gone));
        assert!(standing.keep() && !standing.is_gone() && standing.may_claim());
    }
}
