//! Who uses the store, and how many bytes it holds.
//!
//! Each replica has a row with the bytes it has added, less those it has removed: no two write the same row, and the
//! sum is the store's size. A replica that is gone leaves its bytes to the row `''`, and its claims to the others.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::work::{Work, statement};

impl Work<'_> {
    /// Says that this replica is there for the time of a lease, and frees what those that are gone have left.
    ///
    /// A database that is not shared has one user: everyone else is gone.
    pub(super) async fn beat(&mut self, lease: Duration) -> sqlx::Result<()> {
        let clock = self.backend.clock();
        let sql = format!(
            "INSERT INTO replicas (id, alive_until, bytes) VALUES ($1, {clock} + $2, 0) \
             ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until"
        );
        let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 2);
        self.execute(statement(sql).bind(self.replica).bind(lease)).await?;
        let silent = if self.backend.is_shared() { format!(" AND alive_until < {clock}") } else { String::new() };
        let sql = format!("DELETE FROM replicas WHERE id <> '' AND id <> $1{silent} RETURNING bytes");
        self.inherit(sql).await?;
        // Not only of those that have just been removed: a replica that was only slow may have claimed once more.
        self.execute(sqlx::query(
            "UPDATE deliveries SET claimed_by = NULL WHERE claimed_by IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM replicas WHERE replicas.id = deliveries.claimed_by)",
        ))
        .await
    }

    /// Leaves everything to the others.
    pub(super) async fn leave(&mut self) -> sqlx::Result<()> {
        let sql = "UPDATE deliveries SET claimed_by = NULL WHERE claimed_by = $1";
        self.execute(sqlx::query(sql).bind(self.replica)).await?;
        self.inherit("DELETE FROM replicas WHERE id = $1 RETURNING bytes".to_owned()).await
    }

    /// Removes replicas; their bytes go to the row `''`.
    async fn inherit(&mut self, delete: String) -> sqlx::Result<()> {
        let removed = self.fetch(statement(delete).bind(self.replica)).await?;
        let bytes: i64 = removed.iter().map(|row| row.try_get::<i64, _>(0)).sum::<sqlx::Result<_>>()?;
        if bytes == 0 {
            return Ok(());
        }
        add_bytes(self.connection, bytes).await
    }

    /// Books what this transaction has added or removed.
    pub(super) async fn book_growth(&mut self) -> sqlx::Result<()> {
        if self.growth == 0 {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO replicas (id, alive_until, bytes) VALUES ($1, {}, $2) \
             ON CONFLICT (id) DO UPDATE SET bytes = replicas.bytes + excluded.bytes",
            self.backend.clock()
        );
        self.execute(statement(sql).bind(self.replica).bind(self.growth)).await
    }

    /// The store's size.
    pub(super) async fn total_bytes(&mut self) -> sqlx::Result<u64> {
        let sql = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM replicas";
        let rows = self.fetch(sqlx::query(sql)).await?;
        let bytes: i64 = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        Ok(u64::try_from(bytes).unwrap_or_default())
    }
}

/// Books bytes that were added or removed by somebody who is no replica, such as the command line when it removes dead
/// letters. Belongs into the same transaction.
///
/// # Errors
/// When the database refuses.
pub async fn add_bytes(connection: &mut AnyConnection, bytes: i64) -> sqlx::Result<()> {
    let sql = "INSERT INTO replicas (id, alive_until, bytes) VALUES ('', 0, $1) \
               ON CONFLICT (id) DO UPDATE SET bytes = replicas.bytes + excluded.bytes";
    sqlx::query(sql).bind(bytes).execute(connection).await.map(drop)
}
