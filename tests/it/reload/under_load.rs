//! Twenty reloads while events flow.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use webhook_bridge::receiver::{Behaviour, ReceivedRequest};

use super::{APPLIED, reload, show};
use crate::delivery::{Site, header, number};
use crate::support::{Bridge, wait_until};

/// How many different values the events' keys have.
pub(super) const KEYS: u64 = 7;
/// Attempts that the sinks may have under way.
const CONCURRENCY: usize = 3;

/// A version of the pipeline: `steady` and the source `input` are the same in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    number: usize,
    has_other_source: bool,
}

/// What a reload brings.
#[derive(Debug, Clone, Copy)]
enum Step {
    Comment,
    Invalid,
    ChangedSink,
    ChangedFilter,
    OtherSource,
}

const STEPS: [Step; 5] = [Step::Comment, Step::Invalid, Step::ChangedSink, Step::ChangedFilter, Step::OtherSource];

/// The configs of a run, from the tables of its two sources.
pub(super) struct Configs {
    pub(super) input: String,
    pub(super) other: String,
    pub(super) url: String,
}

impl Configs {
    fn of(&self, version: Version) -> String {
        let Self { input, other, url } = self;
        let Version { number, has_other_source } = version;
        let (other, from) = if has_other_source { (other.as_str(), "\"input\", \"other\"") } else { ("", "\"input\"") };
        format!(
            "# version {number}\nname = \"it\"\n{input}\n{other}\n\
             [filters.all]\nfrom = [\"input\"]\nwhen = \"$.data.n >= -{number}\"\n\
             [sinks.steady]\ntype = \"webhook\"\nfrom = [\"all\"]\nurl = \"{url}/steady\"\n\
             order_by = \"{{{{data.key}}}}\"\nconcurrency = {CONCURRENCY}\n\
             [sinks.changing]\ntype = \"webhook\"\nfrom = [{from}]\nurl = \"{url}/changing\"\n\
             order_by = \"{{{{data.key}}}}\"\nconcurrency = {CONCURRENCY}\nheaders = {{ X-Version = \"{}\" }}\n",
            number / STEPS.len()
        )
    }
}

/// The payload of event `n`.
pub(super) fn payload(n: usize) -> String {
    format!(r#"{{"n":{n},"key":"k{}"}}"#, n as u64 % KEYS)
}

/// Deliveries that may be outstanding before more events are written: the load is as high as the machine bears, and a
/// removed source has finished what is in flight before its time is up.
const MOST_OUTSTANDING: usize = 600;

/// How far the events are.
struct Load {
    written: Cell<usize>,
    /// Events of the other source that are to be read for now, when it is removed.
    readable_of_other: Cell<Option<usize>>,
    is_over: Cell<bool>,
}

impl Load {
    /// Deliveries that must come of what is written and can be read.
    fn expected(&self) -> usize {
        2 * self.written.get() + self.readable_of_other.get().unwrap_or(self.written.get())
    }

    /// Writes `at_once` events again and again.
    async fn write(&self, site: &Site, at_once: usize, write: impl Fn(std::ops::Range<usize>)) {
        while !self.is_over.get() {
            let received = usize::try_from(site.receiver.requests()).unwrap();
            if self.expected() < received + MOST_OUTSTANDING {
                let from = self.written.get();
                tokio::task::block_in_place(|| write(from..from + at_once));
                self.written.set(from + at_once);
            }
            // The pace of the load, not a wait for anything.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Runs the pipeline and reloads it twenty times. `write` makes events of both sources, by the numbers that it is given:
/// `at_once` of them, again and again. Returns how many were written.
pub(super) async fn reload_twenty_times(
    site: &Site,
    configs: &Configs,
    at_once: usize,
    write: impl Fn(std::ops::Range<usize>),
) -> (Bridge, usize) {
    let load = Load { written: Cell::new(0), readable_of_other: Cell::new(None), is_over: Cell::new(false) };
    let mut version = Version { number: 0, has_other_source: true };
    let bridge = Bridge::run(site.folder.path(), &configs.of(version));
    let reloads = async {
        wait_until("events flow", || site.receiver.requests() > 100).await;
        for number in 1..=20 {
            let step = STEPS[number % STEPS.len()];
            let config = match step {
                Step::Invalid => configs.of(version).replace("[sinks.steady]", "[sinks.steady]\ntimeot = 1"),
                _ => {
                    version.number = number;
                    version.has_other_source ^= matches!(step, Step::OtherSource);
                    configs.of(version)
                }
            };
            if !version.has_other_source && load.readable_of_other.get().is_none() {
                load.readable_of_other.set(Some(load.written.get()));
            }
            let expected = if matches!(step, Step::Invalid) { "the one before goes on" } else { APPLIED };
            let before = site.receiver.requests();
            reload(site, &bridge, &config, expected).await;
            if version.has_other_source {
                load.readable_of_other.set(None);
            }
            wait_until("events flow after the reload", || site.receiver.requests() > before + 20).await;
        }
        assert!(version.has_other_source, "the last version has both sources, so that all must arrive");
        load.is_over.set(true);
    };
    tokio::join!(load.write(site, at_once, write), reloads);
    (bridge, load.written.get())
}

/// The numbers of the requests to a path, by the source of their events.
pub(super) fn by_source(requests: &[ReceivedRequest], path: &str) -> BTreeMap<String, Vec<u64>> {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.path_and_query == path) {
        let id = header(request, "webhook-id");
        let source = id.rsplit_once('/').map_or(id, |(source, _)| source).to_owned();
        numbers.entry(source).or_default().push(number(request));
    }
    numbers
}

/// Fails unless all of `0..count` came, each key in its order. Returns how many came more than once.
pub(super) fn check(numbers: &[u64], count: usize) -> usize {
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    let missing: Vec<_> = (0..count as u64).filter(|n| !distinct.contains(n)).take(10).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
    for key in 0..KEYS {
        let mut highest = None;
        let mut seen = BTreeSet::new();
        for n in numbers.iter().filter(|n| **n % KEYS == key) {
            // A repetition may come late, but nothing comes for the first time after one that was behind it.
            if seen.insert(*n) {
                assert!(highest.is_none_or(|highest| highest < *n), "key {key}: {n} after {highest:?}");
                highest = Some(*n);
            }
        }
    }
    numbers.len() - distinct.len()
}

/// The TCP connections that the requests to a path came in on.
pub(super) fn connections(requests: &[ReceivedRequest], path: &str) -> usize {
    let requests = requests.iter().filter(|request| request.path_and_query == path);
    requests.map(|request| request.connection).collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_files_nothing_is_lost_doubled_or_reordered_and_connections_are_kept() {
    let mut site = Site::start(Behaviour::default()).await;
    let source = |name: &str| {
        format!("[sources.{name}]\ntype = \"file\"\npaths = [\"{name}.jsonl\"]\ncommit_interval = \"20ms\"\n")
    };
    let configs = Configs { input: source("input"), other: source("other"), url: site.receiver.url() };
    let folder = site.folder.path().to_owned();
    let write = move |numbers: std::ops::Range<usize>| {
        use std::io::Write as _;
        let lines: String = numbers.map(|n| payload(n) + "\n").collect();
        for name in ["input", "other"] {
            let path = folder.join(format!("{name}.jsonl"));
            let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
            file.write_all(lines.as_bytes()).unwrap();
        }
    };
    let (bridge, count) = reload_twenty_times(&site, &configs, 10, write).await;
    wait_until("all events arrive", || site.receiver.requests() >= 3 * count as u64).await;
    assert!(bridge.stop().success());

    let requests = site.received();
    assert_eq!(requests.len(), 3 * count, "each event came once to each sink, also those of the removed source");
    let steady: Vec<u64> = by_source(&requests, "/steady").into_values().flatten().collect();
    assert_eq!(check(&steady, count), 0);
    let changing = by_source(&requests, "/changing");
    assert_eq!(changing.len(), 2, "{:?}", changing.keys());
    changing.values().for_each(|numbers| assert_eq!(check(numbers, count), 0));
    let versions: BTreeSet<_> =
        requests.iter().filter(|r| r.path_and_query == "/changing").map(|r| header(r, "x-version")).collect();
    assert_eq!(versions.len(), 5, "every version of the sink sent something: {versions:?}");
    assert!(connections(&requests, "/steady") <= CONCURRENCY);
    show(&format!("{count} events, connections of the steady sink: {}", connections(&requests, "/steady")));
}
