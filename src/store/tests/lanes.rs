//! Order per key: one delivery of a lane at a time, in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn followers_wait_for_the_head_of_their_lane() {
    followers_wait(Site::sqlite()).await;
}

pub(super) async fn followers_wait(site: Site) {
    let mut sink = site.sink("crm");
    assert!(!sink.has_lane("k").await);
    sink.park(vec![in_lane("k", "k1", 5), in_lane("k", "k2", 1), in_lane("m", "m1", 2), delivery("free", 3)]).await;
    sink.park(vec![in_lane("k", "k3", 1)]).await;
    assert!(sink.has_lane("k").await && sink.has_lane("m").await && !sink.has_lane("n").await);
    assert!(!site.sink("mail").has_lane("k").await, "the lanes of each sink are its own");

    let claimed = sink.due(9).await;
    assert_eq!(ids(&claimed.deliveries), ["m1", "free", "k1"]);
    assert!(claimed.has_lanes);
    let head = claimed.deliveries[2].core.row.unwrap();
    // While the head is attempted, and while it waits again, nobody overtakes it.
    assert_eq!(sink.due(9).await.deliveries.len(), 0);
    sink.handle.reschedule(head, at(20), attempts(2));
    let nothing = sink.due(19).await;
    assert_eq!((nothing.deliveries.len(), nothing.next_due), (0, Some(at(20))));

    assert_eq!(ids(&sink.due(20).await.deliveries), ["k1"]);
    sink.handle.finish(head);
    let now = Timestamp::now().as_second() + 60;
    let second = sink.due(now).await.deliveries;
    assert_eq!(ids(&second), ["k2"]);
    // A head that becomes a dead letter lets the next one go.
    sink.handle.bury(letter(second[0].clone(), Reason::Rejected), None);
    let third = sink.due(now).await.deliveries;
    assert_eq!(ids(&third), ["k3"]);
    sink.handle.finish(third[0].core.row.unwrap());
    assert!(!sink.has_lane("k").await);
}

#[tokio::test]
async fn lanes_survive_a_restart() {
    survive_a_restart(Site::sqlite()).await;
}

pub(super) async fn survive_a_restart(mut site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![in_lane("k", "k1", 5), in_lane("k", "k2", 5)]).await;
    assert_eq!(ids(&sink.due(5).await.deliveries), ["k1"]);
    drop(sink);
    site.stop();
    site.start();
    let mut sink = site.sink("crm");
    sink.park(vec![in_lane("k", "k3", 1)]).await;
    assert_eq!(ids(&sink.due(5).await.deliveries), ["k1"], "what was handed out came free, in its place");
}

#[tokio::test]
async fn a_replayed_delivery_outside_its_lane_holds_nobody_up() {
    replayed_outside(Site::sqlite()).await;
}

pub(super) async fn replayed_outside(site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![in_lane("k", "k1", 5)]).await;
    let mut database = site.database().await;
    sqlx::query("UPDATE deliveries SET lane = NULL").execute(database.connection()).await.unwrap();
    // The event is read once more, with the one that follows it: `k2` follows nobody in the store.
    sink.park(vec![in_lane("k", "k1", 5), in_lane("k", "k2", 5)]).await;
    let now = Timestamp::now().as_second() + 60;
    assert_eq!(ids(&sink.due(now).await.deliveries), ["k1", "k2"]);
}

#[tokio::test]
async fn a_follower_of_a_delivery_outside_its_lane_is_let_go_whatever_comes_between() {
    follower_of_replayed(Site::sqlite()).await;
}

pub(super) async fn follower_of_replayed(site: Site) {
    let mut sink = site.sink("crm");
    sink.park(vec![in_lane("k", "k1", 5)]).await;
    let mut database = site.database().await;
    sqlx::query("UPDATE deliveries SET lane = NULL").execute(database.connection()).await.unwrap();
    // So many that `k1` and `k2` are not written by one statement.
    let mut many: Vec<_> = (0..63).map(|index| delivery(&format!("e-{index}"), 9)).collect();
    many.extend([in_lane("k", "k1", 5), in_lane("k", "k2", 5)]);
    sink.park(many).await;
    let now = Timestamp::now().as_second() + 60;
    let claimed = sink.due(now).await.deliveries;
    assert!(ids(&claimed).contains(&"k2"), "it waits for nobody: {:?}", ids(&claimed));
}

#[tokio::test]
async fn a_letter_that_is_parked_again_does_not_go_in_front_of_its_lane() {
    parked_again(Site::sqlite()).await;
}

pub(super) async fn parked_again(site: Site) {
    let mut sink = site.sink("crm");
    let now = Timestamp::now().as_second() + 60;
    sink.park(vec![in_lane("k", "k1", 5), in_lane("k", "k2", 5), in_lane("k", "k3", 5)]).await;
    let first = sink.due(5).await.deliveries.remove(0);
    sink.handle.bury(letter(first, Reason::Rejected), None);
    sink.park(vec![in_lane("k", "k1", 7)]).await;
    let claimed = sink.due(now).await.deliveries;
    assert_eq!(ids(&claimed), ["k1", "k2"]);
    assert_eq!(claimed[0].core.lane, None);
    sink.handle.finish(claimed[1].core.row.unwrap());
    assert_eq!(ids(&sink.due(now).await.deliveries), ["k3"]);
}

/// What happens to a lane, at random.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Park { lanes: Vec<u8> },
    Claim,
    End { which: prop::sample::Index, how: How },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    Delivered,
    Waits,
    Dies,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop_oneof![Just(How::Delivered), Just(How::Waits), Just(How::Dies)];
    let step = prop_oneof![
        prop::collection::vec(0..3_u8, 1..6).prop_map(|lanes| Step::Park { lanes }),
        Just(Step::Claim),
        (any::<prop::sample::Index>(), how).prop_map(|(which, how)| Step::End { which, how }),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Against a model in which a lane is a queue: what is handed out is always the front of a queue that has nothing
    /// out, and all of those.
    #[test]
    fn every_history_keeps_the_order_of_every_lane(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(keeps_the_order(Site::sqlite(), steps));
    }
}

pub(super) async fn keeps_the_order(site: Site, steps: Vec<Step>) {
    let mut sink = site.sink("crm");
    let mut model: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    let mut out: Vec<StoredDelivery> = Vec::new();
    let now = Timestamp::now().as_second() + 3600;
    let mut made = 0;
    for step in steps {
        match step {
            Step::Park { lanes } => {
                let mut parked = Vec::new();
                for lane in lanes {
                    made += 1;
                    model.entry(lane).or_default().push(format!("e-{made}"));
                    parked.push(in_lane(&lane.to_string(), &format!("e-{made}"), 1));
                }
                sink.park(parked).await;
            }
            Step::Claim => {
                let is_out = |id: &String| out.iter().any(|delivery| delivery.core.event.id == *id);
                let heads: HashSet<String> =
                    model.values().filter_map(|queue| queue.first()).filter(|id| !is_out(id)).cloned().collect();
                let claimed = sink.due(now).await;
                let found: HashSet<String> = ids(&claimed.deliveries).into_iter().map(str::to_owned).collect();
                assert_eq!(found, heads);
                assert_eq!(claimed.has_lanes, !model.is_empty());
                out.extend(claimed.deliveries);
            }
            Step::End { which, how } if !out.is_empty() => {
                let delivery = out.swap_remove(which.index(out.len()));
                let row = delivery.core.row.unwrap();
                if let How::Waits = how {
                    sink.handle.reschedule(row, at(2), attempts(2));
                    continue;
                }
                let lane: u8 = delivery.core.lane.as_ref().unwrap().parse().unwrap();
                let queue = model.get_mut(&lane).unwrap();
                assert_eq!(queue.remove(0), delivery.core.event.id);
                if queue.is_empty() {
                    model.remove(&lane);
                }
                match how {
                    How::Delivered => sink.handle.finish(row),
                    _ => sink.handle.bury(letter(delivery, Reason::Rejected), None),
                }
            }
            Step::End { .. } => {}
        }
    }
}
