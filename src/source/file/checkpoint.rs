//! The checkpoint of a file source: how the store keeps it, and the saves that bring it there.
//!
//! The store's keeper does the writing and tries again by itself for as long as the disk refuses: a save then takes
//! long, and is no error. This module must not decide what a checkpoint says; the `registry` does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::registry::{Checkpoint, Digest, Registry};
use crate::source::SourceError;
use crate::store::{Store, StoreError};

/// The version of [`Checkpoint`]'s layout.
const VERSION: u32 = 1;

/// While a save has lasted for longer than this, nothing more is read: all that would be read again after a crash.
const SLOW_SAVE: Duration = Duration::from_secs(1);

/// Where the checkpoint of one source is kept.
#[derive(Debug, Clone)]
pub(super) struct CheckpointStore {
    store: Store,
    source: Arc<str>,
}

/// Why a checkpoint could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    /// The store cannot be used.
    #[error("the checkpoint of source `{source_name}` cannot be loaded or saved: {error}")]
    Store {
        /// The source.
        source_name: Arc<str>,
        /// Why.
        error: StoreError,
    },
    /// The checkpoint makes no sense. Starting over without asking could deliver or skip a lot, so nobody does.
    #[error(
        "the checkpoint of source `{source_name}` is damaged ({error}); restore the store from a backup, or rename the \
         source to let it start as on its first run"
    )]
    Damaged {
        /// The source.
        source_name: Arc<str>,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The checkpoint was written by a later version of the bridge.
    #[error(
        "the checkpoint of source `{source_name}` has version {found}, this bridge reads versions up to {VERSION}; run \
         the bridge that wrote it, or rename the source to let it start as on its first run"
    )]
    Newer {
        /// The source.
        source_name: Arc<str>,
        /// The version in the store.
        found: u32,
    },
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    state: T,
}

impl CheckpointStore {
    /// Does no I/O.
    pub(super) fn new(store: Store, source: Arc<str>) -> Self {
        Self { store, source }
    }

    /// The checkpoint; `None` when none was ever saved.
    ///
    /// # Errors
    /// When the store cannot be read, or the checkpoint is damaged or comes from a later version.
    pub(super) async fn load(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let loaded = self.store.load_checkpoint(Arc::clone(&self.source)).await;
        let Some(text) = loaded.map_err(|error| self.unusable(error))? else { return Ok(None) };
        let damaged = |error| CheckpointError::Damaged { source_name: Arc::clone(&self.source), error };
        let VersionOnly { version } = serde_json::from_str(&text).map_err(damaged)?;
        if version > VERSION {
            return Err(CheckpointError::Newer { source_name: Arc::clone(&self.source), found: version });
        }
        let versioned: Versioned<Checkpoint> = serde_json::from_str(&text).map_err(damaged)?;
        Ok(Some(versioned.state))
    }

    /// Replaces the checkpoint. Saves are carried out in the order of the calls, also when nobody waits for them.
    fn save(&self, checkpoint: &Checkpoint) -> BoxFuture<'static, Result<(), CheckpointError>> {
        let text = match serde_json::to_string(&Versioned { version: VERSION, state: checkpoint }) {
            Ok(text) => text,
            Err(error) => {
                let error = CheckpointError::Damaged { source_name: Arc::clone(&self.source), error };
                return Box::pin(async { Err(error) });
            }
        };
        let saved = self.store.save_checkpoint(Arc::clone(&self.source), text);
        let checkpoints = self.clone();
        Box::pin(async move { saved.await.map_err(|error| checkpoints.unusable(error)) })
    }

    fn unusable(&self, error: StoreError) -> CheckpointError {
        CheckpointError::Store { source_name: Arc::clone(&self.source), error }
    }
}

impl From<CheckpointError> for SourceError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Store { error: ref reason, .. } if !reason.is_permanent() => Self::transient(error),
            CheckpointError::Store { .. } | CheckpointError::Damaged { .. } | CheckpointError::Newer { .. } => {
                Self::permanent(error)
            }
        }
    }
}

/// Saves the registry whenever it has changed, one save at a time.
pub(super) struct Saver {
    checkpoints: CheckpointStore,
    /// The registry knows contents or ids that no save has begun for.
    new_ids: bool,
    /// The same for positions.
    new_positions: bool,
    under_way: Option<Save>,
    /// Of the registry as the store has it; `None` when that is not known.
    stored: Option<Digest>,
}

struct Save {
    digest: Digest,
    ended: BoxFuture<'static, Result<(), CheckpointError>>,
    begun: Instant,
    /// True when it brings new contents or ids.
    new_ids: bool,
}

impl Saver {
    /// Nothing is to be saved yet. `stored` is the registry as the store has it, if it is known.
    pub(super) fn new(checkpoints: CheckpointStore, stored: Option<Digest>) -> Self {
        Self { checkpoints, new_ids: false, new_positions: false, under_way: None, stored }
    }

    /// The registry has (when `changed`) a new content, or one has got its id.
    pub(super) fn note_ids(&mut self, changed: bool) {
        self.new_ids |= changed;
    }

    /// The registry has new positions.
    pub(super) fn note_positions(&mut self) {
        self.new_positions = true;
    }

    /// True while nothing may be handed out. An id must be durable before it is used: after a crash the same bytes get
    /// the same id again. And a save that takes long must not let what a crash would repeat grow without a bound.
    pub(super) fn holds_up_reading(&self) -> bool {
        let slow = |save: &Save| save.new_ids || save.begun.elapsed() > SLOW_SAVE;
        self.new_ids || self.under_way.as_ref().is_some_and(slow)
    }

    /// Begins a save if there is something to save and none is under way.
    pub(super) fn start(&mut self, registry: &Registry) {
        if self.under_way.is_some() || !(self.new_ids || self.new_positions) {
            return;
        }
        let (digest, ended) = (registry.digest(), self.checkpoints.save(&registry.checkpoint()));
        self.under_way = Some(Save { digest, ended, begun: Instant::now(), new_ids: self.new_ids });
        (self.new_ids, self.new_positions) = (false, false);
    }

    /// Waits for the end of the save that is under way; for ever when there is none. Cancel safe.
    pub(super) async fn ended(&mut self) -> Result<(), SourceError> {
        let Some(save) = &mut self.under_way else { return std::future::pending().await };
        let result = (&mut save.ended).await;
        if result.is_err() {
            self.new_ids |= save.new_ids;
            self.new_positions = true;
        }
        self.stored = result.is_ok().then_some(save.digest);
        self.under_way = None;
        Ok(result?)
    }

    /// Saves everything, unless the store has it already, and waits until it is durable. Cancel safe.
    pub(super) async fn finish(&mut self, registry: &Registry) -> Result<(), SourceError> {
        self.new_positions |= self.stored != Some(registry.digest());
        while self.under_way.is_some() || self.new_ids || self.new_positions {
            self.start(registry);
            self.ended().await?;
        }
        Ok(())
    }
}
