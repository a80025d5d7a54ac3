//! Pauses that receivers have asked for, beyond restarts.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::group::node_of_sink;
use super::handle::Pause;
use super::row::milliseconds;
use super::work::{Work, now, statement};

/// Rows that were parked until the end of a pause may be due a little later: what has been asked for once again meanwhile
/// prolongs the pause by as much without being kept.
const LATER: i64 = 1000;

impl Work<'_> {
    /// Remembers a pause, and forgets those of this sink that are over.
    pub(super) async fn pause(&mut self, sink: &str, pause: &Pause) -> sqlx::Result<()> {
        self.forget_pauses(sink, now()).await?;
        let sql = "INSERT INTO paused_sinks (pipeline, sink, bucket, ends) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (pipeline, sink, bucket) DO UPDATE SET ends = excluded.ends \
                   WHERE paused_sinks.ends < excluded.ends";
        let bucket = pause.bucket.as_bytes().to_vec();
        self.execute(sqlx::query(sql).bind(self.pipeline).bind(sink).bind(bucket).bind(milliseconds(pause.until))).await
    }

    /// Makes due what was parked until the end of a pause that was ended early. Every replica does so that knew of the
    /// pause, at about the same time: what another one has locked is made due there, or is claimed.
    pub(super) async fn resume(&mut self, sink: &str, pause: &Pause, now: i64) -> sqlx::Result<()> {
        let sql = format!(
            "UPDATE deliveries SET due = $1 WHERE id IN (SELECT id FROM deliveries WHERE pipeline = $2 AND node = $3 \
             AND state = 'parked' AND claimed_by IS NULL AND due > $4 AND due <= $5 AND bucket = $6 {})",
            self.backend.skip_locked()
        );
        let until = milliseconds(pause.until).saturating_add(LATER);
        let resume = statement(sql).bind(now).bind(self.pipeline).bind(node_of_sink(sink)).bind(now).bind(until);
        self.execute(resume.bind(pause.bucket.as_bytes().to_vec())).await
    }

    /// Forgets the pauses of a sink that are over.
    pub(super) async fn forget_pauses(&mut self, sink: &str, now: i64) -> sqlx::Result<()> {
        let sql = "DELETE FROM paused_sinks WHERE pipeline = $1 AND sink = $2 AND ends <= $3";
        self.execute(sqlx::query(sql).bind(self.pipeline).bind(sink).bind(now)).await
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
