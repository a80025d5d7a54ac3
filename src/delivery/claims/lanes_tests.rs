//! Two replicas of one sink on a shared store, and partitions that change hands: a lane for which no replica asks has no
//! earlier delivery of its partition in the store.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const PARTITIONS: usize = 2;

/// An event's place: its partition and its number there, and the value of `order_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    partition: usize,
    number: usize,
    lane: u8,
}

/// What a replica has sent to the store.
#[derive(Debug)]
enum Sent {
    Park(Place),
    Claim,
}

struct Replica {
    claims: Claims,
    to_store: VecDeque<Sent>,
    /// Since when it reads each partition alone.
    since: [Option<Instant>; PARTITIONS],
}

struct World {
    now: Instant,
    replicas: [Replica; 2],
    /// Rows, and whether their replica still had their partition when they were written. Otherwise the next owner reads
    /// their events again: they are copies.
    rows: Vec<(Place, bool)>,
    owners: [usize; PARTITIONS],
    next: [usize; PARTITIONS],
    /// What has been read of a partition and not settled.
    open: [Vec<usize>; PARTITIONS],
}

#[derive(Debug, Clone)]
enum Step {
    /// The owner of a partition reads an event, which is delivered or has to be parked.
    Read { partition: usize, lane: u8, fails: bool },
    /// A replica asks for deliveries.
    Claim(usize),
    /// The store does what a replica has sent first.
    Commit(usize),
    /// A parked delivery ends.
    Finish(usize),
    /// A partition goes to the other replica, which reads on behind what was settled.
    Move(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let read = (0..PARTITIONS, 0_u8..2, prop::bool::weighted(0.3)).prop_map(|(partition, lane, fails)| Step::Read {
        partition,
        lane,
        fails,
    });
    let step = prop_oneof![
        4 => read,
        3 => (0..2_usize).prop_map(Step::Claim),
        6 => (0..2_usize).prop_map(Step::Commit),
        2 => (0..8_usize).prop_map(Step::Finish),
        1 => (0..PARTITIONS).prop_map(Step::Move),
    ];
    prop::collection::vec(step, 1..120)
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let replica =
            || Replica { claims: Claims::new(false, now), to_store: VecDeque::new(), since: [None; PARTITIONS] };
        Self {
            now,
            replicas: [replica(), replica()],
            rows: Vec::new(),
            owners: [0, 1],
            next: [0; PARTITIONS],
            open: Default::default(),
        }
    }

    fn take(&mut self, step: Step) -> Result<bool, TestCaseError> {
        self.now += Duration::from_millis(1);
        let mut went_unasked = false;
        match step {
            Step::Read { partition, lane, fails } => went_unasked = self.read(partition, lane, fails)?,
            Step::Claim(replica) => {
                let replica = &mut self.replicas[replica];
                if !replica.claims.is_under_way() {
                    replica.claims.sent(1, HashSet::new(), self.now);
                    replica.to_store.push_back(Sent::Claim);
                }
            }
            Step::Commit(replica) => self.commit(replica),
            Step::Finish(row) if row < self.rows.len() => drop(self.rows.remove(row)),
            Step::Finish(_) => {}
            Step::Move(partition) => {
                self.owners[partition] = 1 - self.owners[partition];
                self.replicas[self.owners[partition]].since[partition] = None;
                self.next[partition] = self.open[partition].iter().copied().min().unwrap_or(self.next[partition]);
                self.open[partition].clear();
            }
        }
        Ok(went_unasked)
    }

    fn read(&mut self, partition: usize, lane: u8, fails: bool) -> Result<bool, TestCaseError> {
        let place = Place { partition, number: self.next[partition], lane };
        self.next[partition] += 1;
        let replica = &mut self.replicas[self.owners[partition]];
        let since = *replica.since[partition].get_or_insert(self.now);
        let asks = replica.claims.must_ask_for_lanes(Some(since));
        let waiting = replica.to_store.iter().filter_map(|sent| match sent {
            Sent::Park(parked) => Some((*parked, true)),
            Sent::Claim => None,
        });
        let is_before = |(row, is_owners): (Place, bool)| {
            is_owners && row.partition == partition && row.lane == lane && row.number < place.number
        };
        let has_earlier = self.rows.iter().copied().chain(waiting).any(is_before);
        prop_assert!(asks || !has_earlier, "{place:?} goes before its turn");
        if fails || asks && has_earlier {
            replica.claims.parked(self.now, true);
            replica.to_store.push_back(Sent::Park(place));
            self.open[partition].push(place.number);
        }
        Ok(!asks)
    }

    fn commit(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        match replica.to_store.pop_front() {
            Some(Sent::Park(place)) => {
                let open = &mut self.open[place.partition];
                let before = open.len();
                open.retain(|number| self.owners[place.partition] != index || *number != place.number);
                self.rows.push((place, open.len() < before));
            }
            Some(Sent::Claim) => {
                let claimed =
                    Claimed { has_lanes: !self.rows.is_empty(), is_shared: true, ..super::tests::answer(None) };
                replica.claims.answered(&claimed, self.now, Timestamp::UNIX_EPOCH, |_| true);
            }
            None => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_lane_that_is_not_asked_for_has_nothing_earlier_in_the_store(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.take(step)?;
        }
    }
}

#[test]
fn a_free_store_that_goes_away_holds_up_no_partition_that_was_there_before() {
    let mut world = World::new();
    let read = |partition| Step::Read { partition, lane: 0, fails: false };
    assert!(!world.take(read(0)).unwrap(), "nothing is known yet");
    world.take(Step::Claim(0)).unwrap();
    world.take(Step::Commit(0)).unwrap();
    // From here on the store is away.
    assert!(world.take(read(0)).unwrap());
    world.take(Step::Claim(0)).unwrap();
    assert!(world.take(read(0)).unwrap(), "also while an answer is awaited");
    world.take(Step::Move(1)).unwrap();
    assert!(!world.take(read(1)).unwrap(), "the other replica may have parked what was before this");
    assert!(world.take(read(0)).unwrap());
    world.take(Step::Read { partition: 0, lane: 1, fails: true }).unwrap();
    assert!(!world.take(read(0)).unwrap(), "something was parked here");
}
