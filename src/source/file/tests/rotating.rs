use super::*;
use crate::event::MetaValue;
use crate::source::Defect;
use std::os::unix::fs::MetadataExt as _;

#[tokio::test]
async fn the_rest_of_a_renamed_file_comes_before_the_new_one() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    let first = reader.record().await;
    setup.append("a.log", "two\n");
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "four\n");
    setup.append("a.log.1", "three\n");
    let records = reader.records(3).await;
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["two", "three", "four"]);
    assert_eq!(content_of(&records[1]), content_of(&first), "the content keeps its id");
    assert_ne!(content_of(&records[2]), content_of(&first));
    assert_ne!(records[2].partition, first.partition);
    reader.closing().await;
}

#[tokio::test]
async fn the_last_line_of_a_rotated_file_needs_no_end() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\ntwo");
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(1).await, ["one"]);
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "three\n");
    assert_eq!(reader.lines(2).await, ["two", "three"]);
}

#[tokio::test]
async fn a_writer_that_keeps_the_renamed_file_open_is_read_on() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    setup.rename("a.log", "a.log.1");
    setup.append("a.log.1", "two\n");
    assert_eq!(reader.lines(1).await, ["two"], "before there is a new file");
    setup.write("a.log", "three\n");
    assert_eq!(reader.lines(1).await, ["three"]);
    setup.append("a.log.1", "late\n");
    assert_eq!(reader.lines(1).await, ["late"]);
    reader.closing().await;
    setup.append("a.log.1", "later still\n");
    assert_eq!(reader.lines(1).await, ["later still"], "even after it was done with");
    reader.closing().await;
}

#[tokio::test]
async fn a_file_that_was_read_is_not_read_again_whatever_becomes_of_it() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    setup.write("a.log.1", "bygone\n");
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(1).await, ["one"]);
    setup.rename("a.log.1", "a.log.2");
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "two\n");
    assert_eq!(reader.lines(1).await, ["two"]);
    reader.closing().await;
    setup.compress("a.log.2");
    setup.rename("a.log.2.gz", "a.log.3.gz");
    setup.compress("a.log.1");
    setup.rename("a.log.1.gz", "a.log.2.gz");
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "three\n");
    assert_eq!(reader.lines(1).await, ["three"]);
    reader.closing().await;
    setup.append("a.log", "four\n");
    assert_eq!(reader.lines(1).await, ["four"]);
    reader.commit().await;
    let mut again = setup.reader().await;
    setup.append("a.log", "five\n");
    assert_eq!(again.lines(1).await, ["five"]);
}

#[tokio::test]
async fn copytruncate_moves_the_rest_into_the_copy() {
    for regrown in ["three\n", "three, and now the file is longer than before\n"] {
        let setup = Setup::new(&["a.log"]);
        setup.write("a.log", "one\n");
        let mut reader = setup.reader().await;
        let first = reader.record().await;
        setup.append("a.log", "two\n");
        setup.copytruncate("a.log", "a.log.1");
        setup.append("a.log", regrown);
        let records = reader.records(2).await;
        assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["two", regrown.trim_end()]);
        assert_eq!(content_of(&records[0]), content_of(&first));
        assert_ne!(content_of(&records[1]), content_of(&first));
    }
}

#[tokio::test]
async fn copytruncate_with_equal_first_lines_gives_each_content_its_own_id() {
    let setup = Setup::new(&["a.log"]);
    let mut reader = setup.reader().await;
    let mut contents = std::collections::HashSet::new();
    for round in 0..4 {
        setup.append("a.log", &format!("head\nround {round}\n"));
        let records = reader.records(2).await;
        assert_eq!(text(&records[1]), format!("round {round}"));
        assert!(contents.insert(content_of(&records[0]).to_owned()), "an id was used twice");
        setup.copytruncate("a.log", "a.log.1");
        // The old content is done with and forgotten before the next one comes, as on the next day.
        reader.closing().await;
        fs::remove_file(setup.path("a.log.1")).unwrap();
        let known = |reader: &Reader| reader.source.session.as_ref().unwrap().registry.iter().count();
        while known(&reader) > 1 {
            assert!(timeout(Duration::from_millis(20), reader.source.read(Room::ONE_RECORD)).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_deleted_file_is_read_to_its_end() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    let mut writer = OpenOptions::new().append(true).open(setup.path("a.log")).unwrap();
    fs::remove_file(setup.path("a.log")).unwrap();
    writer.write_all(b"two\nthree").unwrap();
    assert_eq!(reader.lines(2).await, ["two", "three"]);
    reader.closing().await;
    setup.write("a.log", "four\n");
    assert_eq!(reader.lines(1).await, ["four"]);
}

#[tokio::test]
async fn what_a_truncation_destroyed_is_reported() {
    let setup = Setup::new(&["a.log"]);
    let mut reader = setup.reader().await;
    setup.write("a.log", "one\nunfinished");
    assert_eq!(reader.lines(1).await, ["one"]);
    // Wait until the unfinished line was seen: only then can anybody know that it is lost.
    while reader.source.session.as_ref().unwrap().registry.iter().any(|(_, file)| file.size < 14) {
        assert!(timeout(Duration::from_millis(20), reader.source.read(Room::ONE_RECORD)).await.is_err());
    }
    setup.truncate("a.log");
    setup.append("a.log", "two\n");
    let records = reader.records(2).await;
    let Some(Defect::Lost(reason)) = &records[0].defect else { panic!("{:?}", records[0]) };
    assert!(reason.contains("bytes 4 to 14") && reason.contains("a.log"), "{reason}");
    assert!(records[0].event.id.ends_with("/4-lost"));
    assert_eq!(records[0].event.meta.last(), Some(&("end".into(), MetaValue::Integer(14))));
    assert_eq!(records[0].position, 14);
    assert_eq!(text(&records[1]), "two");
}

#[tokio::test]
async fn a_truncation_that_destroyed_nothing_is_no_loss() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    setup.truncate("a.log");
    setup.append("a.log", "two\n");
    assert_eq!(reader.lines(1).await, ["two"]);
}

#[tokio::test]
async fn a_file_that_takes_over_an_inode_is_a_new_file() {
    let setup = Setup::new(&["*.log"]);
    setup.write("a.log", "same\n");
    let mut reader = setup.reader().await;
    let first = reader.record().await;
    let inode = fs::metadata(setup.path("a.log")).unwrap().ino();
    fs::remove_file(setup.path("a.log")).unwrap();
    reader.closing().await;
    // The descriptor is closed now, so that the inode is free. Whether it is reused is up to the file system.
    let names: Vec<String> = (0..50).map(|number| format!("{number}.log")).collect();
    for name in &names {
        setup.write(name, "same\n");
    }
    let reused = names.iter().any(|name| fs::metadata(setup.path(name)).unwrap().ino() == inode);
    let records = reader.records(50).await;
    let mut contents: Vec<&str> = records.iter().map(content_of).collect();
    contents.push(content_of(&first));
    contents.sort_unstable();
    contents.dedup();
    assert_eq!(contents.len(), 51, "reused: {reused}");
}

#[tokio::test]
async fn a_file_that_is_moved_to_another_matching_name_is_read_on() {
    let setup = Setup::new(&["*.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    setup.rename("a.log", "b.log");
    setup.append("b.log", "two\n");
    assert_eq!(reader.lines(1).await, ["two"]);
    setup.write("a.log", "three\n");
    assert_eq!(reader.lines(1).await, ["three"]);
}

#[tokio::test]
async fn a_symbolic_link_that_is_turned_elsewhere_is_a_rotation() {
    let setup = Setup::new(&["current"]);
    let link = |name: &str| {
        std::os::unix::fs::symlink(setup.path(name), setup.path("new-link")).unwrap();
        setup.rename("new-link", "current");
    };
    setup.write("day-1.log", "one\n");
    link("day-1.log");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    setup.append("day-1.log", "two\n");
    setup.write("day-2.log", "three\n");
    link("day-2.log");
    assert_eq!(reader.lines(2).await, ["two", "three"]);
}

/// What logrotate does beside a busy program, when what is written after its copy is read before its truncation.
#[tokio::test]
async fn a_copy_that_is_shorter_than_what_was_read_brings_nothing_again_and_no_loss() {
    for (running, compressed) in [(true, false), (false, false), (false, true)] {
        let setup = Setup::new(&["a.log*"]);
        setup.write("a.log", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
        let mut reader = setup.reader().await;
        reader.lines(3).await;
        reader.commit().await;
        if !running {
            reader.source.close().await;
        }
        setup.write("a.log.1", "{\"n\":1}\n{\"n\":2}\n");
        if compressed {
            setup.compress("a.log.1");
        }
        setup.truncate("a.log");
        setup.append("a.log", "{\"n\":4}\n");
        if !running {
            reader = setup.reader().await;
        }
        assert_eq!(reader.lines(1).await, ["{\"n\":4}"], "running: {running}");
        reader.commit().await;
        drop(reader);
        setup.append("a.log", "{\"n\":5}\n");
        let mut reader = setup.reader().await;
        assert_eq!(reader.lines(1).await, ["{\"n\":5}"]);
        let more = timeout(2 * reader.source.timing.settle, reader.source.read(Room::ONE_RECORD)).await;
        assert!(!matches!(more, Ok(Ok(Input::Records(_)))), "{more:?}");
    }
}

/// What rsync and programs that save atomically do.
#[tokio::test]
async fn a_file_that_is_replaced_is_followed_and_the_rest_of_the_old_one_comes_first() {
    // (what is appended to the old file unseen, the new file, what is read of both)
    let long = format!("{}\n", "x".repeat(1000)).repeat(2);
    let cases: [(&str, String, &[&str]); 5] = [
        ("", "one\ntwo\nthree\n".into(), &["three"]),
        ("three\n", "one\ntwo\nthree\nfour\n".into(), &["three", "four"]),
        ("old\n", format!("{long}one\ntwo\nnew\n"), &["old", "new"]),
        // Two files that agree in little may do so by chance: then nothing is left out.
        ("old\n", "one\ntwo\nnew\n".into(), &["old", "one", "two", "new"]),
        ("", "one\nother\n".into(), &["one", "other"]),
    ];
    for (unseen, replacement, expected) in cases {
        let setup = Setup::new(&["a.log"]);
        let begins_long = replacement.starts_with(&long);
        setup.write("a.log", format!("{}one\ntwo\n", if begins_long { &long } else { "" }));
        let mut reader = setup.reader().await;
        let before = reader.records(if begins_long { 4 } else { 2 }).await;
        setup.append("a.log", unseen);
        setup.write("new", &replacement);
        setup.rename("new", "a.log");
        let records = reader.records(expected.len()).await;
        assert_eq!(records.iter().map(text).collect::<Vec<_>>(), expected, "{replacement}");
        setup.append("a.log", "later\n");
        let later = reader.record().await;
        assert_eq!(text(&later), "later", "{replacement}");
        let all: Vec<&Record> = before.iter().chain(&records).chain([&later]).collect();
        let mut different: Vec<&str> = all.iter().map(|record| record.event.id.as_str()).collect();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), all.len(), "each line has an id of its own: {replacement}");
    }
}

#[tokio::test]
async fn what_was_added_to_a_file_that_was_replaced_and_rotated_at_once_is_read() {
    for how in ["renamed", "copied and truncated", "copied and filled again", "compressed"] {
        let setup = Setup::new(&["a.log"]);
        setup.write("a.log", "one\ntwo\n");
        let mut reader = setup.reader().await;
        let before = reader.records(2).await;
        // All of it happens between two looks, as nothing is awaited.
        fs::copy(setup.path("a.log"), setup.path("new")).unwrap();
        setup.append("new", "three\n");
        setup.rename("new", "a.log");
        match how {
            "copied and truncated" => setup.copytruncate("a.log", "a.log.1"),
            "copied and filled again" => {
                setup.copytruncate("a.log", "a.log.1");
                setup.append("a.log", "four\nand more than there was before\n");
            }
            _ => setup.rename("a.log", "a.log.1"),
        }
        if how == "compressed" {
            setup.compress("a.log.1");
        }
        if how != "copied and filled again" {
            setup.append("a.log", "four\nand more than there was before\n");
        }
        let mut records = reader.records(3).await;
        if how == "copied and filled again" {
            records.sort_by_key(|record| text(record) != "three");
        }
        let lines: Vec<String> = records.iter().map(text).collect();
        assert_eq!(lines, ["three", "four", "and more than there was before"], "{how}");
        assert_eq!(content_of(&records[0]), content_of(&before[0]), "{how}");
        let more = timeout(2 * reader.source.timing.settle, reader.source.read(Room::ONE_RECORD)).await;
        assert!(!matches!(more, Ok(Ok(Input::Records(_)))), "{how}: {more:?}");
    }
}

/// What becomes of a rotated file whose name is not watched any more.
fn out_of_sight(setup: &Setup, how: &str, elsewhere: &Path) {
    match how {
        "deleted" => fs::remove_file(setup.path("a.log")).unwrap(),
        "moved" => fs::rename(setup.path("a.log"), elsewhere.join("a.log")).unwrap(),
        _ => {
            setup.rename("a.log", "a.log.1");
            setup.compress("a.log.1");
        }
    }
    setup.write("a.log", "two\n");
}

#[tokio::test]
async fn what_a_program_writes_late_to_a_file_out_of_sight_is_read_within_the_wait() {
    for how in ["deleted", "moved", "compressed"] {
        let mut setup = Setup::new(&["a.log"]);
        setup.rotated_wait = Duration::from_secs(3);
        setup.write("a.log", "one\n");
        let mut reader = setup.reader().await;
        let first = reader.record().await;
        let mut held = OpenOptions::new().append(true).open(setup.path("a.log")).unwrap();
        // A log that is quiet, as at night: the wait counts from the rotation.
        held.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        out_of_sight(&setup, how, elsewhere.path());
        assert_eq!(reader.lines(1).await, ["two"], "{how}");
        let quiet = timeout(3 * reader.source.timing.settle, reader.source.read(Room::ONE_RECORD)).await;
        assert!(quiet.is_err(), "{how}: {quiet:?}");
        for line in ["late", "later"] {
            held.write_all(format!("{line}\n").as_bytes()).unwrap();
            let record = reader.record().await;
            assert_eq!((&*text(&record), content_of(&record)), (line, content_of(&first)), "{how}");
        }
        reader.closing().await;
    }
}

#[tokio::test]
async fn a_file_that_is_only_kept_open_for_late_lines_is_not_lost_by_a_restart() {
    let mut setup = Setup::new(&["a.log"]);
    setup.rotated_wait = PATIENCE;
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    out_of_sight(&setup, "deleted", setup.logs.path());
    reader.lines(1).await;
    reader.commit().await;
    while !setup.checkpoint().await.unwrap().to_string().contains("\"at_rest\":true") {
        let quiet = timeout(Duration::from_millis(20), reader.source.read(Room::ONE_RECORD)).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
    drop(reader);
    let mut again = setup.reader().await;
    again.closing().await;
    setup.append("a.log", "three\n");
    assert_eq!(again.lines(1).await, ["three"]);
}
