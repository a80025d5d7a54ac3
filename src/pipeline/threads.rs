//! Worker threads: each is an OS thread with a current-thread runtime, on which the tasks of pipelines live.
//!
//! A task stays on its worker for life: a request that hops between the threads of a runtime costs up to twice the CPU.
//! Nothing here knows what the tasks do.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::descriptors::{self, Budget, KeptBack};
use crate::health::Health;

/// A thread that runs the tasks spawned on its handle, until it is stopped.
#[derive(Debug)]
pub struct WorkerThread {
    handle: Handle,
    stop: CancellationToken,
    thread: thread::JoinHandle<()>,
    _kept_back: KeptBack,
}

/// The worker threads that small pipelines share: as many as there are cores, at most, and no more than pipelines.
#[derive(Debug)]
pub struct SharedThreads {
    threads: Vec<(WorkerThread, usize)>,
    most: usize,
    health: Health,
}

/// The runtime's blocking calls, about files and host names, may hang; the process must end all the same. Those into a
/// broker's library have threads of their own ([`off_worker`](crate::off_worker)).
const BLOCKING_TIMEOUT: Duration = Duration::from_secs(1);

impl WorkerThread {
    /// Starts a thread of this name, which shows in `health` that it works.
    ///
    /// # Errors
    /// When the operating system refuses the thread or what its runtime needs.
    pub fn start(name: String, health: &Health) -> io::Result<Self> {
        let runtime = new_runtime()?;
        runtime.spawn(health.worker(name.clone(), Instant::now()).run());
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let thread = thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(stopped);
            runtime.shutdown_timeout(BLOCKING_TIMEOUT);
        })?;
        let kept_back = Budget::of_process().keep_back(descriptors::WORKER);
        Ok(Self { handle, stop, thread, _kept_back: kept_back })
    }

    /// Where tasks are spawned.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Drops the tasks that still run, and does not wait for that.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops the thread and waits for its end. Blocks, for a second at most.
    pub fn join(self) {
        self.stop();
        // It does nothing that could panic, and if it did nobody would miss it now.
        self.thread.join().ok();
    }
}

impl SharedThreads {
    /// No threads yet, and `most` at most. They will show in `health` that they work.
    pub fn new(most: usize, health: Health) -> Self {
        Self { threads: Vec::new(), most: most.max(1), health }
    }

    /// A place on the thread that has the fewest users, by its number; a further thread is started while all have
    /// some and there may be more.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn take_place(&mut self) -> io::Result<(usize, Handle)> {
        let fewest = (0..self.threads.len()).min_by_key(|index| self.threads[*index].1);
        let index = match fewest {
            Some(index) if self.threads[index].1 == 0 || self.threads.len() >= self.most => index,
            _ => {
                let number = self.threads.len();
                self.threads.push((WorkerThread::start(format!("worker-{number}"), &self.health)?, 0));
                number
            }
        };
        let (thread, users) = &mut self.threads[index];
        *users += 1;
        Ok((index, thread.handle()))
    }

    /// Gives a place back.
    pub fn leave_place(&mut self, index: usize) {
        if let Some((_, users)) = self.threads.get_mut(index) {
            *users = users.saturating_sub(1);
        }
    }

    /// Stops all threads and waits for their end. Blocks, for a second at most.
    pub fn join(self) {
        self.threads.iter().for_each(|(thread, _)| thread.stop());
        self.threads.into_iter().for_each(|(thread, _)| thread.join());
    }
}

/// The runtime of a worker.
///
/// # Errors
/// When the operating system refuses what it needs.
pub fn new_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_evenly_over_few_threads() {
        let mut threads = SharedThreads::new(2, Health::default());
        let places: Vec<_> = (0..5).map(|_| threads.take_place().unwrap().0).collect();
        assert_eq!(places, [0, 1, 0, 1, 0]);
        threads.leave_place(1);
        threads.leave_place(1);
        assert_eq!(threads.take_place().unwrap().0, 1);
        let (sender, receiver) = std::sync::mpsc::channel();
        let (_, handle) = threads.take_place().unwrap();
        handle.spawn(async move { sender.send(thread::current().name().map(str::to_owned)) });
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("worker-1"));
        threads.join();
    }
}
