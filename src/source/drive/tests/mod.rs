//! The driver with a scripted source: what it reads, commits and releases, and when.

mod bunches;
mod ending;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::event::Format;
use crate::health::NodeState;

/// What the scripted source does next, and what was done to it.
#[derive(Default)]
struct Script {
    inputs: VecDeque<Next>,
    calls: Vec<Call>,
    /// How many records each `read` has returned.
    bunches: Vec<usize>,
    /// The source gives way to other tasks this many times before it returns anything.
    hesitates: usize,
    /// From now on nothing answers: commits and the close never end.
    hangs: bool,
}

enum Next {
    Record(Record),
    Other(Result<Input, SourceError>),
}

#[derive(Debug, PartialEq, Eq)]
enum Call {
    Connect,
    Commit(Progress),
    Release(Vec<u32>),
    GiveBack(Vec<(u32, u64)>),
    Close,
}

impl Script {
    fn next_record(&mut self) -> Option<Record> {
        match self.inputs.pop_front()? {
            Next::Record(record) => Some(record),
            other => {
                self.inputs.push_front(other);
                None
            }
        }
    }
}

/// Acknowledges each record or not.
#[derive(Clone, Default)]
struct Scripted<const EACH: bool = true> {
    script: Arc<Mutex<Script>>,
    changed: Arc<Notify>,
}

impl<const EACH: bool> Scripted<EACH> {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn push(&self, input: Result<Input, SourceError>) {
        self.push_next(Next::Other(input));
    }

    fn push_next(&self, next: Next) {
        self.script().inputs.push_back(next);
        self.changed.notify_waiters();
    }

    fn record(&self, partition: u32, position: u64, size: usize) {
        let event = Event {
            id: format!("{partition}/{position}"),
            time: Timestamp::UNIX_EPOCH,
            source: "test".into(),
            key: None,
            headers: Vec::new(),
            meta: Vec::new(),
            payload: Some(Bytes::from(vec![b'x'; size])),
            format: Format::Text,
            content_type: None,
        };
        self.push_next(Next::Record(Record { event, partition, position, defect: None }));
    }

    async fn hang(&self) {
        let hangs = self.script().hangs;
        if hangs {
            std::future::pending().await
        }
    }

    fn commits(&self) -> Vec<(u32, u64)> {
        let script = self.script();
        let progress = script.calls.iter().filter_map(|call| match call {
            Call::Commit(progress) => Some(progress.watermarks.clone()),
            _ => None,
        });
        progress.flatten().collect()
    }
}

impl<const EACH: bool> Source for Scripted<EACH> {
    const ACKNOWLEDGES_EACH: bool = EACH;
    const READS_PARTITIONS_ALONE: bool = true;

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.script().calls.push(Call::Connect);
        Ok(())
    }

    async fn read(&mut self, room: Room) -> Result<Input, SourceError> {
        let hesitates = self.script().hesitates;
        for _ in 0..hesitates {
            tokio::task::yield_now().await;
        }
        loop {
            let changed = self.changed.notified();
            let records = room.fill(|| self.script().next_record());
            if !records.is_empty() {
                self.script().bunches.push(records.len());
                return Ok(Input::Records(records));
            }
            if let Some(Next::Other(input)) = self.script().inputs.pop_front() {
                return input;
            }
            changed.await;
        }
    }

    async fn commit(&mut self, progress: Progress) -> Result<(), SourceError> {
        self.script().calls.push(Call::Commit(progress));
        self.hang().await;
        Ok(())
    }

    async fn release(&mut self, partitions: &[u32]) -> Result<(), SourceError> {
        self.script().calls.push(Call::Release(partitions.to_vec()));
        Ok(())
    }

    async fn give_back(&mut self, open: &[(u32, u64)]) {
        self.script().calls.push(Call::GiveBack(open.to_vec()));
    }

    async fn close(&mut self) {
        self.script().calls.push(Call::Close);
        self.hang().await;
    }

    async fn probe(&mut self) -> Result<String, SourceError> {
        Ok("scripted".into())
    }
}

struct Run<const EACH: bool = true> {
    source: Scripted<EACH>,
    arrivals: mpsc::Receiver<Arrival>,
    health: NodeHealth,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), SourceError>>,
}

fn start(max_in_flight: usize, max_in_flight_bytes: usize) -> Run {
    start_source(Scripted::default(), max_in_flight, max_in_flight_bytes)
}

fn start_source<const EACH: bool>(
    source: Scripted<EACH>,
    max_in_flight: usize,
    max_in_flight_bytes: usize,
) -> Run<EACH> {
    let bounds = Bounds { max_in_flight, max_in_flight_bytes, max_event_size: 100, commit_interval: None };
    let (sender, arrivals) = mpsc::channel(max_in_flight);
    let shutdown = Shutdown::new(Duration::from_secs(25));
    let health = NodeHealth::default();
    let task = tokio::spawn(drive(source.clone(), "test".into(), bounds, sender, health.clone(), shutdown.clone()));
    Run { source, arrivals, health, shutdown, task }
}

impl<const EACH: bool> Run<EACH> {
    async fn next(&mut self) -> Arrival {
        self.arrivals.recv().await.unwrap()
    }

    /// Lets everything that can happen at once happen; the clock is paused.
    async fn idle(&mut self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn end(self) -> Scripted<EACH> {
        self.task.await.unwrap().unwrap();
        self.source
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_settled_prefix_is_committed() {
    let mut run = start(10, 1000);
    for position in 1..=3 {
        run.source.record(0, position, 1);
    }
    let (first, second, third) = (run.next().await, run.next().await, run.next().await);
    second.ack.settle();
    third.ack.settle();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(run.source.commits(), []);
    first.ack.settle();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(run.source.commits(), [(0, 3)]);
}

#[tokio::test(start_paused = true)]
async fn what_settles_above_the_watermark_is_told_to_sources_that_acknowledge_each_record() {
    let mut run = start(10, 1000);
    run.source.record(0, 1, 1);
    run.source.record(0, 2, 1);
    let (first, second) = (run.next().await, run.next().await);
    second.ack.settle();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let expected = Call::Commit(Progress { watermarks: Vec::new(), settled: vec![(0, 2)] });
    assert_eq!(run.source.script().calls, [Call::Connect, expected]);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn reading_stops_at_the_bounds_and_goes_on_below_them() {
    for (count, bytes) in [(2, 1000), (10, 20)] {
        let mut run = start(count, bytes);
        for position in 1..=3 {
            run.source.record(0, position, 10);
        }
        let first = run.next().await;
        let _second = run.next().await;
        run.idle().await;
        assert!(run.arrivals.try_recv().is_err(), "a third event is open beyond {count} events, {bytes} bytes");
        first.ack.settle();
        run.next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_settles_behind_an_open_event_counts_too_but_not_what_is_below_the_watermark() {
    let mut run = start(2, 1000);
    for position in 1..=300 {
        run.source.record(0, position, 1);
    }
    run.next().await.ack.settle();
    let stuck = run.next().await;
    let mut behind = 0;
    while let Ok(arrival) = tokio::time::timeout(Duration::from_secs(60), run.arrivals.recv()).await {
        arrival.unwrap().ack.settle();
        behind += 1;
    }
    assert_eq!(behind, 2 * WINDOW_OF_EACH - 1);
    stuck.ack.settle();
    run.next().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_over_the_limit_comes_with_its_defect() {
    let mut run = start(10, 1000);
    run.source.record(0, 1, 101);
    assert_eq!(run.next().await.defect, Some(Defect::TooLarge { size: 101, limit: 100 }));
}

#[tokio::test(start_paused = true)]
async fn a_failed_event_is_read_again_over_a_new_connection() {
    let mut run = start(10, 1000);
    run.source.record(0, 1, 1);
    run.source.record(0, 2, 1);
    let (first, second) = (run.next().await, run.next().await);
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(run.source.script().calls, [Call::Connect, Call::Connect]);
    // The settlement of the former connection's event must not move the new connection's watermark.
    run.source.record(0, 1, 1);
    let again = run.next().await;
    second.ack.settle();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(run.source.commits(), []);
    again.ack.settle();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(run.source.commits(), [(0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_has_settled_when_an_event_fails_is_committed_before_connecting_again() {
    let mut run = start(10, 1000);
    for position in 1..=3 {
        run.source.record(0, position, 1);
    }
    let (first, second, third) = (run.next().await, run.next().await, run.next().await);
    first.ack.settle();
    drop(second);
    third.ack.settle();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The script acknowledges each record, so that the third, behind the one that failed, is told as well.
    let progress = Progress { watermarks: vec![(0, 1)], settled: vec![(0, 1), (0, 3)] };
    assert_eq!(run.source.script().calls, [Call::Connect, Call::Commit(progress), Call::Connect]);
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_waited_out_and_permanent_ones_end_the_source() {
    let run = start(10, 1000);
    run.source.push(Err(SourceError::transient("the broker is away")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    run.source.push(Err(SourceError::permanent("nothing helps")));
    assert!(matches!(run.task.await.unwrap(), Err(SourceError::Permanent(_))));
    assert_eq!(run.source.script().calls, [Call::Connect, Call::Connect, Call::GiveBack(Vec::new()), Call::Close]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_closes_is_drained_and_committed_before_its_release() {
    let mut run = start(10, 1000);
    run.source.record(7, 1, 1);
    let open = run.next().await;
    run.source.push(Ok(Input::Closing { partitions: vec![7], within: Some(Duration::from_secs(10)) }));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(run.source.script().calls, [Call::Connect]);
    open.ack.settle();
    run.idle().await;
    let committed = Call::Commit(Progress { watermarks: vec![(7, 1)], settled: vec![(7, 1)] });
    assert_eq!(run.source.script().calls, [Call::Connect, committed, Call::Release(vec![7])]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_for_a_partition_after_its_release_or_loss() {
    let mut run = start(10, 1000);
    run.source.record(7, 1, 1);
    run.source.record(8, 1, 1);
    let (slow, lost) = (run.next().await, run.next().await);
    run.source.push(Ok(Input::Closing { partitions: vec![7], within: Some(Duration::from_secs(10)) }));
    run.source.push(Ok(Input::Lost { partitions: vec![8] }));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(run.source.script().calls, [Call::Connect, Call::Release(vec![7])]);
    slow.ack.settle();
    lost.ack.settle();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(run.source.commits(), []);
}

#[tokio::test(start_paused = true)]
async fn probes_hear_whether_the_source_is_connected() {
    let mut run = start(10, 1000);
    run.idle().await;
    assert_eq!(run.health.state(), NodeState::Ready);
    run.source.push(Ok(Input::Away { reason: "refused".into() }));
    run.idle().await;
    assert!(matches!(run.health.state(), NodeState::Failing(_)));
    run.source.push(Ok(Input::Back));
    run.idle().await;
    assert_eq!(run.health.state(), NodeState::Ready);
    run.source.push(Err(SourceError::transient("reset")));
    run.idle().await;
    assert!(matches!(run.health.state(), NodeState::Failing(_)), "it waits before it connects again");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(run.health.state(), NodeState::Ready);
    run.source.push(Err(SourceError::permanent("no such thing")));
    run.idle().await;
    assert_eq!(run.health.state(), NodeState::Stopped);
}

#[tokio::test]
async fn a_source_with_much_to_give_lets_other_tasks_run_meanwhile() {
    const READY: u64 = 10_000;
    let mut run = start(usize::try_from(READY).unwrap(), usize::MAX);
    (1..=READY).for_each(|position| run.source.record(0, position, 1));
    let _first = run.next().await;
    let read = run.arrivals.len();
    assert!(read < 1000, "{read} more records were read before another task has run");
}

#[tokio::test(start_paused = true)]
async fn an_ack_says_since_when_its_partition_is_read_by_this_process_alone() {
    let mut run = start(10, 1000);
    let began = Instant::now();
    run.source.record(0, 1, 1);
    let first = run.next().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    run.source.record(0, 2, 1);
    run.source.record(1, 1, 1);
    let (second, elsewhere) = (run.next().await, run.next().await);
    assert_eq!([&first, &second].map(|arrival| arrival.ack.alone_since()), [Some(began); 2]);
    assert_eq!(elsewhere.ack.alone_since(), Some(began + Duration::from_secs(1)));
    // A new connection begins anew: another process may have read meanwhile.
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    run.source.record(0, 1, 1);
    assert!(run.next().await.ack.alone_since() > elsewhere.ack.alone_since());
}
