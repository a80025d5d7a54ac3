use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::delivery::breaker::BreakerConfig;
use crate::delivery::rate_limit::RateLimitConfig;
use crate::units::Period;

const SECOND: Duration = Duration::from_secs(1);

fn per_second(requests: u32) -> Option<Rate> {
    let per = Period::from_secs(1);
    Some(Rate::new(&RateLimitConfig { requests, per, burst: 1, key: None }).unwrap())
}

fn start<T>(delivery: T) -> Next<T> {
    Next::Start(delivery, Permit::default())
}

fn bucket(name: &str) -> BucketName {
    name.into()
}

#[test]
fn deliveries_go_in_order_when_nothing_holds_them() {
    let now = Instant::now();
    let mut schedule = Schedule::new(None, None);
    schedule.push(bucket(""), 1, now);
    schedule.push(bucket(""), 2, now);
    assert_eq!(schedule.next(now), start(1));
    assert_eq!(schedule.next(now), start(2));
    assert_eq!(schedule.next(now), Next::Idle);
    assert!(schedule.is_empty());
}

#[test]
fn a_retry_passes_the_rate_limit_too() {
    let now = Instant::now();
    let mut schedule = Schedule::new(per_second(1), None);
    schedule.push(bucket(""), 1, now);
    assert_eq!(schedule.next(now), start(1));
    schedule.push_at(now + SECOND / 2, bucket(""), 1);
    assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND / 2));
    assert_eq!(schedule.next(now + SECOND / 2), Next::WaitUntil(now + SECOND));
    assert_eq!(schedule.next(now + SECOND), start(1));
}

#[test]
fn a_full_bucket_does_not_hold_up_another() {
    let now = Instant::now();
    let mut schedule = Schedule::new(per_second(1), None);
    for delivery in ["a1", "a2", "a3"] {
        schedule.push(bucket("a"), delivery, now);
    }
    schedule.push(bucket("b"), "b1", now);
    assert_eq!(schedule.next(now), start("a1"));
    assert_eq!(schedule.next(now), start("b1"));
    assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));
    assert_eq!(schedule.next(now + SECOND), start("a2"));
}

#[test]
fn a_pause_holds_its_bucket_and_no_other() {
    let now = Instant::now();
    let mut schedule = Schedule::new(None, None);
    schedule.push(bucket("a"), "a1", now);
    schedule.push(bucket("b"), "b1", now);
    schedule.pause(&bucket("a"), now + 5 * SECOND, now);
    schedule.pause(&bucket("a"), now + SECOND, now);
    assert_eq!(schedule.next(now), start("b1"));
    assert_eq!(schedule.next(now), Next::WaitUntil(now + 5 * SECOND));
    assert_eq!(schedule.next(now + 5 * SECOND), start("a1"));
}

#[test]
fn idle_buckets_are_forgotten_and_busy_ones_are_not() {
    let now = Instant::now();
    let mut schedule = Schedule::new(per_second(1), None);
    schedule.push(bucket("paused"), 0, now);
    assert_eq!(schedule.next(now), start(0));
    schedule.pause(&bucket("paused"), now + 60 * SECOND, now);
    for number in 1..1000 {
        let later = now + number * 2 * SECOND / 100;
        schedule.push(bucket(&format!("tenant-{number}")), number, later);
        assert_eq!(schedule.next(later), start(number));
    }
    assert!(schedule.lines.len() <= 2 * SMALLEST_SWEEP, "{} buckets are kept", schedule.lines.len());
    assert!(schedule.lines.contains_key("paused"));
}

#[test]
fn draining_takes_everything_and_leaves_limits_and_pauses() {
    let now = Instant::now();
    let mut schedule = Schedule::new(per_second(1), None);
    schedule.push_at(now + SECOND, bucket("a"), "a retry");
    schedule.push(bucket("b"), "b1", now);
    schedule.pause(&bucket("b"), now + 60 * SECOND, now);
    schedule.push(bucket("c"), "c1", now);
    assert_eq!(schedule.next(now), start("c1"));
    let mut drained = schedule.drain(now);
    drained.sort_unstable();
    assert_eq!(drained, [("a retry", now + SECOND), ("b1", now + 60 * SECOND)]);
    assert!(schedule.is_empty());

    schedule.push(bucket("b"), "b2", now);
    schedule.push(bucket("c"), "c2", now);
    assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));
    assert_eq!(schedule.next(now + SECOND), start("c2"));
    assert_eq!(schedule.next(now + SECOND), Next::WaitUntil(now + 60 * SECOND));
}

fn breaking_at(failures: u32) -> Schedule<&'static str> {
    let config = BreakerConfig { failures, ..BreakerConfig::default() };
    Schedule::new(None, BreakerPolicy::new(&config).unwrap())
}

/// The breaker opens at one failure; of a1, a2 and a3 in the bucket a, the first is under way.
fn first_of_three_started(now: Instant) -> (Schedule<&'static str>, Permit) {
    let mut schedule = breaking_at(1);
    for delivery in ["a1", "a2", "a3"] {
        schedule.push(bucket("a"), delivery, now);
    }
    let (_, permit) = started(&mut schedule, now);
    (schedule, permit)
}

fn started(schedule: &mut Schedule<&'static str>, now: Instant) -> (&'static str, Permit) {
    match schedule.next(now) {
        Next::Start(delivery, permit) => (delivery, permit),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_open_breaker_holds_its_bucket_and_one_probe_opens_the_way() {
    let now = Instant::now();
    let (mut schedule, permit) = first_of_three_started(now);
    let (a, b) = (bucket("a"), bucket("b"));
    assert_eq!(schedule.hold(&a, now), None);
    assert_eq!(schedule.report(&a, permit, true, now), Some(Change::Opened(5 * SECOND)));
    let until = now + 5 * SECOND;
    assert_eq!(schedule.hold(&a, now), Some(Hold { until, by_breaker: true, is_probe_due: false }));
    assert_eq!(schedule.closed_buckets(now).collect::<Vec<_>>(), [&a]);
    assert_eq!(schedule.next(now), Next::WaitUntil(until));
    schedule.push(b, "b1", now);
    assert_eq!(started(&mut schedule, now).0, "b1");

    assert_eq!(schedule.closed_buckets(until).count(), 0, "its probe may come");
    let (probe, permit) = started(&mut schedule, until);
    assert_eq!((probe, permit.is_probe), ("a2", true));
    assert_eq!(schedule.worst_breaker(), BreakerState::HalfOpen);
    assert_eq!(schedule.next(until), Next::Idle);
    assert_eq!(schedule.closed_buckets(until).count(), 1);
    assert_eq!(schedule.report(&a, permit, false, until), Some(Change::Closed(5 * SECOND)));
    assert_eq!(started(&mut schedule, until).0, "a3");
}

#[test]
fn a_bucket_is_taken_out_with_the_times_of_its_deliveries() {
    let now = Instant::now();
    let mut schedule = breaking_at(1);
    let a = bucket("a");
    schedule.push(a.clone(), "a1", now);
    let (_, permit) = started(&mut schedule, now);
    schedule.push(a.clone(), "a2", now);
    schedule.push_at(now + 2 * SECOND, a.clone(), "second");
    schedule.push_at(now + SECOND, a.clone(), "first");
    schedule.push_at(now + SECOND, bucket("b"), "other");
    schedule.report(&a, permit, true, now);
    let until = now + 5 * SECOND;
    let expected = [("a2", until), ("first", now + SECOND), ("second", now + 2 * SECOND)];
    assert_eq!(schedule.drain_bucket(&a, now), expected);
    assert_eq!(schedule.len(), 1);
    // The emptied line takes no probe away from the one that comes.
    assert_eq!(schedule.next(until), Next::Start("other", Permit::default()));
    schedule.push(a.clone(), "a3", until);
    assert!(started(&mut schedule, until).1.is_probe);
}

#[test]
fn what_is_taken_from_the_lines_costs_no_place() {
    let now = Instant::now();
    let mut schedule = Schedule::new(per_second(1), None);
    for delivery in [1, 2, 3, 4] {
        schedule.push(bucket(""), delivery, now);
    }
    assert_eq!(schedule.take_from_lines(|delivery| delivery % 2 == 1), [1, 3]);
    assert_eq!(schedule.next(now), start(2));
    assert_eq!(schedule.take_from_lines(|_| true), [4]);
    assert_eq!(schedule.next(now), Next::Idle);
    schedule.push(bucket(""), 5, now + SECOND);
    assert_eq!(schedule.next(now + SECOND), start(5));
}

#[test]
fn other_limits_leave_what_waits_in_its_order_and_a_pause_in_force() {
    let now = Instant::now();
    let (mut schedule, permit) = first_of_three_started(now);
    let (a, b) = (bucket("a"), bucket("b"));
    schedule.report(&a, permit, true, now);
    schedule.push(b.clone(), "b1", now);
    schedule.pause(&b, now + SECOND, now);
    assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));

    schedule.change_limits(per_second(1), None, now);
    assert_eq!(schedule.next(now), start("a2"), "the breaker is forgotten");
    assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND), "the new rate and the pause hold");
    schedule.change_limits(per_second(1), None, now);
    assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND), "the same rate keeps its count");
    let mut later = [schedule.next(now + SECOND), schedule.next(now + SECOND)].map(|next| format!("{next:?}"));
    later.sort();
    assert_eq!(later, [start("a3"), start("b1")].map(|next| format!("{next:?}")));
    assert!(schedule.is_empty());
}

proptest! {
    /// Whatever comes in, in whatever buckets, comes out exactly once, in order within its bucket.
    #[test]
    fn nothing_is_lost_or_reordered(
        pushes in prop::collection::vec((0_u8..4, 0_u64..50, any::<bool>()), 1..100), limited in any::<bool>(),
    ) {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(if limited { per_second(100) } else { None }, None);
        let mut expected: HashMap<u8, Vec<usize>> = HashMap::new();
        for (number, (name, pause_ms, paused)) in pushes.iter().enumerate() {
            schedule.push(bucket(&name.to_string()), (*name, number), now);
            if *paused {
                schedule.pause(&bucket(&name.to_string()), now + Duration::from_millis(*pause_ms), now);
            }
            expected.entry(*name).or_default().push(number);
        }
        let mut started: HashMap<u8, Vec<usize>> = HashMap::new();
        loop {
            match schedule.next(now) {
                Next::Start((name, number), _) => started.entry(name).or_default().push(number),
                Next::WaitUntil(moment) => {
                    prop_assert!(moment > now);
                    now = moment;
                }
                Next::Idle => break,
            }
        }
        prop_assert_eq!(started, expected);
        prop_assert!(schedule.is_empty());
    }
}

#[test]
fn an_attempt_that_was_none_goes_again_first_and_through_the_rate_limit() {
    let now = Instant::now();
    let mut schedule = Schedule::new(per_second(1), None);
    schedule.push(bucket(""), 1, now);
    schedule.push(bucket(""), 2, now);
    let Next::Start(1, permit) = schedule.next(now) else { panic!() };
    schedule.withdraw(&bucket(""), permit, now);
    schedule.push_front(bucket(""), 1, now);
    assert_eq!(schedule.next(now), Next::WaitUntil(now + SECOND));
    assert_eq!(schedule.next(now + SECOND), start(1));
    assert_eq!(schedule.next(now + 2 * SECOND), start(2));
    assert!(schedule.is_empty());
}
