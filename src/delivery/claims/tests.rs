use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn bucket(name: &str) -> BucketName {
    name.into()
}

pub(super) fn answer(next_due: Option<Timestamp>) -> Claimed {
    let (deliveries, pauses) = (Vec::new(), Vec::new());
    Claimed { deliveries, next_due, has_lanes: false, is_shared: false, disabled: false, pauses, tells_changes: false }
}

#[test]
fn the_store_is_asked_at_the_start_when_something_is_due_and_each_second() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    assert_eq!(claims.due_at(), Some(now));
    claims.sent(256, HashSet::new(), now);
    assert_eq!(claims.due_at(), None, "one claim at a time");
    claims.answered(&answer(None), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + SECOND));
    claims.sent(256, HashSet::new(), now);
    claims.answered(&answer(Some(wall + SECOND / 4)), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + SECOND / 4));
    claims.sent(256, HashSet::new(), now);
    claims.answered(&answer(Some(wall - 3600 * SECOND)), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + BUSY_INTERVAL), "what others are at is not asked for without a break");
    claims.parked(now + SECOND / 100, false);
    assert_eq!(claims.due_at(), Some(now + SECOND / 100));
}

#[test]
fn a_store_that_tells_of_changes_is_hardly_asked_when_nothing_is_due() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    let told = |next_due| Claimed { tells_changes: true, ..answer(next_due) };
    claims.sent(256, HashSet::new(), now);
    claims.answered(&told(None), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + IDLE_POLL_INTERVAL));
    claims.soon(now);
    assert_eq!(claims.due_at(), Some(now), "it was told");
    claims.sent(256, HashSet::new(), now);
    claims.answered(&told(Some(wall + 7 * SECOND)), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + 7 * SECOND));
    claims.sent(256, HashSet::new(), now);
    claims.answered(&told(Some(wall + 3600 * SECOND)), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + RARE_POLL_INTERVAL), "the time of the machine may be set anew");
    claims.sent(0, HashSet::from([bucket("closed")]), now);
    claims.answered(&told(Some(wall + 7 * SECOND)), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + SECOND), "nobody tells when a bucket opens");
}

#[test]
fn memory_is_filled_by_halves_and_no_bucket_takes_it_all() {
    let now = Instant::now();
    let mut claims = Claims::new(true, now);
    for _ in 0..ENOUGH_OF_A_BUCKET {
        claims.took(&bucket("a"));
    }
    claims.took(&bucket("b"));
    let closed = bucket("closed");
    let except = HashSet::from([bucket("a"), closed.clone()]);
    assert_eq!(claims.question(0, [closed].into_iter()), (KEYED_PAGE, except));
    claims.took(&bucket("a"));
    assert!(!claims.has_too_many(&bucket("a")), "there is room for all of a page");
    for _ in 0..MOST_HELD - KEYED_PAGE {
        claims.took(&bucket("c"));
    }
    assert!(claims.has_too_many(&bucket("a")) && !claims.has_too_many(&bucket("b")));
    assert!(claims.due_at().is_none() && claims.must_take_turns());
    for _ in 0..ENOUGH_OF_A_BUCKET + 2 {
        claims.released(&bucket("a"), now);
    }
    claims.released(&bucket("b"), now);
    assert_eq!(claims.due_at(), Some(now));
    assert_eq!(claims.question(0, std::iter::empty()), (KEYED_PAGE, HashSet::from([bucket("c")])));
}

#[test]
fn a_bucket_rests_until_the_others_had_their_turn() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(true, now);
    claims.rest(&bucket("a"));
    let (limit, except) = claims.question(0, std::iter::empty());
    assert_eq!(except, HashSet::from([bucket("a")]));
    claims.sent(limit, except, now);
    claims.answered(&answer(None), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now), "it was the only one left");
    assert!(claims.question(0, std::iter::empty()).1.is_empty());
}

#[test]
fn a_sink_whose_only_bucket_is_closed_asks_for_nothing_and_may_end() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    let only = bucket("");
    let (limit, except) = claims.question(0, [only].into_iter());
    assert_eq!(limit, 0);
    claims.sent(limit, except, now);
    claims.answered(&answer(Some(wall - SECOND)), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + SECOND));
    assert!(claims.has_nothing_due(SECOND, wall, |_| true) && !claims.has_nothing_due(SECOND, wall, |_| false));
}

#[test]
fn an_answer_is_old_once_something_was_parked() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    assert!(claims.must_ask_for_lanes(None) && !claims.has_nothing_due(SECOND, wall, |_| true), "nothing is known yet");
    claims.sent(1, HashSet::new(), now);
    claims.answered(&answer(Some(wall + 5 * SECOND)), now, wall, |_| true);
    assert!(!claims.must_ask_for_lanes(None));
    assert!(claims.has_nothing_due(SECOND, wall, |_| true) && !claims.has_nothing_due(6 * SECOND, wall, |_| true));

    claims.sent(1, HashSet::from([bucket("closed")]), now);
    claims.parked(now, true);
    claims.answered(&answer(None), now, wall, |_| true);
    assert!(claims.must_ask_for_lanes(None) && !claims.has_nothing_due(SECOND, wall, |_| true));
    claims.sent(1, HashSet::from([bucket("closed")]), now);
    claims.answered(&answer(None), now, wall, |_| true);
    assert!(!claims.must_ask_for_lanes(None));
    assert!(claims.has_nothing_due(SECOND, wall, |_| true) && !claims.has_nothing_due(SECOND, wall, |_| false));
}

#[test]
fn lanes_are_asked_for_until_the_store_has_answered_with_what_was_parked() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    claims.sent(1, HashSet::new(), now);
    claims.answered(&answer(None), now, wall, |_| true);
    assert!(!claims.must_ask_for_lanes(None));
    claims.parked(now, true);
    claims.sent(1, HashSet::new(), now);
    assert!(claims.must_ask_for_lanes(None), "the last answer is from before it was parked");
    claims.answered(&Claimed { has_lanes: true, ..answer(None) }, now, wall, |_| true);
    assert!(claims.must_ask_for_lanes(None));
}

#[test]
fn a_disabled_sink_has_nothing_to_wait_for() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    claims.sent(1, HashSet::new(), now);
    claims.answered(&Claimed { disabled: true, ..answer(Some(wall - SECOND)) }, now, wall, |_| true);
    assert!(claims.has_nothing_due(SECOND, wall, |_| true));
    assert_eq!(claims.due_at(), Some(now + POLL_INTERVAL), "its parked deliveries are not asked for without a break");
}

#[test]
fn a_backlog_ends_when_all_that_is_due_is_handed_out() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(true, now);
    assert!(claims.set_backlogged(&bucket("a")) && !claims.set_backlogged(&bucket("a")));
    claims.sent(16, HashSet::new(), now);
    claims.answered(&answer(Some(wall)), now, wall, |_| true);
    assert!(claims.is_backlogged(&bucket("a")), "more is due");
    claims.sent(16, HashSet::from([bucket("a")]), now);
    claims.answered(&answer(None), now, wall, |_| true);
    assert!(claims.is_backlogged(&bucket("a")), "it was not asked for");
    claims.sent(16, HashSet::new(), now);
    claims.answered(&answer(None), now, wall, |_| false);
    assert!(claims.is_backlogged(&bucket("a")), "what was handed out has to be worked off first");
    claims.sent(16, HashSet::new(), now);
    claims.answered(&answer(Some(wall + SECOND)), now, wall, |_| true);
    assert!(!claims.is_backlogged(&bucket("a")));
}

#[test]
fn a_claim_from_before_the_disabling_does_not_enable() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    claims.sent(1, HashSet::new(), now);
    claims.disabled();
    assert!(claims.answered(&answer(None), now, wall, |_| true));
    claims.sent(1, HashSet::new(), now);
    assert!(!claims.answered(&answer(None), now, wall, |_| true));
}

#[test]
fn a_bucket_that_had_enough_is_asked_for_again_when_little_is_left() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(true, now);
    for _ in 0..ENOUGH_OF_A_BUCKET {
        claims.took(&bucket("a"));
    }
    claims.sent(KEYED_PAGE, HashSet::from([bucket("a")]), now);
    claims.answered(&answer(None), now, wall, |_| true);
    for _ in LITTLE_OF_A_BUCKET..ENOUGH_OF_A_BUCKET {
        assert_eq!(claims.due_at(), Some(now + POLL_INTERVAL));
        claims.released(&bucket("a"), now);
    }
    assert_eq!(claims.due_at(), Some(now));
}

#[test]
fn what_happens_while_a_claim_is_under_way_is_not_forgotten() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    claims.sent(1, HashSet::new(), now);
    claims.soon(now);
    claims.answered(&answer(None), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now), "the head of a lane has ended, and the answer cannot know of it");
}

#[test]
fn dead_letters_on_their_way_take_up_room_and_keep_a_run_from_ending() {
    let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let mut claims = Claims::new(false, now);
    claims.took(&bucket(""));
    assert_eq!(claims.question(200, std::iter::empty()).0, MOST_HELD - 201);
    let (limit, except) = claims.question(MOST_HELD, std::iter::empty());
    assert_eq!(limit, 0);
    claims.sent(limit, except, now);
    claims.answered(&answer(None), now, wall, |_| true);
    assert_eq!(claims.due_at(), Some(now + POLL_INTERVAL), "that there is room again can only be seen by looking");
    assert!(!claims.has_nothing_due(SECOND, wall, |_| true), "nothing was asked");
}
