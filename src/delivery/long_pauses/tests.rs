use proptest::prelude::*;

use super::*;
use crate::clock::SteadyClock;

const HOUR: Duration = Duration::from_secs(3600);

fn bucket(name: &str) -> BucketName {
    name.into()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn stored(name: &str, second: i64) -> Pause {
    Pause { bucket: bucket(name), until: at(second) }
}

#[test]
fn a_short_pause_and_one_that_is_known_are_not_worth_a_word() {
    let now = Instant::now();
    let mut pauses = LongPauses::default();
    assert_eq!(pauses.note(&bucket(""), LONG, (now, at(0)), false), None);
    assert_eq!(pauses.note(&bucket(""), HOUR, (now, at(0)), false), Some(stored("", 3600)));
    let moment = Duration::from_millis(900);
    assert_eq!(pauses.note(&bucket(""), HOUR, (now + moment, at(1)), false), None);
    let later = Duration::from_secs(10);
    assert_eq!(pauses.note(&bucket(""), HOUR, (now + later, at(10)), false), Some(stored("", 3610)));
    assert_eq!(pauses.len(), 1);
    assert_eq!(pauses.next_end(), Some(now + later + HOUR));
}

#[test]
fn a_pause_that_is_no_longer_in_the_store_was_ended_by_a_person() {
    let now = Instant::now();
    let mut pauses = LongPauses::default();
    pauses.note(&bucket("a"), HOUR, (now, at(0)), true);
    assert_eq!(pauses.take_stored(&[], HOUR, (now, at(0))), News::default(), "the claim was older");
    let news = pauses.take_stored(&[], HOUR, (now, at(0)));
    assert_eq!(news, News { ended: vec![stored("a", 3600)], ..News::default() });
    assert_eq!(pauses.len(), 0);
}

#[test]
fn a_pause_that_is_over_when_it_is_missed_was_ended_by_nobody() {
    let now = Instant::now();
    let mut pauses = LongPauses::default();
    pauses.note(&bucket("a"), HOUR, (now, at(0)), false);
    assert_eq!(pauses.take_stored(&[], HOUR, (now + HOUR, at(3600))), News::default());
    assert_eq!(pauses.end(now + HOUR), [bucket("a")]);
}

#[test]
fn a_pause_of_another_replica_is_taken_over_once_and_with_its_longer_end() {
    let now = Instant::now();
    let mut pauses = LongPauses::default();
    let begun =
        |second, left| News { begun: vec![(stored("", second), now + Duration::from_secs(left))], ..News::default() };
    assert_eq!(pauses.take_stored(&[stored("", 600)], HOUR, (now, at(0))), begun(600, 600));
    assert_eq!(pauses.take_stored(&[stored("", 600)], HOUR, (now, at(0))), News::default());
    assert_eq!(pauses.take_stored(&[stored("", 900)], HOUR, (now, at(0))), begun(900, 900));
    assert_eq!(pauses.take_stored(&[stored("b", 0)], HOUR, (now, at(0))).begun, [], "that one is over");
}

#[test]
fn a_pause_that_comes_back_from_the_store_a_moment_longer_is_not_new() {
    let now = Instant::now();
    let mut pauses = LongPauses::default();
    let wall_now = Timestamp::from_microsecond(250).unwrap();
    assert!(pauses.note(&bucket(""), HOUR, (now, wall_now), false).is_some());
    // The store keeps the next full millisecond.
    let kept = |millisecond| Pause { bucket: bucket(""), until: Timestamp::from_millisecond(millisecond).unwrap() };
    let prolonged =
        |micros| News { prolonged: vec![(bucket(""), now + HOUR + Duration::from_micros(micros))], ..News::default() };
    assert_eq!(pauses.take_stored(&[kept(3_600_001)], 2 * HOUR, (now, wall_now)), prolonged(750));
    assert_eq!(pauses.take_stored(&[kept(3_600_001)], 2 * HOUR, (now, wall_now)), News::default());
    // Another replica was asked for the same pause a moment later.
    assert_eq!(pauses.take_stored(&[kept(3_600_901)], 2 * HOUR, (now, wall_now)), prolonged(900_750));
    assert_eq!(pauses.next_end(), Some(now + HOUR + Duration::from_micros(900_750)));
}

#[test]
fn a_clock_that_was_set_back_lengthens_no_pause() {
    let start = Instant::now();
    let mut clock = SteadyClock::new(at(10_000), start.into_std());
    let mut time = |passed: u64, wall: i64| {
        let now = start + Duration::from_secs(passed);
        (now, clock.judge(at(wall), now.into_std()).0)
    };
    let mut pauses = LongPauses::default();
    let kept = [pauses.note(&bucket(""), HOUR, time(0, 10_000), false).unwrap()];
    // The clock is set back by two hours after a minute. Another replica of this machine, or this one after a reload
    // that made the sink anew, takes the pause over for what is left of it and no longer.
    let moment = time(60, 2_860);
    assert_eq!(pauses.take_stored(&kept, HOUR, moment), News::default());
    let mut anew = LongPauses::default();
    let news = anew.take_stored(&kept, 2 * HOUR, moment);
    assert_eq!(news.begun[0].1, start + HOUR);
    // A pause that begins now ends behind the one before it, also for the store.
    let next = pauses.note(&bucket("b"), HOUR, time(120, 2_920), false).unwrap();
    assert_eq!(next.until, at(10_000 + 120 + 3600));
}

/// What happens to a sink's pauses and to the store's.
#[derive(Debug, Clone)]
enum Step {
    /// The receiver asks for a pause of so many seconds.
    Asked(u8, u64),
    /// A person ends the pauses.
    Resumed,
    /// So much time passes, and then the clock shows so much more or less.
    Passed(u64, i64),
    /// The store answers a claim.
    Heard,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u8..3, 0_u64..4000).prop_map(|(bucket, seconds)| Step::Asked(bucket, seconds)),
        Just(Step::Resumed),
        (0_u64..2000, -10_000_i64..10_000).prop_map(|(passed, jump)| Step::Passed(passed, jump)),
        Just(Step::Heard),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// However the clock is set: no pause lasts for longer than was asked, and what was ended is ended once it is heard.
    #[test]
    fn no_pause_outlasts_what_was_asked(steps in steps()) {
        let (mut now, mut wall) = (Instant::now(), 1_000_000);
        let mut clock = SteadyClock::new(at(wall), now.into_std());
        let (mut pauses, mut store) = (LongPauses::default(), Vec::<Pause>::new());
        let mut latest = now;
        for step in steps {
            let (steady, _) = clock.judge(at(wall), now.into_std());
            match step {
                Step::Asked(name, seconds) => {
                    let pause = Duration::from_secs(seconds);
                    latest = latest.max(now + pause);
                    if let Some(kept) = pauses.note(&bucket(&name.to_string()), pause, (now, steady), false) {
                        store.retain(|stored| stored.bucket != kept.bucket || stored.until > kept.until);
                        store.push(kept);
                    }
                }
                Step::Resumed => store.clear(),
                Step::Passed(passed, jump) => {
                    now += Duration::from_secs(passed);
                    wall += i64::try_from(passed).unwrap() + jump;
                    let (steady, _) = clock.judge(at(wall), now.into_std());
                    for over in pauses.end(now) {
                        store.retain(|stored| stored.bucket != over || stored.until > steady);
                    }
                }
                Step::Heard => {
                    pauses.take_stored(&store, HOUR + HOUR, (now, steady));
                    prop_assert!(pauses.len() <= store.len());
                }
            }
            prop_assert!(pauses.next_end().is_none_or(|end| end <= latest));
        }
    }
}
