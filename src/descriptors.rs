//! File descriptors: how many the process may have, and how many each part of it may hold open.
//!
//! Files that are read and connections to receivers may be any number, and together more than the system allows. So what
//! every pipeline and broker needs is kept back first, and the rest is divided: each holder of a [`Share`] says how many
//! descriptors it could use, and asks before it opens another whether it may. Whoever wants little gets all of it; the
//! others get equal parts of the rest. When a new holder comes, those that have more than their part now close some.
//!
//! This module opens and closes nothing, but to see whether it could. It must not know what a descriptor is used for,
//! beyond its [`Purpose`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

// How many the parts need was counted in /proc/PID/fd of running processes. Every tokio runtime has four: two of epoll, an
// eventfd and a socket for signals.

/// What the process needs whatever it runs: standard streams, the runtimes beside the workers', signals, and the watcher
/// that all file sources share (26 were counted); the admin port (1) and `--watch` (3). The rest is for those who ask at the
/// admin port, and for what is open for a moment only: pipeline files, folders that are listed, name lookups.
pub const PROCESS: usize = 40;

/// What a worker thread needs for its runtime, and a thread of the stores for its.
pub const WORKER: usize = 4;

/// What a pipeline needs for its store and the lock of its state folder: 5 were counted with SQLite while its file is open,
/// 2 with PostgreSQL. One more is for the temporary files of SQLite.
pub const PIPELINE: usize = 6;

/// What a Kafka source needs. 8 were counted with one broker: librdkafka has a connection and a pipe for it, the same for
/// the group's coordinator, and pipes of its own. Each further broker takes 3; this is enough for three.
pub const KAFKA: usize = 16;

/// What a producer needs that writes dead letters to Kafka: 5 were counted with one broker; this is enough for three.
pub const KAFKA_PRODUCER: usize = 12;

/// What a connection to an AMQP broker needs: 2 were counted. When it is lost, there may be two for a moment.
pub const AMQP: usize = 4;

/// What a descriptor is used for. Files and connections get equal parts of the budget, if both want that many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Files that are read.
    Files,
    /// Connections to receivers.
    Connections,
}

/// The descriptors of the process, and who may have how many of them.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    claims: Mutex<Claims>,
}

/// What one holder may have. Dropping it leaves its part to the others.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    purpose: Purpose,
    holder: u64,
}

/// Descriptors that are kept back for as long as this lives.
#[derive(Debug)]
pub struct KeptBack {
    budget: Arc<Budget>,
    count: usize,
}

#[derive(Debug, Default)]
struct Claims {
    next_holder: u64,
    kept_back: usize,
    files: Claimed,
    connections: Claimed,
}

/// What the holders of one purpose want, and the most that any of them may have.
#[derive(Debug, Default)]
struct Claimed {
    wanted: BTreeMap<u64, usize>,
    most: usize,
}

/// The budget of the process.
static OF_PROCESS: LazyLock<Arc<Budget>> = LazyLock::new(|| {
    // A system that does not say has no limit worth keeping to.
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    Budget::new(usize::try_from(limit).unwrap_or(usize::MAX))
});

/// Takes as many open files as the system allows without asking: the usual first limit of 1024 is for programs that use
/// `select`. To be called before anything asks for the [budget of the process](Budget::of_process).
///
/// # Errors
/// When the system refuses; the limit then stays as it is.
pub fn raise_limit() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// The most open files that this process could have: the hard limit. `None` when the system does not say.
pub fn hard_limit() -> Option<usize> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(usize::try_from(most).unwrap_or(usize::MAX))
}

/// True when something failed because this process, or the whole system, has no descriptor left: whatever was to be
/// opened is not at fault.
pub fn is_shortage(error: &io::Error) -> bool {
    [Errno::EMFILE, Errno::ENFILE].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// As [`is_shortage`], for an error that may have been caused by such a one.
pub fn is_caused_by_shortage(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(is_shortage) {
            return true;
        }
        next = error.source();
    }
    false
}

/// True when this process could open nothing now. For what failed without saying why, such as the lookup of a name.
pub fn is_short_now() -> bool {
    File::open("/dev/null").is_err_and(|error| is_shortage(&error))
}

/// The error of what fails in such a moment.
pub fn out_of_descriptors() -> io::Error {
    Errno::EMFILE.into()
}

/// What to say of a shortage: whose it is, and what helps.
pub fn shortage() -> String {
    let limit = Budget::of_process().limit();
    format!("this process has no file descriptor left; its limit of open files is {limit} (`ulimit -n`, LimitNOFILE=)")
}

impl Budget {
    /// The budget of this process.
    pub fn of_process() -> Arc<Self> {
        Arc::clone(&OF_PROCESS)
    }

    /// A budget of `limit` descriptors.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, claims: Mutex::default() })
    }

    /// The number of descriptors that the process may have.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A share for a new holder, which wants one descriptor until it says otherwise.
    pub fn share(self: &Arc<Self>, purpose: Purpose) -> Share {
        let mut claims = self.claims();
        let holder = claims.next_holder;
        claims.next_holder += 1;
        claims.of(purpose).wanted.insert(holder, 1);
        claims.divide(self.limit);
        drop(claims);
        Share { budget: Arc::clone(self), purpose, holder }
    }

    /// Keeps `count` descriptors back for something that cannot do without them, such as [`PIPELINE`] or [`KAFKA`].
    pub fn keep_back(self: &Arc<Self>, count: usize) -> KeptBack {
        self.change_kept_back(|kept| kept.saturating_add(count));
        KeptBack { budget: Arc::clone(self), count }
    }

    fn change_kept_back(&self, change: impl FnOnce(usize) -> usize) {
        let mut claims = self.claims();
        claims.kept_back = change(claims.kept_back);
        claims.divide(self.limit);
    }

    /// Nothing is left half done under the lock, so whatever panicked beside it changes nothing.
    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Says how many descriptors could be used at once.
    pub fn want(&self, count: usize) {
        let mut claims = self.budget.claims();
        if claims.of(self.purpose).wanted.insert(self.holder, count) != Some(count) {
            claims.divide(self.budget.limit);
        }
    }

    /// How many descriptors may be open now: as many as are wanted, or this holder's part; at least one, as nothing
    /// could be done without.
    pub fn granted(&self) -> usize {
        let mut claims = self.budget.claims();
        let claimed = claims.of(self.purpose);
        let wanted = claimed.wanted.get(&self.holder).copied().unwrap_or(1);
        wanted.min(claimed.most).max(1)
    }

    /// The number of descriptors that the process may have.
    pub fn limit(&self) -> usize {
        self.budget.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut claims = self.budget.claims();
        claims.of(self.purpose).wanted.remove(&self.holder);
        claims.divide(self.budget.limit);
    }
}

impl Drop for KeptBack {
    fn drop(&mut self) {
        self.budget.change_kept_back(|kept| kept.saturating_sub(self.count));
    }
}

impl Claims {
    fn of(&mut self, purpose: Purpose) -> &mut Claimed {
        match purpose {
            Purpose::Files => &mut self.files,
            Purpose::Connections => &mut self.connections,
        }
    }

    fn divide(&mut self, limit: usize) {
        let (files, connections) = (self.files.total(), self.connections.total());
        let most = largest_part(to_divide(limit, self.kept_back), &[files, connections]);
        self.files.divide(most.min(files));
        self.connections.divide(most.min(connections));
    }
}

impl Claimed {
    fn total(&self) -> usize {
        self.wanted.values().fold(0, |total, wanted| total.saturating_add(*wanted))
    }

    fn divide(&mut self, available: usize) {
        let wanted: Vec<usize> = self.wanted.values().copied().collect();
        self.most = largest_part(available, &wanted);
    }
}

/// The limit at which `divided` descriptors can be divided when so many are kept back beside those of the process.
pub fn limit_for(kept_back: usize, divided: usize) -> usize {
    let all = PROCESS.saturating_add(kept_back).saturating_add(divided);
    all.saturating_add(all.div_ceil(15))
}

/// What may be divided of `limit` descriptors when so many are kept back, beside those of the process. It is a quarter at
/// least: with fewer, nothing would be delivered at all. A part more stays free, as holders close what is over their
/// share only after somebody else has been granted it.
fn to_divide(limit: usize, kept_back: usize) -> usize {
    let reserve = PROCESS.saturating_add(limit / 16).saturating_add(kept_back);
    limit.saturating_sub(reserve).max(limit / 4)
}

/// The most that one of several may have, so that each gets what it wants up to that and all of them together no more
/// than there is; without a bound when there is enough for all.
fn largest_part(available: usize, wanted: &[usize]) -> usize {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    let mut left = available;
    for (index, wanted) in sorted.iter().enumerate() {
        let part = left / (sorted.len() - index);
        if *wanted > part {
            return part;
        }
        left -= wanted;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whoever_wants_little_gets_it_and_the_others_share_the_rest() {
        let budget = Budget::new(128);
        let pipeline = budget.keep_back(PIPELINE);
        let (few, many) = (budget.share(Purpose::Files), budget.share(Purpose::Files));
        few.want(3);
        many.want(300);
        assert_eq!((few.granted(), many.granted()), (3, 128 - PROCESS - 8 - PIPELINE - 3));
        let sink = budget.share(Purpose::Connections);
        sink.want(1000);
        assert_eq!((few.granted(), many.granted(), sink.granted()), (3, 34, 37));
        sink.want(10);
        assert_eq!((many.granted(), sink.granted()), (61, 10));
        drop((pipeline, few));
        assert_eq!(many.granted(), 128 - PROCESS - 8 - 10);
    }

    #[test]
    fn with_a_high_limit_everybody_gets_everything() {
        let budget = Budget::new(1 << 20);
        let files = budget.share(Purpose::Files);
        files.want(100_000);
        assert_eq!(files.granted(), 100_000);
        assert_eq!(Budget::new(usize::MAX).share(Purpose::Files).granted(), 1);
    }

    #[test]
    fn a_shortage_is_recognised_through_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Outer(#[source] io::Error);
        let error = |errno| io::Error::from_raw_os_error(errno as i32);
        assert!(is_caused_by_shortage(&Outer(error(Errno::EMFILE))) && is_shortage(&error(Errno::ENFILE)));
        assert!(!is_caused_by_shortage(&Outer(error(Errno::ECONNREFUSED))));
    }

    proptest! {
        /// Nobody has more than is wanted, all together no more than there is, and nothing that is wanted is left over
        /// but for what cannot be divided evenly.
        #[test]
        fn what_there_is_goes_to_those_who_want_it(
            available in 0usize..500,
            wanted in prop::collection::vec(0usize..200, 1..10),
        ) {
            let part = largest_part(available, &wanted);
            let given: Vec<usize> = wanted.iter().map(|wanted| *wanted.min(&part)).collect();
            let (given_out, all): (usize, usize) = (given.iter().sum(), wanted.iter().sum());
            prop_assert!(given_out <= available);
            prop_assert!(given_out + wanted.len() > available.min(all));
            prop_assert_eq!(part == usize::MAX, all <= available);
        }

        /// Whatever is claimed, a quarter of the limit at least is divided, and never more than the limit.
        #[test]
        fn there_is_always_something_to_divide(limit in any::<usize>(), kept_back in any::<usize>()) {
            let divided = to_divide(limit, kept_back);
            prop_assert!(divided >= limit / 4 && divided <= limit);
        }

        /// With the limit that is recommended, everybody can have what is wanted; no more is asked for than needed.
        #[test]
        fn the_limit_that_is_named_is_enough(kept_back in 0usize..100_000, divided in 0usize..100_000) {
            let limit = limit_for(kept_back, divided);
            prop_assert!(to_divide(limit, kept_back) >= divided);
            prop_assert!(limit <= (PROCESS + kept_back + divided) * 16 / 15 + 1);
        }
    }
}
