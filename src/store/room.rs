//! Whether the store can take more. Its thread says so; sinks look before they give it what can also wait in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The room of one store; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Room {
    is_there: Arc<AtomicBool>,
}

impl Default for Room {
    /// There is room until the store says otherwise.
    fn default() -> Self {
        Self { is_there: Arc::new(AtomicBool::new(true)) }
    }
}

impl Room {
    /// False while the store is full or fails.
    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// Says whether there is room from now on.
    pub(super) fn set(&self, is_there: bool) {
        self.is_there.store(is_there, Ordering::Relaxed);
    }
}
