//! Whatever `check` accepts can be compiled and run: configs around every bound, with an event taken all its way.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::time::Instant;

use super::compile::Environment;
use super::graph::{Graph, SinkNode};
use super::load::compile_in;
use super::trial::{FrozenClock, Outcome, Trial};
use crate::config::parse_lenient;
use crate::delivery::retry::{Decision, Failure};
use crate::delivery::schedule::{BucketName, Next, Schedule};

const PERIODS: [&str; 16] = [
    "0s",
    "1ns",
    "999us",
    "1ms",
    "1s",
    "59m 59s",
    "1h",
    "1d",
    "25h",
    "7d",
    "366d",
    "367d",
    "100000d",
    "213504d",
    "18446744073709551615s",
    "99999999999999999999d",
];
const SIZES: [&str; 12] = [
    "0B",
    "1B",
    "2B",
    "64KiB",
    "1MiB",
    "256MiB",
    "257MiB",
    "1TiB",
    "1025GiB",
    "16777216TiB",
    "18446744073709551615B",
    "1e9B",
];
const COUNTS: [&str; 15] = [
    "-1",
    "0",
    "1",
    "2",
    "255",
    "257",
    "65535",
    "65536",
    "100000",
    "1000000",
    "1000000000",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
];
const SHARES: [&str; 9] = ["-0.1", "0.0", "1e-300", "0.5", "1.0", "1000.0", "1e308", "inf", "nan"];

/// Every key with a bound, the table that it is in, and what to try.
const KEYS: [(&str, &str, Kind); 32] = [
    ("runtime", "workers", Kind::Count),
    ("runtime", "shutdown_timeout", Kind::Period),
    ("store", "max_size", Kind::Size),
    ("store", "lease", Kind::Period),
    ("store", "keep_dead_letters", Kind::Period),
    ("sources.a", "max_in_flight", Kind::Count),
    ("sources.a", "max_in_flight_bytes", Kind::Size),
    ("sources.a", "max_event_size", Kind::Size),
    ("sources.a", "commit_interval", Kind::Period),
    ("sources.q", "prefetch", Kind::Count),
    ("sources.q", "heartbeat", Kind::Period),
    ("sinks.s", "concurrency", Kind::Count),
    ("sinks.s", "timeout", Kind::Period),
    ("sinks.s", "connect_timeout", Kind::Period),
    ("sinks.s", "max_response_size", Kind::Size),
    ("sinks.s.rate_limit", "requests", Kind::Count),
    ("sinks.s.rate_limit", "per", Kind::Period),
    ("sinks.s.rate_limit", "burst", Kind::Count),
    ("sinks.s.breaker", "failures", Kind::Count),
    ("sinks.s.breaker", "failure_ratio", Kind::Share),
    ("sinks.s.breaker", "window", Kind::Period),
    ("sinks.s.breaker", "min_attempts", Kind::Count),
    ("sinks.s.breaker", "open_for", Kind::Period),
    ("sinks.s.breaker", "max_open", Kind::Period),
    ("sinks.s.retry", "initial", Kind::Period),
    ("sinks.s.retry", "factor", Kind::Share),
    ("sinks.s.retry", "max", Kind::Period),
    ("sinks.s.retry", "jitter", Kind::Share),
    ("sinks.s.retry", "max_elapsed", Kind::Period),
    ("sinks.s.retry", "max_attempts", Kind::Count),
    ("sinks.s.retry", "park_after", Kind::Period),
    ("sinks.s.retry", "schedule", Kind::Periods),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Period,
    Periods,
    Size,
    Count,
    Share,
}

impl Kind {
    /// Values as they are written in TOML.
    fn values(self) -> BoxedStrategy<String> {
        match self {
            Self::Period => select(&PERIODS[..]).prop_map(|period| format!("'{period}'")).boxed(),
            Self::Periods => {
                prop::collection::vec(select(&PERIODS[..]), 0..4).prop_map(|periods| format!("{periods:?}")).boxed()
            }
            Self::Size => select(&SIZES[..]).prop_map(|size| format!("'{size}'")).boxed(),
            Self::Count => select(&COUNTS[..]).prop_map(str::to_owned).boxed(),
            Self::Share => select(&SHARES[..]).prop_map(str::to_owned).boxed(),
        }
    }
}

/// A pipeline in which this key, and a few others, have values around their bounds.
fn pipeline_with(key: usize) -> impl Strategy<Value = String> {
    let (others, limit) = (prop::collection::vec(0..KEYS.len(), 0..3), select(&["", "requests = 1"][..]));
    (others, limit).prop_flat_map(move |(mut keys, limit)| {
        keys.push(key);
        keys.sort_unstable();
        keys.dedup();
        let values: Vec<_> = keys.iter().map(|key| KEYS[*key].2.values()).collect();
        values.prop_map(move |values| pipeline(&keys.iter().copied().zip(values).collect::<Vec<_>>(), limit))
    })
}

fn pipeline(values: &[(usize, String)], limit: &str) -> String {
    let tables = [
        ("runtime", ""),
        ("store", ""),
        ("sources.a", "type = 'stdin'"),
        ("sources.q", "type = 'amqp'\nuri = 'amqp://h'\nqueue = 'q'"),
        ("sinks.s", "type = 'webhook'\nfrom = ['a', 'q']\nurl = 'http://127.0.0.1:9/'\nbody = '\"{{data}}\"'"),
        ("sinks.s.rate_limit", "key = '{{data}}'"),
        ("sinks.s.breaker", ""),
        ("sinks.s.retry", ""),
    ];
    let mut text = "name = 'p'\n".to_owned();
    for (table, fixed) in tables {
        let keys = || values.iter().filter(|(key, _)| KEYS[*key].0 == table);
        let is_limit = table == "sinks.s.rate_limit";
        if is_limit && limit.is_empty() && keys().next().is_none() {
            continue;
        }
        let own_requests = keys().any(|(key, _)| KEYS[*key].1 == "requests");
        let limit = if is_limit && !own_requests { "requests = 1" } else { "" };
        text += &format!("[{table}]\n{fixed}\n{limit}\n");
        keys().for_each(|(key, value)| text += &format!("{} = {value}\n", KEYS[*key].1));
    }
    text
}

/// Compiles what is accepted, and takes an event to its end. Gives whether it was accepted.
fn run(text: &str) -> bool {
    let parsed = parse_lenient("p", text, &|_| None);
    if !parsed.faults.is_empty() {
        return false;
    }
    let clock = FrozenClock::default();
    let folder = PathBuf::from("/nowhere");
    let environment =
        Environment { state_dir: folder.clone(), base_dir: folder, once: true, rendering: clock.options() };
    let Ok(compiled) = compile_in(parsed, environment) else { return false };
    try_an_event(&compiled.graph, &clock);
    compiled.graph.sinks.iter().for_each(deliver_and_fail);
    true
}

fn try_an_event(graph: &Graph, clock: &FrozenClock) {
    let test = "name = 't'\nsource = 'a'\nevent = { payload = '\"x\"' }\nexpect = []";
    let course = Trial::new(graph, clock).run(&toml::from_str(test).unwrap());
    let is_expected = |outcome: &Outcome| matches!(outcome, Outcome::Delivery(_) | Outcome::DeadLetter { .. });
    assert!(course.outcomes.len() == 1 && course.outcomes.iter().all(is_expected), "{course:?}");
    for source in &graph.sources {
        let (_sender, _receiver) = tokio::sync::mpsc::channel::<()>(source.bounds.max_in_flight);
        let _next_commit = source.bounds.commit_interval.map(|interval| Instant::now() + interval);
    }
}

/// A few deliveries that fail at every attempt, at the moments at which the schedule lets them start.
fn deliver_and_fail(sink: &SinkNode) {
    let mut now = Instant::now();
    let origin = now;
    let mut schedule = Schedule::new(sink.settings.rate, sink.settings.breaker);
    let bucket: BucketName = "x".into();
    (0..4).for_each(|_| schedule.push(bucket.clone(), 0_u32, now));
    for step in 0..60_u32 {
        match schedule.next(now) {
            Next::Idle => return,
            Next::WaitUntil(moment) => {
                assert!(moment > now);
                // Whoever waits asks a timer.
                drop(tokio_timer(moment));
                now = moment;
            }
            Next::Start(attempts, permit) => {
                schedule.report(&bucket, permit, true, now);
                let retry_after = (step % 7 == 0).then_some(Duration::from_secs(u64::from(u32::MAX)));
                let failure = Failure { attempts: attempts + 1, elapsed: now - origin, retry_after };
                if let Decision::RetryAfter(wait) = sink.settings.retry.decide(failure, f64::from(step % 3) / 2.0) {
                    schedule.push_at(now + wait, bucket.clone(), attempts + 1);
                    let due = Timestamp::now().checked_add(jiff::SignedDuration::try_from(wait).unwrap());
                    assert!(due.is_ok(), "{wait:?}");
                }
            }
        }
    }
}

fn tokio_timer(moment: Instant) -> tokio::time::Sleep {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    tokio::time::sleep_until(moment)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_is_accepted_runs(text in (0..KEYS.len()).prop_flat_map(pipeline_with)) {
        run(&text);
    }
}

/// Otherwise the test above would look at refusals only.
#[test]
fn every_key_is_accepted_within_its_bounds_and_refused_outside_of_them() {
    let within = |kind: Kind| match kind {
        Kind::Period => ["'1s'", "'59m 59s'", "'1m'", "'1h'"].as_slice(),
        Kind::Periods => &["['1s', '366d']", "[]", "['0s']"],
        Kind::Size => &["'2MiB'", "'64MiB'", "'256MiB'"],
        Kind::Count => &["1", "2", "255"],
        Kind::Share => &["0.5", "1.0", "1"],
    };
    let outside = |kind: Kind| match kind {
        Kind::Period => "'213504d'",
        Kind::Periods => "['1s', '213504d']",
        Kind::Size => "'1025GiB'",
        Kind::Count => "4294967295",
        Kind::Share => "1e308",
    };
    for (index, (table, key, kind)) in KEYS.into_iter().enumerate() {
        let accepted = |value: &str| {
            let mut values = vec![(index, value.to_owned())];
            // A factor and a longest wait belong to a first wait.
            if matches!(key, "factor" | "max") {
                values.push((KEYS.iter().position(|known| known.1 == "initial").unwrap(), "'1s'".to_owned()));
            }
            run(&pipeline(&values, ""))
        };
        assert!(within(kind).iter().any(|value| accepted(value)), "{table}.{key}");
        assert!(!accepted(outside(kind)), "{table}.{key} = {}", outside(kind));
    }
}
