//! Lanes: which deliveries of a sink wait in memory behind an earlier one of the same key. Pure.
//!
//! A lane is in memory from the arrival of its first delivery to the end of its last. Its head is with the caller
//! (scheduled, under way, waiting for a retry); the others wait in here. Deliveries of a lane that has some in the store
//! must go there too, behind those: so the caller says whether the store has to be asked first.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The value of `order_by`.
pub type LaneName = Arc<str>;

/// The lanes of one sink that are in memory. `T` is a delivery.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: HashMap<LaneName, Lane<T>>,
}

/// What becomes of a delivery that has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived<T> {
    /// It is the head of its lane and may start.
    Start(T),
    /// It is the first of its lane; the store has to be asked for the lane.
    Ask,
    /// It waits behind others of its lane.
    Waits,
}

/// What the store's answer about a lane means.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// The lane has nothing in the store: its head may start.
    Start(T),
    /// The lane has deliveries in the store: these go there too, in this order. The lane is no longer in memory.
    Park(VecDeque<T>),
    /// Nobody waits for this answer any more.
    Forgotten,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    /// True until the store has answered; then the first of `waiting` is the head.
    asking: bool,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new() }
    }
}

impl<T> Lanes<T> {
    /// True when the lane has a delivery in memory: whatever comes must go behind it.
    pub fn contains(&self, lane: &LaneName) -> bool {
        self.lanes.contains_key(lane)
    }

    /// Takes a delivery in. `ask_first` says that the store may have deliveries of a lane that is not in memory.
    pub fn arrive(&mut self, lane: &LaneName, delivery: T, ask_first: bool) -> Arrived<T> {
        match self.lanes.entry(Arc::clone(lane)) {
            Entry::Occupied(mut lane) => {
                lane.get_mut().waiting.push_back(delivery);
                Arrived::Waits
            }
            Entry::Vacant(vacant) if ask_first => {
                vacant.insert(Lane { waiting: VecDeque::from([delivery]), asking: true });
                Arrived::Ask
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Lane { waiting: VecDeque::new(), asking: false });
                Arrived::Start(delivery)
            }
        }
    }

    /// True while the store's answer about the lane is awaited.
    pub fn is_asking(&self, lane: &LaneName) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.asking)
    }

    /// Takes the store's answer.
    pub fn answered(&mut self, lane: &LaneName, is_in_store: bool) -> Asked<T> {
        let Some(asked) = self.lanes.get_mut(lane).filter(|lane| lane.asking) else { return Asked::Forgotten };
        if is_in_store {
            return Asked::Park(self.take(lane));
        }
        asked.asking = false;
        asked.waiting.pop_front().map_or(Asked::Forgotten, Asked::Start)
    }

    /// Takes note of the end of a lane's head, and gives the next head.
    pub fn head_ended(&mut self, lane: &LaneName) -> Option<T> {
        let next = self.lanes.get_mut(lane)?.waiting.pop_front();
        if next.is_none() {
            self.lanes.remove(lane);
        }
        next
    }

    /// Takes a whole lane out of memory and gives those that waited behind its head, in order.
    pub fn take(&mut self, lane: &LaneName) -> VecDeque<T> {
        self.lanes.remove(lane).map(|lane| lane.waiting).unwrap_or_default()
    }

    /// Takes out all that wait. Lanes whose head is with the caller stay until it has ended.
    pub fn drain(&mut self) -> Vec<T> {
        let drained = self.lanes.values_mut().flat_map(|lane| lane.waiting.drain(..)).collect();
        self.lanes.retain(|_, lane| !lane.asking);
        drained
    }

    /// The number of deliveries that wait in here.
    pub fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    /// True when no lane is in memory.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lane(name: &str) -> LaneName {
        name.into()
    }

    #[test]
    fn one_of_a_lane_goes_at_a_time_and_lanes_do_not_wait_for_each_other() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.arrive(&lane("a"), 1, false), Arrived::Start(1));
        assert_eq!(lanes.arrive(&lane("a"), 2, false), Arrived::Waits);
        assert_eq!(lanes.arrive(&lane("b"), 3, false), Arrived::Start(3));
        assert_eq!(lanes.head_ended(&lane("a")), Some(2));
        assert_eq!(lanes.head_ended(&lane("a")), None);
        assert_eq!(lanes.head_ended(&lane("b")), None);
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_lane_with_deliveries_in_the_store_goes_there() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.arrive(&lane("a"), 1, true), Arrived::Ask);
        assert_eq!(lanes.arrive(&lane("a"), 2, true), Arrived::Waits);
        assert_eq!(lanes.answered(&lane("a"), true), Asked::Park(VecDeque::from([1, 2])));
        assert_eq!(lanes.arrive(&lane("a"), 3, true), Arrived::Ask);
        assert_eq!(lanes.answered(&lane("a"), false), Asked::Start(3));
        assert_eq!(lanes.answered(&lane("a"), true), Asked::Forgotten, "each question has one answer");
        assert!(lanes.contains(&lane("a")));
    }

    #[test]
    fn draining_leaves_the_heads_their_lanes() {
        let mut lanes = Lanes::default();
        lanes.arrive(&lane("under way"), 1, false);
        lanes.arrive(&lane("under way"), 2, false);
        lanes.arrive(&lane("asked"), 3, true);
        let mut drained = lanes.drain();
        drained.sort_unstable();
        assert_eq!(drained, [2, 3]);
        assert_eq!(lanes.answered(&lane("asked"), false), Asked::Forgotten);
        assert!(lanes.contains(&lane("under way")) && !lanes.contains(&lane("asked")));
    }

    proptest! {
        /// Against a model of the store: never are two of one lane started, each lane keeps its order over memory and
        /// store, and nothing is lost or doubled.
        #[test]
        fn order_is_kept_and_nothing_is_lost(steps in prop::collection::vec((0_u8..3, 0_u8..5), 1..200)) {
            let mut lanes: Lanes<(u8, usize)> = Lanes::default();
            let mut started: HashMap<u8, (u8, usize)> = HashMap::new();
            let mut asked: Vec<u8> = Vec::new();
            let mut stored: HashMap<u8, VecDeque<(u8, usize)>> = HashMap::new();
            let mut ended: HashMap<u8, Vec<usize>> = HashMap::new();
            let mut arrivals: HashMap<u8, Vec<usize>> = HashMap::new();
            let start = |started: &mut HashMap<_, _>, delivery: (u8, usize)| started.insert(delivery.0, delivery).is_none();
            let drain_steps = (0..400).map(|step| (step % 3, 1 + step / 3 % 3));
            let steps = steps.into_iter().map(|step| (step, true)).chain(drain_steps.map(|(a, b)| ((a as u8, b as u8), false)));
            for (number, ((key, action), _)) in steps.enumerate() {
                let name = lane(&key.to_string());
                match action {
                    // An event arrives.
                    0 | 4 => {
                        arrivals.entry(key).or_default().push(number);
                        match lanes.arrive(&name, (key, number), true) {
                            Arrived::Start(_) => prop_assert!(false, "the store was to be asked"),
                            Arrived::Ask => asked.push(key),
                            Arrived::Waits => {}
                        }
                    }
                    // The store answers.
                    1 => if let Some(position) = asked.iter().position(|asked| *asked == key) {
                        asked.swap_remove(position);
                        let rows = stored.entry(key).or_default();
                        match lanes.answered(&name, !rows.is_empty()) {
                            Asked::Start(delivery) => prop_assert!(start(&mut started, delivery)),
                            Asked::Park(deliveries) => rows.extend(deliveries),
                            Asked::Forgotten => prop_assert!(false, "somebody waits for the answer"),
                        }
                    },
                    // A head ends, in memory or in the store.
                    2 => if let Some((_, head)) = started.remove(&key) {
                        ended.entry(key).or_default().push(head);
                        if let Some(next) = lanes.head_ended(&name) {
                            prop_assert!(start(&mut started, next));
                        }
                    } else if let Some((_, head)) = stored.entry(key).or_default().pop_front() {
                        ended.entry(key).or_default().push(head);
                    },
                    // A head is parked, and its lane with it.
                    _ => if let Some(head) = started.remove(&key) {
                        let rows = stored.entry(key).or_default();
                        prop_assert!(rows.is_empty(), "a lane was in memory and in the store");
                        rows.push_back(head);
                        rows.extend(lanes.take(&name));
                    },
                }
            }
            for key in 0..3 {
                let mut order = ended.remove(&key).unwrap_or_default();
                order.extend(started.get(&key).map(|(_, number)| *number));
                order.extend(stored.remove(&key).unwrap_or_default().into_iter().map(|(_, number)| number));
                order.extend(lanes.take(&lane(&key.to_string())).into_iter().map(|(_, number)| number));
                prop_assert_eq!(order, arrivals.remove(&key).unwrap_or_default());
            }
        }
    }
}
