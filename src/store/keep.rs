//! New rows: deliveries that are parked, and dead letters of deliveries that were not.
//!
//! An event may be read a second time, after a crash or a rebalance, and then its row is there already: a parked one
//! stays as it is, a dead one is parked again or gains attempts.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::Row as _;

use super::lanes::Lane;
use super::record::{AttemptLog, Letter};
use super::row::{Identity, LETTER_COLUMNS, NewRow, letter};
use super::sql::{chunks, list};
use super::work::{Work, statement};

/// A row, and its place in its lane.
struct Placed<'r> {
    row: &'r NewRow,
    due: Option<i64>,
}

impl Placed<'_> {
    fn is_follower(&self) -> bool {
        self.row.lane.is_some() && self.due.is_none()
    }
}

/// A letter that was there before.
struct Former {
    id: i64,
    size: i64,
    /// `None` when it cannot be read; then it is replaced as a whole.
    letter: Option<Letter>,
}

impl Work<'_> {
    /// Parks deliveries.
    pub(super) async fn park(&mut self, new: &[NewRow]) -> sqlx::Result<()> {
        let placed = self.place(new).await?;
        let mut unsure = BTreeSet::new();
        for chunk in chunks(&placed) {
            let inserted = self.insert(chunk).await?;
            self.parked += inserted as u64;
            if inserted == chunk.len() {
                continue;
            }
            for one in chunk {
                self.park_again(one).await?;
            }
            unsure.extend(chunk.iter().filter_map(|one| lane_of(one.row)));
        }
        // A follower whose head turned out to be outside the lane would wait for ever.
        self.promote(&unsure).await
    }

    /// Keeps dead letters.
    pub(super) async fn bury(&mut self, new: &[NewRow]) -> sqlx::Result<()> {
        let placed: Vec<Placed> = distinct(new).map(|row| Placed { row, due: None }).collect();
        for chunk in chunks(&placed) {
            if self.insert(chunk).await? == chunk.len() {
                continue;
            }
            for one in chunk {
                self.bury_again(one.row).await?;
            }
        }
        Ok(())
    }

    /// Finds each row its place: the first of a lane is its head, the others follow.
    async fn place<'r>(&mut self, new: &'r [NewRow]) -> sqlx::Result<Vec<Placed<'r>>> {
        let mut asked: HashMap<&str, HashSet<&[u8]>> = HashMap::new();
        for row in new {
            if let Some(lane) = &row.lane {
                asked.entry(&row.node).or_default().insert(lane.as_bytes());
            }
        }
        let mut occupied: HashSet<(&str, Vec<u8>)> = HashSet::new();
        for (node, lanes) in asked {
            let lanes: Vec<&[u8]> = lanes.into_iter().collect();
            occupied.extend(self.occupied(node, &lanes).await?.into_iter().map(|lane| (node, lane)));
        }
        let placed = distinct(new).map(|row| {
            let is_free = match &row.lane {
                Some(lane) => occupied.insert((&row.node, lane.as_bytes().to_vec())),
                None => true,
            };
            Placed { row, due: row.due.filter(|_| is_free) }
        });
        Ok(placed.collect())
    }

    /// Inserts those that are not there yet; gives their number.
    async fn insert(&mut self, chunk: &[Placed<'_>]) -> sqlx::Result<usize> {
        let row = |index: usize| format!("($1,{})", list(2 + index * NewRow::WIDTH, NewRow::WIDTH));
        let values: Vec<String> = (0..chunk.len()).map(row).collect();
        let sql = format!(
            "INSERT INTO deliveries (pipeline, {}) VALUES {} \
             ON CONFLICT (pipeline, node, source, event_id, copy, content) DO NOTHING RETURNING size",
            NewRow::COLUMNS,
            values.join(",")
        );
        let mut query = statement(sql).bind(self.pipeline);
        for one in chunk {
            let (lane, attempts) = (one.row.lane.as_deref(), &one.row.attempts);
            (query, _) = one.row.bind(query, lane, one.due, attempts, None);
        }
        let inserted = self.fetch(query).await?;
        for row in &inserted {
            self.growth += row.try_get::<i64, _>(0)?;
        }
        Ok(inserted.len())
    }

    /// Parks a delivery that is there as a dead letter. In an occupied lane it would be in front of the head, as its
    /// number is an old one: there it goes outside the lane, like a replay.
    async fn park_again(&mut self, placed: &Placed<'_>) -> sqlx::Result<()> {
        let Some(former) = self.dead_letter(placed.row).await? else { return Ok(()) };
        let row = placed.row;
        let lane = row.lane.as_deref().filter(|_| !placed.is_follower());
        self.parked += 1;
        self.replace(&former, row, lane, row.due, &row.attempts).await
    }

    /// Adds to a dead letter that is there.
    async fn bury_again(&mut self, row: &NewRow) -> sqlx::Result<()> {
        let Some(former) = self.dead_letter(row).await? else { return Ok(()) };
        let attempts = former.letter.as_ref().map(|letter| letter.core.attempts.clone()).unwrap_or_default();
        self.replace(&former, row, row.lane.as_deref(), None, &attempts.continued_by(row.attempts.clone())).await
    }

    async fn dead_letter(&mut self, row: &NewRow) -> sqlx::Result<Option<Former>> {
        let sql = format!(
            "SELECT {LETTER_COLUMNS}, size FROM deliveries WHERE pipeline = $1 AND node = $2 AND source = $3 \
             AND event_id = $4 AND copy = $5 AND content = $6 AND state = 'dead'"
        );
        let Identity { node, source, event_id, copy, content } = row.identity();
        let query = statement(sql).bind(self.pipeline).bind(node).bind(source);
        let query = query.bind(event_id.as_bytes().to_vec()).bind(i64::from(copy)).bind(content.to_vec());
        let found = self.fetch(query).await?;
        let Some(found) = found.first() else { return Ok(None) };
        Ok(Some(Former { id: found.try_get("id")?, size: found.try_get("size")?, letter: letter(found).ok() }))
    }

    async fn replace(
        &mut self,
        former: &Former,
        row: &NewRow,
        lane: Option<&str>,
        due: Option<i64>,
        attempts: &AttemptLog,
    ) -> sqlx::Result<()> {
        let sql = format!(
            "UPDATE deliveries SET ({}) = ({}), claimed_by = NULL, replay = NULL WHERE id = $1 AND state = 'dead'",
            NewRow::COLUMNS,
            list(2, NewRow::WIDTH)
        );
        let letter = former.letter.as_ref();
        let (query, size) = row.bind(statement(sql).bind(former.id), lane, due, attempts, letter);
        self.execute(query).await?;
        self.growth += size - former.size;
        Ok(())
    }
}

/// The first row of each identity: one event read twice within one group.
fn distinct(rows: &[NewRow]) -> impl Iterator<Item = &NewRow> {
    let mut seen = HashSet::new();
    rows.iter().filter(move |row| seen.insert(row.identity()))
}

fn lane_of(row: &NewRow) -> Option<Lane> {
    row.lane.as_ref().map(|lane| (row.node.clone(), lane.as_bytes().to_vec()))
}
