//! Each rule, broken and kept.

use std::collections::BTreeSet;

use super::*;
use crate::torture::ledger::Letter;
use crate::torture::plan::Plan;

const PLAN: Plan = Plan { seed: 1 };

/// A ledger without events, and events of one key that are welcome at their first attempt at both sinks.
fn ledger() -> (Ledger, [u64; 3]) {
    let is_welcome = |sink, event| PLAN.fate(sink, event) == Fate::Delivered { failures: 0 };
    let welcome = (0..1000).filter(|event| Sink::ALL.into_iter().all(|sink| is_welcome(sink, *event)));
    let events: Vec<u64> = welcome.filter(|event| PLAN.key(*event) == "k0").take(3).collect();
    (Ledger::new(PLAN, 0), events.try_into().unwrap())
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn attempted(ledger: &mut Ledger, event: u64, at: u64) {
    ledger.attempted(Sink::Ordered, event, "id body".to_owned(), millis(at));
}

fn letter(event: u64) -> Letter {
    Letter { sink: Sink::Ordered, event, reason: "rejected".to_owned(), attempts: 1 }
}

/// Whether a rule is broken, by the words that begin what is told of it.
fn is_broken(ledger: &Ledger, words: &str) -> bool {
    ledger.violations().iter().any(|violation| violation.starts_with(words))
}

#[test]
fn an_event_that_is_nowhere_is_lost() {
    let (mut ledger, _) = ledger();
    ledger.produced(1);
    assert_eq!(ledger.violations().len(), 2, "one for each sink");
}

#[test]
fn an_event_that_nobody_has_produced_is_made_up() {
    let (mut ledger, [first, ..]) = ledger();
    attempted(&mut ledger, first, 10);
    assert!(is_broken(&ledger, "never produced"));
}

#[test]
fn what_is_written_between_copy_and_truncation_may_be_missing_and_nothing_else() {
    let (mut ledger, _) = ledger();
    ledger.produced(1);
    ledger.copied();
    ledger.produced(1);
    ledger.truncated(10..20);
    ledger.produced(1);
    assert_eq!(ledger.open().into_iter().map(|(_, event)| event).collect::<Vec<_>>(), [0, 2, 0, 2]);
}

#[test]
fn what_a_deleted_topic_had_may_be_missing_unless_it_was_committed_or_parked() {
    let (mut ledger, _) = ledger();
    ledger.produced(3);
    for (event, partition, offset) in [(0, 0, 7), (1, 0, 8), (2, 1, 7)] {
        ledger.is_at(event, partition, offset);
    }
    ledger.topic_goes(millis(0), &[(0, 8)].into(), &BTreeSet::from([(Sink::Free, 2)]), false);
    ledger.produced(1);
    assert_eq!(
        ledger.open(),
        [(Sink::Ordered, 0), (Sink::Ordered, 3), (Sink::Free, 0), (Sink::Free, 2), (Sink::Free, 3)]
    );
    // What was committed in the old topic says nothing of the next one's.
    ledger.topic_goes(millis(0), &[(0, 8)].into(), &BTreeSet::new(), false);
    assert_eq!(ledger.open().len(), 5);
}

#[test]
fn a_welcome_event_among_the_letters_is_undeserved() {
    let (mut ledger, [first, ..]) = ledger();
    ledger.has_letters(vec![letter(first)], Vec::new(), millis(50));
    assert!(is_broken(&ledger, "undeserved"));
}

#[test]
fn a_letter_is_shown_once() {
    let (mut ledger, [first, second, _]) = ledger();
    ledger.has_letters(vec![letter(first), letter(second)], Vec::new(), millis(50));
    assert!(!is_broken(&ledger, "shown"));
    ledger.has_letters(vec![letter(first), letter(first)], Vec::new(), millis(50));
    assert!(is_broken(&ledger, "shown 2 times"));
}

#[test]
fn only_what_was_in_no_copy_is_lost() {
    for (start, end, is_real) in [
        (10, Some(20), true),
        (12, Some(15), true),
        (7, Some(15), false),
        (10, Some(25), false),
        (20, Some(20), false),
        // The copy of the first was empty.
        (5, None, true),
        (6, None, false),
        (15, None, false),
    ] {
        let (mut ledger, _) = ledger();
        ledger.truncated(0..0);
        ledger.truncated(0..5);
        ledger.truncated(10..20);
        let loss = Loss { reason: "lost".to_owned(), start, end, message: String::new() };
        ledger.has_letters(Vec::new(), vec![loss], millis(50));
        assert_eq!(is_broken(&ledger, "lost, but not lost"), !is_real, "{start} to {end:?}");
    }
}

#[test]
fn a_second_request_is_like_the_first() {
    let (mut ledger, [first, ..]) = ledger();
    attempted(&mut ledger, first, 10);
    assert!(!is_broken(&ledger, "changed"));
    ledger.attempted(Sink::Ordered, first, "another body".to_owned(), millis(20));
    assert!(is_broken(&ledger, "changed"));
}

#[test]
fn an_event_keeps_the_id_that_its_source_gave_it() {
    let (mut ledger, [first, second, _]) = ledger();
    attempted(&mut ledger, first, 10);
    attempted(&mut ledger, second, 10);
    ledger.has_id(first, "id".to_owned());
    assert!(!is_broken(&ledger, "under another id"));
    ledger.has_id(second, "i".to_owned());
    assert!(is_broken(&ledger, "under another id"));
}

#[test]
fn a_repetition_needs_a_kill_and_an_unconfirmed_success() {
    for (kill, is_fine) in [(None, false), (Some(millis(5000)), false), (Some(millis(500)), true)] {
        let (mut ledger, [first, ..]) = ledger();
        ledger.produced(1000);
        attempted(&mut ledger, first, 10);
        kill.into_iter().for_each(|kill| ledger.killed(kill));
        attempted(&mut ledger, first, 9000);
        let repeated = ledger.violations().iter().any(|violation| violation.contains("repeated"));
        assert_eq!(repeated, !is_fine, "{kill:?}");
    }
}

#[test]
fn what_is_written_before_a_new_topic_is_noticed_may_be_repeated_once() {
    for (is_noticed_late, times, is_fine) in [(true, 2, true), (true, 3, false), (false, 2, false)] {
        let (mut ledger, [first, ..]) = ledger();
        ledger.topic_goes(millis(0), &BTreeMap::new(), &BTreeSet::new(), true);
        ledger.produced(if is_noticed_late { 1000 } else { 0 });
        ledger.topic_is_noticed();
        ledger.produced(1000);
        (0..times).for_each(|time| attempted(&mut ledger, first, time));
        assert_eq!(is_broken(&ledger, "repeated"), !is_fine, "{is_noticed_late} {times}");
    }
}

#[test]
fn a_follower_attempted_before_its_head_succeeded_is_out_of_order() {
    let (mut ledger, [first, second, _]) = ledger();
    attempted(&mut ledger, second, 10);
    attempted(&mut ledger, first, 20);
    assert!(is_broken(&ledger, "out of order"));
}

#[test]
fn a_letter_that_is_read_again_is_outside_the_order() {
    // The second event is attempted before the first; it became a letter before that, or only after it.
    for (given_up_at, is_fine) in [(5, true), (15, false)] {
        let (mut ledger, [first, second, _]) = ledger();
        ledger.has_letters(vec![letter(second)], Vec::new(), millis(given_up_at));
        ledger.has_letters(Vec::new(), Vec::new(), millis(30));
        attempted(&mut ledger, second, 10);
        attempted(&mut ledger, first, 20);
        assert_eq!(is_broken(&ledger, "out of order"), !is_fine, "{given_up_at}");
    }
    // What succeeds after all, as a letter that is read again, holds nobody up.
    let (mut ledger, [first, second, _]) = ledger();
    ledger.has_letters(vec![letter(first)], Vec::new(), millis(5));
    ledger.has_letters(Vec::new(), Vec::new(), millis(30));
    attempted(&mut ledger, second, 10);
    attempted(&mut ledger, first, 20);
    assert!(!is_broken(&ledger, "out of order"));
}

#[test]
fn what_is_written_before_a_new_topic_is_noticed_may_be_out_of_order_among_itself() {
    // The second event is attempted before the first; they are in the same topic or in two.
    for (is_noticed_late, are_together, is_fine) in [(true, true, true), (false, true, false), (true, false, false)] {
        let (mut ledger, [first, second, _]) = ledger();
        ledger.produced(if are_together { first } else { second });
        ledger.topic_goes(millis(10), &BTreeMap::new(), &BTreeSet::new(), true);
        ledger.produced(if is_noticed_late { 1000 } else { 0 });
        ledger.topic_is_noticed();
        ledger.produced(1000);
        attempted(&mut ledger, second, 50);
        attempted(&mut ledger, first, 200);
        assert_eq!(is_broken(&ledger, "out of order"), !is_fine, "{is_noticed_late} {are_together}");
    }
}
