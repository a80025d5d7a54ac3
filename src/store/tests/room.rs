//! `max_size`: sinks see that there is no room, new letters are held, all else goes on.

use sqlx::AnyConnection;

use super::*;

fn small(mut site: Site) -> Site {
    site.stop();
    site.settings.max_size = 1000;
    site.start();
    site
}

#[tokio::test]
async fn a_full_store_says_so_holds_letters_and_lets_the_rest_through() {
    holds_growth_of_a_small_store(Site::sqlite()).await;
}

pub(super) async fn holds_growth_of_a_small_store(site: Site) {
    let site = small(site);
    let mut sink = site.sink("crm");
    assert!(sink.handle.has_room());
    // Two are more than 1000 bytes.
    sink.park(vec![in_lane("k", "a", 5), delivery("b", 6)]).await;
    assert!(!sink.handle.has_room() && !site.sink("shop").handle.has_room());
    let (mut settlements, mut acks) = acks(1);
    sink.handle.bury(letter(delivery("d", 0), Reason::Rejected), acks.pop());

    // Claims, checkpoints, and what has been handed out go on.
    let claimed = sink.due(99).await;
    assert_eq!(ids(&claimed.deliveries), ["a", "b"]);
    site.store().save_checkpoint("audit".into(), "{}".to_owned()).await.unwrap();
    sink.handle.reschedule(claimed.deliveries[0].core.row.unwrap(), at(50), attempts(1));
    assert_eq!(ids(&sink.due(99).await.deliveries), ["a"]);
    assert!(settlements.try_recv().is_err(), "nothing settles before it is kept");
    assert_eq!(site.letters().await.len(), 0);

    // What was on its way when it became full is kept, and its lane is occupied.
    sink.park(vec![in_lane("m", "c", 7)]).await;
    assert!(sink.has_lane("m").await);
    let late = sink.due(99).await;
    assert_eq!(ids(&late.deliveries), ["c"]);

    for delivery in claimed.deliveries.iter().chain(&late.deliveries) {
        sink.handle.finish(delivery.core.row.unwrap());
    }
    all_settled(&mut settlements).await;
    assert_eq!(site.letters().await.len(), 1);
}

#[tokio::test]
async fn room_made_by_another_process_is_noticed() {
    room_made_by_others_in_a_small_store(Site::sqlite()).await;
}

pub(super) async fn room_made_by_others_in_a_small_store(site: Site) {
    let site = small(site);
    let sink = site.sink("crm");
    sink.park(vec![delivery("a", 5), delivery("b", 6)]).await;
    assert!(!sink.handle.has_room());
    let mut database = site.database().await;
    let make_room = async |connection: &mut AnyConnection| {
        sqlx::query("DELETE FROM deliveries").execute(&mut *connection).await?;
        super::super::replicas::add_bytes(connection, -2000).await
    };
    database.write(make_room).await.unwrap();
    until("the store looks for room by itself", || sink.handle.has_room()).await;
}

#[tokio::test]
async fn a_store_that_is_opened_full_says_so() {
    let mut site = Site::sqlite();
    site.sink("crm").park(vec![delivery("a", 5), delivery("b", 6)]).await;
    site = small(site);
    let mut sink = site.sink("crm");
    // Its answer comes after it was opened.
    sink.due(0).await;
    assert!(!sink.handle.has_room());
}

#[tokio::test]
async fn what_a_full_store_could_not_take_fails_at_the_end() {
    let mut site = small(Site::sqlite());
    let sink = site.sink("crm");
    sink.park(vec![delivery("a", 5), delivery("b", 6)]).await;
    let (mut settlements, mut acks) = acks(1);
    sink.handle.bury(letter(delivery("c", 7), Reason::Rejected), acks.pop());
    drop(sink);
    site.stop();
    assert!(!settlement(&mut settlements).await.unwrap().settled);
}
