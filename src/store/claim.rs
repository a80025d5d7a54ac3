//! Handing out deliveries that are due.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::StoreError;
use super::group::{Buried, node_of_sink};
use super::handle::{Claim, Claimed};
use super::record::{Reason, RowId, StoredDelivery};
use super::row::{DELIVERY_COLUMNS, End, Statement, stored_delivery};
use super::sql::{list, repeated_chunks};
use super::work::{Work, now, statement};

/// The most bytes handed out at once, beyond the first delivery: deliveries may be large, and memory is bounded.
const MOST_BYTES: i64 = 16 * 1024 * 1024;

/// The most buckets that are heeded in [`Claim::except_buckets`]: statements take so many values and no more.
const MOST_BUCKETS: usize = 16 * 1024;

/// Which rows a claim is about, but for their due time.
struct Selection<'c> {
    node: String,
    replay: Option<&'c str>,
    /// Their number is a power of two, by repetition: few different statements stay prepared.
    except_buckets: Vec<&'c [u8]>,
}

/// Rows that are due, and when the first of those is that the limits leave out; in milliseconds since 1970.
struct Due {
    ids: Vec<RowId>,
    next: Option<i64>,
}

impl<'c> Selection<'c> {
    fn new(sink: &str, claim: &'c Claim) -> Self {
        let mut except: Vec<&[u8]> = claim.except_buckets.iter().map(|bucket| bucket.as_bytes()).collect();
        except.truncate(MOST_BUCKETS);
        if let Some(last) = except.last().copied() {
            except.resize(except.len().next_power_of_two(), last);
        }
        Self { node: node_of_sink(sink), replay: claim.only_replay.as_deref(), except_buckets: except }
    }

    /// The condition; its placeholders count from `$1`.
    fn condition(&self) -> String {
        let mut sql = "pipeline = $1 AND node = $2 AND state = 'parked' AND claimed_by IS NULL AND due IS NOT NULL \
                       AND due <= $3"
            .to_owned();
        if self.replay.is_some() {
            sql += " AND replay = $4";
        }
        if !self.except_buckets.is_empty() {
            let first = if self.replay.is_some() { 5 } else { 4 };
            sql += &format!(" AND bucket NOT IN ({})", list(first, self.except_buckets.len()));
        }
        sql
    }

    /// How many placeholders the condition has.
    fn values(&self) -> usize {
        3 + usize::from(self.replay.is_some()) + self.except_buckets.len()
    }

    fn bind<'q>(&self, pipeline: &str, statement: Statement<'q>, due_until: i64) -> Statement<'q> {
        let mut query = statement.bind(pipeline.to_owned()).bind(self.node.clone()).bind(due_until);
        if let Some(replay) = self.replay {
            query = query.bind(replay.to_owned());
        }
        for bucket in &self.except_buckets {
            query = query.bind(bucket.to_vec());
        }
        query
    }
}

impl Work<'_> {
    /// Hands out deliveries to a sink.
    pub(super) async fn claim(&mut self, sink: &str, claim: &Claim) -> sqlx::Result<Claimed> {
        let selection = Selection::new(sink, claim);
        let disabled = self.is_disabled(sink).await?;
        let mut deliveries = Vec::new();
        let mut next_due = None;
        if claim.limit > 0 {
            if !disabled {
                let due = self.due(&selection, claim).await?;
                deliveries = self.take(&due.ids).await?;
                next_due = due.next;
            }
            if next_due.is_none() {
                next_due = self.next_due(&selection).await?;
            }
        }
        let next_due = next_due.and_then(|due| Timestamp::from_millisecond(due).ok());
        let has_lanes = self.has_lanes(&selection.node).await?;
        let is_shared = self.backend.is_shared();
        let pauses = self.pauses(sink).await?;
        let tells_changes = self.backend.version_by_others().is_some();
        Ok(Claimed { deliveries, next_due, has_lanes, is_shared, disabled, pauses, tells_changes })
    }

    async fn due(&mut self, selection: &Selection<'_>, claim: &Claim) -> sqlx::Result<Due> {
        // The limit is a value, as a statement for each limit would not stay prepared. One row more tells what is next.
        let sql = format!(
            "SELECT id, size, due FROM deliveries WHERE {} ORDER BY due, id LIMIT ${} {}",
            selection.condition(),
            selection.values() + 1,
            self.backend.skip_locked()
        );
        let limit = i64::try_from(claim.limit).unwrap_or(i64::MAX - 1);
        // What became due in this very transaction, as the one before it in its lane has ended, is due after the asking.
        let now = self.promoted_at.unwrap_or_default().max(claim.now.as_millisecond());
        let rows = self.fetch(selection.bind(self.pipeline, statement(sql), now).bind(limit + 1)).await?;
        let mut due = Due { ids: Vec::with_capacity(rows.len()), next: None };
        let mut bytes = 0;
        for row in rows {
            bytes += row.try_get::<i64, _>(1)?;
            if due.ids.len() == claim.limit || bytes > MOST_BYTES && !due.ids.is_empty() {
                due.next = Some(row.try_get(2)?);
                break;
            }
            due.ids.push(row.try_get(0)?);
        }
        Ok(due)
    }

    /// Makes rows this replica's. One that cannot be read is not handed out: it is to be a dead letter.
    async fn take(&mut self, ids: &[RowId]) -> sqlx::Result<Vec<StoredDelivery>> {
        let mut deliveries = Vec::with_capacity(ids.len());
        for ids in repeated_chunks(ids) {
            let sql = "UPDATE deliveries SET claimed_by = $1 WHERE id IN";
            let sql = format!("{sql} ({}) RETURNING {DELIVERY_COLUMNS}", list(2, ids.len()));
            let mut query = statement(sql).bind(self.replica);
            for id in ids {
                query = query.bind(id);
            }
            for row in self.fetch(query).await? {
                match stored_delivery(&row) {
                    Ok(delivery) => deliveries.push(delivery),
                    Err(error) => self.damaged.push(damaged(&row, &error)),
                }
            }
        }
        deliveries.sort_by_key(|delivery| (delivery.due, delivery.core.row));
        Ok(deliveries)
    }

    /// Frees what was claimed by a transaction of which only the database knows that it was committed: its answer was
    /// lost with the connection.
    pub(super) async fn free_all_but(&mut self, in_hand: &HashSet<RowId>) -> sqlx::Result<()> {
        let sql = "SELECT id FROM deliveries WHERE claimed_by = $1";
        let claimed = self.fetch(sqlx::query(sql).bind(self.replica)).await?;
        let claimed: Vec<RowId> = claimed.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>()?;
        let lost: Vec<RowId> = claimed.into_iter().filter(|row| !in_hand.contains(row)).collect();
        for ids in repeated_chunks(&lost) {
            let sql = "UPDATE deliveries SET claimed_by = NULL WHERE claimed_by = $1 AND id IN";
            let mut query = statement(format!("{sql} ({})", list(2, ids.len()))).bind(self.replica);
            for id in ids {
                query = query.bind(id);
            }
            self.execute(query).await?;
        }
        Ok(())
    }

    async fn next_due(&mut self, selection: &Selection<'_>) -> sqlx::Result<Option<i64>> {
        let sql = format!("SELECT due FROM deliveries WHERE {} ORDER BY due, id LIMIT 1", selection.condition());
        let rows = self.fetch(selection.bind(self.pipeline, statement(sql), i64::MAX)).await?;
        rows.first().map(|row| row.try_get(0)).transpose()
    }

    async fn has_lanes(&mut self, node: &str) -> sqlx::Result<bool> {
        let sql = "SELECT id FROM deliveries WHERE pipeline = $1 AND node = $2 AND state = 'parked' \
                   AND lane IS NOT NULL LIMIT 1";
        let rows = self.fetch(sqlx::query(sql).bind(self.pipeline).bind(node)).await?;
        Ok(!rows.is_empty())
    }

    async fn is_disabled(&mut self, sink: &str) -> sqlx::Result<bool> {
        let sql = "SELECT since FROM disabled_sinks WHERE pipeline = $1 AND sink = $2";
        let rows = self.fetch(sqlx::query(sql).bind(self.pipeline).bind(sink)).await?;
        Ok(!rows.is_empty())
    }
}

/// The end of a claimed delivery that cannot be read. Its row keeps whatever is in it; only a log of attempts that cannot
/// be read is replaced.
fn damaged(row: &AnyRow, error: &StoreError) -> Buried {
    let attempts = row.try_get("attempts").ok().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let message = error.to_string().replace('\0', "\u{fffd}");
    let end = End { died: now(), reason: Reason::Damaged.as_str(), message, shown: None };
    Buried { row: row.try_get("id").unwrap_or_default(), end, attempts }
}
