//! Whether the process works and is ready: a registry of plain states, which nodes write and the admin port reads.
//!
//! It decides nothing but what counts as ready, reads no clock and does no I/O. Writing is cheap and never waits for
//! anything but other writers, so that nodes write on the way of their work.

mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub use report::{Liveness, NodeReport, PipelineReport, ReadinessReport, ReloadReport};

/// A worker that has not shown itself for this long is stuck. Long enough for a machine that is short of CPU.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How often a worker shows itself.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How a node, or a pipeline as a whole, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It does not work yet: a source that connects for the first time, a store that is being opened. Not ready.
    Starting,
    /// It works.
    Ready,
    /// It does not work and tries again. Not ready once that has lasted for longer than is tolerated.
    Failing(Trouble),
    /// It has come to its end as it should: the end of standard input, a shutdown. That is as good as ready.
    Ended,
    /// It has come to an end that nobody wanted and does not try again. Not ready.
    Stopped,
}

/// A failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// When it began.
    pub since: Instant,
    /// For so long it does not count against readiness.
    pub tolerated: Duration,
    /// From this moment on it no longer counts, as nothing has been tried for so long that nothing is known.
    pub forgotten_at: Option<Instant>,
}

/// The health of the process; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    pipelines: BTreeMap<Arc<str>, PipelineHealth>,
    workers: Vec<(String, Weak<Mutex<Instant>>)>,
    ending: bool,
}

/// The health of one pipeline; all clones are one. The default is known to no registry.
#[derive(Debug, Clone, Default)]
pub struct PipelineHealth {
    whole: NodeHealth,
    nodes: Arc<Mutex<BTreeMap<String, NodeHealth>>>,
    last_reload: Arc<Mutex<Option<Reload>>>,
}

/// How the last reload of a pipeline went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// Why it changed nothing; `None` when it was applied.
    pub refused: Option<String>,
}

/// The health of one node; all clones are one. The default is known to no registry.
#[derive(Debug, Clone)]
pub struct NodeHealth(Arc<Mutex<Status>>);

#[derive(Debug)]
struct Status {
    state: NodeState,
    detail: String,
}

/// A worker's sign of life. The worker is forgotten when it is dropped.
#[derive(Debug)]
pub struct Beat(Arc<Mutex<Instant>>);

impl Health {
    /// The health of a pipeline, which is added when it is new.
    pub fn pipeline(&self, name: &str) -> PipelineHealth {
        lock(&self.0).pipelines.entry(name.into()).or_default().clone()
    }

    /// Forgets a pipeline that is no longer wanted.
    pub fn remove_pipeline(&self, name: &str) {
        lock(&self.0).pipelines.remove(name);
    }

    /// Adds a worker, which must [show itself](Beat::beat) from now on.
    pub fn worker(&self, name: impl Into<String>, now: Instant) -> Beat {
        let beat = Arc::new(Mutex::new(now));
        let workers = &mut lock(&self.0).workers;
        workers.retain(|(_, beat)| beat.strong_count() > 0);
        workers.push((name.into(), Arc::downgrade(&beat)));
        Beat(beat)
    }

    /// The process is about to end: it is no longer ready for anything new.
    pub fn end(&self) {
        lock(&self.0).ending = true;
    }
}

impl PipelineHealth {
    /// The pipeline as a whole, beside its nodes.
    pub fn whole(&self) -> &NodeHealth {
        &self.whole
    }

    /// A new node, named by its place in the file (`sources.orders`), or `store`. It takes the place of a former one of
    /// that name: what that one still says is not heard.
    pub fn node(&self, name: impl Into<String>) -> NodeHealth {
        let node = NodeHealth::default();
        lock(&self.nodes).insert(name.into(), node.clone());
        node
    }

    /// Forgets a node that is no longer wanted.
    pub fn remove(&self, name: &str) {
        lock(&self.nodes).remove(name);
    }

    /// Notes how a reload went. One that was refused changes nothing about readiness: the pipeline runs on as it was.
    pub fn reloaded(&self, reload: Reload) {
        *lock(&self.last_reload) = Some(reload);
    }
}

impl NodeHealth {
    /// Notes a state and what there is to say about it.
    pub fn set(&self, state: NodeState, detail: impl Into<String>) {
        *lock(&self.0) = Status { state, detail: detail.into() };
    }

    /// It works.
    pub fn ready(&self) {
        self.set(NodeState::Ready, "");
    }

    /// It does not work, which is not tolerated at all. A failure that goes on keeps its beginning.
    pub fn failing(&self, detail: impl Into<String>, now: Instant) {
        let mut status = lock(&self.0);
        let since = match status.state {
            NodeState::Failing(trouble) => trouble.since,
            NodeState::Starting | NodeState::Ready | NodeState::Ended | NodeState::Stopped => now,
        };
        let trouble = Trouble { since, tolerated: Duration::ZERO, forgotten_at: None };
        *status = Status { state: NodeState::Failing(trouble), detail: detail.into() };
    }

    /// It has ended as it should.
    pub fn ended(&self) {
        self.set(NodeState::Ended, "");
    }

    /// It has ended and should not have.
    pub fn stopped(&self, detail: impl Into<String>) {
        self.set(NodeState::Stopped, detail);
    }

    /// The state now.
    pub fn state(&self) -> NodeState {
        lock(&self.0).state
    }
}

impl Default for NodeHealth {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Status { state: NodeState::Starting, detail: String::new() })))
    }
}

impl NodeState {
    /// True when nothing is wrong that should keep others from relying on it.
    pub fn is_ready(&self, now: Instant) -> bool {
        match self {
            Self::Ready | Self::Ended => true,
            Self::Starting | Self::Stopped => false,
            Self::Failing(trouble) => trouble.is_tolerated(now),
        }
    }
}

impl Trouble {
    fn is_tolerated(&self, now: Instant) -> bool {
        now < self.since + self.tolerated || self.forgotten_at.is_some_and(|moment| moment <= now)
    }
}

impl Beat {
    /// Shows that the worker works.
    pub fn beat(&self, now: Instant) {
        *lock(&self.0) = now;
    }

    /// Beats once a second for as long as the runtime that this runs on works.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(BEAT_INTERVAL);
        loop {
            self.beat(interval.tick().await);
        }
    }
}

/// What is behind these locks is valid at every moment: a panic elsewhere must not take the health report along.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
