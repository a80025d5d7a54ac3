//! Dead letters that are deleted for their age, while all else in the store stays.

use super::letters::delivery_of;
use super::*;
use crate::clock::steady_now;
use crate::store::letters::{LetterFilter, Letters};
use crate::store::replays::{Change, Fate};

const HOUR: Duration = Duration::from_secs(3600);

impl Site {
    /// The same store with another limit.
    fn limited_to(mut self, age: Duration) -> Self {
        self.stop();
        self.settings.keep_dead_letters = Some(age);
        self.start();
        self
    }

    /// Keeps letters that were given up so long ago.
    pub(super) async fn bury_old(&self, ids: impl IntoIterator<Item = String>, age: Duration) {
        let letters: Vec<Letter> = ids.into_iter().map(|id| letter_of_age(&id, age)).collect();
        let (mut settlements, acks) = acks(letters.len());
        for (letter, ack) in letters.into_iter().zip(acks) {
            self.store().bury(letter, Some(ack));
        }
        all_settled(&mut settlements).await;
    }

    /// Waits until there are so many letters, of all pipelines.
    pub(super) async fn comes_to_letters(&self, count: i64) {
        let comes = async {
            while self.number("SELECT COUNT(*) FROM deliveries WHERE state = 'dead'").await != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, comes).await.expect("letters are deleted");
    }

    /// The store's size as it is booked, and as it is.
    pub(super) async fn booked_and_there(&self) -> (i64, i64) {
        (
            self.number("SELECT CAST(SUM(bytes) AS BIGINT) FROM replicas").await,
            self.number("SELECT CAST(SUM(size) AS BIGINT) FROM deliveries").await,
        )
    }
}

#[tokio::test]
async fn letters_that_are_too_old_are_deleted_at_the_start_and_nothing_else_is() {
    deleted_at_the_start(Site::sqlite()).await;
}

pub(super) async fn deleted_at_the_start(site: Site) {
    // More than two transactions delete.
    site.bury_old((0..600).map(|index| format!("old-{index}")), 2 * HOUR).await;
    site.bury_old(["young-1".to_owned(), "young-2".to_owned()], HOUR / 2).await;
    // Of these, one goes to another pipeline of the database, and one is replayed.
    site.bury_old(["old-foreign".to_owned(), "old-replayed".to_owned()], 3 * HOUR).await;
    site.sink("crm").park(vec![delivery("old-parked", 5)]).await;
    let mut letters = Letters::open(&site.settings).await.unwrap();
    let [foreign, replayed] =
        &letters.page(&LetterFilter::default(), &mut Default::default()).await.unwrap().letters[..2]
    else {
        panic!("there are letters");
    };
    let (node, row) = (NodeName::sink("crm"), replayed.core.row.unwrap());
    let fate = Fate::Delivery { node, delivery: delivery_of(replayed, 100), first_request: None };
    assert_eq!(letters.change(vec![Change { letter: row, fate }], "r").await.unwrap(), 1);
    let foreign = sqlx::query("UPDATE deliveries SET pipeline = 'other' WHERE id = $1").bind(foreign.core.row.unwrap());
    foreign.execute(letters.database.connection()).await.unwrap();
    drop(letters);

    let site = site.limited_to(HOUR);
    site.comes_to_letters(3).await;
    let left = site.letters().await;
    let left: Vec<_> = left.iter().map(|letter| letter.core.event.id.as_str()).collect();
    assert_eq!(left, ["young-1", "young-2"]);
    assert_eq!(site.number("SELECT COUNT(*) FROM deliveries WHERE pipeline = 'other'").await, 1);
    let mut due = site.sink("crm").due(1000).await;
    due.deliveries.sort_by_key(|delivery| delivery.core.event.id.clone());
    assert_eq!(ids(&due.deliveries), ["old-parked", "old-replayed"]);
    let (booked, there) = site.booked_and_there().await;
    assert_eq!(booked, there);
}

#[tokio::test]
async fn a_store_at_rest_wakes_for_letters_that_have_become_too_old() {
    let site = Site::sqlite();
    site.bury_old(["a".to_owned()], Duration::from_secs(350)).await;
    // Old letters are looked for every 15 s.
    let site = site.limited_to(Duration::from_secs(360));
    site.sink("crm").due(0).await;
    assert_eq!(site.letters().await.len(), 1, "it was not too old at the start");
    site.comes_to_rest().await;
    assert_eq!(site.letters().await.len(), 1);
    site.comes_to_letters(0).await;
}

#[tokio::test]
async fn what_is_deleted_makes_room_in_a_full_store() {
    makes_room(Site::sqlite()).await;
}

pub(super) async fn makes_room(mut site: Site) {
    site.bury_old(["a".to_owned(), "b".to_owned(), "c".to_owned()], 2 * HOUR).await;
    site.settings.max_size = 1000;
    let site = site.limited_to(HOUR);
    let sink = site.sink("crm");
    site.comes_to_letters(0).await;
    until("there is room", || sink.handle.has_room()).await;
    site.bury_old(["d".to_owned()], Duration::ZERO).await;
    assert_eq!(site.letters().await.len(), 1);
}

fn letter_of_age(id: &str, age: Duration) -> Letter {
    Letter { time: steady_now() - age, ..letter(delivery(id, 0), Reason::Rejected) }
}
