//! What a replay makes of a dead letter: pure, without I/O.
//!
//! A letter of a sink is rendered anew with today's pipeline, or sent as it was. A letter of another node goes on from that
//! node: filters decide, transforms make of it what they do today, and each sink that is reached gets its delivery.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Graph;
use super::dead_letters::is_of_a_letter;
use super::graph::Target;
use super::routes::{Failure, Prepared, RouteEnd, Routes};
use crate::delivery::stored::stored_request;
use crate::event::{Event, Format};
use crate::node::NodeName;
use crate::secret::mask;
use crate::store::record::{AttemptLog, DeliveryCore, Letter, Reason, StoredDelivery, StoredRequest};
use crate::store::replays::{Fate, Row};

/// What today's pipeline makes of dead letters.
pub struct Replayer {
    routes: Routes,
    /// Where letters of a node start, by the node.
    starts: HashMap<NodeName, Vec<Target>>,
    sources: HashMap<Arc<str>, SourceSettings>,
}

/// What today's pipeline says of a source.
struct SourceSettings {
    format: Format,
    max_event_size: usize,
    keeps_large_payloads: bool,
}

impl Replayer {
    /// Takes from the graph what replays need.
    pub fn new(graph: &Graph) -> Self {
        let starts = graph.nodes().filter_map(|node| graph.start_at(&node).map(|start| (node, start))).collect();
        let sources = graph.sources.iter().map(|source| {
            let settings = SourceSettings {
                format: source.format,
                max_event_size: source.bounds.max_event_size,
                keeps_large_payloads: source.connector.keeps_large_payloads(),
            };
            (Arc::clone(&source.name), settings)
        });
        Self { routes: graph.routes(), starts, sources: sources.collect() }
    }

    /// What becomes of a letter at `now`. `as_sent` takes the request of the first attempts instead of a new one.
    ///
    /// # Errors
    /// Why the letter cannot be replayed, in a sentence; it stays as it is.
    pub fn replay(&self, letter: Letter, as_sent: bool, now: Timestamp) -> Result<Fate, String> {
        if !self.starts.contains_key(&letter.node) {
            return Err(format!("the pipeline has no `{}` any more", letter.node));
        }
        if as_sent { as_it_was_sent(letter, now) } else { self.anew(letter, now) }
    }

    fn anew(&self, letter: Letter, now: Timestamp) -> Result<Fate, String> {
        self.check_payload(&letter)?;
        let event = self.as_read_today(&letter.core.event);
        let start = self.starts.get(&letter.node).map(Vec::as_slice).unwrap_or_default();
        let mut ends = Vec::new();
        self.routes.walk(&event, &self.routes.start(start), &mut ends);
        // At a sink there is one way, and it ends there. An event that goes on from a source or a filter leaves its row.
        let stays = |end: &RouteEnd| self.node_of(end) == letter.node;
        Ok(match ends.pop_if(|end| stays(end)) {
            Some(RouteEnd::Sink(_, prepared)) => {
                let node = letter.node.clone();
                let (delivery, first_request) = parked_again(letter, prepared, now);
                Fate::Delivery { node, delivery: Box::new(delivery), first_request }
            }
            Some(RouteEnd::Failed(failure)) => Fate::Letter(Box::new(given_up_again(letter, failure, now))),
            None => Fate::Rows(ends.into_iter().map(|end| self.row(end, now)).collect()),
        })
    }

    /// Refuses letters whose payload is not whole.
    fn check_payload(&self, letter: &Letter) -> Result<(), String> {
        let source = &letter.core.event.source;
        match letter.reason {
            Reason::Lost => Err("its payload is lost: the source could not read it any more".to_owned()),
            Reason::TooLarge => {
                let Some(settings) = self.sources.get(source) else {
                    return Err(format!("the pipeline has no source `{source}` any more"));
                };
                let size = letter.core.event.size();
                if !settings.keeps_large_payloads {
                    return Err("only the beginning of its payload was kept: it was too large".to_owned());
                }
                if size > settings.max_event_size {
                    let limit = settings.max_event_size;
                    return Err(format!("it has {size} bytes, and `max_event_size` of `{source}` is still {limit}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The event as its source would read it today, or as what tells another sink of its letter. What a transform has made
    /// is no source's to read.
    fn as_read_today(&self, event: &Arc<Event>) -> Arc<Event> {
        if event.is_derived() {
            return Arc::clone(event);
        }
        match self.sources.get(&event.source) {
            Some(settings) if is_of_a_letter(event) => {
                let mut event = Event { format: settings.format, ..Event::clone(event) };
                event.format = event.readable_format();
                Arc::new(event)
            }
            Some(settings) if settings.format != event.format => {
                Arc::new(Event { format: settings.format, ..Event::clone(event) })
            }
            _ => Arc::clone(event),
        }
    }

    fn node_of(&self, end: &RouteEnd) -> NodeName {
        match end {
            RouteEnd::Sink(index, _) => NodeName::sink(Arc::clone(&self.routes.sinks[*index].name)),
            RouteEnd::Failed(failure) => failure.node.clone(),
        }
    }

    fn row(&self, end: RouteEnd, now: Timestamp) -> Row {
        let node = self.node_of(&end);
        match end {
            RouteEnd::Sink(_, prepared) => Row::Delivery(node, Box::new(due_now(prepared, now))),
            RouteEnd::Failed(failure) => Row::Letter(Box::new(failure.into_letter(now))),
        }
    }
}

/// The delivery with the request of the first attempts, whatever was replayed in between.
fn as_it_was_sent(letter: Letter, now: Timestamp) -> Result<Fate, String> {
    let Some(request) = letter.first_sent().cloned() else {
        return Err("the store has no request of it as it was sent; without --as-sent one is rendered anew".to_owned());
    };
    let core = DeliveryCore { lane: None, attempts: new_round(letter.core.attempts), ..letter.core };
    let delivery = StoredDelivery { core, request, due: now };
    Ok(Fate::Delivery { node: letter.node, delivery: Box::new(delivery), first_request: None })
}

/// A letter that is a delivery again: it keeps its row and its attempts. It has no lane, as those that came after it
/// have long gone on. The request of its first attempts stays beside the new one.
fn parked_again(letter: Letter, prepared: Prepared, now: Timestamp) -> (StoredDelivery, Option<StoredRequest>) {
    let DeliveryCore { row, copy, .. } = letter.core;
    let core = DeliveryCore { row, copy, attempts: new_round(letter.core.attempts.clone()), ..prepared.core };
    let stored = due_now(Prepared { core, ..prepared }, now);
    let first_request = letter.first_request_beside(Some(&stored.request)).cloned();
    (stored, first_request)
}

fn due_now(prepared: Prepared, now: Timestamp) -> StoredDelivery {
    let core = DeliveryCore { lane: None, ..prepared.core };
    StoredDelivery { core, request: stored_request(&prepared.request), due: now }
}

fn new_round(attempts: AttemptLog) -> AttemptLog {
    AttemptLog { round: 0, first: None, ..attempts }
}

fn given_up_again(letter: Letter, failure: Failure, now: Timestamp) -> Letter {
    let message = mask(&failure.message).into_owned();
    Letter { reason: failure.reason, message, time: now, ..letter }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::config::parse_lenient;
    use crate::pipeline::load::compile_parsed;
    use crate::store::record::AttemptRecord;

    const PIPELINE: &str = r#"
        name = "replays"
        [sources.lines]
        type = "stdin"
        max_event_size = "64KiB"
        [sources.topic]
        type = "kafka"
        brokers = ["127.0.0.1:9"]
        topics = ["t"]
        max_event_size = "64KiB"
        [filters.paid]
        from = ["lines", "topic"]
        when = "$.data.paid == true"
        [sinks.crm]
        type = "webhook"
        from = ["paid", "topic"]
        url = "http://127.0.0.1:9/{{data.n}}"
        order_by = "{{data.n}}"
        [sinks.log]
        type = "webhook"
        from = ["paid"]
        url = "http://127.0.0.1:9/log"
    "#;

    fn replayer() -> Replayer {
        let parsed = parse_lenient("test", PIPELINE, &|_| None);
        assert_eq!(parsed.faults, []);
        let folder = Path::new("/nowhere");
        Replayer::new(&compile_parsed(parsed, &folder.join("test.toml"), folder, true).unwrap().graph)
    }

    fn letter(node: &str, reason: Reason, source: &str, payload: impl Into<Bytes>) -> Letter {
        let event = Event {
            id: "e/1".into(),
            time: Timestamp::UNIX_EPOCH,
            source: source.into(),
            key: None,
            headers: Vec::new(),
            meta: Vec::new(),
            payload: Some(payload.into()),
            format: Format::Json,
            content_type: None,
        };
        let attempt = AttemptRecord::answered(Timestamp::UNIX_EPOCH, std::time::Duration::ZERO, 400, "no");
        let attempts = AttemptLog { total: 3, round: 3, first: Some(Timestamp::UNIX_EPOCH), records: vec![attempt] };
        Letter {
            core: DeliveryCore {
                row: Some(7),
                lane: Some("old".into()),
                attempts,
                ..DeliveryCore::new(Arc::new(event), 2)
            },
            node: node.parse().unwrap(),
            reason,
            message: "as it was".into(),
            time: Timestamp::UNIX_EPOCH,
            request: None,
            first_request: None,
            shown: None,
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn replay(letter: Letter) -> Result<Fate, String> {
        replayer().replay(letter, false, now())
    }

    #[test]
    fn a_letter_of_a_sink_is_rendered_anew_in_its_row() {
        let fate = replay(letter("sinks.crm", Reason::Rejected, "lines", r#"{"n":5}"#)).unwrap();
        let Fate::Delivery { node, delivery, .. } = fate else { panic!("{fate:?}") };
        assert_eq!((node, delivery.core.row, delivery.core.copy), (NodeName::sink("crm"), Some(7), 2));
        assert_eq!(delivery.request.url, "http://127.0.0.1:9/5");
        assert_eq!(
            (delivery.core.attempts.total, delivery.core.attempts.round, delivery.core.attempts.first),
            (3, 0, None)
        );
        assert_eq!(delivery.core.attempts.records.len(), 1, "what was tried stays known");
        assert_eq!((delivery.core.lane.clone(), delivery.due), (None, now()), "those behind it have long gone on");
    }

    #[test]
    fn as_sent_takes_the_first_request_and_needs_one() {
        let mut sent = letter("sinks.crm", Reason::Rejected, "lines", r#"{"n":5}"#);
        let error = replayer().replay(sent.clone(), true, now()).unwrap_err();
        assert!(error.contains("no request"), "{error}");
        let request = StoredRequest { url: "http://h/old".into(), headers: vec![], body: "old".into() };
        sent.request = Some(request.clone());
        let replayed = |letter: Letter, as_sent| match replayer().replay(letter, as_sent, now()) {
            Ok(Fate::Delivery { delivery, first_request, .. }) => (*delivery, first_request),
            other => panic!("{other:?}"),
        };
        let (delivery, first) = replayed(sent.clone(), true);
        assert_eq!((delivery.request, first), (request.clone(), None));
        assert_eq!((delivery.core.attempts.total, delivery.core.attempts.round), (3, 0));

        // Rendered anew, and given up again: the first one is still there, and is no longer when it was sent again.
        let (anew, first) = replayed(sent.clone(), false);
        assert_eq!((anew.request.url.as_str(), first.as_ref()), ("http://127.0.0.1:9/5", Some(&request)));
        let again = Letter { request: Some(anew.request), first_request: first, ..sent.clone() };
        assert_eq!(replayed(again.clone(), false).1.as_ref(), Some(&request));
        let (delivery, first) = replayed(again, true);
        assert_eq!((delivery.request, first), (request, None));

        // What was never attempted was never sent.
        sent.core.attempts = AttemptLog::default();
        assert_eq!(replayed(sent, false).1, None);
    }

    #[test]
    fn a_letter_that_cannot_be_rendered_stays_one() {
        let fate = replay(letter("sinks.crm", Reason::Rejected, "lines", "{}")).unwrap();
        let Fate::Letter(letter) = fate else { panic!("{fate:?}") };
        assert_eq!((letter.reason, letter.core.row, letter.core.attempts.total), (Reason::Unrenderable, Some(7), 3));
        assert!(letter.message.contains("cannot render"), "{}", letter.message);

        let fate = replay(letter_of_filter("still no JSON")).unwrap();
        assert!(matches!(&fate, Fate::Letter(letter) if letter.reason == Reason::Undecodable), "{fate:?}");
    }

    #[test]
    fn what_told_another_sink_of_a_letter_can_always_be_read() {
        let replayer = replayer();
        let original = letter("sinks.log", Reason::Rejected, "lines", "no JSON").core.event;
        assert_eq!(replayer.as_read_today(&original).format, Format::Json);
        let mut event = Event::clone(&original);
        event.meta.push(("dead_letter".into(), crate::event::MetaValue::Json(serde_json::json!({}))));
        assert_eq!(replayer.as_read_today(&Arc::new(event.clone())).format, Format::Text);
        event.payload = Some("{}".into());
        assert_eq!(replayer.as_read_today(&Arc::new(event)).format, Format::Json);
    }

    fn letter_of_filter(payload: &'static str) -> Letter {
        letter("filters.paid", Reason::Undecodable, "lines", payload)
    }

    #[test]
    fn a_letter_of_a_filter_goes_on_from_there() {
        let rows = |payload| match replay(letter_of_filter(payload)) {
            Ok(Fate::Rows(rows)) => rows,
            other => panic!("{other:?}"),
        };
        assert_eq!(rows(r#"{"paid":false}"#).len(), 0, "turned away");
        let both = rows(r#"{"paid":true,"n":1}"#);
        assert_eq!(both.len(), 2);
        assert!(both.iter().all(|row| matches!(row, Row::Delivery(_, delivery) if delivery.core.attempts.total == 0)));
        let one_fails = rows(r#"{"paid":true}"#);
        let failed = |row: &&Row| matches!(row, Row::Letter(letter) if letter.node == NodeName::sink("crm"));
        assert_eq!((one_fails.len(), one_fails.iter().filter(failed).count()), (2, 1));
    }

    #[test]
    fn only_whole_payloads_that_the_source_takes_today_are_replayed() {
        let of = |source: &str, reason, payload: Vec<u8>| {
            replay(letter(&NodeName::source(source).to_string(), reason, source, payload))
        };
        let small = br#"{"paid":true,"n":1}"#.to_vec();
        assert!(of("lines", Reason::TooLarge, small.clone()).unwrap_err().contains("only the beginning"));
        assert!(of("topic", Reason::Lost, small.clone()).unwrap_err().contains("lost"));
        assert!(of("topic", Reason::TooLarge, vec![b' '; 64 * 1024 + 1]).unwrap_err().contains("still 65536"));
        // By way of the filter to two sinks, and to one of them directly.
        let Ok(Fate::Rows(rows)) = of("topic", Reason::TooLarge, small) else { panic!() };
        let mut copies: Vec<_> = rows
            .iter()
            .map(|row| match row {
                Row::Delivery(node, delivery) => (node.name().to_string(), delivery.core.copy),
                Row::Letter(letter) => panic!("{letter:?}"),
            })
            .collect();
        copies.sort_unstable();
        assert_eq!(copies, [("crm", 0), ("crm", 1), ("log", 0)].map(|(sink, copy)| (sink.to_owned(), copy)));
    }

    #[test]
    fn a_letter_of_a_node_that_is_gone_is_refused() {
        for node in ["sinks.gone", "filters.gone", "sources.gone"] {
            let error = replay(letter(node, Reason::Rejected, "lines", "{}")).unwrap_err();
            assert!(error.contains(node), "{error}");
        }
    }
}
