//! Opening, locking, reopening, and disks that cannot be written.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::small_disk::{SmallDisk, mount};
use super::*;
use crate::store::database::is_in_use;
use crate::store::sqlite;

fn file_of(site: &Site) -> &Path {
    match &site.settings.location {
        Location::Sqlite(path) => path,
        Location::Postgres(_) => panic!("this one has a file"),
    }
}

fn open_again(settings: &StoreSettings) -> Result<(), StoreError> {
    let (store, unopened) = UnopenedStore::new(settings.clone());
    let running = opened(unopened)?;
    drop(store);
    wait_for(running.ended()).unwrap();
    Ok(())
}

#[tokio::test]
async fn what_was_handed_out_comes_free_when_the_store_is_opened_again() {
    reopened(Site::sqlite()).await;
}

pub(super) async fn reopened(mut site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    assert_eq!(ids(&sink.due(5).await.deliveries), ["a"]);
    assert_eq!(sink.due(5).await.deliveries.len(), 0);
    drop(sink);
    site.stop();
    assert_eq!(site.number("SELECT COUNT(*) FROM deliveries WHERE claimed_by IS NOT NULL").await, 0);
    assert_eq!(site.number("SELECT COUNT(*) FROM replicas WHERE id <> ''").await, 0);
    site.start();
    assert_eq!(ids(&site.sink("crm").due(5).await.deliveries), ["a"]);
}

#[tokio::test]
async fn claims_of_a_process_that_was_killed_are_void() {
    let mut site = Site::sqlite();
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    drop(sink);
    site.stop();
    let mut database = site.database().await;
    let killed = "UPDATE deliveries SET claimed_by = 'shop/killed'";
    sqlx::query(killed).execute(database.connection()).await.unwrap();
    let bytes = "UPDATE replicas SET id = 'shop/killed', alive_until = 9000000000000000";
    sqlx::query(bytes).execute(database.connection()).await.unwrap();
    database.close().await.unwrap();
    site.start();
    sink = site.sink("crm");
    assert_eq!(ids(&sink.due(5).await.deliveries), ["a"]);
    keeping::assert_sizes_add_up(&site).await;
}

#[tokio::test]
async fn a_second_process_is_kept_away_and_the_command_line_is_not() {
    let mut site = Site::sqlite();
    let error = open_again(&site.settings).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }) && error.is_permanent(), "{error}");
    assert!(error.to_string().contains("another bridge is running on the store"), "{error}");
    assert!(is_in_use(&site.settings));
    assert_eq!(site.number("SELECT COUNT(*) FROM deliveries").await, 0);
    site.stop();
    assert!(!is_in_use(&site.settings));
    open_again(&site.settings).unwrap();
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_whole_after_the_end() {
    let mut site = Site::sqlite();
    site.sink("crm").park(vec![delivery("a", 5)]).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = file_of(&site).to_owned();
    let log = PathBuf::from(format!("{}-wal", path.display()));
    assert_eq!((mode(&path), mode(&log)), (0o600, 0o600));
    site.stop();
    assert!(!log.exists(), "the log is folded into the file at the end");
    assert_eq!(site.number("SELECT COUNT(*) FROM deliveries").await, 1);
}

#[tokio::test]
async fn a_commit_reaches_the_disk_before_it_returns() {
    let mut database = Site::sqlite().database().await;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(database.connection()).await.unwrap();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(database.connection()).await.unwrap();
    assert_eq!((synchronous, journal.as_str()), (2, "wal"));
}

#[tokio::test]
async fn a_path_may_hold_any_character() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::Sqlite(folder.path().join("new/%41 ü?#&=/../x y/store?.db"));
    std::fs::create_dir_all(folder.path().join("new/%41 ü?#&=")).unwrap();
    let site = Site::open(Site::settings(location), Some(folder));
    site.sink("crm").park(vec![delivery("a", 5)]).await;
    assert!(file_of(&site).exists());
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    newer_schema(Site::sqlite()).await;
}

pub(super) async fn newer_schema(mut site: Site) {
    site.stop();
    let mut database = site.database().await;
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                  SELECT 7, description, success, checksum, execution_time FROM _sqlx_migrations";
    sqlx::query(insert).execute(database.connection()).await.unwrap();
    database.close().await.unwrap();
    let error = open_again(&site.settings).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 7, known: 1, .. }) && error.is_permanent(), "{error}");
    assert!(error.to_string().contains("run the bridge that wrote it"), "{error}");
    let error = Database::connect(&site.settings).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    std::fs::write(&path, "this is no database at all, but it is long enough to be taken for one\n".repeat(20))
        .unwrap();
    let error = open_again(&Site::settings(Location::Sqlite(path.clone()))).unwrap_err();
    assert!(error.to_string().contains("not a database") && error.is_permanent(), "{error}");
    let error = open_again(&Site::settings(Location::Sqlite(path.join("below/a/file.db")))).unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}

impl Sink {
    /// Gives the store what it cannot keep; the ack is still open when it comes back.
    async fn park_and_get_back(&mut self, delivery: StoredDelivery) {
        let (mut settlements, mut acks) = acks(1);
        self.handle.park(vec![(delivery.clone(), acks.pop())]);
        let FromStore::GivenBack(mut deliveries) = self.answer().await else { panic!("nothing else was asked for") };
        let (given_back, ack) = deliveries.pop().unwrap();
        assert_same(&given_back, &delivery);
        assert!(settlements.try_recv().is_err());
        ack.unwrap().settle();
        all_settled(&mut settlements).await;
    }
}

#[tokio::test]
#[ignore = "needs root to mount a tmpfs"]
async fn a_full_disk_gives_back_what_has_no_lane_and_holds_the_rest_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("disk"), "4m");
    let settings = Site::settings(Location::Sqlite(folder.path().join("disk/store.db")));
    let mut site = Site::open(settings, None);
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    let filler = disk.fill();

    let (mut settlements, acks) = acks(500);
    for (index, ack) in acks.into_iter().enumerate() {
        sink.handle.park(vec![(in_lane(&format!("k-{index}"), &format!("e-{index}"), 5), Some(ack))]);
    }
    let early = timeout(Duration::from_secs(3), async {
        while let Some(settlement) = settlements.recv().await {
            assert!(settlement.settled, "an ack was dropped");
        }
    });
    early.await.expect_err("there was no room for all of them");
    assert!(!sink.handle.has_room());
    sink.park_and_get_back(delivery("b", 5)).await;

    std::fs::remove_file(filler).unwrap();
    all_settled(&mut settlements).await;
    assert!(sink.handle.has_room());
    assert_eq!(sink.due(5).await.deliveries.len(), 501);
    drop(sink);
    site.stop();
}

#[tokio::test]
#[ignore = "needs root to mount a tmpfs"]
async fn a_stop_on_a_full_disk_leaves_events_open() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("disk"), "4m");
    let mut site = Site::open(Site::settings(Location::Sqlite(folder.path().join("disk/store.db"))), None);
    let sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    disk.fill();
    let (mut settlements, mut acks) = acks(1);
    let mut large = delivery("large", 5);
    large.request.body = Bytes::from(vec![b'x'; 4 * 1024 * 1024]);
    sink.handle.park(vec![(large, acks.pop())]);
    drop(sink);
    site.stop();
    assert!(!settlement(&mut settlements).await.unwrap().settled);
}

#[tokio::test]
#[ignore = "needs root to mount a tmpfs"]
async fn a_folder_that_may_only_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::mount(&folder.path().join("disk"), "4m");
    let settings = Site::settings(Location::Sqlite(folder.path().join("disk/store.db")));
    open_again(&settings).unwrap();
    mount(&["-o", "remount,ro"], &folder.path().join("disk"));
    let error = open_again(&settings).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    let error = Database::connect(&settings).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_store_beyond_its_moment() {
    let mut site = Site::sqlite();
    let running = site.running.take().unwrap();
    // It goes on, as there is still a handle.
    running.ended_until(|| Some(tokio::time::Instant::now())).await.unwrap();
    site.store.as_ref().unwrap().save_checkpoint("input".into(), "{}".to_owned()).await.unwrap();
}

/// Bridges start while others look whether one runs.
#[test]
fn a_look_at_the_lock_keeps_nobody_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(sqlite::lock(&path).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                sqlite::is_locked(&path);
            }
        });
        let refused = (0..2000).filter(|_| sqlite::lock(&path).is_err()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
    let _held = sqlite::lock(&path).unwrap();
    assert!(sqlite::is_locked(&path));
    assert!(matches!(sqlite::lock(&path), Err(StoreError::Locked { .. })));
}

/// However busy the bridge is, `bridge dead purge` and its like have their turn.
#[tokio::test]
async fn the_command_line_can_write_beside_a_busy_bridge() {
    let site = Site::sqlite();
    let sink = site.sink("crm");
    let done = Arc::new(AtomicBool::new(false));
    let bridge = std::thread::spawn({
        let (handle, done) = (sink.handle.clone(), done.clone());
        move || {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                let (mut settlements, acks) = acks(256);
                for ack in acks {
                    number += 1;
                    handle.park(vec![(delivery(&format!("e-{number}"), 5), Some(ack))]);
                }
                while settlements.blocking_recv().is_some() {}
            }
        }
    });
    let mut database = site.database().await;
    for _ in 0..200 {
        // Longer than this, and a purge of many pages would take for ever.
        timeout(Duration::from_secs(5), database.write(async |_| Ok(()))).await.expect("it has its turn").unwrap();
    }
    done.store(true, Ordering::Relaxed);
    bridge.join().unwrap();
}

#[test]
fn several_may_open_a_new_store_at_the_same_time() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let settings = Site::settings(Location::Sqlite(folder.path().join("store.db")));
        let all_are_there = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                        all_are_there.wait();
                        runtime.block_on(async { Database::connect(&settings).await?.close().await })
                    })
                })
                .collect();
            openers.into_iter().for_each(|opener| opener.join().unwrap().unwrap());
        });
    }
}
