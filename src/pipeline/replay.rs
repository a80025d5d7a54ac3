//! What a replay makes of a dead letter: pure, without I/O.
//!
//! A letter of a sink is rendered anew with today's pipeline, or sent as it was. A letter of a filter or source goes on
//! from that node: the filters decide, and each sink that it reaches gets its delivery.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Graph;
use super::graph::Target;
use super::routes::{Failure, Routes, Stop};
use crate::delivery::Delivery;
use crate::delivery::stored::to_stored;
use crate::event::{Event, Format};
use crate::secret::mask;
use crate::store::record::{AttemptLog, Letter, Reason, StoredDelivery};
use crate::store::replays::{Fate, Row};

/// What today's pipeline makes of dead letters.
pub struct Replayer {
    routes: Routes,
    /// Where letters of a node start, by the node.
    starts: HashMap<String, Vec<Target>>,
    sources: HashMap<Arc<str>, Today>,
}

/// What today's pipeline says of a source.
struct Today {
    format: Format,
    max_event_size: usize,
    keeps_large_payloads: bool,
}

impl Replayer {
    /// Takes from the graph what replays need.
    pub fn new(graph: &Graph) -> Self {
        let names = graph.sources.iter().map(|source| format!("sources.{}", source.name));
        let names = names.chain(graph.filters.iter().map(|filter| format!("filters.{}", filter.name)));
        let names = names.chain(graph.sinks.iter().map(|sink| format!("sinks.{}", sink.entrance.name)));
        let starts = names.filter_map(|node| graph.start_at(&node).map(|start| (node, start))).collect();
        let sources = graph.sources.iter().map(|source| {
            let today = Today {
                format: source.format,
                max_event_size: source.bounds.max_event_size,
                keeps_large_payloads: source.connector.keeps_large_payloads(),
            };
            (Arc::clone(&source.name), today)
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
        let event = self.as_read_today(&letter.event);
        let start = self.starts.get(&letter.node).map(Vec::as_slice).unwrap_or_default();
        let mut stops = Vec::new();
        self.routes.walk(&event, start, &mut stops);
        // At a sink there is one way, and it ends there. An event that goes on from a source or a filter leaves its row.
        let stays = |stop: &Stop| self.node_of(stop) == letter.node;
        Ok(match stops.pop_if(|stop| stays(stop)) {
            Some(Stop::Sink(_, delivery)) => {
                Fate::Delivery(letter.node.clone(), Box::new(parked_again(letter, *delivery, now)))
            }
            Some(Stop::Failed(failure)) => Fate::Letter(Box::new(given_up_again(letter, failure, now))),
            None => Fate::Rows(stops.into_iter().map(|stop| self.row(stop, &event, now)).collect()),
        })
    }

    /// Refuses letters whose payload is not whole.
    fn check_payload(&self, letter: &Letter) -> Result<(), String> {
        let source = &letter.event.source;
        match letter.reason {
            Reason::Lost => Err("its payload is lost: the source could not read it any more".to_owned()),
            Reason::TooLarge => {
                let Some(today) = self.sources.get(source) else {
                    return Err(format!("the pipeline has no source `{source}` any more"));
                };
                let size = letter.event.size();
                if !today.keeps_large_payloads {
                    return Err("only the beginning of its payload was kept: it was too large".to_owned());
                }
                if size > today.max_event_size {
                    let limit = today.max_event_size;
                    return Err(format!("it has {size} bytes, and `max_event_size` of `{source}` is still {limit}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The event as its source would read it today.
    fn as_read_today(&self, event: &Arc<Event>) -> Arc<Event> {
        match self.sources.get(&event.source) {
            Some(today) if today.format != event.format => {
                Arc::new(Event { format: today.format, ..Event::clone(event) })
            }
            _ => Arc::clone(event),
        }
    }

    fn node_of(&self, stop: &Stop) -> String {
        match stop {
            Stop::Sink(index, _) => format!("sinks.{}", self.routes.sinks[*index].name),
            Stop::Failed(failure) => failure.node.clone(),
        }
    }

    fn row(&self, stop: Stop, event: &Arc<Event>, now: Timestamp) -> Row {
        let node = self.node_of(&stop);
        match stop {
            Stop::Sink(_, delivery) => Row::Delivery(node, Box::new(due_now(*delivery, now))),
            Stop::Failed(failure) => Row::Letter(Box::new(new_letter(failure, event, now))),
        }
    }
}

fn as_it_was_sent(letter: Letter, now: Timestamp) -> Result<Fate, String> {
    let Some(request) = letter.request else {
        return Err("it was never sent: no request could be made of it".to_owned());
    };
    let delivery = StoredDelivery {
        row: letter.row,
        event: letter.event,
        copy: letter.copy,
        request,
        bucket: letter.bucket,
        lane: None,
        attempts: new_round(letter.attempts),
        due: now,
    };
    Ok(Fate::Delivery(letter.node, Box::new(delivery)))
}

/// A letter that is a delivery again: it keeps its row and its attempts. It has no lane, as those that came after it
/// have long gone on.
fn parked_again(letter: Letter, delivery: Delivery, now: Timestamp) -> StoredDelivery {
    let stored = due_now(delivery, now);
    StoredDelivery { row: letter.row, copy: letter.copy, attempts: new_round(letter.attempts), ..stored }
}

fn due_now(delivery: Delivery, now: Timestamp) -> StoredDelivery {
    // There is no ack: the event's source has settled it long ago.
    let (stored, _) = to_stored(delivery, now);
    StoredDelivery { lane: None, ..stored }
}

fn new_round(attempts: AttemptLog) -> AttemptLog {
    AttemptLog { round: 0, first: None, ..attempts }
}

fn given_up_again(letter: Letter, failure: Failure, now: Timestamp) -> Letter {
    let message = mask(&failure.message).into_owned();
    Letter { reason: failure.reason, message, time: now, ..letter }
}

fn new_letter(failure: Failure, event: &Arc<Event>, now: Timestamp) -> Letter {
    Letter {
        row: None,
        message: mask(&failure.message).into_owned(),
        node: failure.node,
        reason: failure.reason,
        time: now,
        event: Arc::clone(event),
        copy: failure.copy,
        request: None,
        shown: None,
        bucket: Arc::default(),
        lane: None,
        attempts: AttemptLog::default(),
    }
}
