//! A group's way through one transaction. Each kind of statement has a file of its own: [`ended`](super::ended),
//! [`keep`](super::keep), [`lanes`](super::lanes), [`claim`](super::claim), [`pauses`](super::pauses),
//! [`replicas`](super::replicas).

use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::backend::Backend;
use super::group::{Answers, Buried, Group};
use super::lanes::Lane;
use super::row::{Statement, milliseconds};
use crate::clock::steady_now;

/// One transaction under way.
pub(super) struct Work<'t> {
    pub(super) connection: &'t mut AnyConnection,
    pub(super) backend: &'t dyn Backend,
    pub(super) pipeline: &'t str,
    /// Who claims.
    pub(super) replica: &'t str,
    /// Bytes by which the rows have grown in this transaction.
    pub(super) growth: i64,
    /// Deliveries that were not parked before.
    pub(super) parked: u64,
    /// Claimed rows that cannot be read.
    pub(super) damaged: Vec<Buried>,
    /// When heads of lanes became due in this transaction, in milliseconds since 1970; `None` when none did.
    pub(super) promoted_at: Option<i64>,
}

/// A statement of which all values are bound: no text of others is ever part of it.
pub(super) fn statement<'q>(sql: String) -> Statement<'q> {
    sqlx::query(AssertSqlSafe(sql))
}

impl<'t> Work<'t> {
    /// Work on a transaction that has begun.
    pub(super) fn new(
        connection: &'t mut AnyConnection,
        backend: &'t dyn Backend,
        pipeline: &'t str,
        replica: &'t str,
    ) -> Self {
        Self { connection, backend, pipeline, replica, growth: 0, parked: 0, damaged: Vec::new(), promoted_at: None }
    }

    /// Carries out a group.
    pub(super) async fn carry_out(&mut self, group: &Group) -> sqlx::Result<Answers> {
        self.lock_lanes(group).await?;
        let mut freed: BTreeSet<Lane> = self.finish(&group.finished).await?;
        freed.extend(self.bury_claimed(&group.buried).await?);
        self.reschedule(&group.rescheduled).await?;
        self.promote(&freed).await?;
        self.park(&group.parked).await?;
        self.bury(&group.letters).await?;
        for (sink, since, reason) in &group.disabled {
            self.disable(sink, *since, reason).await?;
        }
        for (sink, pause) in &group.paused {
            self.pause(sink, pause).await?;
        }
        // Behind what was parked: that may have been parked until the end of such a pause.
        for (sink, pause, now) in &group.resumed {
            self.resume(sink, pause, *now).await?;
        }
        for (sink, now) in &group.forgotten {
            self.forget_pauses(sink, *now).await?;
        }
        for (source, state) in &group.checkpoints {
            self.save_checkpoint(source, state).await?;
        }
        self.answer(group).await
    }

    async fn answer(&mut self, group: &Group) -> sqlx::Result<Answers> {
        let mut answers = Answers::default();
        for source in &group.loads {
            answers.checkpoints.push(self.load_checkpoint(source).await?);
        }
        for (sink, lanes) in &group.lanes {
            answers.lanes.push((sink.clone(), self.which_lanes(sink, lanes).await?));
        }
        for (sink, claim) in &group.claims {
            answers.claimed.push((sink.clone(), self.claim(sink, claim).await?));
        }
        Ok(answers)
    }

    async fn disable(&mut self, sink: &str, since: i64, reason: &str) -> sqlx::Result<()> {
        let sql = "INSERT INTO disabled_sinks (pipeline, sink, since, reason) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (pipeline, sink) DO NOTHING";
        self.execute(sqlx::query(sql).bind(self.pipeline).bind(sink).bind(since).bind(reason)).await
    }

    async fn save_checkpoint(&mut self, source: &str, state: &str) -> sqlx::Result<()> {
        let sql = "INSERT INTO checkpoints (pipeline, source, state) VALUES ($1, $2, $3) \
                   ON CONFLICT (pipeline, source) DO UPDATE SET state = excluded.state";
        self.execute(sqlx::query(sql).bind(self.pipeline).bind(source).bind(state)).await
    }

    async fn load_checkpoint(&mut self, source: &str) -> sqlx::Result<Option<String>> {
        let sql = "SELECT state FROM checkpoints WHERE pipeline = $1 AND source = $2";
        let rows = self.fetch(sqlx::query(sql).bind(self.pipeline).bind(source)).await?;
        rows.first().map(|row| row.try_get(0)).transpose()
    }

    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> sqlx::Result<()> {
        statement.execute(&mut *self.connection).await.map(drop)
    }

    pub(super) async fn fetch(&mut self, statement: Statement<'_>) -> sqlx::Result<Vec<AnyRow>> {
        statement.fetch_all(&mut *self.connection).await
    }
}

/// Now, as the columns have it.
pub(super) fn now() -> i64 {
    milliseconds(steady_now())
}
