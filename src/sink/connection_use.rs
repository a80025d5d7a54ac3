//! How many requests a receiver takes on one HTTP/2 connection before it ends that (RFC 9113, 6.8), as many web servers do.
//! Whoever knows it opens the next connection in time: what is sent behind the last request that a receiver takes was sent
//! in vain.
//!
//! Pure: the caller brings the time, and opens and counts connections.

use std::time::Duration;

use tokio::time::Instant;

/// The requests to one receiver, by the connection that they went by.
#[derive(Debug)]
pub(super) struct ConnectionUse {
    current: Requests,
    /// Earlier connections that still have requests under way.
    former: Vec<Requests>,
    /// As many requests the last connection took that the receiver has ended.
    last: Option<u64>,
    known: Option<Known>,
}

/// The requests of one connection.
#[derive(Debug, Default)]
struct Requests {
    connection: u64,
    taken: u64,
    under_way: u64,
    unprocessed: u64,
}

/// What one connection takes.
#[derive(Debug, Clone, Copy)]
struct Known {
    requests: u64,
    since: Instant,
}

impl ConnectionUse {
    /// Nothing was sent yet.
    pub(super) fn new() -> Self {
        Self { current: Requests::default(), former: Vec::new(), last: None, known: None }
    }

    /// True when the receiver would not take another request on this connection. What was learned counts for `max_age`, as
    /// the receiver may have changed since, and only while the requests under way fit into one connection.
    pub(super) fn is_used_up(&self, max_age: Duration, now: Instant) -> bool {
        let under_way = self.current.under_way + self.former.iter().map(|former| former.under_way).sum::<u64>();
        let known = self.known.filter(|known| now.saturating_duration_since(known.since) < max_age);
        known.is_some_and(|known| self.current.taken >= known.requests && under_way <= known.requests)
    }

    /// Notes that another connection takes the next requests.
    pub(super) fn begin_connection(&mut self, now: Instant) {
        let next = Requests { connection: self.current.connection + 1, ..Requests::default() };
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

    /// Notes that a request has ended. Returns true when the receiver has not processed it and its connection is the one
    /// for the next request: then another is needed.
    pub(super) fn give_back(&mut self, connection: u64, is_processed: bool, now: Instant) -> bool {
        let is_current = self.current.connection == connection;
        let position = self.former.iter().position(|former| former.connection == connection);
        let requests = match position {
            Some(position) => &mut self.former[position],
            None if is_current => &mut self.current,
            None => return false,
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
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(300);

    /// A receiver that takes so many requests on a connection, and a sender with so many under way. Gives the requests of
    /// `sent` that were sent in vain.
    fn unprocessed(usage: &mut ConnectionUse, span: u64, under_way: usize, sent: usize, now: Instant) -> usize {
        let (mut taken, mut in_vain) = (0, 0);
        let mut open = std::collections::VecDeque::new();
        let mut connection = None;
        for _ in 0..sent {
            if usage.is_used_up(MAX_AGE, now) {
                usage.begin_connection(now);
            }
            let number = usage.take();
            if connection.replace(number) != Some(number) {
                taken = 0;
            }
            taken += 1;
            open.push_back((number, taken <= span));
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
