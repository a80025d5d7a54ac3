//! Records come in bunches, and everything is as if they came one by one: bounds, order, watermarks.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What happens to a source.
#[derive(Debug, Clone)]
enum Step {
    /// This many records more can be read, of this partition and size.
    Offer { partition: u32, size: usize, count: usize },
    /// This one of the events open settles.
    Settle(Index),
    /// The commit interval passes.
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offer = (0..3u32, 1..40usize, prop_oneof![3 => 1..5usize, 1 => 50..200usize])
        .prop_map(|(partition, size, count)| Step::Offer { partition, size, count });
    let settle = any::<Index>().prop_map(Step::Settle);
    prop::collection::vec(prop_oneof![2 => offer, 5 => settle, 1 => Just(Step::Wait)], 1..60)
}

/// A source read record by record, by the rules of the bounds.
#[derive(Default)]
struct Model {
    max_in_flight: usize,
    max_in_flight_bytes: usize,
    max_window: usize,
    /// Not read yet.
    offered: VecDeque<(u32, usize)>,
    /// Read and not settled: partition, position, size.
    open: Vec<(u32, u64, usize)>,
    /// Of each partition, whether its events have settled; the position of the first is 1.
    read: BTreeMap<u32, Vec<bool>>,
}

impl Model {
    /// Reads as long as it may. Returns what was read.
    fn read_on(&mut self) -> Vec<(u32, u64, usize)> {
        let mut read = Vec::new();
        while self.has_room()
            && let Some((partition, size)) = self.offered.pop_front()
        {
            let events = self.read.entry(partition).or_default();
            events.push(false);
            read.push((partition, events.len() as u64, size));
            self.open.extend(read.last());
        }
        read
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.open.iter().map(|(.., size)| size).sum();
        let window: usize = self.read.iter().map(|(partition, events)| events.len() - self.watermark(*partition)).sum();
        self.open.len() < self.max_in_flight && bytes < self.max_in_flight_bytes && window < self.max_window
    }

    fn watermark(&self, partition: u32) -> usize {
        self.read[&partition].iter().take_while(|settled| **settled).count()
    }

    /// What has been committed once the commit interval has passed.
    fn committed(&self) -> BTreeMap<u32, u64> {
        let watermarks = self.read.keys().map(|partition| (*partition, self.watermark(*partition) as u64));
        watermarks.filter(|(_, position)| *position > 0).collect()
    }

    fn settle(&mut self, partition: u32, position: u64) {
        self.open.retain(|(p, at, _)| (*p, *at) != (partition, position));
        self.read.get_mut(&partition).unwrap()[position as usize - 1] = true;
    }
}

/// Runs a driver along the steps, and holds it against the model whenever it has nothing left to do.
async fn runs_as_the_model<const EACH: bool>(max_in_flight: usize, max_in_flight_bytes: usize, steps: Vec<Step>) {
    let mut run = start_source(Scripted::<EACH>::default(), max_in_flight, max_in_flight_bytes);
    let max_window = if EACH { max_in_flight * WINDOW_OF_EACH } else { max_in_flight };
    let mut model = Model { max_in_flight, max_in_flight_bytes, max_window, ..Model::default() };
    let mut open: Vec<((u32, u64), Arrival)> = Vec::new();
    let mut offered = BTreeMap::<u32, u64>::new();
    for step in steps {
        match step {
            Step::Offer { partition, size, count } => {
                for _ in 0..count {
                    let position = offered.entry(partition).or_default();
                    *position += 1;
                    run.source.record(partition, *position, size);
                    model.offered.push_back((partition, size));
                }
            }
            Step::Settle(index) if !open.is_empty() => {
                let ((partition, position), arrival) = open.swap_remove(index.index(open.len()));
                arrival.ack.settle();
                model.settle(partition, position);
            }
            Step::Settle(_) => {}
            Step::Wait => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let committed: BTreeMap<u32, u64> = run.source.commits().into_iter().collect();
                assert_eq!(committed, model.committed());
            }
        }
        run.idle().await;
        for (partition, position, size) in model.read_on() {
            let arrival = run.arrivals.try_recv().expect("there is room for this record");
            assert_eq!(arrival.event.id, format!("{partition}/{position}"));
            assert_eq!(arrival.event.size(), size);
            open.push(((partition, position), arrival));
        }
        assert!(run.arrivals.try_recv().is_err(), "more was read than there is room for");
    }
    let mut commits = BTreeMap::new();
    for (partition, position) in run.source.commits() {
        assert!(commits.insert(partition, position) < Some(position), "a watermark has moved back");
    }
}

/// Settles events as soon as they arrive, while the source hesitates, so that it is often interrupted.
async fn reads_everything_though_interrupted(hesitates: usize, bursts: Vec<usize>) {
    // More than the budget of one turn of a task, which is 128: so the driver gives way in the middle, too.
    let mut run = start(1000, usize::MAX);
    run.source.script().hesitates = hesitates;
    let (mut offered, mut expected, mut open) = (0, 0, VecDeque::new());
    for count in bursts {
        for _ in 0..count {
            offered += 1;
            run.source.record(0, offered, 1);
        }
        for _ in 0..count {
            tokio::task::yield_now().await;
            open.extend(std::iter::from_fn(|| run.arrivals.try_recv().ok()));
            let Some(arrival) = open.pop_front() else { continue };
            expected += 1;
            assert_eq!(arrival.event.id, format!("0/{expected}"));
            arrival.ack.settle();
        }
    }
    run.source.push(Ok(Input::End));
    while expected < offered {
        let arrival = match open.pop_front() {
            Some(arrival) => arrival,
            None => run.next().await,
        };
        expected += 1;
        assert_eq!(arrival.event.id, format!("0/{expected}"));
        arrival.ack.settle();
    }
    let source = run.end().await;
    assert_eq!(source.commits().last(), Some(&(0, offered)));
}

/// Runs a test as a task, so that it takes turns with the driver.
fn on_paused_clock(test: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { tokio::spawn(test).await.unwrap() });
}

proptest! {
    #[test]
    fn bounds_order_and_watermarks_are_those_of_single_records(
        max_in_flight in prop_oneof![1..10usize, 60..300usize],
        max_in_flight_bytes in prop_oneof![1..100usize, 1000..10_000usize],
        steps in steps(),
    ) {
        on_paused_clock(runs_as_the_model::<false>(max_in_flight, max_in_flight_bytes, steps));
    }

    #[test]
    fn the_same_holds_for_sources_that_acknowledge_each_record(
        max_in_flight in 1..5usize,
        max_in_flight_bytes in prop_oneof![1..100usize, 1000..10_000usize],
        steps in steps(),
    ) {
        on_paused_clock(runs_as_the_model::<true>(max_in_flight, max_in_flight_bytes, steps));
    }

    #[test]
    fn a_read_that_is_dropped_loses_nothing(hesitates in 0..4usize, bursts in prop::collection::vec(1..400usize, 1..6)) {
        on_paused_clock(reads_everything_though_interrupted(hesitates, bursts));
    }
}

#[tokio::test(start_paused = true)]
async fn records_at_hand_come_together() {
    let mut run = start(150, 1000);
    // The driver waits in `read` before there is anything.
    run.idle().await;
    (1..=200).for_each(|position| run.source.record(0, position, 1));
    run.idle().await;
    assert_eq!(run.arrivals.len(), 150);
    assert_eq!(run.source.script().bunches, [BUNCH, BUNCH, 22]);
}
