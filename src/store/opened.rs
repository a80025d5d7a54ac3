//! The first steps of a store's [`Keeper`](super::keeper::Keeper): its database is opened, and what earlier runs have left
//! is taken over. Nothing is handed out here.

use uuid::Uuid;

use super::StoreError;
use super::config::StoreSettings;
use super::connection::Connection;
use super::group::Group;
use super::sinks::with_parked;
use super::transaction::{Task, transact};
use crate::turns::Turn;

/// A database that is up to date, with what earlier runs have left taken over.
pub(super) struct Opened {
    pub(super) settings: StoreSettings,
    pub(super) connection: Connection,
    pub(super) replica: String,
    pub(super) bytes: u64,
    /// The sinks for which deliveries wait.
    pub(super) sinks_with_parked: Vec<String>,
}

impl Opened {
    /// Opens the database.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub(super) async fn open(settings: StoreSettings, turn: Option<Turn>) -> Result<Self, StoreError> {
        let mut connection = Connection::begin(settings.clone(), turn).await?;
        let database = connection.open().await?;
        let replica = format!("{}/{}", settings.pipeline, Uuid::new_v4());
        let group = Group::default();
        let task = Task {
            settings: &settings,
            replica: &replica,
            group: &group,
            beat: true,
            in_hand: None,
            forget_before: None,
        };
        let committed = transact(database, &task).await?;
        let sinks_with_parked = with_parked(database, &settings.pipeline).await?;
        Ok(Self { settings, connection, replica, bytes: committed.bytes, sinks_with_parked })
    }
}
