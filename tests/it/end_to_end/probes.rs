//! `check --connect` asks brokers for the destinations of dead letters, and leaves nothing behind there.

use std::path::Path;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use uuid::Uuid;

use super::topic::Topic;
use crate::amqp::broker::Broker;
use crate::delivery::Site;
use crate::support::{command, run_to_end};

/// Exit code and standard output of `check --connect` on a pipeline.
fn checked(folder: &Path, config: &str) -> (i32, String) {
    let file = folder.join("pipeline.toml");
    std::fs::write(&file, config).unwrap();
    let mut check = command();
    check.args(["check", "--connect", "--state-dir"]).arg(folder.join("state")).arg(&file);
    let (code, stdout, stderr) = run_to_end(&mut check);
    (code, format!("{stdout}{stderr}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn a_topic_for_dead_letters_is_looked_for_and_not_created() {
    let site = Site::start(Default::default()).await;
    let (topic, dead) = (Topic::new(1).await, Topic::new(3).await);
    let missing = format!("missing-{}", Uuid::new_v4());
    let config = |of_source: &str, of_sink: &str| {
        let source = topic.source(&format!("dead_letter = \"kafka:{of_source}\""));
        site.pipeline_of(&source, &format!("dead_letter = \"kafka:{of_sink}\""))
    };

    let (code, shown) = checked(site.folder.path(), &config(&dead.name, &topic.name));
    assert_eq!(code, 0, "{shown}");
    let line_of = |shown: &str, node: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("  {node}: ")));
        line.unwrap_or_else(|| panic!("{shown}")).to_owned()
    };
    let of_source = line_of(&shown, "sources.input.dead_letter");
    assert!(of_source.ends_with(&format!("; topic {} with 3 partitions", dead.name)), "{of_source}");
    let of_sink = line_of(&shown, "sinks.out.dead_letter");
    assert!(of_sink.ends_with(&format!("; topic {} with 1 partition", topic.name)), "{of_sink}");

    let (code, shown) = checked(site.folder.path(), &config(&missing, &dead.name));
    assert_eq!(code, 4, "{shown}");
    let of_source = line_of(&shown, "sources.input.dead_letter");
    assert!(of_source.contains(&format!("UNREACHABLE: topic {missing} does not exist")), "{of_source}");
    let topics = topic.onlooker().fetch_metadata(None, Duration::from_secs(30)).unwrap();
    assert!(topics.topics().iter().all(|known| known.name() != missing), "the question has created the topic");
    assert_eq!((dead.ends().len(), topic.ends().len()), (0, 0), "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn exchanges_and_queues_for_dead_letters_are_looked_for_and_not_declared() {
    let site = Site::start(Default::default()).await;
    let queue = Broker::shared().queue().await;
    queue.declare().await;
    let source = super::amqp::source(&queue, "");
    let of_sink = |destination: &str| {
        let config = site.pipeline_of(&source, &format!("dead_letter = \"{destination}\""));
        let (code, shown) = checked(site.folder.path(), &config);
        let line = shown.lines().find(|line| line.starts_with("  sinks.out.dead_letter: "));
        (code, line.unwrap_or_else(|| panic!("{shown}")).to_owned())
    };
    let missing = format!("missing-{}", Uuid::new_v4());
    for (destination, expected) in [
        ("amqp:amq.topic/any.key".to_owned(), "exchange \"amq.topic\" is there; whether a queue takes"),
        (format!("amqp:/{}", queue.name), "is there, with 0 messages ready"),
    ] {
        let (code, line) = of_sink(&destination);
        assert!(code == 0 && line.contains(expected), "{code}: {line}");
    }
    for (destination, what) in [(format!("amqp:{missing}/any.key"), "exchange"), (format!("amqp:/{missing}"), "queue")]
    {
        let expected = format!("cannot find the {what}: NOT_FOUND - no {what} '{missing}'");
        // The second time shows that the first has declared nothing.
        for _ in 0..2 {
            let (code, line) = of_sink(&destination);
            assert!(code == 4 && line.contains("UNREACHABLE: amqp://") && line.contains(&expected), "{code}: {line}");
        }
    }
    assert_eq!(queue.counts().await, (0, 0), "nothing is published");
    queue.delete().await;
}
