//! Twenty reloads while events flow over Kafka.

use webhook_bridge::receiver::Behaviour;

use super::show;
use super::under_load::{Configs, KEYS, by_source, check, connections, payload, reload_twenty_times};
use crate::delivery::Site;
use crate::end_to_end::topic::Topic;
use crate::support::wait_until;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka broker"]
async fn over_kafka_nothing_is_lost_or_reordered_and_connections_are_kept() {
    let mut site = Site::start(Behaviour::default()).await;
    let (input, other) = (Topic::new(2).await, Topic::new(2).await);
    let keys = "commit_interval = \"50ms\"\n";
    let configs = Configs {
        input: input.source(keys),
        other: other.source(keys).replace("sources.input", "sources.other"),
        url: site.receiver.url(),
    };
    let runtime = tokio::runtime::Handle::current();
    let topics = [input.name.clone(), other.name.clone()];
    let write = move |numbers: std::ops::Range<usize>| {
        let records: Vec<_> = numbers.map(|n| (format!("k{}", n as u64 % KEYS), payload(n))).collect();
        runtime.block_on(async {
            input.produce_by_key(&records).await;
            other.produce_by_key(&records).await;
        });
    };
    let (bridge, count) = reload_twenty_times(&site, &configs, 100, write).await;
    wait_until("all events arrive", || site.receiver.requests() >= 3 * count as u64).await;
    assert!(bridge.stop().success());

    let requests = site.received();
    let of_topic = |path: &str, topic: &str| -> Vec<u64> {
        let by_partition = by_source(&requests, path);
        by_partition.into_iter().filter(|(id, _)| id.starts_with(topic)).flat_map(|(_, numbers)| numbers).collect()
    };
    assert_eq!(check(&of_topic("/steady", &topics[0]), count), 0);
    assert_eq!(check(&of_topic("/changing", &topics[0]), count), 0, "its source is the same all the time");
    let repeated = check(&of_topic("/changing", &topics[1]), count);
    assert_eq!(repeated, 0, "the removed source has finished what was in flight");
    let steady = connections(&requests, "/steady");
    show(&format!("{count} events, connections of the steady sink: {steady}"));
    assert!(steady <= 3);
}
