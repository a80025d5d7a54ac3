//! Dead letters as the command line looks at them and throws them away, while a bridge is running on the store or not.
//!
//! Letters are read in pages, so that their number does not matter. Replays are in [`replays`](super::replays).

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::StoreError;
use super::config::StoreSettings;
use super::database::Database;
use super::record::{Letter, Reason, RowId};
use super::replicas::add_bytes;
use super::row::{self, LETTER_COLUMNS};
use super::statement::StatementBuilder;

/// The dead letters of a pipeline.
#[derive(Debug)]
pub struct Letters {
    pub(super) database: Database,
    pub(super) pipeline: String,
}

/// Which letters; all conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// Those of these numbers; all when empty.
    pub ids: Vec<RowId>,
    /// Those of this node, for example `sinks.crm`.
    pub node: Option<String>,
    /// Those given up for one of these reasons; for any when empty.
    pub reasons: Vec<Reason>,
    /// Those given up at this time or later.
    pub since: Option<Timestamp>,
    /// Those given up before this time.
    pub until: Option<Timestamp>,
    /// Those of events with this key.
    pub key: Option<String>,
}

/// A letter in one line.
#[derive(Debug, Clone)]
pub struct LetterSummary {
    /// Its number.
    pub id: RowId,
    /// When it was given up.
    pub time: Timestamp,
    /// Where in the pipeline it ended.
    pub node: String,
    /// Why, in a word: that of a [`Reason`], or one of a later version of the bridge.
    pub reason: String,
    /// Attempts made, ever.
    pub attempts: i64,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event_id: String,
    /// The event's key.
    pub key: Option<String>,
    /// Why, in a sentence.
    pub message: String,
}

/// Some letters, oldest first.
#[derive(Debug, Default)]
pub struct Page {
    /// Those that can be read.
    pub letters: Vec<Letter>,
    /// The others, by number.
    pub damaged: Vec<(RowId, StoreError)>,
}

impl Page {
    /// True when there are no more letters.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.damaged.is_empty()
    }
}

/// How far the pages have been read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor(Option<(i64, RowId)>);

/// The most letters of one page. Each may be as large as `max_event_size`, twice.
const LETTERS_OF_A_PAGE: i64 = 64;

/// Letters that are looked up by number in one statement.
const IDS_OF_A_STATEMENT: usize = 1000;

/// Letters thrown away in one transaction.
const PURGED_AT_ONCE: i64 = 1000;

impl LetterFilter {
    /// Without what dies later, above all of what is being done now.
    #[must_use]
    pub fn before(mut self, now: Timestamp) -> Self {
        self.until = Some(self.until.map_or(now, |until| until.min(now)));
        self
    }
}

impl Letters {
    /// Opens the store. A bridge may be running on it.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        Ok(Self { database: Database::connect(settings).await?, pipeline: settings.pipeline.clone() })
    }

    /// The pipeline whose letters these are.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// How many there are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count(&mut self, filter: &LetterFilter) -> Result<u64, StoreError> {
        let statement = self.select("count(*)", filter);
        let row = statement.build().fetch_one(self.database.connection()).await;
        let count: i64 = row.and_then(|row| row.try_get(0)).map_err(|error| self.database.error(&error))?;
        Ok(count.unsigned_abs())
    }

    /// The last that were given up, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn newest(&mut self, filter: &LetterFilter, limit: u32) -> Result<Vec<LetterSummary>, StoreError> {
        let columns = "id, died, node, reason, attempts_made, source, event_id, event_key, message";
        let mut statement = self.select(columns, filter);
        statement.push(" ORDER BY died DESC, id DESC LIMIT ").bind(i64::from(limit));
        let rows = self.fetch(statement).await?;
        rows.iter().map(summary).collect::<Result<_, _>>().map_err(|error| self.database.error(&error))
    }

    /// The next page of letters, oldest first; empty when there are no more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn page(&mut self, filter: &LetterFilter, cursor: &mut Cursor) -> Result<Page, StoreError> {
        let mut statement = self.select(LETTER_COLUMNS, filter);
        if let Some((died, id)) = cursor.0 {
            statement.push(" AND (died, id) > (").bind(died).push(", ").bind(id).push(")");
        }
        statement.push(" ORDER BY died, id LIMIT ").bind(LETTERS_OF_A_PAGE);
        let mut page = Page::default();
        for row in self.fetch(statement).await? {
            let place = row.try_get("died").and_then(|died| Ok((died, row.try_get("id")?)));
            let place: (i64, RowId) = place.map_err(|error| self.database.error(&error))?;
            cursor.0 = Some(place);
            match row::letter(&row) {
                Ok(letter) => page.letters.push(letter),
                Err(error) => page.damaged.push((place.1, error)),
            }
        }
        Ok(page)
    }

    /// One letter by its number.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get(&mut self, id: RowId) -> Result<Option<Letter>, StoreError> {
        let mut statement = StatementBuilder::default();
        statement.push("SELECT ").push(LETTER_COLUMNS).push(" FROM deliveries WHERE state = 'dead' AND pipeline = ");
        statement.bind(self.pipeline.as_str()).push(" AND id = ").bind(id);
        self.fetch(statement).await?.first().map(row::letter).transpose()
    }

    /// Those of the filter's numbers of which there is no letter for which its other conditions hold.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn missing(&mut self, filter: &LetterFilter) -> Result<Vec<RowId>, StoreError> {
        let mut missing = Vec::new();
        for ids in filter.ids.chunks(IDS_OF_A_STATEMENT) {
            let there = self.select("id", &LetterFilter { ids: ids.to_vec(), ..filter.clone() });
            let there = self.fetch(there).await?;
            let there: Result<HashSet<RowId>, _> = there.iter().map(|row| row.try_get("id")).collect();
            let there = there.map_err(|error| self.database.error(&error))?;
            missing.extend(ids.iter().copied().filter(|id| !there.contains(id)));
        }
        Ok(missing)
    }

    /// Throws some of the letters away, and says how many; 0 when there are none left.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn purge_some(&mut self, filter: &LetterFilter) -> Result<u64, StoreError> {
        let mut statement = StatementBuilder::default();
        statement.push("DELETE FROM deliveries WHERE state = 'dead' AND id IN (");
        self.push_select(&mut statement, "id", filter);
        statement.push(" ORDER BY died, id LIMIT ").bind(PURGED_AT_ONCE).push(") RETURNING size");
        let purge = async |connection: &mut AnyConnection| {
            let rows = statement.build().fetch_all(&mut *connection).await?;
            let sizes: Vec<i64> = rows.iter().map(|row| row.try_get("size")).collect::<Result<_, _>>()?;
            add_bytes(connection, -sizes.iter().sum::<i64>()).await?;
            Ok(sizes.len() as u64)
        };
        self.database.write(purge).await
    }

    /// `SELECT columns` of the letters that a filter chooses.
    fn select(&self, columns: &'static str, filter: &LetterFilter) -> StatementBuilder {
        let mut statement = StatementBuilder::default();
        self.push_select(&mut statement, columns, filter);
        statement
    }

    fn push_select(&self, statement: &mut StatementBuilder, columns: &'static str, filter: &LetterFilter) {
        let LetterFilter { ids, node, reasons, since, until, key } = filter;
        statement.push("SELECT ").push(columns).push(" FROM deliveries WHERE state = 'dead' AND pipeline = ");
        statement.bind(self.pipeline.as_str());
        if let Some(until) = until {
            statement.push(" AND died < ").bind(row::milliseconds(*until));
        }
        if let Some(since) = since {
            statement.push(" AND died >= ").bind(row::milliseconds(*since));
        }
        if let Some(node) = node {
            statement.push(" AND node = ").bind(node.as_str());
        }
        if let Some(key) = key {
            statement.push(" AND event_key = ").bind(key.as_bytes());
        }
        if !reasons.is_empty() {
            statement.push(" AND reason IN (").bind_all(reasons.iter().map(|reason| reason.as_str())).push(")");
        }
        if !ids.is_empty() {
            statement.push(" AND id IN (").bind_all(ids.iter().copied()).push(")");
        }
    }

    async fn fetch(&mut self, statement: StatementBuilder) -> Result<Vec<AnyRow>, StoreError> {
        let rows = statement.build().fetch_all(self.database.connection()).await;
        rows.map_err(|error| self.database.error(&error))
    }
}

/// Reads no more than it shows, and takes what is damaged as it is: one row must not hide the others.
fn summary(row: &AnyRow) -> Result<LetterSummary, sqlx::Error> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(LetterSummary {
        id: row.try_get("id")?,
        time: Timestamp::from_millisecond(row.try_get("died")?).unwrap_or_default(),
        node: row.try_get("node")?,
        reason: row.try_get("reason")?,
        attempts: row.try_get("attempts_made")?,
        source: row.try_get("source")?,
        event_id: text(row.try_get("event_id")?),
        key: row.try_get::<Option<Vec<u8>>, _>("event_key")?.map(text),
        message: row.try_get::<Option<String>, _>("message")?.unwrap_or_default(),
    })
}
