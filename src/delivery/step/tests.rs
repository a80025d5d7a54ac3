use proptest::prelude::*;

use super::*;

const PARK_AFTER: Duration = Duration::from_secs(30);

/// The present of all tests.
fn now() -> Instant {
    static NOW: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *NOW.get_or_init(|| Instant::now() + Duration::from_secs(3600))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A fresh delivery that has just come to a sink with nothing in its way.
fn facts() -> Facts {
    Facts {
        now: now(),
        is_stored: false,
        since: now(),
        lane: LaneFact::None,
        hold: None,
        is_backlogged: false,
        has_too_many: false,
        store: StoreFact::HasRoom,
        is_disabled: false,
        removal: RemovalFact::Present,
        shares_sources: false,
        park_after: PARK_AFTER,
    }
}

fn step(occasion: Occasion, facts: Facts) -> Step {
    next_step(occasion, &facts).step
}

#[test]
fn a_delivery_is_attempted_waits_in_memory_for_a_while_and_in_the_store_for_long() {
    assert_eq!(step(Occasion::Arrived, facts()), Step::Attempt);
    let soon = now() + seconds(5);
    assert_eq!(step(Occasion::Failed(Some(soon)), facts()), Step::WaitUntil(soon));
    let late = now() + seconds(31);
    assert_eq!(step(Occasion::Failed(Some(late)), facts()), Step::Park(late));
    let old = Facts { since: now() - seconds(29), ..facts() };
    assert_eq!(step(Occasion::Failed(Some(soon)), old), Step::Park(soon), "it has waited before");
    assert_eq!(step(Occasion::Failed(None), facts()), Step::DeadLetter(Reason::RetriesExhausted));
    let stored = Facts { is_stored: true, ..facts() };
    assert_eq!(step(Occasion::Failed(Some(soon)), stored), Step::Park(soon), "it goes back to where it came from");
}

#[test]
fn a_lane_is_joined_and_the_store_asked_where_it_may_have_more_of_it() {
    let in_lane = |lane| step(Occasion::Arrived, Facts { lane, ..facts() });
    assert_eq!(in_lane(LaneFact::InMemory), Step::JoinLane { ask_store: false });
    assert_eq!(in_lane(LaneFact::Free), Step::JoinLane { ask_store: false });
    assert_eq!(in_lane(LaneFact::MayBeStored), Step::JoinLane { ask_store: true });
}

#[test]
fn what_the_receiver_has_not_processed_goes_again_at_once_unless_its_bucket_is_closed() {
    assert_eq!(step(Occasion::NotProcessed, facts()), Step::AttemptFirst);
    let until = now() + seconds(3);
    let hold = Hold { until, by_breaker: false, is_probe_due: false };
    assert_eq!(step(Occasion::NotProcessed, Facts { hold: Some(hold), ..facts() }), Step::WaitUntil(until));
    let hold = Hold { until: now(), by_breaker: true, is_probe_due: true };
    assert_eq!(step(Occasion::NotProcessed, Facts { hold: Some(hold), ..facts() }), Step::AttemptFirst);
}

#[test]
fn without_room_it_is_attempted_from_memory_and_that_is_remembered() {
    let hold = Some(Hold { until: now() + seconds(5), by_breaker: true, is_probe_due: false });
    let full = Facts { hold, store: StoreFact::Full, ..facts() };
    assert_eq!(next_step(Occasion::Turn, &full), Decision { step: Step::Attempt, lacks_room: true });
    let none = Facts { hold, store: StoreFact::None, ..facts() };
    assert_eq!(next_step(Occasion::Turn, &none), Decision { step: Step::Attempt, lacks_room: false });
}

#[test]
fn what_holds_up_other_sinks_goes_to_the_store() {
    let overdue = Facts { since: now() - seconds(31), ..facts() };
    assert_eq!(step(Occasion::Turn, overdue), Step::Attempt);
    assert_eq!(step(Occasion::Turn, Facts { shares_sources: true, ..overdue }), Step::Park(now()));
    assert_eq!(step(Occasion::Turn, Facts { is_backlogged: true, ..facts() }), Step::Park(now()));
}

prop_compose! {
    fn any_hold()(seconds in 0_u64..120, (by_breaker, is_probe_due) in any::<(bool, bool)>()) -> Hold {
        let is_probe_due = by_breaker && is_probe_due;
        let until = if is_probe_due { now() } else { now() + Duration::from_secs(seconds) };
        Hold { until, by_breaker, is_probe_due }
    }
}

prop_compose! {
    fn any_facts()(
        (is_stored, is_backlogged, has_too_many) in any::<(bool, bool, bool)>(),
        (is_disabled, shares_sources) in any::<(bool, bool)>(),
        age in 0_u64..120,
        lane in prop::sample::select(vec![
            LaneFact::None, LaneFact::InMemory, LaneFact::MayBeStored, LaneFact::Free,
        ]),
        hold in prop::option::of(any_hold()),
        store in prop::sample::select(vec![StoreFact::None, StoreFact::Full, StoreFact::HasRoom]),
        removal in prop::sample::select(vec![RemovalFact::Present, RemovalFact::Finishing, RemovalFact::Gone]),
    ) -> Facts {
        let since = now() - seconds(age);
        Facts {
            is_stored, since, lane, hold, is_backlogged, has_too_many, store, is_disabled, removal, shares_sources,
            ..facts()
        }
    }
}

fn any_occasion() -> impl Strategy<Value = Occasion> {
    let due = (0_u64..120).prop_map(|wait| now() + seconds(wait));
    prop_oneof![
        Just(Occasion::Arrived),
        Just(Occasion::Turn),
        Just(Occasion::Claimed),
        due.clone().prop_map(Occasion::Wait),
        prop::option::of(due.clone()).prop_map(Occasion::Failed),
        Just(Occasion::NotProcessed),
        due.clone().prop_map(Occasion::GivenBack),
        due.clone().prop_map(Occasion::Room),
        Just(Occasion::Disabled),
        Just(Occasion::MakeRoom),
        due.prop_map(Occasion::RunEnds),
    ]
}

fn is_attempt(step: Step) -> bool {
    matches!(step, Step::Attempt | Step::AttemptFirst)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_has_a_row_does_not_die_of_its_sink(occasion in any_occasion(), facts in any_facts()) {
        let step = step(occasion, Facts { is_stored: true, ..facts });
        let reasons = [Reason::SinkDisabled, Reason::SinkRemoved].map(Step::DeadLetter);
        prop_assert!(!reasons.contains(&step), "{step:?}");
    }

    /// Beyond what a sink that ends leaves behind, and what must follow its lane.
    #[test]
    fn nothing_fresh_parks_without_room(occasion in any_occasion(), facts in any_facts()) {
        let full = Facts { is_stored: false, store: StoreFact::Full, ..facts };
        let must =
            matches!(occasion, Occasion::MakeRoom | Occasion::Claimed) || facts.removal == RemovalFact::Gone;
        prop_assert!(must || !matches!(step(occasion, full), Step::Park(_)));
        let none = Facts { store: StoreFact::None, ..facts };
        prop_assert!(!matches!(step(occasion, none), Step::Park(_)), "there is no store");
    }

    #[test]
    fn nothing_overtakes_in_its_lane(facts in any_facts()) {
        let behind = step(Occasion::Arrived, Facts { lane: LaneFact::InMemory, is_stored: false, ..facts });
        let expected = [Step::JoinLane { ask_store: false }]
            .into_iter()
            .chain([Reason::SinkDisabled, Reason::SinkRemoved].map(Step::DeadLetter));
        prop_assert!(expected.clone().any(|expected| behind == expected), "{behind:?}");
        let unknown = step(Occasion::Arrived, Facts { lane: LaneFact::MayBeStored, ..facts });
        prop_assert!(!is_attempt(unknown) && unknown != Step::JoinLane { ask_store: false }, "{unknown:?}");
    }

    #[test]
    fn a_sink_that_is_gone_attempts_nothing(occasion in any_occasion(), facts in any_facts()) {
        let decision = next_step(occasion, &Facts { removal: RemovalFact::Gone, ..facts });
        prop_assert!(!is_attempt(decision.step), "{decision:?}");
        prop_assert!(!decision.lacks_room, "it does not wait for room");
    }

    #[test]
    fn a_disabled_sink_keeps_nothing_fresh_that_comes(facts in any_facts(), due in 0_u64..120) {
        let facts = Facts { is_disabled: true, is_stored: false, ..facts };
        let due = now() + seconds(due);
        for occasion in [Occasion::Arrived, Occasion::Failed(Some(due)), Occasion::GivenBack(due), Occasion::Disabled] {
            prop_assert_eq!(step(occasion, facts), Step::DeadLetter(Reason::SinkDisabled));
        }
    }

    /// No wait is cut short, be it that of a retry or that of its bucket.
    #[test]
    fn a_wait_is_never_undercut(facts in any_facts(), wait in 0_u64..120) {
        let due = now() + seconds(wait);
        let facts = Facts { removal: RemovalFact::Present, is_disabled: false, ..facts };
        let until = facts.hold.map_or(due, |hold| hold.until.max(due));
        for occasion in [Occasion::Wait(due), Occasion::Failed(Some(due)), Occasion::GivenBack(due)] {
            let step = step(occasion, facts);
            prop_assert!(step == Step::WaitUntil(until) || step == Step::Park(until), "{step:?}");
        }
    }

    /// What the end of the run lets go is either read again from its source or still in the store.
    #[test]
    fn an_ack_is_dropped_only_where_nothing_else_is_safe(occasion in any_occasion(), facts in any_facts()) {
        if step(occasion, facts) == Step::LetGo {
            let has_no_place = facts.store == StoreFact::None || facts.store == StoreFact::Full && !facts.is_stored;
            prop_assert!(has_no_place, "{occasion:?}");
        }
    }
}
