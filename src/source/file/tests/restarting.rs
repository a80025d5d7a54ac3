use super::*;
use crate::source::Defect;
use std::time::SystemTime;

#[tokio::test]
async fn reading_goes_on_behind_the_last_commit_with_the_same_ids() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\ntwo\nthree\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    reader.commit().await;
    let uncommitted = reader.records(2).await;
    drop(reader);
    let mut reader = setup.reader().await;
    let again = reader.records(2).await;
    assert_eq!(ids(&again), ids(&uncommitted));
    // A failed event makes the driver connect again.
    reader.source.connect().await.unwrap();
    assert_eq!(ids(&reader.records(2).await), ids(&uncommitted));
}

#[tokio::test]
async fn an_id_survives_a_crash_before_the_first_commit_and_a_rotation() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    let first = reader.record().await;
    drop(reader);
    setup.copytruncate("a.log", "a.log.1");
    setup.compress("a.log.1");
    let mut reader = setup.reader().await;
    assert_eq!(reader.record().await.event.id, first.event.id);
}

#[tokio::test]
async fn a_rename_while_down_loses_and_repeats_nothing() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    reader.commit().await;
    drop(reader);
    setup.append("a.log", "two\n");
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "three\n");
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(2).await, ["two", "three"]);
    reader.closing().await;
    reader.commit().await;
    drop(reader);
    setup.append("a.log", "four\n");
    assert_eq!(setup.reader().await.lines(1).await, ["four"]);
}

#[tokio::test]
async fn chains_of_rotations_while_down_are_read_oldest_first() {
    for compressed in [false, true] {
        let setup = Setup::new(&["a.log"]);
        setup.write("a.log", "one\n");
        let mut reader = setup.reader().await;
        reader.lines(1).await;
        reader.commit().await;
        drop(reader);
        setup.append("a.log", "two\n");
        for number in (1..=3).rev() {
            let shift = |from: usize, ending: &str| {
                let (from, to) = (format!("a.log.{from}{ending}"), format!("a.log.{}{ending}", from + 1));
                if setup.path(&from).exists() {
                    setup.rename(&from, &to);
                }
            };
            for older in (1..=3).rev() {
                shift(older, "");
                shift(older, ".gz");
            }
            setup.rename("a.log", "a.log.1");
            if compressed {
                setup.compress("a.log.1");
            }
            setup.write("a.log", format!("after {number} more\n"));
        }
        let mut reader = setup.reader().await;
        let lines = reader.lines(4).await;
        assert_eq!(lines, ["two", "after 3 more", "after 2 more", "after 1 more"], "compressed: {compressed}");
    }
}

#[tokio::test]
async fn copytruncate_while_down_loses_and_repeats_nothing() {
    for (compressed, regrown) in [(false, "three\n"), (true, "three\n"), (false, "three, longer than all before\n")] {
        let setup = Setup::new(&["a.log"]);
        setup.write("a.log", "one\n");
        let mut reader = setup.reader().await;
        reader.lines(1).await;
        reader.commit().await;
        drop(reader);
        setup.append("a.log", "two\n");
        setup.copytruncate("a.log", "a.log-20240131");
        if compressed {
            setup.compress("a.log-20240131");
        }
        setup.append("a.log", regrown);
        let mut reader = setup.reader().await;
        assert_eq!(reader.lines(2).await, ["two", regrown.trim_end()]);
    }
}

#[tokio::test]
async fn what_was_written_between_being_done_with_and_being_compressed_is_read() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "two\n");
    reader.lines(1).await;
    reader.closing().await;
    reader.commit().await;
    drop(reader);
    setup.append("a.log.1", "late\n");
    setup.compress("a.log.1");
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(1).await, ["late"]);
    reader.closing().await;
    setup.append("a.log", "three\n");
    assert_eq!(reader.lines(1).await, ["three"]);
}

#[tokio::test]
async fn what_cannot_be_found_after_a_restart_is_reported() {
    // (how much was committed, what the report says): two lines were seen before the restart.
    for (committed, expected) in [(1, "bytes 4 to 8 of"), (2, "after byte 8, if anything")] {
        let setup = Setup::new(&["a.log"]);
        setup.write("a.log", "one\ntwo\n");
        let mut reader = setup.reader().await;
        reader.lines(committed).await;
        reader.commit().await;
        drop(reader);
        fs::remove_file(setup.path("a.log")).unwrap();
        setup.write("a.log", "three\n");
        let mut reader = setup.reader().await;
        let records = reader.records(2).await;
        assert!(matches!(&records[0].defect, Some(Defect::Lost(reason)) if reason.contains(expected)), "{records:?}");
        assert_eq!(text(&records[1]), "three");
        reader.commit().await;
        drop(reader);
        setup.append("a.log", "four\n");
        assert_eq!(setup.reader().await.lines(1).await, ["four"], "a loss is reported once");
    }
}

/// What many logs begin with, longer than the head by which contents are known.
fn header() -> String {
    (0..40).map(|number| format!("header {number} ..............................\n")).collect()
}

#[tokio::test]
async fn a_file_that_only_begins_as_the_former_one_did_is_read_from_its_beginning() {
    // (what stands behind the header now, whether it is another file)
    let cases = [
        ("ONE\nTWO\nthree\n", true),
        ("ONE\nTWO\nthree\n", false),
        ("x\n", true),
        ("x\n", false),
        ("ONE\ntwo\n", true),
    ];
    for (text_now, is_other_file) in cases {
        let setup = Setup::new(&["a.log"]);
        setup.write("a.log", header() + "one\ntwo\n");
        let mut reader = setup.reader().await;
        let before = reader.records(42).await;
        reader.commit().await;
        drop(reader);
        let name = if is_other_file { "new" } else { "a.log" };
        setup.write(name, header() + text_now);
        if is_other_file {
            setup.rename("new", "a.log");
        }
        let mut reader = setup.reader().await;
        let records = reader.records(1 + 40 + text_now.lines().count()).await;
        let (told, lines): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| record.defect.is_some());
        assert!(text(told[0]).contains("if anything"), "{told:?}");
        assert!(lines[40..].iter().map(|line| text(line)).eq(text_now.lines()), "{lines:?}");
        assert_ne!(content_of(lines[40]), content_of(&before[40]));
    }
}

#[tokio::test]
async fn a_copy_with_lines_behind_it_is_read_on_after_a_restart() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", header() + "one\ntwo\n");
    let mut reader = setup.reader().await;
    let before = reader.records(42).await;
    reader.commit().await;
    drop(reader);
    setup.write("new", header() + "one\ntwo\nthree\n");
    setup.rename("new", "a.log");
    let mut reader = setup.reader().await;
    let record = reader.record().await;
    assert_eq!((&*text(&record), content_of(&record)), ("three", content_of(&before[0])));
    let more = timeout(2 * reader.source.timing.settle, reader.source.read(Room::ONE_RECORD)).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn rotated_files_that_begin_alike_are_all_read() {
    let setup = Setup::new(&["a.log*"]);
    // Two rotations by copytruncate while nobody looks, of texts of equal length.
    let mut reader = setup.reader().await;
    setup.write("a.log", header() + "one\n");
    reader.lines(41).await;
    reader.commit().await;
    drop(reader);
    setup.copytruncate("a.log", "a.log.2");
    setup.append("a.log", &(header() + "two\n"));
    setup.copytruncate("a.log", "a.log.1");
    setup.append("a.log", &(header() + "three, and more\n"));
    let mut reader = setup.reader().await;
    let lines = reader.lines(82).await;
    assert_eq!((&*lines[40], &*lines[81]), ("two", "three, and more"));
    let more = timeout(2 * reader.source.timing.settle, reader.source.read(Room::ONE_RECORD)).await;
    assert!(!matches!(more, Ok(Ok(Input::Records(_)))), "{more:?}");
}

#[tokio::test]
async fn what_was_seen_and_is_neither_confirmed_nor_in_the_copy_is_reported() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\ntwo\nthree\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    reader.commit().await;
    reader.lines(2).await;
    reader.saved().await;
    drop(reader);
    setup.write("a.log.1", "one\ntwo\n");
    setup.truncate("a.log");
    setup.append("a.log", "four\n");
    let mut reader = setup.reader().await;
    let records = reader.records(3).await;
    let lost = records.iter().find(|record| record.defect.is_some());
    assert!(text(lost.unwrap()).contains("bytes 8 to 14 of"), "{records:?}");
    let lines: Vec<String> = records.iter().filter(|record| record.defect.is_none()).map(text).collect();
    assert_eq!(lines, ["two", "four"]);
}

/// So little was seen that all of it is what the content is known by, and the copy has not even that.
#[tokio::test]
async fn a_copy_that_ends_within_what_a_content_is_known_by_is_read() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\ntwo\n");
    let mut reader = setup.reader().await;
    setup.write("a.log.1", "one\n");
    setup.truncate("a.log");
    setup.append("a.log", "three\n");
    let records = reader.records(3).await;
    let (lost, read): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| record.defect.is_some());
    assert_eq!(read.into_iter().map(text).collect::<Vec<_>>(), ["one", "three"]);
    assert!(text(lost[0]).contains("bytes 4 to 8 of"), "{lost:?}");
}

#[tokio::test]
async fn a_missing_compressed_rest_is_reported() {
    let setup = Setup::new(&["a.log"]);
    let text: String = (0..20_000).map(|number| format!("line {number} {}\n", number * 7919 % 10_007)).collect();
    setup.write("a.log", &text);
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    reader.commit().await;
    drop(reader);
    setup.copytruncate("a.log", "a.log.1");
    setup.compress("a.log.1");
    let compressed = fs::read(setup.path("a.log.1.gz")).unwrap();
    fs::write(setup.path("a.log.1.gz"), &compressed[..compressed.len() / 2]).unwrap();
    setup.append("a.log", "new\n");
    let mut reader = setup.reader().await;
    let record = loop {
        let record = reader.record().await;
        if record.defect.is_some() {
            break record;
        }
    };
    let Some(Defect::Lost(reason)) = record.defect else { panic!("{record:?}") };
    assert!(reason.contains("incomplete") && reason.contains(&format!("to {} of", text.len())), "{reason}");
    assert_eq!(reader.lines(1).await, ["new"]);
    // The incomplete file is still there: it must neither be reported nor read again.
    let again = timeout(2 * reader.source.timing.settle, reader.source.read(Room::ONE_RECORD)).await;
    assert!(again.is_err(), "{again:?}");
}

#[tokio::test]
async fn starting_at_the_end_is_for_what_is_there_at_the_first_start() {
    let mut setup = Setup::new(&["*.log"]);
    setup.start = FileStart::End;
    setup.write("a.log", "old\nunfini");
    let mut reader = setup.reader().await;
    setup.append("a.log", "shed\n");
    assert_eq!(reader.lines(1).await, ["unfinished"], "reading starts at the start of a line");
    drop(reader);
    setup.write("b.log", "later\n");
    let mut reader = setup.reader().await;
    let mut lines = reader.lines(2).await;
    lines.sort();
    assert_eq!(lines, ["later", "unfinished"]);
}

#[tokio::test]
async fn a_file_born_and_rotated_while_down_is_read() {
    let setup = Setup::new(&["*.log"]);
    setup.write("a.log", "one\n");
    drop(setup.reader().await);
    setup.write("b.log", "two\n");
    setup.rename("b.log", "b.log.1");
    setup.write("b.log", "three\n");
    let mut reader = setup.reader().await;
    let lines = reader.lines(3).await;
    let place = |line: &str| lines.iter().position(|other| other == line);
    assert!(place("one").is_some() && place("two") < place("three") && place("two").is_some(), "{lines:?}");
}

#[tokio::test]
async fn the_file_times_decide_where_names_do_not() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    reader.commit().await;
    drop(reader);
    setup.rename("a.log", "a.log.old");
    setup.write("a.log-20240102", "two\n");
    setup.write("a.log.1", "three\n");
    setup.write("a.log", "four\n");
    let at = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    touch(&setup.path("a.log-20240102"), at(30));
    touch(&setup.path("a.log.1"), at(20));
    assert_eq!(setup.reader().await.lines(3).await, ["two", "three", "four"]);
}

#[tokio::test]
async fn empty_lines_at_the_end_are_confirmed_with_the_last_line() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n\n\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    assert!(timeout(Duration::from_millis(60), reader.source.read(Room::ONE_RECORD)).await.is_err());
    reader.commit().await;
    assert_eq!(setup.checkpoint().await.unwrap()["state"]["files"][0]["offset"], 6);
}

#[tokio::test]
async fn once_after_once_reads_what_is_new() {
    let mut setup = Setup::new(&["*.log"]);
    setup.once = true;
    setup.write("a.log", "one\ntwo");
    let mut reader = setup.reader().await;
    reader.lines(2).await;
    reader.commit().await;
    drop(reader);
    setup.append("a.log", "\nthree\n");
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "four");
    assert_eq!(setup.reader().await.rest().await, ["three", "four"]);
}

#[tokio::test]
async fn a_reconnect_with_once_keeps_the_end_of_the_first() {
    let mut setup = Setup::new(&["*.log"]);
    setup.once = true;
    setup.write("a.log", "one\ntwo\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    setup.append("a.log", "later\n");
    setup.write("b.log", "later\n");
    reader.source.connect().await.unwrap();
    assert_eq!(reader.rest().await, ["one", "two"]);
}
