//! What is kept, and what becomes of it.

use super::*;
use crate::store::StoreError;
use crate::store::sinks::SinkStates;

#[tokio::test]
async fn a_delivery_comes_back_as_it_was() {
    comes_back(Site::sqlite()).await;
}

pub(super) async fn comes_back(site: Site) {
    let mut sink = site.sink("crm");
    let with_body = StoredDelivery {
        request: StoredRequest { body: Bytes::from_static(b"\0rendered\xff"), ..delivery("b", 6).request },
        ..delivery("b", 6)
    };
    let expected = [odd_delivery(), with_body, delivery("payload-as-body", 7)];
    sink.park(expected.to_vec()).await;

    let claimed = sink.due(10).await;
    assert_eq!(claimed.deliveries.len(), 3);
    for (found, expected) in claimed.deliveries.iter().zip(&expected) {
        assert_same(found, expected);
        assert!(found.core.row.is_some());
    }
    assert_eq!(site.number("SELECT COUNT(*) FROM deliveries WHERE body_is_payload = 1").await, 1);
}

#[tokio::test]
async fn a_letter_comes_back_as_it_was() {
    letter_comes_back(Site::sqlite()).await;
}

pub(super) async fn letter_comes_back(site: Site) {
    let (mut settlements, mut acks) = acks(2);
    let expected = Letter { message: "NUL \0 within".to_owned(), ..letter(odd_delivery(), Reason::Rejected) };
    let unrendered = Letter {
        request: None,
        shown: None,
        node: NodeName::source("orders"),
        ..letter(delivery("unrendered", 0), Reason::Undecodable)
    };
    site.store().bury(expected.clone(), acks.pop());
    site.store().bury(unrendered, acks.pop());
    all_settled(&mut settlements).await;

    let letters = site.letters().await;
    let found = &letters[0];
    assert_eq!(*found.core.event, *expected.core.event);
    assert!(found.request == expected.request, "the request is another one");
    assert_eq!((&found.shown, &found.core.attempts), (&expected.shown, &expected.core.attempts));
    assert_eq!((found.reason, found.time, &found.node), (expected.reason, expected.time, &expected.node));
    assert_eq!(
        (found.core.copy, &found.core.bucket, &found.core.lane),
        (expected.core.copy, &expected.core.bucket, &expected.core.lane)
    );
    assert_eq!(found.message, "NUL \u{fffd} within");
    assert!(letters[1].request.is_none() && letters[1].shown.is_none());
    assert_eq!((letters[1].node.to_string(), letters[1].reason), ("sources.orders".to_owned(), Reason::Undecodable));
}

#[tokio::test]
async fn what_waits_together_is_kept_together_and_settles_once() {
    kept_together(Site::sqlite()).await;
}

pub(super) async fn kept_together(site: Site) {
    let mut sink = site.sink("crm");
    let (mut settlements, acks) = acks(1000);
    for (index, ack) in acks.into_iter().enumerate() {
        sink.handle.park(vec![(delivery(&format!("e-{index}"), 5), Some(ack))]);
    }
    all_settled(&mut settlements).await;
    let claimed = sink.due(5).await;
    let found: HashSet<&str> = ids(&claimed.deliveries).into_iter().collect();
    assert_eq!(found.len(), 1000);
}

#[tokio::test]
async fn the_sinks_that_deliveries_wait_for_are_known() {
    sinks_with_parked(Site::sqlite()).await;
}

pub(super) async fn sinks_with_parked(mut site: Site) {
    for name in ["mail", "crm"] {
        site.sink(name).park(vec![in_lane("k", "a", 5), in_lane("k", "b", 5)]).await;
    }
    site.store().bury(letter(delivery("c", 0), Reason::Rejected), None);
    site.stop();
    site.start();
    assert_eq!(site.running.as_ref().unwrap().sinks_with_parked(), ["crm", "mail"]);
    let mut states = SinkStates::open(&site.settings).await.unwrap();
    let parked: Vec<_> = states.all().await.unwrap().into_iter().map(|(name, state)| (name, state.parked)).collect();
    assert_eq!(parked, [("crm".to_owned(), 2), ("mail".to_owned(), 2)]);
}

#[tokio::test]
async fn an_event_that_is_read_twice_is_kept_once() {
    kept_once(Site::sqlite()).await;
}

pub(super) async fn kept_once(site: Site) {
    let mut sink = site.sink("crm");
    let again = changed(delivery("a", 9), |core| core.attempts = attempts(2));
    // The same event within one group, and in a later one; another copy of it and another sink's are others.
    sink.park(vec![delivery("a", 5), again.clone()]).await;
    sink.park(vec![again, changed(delivery("a", 6), |core| core.copy = 1), delivery("b", 7)]).await;
    let other = site.sink("mail");
    other.park(vec![delivery("a", 5)]).await;

    let claimed = sink.due(10).await;
    assert_eq!(ids(&claimed.deliveries), ["a", "a", "b"]);
    assert_eq!(claimed.deliveries[0].core.attempts, attempts(1), "the row that was there stays as it is");
    assert_eq!(claimed.deliveries[1].core.copy, 1);
}

/// A delivery of an event that shares its id with others, as publishers and topics that were made anew have it.
fn saying(payload: &'static str, second: i64) -> StoredDelivery {
    let event = Arc::new(Event { payload: Some(payload.into()), ..event("a") });
    changed(delivery("a", second), |core| core.event = event)
}

fn payloads<'e>(events: impl IntoIterator<Item = &'e Arc<Event>>) -> Vec<&'e str> {
    events.into_iter().map(|event| std::str::from_utf8(event.payload.as_ref().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn events_that_share_an_id_are_parked_beside_each_other() {
    parked_beside(Site::sqlite()).await;
}

pub(super) async fn parked_beside(site: Site) {
    let mut sink = site.sink("crm");
    // Within one group, in later ones, and read again after a crash.
    sink.park(vec![saying("one", 5), saying("two", 5), saying("one", 5)]).await;
    sink.park(vec![saying("three", 5)]).await;
    sink.park(vec![saying("three", 5), saying("two", 5)]).await;
    let claimed = sink.due(5).await.deliveries;
    assert_eq!(payloads(claimed.iter().map(|delivery| &delivery.core.event)), ["one", "two", "three"]);
    let (one, two) = (claimed[0].clone(), claimed[1].clone());
    sink.handle.finish(one.core.row.unwrap());
    sink.handle.bury(letter(two, Reason::Rejected), None);
    sink.handle.reschedule(claimed[2].core.row.unwrap(), at(7), attempts(2));
    assert_eq!(payloads(sink.due(7).await.deliveries.iter().map(|delivery| &delivery.core.event)), ["three"]);
    assert_eq!(payloads(site.letters().await.iter().map(|letter| &letter.core.event)), ["two"]);

    // In a lane they keep their order.
    let in_lane = |payload, second| changed(saying(payload, second), |core| core.lane = Some("k".into()));
    let mut mail = site.sink("mail");
    mail.park(vec![in_lane("one", 5), in_lane("two", 5)]).await;
    mail.park(vec![in_lane("three", 5)]).await;
    for payload in ["one", "two", "three"] {
        let claimed = mail.due(i64::from(u32::MAX)).await.deliveries;
        assert_eq!(payloads(claimed.iter().map(|delivery| &delivery.core.event)), [payload]);
        mail.handle.finish(claimed[0].core.row.unwrap());
    }
    // What is asked later is answered later.
    site.store().load_checkpoint("any".into()).await.unwrap();
    assert_sizes_add_up(&site).await;
}

#[tokio::test]
async fn events_that_share_an_id_die_beside_each_other() {
    dead_beside(Site::sqlite()).await;
}

pub(super) async fn dead_beside(site: Site) {
    let sink = site.sink("crm");
    let bury = async |payloads: &[&'static str]| {
        let (mut settlements, acks) = acks(payloads.len());
        for (payload, ack) in payloads.iter().zip(acks) {
            sink.handle.bury(letter(saying(payload, 0), Reason::Rejected), Some(ack));
        }
        all_settled(&mut settlements).await;
    };
    bury(&["one", "two"]).await;
    bury(&["three"]).await;
    let tombstone = Arc::new(Event { payload: None, ..event("a") });
    let tombstone = changed(delivery("a", 0), |core| core.event = tombstone);
    site.store().bury(letter(tombstone, Reason::Rejected), None);
    let later = AttemptRecord::answered(at(50), Duration::ZERO, 400, "no");
    let later = AttemptLog { total: 1, round: 1, first: Some(at(50)), records: vec![later] };
    let again = letter(changed(saying("two", 0), |core| core.attempts = later), Reason::Rejected);
    site.store().bury(again, None);
    site.store().load_checkpoint("any".into()).await.unwrap();
    let letters = site.letters().await;
    assert_eq!(payloads(letters[..3].iter().map(|letter| &letter.core.event)), ["one", "two", "three"]);
    let attempts: Vec<u32> = letters.iter().map(|letter| letter.core.attempts.total).collect();
    assert_eq!((letters[3].core.event.payload.as_ref(), attempts), (None, vec![1, 2, 1, 1]));

    // One is parked again, as its event is read again; the others stay letters.
    sink.park(vec![saying("two", 5)]).await;
    assert_eq!(payloads(site.letters().await[..2].iter().map(|letter| &letter.core.event)), ["one", "three"]);
    assert_sizes_add_up(&site).await;
}

#[tokio::test]
async fn the_request_of_the_first_attempts_outlives_later_ones() {
    first_request(Site::sqlite()).await;
}

pub(super) async fn first_request(site: Site) {
    let mut sink = site.sink("crm");
    let rendered = |body: &'static [u8]| StoredRequest { body: body.into(), ..odd_delivery().request };
    let with = |body| StoredDelivery { request: rendered(body), ..delivery("a", 5) };
    let kept = async |delivery: StoredDelivery| {
        let (mut settlements, mut acks) = acks(1);
        site.store().bury(letter(delivery, Reason::Rejected), acks.pop());
        all_settled(&mut settlements).await;
        site.letters().await.remove(0)
    };
    let first = kept(with(b"first\xff\0")).await;
    assert!(first.first_request.is_none() && first.first_sent() == Some(&rendered(b"first\xff\0")));
    // Read again, and rendered anew, as a letter and as a delivery that is parked and dies.
    let second = kept(changed(with(b"second"), |core| core.attempts = AttemptLog::default())).await;
    assert!(second.request == Some(rendered(b"second")) && second.first_request == Some(rendered(b"first\xff\0")));
    sink.park(vec![with(b"third")]).await;
    assert_sizes_add_up(&site).await;
    let claimed = sink.due(5).await.deliveries.remove(0);
    assert_eq!(claimed.request, rendered(b"third"));
    let third = kept(claimed).await;
    assert!(third.request == Some(rendered(b"third")) && third.first_sent() == Some(&rendered(b"first\xff\0")));
    let same_again = kept(with(b"first\xff\0")).await;
    assert!(same_again.first_request.is_none(), "it is not kept twice");
    assert_sizes_add_up(&site).await;
}

#[tokio::test]
async fn rescheduling_keeps_the_attempts_and_finishing_forgets_them() {
    rescheduled_and_finished(Site::sqlite()).await;
}

pub(super) async fn rescheduled_and_finished(site: Site) {
    let mut sink = site.sink("crm");
    sink.park((0..70).map(|index| delivery(&format!("e-{index:02}"), 5)).collect()).await;
    let claimed = sink.due(5).await;
    let rows: Vec<_> = claimed.deliveries.iter().map(|delivery| delivery.core.row.unwrap()).collect();
    for row in &rows {
        sink.handle.reschedule(*row, at(20), attempts(4));
    }
    let waiting = sink.due(19).await;
    assert_eq!((waiting.deliveries.len(), waiting.next_due), (0, Some(at(20))));
    let claimed = sink.due(20).await;
    assert_eq!(claimed.deliveries.iter().map(|delivery| delivery.core.row.unwrap()).collect::<Vec<_>>(), rows);
    assert!(claimed.deliveries.iter().all(|delivery| delivery.core.attempts == attempts(4)));
    for row in rows {
        sink.handle.finish(row);
    }
    let nothing = sink.due(100).await;
    assert_eq!((nothing.deliveries.len(), nothing.next_due, nothing.has_lanes), (0, None, false));
    assert_eq!(site.number("SELECT COUNT(*) FROM deliveries").await, 0);
    assert_eq!(site.number("SELECT CAST(SUM(bytes) AS BIGINT) FROM replicas").await, 0);
}

#[tokio::test]
async fn a_delivery_is_one_row_for_life() {
    one_row_for_life(Site::sqlite()).await;
}

pub(super) async fn one_row_for_life(site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    let parked = sink.due(5).await.deliveries.remove(0);
    let row = parked.core.row;
    let given_up = changed(parked, |core| core.attempts = attempts(2));
    sink.handle.bury(letter(given_up, Reason::Rejected), None);
    assert_eq!(sink.due(99).await.deliveries.len(), 0);
    let letters = site.letters().await;
    assert_eq!((letters[0].core.row, &letters[0].core.attempts), (row, &attempts(2)));

    // Read and given up once more: one letter with more attempts. The same news twice is no news.
    let late = AttemptRecord::answered(at(50), Duration::ZERO, 400, "no");
    let later = AttemptLog { total: 1, round: 1, first: Some(at(50)), records: vec![late] };
    for _ in 0..2 {
        let again = letter(changed(delivery("a", 0), |core| core.attempts = later.clone()), Reason::RetriesExhausted);
        let (mut settlements, mut acks) = acks(1);
        sink.handle.bury(again, acks.pop());
        all_settled(&mut settlements).await;
    }
    let letters = site.letters().await;
    assert_eq!((letters.len(), letters[0].core.row, letters[0].reason), (1, row, Reason::RetriesExhausted));
    assert_eq!(
        (letters[0].core.attempts.total, letters[0].core.attempts.round, letters[0].core.attempts.records.len()),
        (3, 1, 3)
    );

    // Read and parked once more: parked again, in its place.
    sink.park(vec![delivery("a", 60)]).await;
    assert_eq!(site.letters().await.len(), 0);
    let claimed = sink.due(60).await;
    assert_eq!((claimed.deliveries[0].core.row, &claimed.deliveries[0].core.attempts), (row, &attempts(1)));
    assert_sizes_add_up(&site).await;
}

#[tokio::test]
async fn a_letter_of_a_parked_delivery_leaves_it_parked() {
    let site = Site::sqlite();
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    let (mut settlements, mut acks) = acks(1);
    sink.handle.bury(letter(delivery("a", 5), Reason::Rejected), acks.pop());
    all_settled(&mut settlements).await;
    assert_eq!(site.letters().await.len(), 0);
    assert_eq!(ids(&sink.due(5).await.deliveries), ["a"]);
}

/// The size that is booked is that of the rows, and that of a row is what it holds.
pub(super) async fn assert_sizes_add_up(site: &Site) {
    let booked = site.number("SELECT CAST(SUM(bytes) AS BIGINT) FROM replicas").await;
    assert_eq!(booked, site.number("SELECT CAST(SUM(size) AS BIGINT) FROM deliveries").await);
    let columns = "SELECT CAST(SUM(512 + octet_length(event) + octet_length(attempts) \
                   + COALESCE(octet_length(payload), 0) + COALESCE(octet_length(url), 0) \
                   + COALESCE(octet_length(headers), 0) + COALESCE(octet_length(body), 0) \
                   + COALESCE(octet_length(first_request), 0) + COALESCE(octet_length(message), 0) + COALESCE(octet_length(shown), 0)) AS BIGINT) FROM deliveries";
    assert_eq!(booked, site.number(columns).await);
}

#[tokio::test]
async fn the_size_of_every_change_is_booked() {
    booked(Site::sqlite()).await;
}

pub(super) async fn booked(site: Site) {
    let mut sink = site.sink("crm");
    sink.park((0..10).map(|index| delivery(&format!("e-{index}"), 5)).chain([odd_delivery()]).collect()).await;
    assert_sizes_add_up(&site).await;
    let mut claimed = sink.due(5).await.deliveries;
    sink.handle.finish(claimed.pop().unwrap().core.row.unwrap());
    sink.handle.reschedule(claimed.pop().unwrap().core.row.unwrap(), at(7), attempts(9));
    sink.handle.bury(letter(claimed.pop().unwrap(), Reason::Rejected), None);
    site.store().load_checkpoint("any".into()).await.unwrap();
    assert_sizes_add_up(&site).await;
}

#[tokio::test]
async fn checkpoints_are_replaced_as_a_whole_and_survive() {
    let site = checkpoints(Site::sqlite()).await;
    drop(site);
}

pub(super) async fn checkpoints(mut site: Site) -> Site {
    assert_eq!(site.store().load_checkpoint("audit".into()).await.unwrap(), None);
    for state in ["{\"a\":1}", "{\"a\":2}"] {
        site.store().save_checkpoint("audit".into(), state.to_owned()).await.unwrap();
    }
    site.store().save_checkpoint("other".into(), "{}".to_owned()).await.unwrap();
    site.stop();
    site.start();
    assert_eq!(site.store().load_checkpoint("audit".into()).await.unwrap().as_deref(), Some("{\"a\":2}"));
    site
}

#[tokio::test]
async fn a_disabled_sink_gets_nothing_until_it_is_enabled() {
    disabled(Site::sqlite()).await;
}

pub(super) async fn disabled(mut site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    sink.handle.disable("410 Gone".to_owned());
    let claimed = sink.due(5).await;
    assert!(claimed.disabled && claimed.deliveries.is_empty());
    assert!(!site.sink("mail").due(5).await.disabled);
    drop(sink);
    site.stop();
    site.start();
    let mut sink = site.sink("crm");
    assert!(sink.due(5).await.disabled, "it is remembered");

    let mut database = site.database().await;
    sqlx::query("DELETE FROM disabled_sinks").execute(database.connection()).await.unwrap();
    let claimed = sink.due(5).await;
    assert!(!claimed.disabled);
    assert_eq!(ids(&claimed.deliveries), ["a"]);
}

#[tokio::test]
async fn what_others_change_is_told_to_every_sink_and_what_it_changes_itself_is_not() {
    let site = Site::sqlite();
    let (mut crm, mut mail) = (site.sink("crm"), site.sink("mail"));
    assert!(crm.due(5).await.tells_changes && mail.due(5).await.tells_changes);
    crm.park(vec![delivery("a", 5)]).await;
    crm.handle.disable("410 Gone".to_owned());
    let silence = timeout(Duration::from_secs(3), crm.answers.recv()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert!(SinkStates::open(&site.settings).await.unwrap().enable("crm").await.unwrap());
    for sink in [&mut crm, &mut mail] {
        assert!(matches!(sink.said().await, FromStore::Changed));
    }
    assert_eq!(ids(&crm.due(5).await.deliveries), ["a"]);
}

#[tokio::test]
async fn a_store_that_has_ended_says_so() {
    let mut site = Site::sqlite();
    let (store, unopened) = UnopenedStore::new(site.settings.clone());
    drop(unopened);
    assert!(matches!(store.load_checkpoint("audit".into()).await, Err(StoreError::Closed)));
    site.stop();
}
