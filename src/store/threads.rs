//! The threads on which all stores of the process work: as many as there are cores, at most, however many stores there
//! are. A store is a task on one of them for life. Nothing here knows what the tasks do.
//!
//! They are not the workers' threads, so that what a store computes holds up no delivery. A task must not block, as that
//! would hold up other stores: [`FILE_CALLS`] is for file I/O of one's own, and each connection to an SQLite file brings
//! a thread that does its I/O.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

use crate::descriptors::{Budget, WORKER};
use crate::turns::Turns;

/// The calls about files that are made at the same time, unless they hang.
pub(super) static FILE_CALLS: Turns = Turns::new(4);

/// A thread for as long as the process lives.
struct StoreThread {
    handle: Handle,
    /// Each of its tasks holds a clone.
    tasks: Arc<()>,
}

static THREADS: Mutex<Vec<StoreThread>> = Mutex::new(Vec::new());

/// A place for a task on the thread that has the fewest; a further thread is started while all have some and there may be
/// more.
///
/// # Errors
/// When the operating system refuses a thread or what its runtime needs.
pub(super) fn place() -> io::Result<Place> {
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let most = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let fewest = |thread: &&StoreThread| Arc::strong_count(&thread.tasks);
    match threads.iter().min_by_key(fewest) {
        Some(thread) if fewest(&thread) == 1 || threads.len() >= most => Ok(thread.place()),
        _ => {
            let thread = StoreThread::start(threads.len())?;
            let place = thread.place();
            threads.push(thread);
            Ok(place)
        }
    }
}

/// Where one task may run.
pub(super) struct Place {
    handle: Handle,
    counted: Arc<()>,
}

impl Place {
    /// Starts the task.
    pub(super) fn spawn<T: Send + 'static>(self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let Self { handle, counted } = self;
        handle.spawn(async move {
            let _counted = counted;
            task.await
        })
    }
}

impl StoreThread {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let kept_back = Budget::of_process().keep_back(WORKER);
        thread::Builder::new().name(format!("store-{number}")).spawn(move || {
            let _kept_back = kept_back;
            runtime.block_on(pending::<()>());
        })?;
        Ok(Self { handle, tasks: Arc::default() })
    }

    fn place(&self) -> Place {
        Place { handle: self.handle.clone(), counted: Arc::clone(&self.tasks) }
    }
}

/// Runs a future on one of the threads and waits for what comes of it, for tests that are not asynchronous.
#[cfg(test)]
pub(crate) fn wait_for<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let place = place().expect("a thread can be started");
    place.spawn(async move { sender.send(future.await).ok() });
    receiver.recv().expect("the future does not panic")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn many_tasks_share_few_threads() {
        let most = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (sender, receiver) = std::sync::mpsc::channel();
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let sender = sender.clone();
                place().unwrap().spawn(async move {
                    sender.send(thread::current().id()).unwrap();
                    pending::<()>().await;
                })
            })
            .collect();
        let threads: HashSet<_> = (0..100).map(|_| receiver.recv().unwrap()).collect();
        assert!(threads.len() <= most, "{threads:?}");
        tasks.iter().for_each(JoinHandle::abort);
    }
}
