//! Files that are closed while there is nothing to do, new files, and how many may be open.

use std::path::PathBuf;

use futures_util::future::join_all;

use super::*;
use crate::store::sinks::SinkStates;

impl Site {
    fn log_file(&self) -> PathBuf {
        match &self.settings.location {
            Location::Sqlite(path) => PathBuf::from(format!("{}-wal", path.display())),
            Location::Postgres(_) => panic!("this one has a file"),
        }
    }

    pub(super) async fn comes_to_rest(&self) {
        let log = self.log_file();
        until("the store comes to rest", || !log.exists()).await;
    }
}

#[tokio::test]
async fn a_store_with_nothing_to_do_closes_its_file_and_opens_it_when_it_is_asked() {
    let mut site = Site::sqlite();
    let mut sink = site.sink("crm");
    assert!(sink.due(5).await.tells_changes);
    sink.park(vec![delivery("a", 5)]).await;
    assert!(site.log_file().exists());
    site.comes_to_rest().await;
    let claimed = sink.due(5).await;
    assert_eq!(ids(&claimed.deliveries), ["a"]);
    assert!(timeout(Duration::from_secs(3), sink.said()).await.is_err(), "nobody else has changed it");
    sink.handle.finish(claimed.deliveries[0].core.row.unwrap());
    site.comes_to_rest().await;
    // The end of a store at rest.
    drop(sink);
    site.stop();
    site.start();
    assert_eq!(site.sink("crm").due(5).await.deliveries.len(), 0);
}

#[tokio::test]
async fn what_a_sink_has_in_hand_keeps_the_file_open() {
    let site = Site::sqlite();
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    let claimed = sink.due(5).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(site.log_file().exists());
    sink.handle.finish(claimed.deliveries[0].core.row.unwrap());
    site.comes_to_rest().await;
}

#[tokio::test]
async fn a_store_at_rest_tells_what_others_change_and_what_they_have_changed_before_it_wakes() {
    let site = Site::sqlite();
    let mut sink = site.sink("crm");
    sink.due(5).await;
    sink.handle.disable("410 Gone".to_owned());
    sink.park(vec![delivery("a", 5)]).await;
    for _ in 0..2 {
        site.comes_to_rest().await;
        let mut states = SinkStates::open(&site.settings).await.unwrap();
        states.enable("crm").await.unwrap();
        drop(states);
        assert!(matches!(sink.said().await, FromStore::Changed));
        // It wakes before anybody has looked.
        sink.handle.disable("410 Gone".to_owned());
        sink.due(0).await;
    }
}

#[tokio::test]
async fn more_stores_than_may_be_open_work_side_by_side() {
    let sites: Vec<_> = (0..100).map(|_| Site::sqlite()).collect();
    let parked = sites.iter().map(|site| async {
        let mut sink = site.sink("crm");
        for round in 0..3 {
            sink.park(vec![delivery(&format!("e-{round}"), 5)]).await;
        }
        let claimed = sink.due(5).await;
        for delivery in &claimed.deliveries {
            sink.handle.finish(delivery.core.row.unwrap());
        }
        claimed.deliveries.len()
    });
    assert_eq!(join_all(parked).await, vec![3; 100]);
    let open = || sites.iter().filter(|site| site.log_file().exists()).count();
    until("few are open", || open() <= 16).await;
}

#[tokio::test]
async fn a_copy_of_a_new_file_has_the_mode_and_the_tables_of_the_first() {
    for _ in 0..2 {
        let site = Site::sqlite();
        assert_eq!(site.number("SELECT COUNT(*) FROM _sqlx_migrations").await, 1);
        assert_eq!(site.number("SELECT COUNT(*) FROM replicas").await, 1);
        let Location::Sqlite(path) = &site.settings.location else { panic!("this one has a file") };
        assert!(!path.with_added_extension("new").exists());
        site.sink("crm").park(vec![delivery("a", 5)]).await;
        assert_eq!(site.number("SELECT COUNT(*) FROM deliveries").await, 1);
    }
}
