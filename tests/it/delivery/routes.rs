//! Which sinks an event reaches.

use webhook_bridge::receiver::Behaviour;

use super::{Site, numbered, numbers};

const SOURCE: &str = "name = \"it\"\n[sources.input]\ntype = \"stdin\"\n";

fn sink(site: &Site, name: &str, from: &str) -> String {
    let url = site.receiver.url();
    format!("[sinks.{name}]\ntype = \"webhook\"\nfrom = {from}\nurl = \"{url}/{name}\"\n")
}

fn filter(name: &str, from: &str, when: &str) -> String {
    format!("[filters.{name}]\nfrom = [\"{from}\"]\nwhen = \"{when}\"\n")
}

/// The sorted numbers of the events that came to each path.
fn arrived(site: &mut Site, paths: &[&str]) -> Vec<Vec<u64>> {
    let requests = site.received();
    let at = |path: &&str| {
        let mut requests = requests.clone();
        requests.retain(|request| request.path_and_query == format!("/{path}"));
        let mut numbers = numbers(&requests);
        numbers.sort_unstable();
        numbers
    };
    paths.iter().map(at).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_part_the_events_and_nothing_falls_between() {
    let mut site = Site::start(Behaviour::default()).await;
    let config = [
        SOURCE.to_owned(),
        filter("small", "input", "$.data.n <= 4"),
        filter("tiny", "small", "$.data.n <= 2"),
        sink(&site, "tiny_ones", "[\"tiny\"]"),
        sink(&site, "small_ones", "[\"tiny.unmatched\"]"),
        sink(&site, "others", "[\"small.unmatched\"]"),
        sink(&site, "everything", "[\"small\", \"small.unmatched\"]"),
    ];
    site.deliver_all(&config.concat(), &numbered(7));
    let arrived = arrived(&mut site, &["tiny_ones", "small_ones", "others", "everything"]);
    assert_eq!(arrived, [vec![1, 2], vec![3, 4], vec![5, 6, 7], (1..=7).collect()]);
    assert_eq!(site.dead_letters().len(), 0, "what a filter turns away is no dead letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_paths_to_one_sink_deliver_twice() {
    let mut site = Site::start(Behaviour::default()).await;
    let config =
        [SOURCE.to_owned(), filter("odd", "input", "$.data.n != 2"), sink(&site, "both", "[\"input\", \"odd\"]")];
    site.deliver_all(&config.concat(), &numbered(3));
    assert_eq!(arrived(&mut site, &["both"]), [[1, 1, 2, 3, 3]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_filter_cannot_read_still_reaches_the_other_sinks() {
    let mut site = Site::start(Behaviour::default()).await;
    let config = [
        SOURCE.to_owned(),
        filter("odd", "input", "$.data.n != 2"),
        sink(&site, "filtered", "[\"odd\"]"),
        sink(&site, "raw", "[\"input\"]"),
    ];
    site.deliver_all(&config.concat(), &["{\"n\":1}", "oops"]);
    let requests = site.received();
    let raw: Vec<_> = requests.iter().filter(|request| request.path_and_query == "/raw").collect();
    assert_eq!((requests.len(), raw.len()), (3, 2));
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["node"], &letters[0]["reason"]), (&"filters.odd".into(), &"undecodable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_deliver_the_same() {
    let mut site = Site::start(Behaviour::default()).await;
    let config = [
        SOURCE.to_owned(),
        "[runtime]\nworkers = 3\n".to_owned(),
        sink(&site, "one", "[\"input\"]"),
        sink(&site, "two", "[\"input\"]"),
    ];
    site.deliver_all(&config.concat(), &numbered(200));
    let all: Vec<u64> = (1..=200).collect();
    assert_eq!(arrived(&mut site, &["one", "two"]), [all.clone(), all]);
}
