//! Who takes the events of one output, so arranged that of many filters few have to be asked. Pure; whether a filter lets
//! an event through, it says itself.

use super::graph::{Stage, StageNode, Target};
use crate::event::Envelope;
use crate::filter::PredicateIndex;

/// Who takes the events of one output of a source, a filter or a transform.
#[derive(Debug)]
pub(super) struct FanOut {
    all: Vec<Target>,
    lookup: Option<Lookup>,
}

/// Filters by the values that they ask for.
#[derive(Debug)]
struct Lookup {
    filters: PredicateIndex<usize>,
    /// What every event goes to.
    others: Vec<Target>,
}

impl FanOut {
    /// The takers of an output. A filter that turns events away to somebody is one that every event goes to.
    pub(super) fn new(targets: &[Target], stages: &[StageNode]) -> Self {
        let all = targets.to_vec();
        let looked_up = |target: &Target| {
            let Target::Stage(index) = *target else { return None };
            match &stages[index] {
                StageNode { stage: Stage::Filter(predicate), unmatched, .. } if unmatched.is_empty() => {
                    Some((index, predicate))
                }
                _ => None,
            }
        };
        let filters = PredicateIndex::new(targets.iter().filter_map(looked_up));
        if !filters.rules_out_any() {
            return Self { all, lookup: None };
        }
        let others = targets.iter().filter(|target| looked_up(target).is_none()).copied().collect();
        Self { all, lookup: Some(Lookup { filters, others }) }
    }

    /// A single sink.
    pub(super) fn to_sink(index: usize) -> Self {
        Self { all: vec![Target::Sink(index)], lookup: None }
    }

    /// Whether [`takers`](Self::takers) depend on the envelope.
    pub(super) fn needs_envelope(&self) -> bool {
        self.lookup.is_some()
    }

    /// All that an event may go to.
    pub(super) fn all(&self) -> &[Target] {
        &self.all
    }

    /// What an event goes to: without those filters of which it is known that they turn it away to nobody.
    pub(super) fn takers<'a>(&'a self, envelope: &'a Envelope) -> impl Iterator<Item = Target> + 'a {
        let (known, filters) = match &self.lookup {
            None => (&self.all, None),
            Some(Lookup { filters, others }) => (others, Some(filters.candidates(envelope))),
        };
        known.iter().copied().chain(filters.into_iter().flatten().map(Target::Stage))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::filter::Predicate;
    use crate::node::NodeName;

    fn filter(when: &str, turns_away_to: Option<Target>) -> StageNode {
        StageNode {
            name: NodeName::filter(when),
            stage: Stage::Filter(Predicate::parse(when).unwrap()),
            matched: vec![Target::Sink(0)],
            unmatched: turns_away_to.into_iter().collect(),
        }
    }

    proptest! {
        /// An event goes to every sink, and to each filter from which it can go on.
        #[test]
        fn only_filters_that_end_the_way_are_left_out(
            filters in proptest::collection::vec((0..5_i32, any::<bool>(), any::<bool>()), 0..20),
            tenant in prop_oneof![(0..5_i32).prop_map(|n| json!(n)), Just(json!("0")), Just(json!(null))],
        ) {
            let filters: Vec<_> = filters.into_iter().map(|(n, turns_away, is_equal)| {
                let when = if is_equal { format!("$.data.n == {n}") } else { format!("$.data.n >= {n}") };
                filter(&when, turns_away.then_some(Target::Sink(1)))
            }).collect();
            let mut targets: Vec<_> = (0..filters.len()).map(Target::Stage).collect();
            targets.push(Target::Sink(2));
            let envelope = Envelope::new(json!({"data": {"n": tenant}}));
            let fan_out = FanOut::new(&targets, &filters);
            let mut takers: Vec<_> = fan_out.takers(&envelope).collect();
            let goes_on = |target: &Target| match target {
                Target::Sink(_) => true,
                Target::Stage(index) => {
                    let Stage::Filter(predicate) = &filters[*index].stage else { return true };
                    !filters[*index].unmatched.is_empty() || predicate.matches(&envelope)
                }
            };
            takers.retain(goes_on);
            takers.sort_by_key(|target| targets.iter().position(|other| other == target));
            let expected: Vec<_> = targets.iter().filter(|target| goes_on(target)).copied().collect();
            prop_assert_eq!(takers, expected);
        }
    }

    #[test]
    fn one_of_many_filters_is_asked() {
        let filters: Vec<_> = (0..100).map(|n| filter(&format!("$.data.tenant == 't{n}'"), None)).collect();
        let targets: Vec<_> = (0..100).map(Target::Stage).collect();
        let fan_out = FanOut::new(&targets, &filters);
        let takers: Vec<_> = fan_out.takers(&Envelope::new(json!({"data": {"tenant": "t7"}}))).collect();
        assert_eq!((fan_out.needs_envelope(), takers), (true, vec![Target::Stage(7)]));
    }
}
