//! The sinks of a pipeline as the command line looks at them: what lies in the store for each, and which are disabled.
//! A bridge that starts is told for which there is something.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _};

use super::StoreError;
use super::config::StoreSettings;
use super::database::Database;
use super::group::node_of_sink;
use super::handle::Pause;
use super::pauses::pause_of;

/// What the store knows of the sinks of a pipeline.
#[derive(Debug)]
pub struct SinkStates {
    database: Database,
    pipeline: String,
}

/// What the store knows of one sink.
#[derive(Debug, Clone, Default)]
pub struct SinkState {
    /// Since when it is disabled, and why.
    pub disabled: Option<(Timestamp, String)>,
    /// The pauses that its receiver has asked for and that are not over, by their end.
    pub pauses: Vec<Pause>,
    /// Deliveries that wait in the store.
    pub parked: i64,
    /// When the first of them is due, as far as they have a time of their own.
    pub oldest_due: Option<Timestamp>,
    /// Dead letters.
    pub dead: i64,
}

/// What [`SinkStates::resume`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Pauses that it has ended.
    pub pauses: usize,
    /// Deliveries that were to wait longer and are due now.
    pub due: u64,
}

impl SinkStates {
    /// Opens the store. A bridge may be running on it.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        Ok(Self { database: Database::connect(settings).await?, pipeline: settings.pipeline.clone() })
    }

    /// The sinks of which the store knows anything, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn all(&mut self) -> Result<BTreeMap<String, SinkState>, StoreError> {
        let states = self.read().await;
        states.map_err(|error| self.database.error(&error))
    }

    /// How many events have become dead letters since then, at any node, and still are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn died_since(&mut self, since: Timestamp) -> Result<i64, StoreError> {
        let died = "SELECT count(*) AS died FROM deliveries WHERE pipeline = $1 AND state = 'dead' AND died >= $2";
        let died = sqlx::query(died).bind(self.pipeline.clone()).bind(since.as_millisecond());
        let row = died.fetch_one(self.database.connection()).await;
        row.and_then(|row| row.try_get("died")).map_err(|error| self.database.error(&error))
    }

    /// Lifts the disabling of a sink; false when it was not disabled.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn enable(&mut self, sink: &str) -> Result<bool, StoreError> {
        let statement = sqlx::query("DELETE FROM disabled_sinks WHERE pipeline = $1 AND sink = $2");
        let statement = statement.bind(self.pipeline.clone()).bind(sink.to_owned());
        let lift = async |connection: &mut AnyConnection| Ok(statement.execute(connection).await?.rows_affected() > 0);
        self.database.write(lift).await
    }

    /// Ends the pauses of a sink, and makes due what is parked for it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn resume(&mut self, sink: &str) -> Result<Resumed, StoreError> {
        let pipeline = self.pipeline.clone();
        let resume = async |connection: &mut AnyConnection| {
            let now = Timestamp::now().as_millisecond();
            let pauses = sqlx::query("SELECT bucket FROM paused_sinks WHERE pipeline = $1 AND sink = $2 AND ends > $3");
            let pauses = pauses.bind(pipeline.clone()).bind(sink.to_owned()).bind(now).fetch_all(&mut *connection);
            let pauses = pauses.await?.len();
            let lift = sqlx::query("DELETE FROM paused_sinks WHERE pipeline = $1 AND sink = $2");
            lift.bind(pipeline.clone()).bind(sink.to_owned()).execute(&mut *connection).await?;
            let due = "UPDATE deliveries SET due = $1 WHERE pipeline = $2 AND node = $3 AND state = 'parked' \
                       AND claimed_by IS NULL AND due > $4";
            let due = sqlx::query(due).bind(now).bind(pipeline).bind(node_of_sink(sink)).bind(now);
            let due = due.execute(&mut *connection).await?.rows_affected();
            Ok(Resumed { pauses, due })
        };
        self.database.write(resume).await
    }

    async fn read(&mut self) -> Result<BTreeMap<String, SinkState>, sqlx::Error> {
        let mut states = BTreeMap::<String, SinkState>::new();
        let counts = "SELECT node, state, count(*) AS rows_there, min(due) AS oldest FROM deliveries \
                      WHERE pipeline = $1 GROUP BY node, state";
        let counts = sqlx::query(counts).bind(self.pipeline.clone()).fetch_all(self.database.connection()).await?;
        for row in &counts {
            let node: String = row.try_get("node")?;
            let Some(sink) = node.strip_prefix("sinks.") else { continue };
            let state = states.entry(sink.to_owned()).or_default();
            let count = row.try_get("rows_there")?;
            if row.try_get::<&str, _>("state")? == "dead" {
                state.dead = count;
            } else {
                state.parked = count;
                state.oldest_due = row.try_get::<Option<i64>, _>("oldest")?.and_then(time);
            }
        }
        let disabled = "SELECT sink, since, reason FROM disabled_sinks WHERE pipeline = $1";
        let disabled = sqlx::query(disabled).bind(self.pipeline.clone()).fetch_all(self.database.connection()).await?;
        for row in &disabled {
            let since = time(row.try_get("since")?).unwrap_or_default();
            states.entry(row.try_get("sink")?).or_default().disabled = Some((since, row.try_get("reason")?));
        }
        let paused =
            "SELECT sink, bucket, ends FROM paused_sinks WHERE pipeline = $1 AND ends > $2 ORDER BY ends, bucket";
        let paused = sqlx::query(paused).bind(self.pipeline.clone()).bind(Timestamp::now().as_millisecond());
        for row in &paused.fetch_all(self.database.connection()).await? {
            states.entry(row.try_get("sink")?).or_default().pauses.push(pause_of(row)?);
        }
        Ok(states)
    }
}

/// The sinks of a pipeline for which deliveries wait, by name. Quickly found, however many wait.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn with_parked(database: &mut Database, pipeline: &str) -> Result<Vec<String>, StoreError> {
    let mut sinks = Vec::new();
    let mut node = String::new();
    while let Some(next) =
        parked_behind(database.connection(), pipeline, &node).await.map_err(|error| database.error(&error))?
    {
        sinks.extend(next.strip_prefix("sinks.").map(str::to_owned));
        node = next;
    }
    Ok(sinks)
}

/// The node after this one for which something is parked: one look into an index.
async fn parked_behind(connection: &mut AnyConnection, pipeline: &str, node: &str) -> sqlx::Result<Option<String>> {
    let next = "SELECT node FROM deliveries WHERE pipeline = $1 AND node > $2 AND state = 'parked' \
                AND claimed_by IS NULL AND due IS NOT NULL ORDER BY node LIMIT 1";
    let found = sqlx::query(next).bind(pipeline).bind(node).fetch_optional(connection).await?;
    found.map(|row| row.try_get("node")).transpose()
}

fn time(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}
