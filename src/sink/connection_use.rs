//! How many requests a receiver takes on one HTTP/2 connection before it ends that (RFC 9113, 6.8), as many web servers do.
//! Whoever knows it opens the next connection in time: what is sent behind the last request that a receiver takes was sent
//! in vain.
//!
//! Pure: the caller brings the time, and opens and counts connections.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The requests to one receiver, by the connection that they went by.
#[derive(Debug)]
pub(super) struct ConnectionUse {
    current: Requests,
    /// The connections that are being opened for what comes after.
    next: VecDeque<Requests>,
    /// Earlier connections that still have requests under way.
    former: Vec<Requests>,
    /// As many requests the last connection took that the receiver has ended.
    last: Option<u64>,
    known: Option<Known>,
    /// How many connections came after the first: the number of the newest.
    newest: u64,
}

/// The requests of one connection.
#[derive(Debug, Default)]
struct Requests {
    connection: u64,
    taken: u64,
    under_way: u64,
    unprocessed: u64,
}

/// The next connection is opened when as large a part of the requests is left that one takes: it takes a while.
const OPENED_WITH_LEFT: u64 = 4;

/// Or when the open connections take only so many times the requests under way. To open one takes as long as a few
/// requests one after another, as there are round trips for its name, TCP and TLS; until then all would wait for it.
const ROUNDS_TO_OPEN: u64 = 3;

/// What one connection takes.
#[derive(Debug, Clone, Copy)]
struct Known {
    requests: u64,
    since: Instant,
}

impl ConnectionUse {
    /// Nothing was sent yet.
    pub(super) fn new() -> Self {
        Self {
            current: Requests::default(),
            next: VecDeque::new(),
            former: Vec::new(),
            last: None,
            known: None,
            newest: 0,
        }
    }

    /// True when the receiver would not take another request on this connection. What was learned counts for `max_age`, as
    /// the receiver may have changed since, and only while the requests under way fit into one connection.
    pub(super) fn is_used_up(&self, max_age: Duration, now: Instant) -> bool {
        self.takes(max_age, now).is_some_and(|requests| self.current.taken >= requests)
    }

    /// True when this is the moment to open another connection, by sending one request there.
    pub(super) fn is_nearly_used_up(&self, max_age: Duration, now: Instant) -> bool {
        let Some(requests) = self.takes(max_age, now) else { return false };
        let left = |open: &Requests| requests.saturating_sub(open.taken);
        let left: u64 = std::iter::once(&self.current).chain(&self.next).map(left).sum();
        left <= (requests / OPENED_WITH_LEFT).max(self.under_way() * ROUNDS_TO_OPEN)
    }

    /// How many requests a connection takes, if that is known and matters.
    fn takes(&self, max_age: Duration, now: Instant) -> Option<u64> {
        let known = self.known.filter(|known| now.saturating_duration_since(known.since) < max_age);
        known.map(|known| known.requests).filter(|requests| self.under_way() <= *requests)
    }

    fn under_way(&self) -> u64 {
        let open = self.former.iter().chain([&self.current]).chain(&self.next);
        open.map(|requests| requests.under_way).sum()
    }

    /// Notes that another connection takes the next requests.
    pub(super) fn begin_connection(&mut self, now: Instant) {
        let next = self.next.pop_front().unwrap_or_else(|| self.open());
        let former = std::mem::replace(&mut self.current, next);
        if former.under_way > 0 {
            self.former.push(former);
        } else {
            self.learn(&former, now);
        }
    }

    /// Notes a request, and gives the number of its connection.
    pub(super) fn take(&mut self) -> u64 {
        self.current.taken += 1;
        self.current.under_way += 1;
        self.current.connection
    }

    /// Notes a request by which another connection is opened, and gives that one's number.
    pub(super) fn take_ahead(&mut self) -> u64 {
        let opened = Requests { taken: 1, under_way: 1, ..self.open() };
        self.next.push_back(opened);
        self.newest
    }

    /// Notes that the connections are not wanted any more that were opened for what comes after.
    pub(super) fn abandon_next(&mut self) {
        self.former.extend(self.next.drain(..).filter(|next| next.under_way > 0));
    }

    fn open(&mut self) -> Requests {
        self.newest += 1;
        Requests { connection: self.newest, ..Requests::default() }
    }

    /// Notes that a request has ended. Returns true when the receiver has not processed it and its connection is the one
    /// for the next request: then another is needed.
    pub(super) fn give_back(&mut self, connection: u64, is_processed: bool, now: Instant) -> bool {
        let is_current = self.current.connection == connection;
        let position = self.former.iter().position(|former| former.connection == connection);
        let requests = match position {
            Some(position) => &mut self.former[position],
            None if is_current => &mut self.current,
            None => match self.next.iter_mut().find(|next| next.connection == connection) {
                Some(next) => next,
                None => return false,
            },
        };
        requests.under_way = requests.under_way.saturating_sub(1);
        requests.unprocessed += u64::from(!is_processed);
        if let Some(position) = position.filter(|position| self.former[*position].under_way == 0) {
            let former = self.former.swap_remove(position);
            self.learn(&former, now);
        }
        is_current && !is_processed
    }

    /// Learns from a connection whose requests have all ended. One that the receiver has ended tells what it takes; two that
    /// agree, or one that agrees with what is known, are no accident, such as a restart of the receiver.
    fn learn(&mut self, ended: &Requests, now: Instant) {
        if ended.unprocessed == 0 {
            return;
        }
        let requests = ended.taken - ended.unprocessed.min(ended.taken);
        let agrees = |other: &u64| other.abs_diff(requests) <= requests / 8;
        let known = self.known.map(|known| known.requests);
        if let Some(other) = self.last.filter(agrees).or(known.filter(agrees)) {
            self.known = Some(Known { requests: requests.min(other).max(1), since: now });
        }
        self.last = Some(requests);
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::{BinaryHeap, HashMap};

    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(300);

    /// A receiver that takes so many requests on a connection, and a sender with so many under way. Gives the requests of
    /// `sent` that were sent in vain.
    fn unprocessed(usage: &mut ConnectionUse, span: u64, under_way: usize, sent: usize, now: Instant) -> usize {
        let (mut taken, mut in_vain) = (HashMap::new(), 0);
        let mut open = std::collections::VecDeque::new();
        for _ in 0..sent {
            if usage.is_used_up(MAX_AGE, now) {
                usage.begin_connection(now);
            }
            let number = if usage.is_nearly_used_up(MAX_AGE, now) { usage.take_ahead() } else { usage.take() };
            let taken: &mut u64 = taken.entry(number).or_default();
            *taken += 1;
            open.push_back((number, *taken <= span));
            if open.len() == under_way {
                let (number, is_processed) = open.pop_front().unwrap();
                in_vain += usize::from(!is_processed);
                if usage.give_back(number, is_processed, now) {
                    usage.begin_connection(now);
                }
            }
        }
        for (number, is_processed) in open {
            usage.give_back(number, is_processed, now);
        }
        in_vain
    }

    #[test]
    fn what_a_connection_takes_is_learned_and_nothing_more_is_sent_in_vain() {
        let now = Instant::now();
        let mut usage = ConnectionUse::new();
        assert!(unprocessed(&mut usage, 100, 64, 1000, now) > 0);
        assert_eq!(unprocessed(&mut usage, 100, 64, 20_000, now), 0);
    }

    /// How long a sender with so many requests under way takes for `sent` requests, when a receiver ends connections after
    /// `span` requests. A request takes 1000; a connection takes `opening` to be opened.
    fn duration(span: u64, under_way: usize, opening: u64, sent: usize) -> u64 {
        let now = Instant::now();
        let mut usage = ConnectionUse::new();
        let (mut open_at, mut taken) = (HashMap::<u64, u64>::new(), HashMap::<u64, u64>::new());
        let mut open = BinaryHeap::<Reverse<(u64, u64, bool)>>::new();
        let (mut time, mut left) = (0, sent);
        while left > 0 || !open.is_empty() {
            if open.len() == under_way || left == 0 {
                let Some(Reverse((end, number, is_processed))) = open.pop() else { break };
                time = end;
                left += usize::from(!is_processed);
                if usage.give_back(number, is_processed, now) {
                    usage.begin_connection(now);
                }
                continue;
            }
            left -= 1;
            if usage.is_used_up(MAX_AGE, now) {
                usage.begin_connection(now);
            }
            let number = if usage.is_nearly_used_up(MAX_AGE, now) { usage.take_ahead() } else { usage.take() };
            let begins = time.max(*open_at.entry(number).or_insert(time + opening));
            let taken = taken.entry(number).or_default();
            *taken += 1;
            open.push(Reverse((begins + 1000, number, *taken <= span)));
        }
        time
    }

    #[test]
    fn a_connection_is_opened_in_time_however_many_requests_are_under_way() {
        for under_way in [1, 8, 32, 64, 100] {
            for opening in [1000, 2000, 3000] {
                let endless = duration(u64::MAX, under_way, opening, 20_000) as f64;
                let ratio = endless / duration(100, under_way, opening, 20_000) as f64;
                assert!(ratio > 0.9, "{under_way} under way, opened in {opening}: {ratio}");
            }
        }
    }

    #[test]
    fn what_was_learned_is_forgotten_after_a_while() {
        let now = Instant::now();
        let mut usage = ConnectionUse::new();
        unprocessed(&mut usage, 100, 64, 1000, now);
        let later = now + MAX_AGE;
        let before = usage.current.connection;
        assert_eq!(unprocessed(&mut usage, u64::MAX, 64, 20_000, later), 0);
        assert_eq!(usage.current.connection, before, "the receiver takes any number of requests now");
    }

    #[test]
    fn an_end_by_accident_teaches_nothing() {
        let now = Instant::now();
        let mut usage = ConnectionUse::new();
        for taken in [10, 500, 40] {
            for _ in 0..taken {
                let number = usage.take();
                usage.give_back(number, true, now);
            }
            let number = usage.take();
            assert!(usage.give_back(number, false, now));
            usage.begin_connection(now);
        }
        assert!(usage.known.is_none());
    }

    #[test]
    fn more_requests_under_way_than_a_connection_takes_open_no_more_connections() {
        let now = Instant::now();
        let mut usage = ConnectionUse::new();
        usage.known = Some(Known { requests: 10, since: now });
        for _ in 0..11 {
            usage.take();
        }
        assert!(!usage.is_used_up(MAX_AGE, now));
    }
}
