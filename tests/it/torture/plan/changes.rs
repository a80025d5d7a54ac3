//! What chance decides about the source itself: when its file is rotated, or its topic deleted and created anew.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Plan;

/// What is done to the source itself in one cycle: its file is copied and truncated, or its topic deleted and created
/// anew. Both have a beginning and an end, and the bridge may start or be killed between the two.
#[derive(Debug, Clone, Copy)]
pub(in crate::torture) struct Change {
    pub(in crate::torture) begins: Moment,
    pub(in crate::torture) ends: Moment,
    /// How often it is done, one after the other; once when it begins and ends at different moments.
    pub(in crate::torture) times: u32,
    /// How long it takes when it begins and ends at the same moment.
    pub(in crate::torture) takes: Duration,
    /// Events that are written in that time.
    pub(in crate::torture) meanwhile: u64,
}

/// When something is done to the source, in the order of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::torture) enum Moment {
    /// The bridge is down, and some load waits for it.
    BeforeTheStart,
    /// In the middle of the load that is written while it runs.
    UnderLoad,
    /// The bridge is down again.
    AfterTheKill,
}

/// How many records a topic that was created anew gets at once, beside the position that the group had in the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Records {
    Fewer,
    AsMany,
    More,
}

/// Beyond this position a topic is always created anew with fewer records, so that a long run does not drown in them.
const LONG_TOPIC: u64 = 400;

impl Plan {
    /// Whether the file is rotated in a cycle, and when.
    pub(in crate::torture) fn rotation(self, cycle: u64) -> Option<Change> {
        let mut random = self.random("rotation", (cycle, 0, 0));
        random.random_bool(0.6).then(|| Change::random(&mut random))
    }

    /// Whether the topic is deleted and created anew in a cycle, and when. Once is enough: it takes time.
    pub(in crate::torture) fn recreation(self, cycle: u64) -> Option<Change> {
        let mut random = self.random("recreation", (cycle, 0, 0));
        // One in eight, and seldom twice in a row.
        let is_due = cycle % 8 == self.seed % 8 || random.random_bool(0.02);
        is_due.then(|| Change { times: 1, meanwhile: 0, ..Change::random(&mut random) })
    }

    /// How many events there must be from `first` on so that the first partition of a topic gets as many records as are
    /// meant for it; it was deleted when the group had this position.
    pub(in crate::torture) fn events_anew(self, cycle: u64, first: u64, position: u64) -> u64 {
        let records = match self.records(cycle) {
            Records::AsMany if position <= LONG_TOPIC => position,
            Records::More if position <= LONG_TOPIC => position + 20,
            _ => position / 8,
        };
        let Some(last) = usize::try_from(records).ok().and_then(|records| records.checked_sub(1)) else { return 0 };
        let mut in_first = (first..).filter(|event| self.partition(*event) == 0);
        in_first.nth(last).map_or(0, |event| event + 1 - first)
    }

    fn records(self, cycle: u64) -> Records {
        match self.random("records", (cycle, 0, 0)).random_range(0..4) {
            0 => Records::Fewer,
            1 => Records::AsMany,
            _ => Records::More,
        }
    }
}

impl Change {
    fn random(random: &mut StdRng) -> Self {
        use Moment::{AfterTheKill, BeforeTheStart, UnderLoad};
        let moments = [
            (BeforeTheStart, BeforeTheStart),
            (BeforeTheStart, UnderLoad),
            (UnderLoad, UnderLoad),
            (UnderLoad, UnderLoad),
            (UnderLoad, AfterTheKill),
        ];
        let (begins, ends) = moments[random.random_range(0..moments.len())];
        let meanwhile = if random.random_bool(0.3) { random.random_range(1..12) } else { 0 };
        let takes = Duration::from_millis(random.random_range(0..40));
        let times = if begins == ends { random.random_range(1..=3) } else { 1 };
        Self { begins, ends, times, takes, meanwhile }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PLAN: Plan = Plan { seed: 7 };

    #[test]
    fn a_topic_gets_as_many_records_as_meant() {
        let in_first = |first, count| (first..first + count).filter(|event| PLAN.partition(*event) == 0).count() as u64;
        let mut kinds = [0; 3];
        for cycle in 0..40 {
            let records = PLAN.records(cycle);
            let meant = [15, 120, 140][records as usize];
            assert_eq!(in_first(55, PLAN.events_anew(cycle, 55, 120)), meant);
            kinds[records as usize] += 1;
        }
        assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
    }

    #[test]
    fn changes_begin_and_end_at_all_moments_and_never_end_before_they_begin() {
        let changes =
            (0..200).filter_map(|cycle| PLAN.rotation(cycle)).chain((0..800).filter_map(|c| PLAN.recreation(c)));
        let moments: Vec<(Moment, Moment)> = changes.map(|change| (change.begins, change.ends)).collect();
        assert!(moments.iter().all(|(begins, ends)| begins <= ends));
        assert_eq!(moments.iter().collect::<BTreeSet<_>>().len(), 4);
        assert!((200..280).contains(&moments.len()), "{}", moments.len());
    }
}
