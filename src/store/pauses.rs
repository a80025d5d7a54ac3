//! Pauses that receivers have asked for, beyond restarts.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::handle::Pause;
use super::row::milliseconds;
use super::work::{Work, now};

impl Work<'_> {
    /// Remembers a pause, and forgets those of this sink that are over.
    pub(super) async fn pause(&mut self, sink: &str, pause: &Pause) -> sqlx::Result<()> {
        let forget = "DELETE FROM paused_sinks WHERE pipeline = $1 AND sink = $2 AND ends <= $3";
        self.execute(sqlx::query(forget).bind(self.pipeline).bind(sink).bind(now())).await?;
        let sql = "INSERT INTO paused_sinks (pipeline, sink, bucket, ends) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (pipeline, sink, bucket) DO UPDATE SET ends = excluded.ends \
                   WHERE paused_sinks.ends < excluded.ends";
        let bucket = pause.bucket.as_bytes().to_vec();
        self.execute(sqlx::query(sql).bind(self.pipeline).bind(sink).bind(bucket).bind(milliseconds(pause.until))).await
    }

    /// The pauses of a sink, those among them that are over as well.
    pub(super) async fn pauses(&mut self, sink: &str) -> sqlx::Result<Vec<Pause>> {
        let sql = "SELECT bucket, ends FROM paused_sinks WHERE pipeline = $1 AND sink = $2";
        let rows = self.fetch(sqlx::query(sql).bind(self.pipeline).bind(sink)).await?;
        rows.iter().map(pause_of).collect()
    }
}

/// The pause in a row.
pub(super) fn pause_of(row: &AnyRow) -> sqlx::Result<Pause> {
    let bucket: Vec<u8> = row.try_get("bucket")?;
    let until = jiff::Timestamp::from_millisecond(row.try_get("ends")?).unwrap_or_default();
    Ok(Pause { bucket: String::from_utf8_lossy(&bucket).into(), until })
}
