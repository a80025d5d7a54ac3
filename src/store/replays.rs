//! Dead letters on their way back: queued by the command line, delivered by whichever bridge runs on the store.
//!
//! What a replay makes of a letter is decided in `pipeline::replay`; here it is written, page by page, and counted while
//! it is delivered. A row bears the replay's name until the replay has ended.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::StoreError;
use super::letters::Letters;
use super::record::{Letter, RowId, StoredDelivery};
use super::replicas::add_bytes;
use super::row::{NewRow, milliseconds};
use super::sql;
use super::statement::StatementBuilder;

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
    /// A delivery, in its own row, to this node.
    Delivery(String, Box<StoredDelivery>),
    /// The letter with another message, in its own row.
    Letter(Box<Letter>),
    /// It goes, and these new rows come; none when the filters turn the event away.
    Rows(Vec<Row>),
}

/// A new row.
#[derive(Debug)]
pub enum Row {
    /// A delivery to a node.
    Delivery(String, Box<StoredDelivery>),
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
        let pipeline = self.pipeline.clone();
        let mut transaction = self.database.begin().await?;
        let queued = async {
            let mut writer = Writer { transaction: &mut transaction, pipeline: &pipeline, replay, queued: 0, bytes: 0 };
            let sizes = writer.still_dead(&changes, skip_locked).await?;
            for Change { letter, fate } in changes {
                if let Some(size) = sizes.get(&letter) {
                    writer.bytes -= size;
                    writer.change(letter, fate).await?;
                }
            }
            let Writer { queued, bytes, .. } = writer;
            add_bytes(&mut *transaction, bytes).await?;
            transaction.commit().await?;
            Ok(queued)
        };
        let queued: Result<u64, sqlx::Error> = queued.await;
        queued.map_err(|error| self.database.error(&error))
    }

    /// What has become of the deliveries of a replay, all of which were queued as due at `due`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn progress(&mut self, replay: &str, due: Timestamp) -> Result<Progress, StoreError> {
        let text = "SELECT kind, count(*) AS rows_there FROM (SELECT CASE WHEN state = 'dead' THEN 'dead' \
                    WHEN due > $2 OR EXISTS (SELECT 1 FROM disabled_sinks WHERE disabled_sinks.pipeline = $3 \
                    AND 'sinks.' || disabled_sinks.sink = deliveries.node) THEN 'waiting' ELSE 'pending' END AS kind \
                    FROM deliveries WHERE replay = $1) AS kinds GROUP BY kind";
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
        let statement = sqlx::query("UPDATE deliveries SET replay = NULL WHERE replay = $1").bind(replay.to_owned());
        let done = statement.execute(self.database.connection()).await;
        done.map(drop).map_err(|error| self.database.error(&error))
    }
}

struct Writer<'t, 'c> {
    transaction: &'t mut Transaction<'c, Any>,
    pipeline: &'t str,
    replay: &'t str,
    queued: u64,
    bytes: i64,
}

impl Writer<'_, '_> {
    /// The letters that are still there, with their sizes. Nobody else takes them before the transaction has ended.
    async fn still_dead(&mut self, changes: &[Change], lock: &str) -> Result<HashMap<RowId, i64>, sqlx::Error> {
        if changes.is_empty() {
            return Ok(HashMap::new());
        }
        let mut statement = StatementBuilder::default();
        statement.push("SELECT id, size FROM deliveries WHERE state = 'dead' AND pipeline = ").bind(self.pipeline);
        statement.push(" AND id IN (").bind_all(changes.iter().map(|change| change.letter)).push(") ").push(lock);
        let rows = statement.build().fetch_all(&mut **self.transaction).await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("size")?))).collect()
    }

    async fn change(&mut self, letter: RowId, fate: Fate) -> Result<(), sqlx::Error> {
        match fate {
            Fate::Delivery(node, delivery) => {
                self.queued += 1;
                let due = milliseconds(delivery.due);
                self.replace(letter, &NewRow::parked(&node, *delivery), Some(due)).await
            }
            Fate::Letter(dead) => self.replace(letter, &NewRow::dead(*dead), None).await,
            Fate::Rows(rows) => {
                let statement = sqlx::query("DELETE FROM deliveries WHERE id = $1").bind(letter);
                statement.execute(&mut **self.transaction).await?;
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
        let (statement, size) = row.bind(sqlx::query(AssertSqlSafe(text)), None, due, &row.attempts);
        // A letter that stays one belongs to no replay.
        let replay = due.map(|_| self.replay.to_owned());
        statement.bind(replay).bind(id).execute(&mut **self.transaction).await?;
        self.bytes += size;
        Ok(())
    }

    async fn insert(&mut self, row: Row) -> Result<(), sqlx::Error> {
        let (row, due) = match row {
            Row::Delivery(node, mut delivery) => {
                self.queued += 1;
                let due = milliseconds(delivery.due);
                let identity = (node.as_str(), &*delivery.event.source, delivery.event.id.as_str(), delivery.copy);
                delivery.copy = self.free_copy(identity).await?;
                (NewRow::parked(&node, *delivery), Some(due))
            }
            Row::Letter(mut letter) => {
                let identity = (letter.node.as_str(), &*letter.event.source, letter.event.id.as_str(), letter.copy);
                letter.copy = self.free_copy(identity).await?;
                (NewRow::dead(*letter), None)
            }
        };
        let text = format!(
            "INSERT INTO deliveries ({columns}, pipeline, replay) VALUES ({values})",
            columns = NewRow::COLUMNS,
            values = sql::list(1, NewRow::WIDTH + 2),
        );
        let (statement, size) = row.bind(sqlx::query(AssertSqlSafe(text)), None, due, &row.attempts);
        let replay = due.map(|_| self.replay.to_owned());
        statement.bind(self.pipeline.to_owned()).bind(replay).execute(&mut **self.transaction).await?;
        self.bytes += size;
        Ok(())
    }

    /// The number of a further delivery of an event to a node: the event may have come there on another path as well,
    /// and that delivery may be in the store.
    async fn free_copy(&mut self, (node, source, id, copy): (&str, &str, &str, u32)) -> Result<u32, sqlx::Error> {
        let text = "SELECT max(copy) AS last_copy FROM deliveries \
                    WHERE pipeline = $1 AND node = $2 AND source = $3 AND event_id = $4";
        let statement = sqlx::query(text).bind(self.pipeline.to_owned()).bind(node.to_owned()).bind(source.to_owned());
        let row = statement.bind(id.as_bytes().to_vec()).fetch_one(&mut **self.transaction).await?;
        let last: Option<i64> = row.try_get("last_copy")?;
        let next = last.map_or(0, |last| last.saturating_add(1));
        Ok(copy.max(u32::try_from(next).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::event::{Event, Format};
    use crate::store::config::{Location, StoreSettings};
    use crate::store::letters::{Cursor, LetterFilter};
    use crate::store::record::{AttemptLog, Reason, StoredRequest};

    /// A letter of the event `id`, given up so many seconds after 1970.
    pub(in crate::store) fn letter(node: &str, id: &str, seconds: i64) -> Letter {
        let event = Event {
            id: id.to_owned(),
            time: Timestamp::UNIX_EPOCH,
            source: "lines".into(),
            key: None,
            headers: Vec::new(),
            meta: Vec::new(),
            payload: Some(Bytes::from_static(b"{\"n\":1}")),
            format: Format::Json,
            content_type: None,
        };
        Letter {
            row: None,
            node: node.to_owned(),
            reason: Reason::Rejected,
            message: "the receiver answered 400".to_owned(),
            time: Timestamp::from_second(seconds).unwrap(),
            event: Arc::new(event),
            copy: 0,
            request: None,
            shown: None,
            bucket: Arc::default(),
            lane: None,
            attempts: AttemptLog::default(),
        }
    }

    /// A store in `folder` that holds these letters.
    pub(in crate::store) async fn letters_of(folder: &Path, rows: Vec<Letter>) -> Letters {
        let settings = StoreSettings {
            location: Location::Sqlite(folder.join("store.db")),
            pipeline: "shop".to_owned(),
            max_size: 1 << 30,
            lease: std::time::Duration::from_secs(30),
        };
        let mut letters = Letters::open(&settings).await.unwrap();
        let mut transaction = letters.database.begin().await.unwrap();
        let mut writer = Writer { transaction: &mut transaction, pipeline: "shop", replay: "", queued: 0, bytes: 0 };
        for row in rows {
            writer.insert(Row::Letter(Box::new(row))).await.unwrap();
        }
        let bytes = writer.bytes;
        add_bytes(&mut *transaction, bytes).await.unwrap();
        transaction.commit().await.unwrap();
        letters
    }

    impl Letters {
        /// The store's size as it is booked, and as it is.
        pub(in crate::store) async fn bytes(&mut self) -> (i64, i64) {
            let text = "SELECT (SELECT CAST(sum(bytes) AS BIGINT) FROM replicas), \
                        (SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM deliveries)";
            let row = sqlx::query(text).fetch_one(self.database.connection()).await.unwrap();
            (row.get(0), row.get(1))
        }

        async fn all(&mut self) -> Vec<Letter> {
            self.page(&LetterFilter::default(), &mut Cursor::default()).await.unwrap()
        }
    }

    fn delivery(letter: &Letter, due: i64) -> Box<StoredDelivery> {
        let request = StoredRequest { url: "http://h/".into(), headers: vec![], body: "longer than it was".into() };
        Box::new(StoredDelivery {
            row: letter.row,
            event: Arc::clone(&letter.event),
            copy: letter.copy,
            request,
            bucket: Arc::default(),
            lane: None,
            attempts: letter.attempts.clone(),
            due: Timestamp::from_second(due).unwrap(),
        })
    }

    #[tokio::test]
    async fn a_letter_becomes_a_delivery_in_its_row_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = letters_of(folder.path(), vec![letter("sinks.crm", "a", 1)]).await;
        let dead = letters.all().await.remove(0);
        let change = || {
            let fate = Fate::Delivery("sinks.crm".to_owned(), delivery(&dead, 100));
            vec![Change { letter: dead.row.unwrap(), fate }]
        };
        assert_eq!(letters.change(change(), "r1").await.unwrap(), 1);
        assert_eq!(letters.change(change(), "r2").await.unwrap(), 0, "it is no letter any more");
        assert_eq!(letters.all().await.len(), 0);
        let (booked, there) = letters.bytes().await;
        assert_eq!(booked, there);

        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let pending = Progress { pending: 1, ..Progress::default() };
        assert_eq!(letters.progress("r1", at(100)).await.unwrap(), pending);
        assert_eq!(letters.progress("r2", at(100)).await.unwrap(), Progress::default());
        let waiting = Progress { waiting: 1, ..Progress::default() };
        assert_eq!(letters.progress("r1", at(99)).await.unwrap(), waiting, "it is due later");
        let disable = "INSERT INTO disabled_sinks VALUES ('shop', 'crm', 0, 'gone')";
        sqlx::query(disable).execute(letters.database.connection()).await.unwrap();
        assert_eq!(letters.progress("r1", at(100)).await.unwrap(), waiting, "nobody attempts it now");
        letters.forget_replay("r1").await.unwrap();
        assert_eq!(letters.progress("r1", at(100)).await.unwrap(), Progress::default());
    }

    #[tokio::test]
    async fn a_letter_that_goes_on_leaves_its_row_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let rows = vec![letter("filters.paid", "a", 1), letter("sinks.log", "a", 2), letter("sinks.crm", "b", 3)];
        let mut letters = letters_of(folder.path(), rows).await;
        let dead = letters.all().await;
        // The event has come to `log` on another path, and has died there.
        let rows = vec![
            Row::Delivery("sinks.log".to_owned(), delivery(&dead[0], 100)),
            Row::Letter(Box::new(letter("sinks.crm", "a", 4))),
        ];
        let mut still_dead = dead[2].clone();
        still_dead.message = "cannot render".to_owned();
        let changes = vec![
            Change { letter: dead[0].row.unwrap(), fate: Fate::Rows(rows) },
            Change { letter: dead[2].row.unwrap(), fate: Fate::Letter(Box::new(still_dead)) },
        ];
        assert_eq!(letters.change(changes, "r").await.unwrap(), 1);
        let (booked, there) = letters.bytes().await;
        assert_eq!(booked, there);
        let left = letters.all().await;
        let left: Vec<_> = left.iter().map(|letter| (letter.node.as_str(), letter.message.as_str())).collect();
        let answered = "the receiver answered 400";
        assert_eq!(left, [("sinks.log", answered), ("sinks.crm", "cannot render"), ("sinks.crm", answered)]);
        let copy = sqlx::query("SELECT copy FROM deliveries WHERE state = 'parked'");
        let copy: i64 = copy.fetch_one(letters.database.connection()).await.unwrap().get(0);
        assert_eq!(copy, 1);
    }
}
