//! A sink beside a store that is full: what belongs into the store waits in memory, and is attempted from there.

use std::time::SystemTime;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::HeaderMap;
use tempfile::TempDir;

use super::*;
use crate::ack::{SettlementReceiver, SettlementSender, Ticket};
use crate::delivery::attempt::{Attempted, Members};
use crate::delivery::breaker::{BreakerConfig, BreakerPolicy};
use crate::delivery::dead_letter::DeadLetters;
use crate::delivery::retry::RetryConfig;
use crate::delivery::schedule::BucketName;
use crate::delivery::stored::to_stored;
use crate::event::{Event, Format};
use crate::sink::config::WebhookConfig;
use crate::sink::request::Request;
use crate::sink::responses::AnswerBody;
use crate::sink::verdict::{Answer, AnswerRules};
use crate::store::Store;
use crate::store::config::{Location, StoreSettings};
use crate::store::handle::{Claim, Claimed, Pause, WeakStore};
use crate::store::record::{DeliveryCore, StoredDelivery};
use crate::store::running::{RunningStore, UnopenedStore};
use crate::store::sinks::SinkStates;
use crate::store::threads::wait_for;
use crate::units::Period;

const RETRY_WAIT: Duration = Duration::from_secs(600);
const OPEN_FOR: Duration = Duration::from_secs(5);

/// A store that one delivery fills, and a sink that uses it.
struct Site {
    sink: Running,
    settings: StoreSettings,
    store: WeakStore,
    /// Another sink, which takes up the room.
    other: (SinkStore, mpsc::UnboundedReceiver<FromStore>),
    settlements: SettlementReceiver,
    sender: SettlementSender,
    // Dropped after the handles of the store.
    _running: RunningStore,
    _folder: TempDir,
}

impl Site {
    fn new(retry: &RetryConfig, breaker: Option<BreakerPolicy>) -> Self {
        Self::with_room_for(1, retry, breaker)
    }

    fn with_room_for(max_size: u64, retry: &RetryConfig, breaker: Option<BreakerPolicy>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            location: Location::Sqlite(folder.path().join("store.db")),
            pipeline: "shop".to_owned(),
            max_size,
            lease: Duration::from_secs(30),
            keep_dead_letters: None,
        };
        let (store, unopened) = UnopenedStore::new(settings.clone());
        let running = wait_for(unopened.open()).map_err(|failed| failed.1).unwrap();
        let (sender, settlements) = mpsc::unbounded_channel();
        let sink = sink(&store, retry, breaker);
        let other = store.open_sink("other".into());
        Self {
            sink,
            settings,
            store: store.downgrade(),
            other,
            settlements,
            sender,
            _running: running,
            _folder: folder,
        }
    }

    /// Takes up all the room there is; gives what was claimed of it.
    async fn fill(&mut self) -> StoredDelivery {
        let (filler, _) = to_stored(self.delivery(99, None), Timestamp::UNIX_EPOCH);
        self.other.0.park(vec![(filler, None)]);
        let claimed = claim(&mut self.other).await;
        assert!(!self.other.0.has_room());
        claimed.deliveries.into_iter().next().unwrap()
    }

    /// Makes room again.
    async fn make_room(&mut self, filler: StoredDelivery) {
        self.other.0.finish(filler.core.row.unwrap());
        claim(&mut self.other).await;
        assert!(self.other.0.has_room());
    }

    /// A delivery with an ack, which says its number when it settles.
    fn delivery(&self, number: u64, lane: Option<&str>) -> Delivery {
        let event = Event {
            id: number.to_string(),
            time: Timestamp::UNIX_EPOCH,
            source: "orders".into(),
            key: None,
            headers: Vec::new(),
            meta: Vec::new(),
            payload: Some(Bytes::from_static(b"{}")),
            format: Format::Json,
            content_type: None,
        };
        let url = Url::parse("http://127.0.0.1:9/").unwrap();
        let request = Request { method: None, url, headers: HeaderMap::new(), body: Bytes::from_static(b"{}") };
        let ack = Ack::new(Ticket { session: 0, partition: 0, sequence: number }, 0, self.sender.clone());
        let core = DeliveryCore { lane: lane.map(Into::into), ..DeliveryCore::new(Arc::new(event), 0) };
        Delivery::new(core, request, Some(ack), Instant::now())
    }

    /// A second handle of the same sink, to ask the store what it has. The sink itself gets no more answers.
    fn crm(&self) -> (SinkStore, mpsc::UnboundedReceiver<FromStore>) {
        self.store.upgrade().unwrap().open_sink("crm".into())
    }

    fn accept(&mut self, number: u64, lane: Option<&str>) {
        let delivery = self.delivery(number, lane);
        self.sink.advance(Occasion::Arrived, Box::new(delivery), Instant::now());
    }

    /// Does what a round of the worker's loop does before it waits. Gives the attempts that start.
    fn round(&mut self) -> Vec<Attempt> {
        let now = Instant::now();
        self.sink.check_what_waits(now);
        let mut started = FuturesUnordered::new();
        self.sink.start_attempts(&mut started, std::future::ready, now);
        self.sink.flush();
        started.into_iter().map(|ready| ready.into_inner()).collect()
    }

    /// Lets the sink take all answers of the store: it answers questions in their order.
    async fn ask_the_store(&mut self) {
        self.sink.flush();
        let parking = self.sink.parking.as_mut().unwrap();
        parking.claims.soon(Instant::now());
        self.sink.claim(Instant::now());
        while self.sink.parking.as_ref().unwrap().claims.is_under_way() {
            let message = Parking::next(&mut self.sink.parking).await;
            self.sink.handle_store_message(message, Instant::now());
        }
    }

    fn finish(&mut self, attempt: Attempt, status: u16) {
        let Attempt { members, permit } = attempt;
        let answer = Answer { status, retry_after: None, headers: Vec::new(), excerpt: String::new() };
        let verdict = AnswerRules::default().judge(answer, &AnswerBody::NotAskedFor, SystemTime::now());
        self.sink.finish_attempt(Attempted { members, permit, started: Instant::now(), verdict });
    }

    /// The numbers of those that have settled since this was last asked.
    fn settled(&mut self) -> Vec<u64> {
        let settlements = std::iter::from_fn(|| self.settlements.try_recv().ok());
        settlements.filter(|settlement| settlement.settled).map(|settlement| settlement.ticket.sequence).collect()
    }
}

fn sink(store: &Store, retry: &RetryConfig, breaker: Option<BreakerPolicy>) -> Running {
    let webhook: WebhookConfig = toml::from_str("url = \"http://127.0.0.1:9/\"").unwrap();
    let settings = SinkSettings {
        webhook: Arc::new(Webhook::new(&webhook, 8, HeaderMap::new(), AnswerRules::default()).unwrap()),
        concurrency: 8,
        retry: RetryPolicy::new(retry).unwrap(),
        rate: None,
        breaker,
        has_keyed_buckets: false,
    };
    let context = SinkContext { dead_letters: DeadLetters::in_store(store.clone()), shares_sources: false };
    let names = ("shop".into(), "crm".into());
    let opened = Some(store.open_sink("crm".into()));
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let (_, queue) = mpsc::unbounded_channel();
    Running::new(SinkWorker::new(names, settings, context, opened, None, NodeHealth::default(), shutdown), queue)
}

fn waits_of(wait: Duration) -> RetryConfig {
    let schedule = Some(vec![Period(wait); 9]);
    RetryConfig { schedule, jitter: Some(0.0), park_after: Some(Period(Duration::ZERO)), ..RetryConfig::default() }
}

fn breaker() -> Option<BreakerPolicy> {
    let config = BreakerConfig { failures: 2, open_for: Period(OPEN_FOR), ..BreakerConfig::default() };
    BreakerPolicy::new(&config).unwrap()
}

async fn claim((store, answers): &mut (SinkStore, mpsc::UnboundedReceiver<FromStore>)) -> Claimed {
    let claim = Claim { now: Timestamp::MAX, limit: 1000, except_buckets: Default::default(), only_replay: None };
    store.claim(claim);
    match answers.recv().await {
        Some(FromStore::Claimed(claimed)) => claimed,
        other => panic!("asked for deliveries, not for {other:?}"),
    }
}

fn ids(attempts: &[Attempt]) -> Vec<&str> {
    attempts.iter().map(id).collect()
}

fn id(attempt: &Attempt) -> &str {
    &attempt.members.first().core.event.id
}

#[tokio::test(start_paused = true)]
async fn a_breaker_probes_from_memory_while_the_store_is_full() {
    let mut site = Site::new(&waits_of(RETRY_WAIT), breaker());
    let filler = site.fill().await;
    (1..=2).for_each(|number| site.accept(number, None));
    site.round().into_iter().for_each(|attempt| site.finish(attempt, 503));
    site.accept(3, None);
    assert!(site.round().is_empty(), "the breaker is open");
    site.ask_the_store().await;
    assert!(site.settled().is_empty(), "nothing went to the store");

    tokio::time::advance(OPEN_FOR).await;
    let mut probes = site.round();
    assert_eq!(ids(&probes), ["3"], "the others wait for their own time");
    site.finish(probes.remove(0), 200);
    site.accept(4, None);
    let next = site.round();
    assert_eq!(ids(&next), ["4"], "the breaker is closed");
    next.into_iter().for_each(|attempt| site.finish(attempt, 200));
    assert_eq!(site.settled(), [3, 4]);
    drop(filler);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_without_room_ends_in_time_or_in_the_store() {
    let mut site = Site::new(&waits_of(RETRY_WAIT), None);
    let filler = site.fill().await;
    (1..=2).for_each(|number| site.accept(number, None));
    site.round().into_iter().for_each(|attempt| site.finish(attempt, 503));
    tokio::time::advance(RETRY_WAIT - Duration::from_secs(1)).await;
    assert!(site.round().is_empty(), "the wait is not undercut");
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut again = site.round();
    assert_eq!(ids(&again), ["1", "2"]);
    site.finish(again.remove(0), 200);
    site.finish(again.remove(0), 503);
    assert_eq!(site.settled(), [1]);

    site.make_room(filler).await;
    tokio::time::advance(CHECK_INTERVAL).await;
    assert!(site.round().is_empty());
    site.ask_the_store().await;
    assert_eq!(site.settled(), [2], "it is parked once there is room");
    assert!(site.sink.worker.schedule.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_lane_in_the_full_store_waits_in_memory_for_its_turn() {
    // The store goes by the clock on the wall, which no test can move.
    let mut site = Site::new(&waits_of(Duration::from_millis(1)), None);
    site.ask_the_store().await;
    site.accept(1, Some("a"));
    site.round().into_iter().for_each(|attempt| site.finish(attempt, 503));
    site.ask_the_store().await;
    assert_eq!(site.settled(), [1], "the head is parked");
    let filler = site.fill().await;
    (2..=3).for_each(|number| site.accept(number, Some("a")));
    site.accept(4, Some("b"));
    let mut attempts = Vec::new();
    while attempts.len() < 2 {
        site.ask_the_store().await;
        attempts.extend(site.round());
    }
    attempts.sort_by(|one, other| id(one).cmp(id(other)));
    assert_eq!(ids(&attempts), ["1", "4"], "other lanes go on");

    tokio::time::advance(CHECK_INTERVAL).await;
    assert!(site.round().is_empty());
    site.ask_the_store().await;
    assert!(site.round().is_empty(), "the head is under way");
    attempts.into_iter().for_each(|attempt| site.finish(attempt, 200));
    for number in 2..=3 {
        tokio::time::advance(CHECK_INTERVAL).await;
        let mut next = site.round();
        if next.is_empty() {
            site.ask_the_store().await;
            next = site.round();
        }
        assert_eq!(ids(&next), [number.to_string()]);
        next.into_iter().for_each(|attempt| site.finish(attempt, 200));
    }
    assert_eq!(site.settled(), [4, 2, 3]);
    drop(filler);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_at_the_end_of_a_run_stays_uncommitted() {
    let mut site = Site::new(&waits_of(RETRY_WAIT), None);
    let filler = site.fill().await;
    site.accept(1, None);
    site.round().into_iter().for_each(|attempt| site.finish(attempt, 503));
    site.sink.worker.shutdown.begin();
    site.sink.release_what_waits(Instant::now());
    assert!(site.sink.worker.schedule.is_empty());
    assert!(!site.settlements.try_recv().unwrap().settled);
    drop(filler);
}

#[tokio::test]
async fn what_is_parked_before_the_end_of_a_pause_is_known_does_not_wait_for_it() {
    let hour = Duration::from_secs(3600);
    let mut site = Site::with_room_for(u64::MAX, &waits_of(RETRY_WAIT), None);
    site.ask_the_store().await;
    site.sink.pause(&BucketName::default(), hour, Instant::now());
    site.accept(1, None);
    site.ask_the_store().await;
    assert_eq!(site.settled(), [1]);
    // A person ends the pause. Before the sink knows of it, another event comes, and yet another in the same moment.
    let resumed = SinkStates::open(&site.settings).await.unwrap().resume("crm").await.unwrap();
    assert_eq!((resumed.pauses, resumed.due), (1, 1));
    site.accept(2, None);
    site.round();
    site.accept(3, None);
    site.ask_the_store().await;
    site.ask_the_store().await;
    assert_eq!(ids(&site.round()).len(), 3, "none of them waits for the hour");
}

#[tokio::test]
async fn the_end_of_a_pause_takes_what_is_over_out_of_the_store() {
    let mut site = Site::with_room_for(u64::MAX, &waits_of(RETRY_WAIT), None);
    let pause = Duration::from_secs(61);
    site.sink.pause(&BucketName::default(), pause, Instant::now());
    // As it was kept a minute ago.
    let over = Pause { bucket: "over".into(), until: Timestamp::UNIX_EPOCH };
    site.sink.parking.as_ref().unwrap().keep_pause(over);
    assert_eq!(claim(&mut site.crm()).await.pauses.len(), 2);
    site.sink.end_pauses(Instant::now() + pause);
    assert_eq!(site.sink.pauses_text(), None);
    let left = claim(&mut site.crm()).await.pauses;
    assert_eq!(left.iter().map(|pause| &*pause.bucket).collect::<Vec<_>>(), [""], "by the store's clock");
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_an_attempt_holds_for_each_of_its_deliveries_and_once_for_its_receiver() {
    // One failure more than an attempt counts for would open the breaker.
    let retry = RetryConfig { park_after: Some(Period(RETRY_WAIT * 2)), ..waits_of(RETRY_WAIT) };
    let mut site = Site::with_room_for(u64::MAX, &retry, breaker());
    site.ask_the_store().await;
    (1..=3).for_each(|number| site.accept(number, None));
    let together = join(site.round());
    site.finish(together, 503);
    assert!(site.round().is_empty(), "each waits for its retry");
    tokio::time::advance(RETRY_WAIT).await;
    let again = site.round();
    assert_eq!(ids(&again), ["1", "2", "3"], "the breaker has counted one failure");
    let mut together = join(again);
    let made: Vec<u32> = together.members.iter_mut().map(|member| member.core.attempts.total).collect();
    assert_eq!(made, [1, 1, 1]);
    site.finish(together, 200);
    assert_eq!(site.settled(), [1, 2, 3]);
}

/// One attempt for the deliveries of all of these.
fn join(attempts: Vec<Attempt>) -> Attempt {
    let permit = attempts[0].permit;
    let deliveries = attempts.into_iter().flat_map(|attempt| attempt.members);
    Attempt { members: Members::new(deliveries).unwrap(), permit }
}
