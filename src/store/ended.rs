//! Claimed rows that are delivered, wait again, or have become dead letters. Only rows that this replica still holds
//! are touched: another may have taken them over meanwhile.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::event_row::to_json;
use super::group::{Buried, Rescheduled};
use super::lanes::{Lane, lanes_in};
use super::record::RowId;
use super::sql::{chunks, list, repeated_chunks, rows};
use super::work::{Work, statement};

impl Work<'_> {
    /// Removes rows; gives the lanes they were in.
    pub(super) async fn finish(&mut self, ids: &[RowId]) -> sqlx::Result<BTreeSet<Lane>> {
        let mut lanes = BTreeSet::new();
        for ids in repeated_chunks(ids) {
            let sql = "DELETE FROM deliveries WHERE claimed_by = $1 AND id IN";
            let sql = format!("{sql} ({}) RETURNING node, lane, size", list(2, ids.len()));
            let mut query = statement(sql).bind(self.replica);
            for id in ids {
                query = query.bind(id);
            }
            let removed = self.fetch(query).await?;
            self.growth -= total_size(&removed)?;
            lanes.extend(lanes_in(&removed)?);
        }
        Ok(lanes)
    }

    /// Puts rows back.
    pub(super) async fn reschedule(&mut self, rescheduled: &[Rescheduled]) -> sqlx::Result<()> {
        for chunk in chunks(rescheduled) {
            let before = self.size_of(chunk.iter().map(|one| one.row).collect()).await?;
            let sql = format!(
                "UPDATE deliveries SET claimed_by = NULL, due = new.column2, attempts = new.column3, \
                 attempts_made = new.column4, size = size - octet_length(attempts) + octet_length(new.column3) \
                 FROM (VALUES {}) AS new WHERE id = new.column1 AND claimed_by = $1 RETURNING size",
                rows(2, chunk.len(), 4)
            );
            let mut query = statement(sql).bind(self.replica);
            for one in chunk {
                let made = i64::from(one.attempts.total);
                query = query.bind(one.row).bind(one.due).bind(to_json(&one.attempts)).bind(made);
            }
            let changed = self.fetch(query).await?;
            self.growth += total_size(&changed)? - before;
        }
        Ok(())
    }

    /// Makes rows dead letters; gives the lanes they were in.
    pub(super) async fn bury_claimed(&mut self, buried: &[Buried]) -> sqlx::Result<BTreeSet<Lane>> {
        let mut lanes = BTreeSet::new();
        for chunk in chunks(buried) {
            let before = self.size_of(chunk.iter().map(|one| one.row).collect()).await?;
            let old = "octet_length(attempts) - COALESCE(octet_length(message), 0) - COALESCE(octet_length(shown), 0)";
            let sql = format!(
                "UPDATE deliveries SET state = 'dead', due = NULL, claimed_by = NULL, attempts = new.column2, \
                 attempts_made = new.column3, died = new.column4, reason = new.column5, message = new.column6, \
                 shown = new.column7, size = size - {old} + new.column8 \
                 FROM (VALUES {}) AS new WHERE id = new.column1 AND claimed_by = $1 RETURNING node, lane, size",
                rows(2, chunk.len(), 8)
            );
            let mut query = statement(sql).bind(self.replica);
            for Buried { row, end, attempts } in chunk {
                let made = i64::from(attempts.total);
                let attempts = to_json(attempts);
                let length = attempts.len() + end.message.len() + end.shown.as_ref().map_or(0, String::len);
                query = query.bind(*row).bind(attempts).bind(made).bind(end.died).bind(end.reason);
                query = query.bind(end.message.clone()).bind(end.shown.clone()).bind(length as i64);
            }
            let changed = self.fetch(query).await?;
            self.growth += total_size(&changed)? - before;
            lanes.extend(lanes_in(&changed)?);
        }
        Ok(lanes)
    }

    /// The size of those of the rows that are still this replica's, and stay so: another may be about to take them over.
    async fn size_of(&mut self, ids: Vec<RowId>) -> sqlx::Result<i64> {
        let sql = "SELECT size FROM deliveries WHERE claimed_by = $1 AND id IN";
        let sql = format!("{sql} ({}) {}", list(2, ids.len()), self.backend.lock());
        let mut query = statement(sql).bind(self.replica);
        for id in ids {
            query = query.bind(id);
        }
        total_size(&self.fetch(query).await?)
    }
}

fn total_size(rows: &[AnyRow]) -> sqlx::Result<i64> {
    rows.iter().map(|row| row.try_get::<i64, _>("size")).sum()
}
