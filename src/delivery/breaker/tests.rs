use proptest::prelude::*;

use super::window::SLOTS;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy(toml: &str) -> BreakerPolicy {
    BreakerPolicy::new(&toml::from_str(toml).unwrap()).unwrap().unwrap()
}

/// Attempts once, as far as the breaker lets it.
fn attempt(breaker: &mut Breaker, failed: bool, now: Instant) -> Option<Change> {
    breaker.check(now).unwrap();
    let permit = breaker.start();
    breaker.report(permit, failed, now)
}

#[test]
fn a_run_of_failures_opens_it_and_a_success_interrupts_the_run() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy("failures = 3"), now);
    for failed in [true, true, false, true, true] {
        assert_eq!(attempt(&mut breaker, failed, now), None);
    }
    assert_eq!(attempt(&mut breaker, true, now), Some(Change::Opened(5 * SECOND)));
    assert_eq!(breaker.check(now), Err(Closed::Until(now + 5 * SECOND)));
}

#[test]
fn a_share_of_failures_within_the_window_opens_it() {
    let now = Instant::now();
    let config = "failures = 1000\nfailure_ratio = 0.5\nmin_attempts = 10\nwindow = '10s'";
    let mut breaker = Breaker::new(policy(config), now);
    for number in 0..8 {
        assert_eq!(attempt(&mut breaker, number % 2 == 0, now), None);
    }
    // The window has passed: what was before does not count.
    let later = now + 20 * SECOND;
    for number in 0..9 {
        assert_eq!(attempt(&mut breaker, number % 2 == 0, later), None, "{number}");
    }
    assert_eq!(attempt(&mut breaker, true, later + SECOND), Some(Change::Opened(5 * SECOND)));
}

#[test]
fn one_probe_decides_and_each_failure_doubles_the_time() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy("failures = 1\nopen_for = '10s'\nmax_open = '30s'"), now);
    let late = breaker.start();
    assert_eq!(attempt(&mut breaker, true, now), Some(Change::Opened(10 * SECOND)));
    let mut now = now + 10 * SECOND;
    for opened_for in [20, 30, 30] {
        breaker.check(now).unwrap();
        let probe = breaker.start();
        assert!(probe.is_probe);
        assert_eq!(breaker.check(now), Err(Closed::UntilProbed));
        assert_eq!(breaker.report(late, false, now), None, "an attempt from before it opened decides nothing");
        assert_eq!(breaker.report(probe, true, now), Some(Change::Reopened(opened_for * SECOND)));
        assert!(breaker.check(now).is_err());
        now += opened_for * SECOND;
    }
    assert_eq!(attempt(&mut breaker, false, now), Some(Change::Closed(90 * SECOND)));
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert!(!breaker.start().is_probe);
}

#[test]
fn its_trouble_is_tolerated_for_its_longest_open_time_and_forgotten_when_nothing_tries() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy("failures = 1\nopen_for = '10s'\nmax_open = '30s'"), now);
    assert_eq!(breaker.trouble(), None);
    attempt(&mut breaker, true, now);
    let trouble = |forgotten_at| Some(Trouble { since: now, tolerated: 30 * SECOND, forgotten_at });
    assert_eq!(breaker.trouble(), trouble(Some(now + 40 * SECOND)));
    let probe = breaker.start();
    assert_eq!(breaker.trouble(), trouble(None), "something tries the receiver");
    breaker.report(probe, true, now + 10 * SECOND);
    assert_eq!(breaker.trouble(), trouble(Some(now + 60 * SECOND)), "it is the same trouble");
    let probe = breaker.start();
    breaker.report(probe, false, now + 30 * SECOND);
    assert_eq!(breaker.trouble(), None);
}

#[test]
fn every_fault_of_the_table_is_named() {
    let config = "failure_ratio = 0.0\nmin_attempts = 0\nwindow = '0s'\nopen_for = '2m'";
    let problems = BreakerPolicy::new(&toml::from_str(config).unwrap()).unwrap_err();
    let keys: Vec<String> = problems.into_iter().map(|problem| problem.path.concat()).collect();
    assert_eq!(keys, ["failure_ratio", "min_attempts", "window", "max_open"]);
    assert_eq!(BreakerPolicy::new(&toml::from_str("failures = 0").unwrap()), Ok(None));
}

proptest! {
    /// Whatever the results and their delays: while it is not closed at most one attempt is under way that it
    /// let start, it never opens without a failure, and it is never shut for longer than `max_open`.
    #[test]
    fn it_lets_one_probe_through_and_always_asks_again(
        steps in prop::collection::vec((0_u64..4_000, any::<bool>(), 0_usize..4), 1..200),
    ) {
        let config = "failures = 3\nmin_attempts = 5\nwindow = '2s'\nopen_for = '1s'\nmax_open = '4s'";
        let policy = policy(config);
        let mut now = Instant::now();
        let mut breaker = Breaker::new(policy, now);
        let mut under_way: Vec<Permit> = Vec::new();
        for (gap, failed, which) in steps {
            now += Duration::from_millis(gap);
            match breaker.check(now) {
                Ok(()) => under_way.push(breaker.start()),
                Err(Closed::Until(until)) => prop_assert!(now < until && until <= now + policy.max_open),
                Err(Closed::UntilProbed) => {
                    prop_assert_eq!(under_way.iter().filter(|permit| permit.generation == breaker.generation).count(), 1);
                }
            }
            if which < under_way.len() {
                let permit = under_way.swap_remove(which);
                match breaker.report(permit, failed, now) {
                    Some(Change::Opened(_) | Change::Reopened(_)) => prop_assert!(failed),
                    Some(Change::Closed(_)) => prop_assert!(!failed && permit.is_probe),
                    None => {}
                }
            }
        }
    }

    /// The window counts exactly what was noted in its slots.
    #[test]
    fn the_window_counts_what_is_in_it(gaps in prop::collection::vec((0_u64..700, any::<bool>()), 1..200)) {
        let origin = Instant::now();
        let mut window = Window::new(SECOND, origin);
        let mut noted: Vec<(u64, bool)> = Vec::new();
        let mut millis = 0;
        for (gap, failed) in gaps {
            millis += gap;
            window.note(failed, origin + Duration::from_millis(millis));
            noted.push((millis / 100, failed));
            let within = noted.iter().filter(|(slot, _)| slot + SLOTS as u64 > millis / 100);
            let share = window.share();
            prop_assert_eq!(share.attempts as usize, within.clone().count());
            prop_assert_eq!(share.failures as usize, within.filter(|(_, failed)| *failed).count());
        }
    }
}

#[test]
fn a_probe_without_a_result_leaves_its_turn_to_the_next() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy("failures = 1\nopen_for = '10s'\nmax_open = '30s'"), now);
    attempt(&mut breaker, true, now);
    let late = now + 10 * SECOND;
    let probe = breaker.start();
    assert!(probe.is_probe);
    breaker.withdraw(probe, late);
    assert_eq!(breaker.check(late), Ok(()));
    let next = breaker.start();
    assert!(next.is_probe);
    assert_eq!(breaker.report(probe, true, late), None, "what was taken back says nothing any more");
    assert!(matches!(breaker.report(next, false, late), Some(Change::Closed(_))));
}
