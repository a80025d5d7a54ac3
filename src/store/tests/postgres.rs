//! The same on PostgreSQL, and what only several replicas can do.

use proptest::prelude::*;
use sqlx::{Connection as _, Executor as _};
use uuid::Uuid;

use super::*;
use crate::secret::Secret;
use crate::store::StoreError;
use crate::store::probe::probe;

/// A store in a schema of its own.
async fn site() -> Site {
    let url = std::env::var("POSTGRES_URL").expect("POSTGRES_URL names a database: tests/brokers/postgres.sh env");
    sqlx::any::install_default_drivers();
    let schema = format!("test_{}", Uuid::new_v4().simple());
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
    connection.close().await.unwrap();
    let url = format!("{url}?options=-csearch_path%3D{schema}&application_name={schema}");
    Site::open(Site::settings(Location::Postgres(Secret::new(url))), None)
}

/// Each of these holds on both databases.
macro_rules! on_postgres {
    ($($test:ident: $behaviour:path,)*) => {$(
        #[tokio::test]
        #[ignore = "needs PostgreSQL"]
        async fn $test() {
            $behaviour(site().await).await;
        }
    )*};
}

on_postgres! {
    a_delivery_comes_back_as_it_was: keeping::comes_back,
    a_letter_comes_back_as_it_was: keeping::letter_comes_back,
    what_waits_together_is_kept_together: keeping::kept_together,
    an_event_that_is_read_twice_is_kept_once: keeping::kept_once,
    events_that_share_an_id_are_parked_beside_each_other: keeping::parked_beside,
    events_that_share_an_id_die_beside_each_other: keeping::dead_beside,
    the_request_of_the_first_attempts_outlives_later_ones: keeping::first_request,
    rescheduling_and_finishing: keeping::rescheduled_and_finished,
    a_delivery_is_one_row_for_life: keeping::one_row_for_life,
    the_size_of_every_change_is_booked: keeping::booked,
    the_sinks_that_deliveries_wait_for_are_known: keeping::sinks_with_parked,
    a_disabled_sink_gets_nothing: keeping::disabled,
    checkpoints_survive: keeping::checkpoints,
    deliveries_come_in_order: claims::in_order,
    excepted_buckets_are_passed_over: claims::except_buckets,
    a_replay_is_handed_out_alone: claims::only_replay,
    a_row_that_cannot_be_read_becomes_a_dead_letter: claims::damaged,
    followers_wait_for_their_head: lanes::followers_wait,
    lanes_survive_a_restart: lanes::survive_a_restart,
    a_replay_outside_its_lane_holds_nobody_up: lanes::replayed_outside,
    a_follower_of_a_delivery_outside_its_lane_is_let_go: lanes::follower_of_replayed,
    a_letter_does_not_go_in_front_of_its_lane: lanes::parked_again,
    a_full_store_holds_growth: room::holds_growth_of_a_small_store,
    room_made_by_others_is_noticed: room::room_made_by_others_in_a_small_store,
    letters_that_are_too_old_are_deleted_at_the_start: age_limit::deleted_at_the_start,
    what_is_deleted_makes_room_in_a_full_store: age_limit::makes_room,
    claims_are_freed_at_the_end: opening::reopened,
    all_conditions_of_a_filter_must_hold: letters::filtered,
    pages_show_every_letter_once: letters::paged,
    what_is_purged_counts_no_more: letters::purged,
    a_letter_becomes_a_delivery_in_its_row_once: letters::replayed_in_place,
    a_letter_that_goes_on_leaves_its_row_to_others: letters::replayed_onwards,
    letters_of_events_that_share_an_id_go_their_own_ways: letters::shared_ids,
    a_newer_schema_is_refused: opening::newer_schema,
    the_longest_pause_is_kept_until_it_is_over: pauses::kept,
    a_person_ends_all_pauses_of_a_sink: pauses::resumed,
    what_was_parked_until_the_end_of_an_ended_pause_is_due: pauses::ended_early,
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn what_another_replica_takes_over_at_the_same_time_is_not_booked_here() {
    let site = site().await;
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    let row = sink.due(5).await.deliveries[0].core.row.unwrap();
    let mut other = site.database().await;
    let mut taking_over = other.connection().begin().await.unwrap();
    sqlx::query("UPDATE deliveries SET claimed_by = NULL").execute(&mut *taking_over).await.unwrap();
    sink.handle.reschedule(row, at(20), attempts(4));
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND application_name = current_setting('application_name')";
    let begun = std::time::Instant::now();
    while site.number(waiting).await == 0 {
        assert!(begun.elapsed() < PATIENCE, "the reschedule waits for the other replica");
    }
    taking_over.commit().await.unwrap();
    assert_eq!(sink.due(5).await.deliveries.len(), 1, "it was not rescheduled by who does not hold it");
    assert_eq!(
        site.number("SELECT CAST(SUM(bytes) AS BIGINT) FROM replicas").await,
        site.number("SELECT CAST(SUM(size) AS BIGINT) FROM deliveries").await
    );
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_user_who_may_not_make_tables_is_told_what_is_missing() {
    let url = std::env::var("POSTGRES_URL").expect("POSTGRES_URL names a database: tests/brokers/postgres.sh env");
    sqlx::any::install_default_drivers();
    let name = format!("test_{}", Uuid::new_v4().simple());
    let mut owner = sqlx::AnyConnection::connect(&url).await.unwrap();
    let mut execute = async |statement: String| {
        owner.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    };
    execute(format!("CREATE ROLE {name} LOGIN PASSWORD 'pw'")).await;
    execute(format!("CREATE SCHEMA {name}")).await;
    let mut limited: url::Url = url.parse().unwrap();
    limited.set_username(&name).unwrap();
    limited.set_password(Some("pw")).unwrap();
    limited.set_query(Some(&format!("options=-csearch_path%3D{name}")));
    let settings = Site::settings(Location::Postgres(Secret::new(limited.to_string())));
    let open = async || Database::connect(&settings).await.map(drop);

    let grant = format!("`GRANT USAGE, CREATE ON SCHEMA … TO \"{name}\"`");
    for (right, expected) in [("", "no schema has been selected"), ("USAGE", &format!("denied for schema {name};"))] {
        if !right.is_empty() {
            execute(format!("GRANT {right} ON SCHEMA {name} TO {name}")).await;
        }
        let error = open().await.unwrap_err();
        assert!(matches!(error, StoreError::Denied { .. }) && error.is_permanent(), "{error:?}");
        let shown = error.to_string();
        assert!(shown.contains(expected) && shown.contains(&grant), "{shown}");
        let shown = probe(&settings).await.unwrap_err().to_string();
        assert!(shown.contains("may not create tables") && shown.contains(&grant), "{shown}");
    }
    execute(grant.trim_matches('`').replace('…', &name)).await;
    assert!(probe(&settings).await.unwrap().contains("no tables yet"));
    open().await.unwrap();
    assert!(probe(&settings).await.unwrap().contains("can be used"));

    execute(format!("DROP OWNED BY {name}; DROP SCHEMA {name} CASCADE; DROP ROLE {name}")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_longest_names_fit_into_the_indexes() {
    let site = site().await;
    let mut sink = site.sink("crm");
    // Of what PostgreSQL cannot make shorter.
    let name = |length: usize| (0..length).map(|_| char::from(rand::random_range(b'!'..=b'~'))).collect::<String>();
    let mut long = in_lane(&name(255), &name(1000), 5);
    long.core.bucket = name(255).into();
    sink.park(vec![long]).await;
    assert_eq!(sink.due(5).await.deliveries.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    #[ignore = "needs PostgreSQL"]
    fn every_history_keeps_the_order_of_every_lane(steps in lanes::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { lanes::keeps_the_order(site().await, steps).await });
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_wrong_password_is_named_without_it() {
    let url = std::env::var("POSTGRES_URL").unwrap().replace(":bridge@", ":wr0ng-one@");
    let settings = Site::settings(Location::Postgres(Secret::new(url)));
    let error = Database::connect(&settings).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert!(error.to_string().contains("password authentication failed"), "{error}");
    assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
}

/// Another replica on the same database.
fn another(site: &Site, lease: Duration) -> Site {
    Site::open(StoreSettings { lease, ..site.settings.clone() }, None)
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn no_delivery_is_handed_out_twice() {
    let one = site().await;
    let other = another(&one, Duration::from_secs(30));
    let mut sinks = [one.sink("crm"), other.sink("crm")];
    sinks[0].park((0..2000).map(|index| delivery(&format!("e-{index}"), 5)).collect()).await;
    let mut found = HashSet::new();
    for _ in 0..40 {
        // Both ask at the same time.
        for sink in &sinks {
            sink.handle.claim(Claim { limit: 50, ..claim_at(5) });
        }
        for sink in &mut sinks {
            let FromStore::Claimed(claimed) = sink.answer().await else { panic!("deliveries were asked for") };
            for delivery in claimed.deliveries {
                assert!(
                    found.insert(delivery.core.event.id.clone()),
                    "{} was handed out twice",
                    delivery.core.event.id
                );
            }
        }
    }
    assert_eq!(found.len(), 2000);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn replicas_delete_old_letters_side_by_side_and_pass_over_what_others_have_locked() {
    let mut one = site().await;
    let age = Duration::from_secs(7200);
    one.bury_old((0..3000).map(|index| format!("e-{index}")), age).await;
    one.stop();
    one.settings.keep_dead_letters = Some(age / 2);
    // As while somebody replays these.
    let mut replaying = one.database().await;
    let mut replaying = replaying.connection().begin().await.unwrap();
    let lock = "SELECT id FROM deliveries ORDER BY died, id LIMIT 5 FOR UPDATE";
    assert_eq!(sqlx::query(lock).fetch_all(&mut *replaying).await.unwrap().len(), 5);
    one.start();
    let other = another(&one, Duration::from_secs(30));
    one.comes_to_letters(5).await;
    for replica in [&one, &other] {
        // Nobody waits for the lock.
        assert_eq!(replica.sink("crm").due(5).await.deliveries.len(), 0);
    }
    replaying.rollback().await.unwrap();
    let (booked, there) = one.booked_and_there().await;
    assert_eq!(booked, there);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn deliveries_of_one_lane_are_in_order_whoever_adds_and_ends_them() {
    let one = site().await;
    let other = another(&one, Duration::from_secs(30));
    let mut sinks = [one.sink("crm"), other.sink("crm")];
    let now = Timestamp::now().as_second() + 3600;
    let mut handed_out = 0;
    for round in 0..60 {
        let (adding, ending) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        let claimed = sinks[ending].due(now).await.deliveries;
        assert!(claimed.len() <= 1, "two of one lane at a time: {:?}", ids(&claimed));
        // One replica removes the head while the other adds followers.
        let (mut settlements, mut acks) = acks(1);
        sinks[adding].handle.park(vec![(in_lane("k", &format!("e-{round:02}"), 1), acks.pop())]);
        for delivery in &claimed {
            assert_eq!(delivery.core.event.id, format!("e-{handed_out:02}"));
            handed_out += 1;
            sinks[ending].handle.finish(delivery.core.row.unwrap());
        }
        all_settled(&mut settlements).await;
    }
    while handed_out < 60 {
        let claimed = sinks[0].due(now).await.deliveries;
        assert_eq!(ids(&claimed), [format!("e-{handed_out:02}")], "a follower was left behind");
        handed_out += 1;
        sinks[0].handle.finish(claimed[0].core.row.unwrap());
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_claims_of_a_silent_replica_come_free_after_its_lease() {
    let one = site().await;
    let mut sink = one.sink("crm");
    sink.park(vec![delivery("a", 5), delivery("b", 5)]).await;
    let held = sink.claim(Claim { limit: 1, ..claim_at(5) }).await.deliveries.remove(0);
    let mut database = one.database().await;
    // As if it had died: its lease ends, and it is in no hurry to renew it.
    let silent = "UPDATE replicas SET alive_until = 0";
    sqlx::query(silent).execute(database.connection()).await.unwrap();

    let other = another(&one, Duration::from_secs(3));
    let mut heir = other.sink("crm");
    let mut found = Vec::new();
    timeout(PATIENCE, async {
        while found.len() < 2 {
            found.extend(heir.due(5).await.deliveries);
        }
    })
    .await
    .expect("all comes free");
    // What the silent one says now does not count.
    sink.handle.finish(held.core.row.unwrap());
    sink.handle.reschedule(held.core.row.unwrap(), at(99), attempts(7));
    assert_eq!(sink.due(5).await.deliveries.len(), 0);
    assert_eq!(one.number("SELECT COUNT(*) FROM deliveries WHERE claimed_by IS NOT NULL").await, 2);
    keeping::assert_sizes_add_up(&one).await;
    for delivery in found {
        heir.handle.finish(delivery.core.row.unwrap());
    }
    assert_eq!(heir.due(5).await.next_due, None);
    assert_eq!(one.number("SELECT CAST(SUM(bytes) AS BIGINT) FROM replicas").await, 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_replica_that_is_there_keeps_its_claims_beyond_its_lease() {
    let one = site().await;
    let lease = Duration::from_secs(1);
    let slow = another(&one, lease);
    let mut sink = slow.sink("crm");
    sink.park(vec![delivery("a", 5)]).await;
    assert_eq!(sink.due(5).await.deliveries.len(), 1);
    let other = another(&one, lease);
    let mut heir = other.sink("crm");
    let since = std::time::Instant::now();
    while since.elapsed() < 3 * lease {
        assert_eq!(heir.due(5).await.deliveries.len(), 0, "it was taken from one that is alive");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_lost_connection_is_made_again_and_nothing_is_lost() {
    let site = site().await;
    let mut sink = site.sink("crm");
    sink.park(vec![delivery("a", 5), delivery("b", 6)]).await;
    let first = sink.due(5).await;
    let mut database = site.database().await;
    // As after a claim whose answer was lost with the connection.
    let claim = "UPDATE deliveries SET claimed_by = (SELECT id FROM replicas WHERE bytes > 0)";
    sqlx::query(claim).execute(database.connection()).await.unwrap();
    let schema: String =
        sqlx::query_scalar("SELECT CAST(current_schema() AS TEXT)").fetch_one(database.connection()).await.unwrap();
    // The connections to a schema bear its name.
    let end = "SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity \
               WHERE pid <> pg_backend_pid() AND application_name = $1";
    sqlx::query(end).bind(schema).fetch_all(database.connection()).await.unwrap();
    sink.park(vec![delivery("c", 6)]).await;
    assert_eq!(ids(&sink.due(6).await.deliveries), ["b", "c"], "one is in hand, and one only seems to be");
    sink.handle.finish(first.deliveries[0].core.row.unwrap());
    assert_eq!(sink.due(6).await.deliveries.len(), 0);
    assert_eq!(site.number("SELECT COUNT(*) FROM deliveries").await, 2);
}
