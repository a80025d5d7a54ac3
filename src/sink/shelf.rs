//! Which HTTP client makes a sink's next request: one for each authority (scheme, host and port), as a client closes its
//! idle connections when it is dropped. So their number is bounded, and so is their age.
//!
//! Pure: the caller brings the time and builds the clients. It must not know what a client is.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection_use::ConnectionUse;

/// An idle client is forgotten after this time, and an idle connection is closed.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(90);

/// The clients of one sink.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    /// No connection is used for longer.
    max_age: Duration,
    entries: HashMap<Arc<str>, Entry<T>>,
    /// Those without a request under way; the one that has been idle for longest is first.
    idle: BTreeMap<u64, Arc<str>>,
    next_turn: u64,
    /// The connections that all entries together have open, at most.
    connections: usize,
}

#[derive(Debug)]
struct Entry<T> {
    client: T,
    since: Instant,
    idle_since: Instant,
    turn: u64,
    under_way: usize,
    /// A client has no more connections open than it had requests under way at once.
    connections: usize,
    speaks_http2: bool,
    /// Of the one connection that HTTP/2 has.
    requests: ConnectionUse,
    /// The clients whose connections are being opened, as the receiver is about to end the one in use.
    next: VecDeque<T>,
}

/// A client for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken<T> {
    pub(super) client: T,
    pub(super) protocol: Protocol,
    /// Which of the receiver's clients it is, to be told when it is given back.
    pub(super) number: u64,
}

/// How a client is to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The receiver chooses.
    Any,
    /// The receiver has chosen HTTP/2 before, where one connection does for all requests.
    Http2,
}

impl<T: Clone> Shelf<T> {
    /// An empty one, whose clients are replaced at this age.
    pub(super) fn new(max_age: Duration) -> Self {
        Self { max_age, entries: HashMap::new(), idle: BTreeMap::new(), next_turn: 0, connections: 0 }
    }

    /// The client for a request, which is under way until it is [given back](Self::give_back). `None` when all connections
    /// that the `limit` allows have requests under way.
    ///
    /// # Errors
    /// When a client cannot be built.
    pub(super) fn take<E>(
        &mut self,
        authority: &str,
        limit: impl FnOnce() -> usize,
        now: Instant,
        build: impl Fn(&str, Protocol) -> Result<T, E>,
    ) -> Result<Option<Taken<T>>, E> {
        self.forget_idle(now);
        let is_over = |entry: &Entry<T>| {
            let is_old = now.saturating_duration_since(entry.since) >= self.max_age;
            is_old || entry.speaks_http2 && entry.requests.is_used_up(self.max_age, now)
        };
        if self.entries.get(authority).is_some_and(is_over) {
            self.renew(authority, now, &build)?;
        }
        if self.needs_another(authority) && !self.make_room(authority, limit().max(1), now, &build)? {
            return Ok(None);
        }
        let entry = match self.entries.get_mut(authority) {
            Some(entry) => entry,
            None => {
                let client = build(authority, Protocol::Any)?;
                let (under_way, connections, turn) = (0, 0, 0);
                let (speaks_http2, requests, next) = (false, ConnectionUse::new(), VecDeque::new());
                let entry = Entry {
                    client,
                    since: now,
                    idle_since: now,
                    turn,
                    under_way,
                    connections,
                    speaks_http2,
                    requests,
                    next,
                };
                self.entries.entry(authority.into()).or_insert(entry)
            }
        };
        let protocol = entry.protocol();
        let opens_next = entry.speaks_http2 && entry.requests.is_nearly_used_up(self.max_age, now);
        // Before the request counts as under way: when a client cannot be built, nobody gives it back.
        let opened = opens_next.then(|| build(authority, protocol)).transpose()?;
        if entry.under_way == 0 {
            self.idle.remove(&entry.turn);
        }
        entry.under_way += 1;
        let needed = if entry.speaks_http2 { 1 } else { entry.under_way };
        self.connections += needed.saturating_sub(entry.connections);
        entry.connections = entry.connections.max(needed);
        let (client, number) = match opened {
            Some(client) => {
                entry.next.push_back(client.clone());
                (client, entry.requests.take_ahead())
            }
            None => (entry.client.clone(), entry.requests.take()),
        };
        Ok(Some(Taken { client, protocol, number }))
    }

    /// Notes that the request with the client of this number has ended. When the receiver has not processed it, as it has
    /// ended the connection of HTTP/2, another client is built for the next.
    ///
    /// # Errors
    /// When the client cannot be built; the former one stays.
    pub(super) fn give_back<E>(
        &mut self,
        authority: &str,
        number: u64,
        is_processed: bool,
        now: Instant,
        build: impl Fn(&str, Protocol) -> Result<T, E>,
    ) -> Result<(), E> {
        let Some((authority, _)) = self.entries.get_key_value(authority) else { return Ok(()) };
        let authority = Arc::clone(authority);
        let Some(entry) = self.entries.get_mut(&authority) else { return Ok(()) };
        entry.under_way = entry.under_way.saturating_sub(1);
        let has_ended = entry.requests.give_back(number, is_processed, now) && entry.speaks_http2;
        if entry.under_way == 0 {
            self.next_turn += 1;
            (entry.turn, entry.idle_since) = (self.next_turn, now);
            self.idle.insert(entry.turn, Arc::clone(&authority));
        }
        if has_ended { self.renew(&authority, now, build) } else { Ok(()) }
    }

    /// Notes which protocol a receiver speaks. When that is news, another client is built for it.
    ///
    /// # Errors
    /// When the client cannot be built; the former one stays.
    pub(super) fn speaks_http2<E>(
        &mut self,
        authority: &str,
        speaks_http2: bool,
        now: Instant,
        build: impl Fn(&str, Protocol) -> Result<T, E>,
    ) -> Result<(), E> {
        let Some(entry) = self.entries.get_mut(authority) else { return Ok(()) };
        if entry.speaks_http2 == speaks_http2 {
            return Ok(());
        }
        entry.speaks_http2 = speaks_http2;
        entry.next.clear();
        entry.requests.abandon_next();
        self.renew(authority, now, &build)
    }

    /// True when a request to an authority may open another connection.
    fn needs_another(&self, authority: &str) -> bool {
        self.entries.get(authority).is_none_or(|entry| match entry.protocol() {
            Protocol::Http2 => entry.connections == 0,
            Protocol::Any => entry.under_way >= entry.connections,
        })
    }

    /// Closes idle connections until there is room for one more: the clients that have been idle for longest, and only
    /// then what is idle beside requests under way.
    fn make_room<E>(
        &mut self,
        authority: &str,
        limit: usize,
        now: Instant,
        build: impl Fn(&str, Protocol) -> Result<T, E>,
    ) -> Result<bool, E> {
        while self.connections >= limit {
            let oldest = self.idle.iter().find(|(_, idle)| &***idle != authority).map(|(turn, _)| *turn);
            let Some(turn) = oldest else { break };
            if let Some(entry) = self.idle.remove(&turn).and_then(|idle| self.entries.remove(&idle)) {
                self.connections -= entry.connections;
            }
        }
        while self.connections >= limit {
            let surplus = |entry: &Entry<T>| entry.connections.saturating_sub(entry.needed());
            let most = self.entries.iter().max_by_key(|(_, entry)| surplus(entry));
            let Some((other, _)) = most.filter(|(_, entry)| surplus(entry) > 0) else { return Ok(false) };
            let other = Arc::clone(other);
            self.renew(&other, now, &build)?;
        }
        Ok(true)
    }

    /// Puts a new client in the place of one, whose idle connections are closed. Requests under way end undisturbed.
    fn renew<E>(
        &mut self,
        authority: &str,
        now: Instant,
        build: impl Fn(&str, Protocol) -> Result<T, E>,
    ) -> Result<(), E> {
        let Some(entry) = self.entries.get_mut(authority) else { return Ok(()) };
        let next = entry.next.pop_front().map_or_else(|| build(authority, entry.protocol()), Ok)?;
        (entry.client, entry.since) = (next, now);
        entry.requests.begin_connection(now);
        self.connections -= entry.connections;
        entry.connections = entry.needed();
        self.connections += entry.connections;
        Ok(())
    }

    /// Forgets clients whose connections have been closed for idleness.
    fn forget_idle(&mut self, now: Instant) {
        while let Some(first) = self.idle.first_entry() {
            let since = self.entries.get(first.get()).map(|entry| entry.idle_since);
            if since.is_some_and(|since| now.saturating_duration_since(since) < IDLE_TIME) {
                return;
            }
            if let Some(entry) = self.entries.remove(&first.remove()) {
                self.connections -= entry.connections;
            }
        }
    }
}

impl<T> Entry<T> {
    fn protocol(&self) -> Protocol {
        if self.speaks_http2 { Protocol::Http2 } else { Protocol::Any }
    }

    /// The connections that the requests under way need.
    fn needed(&self) -> usize {
        if self.speaks_http2 { self.under_way.min(1) } else { self.under_way }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(300);

    /// A client is the moment at which it was built.
    fn take(shelf: &mut Shelf<Instant>, authority: &str, limit: usize, now: Instant) -> Option<(Instant, Protocol)> {
        let taken = shelf.take::<()>(authority, || limit, now, |_, _| Ok(now)).unwrap();
        taken.map(|taken| (taken.client, taken.protocol))
    }

    fn give_back(shelf: &mut Shelf<Instant>, authority: &str, now: Instant) {
        shelf.give_back::<()>(authority, 0, true, now, |_, _| Ok(now)).unwrap();
    }

    #[test]
    fn a_client_is_replaced_at_its_age_while_requests_are_under_way() {
        let start = Instant::now();
        let mut shelf = Shelf::new(MAX_AGE);
        let younger = start + MAX_AGE - Duration::from_secs(1);
        assert_eq!(take(&mut shelf, "http://a", 10, start), Some((start, Protocol::Any)));
        assert_eq!(take(&mut shelf, "http://a", 10, younger), Some((start, Protocol::Any)));
        assert_eq!(take(&mut shelf, "http://a", 10, start + MAX_AGE), Some((start + MAX_AGE, Protocol::Any)));
    }

    #[test]
    fn the_one_that_was_idle_for_longest_makes_room_for_another() {
        let now = Instant::now();
        let mut shelf = Shelf::new(MAX_AGE);
        for authority in ["http://a", "http://b", "http://a"] {
            take(&mut shelf, authority, 2, now).unwrap();
            give_back(&mut shelf, authority, now);
        }
        take(&mut shelf, "http://c", 2, now).unwrap();
        assert!(shelf.entries.contains_key("http://a") && !shelf.entries.contains_key("http://b"));
        take(&mut shelf, "http://d", 2, now).unwrap();
        assert_eq!(take(&mut shelf, "http://e", 2, now), None, "all connections are in use");
        give_back(&mut shelf, "http://c", now);
        assert!(take(&mut shelf, "http://e", 2, now).is_some());
    }

    #[test]
    fn http2_needs_one_connection_for_all_requests() {
        let now = Instant::now();
        let mut shelf = Shelf::new(MAX_AGE);
        take(&mut shelf, "https://a", 3, now).unwrap();
        shelf.speaks_http2::<()>("https://a", true, now, |_, _| Ok(now)).unwrap();
        for _ in 0..100 {
            assert_eq!(take(&mut shelf, "https://a", 3, now), Some((now, Protocol::Http2)));
        }
        assert_eq!(shelf.connections, 1);
    }

    #[test]
    fn a_connection_of_http2_that_the_receiver_has_ended_is_replaced_at_once() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut shelf = Shelf::new(MAX_AGE);
        take(&mut shelf, "https://a", 3, now).unwrap();
        shelf.speaks_http2::<()>("https://a", true, now, |_, _| Ok(now)).unwrap();
        let taken = shelf.take::<()>("https://a", || 3, now, |_, _| Ok(now)).unwrap().unwrap();
        shelf.give_back::<()>("https://a", taken.number, false, later, |_, _| Ok(later)).unwrap();
        assert_eq!(take(&mut shelf, "https://a", 3, later), Some((later, Protocol::Http2)));
    }

    #[test]
    fn connections_that_are_opened_ahead_are_used_in_turn_and_to_their_end() {
        const SPAN: usize = 100;
        let now = Instant::now();
        let built = std::cell::Cell::new(0);
        let build = |_: &str, _: Protocol| {
            built.set(built.get() + 1);
            Ok::<usize, ()>(built.get())
        };
        let mut shelf = Shelf::new(MAX_AGE);
        let mut sent: HashMap<usize, usize> = HashMap::new();
        let mut under_way = std::collections::VecDeque::new();
        let mut in_vain = Vec::new();
        shelf.take("https://a", || 3, now, build).unwrap().unwrap();
        shelf.speaks_http2("https://a", true, now, build).unwrap();
        for number in 0..20_000 {
            let taken = shelf.take("https://a", || 3, now, build).unwrap().unwrap();
            let of_client = sent.entry(taken.client).or_default();
            *of_client += 1;
            under_way.push_back((number, taken.number, *of_client <= SPAN));
            if under_way.len() == 64 {
                let (number, connection, is_processed) = under_way.pop_front().unwrap();
                shelf.give_back("https://a", connection, is_processed, now, build).unwrap();
                in_vain.extend((!is_processed).then_some(number));
            }
        }
        assert!(in_vain.iter().all(|number| *number < 1_000), "it is learned at the beginning: {in_vain:?}");
        assert!(built.get() < 20_000 / SPAN + 10, "{} connections", built.get());
    }

    proptest! {
        /// There are never more connections than allowed, a request is only refused when that many are under way, and
        /// the sum is right.
        #[test]
        fn connections_stay_within_the_limit(
            limit in 1_usize..8,
            steps in prop::collection::vec((0_usize..6, 0_u64..200, prop::bool::ANY), 1..200),
        ) {
            let mut now = Instant::now();
            let mut shelf = Shelf::new(MAX_AGE);
            let mut under_way: Vec<usize> = Vec::new();
            for (number, seconds, gives_back) in steps {
                now += Duration::from_secs(seconds);
                if gives_back && !under_way.is_empty() {
                    let authority = under_way.remove(number % under_way.len());
                    give_back(&mut shelf, &authority.to_string(), now);
                } else if take(&mut shelf, &number.to_string(), limit, now).is_some() {
                    under_way.push(number);
                } else {
                    prop_assert!(under_way.len() >= limit);
                }
                prop_assert!(shelf.connections <= limit, "{} connections", shelf.connections);
                prop_assert!(shelf.connections >= under_way.len());
                prop_assert_eq!(shelf.connections, shelf.entries.values().map(|entry| entry.connections).sum::<usize>());
            }
        }
    }
}
