//! Deleting dead letters that are too old, some in each transaction. Which are too old, and when that is looked at, is the
//! [`AgeLimit`](super::age_limit::AgeLimit)'s.

use jiff::Timestamp;
use sqlx::Row as _;

use super::record::RowId;
use super::sql::{list, repeated_chunks};
use super::work::{Work, statement};

/// The most letters deleted in one transaction.
const MOST_LETTERS: usize = 256;

/// The most bytes deleted in one transaction, beyond the first letter: SQLite reads every page that it frees.
const MOST_BYTES: i64 = 8 * 1024 * 1024;

/// What one transaction has deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// So many letters.
    pub(super) letters: u64,
    /// Those that were given up before this time.
    pub(super) before: Timestamp,
    /// There are more.
    pub(super) has_more: bool,
}

impl Work<'_> {
    /// Deletes the oldest of the pipeline's letters that were given up before a time. Letters that somebody else is about
    /// to replay, to purge or to delete for their age are passed over. Belongs at the end of a transaction: what it has
    /// locked keeps others waiting until the commit, and it must not wait for them meanwhile.
    pub(super) async fn forget_letters(&mut self, before: Timestamp) -> sqlx::Result<Forgotten> {
        // One more than is deleted tells whether there are more.
        let sql = format!(
            "SELECT id, size FROM deliveries WHERE state = 'dead' AND pipeline = $1 AND died < $2 \
             ORDER BY died, id LIMIT {} {}",
            MOST_LETTERS + 1,
            self.backend.skip_locked()
        );
        // Rounded down: a letter is kept for its full time.
        let query = statement(sql).bind(self.pipeline.to_owned()).bind(before.as_millisecond());
        let found = self.fetch(query).await?;
        let letters = found.iter().map(|row| Ok((row.try_get("id")?, row.try_get("size")?)));
        let letters: Vec<(RowId, i64)> = letters.collect::<sqlx::Result<_>>()?;
        let step = &letters[..length_of_step(&letters)];
        let ids: Vec<RowId> = step.iter().map(|(id, _)| *id).collect();
        for ids in repeated_chunks(&ids) {
            let mut query = statement(format!("DELETE FROM deliveries WHERE id IN ({})", list(1, ids.len())));
            for id in ids {
                query = query.bind(id);
            }
            self.execute(query).await?;
        }
        self.growth -= step.iter().map(|(_, size)| size).sum::<i64>();
        Ok(Forgotten { letters: step.len() as u64, before, has_more: step.len() < letters.len() })
    }
}

/// How many of the letters, given with their sizes, are deleted in one transaction.
fn length_of_step(letters: &[(RowId, i64)]) -> usize {
    let mut bytes = 0;
    let fits = |&(index, size): &(usize, i64)| {
        bytes += size;
        index == 0 || bytes <= MOST_BYTES
    };
    letters.iter().map(|(_, size)| *size).enumerate().take(MOST_LETTERS).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_bounded_in_letters_and_bytes_and_has_one_letter_at_least() {
        let letters = |count: usize, size: i64| vec![(7, size); count];
        for (letters, length) in [
            (letters(0, 1), 0),
            (letters(MOST_LETTERS + 1, 1), MOST_LETTERS),
            (letters(3, MOST_BYTES / 2), 2),
            (letters(3, MOST_BYTES / 2 + 1), 1),
            (letters(2, MOST_BYTES * 2), 1),
        ] {
            assert_eq!(length_of_step(&letters), length, "{:?}", letters.first());
        }
    }
}
