//! The torture itself: a bridge that is started and killed, cycle by cycle, and at last is let finish.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Response;
use tempfile::TempDir;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Receiver, Reply};

use super::change::Changing;
use super::ledger::Ledger;
use super::plan::{Answer, MAX_ATTEMPTS, Moment, Plan, Sink};
use super::source::{Event, Place, Source};
use super::store::Store;
use crate::delivery::header;
use crate::support::{Bridge, PATIENCE};

/// Events that the source may have in flight.
pub(super) const MAX_IN_FLIGHT: usize = 32;

/// How long an answer takes, so that there is always something under way when the bridge is killed.
const ANSWER_DELAY: Duration = Duration::from_millis(2);

/// A pipeline of its own with one source, two sinks, a store and a receiver.
pub(super) struct Torture {
    pub(super) plan: Plan,
    pub(super) cycles: u64,
    pub(super) folder: TempDir,
    pub(super) pipeline: String,
    pub(super) source: Source,
    pub(super) store: Store,
    /// The topic was deleted and does not exist for now.
    pub(super) is_gone: bool,
    /// What was broken beside the rules of the ledger.
    pub(super) faults: Vec<String>,
}

/// The ledger, as the receiver and the driver share it.
#[derive(Clone)]
pub(super) struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    began: Instant,
}

impl Torture {
    /// Runs all cycles and then the end, and fails when a rule was broken.
    pub(super) async fn run(mut self) {
        let ledger = Arc::new(Mutex::new(Ledger::new(self.plan, MAX_IN_FLIGHT)));
        let shared = Shared { ledger, began: Instant::now() };
        let answering = shared.clone();
        let chooser = move |request: &ReceivedRequest| answering.answer(request);
        let behaviour = Behaviour { chooser: Some(Arc::new(chooser)), delay: ANSWER_DELAY, ..Behaviour::default() };
        let receiver = Receiver::bind("127.0.0.1:0", behaviour).await.unwrap();
        let config = self.config(&receiver.url());
        for number in 0..self.cycles {
            self.cycle(number, &config, &shared).await;
        }
        shared.ledger().the_end_begins();
        let mut bridge = Bridge::run(self.folder.path(), &config);
        let is_drained = self.drained(&shared, &mut bridge).await;
        let ended_well = bridge.stop().success();
        self.judge(&shared, is_drained, ended_well);
        self.source.expect_used_up().await;
    }

    /// One life: some load before the start, some in the middle, and a kill.
    async fn cycle(&mut self, number: u64, config: &str, shared: &Shared) {
        self.enable_sinks().await;
        let cycle = self.plan.cycle(number);
        let mut changing = Changing::new(self.plan, number, &self.source);
        self.produce(cycle.at_start, shared).await;
        self.change(&mut changing, Moment::BeforeTheStart, shared).await;
        self.look_at_letters(shared).await;
        let bridge = Bridge::run(self.folder.path(), config);
        // These sleeps wait for nothing: they are the random moments.
        tokio::time::sleep(cycle.first_part).await;
        self.produce(cycle.while_running / 2, shared).await;
        self.change(&mut changing, Moment::UnderLoad, shared).await;
        self.produce(cycle.while_running.div_ceil(2), shared).await;
        tokio::time::sleep(cycle.second_part).await;
        bridge.kill();
        shared.ledger().killed(shared.now());
        self.source.noticed_the_kill().await;
        self.change(&mut changing, Moment::AfterTheKill, shared).await;
    }

    /// Writes the next events, unless there is nothing to write them to.
    pub(super) async fn produce(&self, count: u64, shared: &Shared) {
        if self.is_gone {
            return;
        }
        let first = shared.ledger().count();
        let events: Vec<Event> = (first..first + count).map(|event| self.event(event)).collect();
        // Before they can arrive.
        shared.ledger().produced(count);
        let places = self.source.produce(&events).await;
        let mut ledger = shared.ledger();
        for (event, place) in (first..).zip(places) {
            match place {
                Place::Topic { id, partition, offset } => {
                    ledger.has_id(event, id);
                    ledger.is_at(event, partition, offset);
                }
                Place::Queue { id } => ledger.has_id(event, id),
            }
        }
    }

    fn event(&self, number: u64) -> Event {
        let key = self.plan.key(number);
        let payload = format!(r#"{{"n":{number},"key":"{key}"}}"#);
        let (partition, message_id) = (self.plan.partition(number), self.plan.message_id(number));
        Event { key, payload, partition, message_id }
    }

    /// Waits until everything has succeeded or is a dead letter, and nothing is parked. Gives up when nothing changes any
    /// more: how long it takes depends on the machine.
    async fn drained(&self, shared: &Shared, bridge: &mut Bridge) -> bool {
        let (mut last, mut changed) = (None, Instant::now());
        while bridge.is_running() && changed.elapsed() < PATIENCE {
            self.enable_sinks().await;
            self.look_at_letters(shared).await;
            let parked = self.store.parked().await;
            let open = shared.ledger().open().len();
            if (open, parked) == (0, 0) {
                return true;
            }
            if last.replace((open, parked)) != Some((open, parked)) {
                changed = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Tells the ledger which dead letters there are now.
    pub(super) async fn look_at_letters(&self, shared: &Shared) {
        let (letters, losses) = self.store.letters().await;
        shared.ledger().has_letters(letters, losses, shared.now());
    }

    /// Does what an operator does when a receiver that had answered 410 is wanted again.
    async fn enable_sinks(&self) {
        for sink in self.store.disabled().await {
            self.store.enable(&sink).await;
        }
    }

    fn judge(&mut self, shared: &Shared, is_drained: bool, ended_well: bool) {
        let ledger = shared.ledger();
        let mut violations = ledger.violations();
        violations.append(&mut self.faults);
        if !is_drained {
            violations.push("the store was not drained in time".to_owned());
        }
        if !ended_well {
            violations.push("the last bridge did not end well".to_owned());
        }
        let summary = ledger.summary();
        drop(ledger);
        if violations.is_empty() {
            #[expect(clippy::print_stderr, reason = "whoever watches a long run sees its seed and what it came to")]
            return eprintln!("{}, seed {}: {summary}", self.pipeline, self.plan.seed);
        }
        self.folder.disable_cleanup(true);
        panic!(
            "TORTURE_SEED={} repeats the decisions, with as many cycles; {summary}\nlogs and state: {}\n{}",
            self.plan.seed,
            self.folder.path().display(),
            violations.join("\n")
        );
    }

    fn config(&self, url: &str) -> String {
        let (name, source, store) = (&self.pipeline, self.source.table(MAX_IN_FLIGHT), self.store.table());
        let sink = |sink: Sink, keys: &str| {
            let sink = sink.name();
            format!("[sinks.{sink}]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/{sink}\"\n{keys}{SINK}")
        };
        let ordered = sink(Sink::Ordered, "order_by = \"{{data.key}}\"\n");
        let free = sink(Sink::Free, "");
        let ordered = format!("{ordered}retry = {{ {}, park_after = \"30ms\" }}\n", schedule());
        let free = format!("{free}retry = {{ {}, park_after = \"0s\" }}\n", schedule());
        format!("name = \"{name}\"\n{store}{source}{ordered}{free}[runtime]\nshutdown_timeout = \"5s\"\n")
    }
}

/// Keys of both sinks. Waits are short, so that a delivery lives through its attempts within a few lives of the bridge.
const SINK: &str = "timeout = \"300ms\"\nconcurrency = 8\n\
                    breaker = { failures = 6, open_for = \"100ms\", max_open = \"400ms\" }\n";

/// A retry schedule that ends with the last of [`MAX_ATTEMPTS`].
fn schedule() -> String {
    let waits = ["20ms", "40ms", "80ms", "160ms"].into_iter().chain(std::iter::repeat("200ms"));
    let waits: Vec<String> = waits.take(MAX_ATTEMPTS as usize - 1).map(|wait| format!("\"{wait}\"")).collect();
    format!("schedule = [{}]", waits.join(", "))
}

impl Shared {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Since the torture began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn answer(&self, request: &ReceivedRequest) -> Reply {
        let sink = Sink::named(request.path_and_query.trim_start_matches('/')).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let event = body["n"].as_u64().unwrap();
        let content = format!("{} {body}", header(request, "webhook-id"));
        reply(self.ledger().attempted(sink, event, content, self.now()))
    }
}

fn reply(answer: Answer) -> Reply {
    let (status, retry_after) = match answer {
        Answer::Hang => return Reply::Hang,
        Answer::Reset => return Reply::Reset,
        Answer::Status(status) => (status, None),
        Answer::RetryAfter(status, seconds) => (status, Some(seconds)),
    };
    let mut response = Response::builder().status(status);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    Reply::Answer(response.body(Bytes::new()).unwrap())
}
