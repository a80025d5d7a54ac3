//! `max_size`: what makes the store grow is held, all else goes on.

use sqlx::AnyConnection;

use super::*;

fn small(mut site: Site) -> Site {
    site.stop();
    site.settings.max_size = 1000;
    site.start();
    site
}

#[tokio::test]
async fn a_full_store_holds_what_makes_it_grow_and_lets_the_rest_through() {
    holds_growth_of_a_small_store(Site::sqlite()).await;
}

pub(super) async fn holds_growth_of_a_small_store(site: Site) {
    let site = small(site);
    let mut sink = site.sink("crm");
    // Two are more than 1000 bytes.
    sink.park(vec![in_lane("k", "a", 5), delivery("b", 6)]).await;
    let (mut settlements, mut acks) = acks(3);
    sink.handle.park(vec![(in_lane("m", "c", 7), acks.pop())]);
    sink.handle.bury(letter(delivery("d", 0), Reason::Rejected), acks.pop());
    sink.handle.park(vec![(delivery("e", 8), acks.pop())]);

    // Claims, checkpoints, and what has been handed out go on.
    let claimed = sink.due(99).await;
    assert_eq!(ids(&claimed.deliveries), ["a", "b"]);
    site.store().save_checkpoint("audit".into(), "{}".to_owned()).await.unwrap();
    sink.handle.reschedule(claimed.deliveries[0].row.unwrap(), at(50), attempts(1));
    assert_eq!(ids(&sink.due(99).await.deliveries), ["a"]);
    assert!(settlements.try_recv().is_err(), "nothing settles before it is kept");
    assert_eq!(site.letters().await.len(), 0);

    // A question about lanes does not overtake what is held.
    sink.handle.ask_lanes(vec!["m".into()]);
    assert_eq!(sink.due(99).await.deliveries.len(), 0);

    sink.handle.finish(claimed.deliveries[0].row.unwrap());
    sink.handle.finish(claimed.deliveries[1].row.unwrap());
    all_settled(&mut settlements).await;
    assert!(matches!(sink.answer().await, FromStore::Lanes(lanes) if lanes == [("m".into(), true)]));
    assert_eq!(ids(&sink.due(99).await.deliveries), ["c", "e"]);
    assert_eq!(site.letters().await.len(), 1);
}

#[tokio::test]
async fn what_is_held_with_a_lane_counts_as_there() {
    let site = small(Site::sqlite());
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5), delivery("b", 6)]).await;
    assert!(!sink.due(0).await.has_lanes);
    sink.handle.park(vec![(in_lane("m", "c", 7), None)]);
    assert!(sink.due(0).await.has_lanes, "a sink must not start what comes behind it");
    assert!(!site.sink("shop").due(0).await.has_lanes);
}

#[tokio::test]
async fn room_made_by_another_process_is_noticed() {
    room_made_by_others_in_a_small_store(Site::sqlite()).await;
}

pub(super) async fn room_made_by_others_in_a_small_store(site: Site) {
    let site = small(site);
    let sink = site.sink("crm");
    sink.park(vec![delivery("a", 5), delivery("b", 6)]).await;
    let (mut settlements, mut acks) = acks(1);
    sink.handle.park(vec![(delivery("c", 7), acks.pop())]);
    let mut database = site.database().await;
    let make_room = async |connection: &mut AnyConnection| {
        sqlx::query("DELETE FROM deliveries").execute(&mut *connection).await?;
        super::super::replicas::add_bytes(connection, -2000).await
    };
    database.write(make_room).await.unwrap();
    all_settled(&mut settlements).await;
}

#[tokio::test]
async fn what_a_full_store_could_not_take_fails_at_the_end() {
    let mut site = small(Site::sqlite());
    let sink = site.sink("crm");
    sink.park(vec![delivery("a", 5), delivery("b", 6)]).await;
    let (mut settlements, mut acks) = acks(1);
    sink.handle.park(vec![(delivery("c", 7), acks.pop())]);
    drop(sink);
    site.stop();
    assert!(!settlement(&mut settlements).await.unwrap().settled);
}
