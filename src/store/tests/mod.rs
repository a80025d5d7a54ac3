//! The store as its users see it, on both databases: what is kept, handed out, counted and held.

mod age_limit;
mod claims;
mod keeping;
mod lanes;
mod letters;
mod opening;
mod pauses;
mod postgres;
mod resting;
mod room;
#[path = "../../../tests/it/support/small_disk.rs"]
mod small_disk;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::config::{Location, StoreSettings};
use super::database::Database;
use super::handle::{Claim, Claimed, FromStore};
use super::record::{
    AttemptLog, AttemptRecord, DeliveryCore, Letter, Reason, RequestRecord, StoredDelivery, StoredRequest,
};
use super::row::{LETTER_COLUMNS, letter as read_letter};
use super::running::{RunningStore, UnopenedStore};
use super::threads::wait_for;
use super::{SinkStore, Store, StoreError};
use crate::ack::{Ack, Settlement, SettlementReceiver, Ticket};
use crate::event::{Event, Format, MetaValue};
use crate::node::NodeName;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place for stores, and one that is open.
struct Site {
    settings: StoreSettings,
    running: Option<RunningStore>,
    store: Option<Store>,
    /// Where an SQLite file is; removed at the end.
    _folder: Option<TempDir>,
}

/// A sink's side of a store.
struct Sink {
    handle: SinkStore,
    answers: UnboundedReceiver<FromStore>,
}

impl Site {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(folder.path().join("state/store.db"));
        Self::open(Self::settings(location), Some(folder))
    }

    fn settings(location: Location) -> StoreSettings {
        StoreSettings {
            location,
            pipeline: "shop".to_owned(),
            max_size: u64::MAX,
            lease: Duration::from_secs(30),
            keep_dead_letters: None,
        }
    }

    fn open(settings: StoreSettings, folder: Option<TempDir>) -> Self {
        let mut site = Self { settings, running: None, store: None, _folder: folder };
        site.start();
        site
    }

    fn start(&mut self) {
        let (store, unopened) = UnopenedStore::new(self.settings.clone());
        self.running = Some(opened(unopened).unwrap());
        self.store = Some(store);
    }

    /// Ends the store in order; sinks must be gone.
    fn stop(&mut self) {
        self.store = None;
        wait_for(self.running.take().unwrap().ended()).unwrap();
    }

    /// True when several stores may be open on it at once.
    fn is_shared(&self) -> bool {
        matches!(self.settings.location, Location::Postgres(_))
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn sink(&self, name: &str) -> Sink {
        let (handle, answers) = self.store().open_sink(name.into());
        Sink { handle, answers }
    }

    async fn database(&self) -> Database {
        Database::connect(&self.settings).await.unwrap()
    }

    /// All dead letters of the pipeline.
    async fn letters(&self) -> Vec<Letter> {
        let mut database = self.database().await;
        let sql = format!("SELECT {LETTER_COLUMNS} FROM deliveries WHERE pipeline = $1 AND state = 'dead' ORDER BY id");
        let query = super::work::statement(sql).bind("shop");
        let rows = query.fetch_all(database.connection()).await.unwrap();
        rows.iter().map(|row| read_letter(row).unwrap()).collect()
    }

    /// A number out of the database.
    async fn number(&self, sql: &'static str) -> i64 {
        let mut database = self.database().await;
        sqlx::query_scalar(sql).fetch_one(database.connection()).await.unwrap()
    }
}

impl Sink {
    /// The next answer; that others have changed the store is none.
    async fn answer(&mut self) -> FromStore {
        loop {
            match self.said().await {
                FromStore::Changed => {}
                answer => return answer,
            }
        }
    }

    async fn said(&mut self) -> FromStore {
        timeout(PATIENCE, self.answers.recv()).await.expect("the store answers").expect("the store is there")
    }

    async fn claim(&mut self, claim: Claim) -> Claimed {
        self.handle.claim(claim);
        match self.answer().await {
            FromStore::Claimed(claimed) => claimed,
            other => panic!("asked for deliveries, not for {other:?}"),
        }
    }

    /// Claims all that is due at a time.
    async fn due(&mut self, second: i64) -> Claimed {
        self.claim(claim_at(second)).await
    }

    async fn has_lane(&mut self, lane: &str) -> bool {
        self.handle.ask_lanes(vec![lane.into()]);
        match self.answer().await {
            FromStore::Lanes(lanes) => lanes == [(lane.into(), true)],
            other => panic!("asked for lanes, not for {other:?}"),
        }
    }

    /// Parks deliveries and waits until they are kept.
    async fn park(&self, deliveries: Vec<StoredDelivery>) {
        let (mut settlements, mut acks) = acks(deliveries.len());
        self.handle.park(deliveries.into_iter().map(|delivery| (delivery, acks.pop())).collect());
        all_settled(&mut settlements).await;
    }
}

/// Opens a store, for callers that are not asynchronous.
fn opened(unopened: UnopenedStore) -> Result<RunningStore, StoreError> {
    wait_for(unopened.open()).map_err(|failed| failed.1)
}

/// Acks, and where they are settled.
fn acks(count: usize) -> (SettlementReceiver, Vec<Ack>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let ticket = |sequence: usize| Ticket { session: 0, partition: 0, sequence: sequence as u64 };
    (receiver, (0..count).map(|sequence| Ack::new(ticket(sequence), 0, sender.clone())).collect())
}

async fn settlement(settlements: &mut SettlementReceiver) -> Option<Settlement> {
    timeout(PATIENCE, settlements.recv()).await.expect("acks settle or fail")
}

/// Waits until every ack has been settled.
async fn all_settled(settlements: &mut SettlementReceiver) {
    while let Some(settlement) = settlement(settlements).await {
        assert!(settlement.settled, "an ack was dropped");
    }
}

/// Waits until a condition holds that nobody announces.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, holds).await.expect(what);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn claim_at(second: i64) -> Claim {
    Claim { now: at(second), limit: 1000, except_buckets: HashSet::new(), only_replay: None }
}

fn event(id: &str) -> Event {
    Event {
        id: id.to_owned(),
        time: at(1),
        source: "orders".into(),
        key: None,
        headers: Vec::new(),
        meta: Vec::new(),
        payload: Some(Bytes::from_static(b"{}")),
        format: Format::Json,
        content_type: None,
    }
}

/// A delivery that is due at a second.
fn delivery(id: &str, second: i64) -> StoredDelivery {
    let event = event(id);
    StoredDelivery {
        request: StoredRequest {
            url: "http://127.0.0.1/".to_owned(),
            headers: Vec::new(),
            body: event.payload.clone().unwrap(),
        },
        core: DeliveryCore { attempts: attempts(1), ..DeliveryCore::new(Arc::new(event), 0) },
        due: at(second),
    }
}

fn in_lane(lane: &str, id: &str, second: i64) -> StoredDelivery {
    changed(delivery(id, second), |core| core.lane = Some(lane.into()))
}

/// A delivery with another core.
fn changed(mut delivery: StoredDelivery, change: impl FnOnce(&mut DeliveryCore)) -> StoredDelivery {
    change(&mut delivery.core);
    delivery
}

/// A log of some attempts, one a second.
fn attempts(count: u32) -> AttemptLog {
    let records = (0..count)
        .map(|index| AttemptRecord::answered(at(i64::from(index)), Duration::from_millis(7), 503, "try later"));
    AttemptLog { total: count, round: count, first: Some(at(0)), records: records.collect() }
}

/// The letter that a delivery becomes.
fn letter(delivery: StoredDelivery, reason: Reason) -> Letter {
    Letter {
        core: delivery.core,
        node: NodeName::sink("crm"),
        reason,
        message: "the receiver answered 400".to_owned(),
        time: at(9),
        request: Some(delivery.request),
        first_request: None,
        shown: Some(RequestRecord {
            method: "POST".to_owned(),
            url: "http://127.0.0.1/".to_owned(),
            headers: serde_json::Map::new(),
            body: None,
        }),
    }
}

fn ids(deliveries: &[StoredDelivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.core.event.id.as_str()).collect()
}

/// An event and a request with everything in them that is out of the ordinary.
fn odd_delivery() -> StoredDelivery {
    let event = Event {
        id: "orders/0/\0/7".to_owned(),
        time: "2024-02-29T23:59:59.123456789Z".parse().unwrap(),
        source: "orders".into(),
        key: Some("a\0b\u{1f600}".to_owned()),
        headers: vec![("trace".to_owned(), json!("a\0")), ("trace".to_owned(), json!([1, {"b": null}]))],
        meta: vec![
            ("topic".into(), MetaValue::Text("orders".into())),
            ("offset".into(), MetaValue::Integer(i64::MIN)),
            ("more".into(), MetaValue::Json(json!({"deep": [true, 1.5]}))),
        ],
        payload: None,
        format: Format::Bytes,
        content_type: Some("text/x-odd".to_owned()),
    };
    StoredDelivery {
        core: DeliveryCore {
            bucket: "tenant\0one".into(),
            lane: Some("customer\0one".into()),
            attempts: attempts(3),
            ..DeliveryCore::new(Arc::new(event), u32::MAX)
        },
        request: StoredRequest {
            url: "https://example.com/a%20b?c=%00".to_owned(),
            headers: vec![
                ("x-bytes".to_owned(), vec![0xff, 0x20, 0xfe]),
                ("x-text".to_owned(), "grün".as_bytes().to_vec()),
            ],
            body: Bytes::new(),
        },
        due: at(5),
    }
}

fn assert_same(found: &StoredDelivery, expected: &StoredDelivery) {
    assert_eq!(*found.core.event, *expected.core.event);
    assert!(found.request == expected.request, "the request is another one");
    assert_eq!(
        (found.core.copy, &found.core.bucket, &found.core.lane),
        (expected.core.copy, &expected.core.bucket, &expected.core.lane)
    );
    assert_eq!((&found.core.attempts, found.due), (&expected.core.attempts, expected.due));
}
