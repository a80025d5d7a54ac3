//! Pauses that receivers have asked for: kept, handed out with claims, and ended by their time or by a person.

use super::*;
use crate::store::handle::Pause;
use crate::store::sinks::{Resumed, SinkStates};

const HOUR: i64 = 3600;

fn pause(bucket: &str, second: i64) -> Pause {
    Pause { bucket: bucket.into(), until: at(second) }
}

fn in_bucket(bucket: &str, id: &str, second: i64) -> StoredDelivery {
    changed(delivery(id, second), |core| core.bucket = bucket.into())
}

/// The present, in whole seconds.
fn present() -> i64 {
    Timestamp::now().as_second()
}

/// The pauses that a claim brings, by bucket.
async fn stored_pauses(sink: &mut Sink) -> Vec<Pause> {
    let mut pauses = sink.claim(Claim { limit: 0, ..claim_at(0) }).await.pauses;
    pauses.sort_by(|one, other| one.bucket.cmp(&other.bucket));
    pauses
}

#[tokio::test]
async fn the_longest_pause_of_a_bucket_is_kept_until_it_is_over() {
    kept(Site::sqlite()).await;
}

pub(super) async fn kept(site: Site) {
    let mut sink = site.sink("crm");
    let now = present();
    sink.handle.pause(pause("a", now + HOUR));
    sink.handle.pause(pause("a", now + 2 * HOUR));
    sink.handle.pause(pause("a", now + HOUR));
    sink.handle.pause(pause("b", now + HOUR));
    site.sink("erp").handle.pause(pause("a", now + HOUR));
    assert_eq!(stored_pauses(&mut sink).await, [pause("a", now + 2 * HOUR), pause("b", now + HOUR)]);
    sink.handle.forget_pauses(at(now + HOUR));
    assert_eq!(stored_pauses(&mut sink).await, [pause("a", now + 2 * HOUR)]);
    sink.handle.forget_pauses(at(now + 2 * HOUR));
    assert_eq!(stored_pauses(&mut sink).await, []);
    let states = SinkStates::open(&site.settings).await.unwrap().all().await.unwrap();
    assert_eq!((states.get("crm").map(|state| &state.pauses), states["erp"].pauses.len()), (None, 1));
}

#[tokio::test]
async fn a_person_ends_all_pauses_of_a_sink_and_makes_due_what_waits() {
    resumed(Site::sqlite()).await;
}

pub(super) async fn resumed(site: Site) {
    let mut sink = site.sink("crm");
    let now = present();
    sink.park(vec![in_bucket("a", "one", now + HOUR), in_bucket("b", "two", now + 2 * HOUR)]).await;
    sink.handle.pause(pause("a", now + HOUR));
    sink.handle.pause(pause("over", now - 1));
    assert_eq!(stored_pauses(&mut sink).await.len(), 2);
    let mut states = SinkStates::open(&site.settings).await.unwrap();
    assert_eq!(states.resume("crm").await.unwrap(), Resumed { pauses: 1, due: 2 });
    let claimed = sink.due(now + 60).await;
    assert_eq!((ids(&claimed.deliveries).len(), claimed.pauses), (2, vec![]));
    assert_eq!(states.resume("crm").await.unwrap(), Resumed { pauses: 0, due: 0 });
}

#[tokio::test]
async fn what_was_parked_until_the_end_of_a_pause_is_due_when_that_was_ended() {
    ended_early(Site::sqlite()).await;
}

pub(super) async fn ended_early(site: Site) {
    let mut sink = site.sink("crm");
    let now = present();
    let until_the_end = ["one", "two"].map(|id| in_bucket("a", id, now + HOUR)).to_vec();
    sink.park(until_the_end).await;
    sink.park(vec![in_bucket("a", "later", now + 2 * HOUR), in_bucket("b", "elsewhere", now + HOUR)]).await;
    sink.handle.resume(pause("a", now + HOUR), at(now));
    assert_eq!(ids(&sink.due(now).await.deliveries), ["one", "two"]);
    assert_eq!(ids(&sink.due(now + HOUR).await.deliveries), ["elsewhere"]);
}
