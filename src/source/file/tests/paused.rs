//! Files that are rotated while nothing is read, or while what was read of them waits to be handed out.

use tokio::time::Instant;

use super::*;
use crate::source::file::content::CHUNK_SIZE;

const LONG: usize = 600 * 1024;

impl Reader {
    /// Reads until the chunk waits in which the long line ends, which has begun in an earlier one.
    async fn read_to_the_last_chunk(&mut self) {
        let session = self.source.session.as_mut().unwrap();
        loop {
            while session.current.is_none() {
                timeout(PATIENCE, session.work(true)).await.unwrap().unwrap();
            }
            let read_from = session.current.map(|key| session.tails[&key].position());
            if read_from.is_some_and(|from| from + CHUNK_SIZE as u64 > LONG as u64) {
                return;
            }
            assert!(session.next_input(Room::ONE_RECORD).is_none(), "no line is complete yet");
        }
    }

    /// Looks at the paths without reading until that holds.
    async fn pause_until(&mut self, holds: impl Fn(&Session) -> bool) {
        let session = self.source.session.as_mut().unwrap();
        let until = async {
            while !holds(session) {
                session.work(false).await.unwrap();
            }
        };
        timeout(PATIENCE, until).await.unwrap();
    }
}

fn setup() -> Setup {
    let mut setup = Setup::new(&["a.log"]);
    setup.max_event_size = 1024 * 1024;
    setup.write("a.log", format!("{}\ntwo\nthr", "x".repeat(LONG)));
    setup
}

#[tokio::test]
async fn a_long_line_is_whole_when_its_file_is_truncated_before_its_last_chunk_is_handed_out() {
    let setup = setup();
    let mut reader = setup.reader().await;
    reader.read_to_the_last_chunk().await;
    setup.append("a.log", "ee\n");
    setup.copytruncate("a.log", "a.log.1");
    setup.write("a.log", "four\n");
    let copy = setup.path("a.log.1");
    reader.pause_until(|session| session.places.contains_key(&copy)).await;
    let records = reader.records(4).await;
    let read: Vec<(u64, String)> = records.iter().map(|record| (record.position, text(record))).collect();
    let long = LONG as u64;
    let expected =
        [(long + 1, "x".repeat(LONG)), (long + 5, "two".into()), (long + 11, "three".into()), (5, "four".into())];
    assert!(read == expected, "{:?}", read.iter().map(|(end, text)| (end, text.len())).collect::<Vec<_>>());
    assert_eq!(content_of(&records[0]), content_of(&records[2]));
}

#[tokio::test]
async fn only_what_was_not_handed_out_is_lost_with_a_file_that_is_truncated_meanwhile() {
    let setup = setup();
    let mut reader = setup.reader().await;
    reader.read_to_the_last_chunk().await;
    setup.truncate("a.log");
    let settle = reader.source.timing.settle;
    let is_long_missing = |session: &Session| {
        let mut missing = session.registry.iter().filter_map(|(_, file)| file.missing_since);
        missing.any(|since| since.elapsed() > 2 * settle)
    };
    reader.pause_until(is_long_missing).await;
    let first = reader.lines(2).await;
    assert_eq!(first.iter().map(String::len).collect::<Vec<_>>(), [LONG, 3]);
    let lost = text(&reader.record().await);
    assert!(lost.contains(&format!("bytes {} to {} ", LONG + 5, LONG + 8)), "{lost}");
}

/// As rsync does: a copy takes the place of the file, with lines behind it.
#[tokio::test]
async fn an_empty_file_that_is_filled_replaced_and_rotated_by_copy_between_two_looks_is_one_content() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "");
    let mut reader = setup.reader().await;
    reader.pause_until(|session| session.tails.values().any(|tail| tail.content.is_some())).await;
    setup.append("a.log", "one\ntwo\n");
    fs::copy(setup.path("a.log"), setup.path("new")).unwrap();
    setup.append("new", "three\n");
    setup.rename("new", "a.log");
    setup.copytruncate("a.log", "a.log.1");
    setup.append("a.log", "four\n");
    // The look comes before the file is read because of a reported change.
    reader.source.session.as_mut().unwrap().next_scan = Instant::now();
    let records = reader.records(4).await;
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["one", "two", "three", "four"]);
    let contents: Vec<&str> = records.iter().map(content_of).collect();
    assert!(contents[1] == contents[0] && contents[2] == contents[0] && contents[3] != contents[0], "{contents:?}");
    reader.commit().await;
    setup.append("a.log", "five\n");
    assert_eq!(reader.lines(1).await, ["five"]);
}
