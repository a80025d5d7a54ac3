//! One transaction of the store's keeper, from its begin to its commit: a group, and what this replica says of itself with
//! it. What becomes of a failure is the [`Keeper`](super::keeper::Keeper)'s.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::Connection as _;

use super::StoreError;
use super::config::StoreSettings;
use super::database::Database;
use super::forget::Forgotten;
use super::group::{Answers, Buried, Group};
use super::record::RowId;
use super::work::Work;

/// What a transaction is to do.
pub(super) struct Task<'t> {
    pub(super) settings: &'t StoreSettings,
    pub(super) replica: &'t str,
    pub(super) group: &'t Group,
    /// Say that this replica is there.
    pub(super) beat: bool,
    /// Free all claims but these: the end of an earlier transaction is not known.
    pub(super) in_hand: Option<&'t HashSet<RowId>>,
    /// Delete some of the dead letters that were given up before this time.
    pub(super) forget_before: Option<Timestamp>,
}

/// What a transaction has come to.
pub(super) struct Committed {
    pub(super) answers: Answers,
    pub(super) damaged: Vec<Buried>,
    pub(super) bytes: u64,
    pub(super) parked: u64,
    /// Heads of lanes have become due.
    pub(super) has_promoted: bool,
    /// The dead letters that were deleted for their age; `None` when they were not looked for.
    pub(super) forgotten: Option<Forgotten>,
}

/// Carries out a group in one transaction.
pub(super) async fn transact(database: &mut Database, task: &Task<'_>) -> Result<Committed, StoreError> {
    let (backend, connection) = database.parts();
    let transaction = async {
        let mut transaction = connection.begin_with(backend.begin()).await?;
        let mut work = Work::new(&mut transaction, backend, &task.settings.pipeline, task.replica);
        if task.beat {
            work.beat(task.settings.lease).await?;
        }
        if let Some(in_hand) = task.in_hand {
            work.free_all_but(in_hand).await?;
        }
        let answers = work.carry_out(task.group).await?;
        let forgotten = match task.forget_before {
            Some(before) => Some(work.forget_letters(before).await?),
            None => None,
        };
        work.book_growth().await?;
        let bytes = work.total_bytes().await?;
        let (parked, damaged, has_promoted) = (work.parked, work.damaged, work.promoted_at.is_some());
        transaction.commit().await?;
        Ok(Committed { answers, damaged, bytes, parked, has_promoted, forgotten })
    };
    transaction.await.map_err(|error: sqlx::Error| backend.error(&error))
}

pub(super) async fn leave(database: &mut Database, settings: &StoreSettings, replica: &str) -> Result<(), StoreError> {
    let (backend, connection) = database.parts();
    let transaction = async {
        let mut transaction = connection.begin_with(backend.begin()).await?;
        Work::new(&mut transaction, backend, &settings.pipeline, replica).leave().await?;
        transaction.commit().await
    };
    transaction.await.map_err(|error: sqlx::Error| backend.error(&error))
}
