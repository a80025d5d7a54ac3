//! Dead letters on their way back: queued by the command line, delivered by whichever bridge runs on the store.
//!
//! What a replay makes of a letter is decided in `pipeline::replay`; here it is written, page by page, and counted while
//! it is delivered. A row bears the replay's name until the replay has ended.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::StoreError;
use super::letters::Letters;
use super::record::{Letter, RowId, StoredDelivery, StoredRequest};
use super::replicas::add_bytes;
use super::row::{Identity, NewRow, milliseconds};
use super::sql;
use super::statement::StatementBuilder;
use crate::node::NodeName;

/// What is to be written of one letter.
#[derive(Debug)]
pub struct Change {
    /// The letter's number.
    pub letter: RowId,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a letter that is replayed.
#[derive(Debug)]
pub enum Fate {
    /// A delivery, in its own row.
    Delivery {
        /// To this node.
        node: NodeName,
        /// With this request.
        delivery: Box<StoredDelivery>,
        /// The request of the first attempts, where it is another one.
        first_request: Option<StoredRequest>,
    },
    /// The letter with another message, in its own row.
    Letter(Box<Letter>),
    /// It goes, and these new rows come; none when the filters turn the event away.
    Rows(Vec<Row>),
}

/// A new row.
#[derive(Debug)]
pub enum Row {
    /// A delivery to a node.
    Delivery(NodeName, Box<StoredDelivery>),
    /// A letter.
    Letter(Box<Letter>),
}

/// What has become of the deliveries of a replay so far. What is in neither of these has been delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Not attempted yet.
    pub pending: u64,
    /// Attempted or held back, and due later; or of a sink that is disabled.
    pub waiting: u64,
    /// Dead letters again.
    pub dead: u64,
}

impl Letters {
    /// Writes a page of changes in one transaction, and says how many deliveries were queued by it. A letter that
    /// someone else has replayed or purged meanwhile is left out.
    ///
    /// # Errors
    /// When the store cannot be written; nothing of the page has been then.
    pub async fn change(&mut self, changes: Vec<Change>, replay: &str) -> Result<u64, StoreError> {
        let skip_locked = self.database.parts().0.skip_locked();
        let pipeline = &self.pipeline;
        let write = async |connection: &mut AnyConnection| {
            let mut writer = Writer { connection: &mut *connection, pipeline, replay, queued: 0, bytes: 0 };
            let sizes = writer.still_dead(&changes, skip_locked).await?;
            for Change { letter, fate } in changes {
                if let Some(size) = sizes.get(&letter) {
                    writer.bytes -= size;
                    writer.change(letter, fate).await?;
                }
            }
            let Writer { queued, bytes, .. } = writer;
            add_bytes(connection, bytes).await?;
            Ok(queued)
        };
        self.database.write(write).await
    }

    /// What has become of the deliveries of a replay, all of which were queued as due at `due`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn progress(&mut self, replay: &str, due: Timestamp) -> Result<Progress, StoreError> {
        let text = "SELECT kind, count(*) AS rows_there FROM (SELECT CASE WHEN state = 'dead' THEN 'dead' \
                    WHEN due > $2 OR EXISTS (SELECT 1 FROM disabled_sinks WHERE disabled_sinks.pipeline = $3 \
                    AND 'sinks.' || disabled_sinks.sink = deliveries.node) THEN 'waiting' ELSE 'pending' END AS kind \
                    FROM deliveries WHERE pipeline = $3 AND replay = $1) AS kinds GROUP BY kind";
        let statement = sqlx::query(text).bind(replay.to_owned()).bind(milliseconds(due)).bind(self.pipeline.clone());
        let counted = async {
            let mut progress = Progress::default();
            for row in statement.fetch_all(self.database.connection()).await? {
                let count = row.try_get::<i64, _>("rows_there")?.unsigned_abs();
                match row.try_get::<&str, _>("kind")? {
                    "dead" => progress.dead = count,
                    "waiting" => progress.waiting = count,
                    _ => progress.pending = count,
                }
            }
            Ok(progress)
        };
        let counted: Result<Progress, sqlx::Error> = counted.await;
        counted.map_err(|error| self.database.error(&error))
    }

    /// Takes the replay's name from its rows: nobody asks for its progress any more.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn forget_replay(&mut self, replay: &str) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE deliveries SET replay = NULL WHERE pipeline = $1 AND replay = $2");
        let statement = statement.bind(self.pipeline.clone()).bind(replay.to_owned());
        self.database.write(async |connection| statement.execute(connection).await.map(drop)).await
    }
}

struct Writer<'t> {
    connection: &'t mut AnyConnection,
    pipeline: &'t str,
    replay: &'t str,
    queued: u64,
    bytes: i64,
}

impl Writer<'_> {
    /// The letters that are still there, with their sizes. Nobody else takes them before the transaction has ended.
    async fn still_dead(&mut self, changes: &[Change], lock: &str) -> Result<HashMap<RowId, i64>, sqlx::Error> {
        if changes.is_empty() {
            return Ok(HashMap::new());
        }
        let mut statement = StatementBuilder::default();
        statement.push("SELECT id, size FROM deliveries WHERE state = 'dead' AND pipeline = ").bind(self.pipeline);
        statement.push(" AND id IN (").bind_all(changes.iter().map(|change| change.letter)).push(") ").push(lock);
        let rows = statement.build().fetch_all(&mut *self.connection).await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("size")?))).collect()
    }

    async fn change(&mut self, letter: RowId, fate: Fate) -> Result<(), sqlx::Error> {
        match fate {
            Fate::Delivery { node, delivery, first_request } => {
                self.queued += 1;
                let due = milliseconds(delivery.due);
                let row = NewRow::parked(&node, *delivery).with_first_request(first_request.as_ref());
                self.replace(letter, &row, Some(due)).await
            }
            Fate::Letter(dead) => self.replace(letter, &NewRow::dead(*dead), None).await,
            Fate::Rows(rows) => {
                let statement = sqlx::query("DELETE FROM deliveries WHERE id = $1").bind(letter);
                statement.execute(&mut *self.connection).await?;
                for row in rows {
                    self.insert(row).await?;
                }
                Ok(())
            }
        }
    }

    /// Writes a row in the place of another, which keeps its number.
    async fn replace(&mut self, id: RowId, row: &NewRow, due: Option<i64>) -> Result<(), sqlx::Error> {
        let width = NewRow::WIDTH;
        let text = format!(
            "UPDATE deliveries SET ({columns}, replay) = ({values}) WHERE id = ${id}",
            columns = NewRow::COLUMNS,
            values = sql::list(1, width + 1),
            id = width + 2,
        );
        let (statement, size) = row.bind(sqlx::query(AssertSqlSafe(text)), None, due, &row.attempts, None);
        // A letter that stays one belongs to no replay.
        let replay = due.map(|_| self.replay.to_owned());
        statement.bind(replay).bind(id).execute(&mut *self.connection).await?;
        self.bytes += size;
        Ok(())
    }

    async fn insert(&mut self, row: Row) -> Result<(), sqlx::Error> {
        let mut row = match row {
            Row::Delivery(node, delivery) => {
                self.queued += 1;
                NewRow::parked(&node, *delivery)
            }
            Row::Letter(letter) => NewRow::dead(*letter),
        };
        row.copy = self.free_copy(row.identity()).await?;
        let due = row.due;
        let text = format!(
            "INSERT INTO deliveries ({columns}, pipeline, replay) VALUES ({values})",
            columns = NewRow::COLUMNS,
            values = sql::list(1, NewRow::WIDTH + 2),
        );
        let (statement, size) = row.bind(sqlx::query(AssertSqlSafe(text)), None, due, &row.attempts, None);
        let replay = due.map(|_| self.replay.to_owned());
        statement.bind(self.pipeline.to_owned()).bind(replay).execute(&mut *self.connection).await?;
        self.bytes += size;
        Ok(())
    }

    /// The number of a further delivery of an event to a node: the event may have come there on another path as well,
    /// and that delivery may be in the store.
    async fn free_copy(&mut self, identity: Identity<'_>) -> Result<u32, sqlx::Error> {
        let Identity { node, source, event_id, copy, content } = identity;
        let text = "SELECT copy FROM deliveries \
                    WHERE pipeline = $1 AND node = $2 AND source = $3 AND event_id = $4 AND content = $5";
        let statement = sqlx::query(text).bind(self.pipeline.to_owned()).bind(node.to_owned()).bind(source.to_owned());
        let statement = statement.bind(event_id.as_bytes().to_vec()).bind(content.to_vec());
        let rows = statement.fetch_all(&mut *self.connection).await?;
        let taken: HashSet<i64> = rows.iter().map(|row| row.try_get("copy")).collect::<Result<_, _>>()?;
        Ok((copy..=u32::MAX).chain(0..copy).find(|free| !taken.contains(&i64::from(*free))).unwrap_or(copy))
    }
}
