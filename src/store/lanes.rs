//! Lanes: deliveries with one value of `order_by` leave one at a time, in order.
//!
//! The row with the lowest id of a lane is its head, and the only one with a due time; the others follow it. A row is
//! therefore never put into a lane in front of others. On a database that several replicas share, whoever changes a
//! lane holds the lane's lock until the end of the transaction: otherwise one could remove the head while another adds
//! a follower to it, and nobody would let the follower go.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::group::{Group, LaneAnswers, node_of_sink};
use super::sql::{chunks, list, repeated_chunks, rows};
use super::work::{Work, now, statement};

/// A node, and the value of `order_by`.
pub(super) type Lane = (String, Vec<u8>);

impl Work<'_> {
    /// Locks all lanes that the group may change, always in the same order.
    pub(super) async fn lock_lanes(&mut self, group: &Group) -> sqlx::Result<()> {
        if !self.backend.is_shared() {
            return Ok(());
        }
        let mut lanes: BTreeSet<Lane> = BTreeSet::new();
        for row in &group.parked {
            lanes.extend(row.lane.as_ref().map(|lane| (row.node.clone(), lane.as_bytes().to_vec())));
        }
        for ids in repeated_chunks(&group.ended()) {
            let sql = "SELECT node, lane FROM deliveries WHERE claimed_by = $1 AND lane IS NOT NULL AND id IN";
            let mut query = statement(format!("{sql} ({})", list(2, ids.len()))).bind(self.replica);
            for id in ids {
                query = query.bind(id);
            }
            lanes.extend(lanes_in(&self.fetch(query).await?)?);
        }
        let keys: BTreeSet<i64> = lanes.iter().map(|lane| lock_key(self.pipeline, lane)).collect();
        for keys in chunks(&keys.into_iter().collect::<Vec<_>>()) {
            let sql = "SELECT pg_advisory_xact_lock(keys.column1) FROM (VALUES";
            let mut query = statement(format!("{sql} {}) AS keys", rows(1, keys.len(), 1)));
            for key in keys {
                query = query.bind(*key);
            }
            self.execute(query).await?;
        }
        Ok(())
    }

    /// Lets the head of each lane go when it has not been let go yet.
    pub(super) async fn promote(&mut self, lanes: &BTreeSet<Lane>) -> sqlx::Result<()> {
        let lanes: Vec<&Lane> = lanes.iter().collect();
        for lanes in chunks(&lanes) {
            let now = *self.promoted_at.get_or_insert_with(now);
            let sql = format!(
                "UPDATE deliveries SET due = $2 WHERE due IS NULL AND id IN (SELECT (SELECT head.id \
                 FROM deliveries AS head WHERE head.pipeline = $1 AND head.node = lanes.column1 \
                 AND head.lane = lanes.column2 AND head.state = 'parked' ORDER BY head.id LIMIT 1) \
                 FROM (VALUES {}) AS lanes)",
                rows(3, lanes.len(), 2)
            );
            let mut query = statement(sql).bind(self.pipeline).bind(now);
            for (node, lane) in lanes {
                query = query.bind(node.clone()).bind(lane.clone());
            }
            self.execute(query).await?;
        }
        Ok(())
    }

    /// Which of these lanes have parked deliveries.
    pub(super) async fn occupied(&mut self, node: &str, lanes: &[&[u8]]) -> sqlx::Result<HashSet<Vec<u8>>> {
        let mut occupied = HashSet::new();
        for lanes in chunks(lanes) {
            let sql = format!(
                "SELECT lanes.column1 AS lane FROM (VALUES {}) AS lanes WHERE EXISTS (SELECT 1 FROM deliveries AS kept \
                 WHERE kept.pipeline = $1 AND kept.node = $2 AND kept.lane = lanes.column1 AND kept.state = 'parked')",
                rows(3, lanes.len(), 1)
            );
            let mut query = statement(sql).bind(self.pipeline).bind(node);
            for lane in lanes {
                query = query.bind(lane.to_vec());
            }
            for row in self.fetch(query).await? {
                occupied.insert(row.try_get(0)?);
            }
        }
        Ok(occupied)
    }

    /// The answer to a sink that asks about lanes.
    pub(super) async fn which_lanes(&mut self, sink: &str, lanes: &[Arc<str>]) -> sqlx::Result<LaneAnswers> {
        let asked: Vec<&[u8]> = lanes.iter().map(|lane| lane.as_bytes()).collect();
        let occupied = self.occupied(&node_of_sink(sink), &asked).await?;
        Ok(lanes.iter().map(|lane| (Arc::clone(lane), occupied.contains(lane.as_bytes()))).collect())
    }
}

/// The lanes of rows with the columns `node` and `lane`.
pub(super) fn lanes_in(rows: &[AnyRow]) -> sqlx::Result<BTreeSet<Lane>> {
    let mut lanes = BTreeSet::new();
    for row in rows {
        if let Some(lane) = row.try_get::<Option<Vec<u8>>, _>("lane")? {
            lanes.insert((row.try_get("node")?, lane));
        }
    }
    Ok(lanes)
}

/// The same number in every replica. Two lanes with one number only wait for each other.
fn lock_key(pipeline: &str, (node, lane): &Lane) -> i64 {
    let mut hash = Sha256::new();
    for part in [pipeline.as_bytes(), node.as_bytes(), lane] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0_i64, |key, byte| (key << 8) | i64::from(*byte))
}
