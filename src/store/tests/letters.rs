//! Dead letters as the command line sees and changes them, beside a running store.

use std::collections::BTreeSet;

use sqlx::Row as _;

use super::*;
use crate::store::letters::{Cursor, LetterFilter, Letters};
use crate::store::replays::{Change, Fate, Progress, Row};

#[tokio::test]
async fn a_letter_that_cannot_be_read_hides_no_other() {
    let site = Site::sqlite();
    let mut letters = letters_of(&site, (0..3).map(|n| letter("sinks.crm", &n.to_string(), n)).collect()).await;
    for damage in [
        "UPDATE deliveries SET attempts = '' WHERE died = 0",
        "UPDATE deliveries SET reason = 'of-a-later-version', event_id = x'ff' WHERE died = 2000",
    ] {
        sqlx::query(damage).execute(letters.database.connection()).await.unwrap();
    }
    let page = letters.page(&filter(), &mut Cursor::default()).await.unwrap();
    let listed = letters.newest(&filter(), 9).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|letter| letter.id).collect();
    assert_eq!(listed.iter().map(|letter| &*letter.event_id).collect::<Vec<_>>(), ["\u{fffd}", "1", "0"]);
    assert_eq!(page.letters.iter().map(|letter| letter.core.row).collect::<Vec<_>>(), [Some(ids[1])]);
    assert_eq!(page.damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ids[2], ids[0]]);
}

#[tokio::test]
async fn all_conditions_of_a_filter_must_hold() {
    filtered(Site::sqlite()).await;
}

pub(super) async fn filtered(site: Site) {
    let keyed = |id: &str, key: &str, seconds| {
        let mut letter = letter("sinks.crm", id, seconds);
        Arc::make_mut(&mut letter.core.event).key = Some(key.to_owned());
        letter
    };
    let mut undecodable = letter("filters.paid", "d", 40);
    undecodable.reason = Reason::Undecodable;
    let rows = vec![keyed("a", "x'; --", 10), keyed("b", "y", 20), letter("sinks.log", "c", 30), undecodable];
    let mut letters = letters_of(&site, rows).await;
    assert_eq!(ids(&mut letters, &filter()).await, ["d", "c", "b", "a"]);
    let node = LetterFilter { node: Some("sinks.crm".into()), ..filter() };
    assert_eq!(ids(&mut letters, &node).await, ["b", "a"]);
    let key = LetterFilter { key: Some("x'; --".into()), ..node.clone() };
    assert_eq!(ids(&mut letters, &key).await, ["a"]);
    let reasons = LetterFilter { reasons: vec![Reason::Undecodable, Reason::Lost], ..filter() };
    assert_eq!(ids(&mut letters, &reasons).await, ["d"]);
    let time = LetterFilter { since: Some(at(20)), until: Some(at(40)), ..filter() };
    assert_eq!(ids(&mut letters, &time).await, ["c", "b"]);
    assert_eq!(letters.count(&time).await.unwrap(), 2);
    assert_eq!(ids(&mut letters, &time.before(at(30))).await, ["b"]);
    let first = letters.newest(&key, 1).await.unwrap()[0].id;
    assert_eq!(ids(&mut letters, &LetterFilter { ids: vec![first, 999], ..filter() }).await, ["a"]);
    letters.pipeline = "another".to_owned();
    assert_eq!(letters.count(&filter()).await.unwrap(), 0);
    assert!(letters.get(first).await.unwrap().is_none(), "letters of other pipelines are nobody's business");
}

#[tokio::test]
async fn pages_show_every_letter_once() {
    paged(Site::sqlite()).await;
}

pub(super) async fn paged(site: Site) {
    // More than two pages, many of one time.
    let rows = (0..150).map(|n| letter("sinks.crm", &n.to_string(), n / 40)).collect();
    let mut letters = letters_of(&site, rows).await;
    let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
    loop {
        let page = letters.page(&filter(), &mut cursor).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.letters.len() < 150, "a page is bounded");
        seen.extend(page.letters.into_iter().map(|letter| letter.core.event.id.clone()));
    }
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (150, 150));
}

#[tokio::test]
async fn what_is_purged_counts_no_more() {
    purged(Site::sqlite()).await;
}

pub(super) async fn purged(site: Site) {
    let rows = (0..5).map(|n| letter("sinks.crm", &n.to_string(), n)).collect();
    let mut letters = letters_of(&site, rows).await;
    let before = letters.bytes().await;
    assert_eq!(before.0, before.1);
    let old = LetterFilter { until: Some(at(3)), ..filter() };
    assert_eq!(letters.purge_some(&old).await.unwrap(), 3);
    assert_eq!(letters.purge_some(&old).await.unwrap(), 0);
    assert_eq!(ids(&mut letters, &filter()).await, ["4", "3"]);
    let after = letters.bytes().await;
    assert_eq!(after.0, after.1);
    assert!(after.0 > 0 && after.0 < before.0, "{before:?} {after:?}");
}

#[tokio::test]
async fn a_letter_becomes_a_delivery_in_its_row_once() {
    replayed_in_place(Site::sqlite()).await;
}

pub(super) async fn replayed_in_place(site: Site) {
    let mut letters = letters_of(&site, vec![letter("sinks.crm", "a", 1)]).await;
    let dead = letters.all().await.remove(0);
    let first = StoredRequest { url: "http://h/first".into(), headers: vec![], body: "\0\u{ff}".into() };
    let change = || {
        let (node, first_request) = (NodeName::sink("crm"), Some(first.clone()));
        let fate = Fate::Delivery { node, delivery: delivery_of(&dead, 100), first_request };
        vec![Change { letter: dead.core.row.unwrap(), fate }]
    };
    assert_eq!(letters.change(change(), "r1").await.unwrap(), 1);
    assert_eq!(letters.change(change(), "r2").await.unwrap(), 0, "it is no letter any more");
    assert_eq!(letters.all().await.len(), 0);
    let kept = sqlx::query("SELECT first_request FROM deliveries").fetch_one(letters.database.connection()).await;
    let kept = crate::store::event_row::request_from_json(kept.unwrap().get(0)).unwrap();
    assert!(kept == first, "the first request is another one");
    let (booked, there) = letters.bytes().await;
    assert_eq!(booked, there);

    let pending = Progress { pending: 1, ..Progress::default() };
    assert_eq!(letters.progress("r1", at(100)).await.unwrap(), pending);
    assert_eq!(letters.progress("r2", at(100)).await.unwrap(), Progress::default());
    let waiting = Progress { waiting: 1, ..Progress::default() };
    assert_eq!(letters.progress("r1", at(99)).await.unwrap(), waiting, "it is due later");
    let disable = "INSERT INTO disabled_sinks VALUES ('shop', 'crm', 0, 'gone')";
    sqlx::query(disable).execute(letters.database.connection()).await.unwrap();
    assert_eq!(letters.progress("r1", at(100)).await.unwrap(), waiting, "nobody attempts it now");
    letters.forget_replay("r1").await.unwrap();
    assert_eq!(letters.progress("r1", at(100)).await.unwrap(), Progress::default());
}

#[tokio::test]
async fn a_letter_that_goes_on_leaves_its_row_to_others() {
    replayed_onwards(Site::sqlite()).await;
}

pub(super) async fn replayed_onwards(site: Site) {
    let rows = vec![letter("filters.paid", "a", 1), letter("sinks.log", "a", 2), letter("sinks.crm", "b", 3)];
    let mut letters = letters_of(&site, rows).await;
    let dead = letters.all().await;
    // The event has come to `log` on another path, and has died there.
    let rows = vec![
        Row::Delivery(NodeName::sink("log"), delivery_of(&dead[0], 100)),
        Row::Letter(Box::new(letter("sinks.crm", "a", 4))),
    ];
    let mut still_dead = dead[2].clone();
    still_dead.message = "cannot render".to_owned();
    let changes = vec![
        Change { letter: dead[0].core.row.unwrap(), fate: Fate::Rows(rows) },
        Change { letter: dead[2].core.row.unwrap(), fate: Fate::Letter(Box::new(still_dead)) },
    ];
    assert_eq!(letters.change(changes, "r").await.unwrap(), 1);
    let (booked, there) = letters.bytes().await;
    assert_eq!(booked, there);
    let left = letters.all().await;
    let left: Vec<_> = left.iter().map(|letter| (letter.node.name().as_ref(), letter.message.as_str())).collect();
    let answered = "the receiver answered 400";
    assert_eq!(left, [("log", answered), ("crm", "cannot render"), ("crm", answered)]);
    let copy = sqlx::query("SELECT copy FROM deliveries WHERE state = 'parked'");
    let copy: i64 = copy.fetch_one(letters.database.connection()).await.unwrap().get(0);
    assert_eq!(copy, 1);
}

#[tokio::test]
async fn letters_of_events_that_share_an_id_go_their_own_ways() {
    shared_ids(Site::sqlite()).await;
}

pub(super) async fn shared_ids(site: Site) {
    let saying = |node: &str, payload: &'static str, seconds| {
        let mut letter = letter(node, "a", seconds);
        Arc::make_mut(&mut letter.core.event).payload = Some(payload.into());
        letter
    };
    let rows =
        vec![saying("filters.paid", "one", 1), saying("filters.paid", "two", 2), saying("sinks.log", "three", 3)];
    let mut letters = letters_of(&site, rows).await;
    let dead = letters.all().await;
    // Both go on from the filter to one sink, where another event of this id has died.
    let onwards = |letter: &Letter| Change {
        letter: letter.core.row.unwrap(),
        fate: Fate::Rows(vec![Row::Delivery(NodeName::sink("log"), delivery_of(letter, 100))]),
    };
    assert_eq!(letters.change(dead[..2].iter().map(onwards).collect(), "r").await.unwrap(), 2);
    let left = letters.all().await;
    assert_eq!(left.iter().map(|letter| letter.core.row).collect::<Vec<_>>(), [dead[2].core.row]);
    let copies = sqlx::query("SELECT payload, copy FROM deliveries WHERE state = 'parked' ORDER BY payload");
    let copies = copies.fetch_all(letters.database.connection()).await.unwrap();
    let copies: Vec<(Vec<u8>, i64)> = copies.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(copies, [(b"one".to_vec(), 0), (b"two".to_vec(), 0)]);
    let one = LetterFilter { ids: vec![left[0].core.row.unwrap()], ..filter() };
    assert_eq!(letters.purge_some(&one).await.unwrap(), 1);
    let (booked, there) = letters.bytes().await;
    assert_eq!(booked, there);
}

#[tokio::test]
async fn a_free_copy_is_found_though_the_last_one_is_taken() {
    let site = Site::sqlite();
    let mut last = letter("sinks.log", "a", 1);
    last.core.copy = u32::MAX;
    let mut letters = letters_of(&site, vec![last, letter("filters.paid", "a", 2)]).await;
    let dead = letters.all().await;
    let mut delivery = delivery_of(&dead[1], 100);
    delivery.core.copy = u32::MAX;
    let fate = Fate::Rows(vec![Row::Delivery(NodeName::sink("log"), delivery)]);
    assert_eq!(letters.change(vec![Change { letter: dead[1].core.row.unwrap(), fate }], "r").await.unwrap(), 1);
}

fn filter() -> LetterFilter {
    LetterFilter::default()
}

async fn ids(letters: &mut Letters, filter: &LetterFilter) -> Vec<String> {
    letters.newest(filter, 10).await.unwrap().into_iter().map(|letter| letter.event_id).collect()
}

/// A letter of the event `id`, given up so many seconds after 1970.
fn letter(node: &str, id: &str, seconds: i64) -> Letter {
    let event = Event {
        id: id.to_owned(),
        time: Timestamp::UNIX_EPOCH,
        source: "lines".into(),
        key: None,
        headers: Vec::new(),
        meta: Vec::new(),
        payload: Some(Bytes::from_static(b"{\"n\":1}")),
        format: Format::Json,
        content_type: None,
    };
    Letter {
        core: DeliveryCore::new(Arc::new(event), 0),
        node: node.parse().unwrap(),
        reason: Reason::Rejected,
        message: "the receiver answered 400".to_owned(),
        time: Timestamp::from_second(seconds).unwrap(),
        request: None,
        first_request: None,
        shown: None,
    }
}

/// The letters of a store that was given these.
async fn letters_of(site: &Site, rows: Vec<Letter>) -> Letters {
    let (mut settlements, acks) = acks(rows.len());
    for (letter, ack) in rows.into_iter().zip(acks) {
        site.store().bury(letter, Some(ack));
    }
    all_settled(&mut settlements).await;
    Letters::open(&site.settings).await.unwrap()
}

impl Letters {
    /// The store's size as it is booked, and as it is.
    async fn bytes(&mut self) -> (i64, i64) {
        let text = "SELECT (SELECT CAST(sum(bytes) AS BIGINT) FROM replicas), \
                    (SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM deliveries)";
        let row = sqlx::query(text).fetch_one(self.database.connection()).await.unwrap();
        (row.get(0), row.get(1))
    }

    async fn all(&mut self) -> Vec<Letter> {
        self.page(&LetterFilter::default(), &mut Cursor::default()).await.unwrap().letters
    }
}

pub(super) fn delivery_of(letter: &Letter, due: i64) -> Box<StoredDelivery> {
    let request = StoredRequest { url: "http://h/".into(), headers: vec![], body: "longer than it was".into() };
    let core = DeliveryCore { bucket: Arc::default(), lane: None, ..letter.core.clone() };
    Box::new(StoredDelivery { core, request, due: Timestamp::from_second(due).unwrap() })
}
