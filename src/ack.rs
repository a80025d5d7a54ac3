//! Acknowledgement: the token that travels with every event, and the watermark it moves.
//!
//! A source makes one [`Ack`] per event. Every delivery of the event holds a clone of it and settles that clone when
//! the delivery has ended. Once the last clone is gone the source is told, in a [`Settlement`], whether *all* of them
//! were settled. A clone that is dropped without being settled (a panic, a shutdown) makes the event *failed*: silence
//! is never success.
//!
//! This module knows neither sources nor deliveries, and does no I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::time::Instant;

/// One holder's share of an event. Clone it for each further delivery; [`settle`](Ack::settle) it when that delivery
/// has ended. Dropping it unsettled fails the event.
#[derive(Debug, Clone)]
#[must_use = "an ack that is dropped without being settled fails its event"]
pub struct Ack {
    /// `None` once settled, so that the drop that follows does not count as a failure.
    token: Option<Arc<Token>>,
}

/// Where an event stands in its source: a partition of the source and a number that grows by one per event in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Which connection of the source read the event: partition numbers mean nothing beyond their connection.
    pub session: u32,
    /// The source's own number for the partition (topic partition, file, channel).
    pub partition: u32,
    /// The event's number within the partition, from [`Watermark::open`].
    pub sequence: u64,
}

/// What a source hears when all shares of an event are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Which event.
    pub ticket: Ticket,
    /// The bytes that the event counted against the bound on bytes in flight.
    pub bytes: usize,
    /// True when every share was settled; false when one was dropped.
    pub settled: bool,
}

/// The sending side of a source's settlements. It is unbounded by type and bounded in fact: a source has at most
/// `max_in_flight` events open, and each is reported once.
pub type SettlementSender = mpsc::UnboundedSender<Settlement>;
/// The receiving side of a source's settlements.
pub type SettlementReceiver = mpsc::UnboundedReceiver<Settlement>;

#[derive(Debug)]
struct Token {
    ticket: Ticket,
    bytes: usize,
    alone_since: Option<Instant>,
    failed: AtomicBool,
    source: SettlementSender,
}

impl Ack {
    /// The first share of an event.
    pub fn new(ticket: Ticket, bytes: usize, source: SettlementSender) -> Self {
        Self::of_partition(ticket, bytes, None, source)
    }

    /// The first share of an event of a partition that this process alone reads, since then: whatever came before in the
    /// partition had settled by then, or comes through this process.
    pub fn of_partition(ticket: Ticket, bytes: usize, alone_since: Option<Instant>, source: SettlementSender) -> Self {
        let token = Token { ticket, bytes, alone_since, failed: AtomicBool::new(false), source };
        Self { token: Some(Arc::new(token)) }
    }

    /// Since when this process alone reads the event's partition; `None` when others may read it as well.
    pub fn alone_since(&self) -> Option<Instant> {
        self.token.as_ref()?.alone_since
    }

    /// Says that the delivery that held this share has ended: delivered, filtered or dead-lettered.
    pub fn settle(mut self) {
        self.token = None;
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            token.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let settlement = Settlement { ticket: self.ticket, bytes: self.bytes, settled: !*self.failed.get_mut() };
        // A source that is gone has no position left to move: its next run starts from the last commit.
        self.source.send(settlement).ok();
    }
}

/// The contiguous prefix of settled events in one partition: the only thing ever committed to a source.
///
/// `P` is the position to commit once an event *and all before it* have settled, for example the next Kafka offset.
/// Positions are taken in the order in which events were opened and need not be contiguous themselves.
#[derive(Debug)]
pub struct Watermark<P> {
    first: u64,
    window: VecDeque<Slot<P>>,
}

#[derive(Debug)]
struct Slot<P> {
    position: P,
    settled: bool,
}

impl<P> Default for Watermark<P> {
    fn default() -> Self {
        Self { first: 0, window: VecDeque::new() }
    }
}

impl<P> Watermark<P> {
    /// Opens the next event and returns its sequence number.
    pub fn open(&mut self, position: P) -> u64 {
        self.window.push_back(Slot { position, settled: false });
        self.first + self.window.len() as u64 - 1
    }

    /// Marks an event as settled. Returns its position, or `None` when it was not open.
    pub fn settle(&mut self, sequence: u64) -> Option<&P> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let slot = self.window.get_mut(index).filter(|slot| !slot.settled)?;
        slot.settled = true;
        Some(&slot.position)
    }

    /// Moves the watermark over all events that have settled without a gap. Returns the position to commit, or `None`
    /// when it did not move.
    pub fn advance(&mut self) -> Option<P> {
        let mut position = None;
        while self.window.front().is_some_and(|slot| slot.settled) {
            position = self.window.pop_front().map(|slot| slot.position);
            self.first += 1;
        }
        position
    }

    /// The positions of the events that have not settled, in the order in which they were opened.
    pub fn unsettled(&self) -> impl Iterator<Item = &P> {
        self.window.iter().filter(|slot| !slot.settled).map(|slot| &slot.position)
    }

    /// The number of events above the watermark, settled or not.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// True when no event is above the watermark.
    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket(sequence: u64) -> Ticket {
        Ticket { session: 0, partition: 0, sequence }
    }

    #[test]
    fn an_event_settles_when_its_last_share_does() {
        let (sender, mut settlements) = mpsc::unbounded_channel();
        let ack = Ack::new(ticket(3), 10, sender);
        let other = ack.clone();
        ack.settle();
        assert!(settlements.try_recv().is_err());
        other.settle();
        let settlement = settlements.try_recv().unwrap();
        assert_eq!(settlement, Settlement { ticket: ticket(3), bytes: 10, settled: true });
    }

    #[test]
    fn one_dropped_share_fails_the_event() {
        let (sender, mut settlements) = mpsc::unbounded_channel();
        let ack = Ack::new(ticket(0), 0, sender);
        drop(ack.clone());
        assert!(settlements.try_recv().is_err());
        ack.settle();
        assert!(!settlements.try_recv().unwrap().settled);
    }

    #[test]
    fn the_watermark_waits_for_the_gap() {
        let mut watermark = Watermark::default();
        let sequences: Vec<u64> = [10, 20, 30].into_iter().map(|position| watermark.open(position)).collect();
        watermark.settle(sequences[1]);
        watermark.settle(sequences[2]);
        assert_eq!(watermark.advance(), None);
        watermark.settle(sequences[0]);
        assert_eq!(watermark.advance(), Some(30));
        assert!(watermark.is_empty());
        assert_eq!(watermark.settle(sequences[0]), None, "an event settles once");
    }

    proptest! {
        /// Whatever the order of opening and settling, the watermark equals the end of the settled prefix of a model.
        #[test]
        fn the_watermark_is_the_settled_prefix(steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..200)) {
            let mut watermark = Watermark::default();
            let mut model: Vec<bool> = Vec::new();
            let mut committed = None;
            for step in steps {
                match step {
                    None => {
                        let sequence = watermark.open(model.len());
                        prop_assert_eq!(sequence, model.len() as u64);
                        model.push(false);
                    }
                    Some(index) if !model.is_empty() => {
                        let sequence = index.index(model.len());
                        let was_open = !model[sequence];
                        prop_assert_eq!(watermark.settle(sequence as u64).is_some(), was_open);
                        model[sequence] = true;
                    }
                    Some(_) => {}
                }
                committed = watermark.advance().or(committed);
                let prefix = model.iter().take_while(|settled| **settled).count();
                prop_assert_eq!(committed, prefix.checked_sub(1));
                prop_assert_eq!(watermark.is_empty(), prefix == model.len());
                let unsettled = model.iter().enumerate().filter(|(_, settled)| !**settled).map(|(position, _)| position);
                prop_assert!(watermark.unsettled().copied().eq(unsettled));
            }
        }
    }
}
