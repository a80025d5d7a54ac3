//! What counts as ready and as alive, at given moments.

use super::*;
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);

fn failing(since: Instant, tolerated: Duration, forgotten_at: Option<Instant>) -> NodeState {
    NodeState::Failing(Trouble { since, tolerated, forgotten_at })
}

#[test]
fn each_state_says_whether_it_is_ready() {
    let now = Instant::now();
    let then = now + 60 * SECOND;
    for (state, ready) in [
        (NodeState::Starting, false),
        (NodeState::Ready, true),
        (NodeState::Ended, true),
        (NodeState::Stopped, false),
        (failing(now, Duration::ZERO, None), false),
        (failing(now, 61 * SECOND, None), true),
        (failing(now, 60 * SECOND, None), false),
        (failing(now, 60 * SECOND, Some(then + SECOND)), false),
        (failing(now, 60 * SECOND, Some(then)), true),
    ] {
        assert_eq!(state.is_ready(then), ready, "{state:?}");
    }
}

#[test]
fn a_process_is_ready_when_all_its_nodes_are() {
    let now = Instant::now();
    let health = Health::default();
    assert_eq!(health.readiness(now).reasons, ["no pipeline is loaded"]);
    let pipeline = health.pipeline("orders");
    pipeline.whole().ready();
    let (source, sink) = (pipeline.node("sources.input"), pipeline.node("sinks.crm"));
    sink.ready();
    assert_eq!(health.readiness(now).reasons, ["orders: sources.input is starting"]);
    source.failing("connection refused", now);
    source.failing("connection refused again", now + 5 * SECOND);
    let later = now + 7 * SECOND;
    assert_eq!(
        health.readiness(later).reasons,
        ["orders: sources.input is failing for 7 s: connection refused again"],
        "a failure keeps its beginning"
    );
    source.ready();
    let report = health.readiness(later);
    assert!(report.ready && report.reasons.is_empty(), "{report:?}");
    health.pipeline("other").whole().stopped("a bug");
    assert_eq!(health.readiness(later).reasons, ["other is stopped: a bug"]);
    health.remove_pipeline("other");
    assert!(health.readiness(later).ready);
    health.end();
    assert_eq!(health.readiness(later).reasons, ["the bridge is about to end"]);
}

#[test]
fn a_replaced_node_is_not_heard_any_more() {
    let now = Instant::now();
    let health = Health::default();
    let pipeline = health.pipeline("orders");
    pipeline.whole().ready();
    let former = pipeline.node("sinks.crm");
    pipeline.node("sinks.crm").ready();
    former.stopped("retired");
    assert!(health.readiness(now).ready);
    pipeline.node("sinks.gone").stopped("removed");
    pipeline.remove("sinks.gone");
    assert!(health.readiness(now).ready);
}

#[test]
fn a_refused_reload_is_said_and_leaves_it_ready() {
    let health = Health::default();
    let pipeline = health.pipeline("orders");
    pipeline.whole().ready();
    let refused = Some("line 3: unknown key".to_owned());
    pipeline.reloaded(Reload { at: Timestamp::UNIX_EPOCH, refused });
    let report = health.readiness(Instant::now());
    assert!(report.ready);
    let reload = report.pipelines["orders"].last_reload.clone().unwrap();
    assert_eq!((reload.applied, reload.detail.as_str()), (false, "line 3: unknown key"));
}

#[test]
fn reports_are_json_without_secrets() {
    let now = Instant::now();
    let secret = Secret::new("hunter2-health-report");
    let health = Health::default();
    let pipeline = health.pipeline("orders");
    pipeline.whole().ready();
    pipeline.node("sources.input").failing(format!("cannot log in with {}", secret.expose()), now);
    let report = serde_json::to_value(health.readiness(now + 2 * SECOND)).unwrap();
    assert_eq!(
        report,
        serde_json::json!({
            "ready": false,
            "reasons": ["orders: sources.input is failing for 2 s: cannot log in with ***"],
            "pipelines": {"orders": {
                "state": "ready",
                "ready": true,
                "nodes": {"sources.input": {
                    "state": "failing",
                    "ready": false,
                    "failing_for_seconds": 2,
                    "tolerated_for_seconds": 0,
                    "detail": "cannot log in with ***",
                }},
            }},
        })
    );
}

#[test]
fn a_worker_that_does_not_show_itself_is_stuck_until_it_does_or_ends() {
    let now = Instant::now();
    let health = Health::default();
    assert!(health.liveness(now).alive, "nothing has started");
    let (one, two) = (health.worker("one", now), health.worker("two", now));
    let later = now + STUCK_AFTER + SECOND;
    two.beat(later);
    let liveness = health.liveness(later);
    assert!(!liveness.alive);
    assert_eq!(liveness.stuck_workers.into_iter().collect::<Vec<_>>(), [("one".to_owned(), 31)]);
    one.beat(later);
    assert!(health.liveness(later).alive);
    drop((one, two));
    let liveness = health.liveness(later + 100 * SECOND);
    assert!(liveness.alive && liveness.workers == 0, "workers that have ended are not missed");
}

/// The real thing: a runtime whose only thread is blocked does not beat.
#[test]
fn a_blocked_runtime_stops_beating() {
    let health = Health::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = Instant::now();
    runtime.spawn(health.worker("worker", started).run());
    runtime.block_on(async {
        while *lock(&lock(&health.0).workers[0].1.upgrade().unwrap()) <= started {
            tokio::task::yield_now().await;
        }
    });
    // Nobody drives the runtime now.
    let blocked = Instant::now();
    assert!(health.liveness(blocked).alive);
    assert!(!health.liveness(blocked + STUCK_AFTER + SECOND).alive);
}
