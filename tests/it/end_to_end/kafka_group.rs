//! Two bridges in one consumer group, one of which goes.

use std::time::Duration;

use tempfile::TempDir;
use webhook_bridge::receiver::Behaviour;

use super::topic::Topic;
use super::{Collected, duplicates};
use crate::delivery::Site;
use crate::support::{Bridge, wait_until};

const MAX_IN_FLIGHT: usize = 200;
const CONCURRENCY: usize = 10;
const DELAY: Duration = Duration::from_millis(20);

/// Two bridges that share the partitions of a topic, delivering to one receiver.
struct Pair {
    site: Site,
    topic: Topic,
    stays: Bridge,
    goes: Bridge,
    /// The state of the second bridge.
    _folder: TempDir,
}

impl Pair {
    async fn start() -> Self {
        let site = Site::start(Behaviour { delay: DELAY, ..Behaviour::default() }).await;
        let topic = Topic::new(4).await;
        let source = topic.source(&format!(
            "max_in_flight = {MAX_IN_FLIGHT}\ncommit_interval = \"100ms\"\n\
             options = {{ \"session.timeout.ms\" = \"2000\", \"heartbeat.interval.ms\" = \"300\" }}"
        ));
        let config = site.pipeline_of(&source, &format!("concurrency = {CONCURRENCY}"));
        let folder = tempfile::tempdir().unwrap();
        let stays = Bridge::run(site.folder.path(), &config);
        let assigned = format!("assigned: {}", topic.name);
        wait_until("the first bridge has partitions", || stays.log().contains(&assigned)).await;
        let goes = Bridge::run(folder.path(), &config);
        wait_until("the second bridge has partitions", || goes.log().contains(&assigned)).await;
        Self { site, topic, stays, goes, _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_bridge_that_is_killed_loses_nothing_and_repeats_no_more_than_was_open() {
    let Pair { mut site, topic, stays, goes, _folder } = Pair::start().await;
    let expected = topic.produce(4000).await;
    wait_until("both deliver", || goes.log().matches("delivered").count() > 300).await;
    assert!(site.receiver.requests() < 3000, "the kill must come in the middle");
    goes.kill();
    let mut collected = Collected::new();
    wait_until("everything is delivered", || collected.take(&mut site) == expected.len()).await;
    topic.committed_to_the_end().await;
    assert!(stays.stop().success());
    collected.take(&mut site);
    // Delivered but not committed when it died: at most what was in flight, and what settled since the last commit that
    // arrived. A commit is sent every 100 ms; one second of it, at the pace that concurrency and delay allow, is ample.
    let in_a_second = CONCURRENCY * 1000 / usize::try_from(DELAY.as_millis()).unwrap();
    let repeated = duplicates(&collected.delivered, &expected);
    assert!(repeated <= MAX_IN_FLIGHT + in_a_second, "{repeated} events were repeated");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_bridge_that_leaves_in_order_hands_over_without_a_repetition() {
    let Pair { mut site, topic, stays, goes, _folder } = Pair::start().await;
    let expected = topic.produce(4000).await;
    wait_until("both deliver", || goes.log().matches("delivered").count() > 300).await;
    assert!(site.receiver.requests() < 3000, "the end must come in the middle");
    assert!(goes.stop().success());
    let mut collected = Collected::new();
    wait_until("everything is delivered", || collected.take(&mut site) == expected.len()).await;
    topic.committed_to_the_end().await;
    assert!(stays.stop().success());
    collected.take(&mut site);
    assert_eq!(duplicates(&collected.delivered, &expected), 0);
}
