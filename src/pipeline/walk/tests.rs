use std::path::Path;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::parse_lenient;
use crate::event::Format;
use crate::pipeline::Graph;
use crate::pipeline::load::compile_parsed;

/// A pipeline from the source `a`, with these nodes and the sinks `one` and `two`.
fn graph(nodes: &str, one_from: &str, two_from: &str) -> Graph {
    let sink = |name: &str, from: &str| {
        format!("[sinks.{name}]\ntype = 'webhook'\nfrom = [{from}]\nurl = 'http://127.0.0.1:9/'\n")
    };
    let sinks = sink("one", one_from) + &sink("two", two_from);
    let text = format!("name = 'test'\n[sources.a]\ntype = 'stdin'\n{nodes}\n{sinks}");
    let parsed = parse_lenient("test", &text, &|_| None);
    assert_eq!(parsed.faults, []);
    let folder = Path::new("/nowhere");
    compile_parsed(parsed, &folder.join("test.toml"), folder, true).unwrap_or_else(|errors| panic!("{errors}")).graph
}

fn event(format: Format, payload: impl Into<bytes::Bytes>) -> Arc<Event> {
    Arc::new(Event {
        id: "e".into(),
        time: Timestamp::UNIX_EPOCH,
        source: "a".into(),
        key: Some("k".into()),
        headers: Vec::new(),
        meta: Vec::new(),
        payload: Some(payload.into()),
        format,
        content_type: Some("text/x-own".into()),
    })
}

fn ends(graph: &Graph, event: &Arc<Event>) -> Vec<RouteEnd> {
    let routes = graph.routes();
    let mut ends = Vec::new();
    routes.walk(event, &routes.start(&graph.sources[0].outputs), &mut ends);
    ends
}

/// Each end as `node id copy: body`, or with the reason in the place of the body.
fn shown(graph: &Graph, event: &Arc<Event>) -> Vec<String> {
    let shown = ends(graph, event).into_iter().map(|end| match end {
        RouteEnd::Sink(index, Prepared { core, request }) => {
            let name = &graph.sinks[index].route.name;
            format!("{name} {} {}: {}", core.event.id, core.copy, String::from_utf8_lossy(&request.body))
        }
        RouteEnd::Failed(Failure { event, node, copy, reason, .. }) => {
            format!("{node} {} {copy}: {}", event.id, reason.as_str())
        }
    });
    shown.collect()
}

fn shown_json(graph: &Graph, data: serde_json::Value) -> Vec<String> {
    shown(graph, &event(Format::Json, data.to_string()))
}

#[test]
fn a_transform_makes_no_event_one_or_several() {
    let graph = graph("[transforms.t]\nfrom = ['a']\njq = '.data[]'", "'t'", "'a'");
    assert_eq!(shown_json(&graph, json!([])), ["two e 0: []"]);
    assert_eq!(shown_json(&graph, json!([{"n": 1}])), ["two e 0: [{\"n\":1}]", "one e 0: {\"n\":1}"]);
    assert_eq!(
        shown_json(&graph, json!([1, "x", null])),
        ["two e 0: [1,\"x\",null]", "one e#0 0: 1", "one e#1 0: \"x\"", "one e#2 0: null"]
    );
}

#[test]
fn what_is_made_is_json_of_its_own_and_keeps_the_other_members() {
    let graph = graph("[transforms.t]\nfrom = ['a']\njq = '{line: .data}'", "'t'", "'t'");
    let ends = ends(&graph, &event(Format::Text, "hi"));
    let RouteEnd::Sink(_, Prepared { core, request }) = &ends[0] else { panic!("{ends:?}") };
    let made = core.event.envelope().unwrap();
    assert_eq!((&made["data"], &made["key"]), (&json!({"line": "hi"}), &json!("k")));
    assert_eq!(made["meta"], json!({"transform": "t"}));
    assert_eq!(request.headers["content-type"], "application/json");
}

#[test]
fn filters_and_further_transforms_see_what_was_made() {
    let nodes = "[transforms.orders]\nfrom = ['a']\njq = '.data.orders[]'\n\
                 [filters.paid]\nfrom = ['orders']\nwhen = '$.data.paid == true'\n\
                 [transforms.items]\nfrom = ['paid']\njq = '.data.items[] | {sku: .}'";
    let graph = graph(nodes, "'items'", "'paid.unmatched'");
    let data = json!({"orders": [
        {"paid": true, "items": ["a", "b"]}, {"paid": false, "items": []}, {"paid": true, "items": ["c"]},
    ]});
    assert_eq!(
        shown_json(&graph, data),
        [
            "two e#1 0: {\"paid\":false,\"items\":[]}",
            "one e#0#0 0: {\"sku\":\"a\"}",
            "one e#0#1 0: {\"sku\":\"b\"}",
            "one e#2 0: {\"sku\":\"c\"}",
        ]
    );
}

#[test]
fn events_of_one_id_at_one_sink_are_told_apart() {
    let nodes = "[transforms.t]\nfrom = ['a']\njq = '{t: .data}'\n[transforms.u]\nfrom = ['a']\njq = '{u: .data}'";
    let graph = graph(nodes, "'t', 'u', 'a'", "'t'");
    let mut copies: Vec<_> = shown_json(&graph, json!(1)).iter().map(|end| end[..7].to_owned()).collect();
    copies.sort();
    assert_eq!(copies, ["one e 0", "one e 1", "one e 2", "two e 0"]);
}

#[test]
fn a_transform_that_fails_gives_up_the_event_that_came_to_it() {
    let nodes = "[transforms.t]\nfrom = ['a']\njq = '.data[]'\n[transforms.u]\nfrom = ['t']\njq = '.data.x'";
    let graph = graph(nodes, "'u'", "'t'");
    assert_eq!(shown_json(&graph, json!(5)), ["transforms.t e 0: unrenderable"]);
    assert_eq!(
        shown_json(&graph, json!([{"x": 1}, 2])),
        ["two e#0 0: {\"x\":1}", "transforms.u e#1 0: unrenderable", "two e#1 0: 2", "one e#0 0: 1"]
    );
    assert_eq!(shown(&graph, &event(Format::Json, "no JSON")), ["transforms.t e 0: undecodable"]);
}

#[test]
fn two_ways_to_a_transform_that_fails_give_two_letters() {
    let nodes = "[filters.f]\nfrom = ['a']\nwhen = '$.data'\n[transforms.t]\nfrom = ['a', 'f']\njq = 'error'";
    let graph = graph(nodes, "'t'", "'t'");
    let expected = ["transforms.t e 0: unrenderable", "transforms.t e 1: unrenderable"];
    assert_eq!(shown_json(&graph, json!(1)), expected);
}

#[test]
fn lines_that_do_not_match_go_where_they_are_taken_or_are_dead_letters() {
    let nodes = "[transforms.t]\nfrom = ['a']\nparse = 'logfmt'";
    let (prose, pairs) = (event(Format::Text, "prose"), event(Format::Text, "a=1"));
    let taken = graph(nodes, "'t'", "'t.unmatched'");
    assert_eq!(shown(&taken, &prose), ["two e 0: prose"]);
    assert_eq!(shown(&taken, &pairs), ["one e 0: {\"a\":\"1\"}"]);
    let untaken = graph(nodes, "'t'", "'t'");
    assert_eq!(shown(&untaken, &prose), ["transforms.t e 0: undecodable"]);
}

#[test]
fn all_that_is_made_of_one_event_is_bounded() {
    let nodes = "[transforms.t]\nfrom = ['a']\njq = 'range(200)'\n[transforms.u]\nfrom = ['t']\njq = 'range(100)'";
    let graph = graph(nodes, "'u'", "'t'");
    let ends = shown_json(&graph, json!(0));
    let count = |node: &str| ends.iter().filter(|end| end.starts_with(node)).count();
    // 200 of the first; of the second as many hundreds as the rest has room for.
    assert_eq!((count("two"), count("one"), count("transforms.u")), (200, 9800, 102));
}

#[test]
fn what_was_decided_is_told_in_the_order_of_the_way() {
    let nodes = "[filters.many]\nfrom = ['t']\nwhen = '$.data > 1'\n[transforms.t]\nfrom = ['a']\njq = '.data[]'";
    let graph = graph(nodes, "'many'", "'many.unmatched'");
    let (routes, mut ends) = (graph.routes(), Vec::new());
    let event = event(Format::Json, "[1, 2]");
    let decisions = routes.walk_with_decisions(&event, &routes.start(&graph.sources[0].outputs), &mut ends);
    let decisions: Vec<_> = decisions.iter().map(|Decision { node, result }| format!("{node} {result}")).collect();
    let expected = ["transforms.t gives 2 events", "filters.many does not match", "filters.many matches"];
    assert_eq!(decisions, expected);
}

proptest! {
    /// Whatever events are made of, a sink gets all of them once, in their order and under different ids.
    #[test]
    fn every_event_that_is_made_arrives_in_its_order(orders in proptest::collection::vec(0..4_u8, 0..6)) {
        let nodes = "[transforms.t]\nfrom = ['a']\njq = '.data[]'\n[transforms.u]\nfrom = ['t']\njq = '.data[]'";
        let graph = graph(nodes, "'u'", "'t'");
        let mut next = 0_u32;
        let data: Vec<Vec<u32>> = orders.iter().map(|count| (0..*count).map(|_| { next += 1; next }).collect()).collect();
        let event = event(Format::Json, json!(data).to_string());
        let (mut ids, mut bodies) = (Vec::new(), Vec::new());
        for end in ends(&graph, &event) {
            let RouteEnd::Sink(index, Prepared { core, request }) = end else { panic!("{end:?}") };
            if &*graph.sinks[index].route.name == "one" {
                ids.push(core.event.id.clone());
                bodies.push(String::from_utf8_lossy(&request.body).parse::<u32>().unwrap());
            }
        }
        prop_assert_eq!(bodies, (1..=next).collect::<Vec<_>>());
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        prop_assert_eq!(different.len(), ids.len());
    }
}
