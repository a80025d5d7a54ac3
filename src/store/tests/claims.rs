//! Handing out what is due.

use super::*;
use crate::store::letters::{LetterFilter, Letters};

#[tokio::test]
async fn deliveries_come_in_the_order_in_which_they_are_due() {
    in_order(Site::sqlite()).await;
}

pub(super) async fn in_order(site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("late", 30), delivery("early", 10), delivery("middle", 20), delivery("same", 20)]).await;
    let first = sink.claim(Claim { limit: 2, ..claim_at(25) }).await;
    assert_eq!((ids(&first.deliveries), first.next_due), (vec!["early", "middle"], Some(at(20))));
    let second = sink.due(25).await;
    assert_eq!((ids(&second.deliveries), second.next_due), (vec!["same"], Some(at(30))));
    let nothing = sink.due(25).await;
    assert_eq!((nothing.deliveries.len(), nothing.next_due), (0, Some(at(30))));
    assert_eq!((nothing.has_lanes, nothing.is_shared), (false, site.is_shared()));
    assert_eq!(sink.claim(Claim { limit: 0, ..claim_at(99) }).await.deliveries.len(), 0);
}

#[tokio::test]
async fn excepted_buckets_are_passed_over() {
    except_buckets(Site::sqlite()).await;
}

pub(super) async fn except_buckets(site: Site) {
    let mut sink = site.sink("crm");
    let in_bucket = |bucket: &str, id: &str, second| changed(delivery(id, second), |core| core.bucket = bucket.into());
    sink.park(vec![in_bucket("x", "x", 1), in_bucket("y", "y", 2), in_bucket("z\0", "z", 3), delivery("w", 4)]).await;
    let except = |buckets: &[&str]| Claim {
        except_buckets: buckets.iter().map(|bucket| Arc::from(*bucket)).collect(),
        limit: 1,
        ..claim_at(9)
    };
    let claimed = sink.claim(except(&["x", "z\0", "unknown"])).await;
    assert_eq!((ids(&claimed.deliveries), claimed.next_due), (vec!["y"], Some(at(4))));
    let claimed = sink.claim(except(&["x", ""])).await;
    assert_eq!((ids(&claimed.deliveries), claimed.next_due), (vec!["z"], None));
    let claimed = sink.claim(except(&["x", "y", "z\0", ""])).await;
    assert_eq!((claimed.deliveries.len(), claimed.next_due), (0, None));
}

#[tokio::test]
async fn a_replay_is_handed_out_alone() {
    only_replay(Site::sqlite()).await;
}

pub(super) async fn only_replay(site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 1), delivery("b", 2)]).await;
    let mut database = site.database().await;
    let replayed = "UPDATE deliveries SET replay = 'r-1' WHERE due = 2000";
    sqlx::query(replayed).execute(database.connection()).await.unwrap();
    let only = |replay: &str| Claim { only_replay: Some(replay.into()), ..claim_at(9) };
    let claimed = sink.claim(only("r-2")).await;
    assert_eq!((claimed.deliveries.len(), claimed.next_due), (0, None));
    assert_eq!(ids(&sink.claim(only("r-1")).await.deliveries), ["b"]);
    assert_eq!(ids(&sink.due(9).await.deliveries), ["a"]);
}

#[tokio::test]
async fn nothing_is_due_before_its_time() {
    let site = Site::sqlite();
    let mut sink = site.sink("crm");
    let due: Timestamp = "2024-01-01T00:00:00.0001Z".parse().unwrap();
    sink.park(vec![StoredDelivery { due, ..delivery("a", 0) }]).await;
    let claim = |now: &str| Claim { now: now.parse().unwrap(), ..claim_at(0) };
    assert_eq!(sink.claim(claim("2024-01-01T00:00:00.0009Z")).await.deliveries.len(), 0);
    assert_eq!(sink.claim(claim("2024-01-01T00:00:00.001Z")).await.deliveries.len(), 1);
}

#[tokio::test]
async fn large_deliveries_are_handed_out_few_at_a_time() {
    let site = Site::sqlite();
    let mut sink = site.sink("crm");
    let body = Bytes::from(vec![b'x'; 7 * 1024 * 1024]);
    let large = |id: &str| {
        let mut large = delivery(id, 5);
        large.request.body = body.clone();
        large
    };
    sink.park(vec![large("a"), large("b"), large("c")]).await;
    assert_eq!(ids(&sink.due(5).await.deliveries), ["a", "b"]);
    assert_eq!(ids(&sink.due(5).await.deliveries), ["c"]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_becomes_a_dead_letter_and_stops_nobody() {
    damaged(Site::sqlite()).await;
}

pub(super) async fn damaged(site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![in_lane("k", "a", 1), in_lane("k", "behind", 1), delivery("b", 2)]).await;
    let mut database = site.database().await;
    let damage = "UPDATE deliveries SET event = '[' WHERE due = 1000";
    sqlx::query(damage).execute(database.connection()).await.unwrap();
    let now = Timestamp::now().as_second() + 60;
    assert_eq!(ids(&sink.due(now).await.deliveries), ["b"]);
    assert_eq!(ids(&sink.due(now).await.deliveries), ["behind"], "the next of its lane goes");
    let mut letters = Letters::open(&site.settings).await.unwrap();
    let listed = letters.newest(&LetterFilter::default(), 9).await.unwrap();
    assert_eq!((listed.len(), &*listed[0].event_id, &*listed[0].reason), (1, "a", "damaged"));
    assert!(listed[0].message.contains("cannot be read"), "{}", listed[0].message);
    let attempts = "SELECT attempts_made FROM deliveries WHERE state = 'dead'";
    assert_eq!(site.number(attempts).await, 1, "whatever can be read is kept");
    assert_eq!(
        site.number("SELECT CAST(SUM(bytes) AS BIGINT) FROM replicas").await,
        site.number("SELECT CAST(SUM(size) AS BIGINT) FROM deliveries").await
    );
}
